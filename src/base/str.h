/* Borrowed byte strings: pointer and length, by value, not NUL-terminated. The owner is whoever gave it out. */
#ifndef DM_BASE_STR_H
#define DM_BASE_STR_H

#include "base/defs.h"

struct dm_str {
    const char *ptr;
    size_t len;
};

#define DM_STR(literal) ((struct dm_str){"" literal, sizeof(literal) - 1})
#define DM_STR_NULL ((struct dm_str){NULL, 0})
/* For "%.*s". */
#define DM_STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct dm_str dm_str_of(const char *cstr)
{
    return (struct dm_str){cstr, cstr ? strlen(cstr) : 0};
}

static inline struct dm_str dm_str_n(const char *ptr, size_t len)
{
    return (struct dm_str){ptr, len};
}

static inline bool dm_str_eq(struct dm_str a, struct dm_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool dm_str_starts(struct dm_str s, struct dm_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool dm_str_ends(struct dm_str s, struct dm_str suffix)
{
    return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

/* s without its first n bytes (n may exceed the length). */
static inline struct dm_str dm_str_skip(struct dm_str s, size_t n)
{
    n = DM_MIN(n, s.len);
    return (struct dm_str){s.ptr + n, s.len - n};
}

/* Writes s at `at`, where there is room for it; returns the place behind it. */
static inline char *dm_str_put(char *at, struct dm_str s)
{
    memcpy(at, s.ptr ? s.ptr : "", s.len);
    return at + s.len;
}
#define dm_str_put_lit(at, literal) ((char *)memcpy((at), "" literal, sizeof(literal) - 1) + (sizeof(literal) - 1))

/* ASCII letters compare without case; other bytes exactly. */
bool dm_str_ieq(struct dm_str a, struct dm_str b);

/* <0, 0, >0 by bytes, a prefix first. */
int dm_str_cmp(struct dm_str a, struct dm_str b);

/* Position of c, or s.len. */
size_t dm_str_find(struct dm_str s, char c);

/* Without leading and trailing space and tab. */
struct dm_str dm_str_trim(struct dm_str s);

/* Cuts *rest at the first sep: what stands before is returned, *rest moves behind it. *rest becomes DM_STR_NULL after
 * the last piece; false when *rest was DM_STR_NULL already. */
bool dm_str_cut(struct dm_str *rest, char sep, struct dm_str *ret_piece);

/* Decimal digits only, no sign, no space, at least one digit. DM_EINVAL on anything else and on overflow. */
DM_MUST_USE int dm_str_to_u64(struct dm_str s, uint64_t *ret);

/* Edit distance (optimal string alignment: a swap of neighbours is one step), for "did you mean"; strings above 64 bytes
 * count as infinitely far (SIZE_MAX). */
size_t dm_str_distance(struct dm_str a, struct dm_str b);

/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF)? */
bool dm_str_is_utf8(struct dm_str s);

#endif
