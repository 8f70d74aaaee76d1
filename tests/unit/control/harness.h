/* A controller in a temporary directory, in this process. */
#ifndef TEST_CONTROL_HARNESS_H
#define TEST_CONTROL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/api/server.h"
#include "control/fleet/fleet.h"
#include "control/identity/keyring.h"
#include "control/store/store.h"
#include "control/tenancy/write.h"
#include "base/buf.h"
#include "io/pool.h"

struct harness {
    char dir[64];
    char database[128], socket[128];
    struct dm_keyring keyring;
    struct dm_store *store;
    struct dm_arena arena;
    struct dm_err err;
    /* with harness_serve() */
    struct dm_loop *loop;
    struct dm_pool *pool;
    struct dm_fleet *fleet;
    struct dm_metrics *metrics;
    struct dm_api api;
    struct dm_api_server *server;
    char master[64]; /* token */
};

extern const struct dm_caller master_caller;

/* Store and keys. */
void harness_open(struct harness *h);
/* API, fleet and link too. */
void harness_serve(struct harness *h);
/* Closes all but the files and opens it again. */
void harness_restart(struct harness *h);
void harness_close(struct harness *h);

/* cmocka fixtures: *state is a struct harness. */
int harness_setup(void **state);
int harness_serving_setup(void **state);
int harness_teardown(void **state);

/* Runs the loop until *done or the test's own time is over (the runner's limit). */
void harness_until(struct harness *h, const bool *done);

/* --- writing without HTTP ------------------------------------------------------------------------------------------ */

struct action {
    struct dm_write write;
    struct dm_failure failure;
};
/* As the caller; asserts that the write begins. */
void action_begin(struct harness *h, struct action *action, const struct dm_caller *caller);
/* The tenant with what a small team has: grants, backend, product, application "mobile" with the key `key`. */
void make_team(struct harness *h, const char *name, uint16_t port, const char *key);

/* --- HTTP ------------------------------------------------------------------------------------------------------------ */

struct answer {
    unsigned status;
    struct dm_buf head, body;
};

/* One request on a connection of its own; token may be NULL; fields are whole lines or ""; body may be NULL. */
void request(struct harness *h, struct answer *ret, const char *method, const char *target, const char *token,
             const char *fields, const char *body);
void answer_done(struct answer *answer);
/* The value of a field, as a string on the heap, or NULL. */
char *answer_field(const struct answer *answer, const char *name);
/* A string member of the body, by dotted path ("errors.0.pointer"), on the heap; NULL when it is not there. Numbers and
 * booleans as text. */
char *answer_member(const struct answer *answer, const char *path);

/* Asserts the text, and frees it. */
void assert_str(char *got, const char *want);
/* Frees what was not asked for. */
void done(char *text);

/* Asserts the status and gives the body's member (NULL path: nothing). */
char *expect(struct harness *h, unsigned status, const char *member, const char *method, const char *target,
             const char *token, const char *fields, const char *body);

/* The same by the master, for a `struct harness *h`. */
#define MASTER h->master
#define GET(status, member, target) expect(h, status, member, "GET", target, MASTER, "", NULL)
#define PUT(status, member, target, body) expect(h, status, member, "PUT", target, MASTER, "", body)
#define PATCH(status, member, target, body) expect(h, status, member, "PATCH", target, MASTER, "", body)
#define POST(status, member, target, body) expect(h, status, member, "POST", target, MASTER, "", body)
#define DELETE(status, member, target) expect(h, status, member, "DELETE", target, MASTER, "", NULL)

#endif
