/* What the tests of the command line share: a world of strings instead of streams, files, and a server that answers
 * from a script. */
#ifndef DM_TESTS_UNIT_CLI_TESTING_H
#define DM_TESTS_UNIT_CLI_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/defs.h"

/* --- one run of daemun ------------------------------------------------------------------------------------------- */

struct result {
    int code;
    char *out, *err; /* freed by the next run */
};

/* Environment: NULL removes. "HOME" is a directory of this test by default, nothing else is set. */
void set_env(const char *name, const char *value);
/* Runs `daemun` with the arguments, which end with NULL, and `in` as standard input. */
const struct result *run_with(const char *in, ...) __attribute__((sentinel));
#define run(...) run_with("", __VA_ARGS__, NULL)

#define assert_has(text, part) assert_has_at((text), (part), __FILE__, __LINE__)
void assert_has_at(const char *text, const char *part, const char *file, int line);
#define assert_has_not(text, part) assert_null(strstr((text), (part)))

/* Makes the directory of the test; group set-up and tear-down. */
int set_up(void **state);
int tear_down(void **state);
/* "DIR/name". Static storage, several at once. */
const char *in_dir(const char *name);
void write_file(const char *name, const char *text);
void read_file(const char *path, char *ret, size_t max);

/* --- a controller played by a script ------------------------------------------------------------------------------ */

struct exchange {
    const char *request; /* must stand in the head or body of the request, such as "GET /api/v1/whoami HTTP/1.1" */
    int status;
    const char *body;
};

/* Answers the exchanges in this order, a connection each; the URL. Requests that do not fit fail the test at
 * script_end. */
const char *script_begin(const struct exchange *exchanges, size_t n);
#define script(...)                                                                                                    \
    script_begin((struct exchange[]){__VA_ARGS__}, sizeof((struct exchange[]){__VA_ARGS__}) / sizeof(struct exchange))
/* All exchanges came, as they should. The requests as they came, one after the other. */
const char *script_end(void);

#endif
