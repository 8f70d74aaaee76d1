/* The timer wheel against a naive reference: random arming, putting off, bringing forward, cancelling and jumps of time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/timer.h"

enum { N_TIMERS = 300, N_STEPS = 60000 };

struct probe {
    struct dm_timer timer;
    bool is_armed; /* the reference's view */
    uint64_t due;
    unsigned n_fired;
};

static struct dm_timer_wheel wheel;
static struct probe probes[N_TIMERS];
static uint64_t run_tick, last_due, seed;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fire(void *arg, struct dm_timer *timer)
{
    timer->on_due(timer);
}

static void on_due(struct dm_timer *timer)
{
    struct probe *probe = DM_CONTAINER_OF(timer, struct probe, timer);

    assert_true(probe->is_armed);
    assert_true(probe->due <= run_tick);
    assert_true(probe->due >= last_due);
    last_due = probe->due;
    probe->is_armed = false;
    probe->n_fired++;
}

static uint64_t draw_delay(void)
{
    switch (draw() % 6) {
    case 0: return draw() % 3;
    case 1: return draw() % 64;
    case 2: return draw() % 5000;
    case 3: return draw() % 400000;
    case 4: return draw() % UINT32_MAX;
    default: return 4096 * (draw() % 5);
    }
}

static uint64_t earliest(void)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < N_TIMERS; i++)
        if (probes[i].is_armed)
            due = DM_MIN(due, probes[i].due);
    return due;
}

static void check_none_overdue(void)
{
    for (size_t i = 0; i < N_TIMERS; i++)
        if (probes[i].is_armed)
            assert_true(probes[i].due > wheel.now_tick);
}

/* Each part as large as may be, but for the last. */
static void run_in_parts(size_t max)
{
    size_t n;

    do {
        n = dm_timer_wheel_run(&wheel, run_tick, max, fire, NULL);
        assert_true(n <= max);
    } while (n == max);
}

static void step(void)
{
    struct probe *probe = &probes[draw() % N_TIMERS];

    switch (draw() % 4) {
    case 0:
    case 1:
        probe->due = wheel.now_tick + draw_delay();
        probe->due = DM_MAX(probe->due, wheel.now_tick + 1);
        probe->is_armed = true;
        dm_timer_wheel_arm(&wheel, &probe->timer, probe->due);
        break;
    case 2:
        dm_timer_wheel_cancel(&wheel, &probe->timer);
        probe->is_armed = false;
        break;
    default:
        run_tick = wheel.now_tick + draw_delay() % 100000;
        if (draw() % 3 == 0 && earliest() != UINT64_MAX)
            run_tick = earliest();
        last_due = 0;
        run_in_parts(draw() % 2 ? SIZE_MAX : 1 + draw() % 3);
        check_none_overdue();
    }
    assert_true(dm_timer_wheel_next(&wheel) <= earliest());
    assert_int_equal(dm_timer_is_armed(&probe->timer), probe->is_armed);
}

static void reset(uint64_t now_tick)
{
    dm_timer_wheel_init(&wheel, now_tick);
    memset(probes, 0, sizeof(probes));
    for (size_t i = 0; i < N_TIMERS; i++)
        probes[i].timer.on_due = on_due;
}

static void fires_like_the_reference(void **state)
{
    size_t n_armed = 0;

    for (uint64_t s = 1; s <= 8; s++) {
        seed = s * 0x9e3779b97f4a7c15u;
        reset(draw() % (UINT64_C(1) << 40));
        for (int i = 0; i < N_STEPS / 8; i++)
            step();
        n_armed = 0;
        for (size_t i = 0; i < N_TIMERS; i++)
            n_armed += probes[i].is_armed;
        assert_int_equal(wheel.n_armed, n_armed);
    }
}

static void fires_exactly_when_run_at_each_tick(void **state)
{
    static const uint64_t delays[] = {1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 8191, 9000};

    reset(61);
    for (size_t i = 0; i < DM_COUNT(delays); i++) {
        probes[i].due = 61 + delays[i];
        probes[i].is_armed = true;
        dm_timer_wheel_arm(&wheel, &probes[i].timer, probes[i].due);
    }
    for (run_tick = 62; run_tick < 62 + 9000; run_tick++) {
        last_due = 0;
        dm_timer_wheel_run(&wheel, run_tick, SIZE_MAX, fire, NULL);
        for (size_t i = 0; i < DM_COUNT(delays); i++)
            assert_int_equal(probes[i].n_fired, run_tick >= 61 + delays[i]);
    }
    assert_int_equal(dm_timer_wheel_next(&wheel), UINT64_MAX);
}

static unsigned n_again;

static void arm_again(struct dm_timer *timer)
{
    n_again++;
    dm_timer_wheel_arm(&wheel, timer, 0);
}

static void rearming_in_the_callback_ends(void **state)
{
    struct dm_timer timer = {.on_due = arm_again};

    reset(0);
    n_again = 0;
    dm_timer_wheel_arm(&wheel, &timer, 1);
    assert_int_equal(dm_timer_wheel_run(&wheel, 1, SIZE_MAX, fire, NULL), 1);
    assert_int_equal(dm_timer_wheel_run(&wheel, 1, SIZE_MAX, fire, NULL), 0);
    assert_int_equal(dm_timer_wheel_run(&wheel, 2, SIZE_MAX, fire, NULL), 1);
    dm_timer_wheel_cancel(&wheel, &timer);
    assert_int_equal(wheel.n_armed, 0);
}

static struct dm_timer victim;

static void cancel_victim(struct dm_timer *timer)
{
    n_again++;
    dm_timer_wheel_cancel(&wheel, &victim);
}

static void cancelling_one_that_is_due_too(void **state)
{
    struct dm_timer first = {.on_due = cancel_victim};

    reset(0);
    n_again = 0;
    victim = (struct dm_timer){.on_due = cancel_victim};
    dm_timer_wheel_arm(&wheel, &first, 70);
    dm_timer_wheel_arm(&wheel, &victim, 70);
    dm_timer_wheel_run(&wheel, 100, SIZE_MAX, fire, NULL);
    assert_int_equal(n_again, 1);
    assert_false(dm_timer_is_armed(&victim));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_like_the_reference),
        cmocka_unit_test(fires_exactly_when_run_at_each_tick),
        cmocka_unit_test(rearming_in_the_callback_ends),
        cmocka_unit_test(cancelling_one_that_is_due_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
