#include "testing.h"

#include "base/crypto.h"
#include "base/json.h"
#include "base/jsonw.h"
#include "base/mem.h"

#include <float.h>
#include <math.h>

static char memory[65536];

static struct dm_jsonw start(struct dm_buf *buf)
{
    struct dm_jsonw w;

    dm_buf_init_fixed(buf, memory, sizeof(memory));
    dm_jsonw_init(&w, buf);
    return w;
}

static void puts_commas_where_they_belong(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "a", "x");
    dm_jsonw_name(&w, "list");
    dm_jsonw_begin_array(&w);
    dm_jsonw_u64(&w, UINT64_MAX);
    dm_jsonw_begin_array(&w);
    dm_jsonw_end_array(&w);
    dm_jsonw_begin_object(&w);
    dm_jsonw_end_object(&w);
    dm_jsonw_i64(&w, INT64_MIN);
    dm_jsonw_i64(&w, 0);
    dm_jsonw_bool(&w, true);
    dm_jsonw_null(&w);
    dm_jsonw_raw(&w, DM_STR("{\"r\":1}"));
    dm_jsonw_end_array(&w);
    dm_jsonw_member_u64(&w, "n", 7);
    dm_jsonw_member_bool(&w, "b", false);
    dm_jsonw_name_str(&w, DM_STR("p\""));
    dm_jsonw_printf(&w, "%d%%", 50);
    dm_jsonw_end_object(&w);
    assert_str(dm_buf_str(&buf),
               "{\"a\":\"x\",\"list\":[18446744073709551615,[],{},-9223372036854775808,0,true,null,{\"r\":1}],"
               "\"n\":7,\"b\":false,\"p\\\"\":\"50%\"}");
}

static void escapes_strings(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    dm_jsonw_str(&w, dm_str_n("a\"b\\c/\b\f\n\r\t\0\x1f\x7f \xeb\xac\xb8", 18));
    assert_str(dm_buf_str(&buf), "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f \xeb\xac\xb8\"");
}

static void repairs_invalid_utf8(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    dm_jsonw_str(&w, DM_STR("\xff"
                            "a\xed\xa0\x80z\xe2\x82"));
    assert_str(dm_buf_str(&buf), "\"\xef\xbf\xbd"
                                 "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void writes_null_strings_as_empty(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    dm_jsonw_begin_array(&w);
    dm_jsonw_str(&w, DM_STR_NULL);
    dm_jsonw_cstr(&w, NULL);
    dm_jsonw_end_array(&w);
    assert_str(dm_buf_str(&buf), "[\"\",\"\"]");
}

/* Each byte at each place of a word and behind it, so that the wide scan and the narrow one both meet it. */
static void finds_every_byte_at_every_place(void **state)
{
    static const struct dm_json_limits limits = {.max_bytes = 1000, .max_depth = 1};
    unsigned c;
    size_t place;

    for (c = 1; c < 128; c++) {
        for (place = 0; place < 20; place++) {
            char text[20];
            struct dm_buf buf;
            struct dm_jsonw w = start(&buf);
            struct dm_json *value = NULL;

            memset(text, '~', sizeof(text));
            text[place] = (char)c;
            dm_jsonw_str(&w, dm_str_n(text, sizeof(text)));
            assert_int_equal(dm_json_parse(dm_buf_str(&buf), &limits, &value, NULL), 0);
            assert_true(dm_str_eq(dm_json_string(value), dm_str_n(text, sizeof(text))));
            dm_json_free(value);
        }
    }
}

static void writes_the_shortest_real(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1, "1.0"},
                 {-0.0, "-0.0"},
                 {1e100, "1e+100"},
                 {1.0 / 3, "0.3333333333333333"},
                 {5e-324, "4.94065645841247e-324"},
                 {DBL_MAX, "1.797693134862315"
                           "7e+308"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {100, "100.0"},
                 {2.5, "2.5"}};
    size_t i;

    for (i = 0; i < DM_COUNT(cases); i++) {
        struct dm_buf buf;
        struct dm_jsonw w = start(&buf);

        dm_jsonw_real(&w, cases[i].value);
        if (!dm_str_eq(dm_buf_str(&buf), dm_str_of(cases[i].text)))
            fail_msg("%s as %.*s", cases[i].text, DM_STR_ARG(dm_buf_str(&buf)));
    }
}

static void reads_back_random_reals(void **state)
{
    struct test_random random = test_random_new();
    int round;

    for (round = 0; round < 20000; round++) {
        uint64_t bits = test_random_u64(&random);
        struct dm_buf buf;
        struct dm_jsonw w = start(&buf);
        double value;

        memcpy(&value, &bits, sizeof(value));
        dm_jsonw_real(&w, value);
        dm_buf_add_char(&buf, '\0');
        if (isfinite(value))
            assert_true(strtod(buf.ptr, NULL) == value);
    }
}

static void reaches_the_depth_it_promises(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);
    int i;

    for (i = 0; i < DM_JSONW_DEPTH_MAX; i++)
        dm_jsonw_begin_array(&w);
    for (i = 0; i < DM_JSONW_DEPTH_MAX; i++)
        dm_jsonw_end_array(&w);
    assert_int_equal(buf.len, 2 * DM_JSONW_DEPTH_MAX);
}

static void cuts_a_long_printf(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    dm_jsonw_printf(&w, "%2000d", 1);
    assert_int_equal(buf.len, 1024 + 2);
}

static void leaves_a_full_buffer_failed(void **state)
{
    char small[12];
    struct dm_buf buf;
    struct dm_jsonw w;

    dm_buf_init_fixed(&buf, small, sizeof(small));
    dm_jsonw_init(&w, &buf);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "name", "value");
    dm_jsonw_end_object(&w);
    assert_true(buf.failed);
}

static void allocates_nothing(void **state)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);
    uint64_t calls = dm_mem_calls();

    dm_jsonw_begin_array(&w);
    dm_jsonw_real(&w, 1.5);
    dm_jsonw_printf(&w, "%1000d", 1);
    dm_jsonw_str(&w, DM_STR("\n"));
    dm_jsonw_end_array(&w);
    assert_true(dm_mem_calls() == calls);
}

static void misuse(void *arg)
{
    struct dm_buf buf;
    struct dm_jsonw w = start(&buf);

    switch (*(int *)arg) {
    case 0: /* a value without a name */
        dm_jsonw_begin_object(&w);
        dm_jsonw_null(&w);
        break;
    case 1: /* a name in an array */
        dm_jsonw_begin_array(&w);
        dm_jsonw_name(&w, "a");
        break;
    case 2: /* the wrong end */
        dm_jsonw_begin_array(&w);
        dm_jsonw_end_object(&w);
        break;
    case 3: /* an end too many */ dm_jsonw_end_array(&w); break;
    case 4: /* a name without a value */
        dm_jsonw_begin_object(&w);
        dm_jsonw_name(&w, "a");
        dm_jsonw_end_object(&w);
        break;
    case 5: /* two names */
        dm_jsonw_begin_object(&w);
        dm_jsonw_name(&w, "a");
        dm_jsonw_name(&w, "b");
        break;
    case 6: /* two documents */
        dm_jsonw_null(&w);
        dm_jsonw_null(&w);
        break;
    case 7: /* too deep */
        for (;;)
            dm_jsonw_begin_array(&w);
    }
}

static void asserts_its_nesting(void **state)
{
    int kind;

    for (kind = 0; kind < 8; kind++)
        if (!test_dies(misuse, &kind))
            fail_msg("misuse %d went unnoticed", kind);
}

/* Random nesting, read back by the reader; the count of items is the reference. */
static size_t write_random(struct test_random *random, struct dm_jsonw *w, int depth)
{
    size_t n = test_random_below(random, 4), items = 1, i;
    bool is_object = test_random_below(random, 2);
    char name[32];

    if (depth == 0) {
        dm_jsonw_u64(w, n);
        return 1;
    }
    if (is_object)
        dm_jsonw_begin_object(w);
    else
        dm_jsonw_begin_array(w);
    for (i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%zu", i);
        if (is_object)
            dm_jsonw_name(w, name);
        items += write_random(random, w, depth - 1);
    }
    if (is_object)
        dm_jsonw_end_object(w);
    else
        dm_jsonw_end_array(w);
    return items;
}

static size_t count_items(const struct dm_json *value)
{
    struct dm_json *inner;
    struct dm_str name;
    size_t items = 1, i;
    void *at = NULL;

    if (dm_json_type(value) == DM_JSON_OBJECT)
        while (dm_json_next(value, &at, &name, &inner))
            items += count_items(inner);
    if (dm_json_type(value) == DM_JSON_ARRAY)
        for (i = 0; i < dm_json_count(value); i++)
            items += count_items(dm_json_at(value, i));
    return items;
}

static void writes_what_the_reader_reads(void **state)
{
    static const struct dm_json_limits limits = {.max_bytes = sizeof(memory), .max_depth = 10};
    struct test_random random = test_random_new();
    int round;

    for (round = 0; round < 500; round++) {
        DM_CLEANUP(dm_json_freep) struct dm_json *root = NULL;
        struct dm_buf buf;
        struct dm_jsonw w = start(&buf);
        size_t items = write_random(&random, &w, (int)test_random_below(&random, 7));

        assert_false(buf.failed);
        assert_int_equal(dm_json_parse(dm_buf_str(&buf), &limits, &root, NULL), 0);
        assert_int_equal(count_items(root), items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_commas_where_they_belong),
        cmocka_unit_test(escapes_strings),
        cmocka_unit_test(repairs_invalid_utf8),
        cmocka_unit_test(writes_null_strings_as_empty),
        cmocka_unit_test(finds_every_byte_at_every_place),
        cmocka_unit_test(writes_the_shortest_real),
        cmocka_unit_test(reads_back_random_reals),
        cmocka_unit_test(reaches_the_depth_it_promises),
        cmocka_unit_test(cuts_a_long_printf),
        cmocka_unit_test(leaves_a_full_buffer_failed),
        cmocka_unit_test(allocates_nothing),
        cmocka_unit_test(asserts_its_nesting),
        cmocka_unit_test(writes_what_the_reader_reads),
    };

    if (dm_crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
