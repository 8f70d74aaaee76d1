/* Compiled mapping rules against the plain rule of model/mapping_rule.h, over random patterns and paths. */
#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/mapping_rule.h"
#include "snapshot/release.h"
#include "snapshot/rules.h"

static uint64_t state;

static uint32_t any(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* Few letters, so that patterns and paths meet often. */
static void random_pattern(char *ret, bool *ret_is_exact)
{
    static const char *const pieces[] = {"a", "b", "ab", "{x}", "{y}", "a{x}", "{x}b", "{x}a{y}", "ba", "a.b"};
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, ret, 128);
    for (uint32_t n = 1 + any(3); n > 0; n--) {
        dm_buf_add_char(&buf, '/');
        if (n > 1 || any(4) > 0)
            dm_buf_add(&buf, dm_str_of(pieces[any(DM_COUNT(pieces))]));
    }
    *ret_is_exact = any(3) == 0;
    if (*ret_is_exact)
        dm_buf_add_char(&buf, '$');
    dm_buf_add_char(&buf, '\0');
}

static void random_path(char *ret)
{
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, ret, 128);
    for (uint32_t n = 1 + any(4); n > 0; n--) {
        dm_buf_add_char(&buf, '/');
        for (uint32_t k = n > 1 ? 1 + any(3) : any(4); k > 0; k--)
            dm_buf_add_char(&buf, "ab."[any(8) == 0 ? 2 : any(2)]);
    }
    dm_buf_add_char(&buf, '\0');
}

#define RULES 12

struct stage {
    char patterns[RULES][128];
    bool is_last[RULES];
    const char *methods[RULES];
};

static void write_release(const struct stage *s, struct dm_buf *body)
{
    dm_buf_add_lit(
        body, "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":1}]}],\"products\":[{"
              "\"name\":\"p\",\"domains\":[\"p.test\"],\"metrics\":[{\"name\":\"m\",\"parent\":\"hits\"}],"
              "\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\"}],"
              "\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}],\"mapping_rules\":[");
    for (int i = 0; i < RULES; i++)
        dm_buf_printf(body, "%s{\"method\":\"%s\",\"pattern\":\"%s\",\"metric\":\"%s\",\"delta\":%d,\"last\":%s}",
                      i ? "," : "", s->methods[i], s->patterns[i], i % 2 ? "m" : "hits", 1 << i,
                      s->is_last[i] ? "true" : "false");
    dm_buf_add_lit(body, "]}],\"plans\":[{\"name\":\"basic\"}]}]}");
    dm_buf_add_char(body, '\0');
}

static uint64_t expected_hits(const struct stage *s, const char *method, const char *path, uint64_t *ret_m)
{
    struct dm_arena arena;
    struct dm_pattern pattern;
    uint64_t hits = 0;

    *ret_m = 0;
    dm_arena_init(&arena, NULL, 1u << 20);
    for (int i = 0; i < RULES; i++) {
        if (strcmp(s->methods[i], "ANY") != 0 && strcmp(s->methods[i], method) != 0)
            continue;
        assert_int_equal(dm_pattern_parse(dm_str_of(s->patterns[i]), &arena, &pattern, NULL), 0);
        if (!dm_pattern_match_path(&pattern, dm_str_of(path)))
            continue;
        hits += UINT64_C(1) << i;
        *ret_m += i % 2 ? UINT64_C(1) << i : 0;
        if (s->is_last[i])
            break;
    }
    dm_arena_done(&arena);
    return hits;
}

static bool no_args(const void *ctx, struct dm_str name, const struct dm_str *value)
{
    return false;
}

static uint64_t usage_of(const struct dm_usage *usage, uint32_t metric)
{
    for (unsigned i = 0; i < usage->count; i++)
        if (usage->items[i].metric == metric)
            return usage->items[i].delta;
    return 0;
}

static void check_paths(const struct stage *s, const struct dm_unit *unit)
{
    static const char *const methods[] = {"GET", "POST", "PUT"};
    const struct dm_uproduct *product = DM_UNIT_GET(unit, dm_uproduct, DM_UNIT_ROOT(unit, dm_urelease)->products);
    const struct dm_uversion *version = DM_UNIT_GET(unit, dm_uversion, product->versions);
    struct dm_usage usage;
    char path[128];

    for (int i = 0; i < 200; i++) {
        const char *method = methods[any(3)];
        struct dm_rules_request request = {dm_str_of(method), DM_STR_NULL, no_args, NULL};
        uint64_t hits, m;
        uint32_t first;

        random_path(path);
        request.path = dm_str_of(path);
        hits = expected_hits(s, method, path, &m);
        dm_rules_match(unit, version->rules, product->metrics, &request, &usage, &first);
        if (usage_of(&usage, 0) != hits || usage_of(&usage, 1) != m)
            fail_msg("%s %s: hits %llu, expected %llu", method, path, (unsigned long long)usage_of(&usage, 0),
                     (unsigned long long)hits);
    }
}

static void test_matches_as_the_plain_rule(void **unused)
{
    static const char *const methods[] = {"GET", "POST", "ANY", "GET"};
    struct stage s;
    bool is_exact;

    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct dm_buf body DM_CLEANUP(dm_buf_done);
        struct compiled compiled;

        state = seed;
        for (int i = 0; i < RULES; i++) {
            random_pattern(s.patterns[i], &is_exact);
            s.methods[i] = methods[any(4)];
            s.is_last[i] = any(6) == 0;
        }
        dm_buf_init(&body, 1u << 20);
        write_release(&s, &body);
        compiled_init(&compiled, DM_UNIT_RELEASE, body.ptr);
        check_paths(&s, compiled.unit);
        compiled_done(&compiled);
    }
}

struct args {
    const char *name, *value;
};

static bool one_arg(const void *ctx, struct dm_str name, const struct dm_str *value)
{
    const struct args *a = ctx;

    return dm_str_eq(name, dm_str_of(a->name)) && (!value || dm_str_eq(*value, dm_str_of(a->value)));
}

static void test_asks_for_query_arguments(void **unused)
{
    static const struct {
        struct args arg;
        unsigned n;
    } cases[] = {{{"kind", "book"}, 1}, {{"kind", "film"}, 0}, {{"size", "9"}, 1}, {{"none", ""}, 0}};
    struct compiled compiled;
    struct dm_usage usage;
    uint32_t first;

    compiled_init(
        &compiled, DM_UNIT_RELEASE,
        "{\"backends\":[{\"name\":\"b\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":1}]}],\"products\":[{"
        "\"name\":\"p\",\"domains\":[\"p.test\"],\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\"}],"
        "\"backends\":[{\"path\":\"/\",\"backend\":\"b\"}],\"mapping_rules\":["
        "{\"method\":\"GET\",\"pattern\":\"/s?kind=book\",\"metric\":\"hits\"},"
        "{\"method\":\"GET\",\"pattern\":\"/s?size={n}\",\"metric\":\"hits\"}]}],\"plans\":[{\"name\":\"basic\"}]}]}");
    const struct dm_uproduct *product =
        DM_UNIT_GET(compiled.unit, dm_uproduct, DM_UNIT_ROOT(compiled.unit, dm_urelease)->products);
    const struct dm_uversion *version = DM_UNIT_GET(compiled.unit, dm_uversion, product->versions);
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_rules_request request = {DM_STR("GET"), DM_STR("/s"), one_arg, &cases[i].arg};
        assert_int_equal(dm_rules_match(compiled.unit, version->rules, product->metrics, &request, &usage, &first),
                         cases[i].n);
    }
    compiled_done(&compiled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_as_the_plain_rule),
        cmocka_unit_test(test_asks_for_query_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
