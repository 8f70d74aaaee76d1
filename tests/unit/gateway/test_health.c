/* What checks say of an endpoint: thresholds, the first check, the word that workers share; against a reference with random checks. */
#include "gateway/upstream/health.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct dm_health_settings settings = {3, 2};
static uint64_t state = 1;

static uint64_t any(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

static void test_the_first_check_decides_alone(void **unused)
{
    struct dm_health h = {0};

    assert_true(dm_health_note(&h, &settings, false));
    assert_true(h.is_unwell);
    h = (struct dm_health){0};
    assert_false(dm_health_note(&h, &settings, true));
    assert_false(dm_health_note(&h, &settings, false)); /* the second one does not */
    assert_false(h.is_unwell);
}

static void test_thresholds(void **unused)
{
    struct dm_health h = {0};

    assert_false(dm_health_note(&h, &settings, true));
    for (int i = 0; i < 5; i++) { /* not behind one another */
        assert_false(dm_health_note(&h, &settings, false));
        assert_false(dm_health_note(&h, &settings, false));
        assert_false(dm_health_note(&h, &settings, true));
    }
    assert_false(dm_health_note(&h, &settings, false));
    assert_false(dm_health_note(&h, &settings, false));
    assert_true(dm_health_note(&h, &settings, false));
    assert_true(h.is_unwell);
    assert_false(dm_health_note(&h, &settings, true));
    assert_false(dm_health_note(&h, &settings, false));
    assert_false(dm_health_note(&h, &settings, true));
    assert_true(dm_health_note(&h, &settings, true));
    assert_false(h.is_unwell);
}

/* The verdict is the opposite of the last one exactly when so many of the last checks, since it was made, say so. */
static void test_random_checks(void **unused)
{
    for (int round = 0; round < 500; round++) {
        struct dm_health_settings s = {(uint32_t)(1 + any(5)), (uint32_t)(1 + any(5))};
        struct dm_health h = {0};
        bool history[400], is_unwell = false;
        size_t since = 0, share = any(100);
        for (size_t i = 0; i < DM_COUNT(history); i++) {
            size_t needed = is_unwell ? s.healthy_max : s.unhealthy_max, n = 0;
            bool expected;
            history[i] = any(100) < share;
            while (n <= i - since && history[i - n] == is_unwell)
                n++;
            expected = n >= needed || (i == 0 && !history[0]);
            assert_int_equal(dm_health_note(&h, &s, history[i]), expected);
            if (expected) {
                is_unwell = !is_unwell;
                since = i + 1;
            }
            assert_int_equal(h.is_unwell, is_unwell);
            h = dm_health_unpack(dm_health_pack(&h));
        }
    }
}

static void test_one_word(void **unused)
{
    struct dm_health none = dm_health_unpack(0);

    assert_false(none.is_known || none.is_unwell || none.run || none.passed);
    assert_int_equal(dm_health_pack(&none), 0);
    for (int i = 0; i < 10000; i++) {
        struct dm_health h = {(uint32_t)any(UINT32_MAX), (uint16_t)any(65536), any(2), any(2)}, again;
        again = dm_health_unpack(dm_health_pack(&h));
        assert_true(again.run == h.run && again.passed == h.passed && again.is_known == h.is_known &&
                    again.is_unwell == h.is_unwell);
    }
}

static void test_that_one_passed_is_seen(void **unused)
{
    struct dm_health h = {.passed = UINT16_MAX};

    (void)dm_health_note(&h, &settings, true);
    assert_int_equal(h.passed, 0);
    (void)dm_health_note(&h, &settings, false);
    assert_int_equal(h.passed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_check_decides_alone),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_random_checks),
        cmocka_unit_test(test_one_word),
        cmocka_unit_test(test_that_one_passed_is_seen),
    };

    return cmocka_run_group_tests_name("gateway/health", tests, NULL, NULL);
}
