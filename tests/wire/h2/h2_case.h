/* Cases of HTTP/2 as data, and frames of their lines; the format is in README.md beside this file. */
#ifndef DM_TESTS_WIRE_H2_CASE_H
#define DM_TESTS_WIRE_H2_CASE_H

#include "base/buf.h"

enum { H2_CASE_STEPS_MAX = 64 };

/* A step is a line: what is sent, or what must have come. */
struct h2_step {
    bool is_expected;
    struct dm_str text;
};

/* Borrows from the text of the file. */
struct h2_case {
    struct dm_str name;
    bool is_bare;  /* no preface, no SETTINGS of the runner's own */
    bool is_quiet; /* heads and data of answers are not looked at */
    bool is_whole; /* not run in pieces: cut, it is another case */
    struct h2_step steps[H2_CASE_STEPS_MAX];
    size_t n_steps;
};

/* Reads the next case from *text and moves behind it. 1, 0 at the end, -1 after saying what is wrong. */
int h2_case_next(struct dm_str *text, struct h2_case *ret);

/* The bytes of a line that is sent. False after saying what is wrong. */
bool h2_line_bytes(struct dm_str line, struct dm_buf *ret);

/* RFC 9113 section 7, without NO_ERROR's "HTTP_". */
const char *h2_code_name(uint32_t code);

#endif
