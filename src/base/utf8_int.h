/* One UTF-8 character (RFC 3629). */
#ifndef DM_BASE_UTF8_INT_H
#define DM_BASE_UTF8_INT_H

#include "base/defs.h"

/* Bytes of the valid character at p, of which n > 0 may be read; 0 if there is none. */
static inline size_t dm_utf8_len(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xbf; /* range of the second byte: no overlong form, surrogate, above U+10FFFF */
    size_t len, i;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

#endif
