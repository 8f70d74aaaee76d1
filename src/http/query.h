/* Query arguments (application/x-www-form-urlencoded), read as nginx's Lua module does: cut at '&', then at the
 * first '='; '+' is a space, %XX a byte, an invalid escape stands for itself; an argument with an empty name is
 * skipped; "a" has no value, "a=" an empty one; repeated arguments come one by one. */
#ifndef DM_HTTP_QUERY_H
#define DM_HTTP_QUERY_H

#include "base/buf.h"

struct dm_query_arg {
    struct dm_str name, value; /* as received */
    bool has_value;
};

/* *rest starts as the query; false at the end. */
bool dm_query_next(struct dm_str *rest, struct dm_query_arg *ret);

/* The first argument of this (decoded) name; false if there is none. */
bool dm_query_find(struct dm_str query, struct dm_str name, struct dm_query_arg *ret);

/* Decodes a name or value. Returns `raw` itself when nothing is to decode, else what stands in buf, which holds
 * raw.len bytes. */
struct dm_str dm_query_decode(struct dm_str raw, char *buf);

/* Is raw, decoded, equal to plain? */
bool dm_query_eq(struct dm_str raw, struct dm_str plain);

/* Appends the query without the arguments of this (decoded) name; the others stay byte for byte, separators between
 * them. */
void dm_query_without(struct dm_str query, struct dm_str name, struct dm_buf *buf);

#endif
