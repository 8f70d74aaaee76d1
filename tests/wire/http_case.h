/* Cases of the HTTP codec as data; the format is in README.md beside this file. */
#ifndef DM_TESTS_WIRE_HTTP_CASE_H
#define DM_TESTS_WIRE_HTTP_CASE_H

#include "case_file.h"
#include "http/head.h"

#define CASE_EXPECT_MAX 64

/* CASE_FRAMES: the lines of the input as they stand, each ended by LF (proxy/frames.h). */
enum case_kind { CASE_REQUEST, CASE_RESPONSE, CASE_PATH, CASE_PATH_KEEP, CASE_HOST, CASE_QUERY, CASE_FRAMES };

/* Slices borrow from the text of the file, but for the input. */
struct http_case {
    struct dm_str name;
    enum case_kind kind;
    enum dm_http_method request_method; /* CASE_RESPONSE */
    struct dm_http_limits limits;
    uint64_t body_bytes;
    struct dm_buf input;
    struct dm_str expect[CASE_EXPECT_MAX];
    unsigned expect_count;
};

/* Reads the next case from *text and moves behind it. 1, 0 at the end, -1 after saying what is wrong. The caller calls
 * dm_buf_done(&ret->input). */
int http_case_next(struct dm_str *text, struct http_case *ret);

#endif
