/* Runs the codec over the input of a case, cut into pieces, and writes what came out as lines of text. Every call of
 * the codec gets an allocation of exactly the bytes that have come, so that a sanitizer sees it look further. */
#ifndef DM_TESTS_WIRE_HTTP_RENDER_H
#define DM_TESTS_WIRE_HTTP_RENDER_H

#include "http_case.h"

/* How the input comes: piece bytes at a time; with piece 0 first `cut` bytes, then the rest. */
struct cutting {
    size_t piece, cut;
};

void http_render(const struct http_case *c, struct cutting cutting, struct dm_buf *out);

#endif
