/* Mapping rules, compiled: a request's method, path and query -> the rules that match, in their order.
 *
 * The meaning is 3scale's: a pattern matches as a prefix of the path, up to its end with `$`; `{x}` is one segment;
 * query literals must be there with that value, query variables with any; the deltas of all matching rules add up until
 * one with `last` matched.
 *
 * The literal part of each pattern before its first `{` stands in a trie over bytes, one per method, so that a request walks
 * its path once and meets only rules whose literal part it has; those are then compared piece by piece. */
#ifndef DM_SNAPSHOT_RULES_H
#define DM_SNAPSHOT_RULES_H

#include "snapshot/unit.h"

#define DM_RULES_MAX 1024 /* per version */

struct dm_umapping_rule {
    uint32_t metric; /* index in the product's metrics */
    uint32_t delta;
    dm_off pieces; /* struct dm_urule_piece[]: what follows the literal prefix */
    dm_off args;   /* struct dm_urule_arg[] */
    uint16_t n_pieces, n_args;
    uint16_t prefix_len; /* bytes of the literal prefix, which stands in the trie */
    uint8_t is_exact, is_last;
    struct dm_ustr pattern; /* as written, for explanations */
};

struct dm_urule_piece {
    struct dm_ustr literal; /* len 0 = one segment variable */
};

struct dm_urule_arg {
    struct dm_ustr name, value;
    uint32_t is_variable;
    uint32_t unused;
};

/* A trie node: the bytes that lead to it from its parent, its children by first byte, the rules whose literal ends here. */
struct dm_urule_node {
    struct dm_ustr label;
    dm_off children; /* uint32_t[]: offsets of nodes, sorted by first byte of their label */
    dm_off rules;    /* uint16_t[]: indexes of rules, ascending */
    uint16_t n_children, n_rules;
};

struct dm_urule_method {
    struct dm_ustr method; /* "" = any other */
    dm_off root;           /* struct dm_urule_node */
    uint32_t unused;
};

struct dm_urules {
    dm_off rules;   /* struct dm_umapping_rule[] */
    dm_off methods; /* struct dm_urule_method[] */
    uint32_t n_rules, n_methods;
};

/* What a request counts: distinct metrics of its product, parents included. */
#define DM_USAGE_MAX 256 /* DM_METRICS_MAX: no request can touch more */
struct dm_usage_item {
    uint32_t metric;
    uint64_t delta;
};

struct dm_usage {
    unsigned count;
    struct dm_usage_item items[DM_USAGE_MAX];
};

/* What is asked of the rules. path is the normalised one. has_arg answers whether the query has an argument of that name
 * and, unless value is NULL, that (decoded, last) value. */
struct dm_rules_request {
    struct dm_str method, path;
    bool (*has_arg)(const void *ctx, struct dm_str name, const struct dm_str *value);
    const void *ctx;
};

/* Returns the number of rules that matched; their deltas are added up in *ret per metric, a method's also for its parents
 * (`metrics` is the product's array). ret_first is the index of the first match. */
unsigned dm_rules_match(const struct dm_unit *unit, dm_off rules, dm_off metrics,
                        const struct dm_rules_request *request, struct dm_usage *ret, uint32_t *ret_first);

#endif
