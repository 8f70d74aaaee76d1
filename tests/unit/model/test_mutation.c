/* Random changes of a good file: reading never breaks, each error points at something that is there, and what is accepted
 * survives writing and reading again. */
#include "fixture.h"

#include "base/buf.h"
#include "model/tenant_file.h"

#define ROUNDS 4000

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* The n-th value of the tree in document order, by its pointer. */
static bool pointer_to(const struct dm_json *node, size_t *n, struct dm_buf *ret)
{
    size_t mark = ret->len;
    struct dm_str name;
    struct dm_json *value;

    if ((*n)-- == 0)
        return true;
    if (dm_json_type(node) == DM_JSON_ARRAY) {
        for (size_t i = 0; i < dm_json_count(node); i++) {
            dm_buf_printf(ret, "/%zu", i);
            if (pointer_to(dm_json_at(node, i), n, ret))
                return true;
            ret->len = mark;
        }
    } else if (dm_json_type(node) == DM_JSON_OBJECT) {
        for (void *at = NULL; dm_json_next(node, &at, &name, &value);) {
            dm_buf_printf(ret, "/%.*s", DM_STR_ARG(name));
            if (pointer_to(value, n, ret))
                return true;
            ret->len = mark;
        }
    }
    return false;
}

static size_t count_values(const struct dm_json *node)
{
    size_t n = 1;
    struct dm_str name;
    struct dm_json *value;

    if (dm_json_type(node) == DM_JSON_ARRAY) {
        for (size_t i = 0; i < dm_json_count(node); i++)
            n += count_values(dm_json_at(node, i));
    } else if (dm_json_type(node) == DM_JSON_OBJECT) {
        for (void *at = NULL; dm_json_next(node, &at, &name, &value);)
            n += count_values(value);
    }
    return n;
}

static const char *const values[] = {
    "",
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "9223372036854775807",
    "''",
    "'a'",
    "'A b'",
    "'/'",
    "'/a/{b}$'",
    "'*'",
    "'*.a.example'",
    "'::1'",
    "'10.0.0.0/8'",
    "'GET'",
    "'hits'",
    "'active'",
    "'~1\\n'",
    "'\xEC\xA3\xBC'",
    "[]",
    "[[]]",
    "[{}]",
    "['a','a']",
    "{}",
    "{'a':1}",
    "{'type':'cors'}",
    "{'type':'compression'}",
    "{'name':'x'}",
    "[{'name':'x'},{'name':'x'}]",
    "{'auth_missing':{'status':403}}",
    "'orders'",
    "'api_key'",
    "80",
};

static struct dm_json *mutate(const struct dm_json *root, uint64_t *seed)
{
    size_t at = next_random(seed) % count_values(root);
    const char *value = values[next_random(seed) % DM_COUNT(values)];
    struct dm_json *ret;
    struct dm_buf pointer;

    dm_buf_init(&pointer, 4096);
    pointer_to(root, &at, &pointer);
    if (next_random(seed) % 8 == 0)
        dm_buf_add_lit(&pointer, "/zzz");
    if (pointer.len == 0)
        value = value[0] ? value : "{}";
    dm_buf_add_char(&pointer, '\0');
    ret = fixture_at(root, pointer.ptr) ? fixture_with(root, pointer.ptr, value) : dm_json_copy(root);
    dm_buf_done(&pointer);
    return ret ? ret : dm_json_copy(root);
}

static void check_errors(const struct dm_json *json, const struct dm_errs *errs)
{
    assert_true(errs->n > 0 && errs->n <= errs->total);
    for (size_t i = 0; i < errs->n; i++) {
        if (errs->items[i].message[0] == '\0' || !fixture_at(json, errs->items[i].pointer))
            fail_msg("'%s' is not there: %s", errs->items[i].pointer, errs->items[i].message);
        assert_true(dm_str_is_utf8(dm_str_of(errs->items[i].message)));
    }
}

static void check_accepted(const struct dm_tenant_file *file, struct dm_arena *arena)
{
    const char *text = fixture_text(&dm_schema_tenant_file, file, DM_WRITE_SECRETS, arena);
    struct dm_tenant_file again;
    struct dm_errs errs = {0};

    if (dm_model_read_text(&dm_schema_tenant_file, dm_str_of(text), 1 << 20, arena, &again, &errs) < 0)
        fail_msg("%s: %s\n%s", errs.items[0].pointer, errs.items[0].message, text);
    assert_true(dm_model_equal(&dm_schema_tenant_file, file, &again));
}

static void survives_changes(void **state)
{
    struct dm_json *good = fixture_json(fixture_file);
    uint64_t seed = 20261101;
    size_t accepted = 0;

    for (size_t round = 0; round < ROUNDS; round++) {
        struct dm_json *json = mutate(good, &seed);
        struct dm_errs errs = {0};
        struct dm_tenant_file file;
        struct dm_arena arena;

        for (uint64_t i = next_random(&seed) % 3; i > 0; i--) {
            struct dm_json *more = mutate(json, &seed);

            dm_json_free(json);
            json = more;
        }
        dm_arena_init(&arena, NULL, 4 << 20);
        if (dm_model_read(&dm_schema_tenant_file, json, &arena, &file, &errs) < 0) {
            check_errors(json, &errs);
        } else {
            check_accepted(&file, &arena);
            accepted++;
        }
        dm_arena_done(&arena);
        dm_json_free(json);
    }
    assert_true(accepted > ROUNDS / 50 && accepted < ROUNDS);
    dm_json_free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives_changes)};

    return cmocka_run_group_tests_name("model/mutation", tests, fixture_crypto, NULL);
}
