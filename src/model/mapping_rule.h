/* A mapping rule: method and pattern of a request -> increment of a metric. A request that matches none is answered 404
 * no_mapping_rule. Rules apply in their order; all that match add up until one with `last`.
 *
 * Patterns are 3scale's: they match a prefix of the path, byte by byte ("/foo" matches "/foobar"); '$' at the end of the
 * path makes the match exact; "{name}" stands for one or more bytes of one segment, anywhere in it; behind '?' stand
 * query parameters that must be there, "name=value" exactly or "name={x}" with any value. The path of the request is
 * taken below its version's path, normalised. */
#ifndef DM_MODEL_MAPPING_RULE_H
#define DM_MODEL_MAPPING_RULE_H

#include "base/arena.h"
#include "base/err.h"

struct dm_schema;

struct dm_mapping_rule {
    struct dm_str method; /* "ANY" = each */
    struct dm_str pattern;
    struct dm_str metric;
    int64_t delta;
    bool last;
};

#define DM_METHOD_ANY DM_STR("ANY")
#define DM_MAPPING_RULES_MAX 1024
#define DM_PATTERN_MAX 1024      /* bytes */
#define DM_PATTERN_PIECES_MAX 64 /* in all segments together */
#define DM_PATTERN_QUERY_MAX 16
#define DM_PATTERN_ARENA_BYTES 65536 /* enough of an arena for any pattern */

extern const struct dm_schema dm_schema_mapping_rule;

/* A run of literal bytes, or a variable. Never two literals in a row in one segment. */
struct dm_pattern_piece {
    bool is_variable;
    struct dm_str text; /* literal bytes, normalised as http/path normalises a request's; or the variable's name */
};

/* What stands between two slashes; n_pieces 0 is the empty segment behind a trailing slash. */
struct dm_pattern_segment {
    const struct dm_pattern_piece *pieces;
    size_t n_pieces;
};

struct dm_pattern_query {
    struct dm_str name;  /* decoded */
    struct dm_str value; /* decoded; of a variable its name */
    bool is_variable;    /* any value, but there */
};

/* "/a/{b}.json" has the segments [a] and [{b} .json]; "/" has one empty segment; "/a/" has [a] and []. Without is_exact
 * the last segment matches as a prefix: what follows in the request may be anything. */
struct dm_pattern {
    const struct dm_pattern_segment *segments;
    size_t n_segments; /* at least 1 */
    const struct dm_pattern_query *query;
    size_t n_query;
    bool is_exact;
};

/* Text and lists of *ret lie in the arena. err->pointer is "" and its message names the byte at fault, from 1. */
DM_MUST_USE int dm_pattern_parse(struct dm_str text, struct dm_arena *arena, struct dm_pattern *ret,
                                 struct dm_err *err);

/* May this byte of a request's path be part of what a variable stands for? Letters, digits and -._~%!$&'()*+,;=@: */
bool dm_pattern_is_variable_byte(char c);

/* The rule itself, plainly: does the path (normalised, without query, starting with '/') match? The reference that the
 * compiled form is tested against; query parameters are the caller's. */
bool dm_pattern_match_path(const struct dm_pattern *pattern, struct dm_str path);

#endif
