/* Character classes that the formats share. */
#ifndef DM_MODEL_FORMAT_INT_H
#define DM_MODEL_FORMAT_INT_H

#include "base/buf.h"

static inline bool dm_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool dm_is_alnum(char c)
{
    return dm_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 3986 section 2.3 */
static inline bool dm_is_unreserved(char c)
{
    return dm_is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* RFC 3986 section 3.3, without '%' */
static inline bool dm_is_pchar(char c)
{
    return dm_is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=:@", c) != NULL);
}

/* Value of a hexadecimal digit, or -1. */
static inline int dm_hex_value(char c)
{
    if (dm_is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "%XX" at value.ptr[i] stands for, or -1. */
static inline int dm_escape_at(struct dm_str value, size_t i)
{
    int high, low;

    if (i + 2 >= value.len)
        return -1;
    high = dm_hex_value(value.ptr[i + 1]);
    low = dm_hex_value(value.ptr[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

bool dm_format_all(struct dm_str value, bool (*is_right)(char c));

/* Host name of lower-case LDH labels, no wildcard, not four numbers; appends to why otherwise. */
bool dm_format_is_host_name(struct dm_str value, struct dm_buf *why);

#endif
