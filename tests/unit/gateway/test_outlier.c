/* An endpoint that is put out of turn: what puts it out, for how long, how it comes back; against a reference with random events. */
#include "gateway/upstream/outlier.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static const struct dm_outlier_settings settings = {5, 1 * S, 8 * S, 4 * S};
static uint64_t state = 1;

static uint64_t any(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

static void test_failures_behind_one_another(void **unused)
{
    struct dm_outlier o = {0};

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, S));
        dm_outlier_ok(&o);
    }
    for (int i = 0; i < 4; i++)
        assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, S));
    assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, false, S)); /* O1 */
    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, S));
    assert_true(dm_outlier_is_out(&o, 2 * S - 1));
    assert_false(dm_outlier_is_out(&o, 2 * S));
}

static void test_time_grows_and_share_comes_back(void **unused)
{
    static const unsigned out_s[] = {1, 2, 4, 8, 8};
    struct dm_outlier o = {0};
    uint64_t now = S;

    assert_int_equal(dm_outlier_share(&o, &settings, now), 100);
    for (size_t i = 0; i < DM_COUNT(out_s); i++) {
        assert_true(dm_outlier_fail(&o, &settings, i % 2 ? DM_OUTLIER_SOFT : DM_OUTLIER_HARD, true, now));
        assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, now + 1)); /* O2 */
        assert_int_equal(o.for_ns, out_s[i] * S);
        now += out_s[i] * S;
        assert_false(dm_outlier_is_out(&o, now));
    }
    assert_int_equal(dm_outlier_share(&o, &settings, now), 10);
    assert_int_equal(dm_outlier_share(&o, &settings, now + S), 25);
    assert_int_equal(dm_outlier_share(&o, &settings, now + 4 * S), 100);
    assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, now + 8 * S)); /* in again: one is not enough */
    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, now + 8 * S));
    assert_int_equal(o.for_ns, 1 * S);
}

/* O3 */
static void test_held(void **unused)
{
    struct dm_outlier o = {0};

    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, S));
    dm_outlier_hold(&o);
    assert_true(dm_outlier_is_out(&o, 1000000 * S));
    assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, 2 * S));
    dm_outlier_reached(&o, 3 * S);
    assert_true(dm_outlier_is_out(&o, 3 * S));
    assert_int_equal(dm_outlier_share(&o, &settings, 3 * S), 100); /* when all are out */
    dm_outlier_release(&o, 10 * S);
    assert_false(dm_outlier_is_out(&o, 10 * S));
    assert_int_equal(dm_outlier_share(&o, &settings, 10 * S), 10);
    assert_int_equal(dm_outlier_share(&o, &settings, 14 * S), 100);
    assert_false(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, 10 * S)); /* it begins anew */
    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, 10 * S));
    assert_int_equal(o.for_ns, 1 * S);
}

static void test_one_that_was_reached(void **unused)
{
    struct dm_outlier o = {0};

    dm_outlier_reached(&o, S);
    assert_int_equal(o.until_ns, 0);
    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_HARD, true, 10 * S));
    dm_outlier_reached(&o, 10 * S + 1);
    assert_false(dm_outlier_is_out(&o, 10 * S + 1));
    assert_true(dm_outlier_fail(&o, &settings, DM_OUTLIER_SOFT, true, 10 * S + 2)); /* again, so for longer */
    assert_int_equal(o.for_ns, 2 * S);
    dm_outlier_reached(&o, 10 * S + 3); /* which says nothing of calls that fail */
    assert_true(dm_outlier_is_out(&o, 10 * S + 3));
}

/* Is out exactly from a failure that counts on, for its time; never for longer than the longest. */
static void test_random_events(void **unused)
{
    for (int round = 0; round < 200; round++) {
        struct dm_outlier o = {0};
        uint64_t now = 1 + any(S), out_until = 0, last_for = 0;
        unsigned run = 0;
        for (int i = 0; i < 2000; i++) {
            bool is_hard = any(20) == 0, may = any(4) > 0, was_out, is_again, expected;
            now += any(any(50) == 0 ? 20 * S : 100 * MS);
            was_out = now < out_until;
            assert_int_equal(dm_outlier_is_out(&o, now), was_out);
            if (any(2)) {
                dm_outlier_ok(&o);
                run = 0;
                continue;
            }
            is_again = out_until > 0 && now < out_until + last_for;
            run += !was_out;
            expected = !was_out && (is_hard || (may && (run >= settings.run_max || is_again)));
            assert_int_equal(dm_outlier_fail(&o, &settings, is_hard ? DM_OUTLIER_HARD : DM_OUTLIER_SOFT, may, now),
                             expected);
            if (!expected)
                continue;
            last_for = is_again ? DM_MIN(2 * last_for, settings.out_max_ns) : settings.out_ns;
            out_until = now + last_for;
            run = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_behind_one_another),
        cmocka_unit_test(test_time_grows_and_share_comes_back),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_one_that_was_reached),
        cmocka_unit_test(test_random_events),
    };

    return cmocka_run_group_tests_name("gateway/outlier", tests, NULL, NULL);
}
