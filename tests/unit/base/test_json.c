#include "testing.h"

#include "base/buf.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"

#include <math.h>

static const struct dm_json_limits limits = {.max_bytes = 1 << 20, .max_depth = 16};

static struct dm_json *parse(const char *text)
{
    struct dm_err err = {0};
    struct dm_json *root = NULL;

    if (dm_json_parse(dm_str_of(text), &limits, &root, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return root;
}

static void assert_prints(const struct dm_json *value, bool is_indented, const char *expected)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf buf;

    dm_buf_init(&buf, 1 << 20);
    dm_json_print(value, is_indented, &buf);
    dm_buf_add_char(&buf, '\0');
    assert_false(buf.failed);
    assert_string_equal(buf.ptr, expected);
}

static void reads_every_type(void **state)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *root = parse("[null,true,false,-7,2.5,\"s\",[1],{\"a\":1}]");
    static const char *const names[] = {"null", "boolean", "boolean", "integer", "number", "string", "array", "object"};
    size_t i;

    assert_int_equal(dm_json_count(root), 8);
    for (i = 0; i < 8; i++)
        assert_string_equal(dm_json_type_name(dm_json_at(root, i)), names[i]);
    assert_int_equal(dm_json_type(dm_json_at(root, 0)), DM_JSON_NULL);
    assert_true(dm_json_bool(dm_json_at(root, 1)));
    assert_false(dm_json_bool(dm_json_at(root, 2)));
    assert_int_equal(dm_json_int(dm_json_at(root, 3)), -7);
    assert_true(dm_json_real(dm_json_at(root, 3)) == -7.0);
    assert_true(dm_json_real(dm_json_at(root, 4)) == 2.5);
    assert_str(dm_json_string(dm_json_at(root, 5)), "s");
    assert_null(dm_json_at(root, 8));
}

static void reads_any_root(void **state)
{
    static const char *const roots[] = {
        "null", "1", "\"x\"", " [ ] ", "{}", "9223372036854775807", "-9223372036854775808"};
    size_t i;

    for (i = 0; i < DM_COUNT(roots); i++)
        dm_json_free(parse(roots[i]));
}

static void keeps_members_in_order(void **state)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *root = parse("{\"b\":1,\"a\":2,\"\\u0063\\u00e4\":3}");
    struct dm_json *value;
    struct dm_str name;
    void *at = NULL;

    assert_true(dm_json_next(root, &at, &name, &value));
    assert_str(name, "b");
    assert_int_equal(dm_json_int(value), 1);
    assert_true(dm_json_next(root, &at, &name, &value));
    assert_str(name, "a");
    assert_true(dm_json_next(root, &at, &name, &value));
    assert_str(name, "c\xc3\xa4");
    assert_false(dm_json_next(root, &at, &name, &value));
    assert_int_equal(dm_json_count(root), 3);
    assert_int_equal(dm_json_int(dm_json_get(root, "a")), 2);
    assert_null(dm_json_get(root, "d"));
}

static void refuses_what_is_not_json(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "[1] x",
        "[1][2]",
        "'a'",
        "01",
        "+1",
        "1.",
        ".5",
        "0x10",
        "NaN",
        "Infinity",
        "1e999",
        "-1e999",
        "[1 2]",
        "{\"a\" 1}",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\u0000\"",
        "{\"\\u0000\":1}",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"abc",
        "tru",
        "nul",
        "9223372036854775808",
        "-9223372036854775809",
        "/* c */ 1",
        "\xef\xbb\xbf[]",
        "\"\\",
        "[\"\\\"]",
        "]",
        "}",
    };
    struct dm_json *root = (struct dm_json *)&root;
    size_t i;

    for (i = 0; i < DM_COUNT(bad); i++) {
        struct dm_err err = {0};
        int rc = dm_json_parse(dm_str_of(bad[i]), &limits, &root, &err);

        if (rc != DM_EINVAL)
            fail_msg("'%s' gave %d", bad[i], rc);
        assert_true(dm_str_starts(dm_str_of(err.message), DM_STR("line 1 column ")));
        assert_int_equal(dm_json_parse(dm_str_of(bad[i]), &limits, &root, NULL), DM_EINVAL);
    }
    assert_int_equal(dm_json_parse(dm_str_n("[1\0]", 4), &limits, &root, NULL), DM_EINVAL);
    assert_int_equal(dm_json_parse(dm_str_n("[1]\0", 4), &limits, &root, NULL), DM_EINVAL);
    assert_int_equal(dm_json_parse(DM_STR_NULL, &limits, &root, NULL), DM_EINVAL);
    assert_ptr_equal(root, &root);
}

static void refuses_a_second_member_of_a_name(void **state)
{
    struct dm_json *root;
    struct dm_err err = {0};

    assert_int_equal(dm_json_parse(DM_STR("{\"a\":1,\n \"\\u0061\":2}"), &limits, &root, &err), DM_EINVAL);
    assert_true(dm_str_starts(dm_str_of(err.message), DM_STR("line 2 column ")));
    assert_non_null(strstr(err.message, "duplicate"));
}

static void says_where(void **state)
{
    struct dm_json *root;
    struct dm_err err = {0};

    assert_int_equal(dm_json_parse(DM_STR("{\n  \"a\": 1,\n  \"b\": x\n}"), &limits, &root, &err), DM_EINVAL);
    assert_string_equal(err.message, "line 3 column 8: invalid token near 'x'");
    assert_string_equal(err.pointer, "");
}

static void caps_the_size(void **state)
{
    struct dm_json_limits small = {.max_bytes = 4, .max_depth = 4};
    struct dm_json *root;
    struct dm_err err = {0};

    assert_int_equal(dm_json_parse(DM_STR("[12]"), &small, &root, &err), 0);
    dm_json_free(root);
    assert_int_equal(dm_json_parse(DM_STR("[123]"), &small, &root, &err), DM_EBUDGET);
    assert_string_equal(err.message, "line 1 column 1: at most 4 bytes are allowed, found 5");
}

static void caps_the_depth(void **state)
{
    struct dm_json_limits shallow = {.max_bytes = 1000, .max_depth = 2};
    struct dm_json *root;
    struct dm_err err = {0};

    assert_int_equal(dm_json_parse(DM_STR("[{},{\"[{[\":\"\\\"[[[\\\\\"},[]]"), &shallow, &root, &err), 0);
    dm_json_free(root);
    assert_int_equal(dm_json_parse(DM_STR("[\n{\"\xc3\xa4\": []}]"), &shallow, &root, &err), DM_EBUDGET);
    assert_string_equal(err.message, "line 2 column 7: nested deeper than 2 levels");
    shallow.max_depth = 0;
    assert_int_equal(dm_json_parse(DM_STR("7"), &shallow, &root, &err), 0);
    dm_json_free(root);
    assert_int_equal(dm_json_parse(DM_STR("[]"), &shallow, &root, &err), DM_EBUDGET);
}

static void does_not_recurse_into_a_bomb(void **state)
{
    DM_CLEANUP(dm_freep) char *bomb = dm_alloc(1 << 20);
    struct dm_json_limits wide = {.max_bytes = 1 << 20, .max_depth = 1000000000};
    struct dm_json *root;

    memset(bomb, '[', 1 << 20);
    assert_int_equal(dm_json_parse(dm_str_n(bomb, 1 << 20), &limits, &root, NULL), DM_EBUDGET);
    assert_true(dm_json_parse(dm_str_n(bomb, 1 << 20), &wide, &root, NULL) < 0);
}

static void prints_compact_and_indented(void **state)
{
    DM_CLEANUP(dm_json_freep)
    struct dm_json *root =
        parse("{\"b\":[1,{\"c\":null}],\"a\":[],\"o\":{},\"s\":\"\\u00e4\\n\\\"/\",\"t\":true,\"r\":1e2}");

    assert_prints(root, false,
                  "{\"b\":[1,{\"c\":null}],\"a\":[],\"o\":{},\"s\":\"\xc3\xa4\\n\\\"/\",\"t\":true,\"r\":100.0}");
    assert_prints(root, true,
                  "{\n  \"b\": [\n    1,\n    {\n      \"c\": null\n    }\n  ],\n  \"a\": [],\n  \"o\": {},\n"
                  "  \"s\": \"\xc3\xa4\\n\\\"/\",\n  \"t\": true,\n  \"r\": 100.0\n}");
}

static void builds_trees(void **state)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *root = dm_json_new_object();
    DM_CLEANUP(dm_json_freep) struct dm_json *copy = NULL;
    struct dm_json *array = dm_json_new_array();

    dm_json_append(array, dm_json_new_int(INT64_MIN));
    dm_json_append(array, dm_json_new_real(0.1));
    dm_json_append(array, dm_json_new_null());
    dm_json_set(root, "x", dm_json_new_bool(true));
    dm_json_set(root, "list", array);
    dm_json_set(root, "s", dm_json_new_string(DM_STR("hi")));
    dm_json_set(root, "x", dm_json_new_bool(false));
    assert_prints(root, false, "{\"x\":false,\"list\":[-9223372036854775808,0.1,null],\"s\":\"hi\"}");
    copy = dm_json_copy(root);
    assert_true(dm_json_equal(root, copy));
    dm_json_append(dm_json_get(copy, "list"), dm_json_new_int(1));
    assert_false(dm_json_equal(root, copy));
    assert_int_equal(dm_json_count(array), 3);
    dm_json_del(root, "list");
    dm_json_del(root, "nobody");
    assert_prints(root, false, "{\"x\":false,\"s\":\"hi\"}");
}

static void builds_no_value_that_has_no_text(void **state)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *empty = dm_json_new_string(DM_STR_NULL);

    assert_null(dm_json_new_string(DM_STR("\xff")));
    assert_null(dm_json_new_string(dm_str_n("a\0b", 3)));
    assert_null(dm_json_new_real(NAN));
    assert_null(dm_json_new_real(INFINITY));
    assert_prints(empty, false, "\"\"");
}

static void does_not_print_past_the_buffer(void **state)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *root = parse("[1,2,3,{\"a\":\"bcdefghijkl\"}]");
    char memory[10];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, memory, sizeof(memory));
    dm_json_print(root, true, &buf);
    assert_true(buf.failed);
}

static void counts_its_memory(void **state)
{
    uint64_t calls = dm_mem_calls();

    dm_json_free(parse("[1]"));
    assert_true(dm_mem_calls() > calls);
}

/* A random tree; depth is what is left. */
static struct dm_json *grow(struct test_random *random, int depth)
{
    struct dm_json *value;
    char text[16];
    double real;
    size_t n = test_random_below(random, 5), i;

    switch (test_random_below(random, depth > 0 ? 8 : 6)) {
    case 0: return dm_json_new_null();
    case 1: return dm_json_new_bool(n & 1);
    case 2: return dm_json_new_int((int64_t)(test_random_u64(random) >> test_random_below(random, 64)));
    case 3:
        i = test_random_u64(random);
        memcpy(&real, &i, sizeof(real));
        return dm_json_new_real(isfinite(real) ? real : 0.5);
    case 4:
    case 5:
        for (i = 0; i < sizeof(text); i++)
            text[i] = (char)(1 + test_random_below(random, 127));
        return dm_json_new_string(dm_str_n(text, test_random_below(random, sizeof(text))));
    case 6:
        for (value = dm_json_new_array(); n > 0; n--)
            dm_json_append(value, grow(random, depth - 1));
        return value;
    default:
        for (value = dm_json_new_object(); n > 0; n--) {
            snprintf(text, sizeof(text), "m%zu\"\n", test_random_below(random, 100));
            dm_json_set(value, text, grow(random, depth - 1));
        }
        return value;
    }
}

static void reads_back_what_it_printed(void **state)
{
    struct test_random random = test_random_new();
    int round;

    for (round = 0; round < 2000; round++) {
        DM_CLEANUP(dm_json_freep) struct dm_json *tree = grow(&random, 5);
        DM_CLEANUP(dm_json_freep) struct dm_json *back = NULL;
        DM_CLEANUP(dm_buf_done) struct dm_buf buf;
        struct dm_err err = {0};

        dm_buf_init(&buf, 1 << 20);
        dm_json_print(tree, round % 2, &buf);
        if (dm_json_parse(dm_buf_str(&buf), &limits, &back, &err) < 0)
            fail_msg("%s in %.*s", err.message, DM_STR_ARG(dm_buf_str(&buf)));
        assert_true(dm_json_equal(tree, back));
    }
}

/* Whatever is cut off or flipped: a tree or an error, never both or neither. */
static void survives_damage(void **state)
{
    static const char text[] =
        "{\"name\":\"orders\",\"n\":[1,-2.5e3,true,null,{\"\\u00e4\":\"\xeb\x8c\x80\"}],\"e\":{}}";
    struct test_random random = test_random_new();
    char damaged[sizeof(text)];
    int round;

    for (round = 0; round < 20000; round++) {
        struct dm_json *root = NULL;
        struct dm_err err = {0};
        size_t len = 1 + test_random_below(&random, sizeof(text) - 1);
        int rc;

        memcpy(damaged, text, len);
        damaged[test_random_below(&random, len)] = (char)test_random_u64(&random);
        rc = dm_json_parse(dm_str_n(damaged, len), &limits, &root, &err);
        assert_int_equal(rc < 0, !root);
        assert_int_equal(rc, err.code);
        dm_json_free(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),
        cmocka_unit_test(reads_any_root),
        cmocka_unit_test(keeps_members_in_order),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_a_second_member_of_a_name),
        cmocka_unit_test(says_where),
        cmocka_unit_test(caps_the_size),
        cmocka_unit_test(caps_the_depth),
        cmocka_unit_test(does_not_recurse_into_a_bomb),
        cmocka_unit_test(prints_compact_and_indented),
        cmocka_unit_test(builds_trees),
        cmocka_unit_test(builds_no_value_that_has_no_text),
        cmocka_unit_test(does_not_print_past_the_buffer),
        cmocka_unit_test(counts_its_memory),
        cmocka_unit_test(reads_back_what_it_printed),
        cmocka_unit_test(survives_damage),
    };

    if (dm_crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
