#include "http/chars_int.h"
#include "http/query.h"

static size_t find(struct dm_str s, char c)
{
    const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;

    return at ? (size_t)(at - s.ptr) : s.len;
}

/* Cuts the next piece between separators; false at the end. */
static bool next_piece(struct dm_str *rest, struct dm_str *ret)
{
    if (rest->len == 0)
        return false;
    *ret = dm_str_n(rest->ptr, find(*rest, '&'));
    *rest = dm_str_skip(*rest, ret->len + 1);
    return true;
}

static struct dm_query_arg split(struct dm_str piece)
{
    size_t at = find(piece, '=');

    return (struct dm_query_arg){dm_str_n(piece.ptr, at), dm_str_skip(piece, at + 1), at < piece.len};
}

bool dm_query_next(struct dm_str *rest, struct dm_query_arg *ret)
{
    struct dm_str piece;

    while (next_piece(rest, &piece)) {
        *ret = split(piece);
        if (ret->name.len > 0)
            return true;
    }
    return false;
}

bool dm_query_find(struct dm_str query, struct dm_str name, struct dm_query_arg *ret)
{
    struct dm_query_arg arg;

    while (dm_query_next(&query, &arg)) {
        if (dm_query_eq(arg.name, name)) {
            *ret = arg;
            return true;
        }
    }
    return false;
}

/* The decoded byte at *p, which moves behind it. */
static char decode_one(const char **p, const char *end)
{
    int byte = **p == '%' ? dm_http_unescape(*p, end) : -1;
    char c = **p;

    if (byte >= 0) {
        *p += 3;
        return (char)byte;
    }
    ++*p;
    return c == '+' ? ' ' : c;
}

struct dm_str dm_query_decode(struct dm_str raw, char *buf)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    size_t len = 0;

    if (find(raw, '%') == raw.len && find(raw, '+') == raw.len)
        return raw;
    while (p < end)
        buf[len++] = decode_one(&p, end);
    return dm_str_n(buf, len);
}

bool dm_query_eq(struct dm_str raw, struct dm_str plain)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    size_t i = 0;

    if (raw.len < plain.len)
        return false;
    while (p < end)
        if (i == plain.len || decode_one(&p, end) != plain.ptr[i++])
            return false;
    return i == plain.len;
}

void dm_query_without(struct dm_str query, struct dm_str name, struct dm_buf *buf)
{
    struct dm_str piece;
    bool is_first = true;

    while (next_piece(&query, &piece)) {
        if (dm_query_eq(split(piece).name, name))
            continue;
        if (!is_first)
            dm_buf_add_char(buf, '&');
        dm_buf_add(buf, piece);
        is_first = false;
    }
}
