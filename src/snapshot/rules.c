#include "snapshot/rules.h"
#include "snapshot/release.h"

/* The rules whose literal prefix the path has, as a bit set: they must be tried in their order. */
struct candidates {
    uint64_t bits[DM_RULES_MAX / 64];
    unsigned words;
};

static const struct dm_urule_node *child_for(const struct dm_unit *unit, const struct dm_urule_node *node, char c)
{
    const uint32_t *children = dm_unit_at(unit, node->children);

    for (unsigned i = 0; i < node->n_children; i++) {
        const struct dm_urule_node *child = DM_UNIT_GET(unit, dm_urule_node, children[i]);
        if (unit->base[child->label.at] == c)
            return child;
    }
    return NULL;
}

static void collect(const struct dm_unit *unit, const struct dm_urule_node *root, struct dm_str path,
                    struct candidates *ret)
{
    const struct dm_urule_node *node = root;

    for (;;) {
        const uint16_t *rules = dm_unit_at(unit, node->rules);
        for (unsigned i = 0; i < node->n_rules; i++)
            ret->bits[rules[i] / 64] |= UINT64_C(1) << (rules[i] % 64);
        if (path.len == 0 || !(node = child_for(unit, node, path.ptr[0])) ||
            !dm_str_starts(path, dm_unit_str(unit, node->label)))
            return;
        path = dm_str_skip(path, node->label.len);
    }
}

static size_t segment_len(struct dm_str s)
{
    return dm_str_find(s, '/');
}

/* Where the literal must begin in rest, of which the first byte belongs to the variable before it. A literal with a slash
 * can begin at one place only; without one the leftmost place is never worse, since what follows it is a variable or
 * anything; at the end of an exact pattern it is the last place. SIZE_MAX: nowhere. */
static size_t literal_begin(struct dm_str rest, struct dm_str literal, bool is_at_end)
{
    size_t segment = segment_len(rest), slash = dm_str_find(literal, '/');

    if (slash < literal.len) {
        size_t begin = segment - slash;
        if (segment < slash + 1 || !dm_str_starts(dm_str_skip(rest, begin), literal))
            return SIZE_MAX;
        return begin;
    }
    if (is_at_end) {
        if (segment != rest.len || rest.len < literal.len + 1 || !dm_str_ends(rest, literal))
            return SIZE_MAX;
        return rest.len - literal.len;
    }
    for (size_t begin = 1; begin + literal.len <= segment; begin++)
        if (dm_str_starts(dm_str_skip(rest, begin), literal))
            return begin;
    return SIZE_MAX;
}

/* Does the rest of the path, behind the literal prefix, go with the pieces? */
static bool pieces_match(const struct dm_unit *unit, const struct dm_umapping_rule *rule, struct dm_str rest)
{
    const struct dm_urule_piece *pieces = dm_unit_at(unit, rule->pieces);
    bool has_variable = false;

    for (unsigned i = 0; i < rule->n_pieces; i++) {
        struct dm_str literal = dm_unit_str(unit, pieces[i].literal);
        if (literal.len == 0) {
            if (has_variable) /* two variables side by side: the first takes one byte */
                rest = dm_str_skip(rest, 1);
            if (segment_len(rest) == 0)
                return false;
            has_variable = true;
            continue;
        }
        size_t begin = literal_begin(rest, literal, rule->is_exact && i + 1 == rule->n_pieces);
        if (begin == SIZE_MAX)
            return false;
        rest = dm_str_skip(rest, begin + literal.len);
        has_variable = false;
    }
    if (!rule->is_exact)
        return true;
    return has_variable ? segment_len(rest) == rest.len : rest.len == 0;
}

static bool args_match(const struct dm_unit *unit, const struct dm_umapping_rule *rule,
                       const struct dm_rules_request *request)
{
    const struct dm_urule_arg *args = dm_unit_at(unit, rule->args);

    for (unsigned i = 0; i < rule->n_args; i++) {
        struct dm_str value = dm_unit_str(unit, args[i].value);
        if (!request->has_arg(request->ctx, dm_unit_str(unit, args[i].name), args[i].is_variable ? NULL : &value))
            return false;
    }
    return true;
}

static void count_metric(struct dm_usage *usage, uint32_t metric, uint64_t delta)
{
    for (unsigned i = 0; i < usage->count; i++)
        if (usage->items[i].metric == metric) {
            usage->items[i].delta += delta;
            return;
        }
    usage->items[usage->count].metric = metric;
    usage->items[usage->count++].delta = delta;
}

/* A method counts for its parent too. Parents come before their methods in the array, so this ends. */
static void count_rule(const struct dm_umetric *metrics, const struct dm_umapping_rule *rule, struct dm_usage *usage)
{
    for (int32_t metric = (int32_t)rule->metric; metric >= 0; metric = metrics[metric].parent)
        count_metric(usage, (uint32_t)metric, rule->delta);
}

/* The entry for any other method stands last. */
static const struct dm_urule_node *method_root(const struct dm_unit *unit, const struct dm_urules *rules,
                                               struct dm_str method)
{
    const struct dm_urule_method *methods = dm_unit_at(unit, rules->methods);

    for (unsigned i = 0; i < rules->n_methods; i++)
        if (methods[i].method.len == 0 || dm_str_eq(dm_unit_str(unit, methods[i].method), method))
            return DM_UNIT_GET(unit, dm_urule_node, methods[i].root);
    return NULL;
}

/* The path behind the rule's literal prefix: the pattern's bytes up to its first piece. */
static struct dm_str behind_prefix(const struct dm_umapping_rule *rule, struct dm_str path)
{
    return dm_str_skip(path, rule->prefix_len);
}

unsigned dm_rules_match(const struct dm_unit *unit, dm_off rules_at, dm_off metrics_at,
                        const struct dm_rules_request *request, struct dm_usage *ret, uint32_t *ret_first)
{
    const struct dm_urules *rules = dm_unit_at(unit, rules_at);
    const struct dm_umapping_rule *all = dm_unit_at(unit, rules->rules);
    const struct dm_umetric *metrics = dm_unit_at(unit, metrics_at);
    const struct dm_urule_node *root = method_root(unit, rules, request->method);
    struct candidates found;
    unsigned n = 0;

    ret->count = 0;
    if (!root)
        return 0;
    found.words = (rules->n_rules + 63) / 64;
    memset(found.bits, 0, found.words * sizeof(found.bits[0]));
    collect(unit, root, request->path, &found);
    for (unsigned w = 0; w < found.words; w++)
        for (uint64_t bits = found.bits[w]; bits; bits &= bits - 1) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(bits);
            const struct dm_umapping_rule *rule = &all[i];
            if (!pieces_match(unit, rule, behind_prefix(rule, request->path)) || !args_match(unit, rule, request))
                continue;
            if (n++ == 0)
                *ret_first = i;
            count_rule(metrics, rule, ret);
            if (rule->is_last)
                return n;
        }
    return n;
}
