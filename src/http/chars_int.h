/* Classes of bytes, one table for all parsers of this folder. */
#ifndef DM_HTTP_CHARS_INT_H
#define DM_HTTP_CHARS_INT_H

#include "base/str.h"

enum dm_http_char {
    DM_CHAR_TOKEN = 1,       /* tchar, RFC 9110 section 5.6.2 */
    DM_CHAR_FOLDED = 2,      /* of a token, but no letter, digit or '-' */
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

#define DM_HTTP_ONES 0x0101010101010101u
#define DM_HTTP_HIGH 0x8080808080808080u

/* The high bit of the lowest byte of x that is not 0x20-0x7E is set; bits above it may be. */
static inline uint64_t dm_http_special_bytes(uint64_t x)
{
    uint64_t low = (x - 0x20 * DM_HTTP_ONES) & ~x;
    uint64_t del = x ^ 0x7F * DM_HTTP_ONES;

    return (low | x | ((del - DM_HTTP_ONES) & ~del)) & DM_HTTP_HIGH;
}

/* The first byte from p on that is not 0x20-0x7E or HTAB. */
static inline const char *dm_http_skip_visible(const char *p, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (end - p >= 8) {
        uint64_t x, special;

        memcpy(&x, p, 8);
        special = dm_http_special_bytes(x);
        if (special == 0) {
            p += 8;
            continue;
        }
        p += __builtin_ctzll(special) >> 3;
        if (*p != '\t')
            return p;
        p++;
    }
#endif
    while (p < end && (dm_http_char(*p) & DM_CHAR_VALUE))
        p++;
    return p;
}

/* A word that consists of the bytes of a text of at most 7, and of spaces. */
static inline uint64_t dm_http_short_word(struct dm_str s)
{
    uint32_t first, last;

    if (s.len == 0)
        return 0x20 * DM_HTTP_ONES;
    if (s.len < 4)
        return 0x2020202020000000u | (uint64_t)(uint8_t)s.ptr[0] << 16 | (uint64_t)(uint8_t)s.ptr[s.len / 2] << 8 |
               (uint8_t)s.ptr[s.len - 1];
    memcpy(&first, s.ptr, 4);
    memcpy(&last, s.ptr + s.len - 4, 4);
    return (uint64_t)first << 32 | last;
}

/* Is every byte 0x20-0x7E? By whole words, of which the last two may overlap. */
static inline bool dm_http_is_printable(struct dm_str s)
{
    uint64_t x;

    if (s.len < 8)
        return dm_http_special_bytes(dm_http_short_word(s)) == 0;
    for (size_t i = 0; i + 8 < s.len; i += 8) {
        memcpy(&x, s.ptr + i, 8);
        if (dm_http_special_bytes(x) != 0)
            return false;
    }
    memcpy(&x, s.ptr + s.len - 8, 8);
    return dm_http_special_bytes(x) == 0;
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
