#include "http/chunk.h"

size_t dm_http_chunk_head(uint64_t size, char ret[DM_HTTP_CHUNK_HEAD_MAX])
{
    unsigned digits = (unsigned)(67 - __builtin_clzll(size | 1)) / 4;

    for (unsigned i = digits; i > 0; i--, size >>= 4)
        ret[i - 1] = "0123456789abcdef"[size & 15];
    ret[digits] = '\r';
    ret[digits + 1] = '\n';
    return digits + 2;
}
