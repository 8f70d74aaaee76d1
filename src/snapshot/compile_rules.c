/* Rules to tries. Each rule's pattern is flattened to its literal prefix, which goes into the trie of its method, and the
 * pieces behind it. Rules for any method go into every trie, and into one more for the methods that no rule names. */
#include "snapshot/compile_int.h"
#include "snapshot/release.h"
#include "snapshot/rules.h"

#include "base/mem.h"
#include "base/vec.h"

#define PATTERN_ARENA_BYTES (1u << 20)

/* While it is built: a node of the byte trie, children in the order of their first byte. */
struct node {
    struct dm_str label;
    DM_VEC(struct node *) children;
    DM_VEC(uint16_t) rules;
};

struct flat {
    struct dm_str prefix; /* literal bytes before the first variable */
    DM_VEC(struct dm_urule_piece) pieces;
};

uint32_t dm_metric_index(const struct dm_metric_names *metrics, struct dm_str name)
{
    for (size_t i = 0; i < metrics->count; i++)
        if (dm_str_eq(metrics->names[i], name))
            return (uint32_t)i;
    abort(); /* the model resolved every reference */
}

/* --- one pattern -------------------------------------------------------------------------------------------------- */

/* A run of literal bytes ends: it becomes the prefix, or a piece. */
static void end_literal(struct dm_builder *b, struct dm_buf *run, struct flat *flat, struct dm_arena *arena)
{
    if (flat->prefix.ptr == NULL) {
        if (dm_arena_str(arena, dm_buf_str(run), &flat->prefix) < 0)
            abort();
    } else if (run->len > 0) {
        *dm_vec_push(&flat->pieces) = (struct dm_urule_piece){dm_builder_str(b, dm_buf_str(run))};
    }
    dm_buf_reset(run);
}

static void flatten(struct dm_builder *b, const struct dm_pattern *pattern, struct dm_arena *arena, struct flat *flat)
{
    struct dm_buf run DM_CLEANUP(dm_buf_done);

    dm_buf_init(&run, DM_PATTERN_MAX * 4);
    for (size_t i = 0; i < pattern->n_segments; i++) {
        const struct dm_pattern_segment *segment = &pattern->segments[i];
        dm_buf_add_char(&run, '/');
        for (size_t k = 0; k < segment->n_pieces; k++) {
            if (!segment->pieces[k].is_variable) {
                dm_buf_add(&run, segment->pieces[k].text);
                continue;
            }
            end_literal(b, &run, flat, arena);
            *dm_vec_push(&flat->pieces) = (struct dm_urule_piece){{0, 0}};
        }
    }
    end_literal(b, &run, flat, arena);
}

static dm_off add_args(struct dm_builder *b, const struct dm_pattern *pattern)
{
    struct dm_urule_arg *args DM_CLEANUP(dm_freep) = dm_calloc(pattern->n_query, sizeof(*args));

    for (size_t i = 0; i < pattern->n_query; i++) {
        args[i].name = dm_builder_str(b, pattern->query[i].name);
        args[i].is_variable = pattern->query[i].is_variable;
        if (!args[i].is_variable)
            args[i].value = dm_builder_str(b, pattern->query[i].value);
    }
    return DM_BUILDER_ADD(b, args, pattern->n_query, struct dm_urule_arg);
}

static int compile_rule(struct dm_builder *b, const struct dm_mapping_rule *rule, const struct dm_metric_names *metrics,
                        struct dm_arena *arena, struct dm_umapping_rule *ret, struct dm_str *ret_prefix,
                        struct dm_err *err)
{
    struct flat flat = {DM_STR_NULL, {0}};
    struct dm_pattern pattern;
    int rc;

    if ((rc = dm_pattern_parse(rule->pattern, arena, &pattern, err)) < 0)
        return rc;
    flatten(b, &pattern, arena, &flat);
    *ret = (struct dm_umapping_rule){.metric = dm_metric_index(metrics, rule->metric),
                                     .delta = (uint32_t)rule->delta,
                                     .n_pieces = (uint16_t)flat.pieces.count,
                                     .n_args = (uint16_t)pattern.n_query,
                                     .prefix_len = (uint16_t)flat.prefix.len,
                                     .is_exact = pattern.is_exact,
                                     .is_last = rule->last,
                                     .pattern = dm_builder_str(b, rule->pattern)};
    ret->pieces = DM_BUILDER_ADD(b, flat.pieces.items, flat.pieces.count, struct dm_urule_piece);
    ret->args = add_args(b, &pattern);
    *ret_prefix = flat.prefix;
    dm_vec_done(&flat.pieces);
    return 0;
}

/* --- the trie ----------------------------------------------------------------------------------------------------- */

static struct node *node_new(struct dm_str label)
{
    struct node *node = dm_calloc(1, sizeof(*node));

    node->label = label;
    return node;
}

static void node_free(struct node *node)
{
    for (size_t i = 0; i < node->children.count; i++)
        node_free(node->children.items[i]);
    dm_vec_done(&node->children);
    dm_vec_done(&node->rules);
    dm_free(node);
}

static size_t common_prefix(struct dm_str a, struct dm_str b)
{
    size_t n = 0, max = DM_MIN(a.len, b.len);

    while (n < max && a.ptr[n] == b.ptr[n])
        n++;
    return n;
}

/* Cuts the child after n bytes of its label and returns the new upper half. */
static struct node *split(struct node **child, size_t n)
{
    struct node *upper = node_new(dm_str_n((*child)->label.ptr, n));

    (*child)->label = dm_str_skip((*child)->label, n);
    *dm_vec_push(&upper->children) = *child;
    *child = upper;
    return upper;
}

static void trie_insert(struct node *node, struct dm_str rest, uint16_t rule)
{
    while (rest.len > 0) {
        struct node **child = NULL;
        for (size_t i = 0; i < node->children.count && !child; i++)
            if (node->children.items[i]->label.ptr[0] == rest.ptr[0])
                child = &node->children.items[i];
        if (!child) {
            struct node *leaf = node_new(rest);
            *dm_vec_push(&node->children) = leaf;
            node = leaf;
            break;
        }
        size_t n = common_prefix((*child)->label, rest);
        node = n < (*child)->label.len ? split(child, n) : *child;
        rest = dm_str_skip(rest, n);
    }
    *dm_vec_push(&node->rules) = rule;
}

static dm_off add_node(struct dm_builder *b, const struct node *node)
{
    struct dm_urule_node out = {.label = dm_builder_str(b, node->label),
                                .n_children = (uint16_t)node->children.count,
                                .n_rules = (uint16_t)node->rules.count};
    uint32_t *children DM_CLEANUP(dm_freep) = dm_calloc(node->children.count, sizeof(*children));

    for (size_t i = 0; i < node->children.count; i++)
        children[i] = add_node(b, node->children.items[i]);
    out.children = DM_BUILDER_ADD(b, children, node->children.count, uint32_t);
    out.rules = DM_BUILDER_ADD(b, node->rules.items, node->rules.count, uint16_t);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_urule_node);
}

/* The trie of one method ("" = those that no rule names): its own rules and those for any, in their order. */
static dm_off add_trie(struct dm_builder *b, const struct dm_mapping_rule *rules, const struct dm_str *prefixes,
                       size_t n_rules, struct dm_str method)
{
    struct node *root = node_new(DM_STR(""));
    dm_off at;

    for (size_t i = 0; i < n_rules; i++)
        if (dm_str_eq(rules[i].method, DM_METHOD_ANY) || dm_str_eq(rules[i].method, method))
            trie_insert(root, prefixes[i], (uint16_t)i);
    at = add_node(b, root);
    node_free(root);
    return at;
}

static bool is_first_of_method(const struct dm_mapping_rule *rules, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (dm_str_eq(rules[k].method, rules[i].method))
            return false;
    return !dm_str_eq(rules[i].method, DM_METHOD_ANY);
}

static void add_methods(struct dm_builder *b, const struct dm_mapping_rule *rules, const struct dm_str *prefixes,
                        size_t n_rules, struct dm_urules *ret)
{
    DM_VEC(struct dm_urule_method) methods = {0};

    for (size_t i = 0; i < n_rules; i++)
        if (is_first_of_method(rules, i)) {
            struct dm_urule_method method = {dm_builder_str(b, rules[i].method), 0, 0};
            method.root = add_trie(b, rules, prefixes, n_rules, rules[i].method);
            *dm_vec_push(&methods) = method;
        }
    struct dm_urule_method any = {{0, 0}, add_trie(b, rules, prefixes, n_rules, DM_STR("")), 0};
    *dm_vec_push(&methods) = any;
    ret->methods = DM_BUILDER_ADD(b, methods.items, methods.count, struct dm_urule_method);
    ret->n_methods = (uint32_t)methods.count;
    dm_vec_done(&methods);
}

static int compile_all(struct dm_builder *b, const struct dm_mapping_rule *rules, size_t n_rules,
                       const struct dm_metric_names *metrics, struct dm_arena *arena, dm_off *ret, struct dm_err *err)
{
    struct dm_umapping_rule *out DM_CLEANUP(dm_freep) = dm_calloc(n_rules, sizeof(*out));
    struct dm_str *prefixes DM_CLEANUP(dm_freep) = dm_calloc(n_rules, sizeof(*prefixes));
    struct dm_urules root = {.n_rules = (uint32_t)n_rules};
    int rc;

    for (size_t i = 0; i < n_rules; i++)
        if ((rc = compile_rule(b, &rules[i], metrics, arena, &out[i], &prefixes[i], err)) < 0)
            return rc;
    root.rules = DM_BUILDER_ADD(b, out, n_rules, struct dm_umapping_rule);
    add_methods(b, rules, prefixes, n_rules, &root);
    *ret = DM_BUILDER_ADD(b, &root, 1, struct dm_urules);
    return 0;
}

int dm_compile_rules(struct dm_builder *b, const struct dm_mapping_rule *rules, size_t n_rules,
                     const struct dm_metric_names *metrics, dm_off *ret, struct dm_err *err)
{
    struct dm_arena arena;
    int rc;

    if (n_rules > DM_RULES_MAX)
        return dm_fail(err, DM_EINVAL, "/mapping_rules", "must have at most %u items, has %zu", DM_RULES_MAX, n_rules);
    dm_arena_init(&arena, NULL, PATTERN_ARENA_BYTES * (1 + n_rules / 64));
    rc = compile_all(b, rules, n_rules, metrics, &arena, ret, err);
    dm_arena_done(&arena);
    return rc;
}
