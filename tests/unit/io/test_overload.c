/* How much of a flow's new work is refused, held against queues that are simulated: what arrives by the clock, and takes its time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/overload.h"
#include "io/scheduler.h"

#define MS UINT64_C(1000000)
#define TARGET_NS (100 * MS)
#define SERVICE_NS (100 * UINT64_C(1000)) /* of one that is served; one that is refused costs a quarter */

static struct dm_overload overload;
static struct dm_task task;

static int setup(void **state)
{
    overload = (struct dm_overload){0};
    return 0;
}

/* One that waited so long, through so many quanta of its own. */
static void wait_for(uint64_t now_ns, uint64_t waited_ns, uint32_t quanta)
{
    dm_overload_posted(&overload, &task, now_ns - waited_ns, 7);
    assert_int_equal(dm_overload_taken(&overload, now_ns, 7 + quanta, TARGET_NS), waited_ns);
}

static void long_waits_make_it_grow_and_short_ones_shrink(void **state)
{
    uint64_t now_ns = 50000 * MS;
    unsigned before = 0;

    wait_for(now_ns, 0, 0);
    for (int i = 0; i < 8; i++) {
        wait_for(now_ns += 210 * MS, 2 * TARGET_NS, 1);
        assert_true(overload.share > before);
        before = overload.share;
    }
    assert_in_range(overload.share, DM_OVERLOAD_SHARE_MAX * 8 / 10, DM_OVERLOAD_SHARE_MAX);
    for (int i = 0; i < 100; i++)
        wait_for(now_ns += 210 * MS, 2 * TARGET_NS, 1);
    assert_int_equal(overload.share, DM_OVERLOAD_SHARE_MAX);
    for (int i = 0; i < 8; i++) {
        before = overload.share;
        wait_for(now_ns += 110 * MS, TARGET_NS - 1, 1);
        assert_true(overload.share < before);
    }
    wait_for(now_ns += 60000 * MS, 0, 0); /* nothing for a while */
    assert_int_equal(overload.share, 0);
    assert_false(dm_overload_refuses(&overload, now_ns));
}

/* What was not followed was not overloaded. */
static void one_long_wait_behind_a_rest_is_one_interval(void **state)
{
    uint64_t now_ns = 50000 * MS;
    unsigned once;

    wait_for(now_ns, TARGET_NS, 1); /* the first of all */
    once = overload.share;
    assert_in_range(once, 1, DM_OVERLOAD_SHARE_MAX / 2);
    wait_for(now_ns += 60000 * MS, TARGET_NS, 1);
    assert_int_equal(overload.share, once);
}

/* When all that is new is refused, nothing is queued that would show it. */
static void it_shrinks_while_nothing_is_followed(void **state)
{
    uint64_t now_ns = 50000 * MS;

    overload = (struct dm_overload){.share = DM_OVERLOAD_SHARE_MAX, .interval_ns = now_ns};
    assert_false(dm_overload_refuses(&overload, now_ns += 6000 * MS));
    assert_int_equal(overload.share, 0);
    overload = (struct dm_overload){.share = DM_OVERLOAD_SHARE_MAX, .interval_ns = now_ns};
    dm_overload_posted(&overload, &task, now_ns, 0);
    (void)dm_overload_refuses(&overload, now_ns + 6000 * MS);
    assert_int_equal(overload.share, DM_OVERLOAD_SHARE_MAX); /* it is still seen how long this one waits */
}

/* One that did not wait is enough. */
static void a_queue_that_empties_is_none(void **state)
{
    uint64_t now_ns = 50000 * MS;

    for (int i = 0; i < 1000; i++)
        wait_for(now_ns += 30 * MS, i % 3 == 0 ? TARGET_NS / 2 : 2 * TARGET_NS, 3);
    assert_int_equal(overload.share, 0);
}

/* O1 */
static void who_waits_for_others_is_not_refused(void **state)
{
    uint64_t now_ns = 50000 * MS;

    for (int i = 0; i < 100; i++)
        wait_for(now_ns += 110 * MS, 100 * TARGET_NS, 0);
    assert_int_equal(overload.share, 0);
}

static void without_a_target_nothing_is_refused(void **state)
{
    for (uint64_t i = 1; i < 100; i++) {
        dm_overload_posted(&overload, &task, i * 1000 * MS, 0);
        dm_overload_taken(&overload, i * 1000 * MS + 900 * MS, 9, 0);
    }
    assert_int_equal(overload.share, 0);
}

static void one_at_a_time_is_followed(void **state)
{
    struct dm_task other = {0};

    dm_overload_posted(&overload, &task, 5 * MS, 0);
    dm_overload_posted(&overload, &other, 6 * MS, 0);
    assert_ptr_equal(overload.followed, &task);
    dm_overload_cancelled(&overload, &other);
    assert_ptr_equal(overload.followed, &task);
    dm_overload_cancelled(&overload, &task);
    assert_null(overload.followed);
    dm_overload_posted(&overload, &other, 7 * MS, 0);
    assert_int_equal(dm_overload_taken(&overload, 9 * MS, 0, TARGET_NS), 2 * MS);
    assert_null(overload.followed);
}

/* O3: in any run of requests as many are refused as the share says, give or take one. */
static void refusals_are_spread_evenly(void **state)
{
    for (unsigned share = 0; share <= DM_OVERLOAD_SHARE_MAX; share += 37) {
        unsigned n = 0;
        overload = (struct dm_overload){.share = (uint16_t)share};
        for (unsigned asked = 1; asked <= 3000; asked++) {
            n += dm_overload_refuses(&overload, 1);
            assert_in_range(n * DM_OVERLOAD_ONE + DM_OVERLOAD_ONE, asked * share, asked * share + 2 * DM_OVERLOAD_ONE);
        }
    }
}

/* --- against a queue ---------------------------------------------------------------------------------------------- */

/* One flow alone, first in, first out; arrivals at even distances. */
struct run {
    uint64_t now_ns, next_ns;                 /* of the server; of the next arrival */
    uint64_t arrivals[1 << 17];               /* when; a ring */
    size_t head, tail, followed;              /* places */
    uint64_t longest_ns, n_served, n_refused; /* since reset */
};

static struct run run;

static void arrive(uint64_t until_ns, uint64_t every_ns)
{
    for (; run.next_ns <= until_ns; run.next_ns += every_ns) {
        run.arrivals[run.tail % (1 << 17)] = run.next_ns;
        if (!overload.followed)
            run.followed = run.tail;
        dm_overload_posted(&overload, &task, run.next_ns, (uint32_t)run.n_served);
        run.tail++;
    }
}

static void serve(void)
{
    uint64_t waited_ns = run.now_ns - run.arrivals[run.head % (1 << 17)];

    run.longest_ns = waited_ns > run.longest_ns ? waited_ns : run.longest_ns;
    if (overload.followed && run.followed == run.head)
        dm_overload_taken(&overload, run.now_ns, (uint32_t)run.n_served + 1, TARGET_NS);
    run.head++;
    if (dm_overload_refuses(&overload, run.now_ns)) {
        run.n_refused++;
        run.now_ns += SERVICE_NS / 4;
    } else {
        run.n_served++;
        run.now_ns += SERVICE_NS;
    }
}

static void run_for(uint64_t ns, uint64_t every_ns)
{
    uint64_t end_ns = run.now_ns + ns;

    run.longest_ns = run.n_served = run.n_refused = 0;
    while (run.now_ns < end_ns) {
        arrive(run.now_ns, every_ns);
        if (run.head == run.tail)
            run.now_ns = run.next_ns;
        else
            serve();
        assert_true(run.tail - run.head < (1 << 17));
    }
}

/* Twice what can be done: the wait stays near the target, most of the time goes into answers that are worth something, and all is as before
 * when the load has gone. */
static void waits_stay_bounded_under_twice_the_load(void **state)
{
    run = (struct run){.now_ns = 50000 * MS, .next_ns = 50000 * MS};
    run_for(1000 * MS, SERVICE_NS * 10 / 9);
    assert_int_equal(run.n_refused, 0);
    run_for(5000 * MS, SERVICE_NS / 2);
    run_for(30000 * MS, SERVICE_NS / 2);
    assert_true(run.longest_ns < 5 * TARGET_NS);
    assert_true(run.n_served * SERVICE_NS > 30000 * MS / 2);
    run_for(5000 * MS, SERVICE_NS * 10 / 9);
    run_for(5000 * MS, SERVICE_NS * 10 / 9);
    assert_int_equal(run.n_refused, 0);
    assert_true(run.longest_ns < TARGET_NS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
        TEST(long_waits_make_it_grow_and_short_ones_shrink),
        TEST(one_long_wait_behind_a_rest_is_one_interval),
        TEST(it_shrinks_while_nothing_is_followed),
        TEST(a_queue_that_empties_is_none),
        TEST(who_waits_for_others_is_not_refused),
        TEST(without_a_target_nothing_is_refused),
        TEST(one_at_a_time_is_followed),
        TEST(refusals_are_spread_evenly),
        TEST(waits_stay_bounded_under_twice_the_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
