/* Frames of HTTP/2 and fields of HPACK by hand, as wrong as a test wants them, and their reading: what all tests share that speak
 * HTTP/2 without a library in between. */
#ifndef DM_TESTS_H2_FRAME_H
#define DM_TESTS_H2_FRAME_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"

uint32_t u32_at(const void *ptr);
void put_u32(uint8_t *at, uint32_t value);

/* The head says what is given: type, flags, stream, length. */
void add_frame(struct dm_buf *out, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len);
/* A field as a literal that is never indexed (RFC 7541 section 6.2.3). */
void add_field(struct dm_buf *out, struct dm_str name, struct dm_str value);

/* Gives each field of a whole block. False if it can't be decoded. */
bool inflate_block(nghttp2_hd_inflater *inflater, const void *block, size_t len,
                   void (*on_field)(void *arg, struct dm_str name, struct dm_str value), void *arg);

#endif
