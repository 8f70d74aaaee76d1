#include "http/parse_int.h"

int dm_http_unexpected(const char *p, const char *end, enum dm_http_fault fault)
{
    if (*p == '\n')
        return -DM_HTTP_BARE_LF;
    if (*p == '\r') {
        if (p + 1 == end)
            return 0;
        return p[1] == '\n' ? -(int)fault : -DM_HTTP_BARE_CR;
    }
    if (((uint8_t)*p < 0x20 && *p != '\t') || *p == 0x7F)
        return -DM_HTTP_BAD_BYTE;
    return -(int)fault;
}

int dm_http_read_crlf(struct dm_http_cursor *cursor, enum dm_http_fault fault)
{
    if (cursor->p == cursor->end)
        return 0;
    if (*cursor->p != '\r' || cursor->p + 1 == cursor->end || cursor->p[1] != '\n')
        return dm_http_unexpected(cursor->p, cursor->end, fault);
    cursor->p += 2;
    return 1;
}

static bool fits_version(char c, size_t at)
{
    switch (at) {
    case 5:
    case 7: return c >= '0' && c <= '9';
    default: return c == "HTTP/1.1"[at];
    }
}

int dm_http_read_version(struct dm_http_cursor *cursor)
{
    const char *p = cursor->p;
    size_t have = DM_MIN((size_t)(cursor->end - p), 8u);

    if (DM_LIKELY(have == 8 && memcmp(p, "HTTP/1.1", 8) == 0)) {
        cursor->head->version_minor = 1;
        cursor->p += 8;
        return 1;
    }
    for (size_t i = 0; i < have; i++)
        if (!fits_version(p[i], i))
            return dm_http_unexpected(p + i, cursor->end, DM_HTTP_BAD_VERSION);
    if (have < 8)
        return 0;
    if (p[5] != '1')
        return -DM_HTTP_VERSION_NOT_SUPPORTED;
    cursor->head->version_minor = p[7] > '0';
    cursor->p += 8;
    return 1;
}
