/* Classes of bytes, one table for all parsers of this folder. */
#ifndef DM_HTTP_CHARS_INT_H
#define DM_HTTP_CHARS_INT_H

#include "base/defs.h"

enum dm_http_char {
    DM_CHAR_TOKEN = 1,       /* tchar, RFC 9110 section 5.6.2 */
    DM_CHAR_UNDERSCORE = 2,  /* '_' */
    DM_CHAR_PATH = 4,        /* may stand in a target before '?' */
    DM_CHAR_QUERY = 8,       /* may stand in a target behind '?' */
    DM_CHAR_UNRESERVED = 16, /* RFC 3986 section 2.3 */
    DM_CHAR_HOST = 32,       /* lower-case letter, digit, '-', '_' */
    DM_CHAR_PLAIN = 64,      /* in a path, without a meaning: DM_CHAR_PATH but for '/' and '%' */
    DM_CHAR_VALUE = 128,     /* visible ASCII, space, HTAB */
};

extern const uint8_t dm_http_chars[256];
/* Value of a hexadecimal digit of either case, or -1. */
extern const int8_t dm_http_hex[256];

static inline uint8_t dm_http_char(char c)
{
    return dm_http_chars[(uint8_t)c];
}

static inline char dm_http_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Are two texts of len bytes equal, when `lower` is in lower case? */
static inline bool dm_http_lower_eq(const char *ptr, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (dm_http_lower(ptr[i]) != lower[i])
            return false;
    return true;
}

/* The byte that a '%' at ptr escapes, or -1. */
static inline int dm_http_unescape(const char *ptr, const char *end)
{
    int hi, lo;

    if (end - ptr < 3)
        return -1;
    hi = dm_http_hex[(uint8_t)ptr[1]];
    lo = dm_http_hex[(uint8_t)ptr[2]];
    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

#endif
