#include "testing.h"

#include "base/buf.h"
#include "base/mem.h"

static void grows_up_to_its_maximum(void **state)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf buf;
    int i;

    dm_buf_init(&buf, 1000);
    for (i = 0; i < 1000; i++)
        dm_buf_add_char(&buf, (char)('a' + i % 26));
    assert_false(buf.failed);
    assert_int_equal(buf.len, 1000);
    assert_true(buf.cap <= 1000);
    for (i = 0; i < 1000; i++)
        assert_int_equal(buf.ptr[i], 'a' + i % 26);
}

static void refuses_what_passes_the_maximum(void **state)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf buf;

    dm_buf_init(&buf, 5);
    dm_buf_add_lit(&buf, "abc");
    dm_buf_add_lit(&buf, "def");
    assert_true(buf.failed);
    assert_str(dm_buf_str(&buf), "abc");
    dm_buf_add_char(&buf, 'd'); /* would fit, but something before it is missing */
    assert_str(dm_buf_str(&buf), "abc");
    dm_buf_reset(&buf);
    dm_buf_add_lit(&buf, "abcde");
    assert_false(buf.failed);
    assert_str(dm_buf_str(&buf), "abcde");
    assert_false(dm_buf_grow(&buf, SIZE_MAX));
    assert_true(buf.failed);
}

static void does_not_grow_fixed_memory(void **state)
{
    char memory[4];
    struct dm_buf buf;
    uint64_t calls = dm_mem_calls();

    dm_buf_init_fixed(&buf, memory, sizeof(memory));
    dm_buf_add_lit(&buf, "abcd");
    assert_false(buf.failed);
    dm_buf_add_char(&buf, 'e');
    assert_true(buf.failed);
    assert_memory_equal(memory, "abcd", 4);
    assert_true(dm_mem_calls() == calls);
    dm_buf_done(&buf);
}

static void is_done_when_zeroed(void **state)
{
    struct dm_buf buf = {0};

    dm_buf_add(&buf, DM_STR_NULL);
    assert_false(buf.failed);
    dm_buf_add_char(&buf, 'x');
    assert_true(buf.failed);
    dm_buf_done(&buf);
    dm_buf_done(&buf);
}

/* Lengths around the inner buffer of printf, with a maximum below, at and above the text. */
static void prints_whole_or_not_at_all(void **state)
{
    size_t len, max;

    for (len = 505; len < 520; len++) {
        for (max = len - 2; max <= len + 2; max++) {
            DM_CLEANUP(dm_buf_done) struct dm_buf buf;

            dm_buf_init(&buf, max);
            dm_buf_printf(&buf, "%0*d", (int)len, 7);
            assert_int_equal(buf.failed, max < len);
            assert_int_equal(buf.len, max < len ? 0 : len);
            if (max >= len)
                assert_true(buf.ptr[len - 1] == '7' && buf.ptr[0] == '0');
        }
    }
}

static void adds_numbers(void **state)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf buf;

    dm_buf_init(&buf, 100);
    dm_buf_add_u64(&buf, 0);
    dm_buf_add_char(&buf, ' ');
    dm_buf_add_u64(&buf, 1234567890);
    dm_buf_add_char(&buf, ' ');
    dm_buf_add_u64(&buf, UINT64_MAX);
    assert_str(dm_buf_str(&buf), "0 1234567890 18446744073709551615");
}

static void consumes_from_the_front(void **state)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf buf;

    dm_buf_init(&buf, 100);
    dm_buf_consume(&buf, 0);
    dm_buf_add_lit(&buf, "hello world");
    dm_buf_consume(&buf, 6);
    assert_str(dm_buf_str(&buf), "world");
    dm_buf_consume(&buf, 5);
    assert_int_equal(buf.len, 0);
}

/* Against a plain array. */
static void agrees_with_an_array(void **state)
{
    struct test_random random = test_random_new();
    char expected[3000], piece[700];
    size_t len = 0;
    struct dm_buf buf;
    int round;

    dm_buf_init(&buf, sizeof(expected));
    for (round = 0; round < 5000; round++) {
        size_t n = test_random_below(&random, sizeof(piece) + 1);

        if (test_random_below(&random, 3) == 0) {
            n = DM_MIN(n, len);
            dm_buf_consume(&buf, n);
            memmove(expected, expected + n, len -= n);
        } else {
            memset(piece, (int)test_random_below(&random, 256), n);
            dm_buf_add_n(&buf, piece, n);
            if (n <= sizeof(expected) - len) {
                memcpy(expected + len, piece, n);
                len += n;
            } else {
                assert_true(buf.failed);
                dm_buf_reset(&buf);
                len = 0;
            }
        }
        assert_false(buf.failed);
        assert_true(dm_str_eq(dm_buf_str(&buf), dm_str_n(expected, len)));
    }
    dm_buf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_up_to_its_maximum),    cmocka_unit_test(refuses_what_passes_the_maximum),
        cmocka_unit_test(does_not_grow_fixed_memory), cmocka_unit_test(is_done_when_zeroed),
        cmocka_unit_test(prints_whole_or_not_at_all), cmocka_unit_test(adds_numbers),
        cmocka_unit_test(consumes_from_the_front),    cmocka_unit_test(agrees_with_an_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
