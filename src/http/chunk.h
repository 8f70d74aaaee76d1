/* Chunked encoder (RFC 9112 section 7.1): head, data, CR LF for each chunk, then the end. */
#ifndef DM_HTTP_CHUNK_H
#define DM_HTTP_CHUNK_H

#include "base/str.h"

#define DM_HTTP_CHUNK_HEAD_MAX 18
/* Behind the data of each chunk. */
#define DM_HTTP_CHUNK_TAIL DM_STR("\r\n")
/* The last chunk; trailer lines and an empty line follow. */
#define DM_HTTP_CHUNK_LAST DM_STR("0\r\n")
/* The last chunk and an empty trailer section. */
#define DM_HTTP_CHUNK_END DM_STR("0\r\n\r\n")

/* Writes "size CR LF" in hexadecimal; size > 0 (0 would end the body). Returns the length. Not NUL-terminated. */
size_t dm_http_chunk_head(uint64_t size, char ret[DM_HTTP_CHUNK_HEAD_MAX]);

#endif
