/* The retry budget alone: the share, the minimum, and against a reference that keeps every request and retry. */
#include "gateway/upstream/retry_budget.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define S UINT64_C(1000000000)
#define STEPS 20000

static uint64_t state = 1;

static uint64_t any(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

static unsigned take_all(struct dm_retry_budget *b, const struct dm_retry_settings *s, uint64_t now)
{
    unsigned n = 0;

    while (n < 100000 && dm_retry_budget_take(b, s, now))
        n++;
    return n;
}

static void test_share_and_minimum(void **unused)
{
    struct dm_retry_settings s = {20, 30}, none = {0, 0};
    struct dm_retry_budget b = {0};

    assert_int_equal(take_all(&b, &none, 5 * S), 0);
    assert_int_equal(take_all(&b, &s, 5 * S), 30);
    for (int i = 0; i < 1000; i++)
        dm_retry_budget_request(&b, 5 * S);
    assert_int_equal(take_all(&b, &s, 9 * S), 170);
    assert_int_equal(take_all(&b, &s, 10 * S), 0);  /* the window that has just ended counts still */
    assert_int_equal(take_all(&b, &s, 20 * S), 30); /* and is forgotten here */
    assert_int_equal(take_all(&b, &s, 100 * S), 30);
}

/* R1, by all that ever happened. */
static void test_as_the_reference(void **unused)
{
    static struct {
        uint64_t window;
        bool is_retry;
    } all[STEPS];

    for (int round = 0; round < 10; round++) {
        struct dm_retry_settings s = {(uint32_t)any(101), (uint32_t)any(50)};
        struct dm_retry_budget b = {0};
        uint64_t now = any(100 * S), pace = S / 1000 << any(9);
        size_t n = 0, first = 0;
        for (int i = 0; i < STEPS; i++) {
            uint64_t requests = 0, retries = 0, window;
            now += any(1000) == 0 ? any(40 * S) : any(pace);
            window = now / DM_RETRY_WINDOW_NS;
            while (first < n && all[first].window + 1 < window)
                first++;
            if (any(3) > 0) {
                dm_retry_budget_request(&b, now);
                all[n].window = window;
                all[n++].is_retry = false;
                continue;
            }
            for (size_t k = first; k < n; k++) {
                requests += !all[k].is_retry;
                retries += all[k].is_retry;
            }
            assert_int_equal(dm_retry_budget_take(&b, &s, now),
                             retries < DM_MAX(requests * s.percent / 100, (uint64_t)s.min));
            if (retries < DM_MAX(requests * s.percent / 100, (uint64_t)s.min)) {
                all[n].window = window;
                all[n++].is_retry = true;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_and_minimum),
        cmocka_unit_test(test_as_the_reference),
    };

    return cmocka_run_group_tests_name("gateway/retry_budget", tests, NULL, NULL);
}
