#include "testing.h"

#include "base/err.h"

static void compares(void **state)
{
    assert_true(dm_str_eq(DM_STR("ab"), DM_STR("ab")));
    assert_false(dm_str_eq(DM_STR("ab"), DM_STR("aB")));
    assert_true(dm_str_eq(DM_STR_NULL, DM_STR("")));
    assert_true(dm_str_ieq(DM_STR("Content-LENGTH"), DM_STR("content-length")));
    assert_false(dm_str_ieq(DM_STR("a@"), DM_STR("a`"))); /* 0x40, 0x60: no letters */
    assert_false(dm_str_ieq(DM_STR("a["), DM_STR("a{")));
    assert_false(dm_str_ieq(DM_STR("\xc3\x84"), DM_STR("\xc3\xa4"))); /* not ASCII */
    assert_true(dm_str_cmp(DM_STR("a"), DM_STR("ab")) < 0);
    assert_true(dm_str_cmp(DM_STR("b"), DM_STR("ab")) > 0);
    assert_true(dm_str_cmp(DM_STR("\xff"), DM_STR("a")) > 0);
    assert_int_equal(dm_str_cmp(DM_STR_NULL, DM_STR("")), 0);
    assert_true(dm_str_starts(DM_STR("abc"), DM_STR("ab")) && dm_str_starts(DM_STR("abc"), DM_STR_NULL));
    assert_true(dm_str_ends(DM_STR("abc"), DM_STR("bc")) && !dm_str_ends(DM_STR("c"), DM_STR("bc")));
}

static void finds_and_trims(void **state)
{
    assert_int_equal(dm_str_find(DM_STR("a:b:"), ':'), 1);
    assert_int_equal(dm_str_find(DM_STR("ab"), ':'), 2);
    assert_int_equal(dm_str_find(DM_STR_NULL, ':'), 0);
    assert_str(dm_str_trim(DM_STR(" \t a b\t ")), "a b");
    assert_str(dm_str_trim(DM_STR(" \t")), "");
    assert_str(dm_str_trim(DM_STR("\na\n")), "\na\n");
    assert_str(dm_str_skip(DM_STR("abc"), 2), "c");
    assert_str(dm_str_skip(DM_STR("abc"), 9), "");
}

static void cuts_into_pieces(void **state)
{
    struct dm_str rest = DM_STR("a,,b,"), piece;

    assert_true(dm_str_cut(&rest, ',', &piece));
    assert_str(piece, "a");
    assert_true(dm_str_cut(&rest, ',', &piece));
    assert_str(piece, "");
    assert_true(dm_str_cut(&rest, ',', &piece));
    assert_str(piece, "b");
    assert_true(dm_str_cut(&rest, ',', &piece)); /* behind the last separator stands an empty piece */
    assert_str(piece, "");
    assert_false(dm_str_cut(&rest, ',', &piece));
    rest = DM_STR("");
    assert_true(dm_str_cut(&rest, ',', &piece));
    assert_false(dm_str_cut(&rest, ',', &piece));
    rest = DM_STR_NULL;
    assert_false(dm_str_cut(&rest, ',', &piece));
}

static void reads_decimal_numbers(void **state)
{
    static const char *const bad[] = {
        "",    "-1", "+1", " 1",  "1 ",  "0x1", "18446744073709551616", "99999999999999999999",
        "1e3", "/",  ":",  "1.0", "\xff"};
    uint64_t value = 77;
    size_t i;

    for (i = 0; i < DM_COUNT(bad); i++)
        assert_int_equal(dm_str_to_u64(dm_str_of(bad[i]), &value), DM_EINVAL);
    assert_int_equal(value, 77);
    assert_int_equal(dm_str_to_u64(DM_STR("18446744073709551615"), &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(dm_str_to_u64(DM_STR("000000000000000000000000012"), &value), 0);
    assert_int_equal(value, 12);
    assert_int_equal(dm_str_to_u64(DM_STR("0"), &value), 0);
    assert_int_equal(value, 0);
}

static void measures_edit_distance(void **state)
{
    char longest[65];

    memset(longest, 'a', sizeof(longest));
    assert_int_equal(dm_str_distance(DM_STR("kitten"), DM_STR("sitting")), 3);
    assert_int_equal(dm_str_distance(DM_STR(""), DM_STR("abc")), 3);
    assert_int_equal(dm_str_distance(DM_STR("abc"), DM_STR("")), 3);
    assert_int_equal(dm_str_distance(DM_STR_NULL, DM_STR_NULL), 0);
    assert_int_equal(dm_str_distance(DM_STR("timeout_ms"), DM_STR("timeoutms")), 1);
    assert_int_equal(dm_str_distance(DM_STR("hots"), DM_STR("host")), 1);
    assert_int_equal(dm_str_distance(dm_str_n(longest, 64), DM_STR("")), 64);
    assert_true(dm_str_distance(dm_str_n(longest, 65), DM_STR("a")) == SIZE_MAX);
}

/* By the recurrence itself. */
static size_t naive_distance(struct dm_str a, struct dm_str b)
{
    size_t drop_a, drop_b, both;

    if (a.len == 0 || b.len == 0)
        return a.len + b.len;
    drop_a = naive_distance(dm_str_skip(a, 1), b) + 1;
    drop_b = naive_distance(a, dm_str_skip(b, 1)) + 1;
    both = naive_distance(dm_str_skip(a, 1), dm_str_skip(b, 1)) + (a.ptr[0] != b.ptr[0]);
    if (a.len > 1 && b.len > 1 && a.ptr[0] == b.ptr[1] && a.ptr[1] == b.ptr[0])
        both = DM_MIN(both, naive_distance(dm_str_skip(a, 2), dm_str_skip(b, 2)) + 1);
    return DM_MIN(both, DM_MIN(drop_a, drop_b));
}

static void agrees_with_the_recurrence(void **state)
{
    struct test_random random = test_random_new();
    char a[5], b[5];
    int round;
    size_t i;

    for (round = 0; round < 300; round++) {
        struct dm_str sa = dm_str_n(a, test_random_below(&random, 6)), sb = dm_str_n(b, test_random_below(&random, 6));

        for (i = 0; i < 5; i++) {
            a[i] = (char)('a' + test_random_below(&random, 3));
            b[i] = (char)('a' + test_random_below(&random, 3));
        }
        assert_int_equal(dm_str_distance(sa, sb), naive_distance(sa, sb));
    }
}

static void knows_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "plain ASCII, longer than eight bytes",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "1234567\xeb\x8c\x80\xeb\xac\xb8"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2g",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe2\x82",
                                      "\xe2\x82g",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xf0\x90\x80",
                                      "12345678\xfe",
                                      "1234567\xc2"};
    size_t i;

    for (i = 0; i < DM_COUNT(good); i++)
        assert_true(dm_str_is_utf8(dm_str_of(good[i])));
    for (i = 0; i < DM_COUNT(bad); i++)
        assert_false(dm_str_is_utf8(dm_str_of(bad[i])));
    assert_true(dm_str_is_utf8(dm_str_n("a\0b", 3)));
    assert_true(dm_str_is_utf8(DM_STR_NULL));
}

/* Encodes every code point; exactly the surrogates are refused. */
static void knows_every_code_point(void **state)
{
    uint32_t cp;

    for (cp = 0; cp < 0x110000; cp++) {
        char text[4];
        size_t len = 0;

        if (cp < 0x80) {
            text[len++] = (char)cp;
        } else if (cp < 0x800) {
            text[len++] = (char)(0xc0 | cp >> 6);
        } else if (cp < 0x10000) {
            text[len++] = (char)(0xe0 | cp >> 12);
            text[len++] = (char)(0x80 | (cp >> 6 & 0x3f));
        } else {
            text[len++] = (char)(0xf0 | cp >> 18);
            text[len++] = (char)(0x80 | (cp >> 12 & 0x3f));
            text[len++] = (char)(0x80 | (cp >> 6 & 0x3f));
        }
        if (cp >= 0x80)
            text[len++] = (char)(0x80 | (cp & 0x3f));
        if (dm_str_is_utf8(dm_str_n(text, len)) != (cp < 0xd800 || cp > 0xdfff))
            fail_msg("U+%04X", (unsigned)cp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),
        cmocka_unit_test(finds_and_trims),
        cmocka_unit_test(cuts_into_pieces),
        cmocka_unit_test(reads_decimal_numbers),
        cmocka_unit_test(measures_edit_distance),
        cmocka_unit_test(agrees_with_the_recurrence),
        cmocka_unit_test(knows_utf8),
        cmocka_unit_test(knows_every_code_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
