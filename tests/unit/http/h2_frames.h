/* Frames of HTTP/2 and fields of HPACK by hand, as wrong as a test wants them: what the rigs of server and client share. */
#ifndef DM_TESTS_UNIT_HTTP_H2_FRAMES_H
#define DM_TESTS_UNIT_HTTP_H2_FRAMES_H

#include "base/buf.h"

uint32_t u32_at(const uint8_t *p);
void put_u32(uint8_t *at, uint32_t value);
void add_frame(struct dm_buf *out, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len);
/* A field as a literal that is never indexed (RFC 7541 section 6.2.3), names and values up to 126 bytes. */
void add_field(struct dm_buf *out, struct dm_str name, struct dm_str value);
/* Lines "name: value\n" as such fields. */
void add_fields(struct dm_buf *out, const char *lines);

#endif
