#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_clock.h"
#include "io/loop.h"

static struct fake_clock fake;
static struct dm_loop *loop;

static int setup(void **state)
{
    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    return 0;
}

static int teardown(void **state)
{
    dm_loop_free(loop);
    return 0;
}

struct counter {
    struct dm_task task;
    struct dm_timer timer;
    struct dm_watch watch;
    struct dm_hook hook;
    unsigned n;
    unsigned ready;
    struct dm_task *cancels;
    struct dm_watch *closes;
};

static void count_and_post(struct dm_task *task)
{
    DM_CONTAINER_OF(task, struct counter, task)->n++;
    dm_task_post(loop, task);
}

static void a_task_posted_by_a_task_waits_for_the_next_turn(void **state)
{
    struct counter c = {.task.run = count_and_post};

    dm_task_post(loop, &c.task);
    dm_task_post(loop, &c.task);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(dm_loop_turn(loop, -1), 1);
        assert_int_equal(c.n, i);
    }
    dm_task_cancel(loop, &c.task);
    assert_false(dm_task_is_posted(&c.task));
    assert_int_equal(dm_loop_turn(loop, 0), 0);
}

static void count_task(struct dm_task *task)
{
    struct counter *c = DM_CONTAINER_OF(task, struct counter, task);

    c->n++;
    if (c->cancels)
        dm_task_cancel(loop, c->cancels);
}

static void tasks_are_bounded_and_keep_their_order(void **state)
{
    struct counter c[10] = {0};

    dm_loop_set_bounds(loop, 64, 4);
    for (int i = 0; i < 10; i++) {
        c[i].task.run = count_task;
        dm_task_post(loop, &c[i].task);
    }
    c[0].cancels = &c[3].task;
    assert_int_equal(dm_loop_turn(loop, -1), 4);
    for (int i = 0; i < 10; i++)
        assert_int_equal(c[i].n, i <= 4 && i != 3);
    assert_int_equal(dm_loop_wait_ms(loop), 0);
    assert_int_equal(dm_loop_turn(loop, -1), 4);
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_int_equal(c[9].n, 1);
}

static void count_timer(struct dm_timer *timer)
{
    DM_CONTAINER_OF(timer, struct counter, timer)->n++;
}

static void timers_fire_by_the_clock_of_the_seam(void **state)
{
    struct counter c = {.timer.on_due = count_timer};

    fake.now_ns += 300000;
    dm_loop_turn(loop, 0);
    dm_timer_arm(loop, &c.timer, 50);
    assert_int_equal(dm_loop_wait_ms(loop), 51);
    fake_clock_advance_ms(&fake, 50);
    dm_loop_turn(loop, 0);
    assert_int_equal(c.n, 0);
    fake_clock_advance_ms(&fake, 1);
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_int_equal(c.n, 1);
    assert_int_equal(dm_loop_wait_ms(loop), -1);
    assert_true(dm_loop_stats(loop)->max_lag_ns < 1000000);
}

static void count_ready(struct dm_watch *watch, unsigned ready)
{
    struct counter *c = DM_CONTAINER_OF(watch, struct counter, watch);

    c->n++;
    c->ready = ready;
    if (c->closes)
        dm_watch_close(loop, c->closes);
}

static void make_pipe(int ret[2])
{
    assert_int_equal(pipe(ret), 0);
}

static void readiness_comes_once_for_each_edge(void **state)
{
    struct counter c = {0};
    int fds[2];

    make_pipe(fds);
    assert_int_equal(dm_watch_add(loop, &c.watch, fds[0], count_ready), 0);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.ready, DM_READY_IN);
    close(fds[1]);
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_true(c.ready & DM_READY_HUP);
    dm_watch_del(loop, &c.watch);
    assert_int_equal(c.watch.fd, -1);
    close(fds[0]);
}

/* Two are ready in one turn; whichever comes first closes the other, and its number is in use again at once. */
static void a_stale_event_reaches_nobody(void **state)
{
    struct counter a = {0}, b = {0}, reused = {0};
    int one[2], two[2], three[2];

    make_pipe(one);
    make_pipe(two);
    assert_int_equal(dm_watch_add(loop, &a.watch, one[0], count_ready), 0);
    assert_int_equal(dm_watch_add(loop, &b.watch, two[0], count_ready), 0);
    a.closes = &b.watch;
    b.closes = &a.watch;
    assert_int_equal(write(one[1], "x", 1), 1);
    assert_int_equal(write(two[1], "x", 1), 1);
    assert_int_equal(dm_loop_turn(loop, -1), 2);
    assert_int_equal(a.n + b.n, 1);
    assert_int_equal(dm_loop_stats(loop)->stale_events, 1);

    make_pipe(three);
    assert_int_equal(dm_watch_add(loop, &reused.watch, three[0], count_ready), 0);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    dm_watch_close(loop, &reused.watch);
    dm_watch_close(loop, &a.watch);
    dm_watch_close(loop, &b.watch);
    close(one[1]);
    close(two[1]);
    close(three[1]);
}

static struct {
    struct counter old, new;
    int old_pipe[2], new_pipe[2];
} reuse;

/* Closes the other, whose event of this turn is still to come, and has its number again at once. */
static void reuse_number(struct dm_watch *watch, unsigned ready)
{
    int number = reuse.old.watch.fd;

    if (number < 0)
        return;
    dm_watch_close(loop, &reuse.old.watch);
    assert_int_equal(dup2(reuse.new_pipe[0], number), number);
    assert_int_equal(dm_watch_add(loop, &reuse.new.watch, number, count_ready), 0);
}

static void an_event_of_a_number_in_use_again_reaches_nobody(void **state)
{
    struct counter first = {0};
    int fds[2];

    memset(&reuse, 0, sizeof(reuse));
    make_pipe(fds);
    make_pipe(reuse.old_pipe);
    make_pipe(reuse.new_pipe);
    assert_int_equal(dm_watch_add(loop, &first.watch, fds[0], reuse_number), 0);
    assert_int_equal(dm_watch_add(loop, &reuse.old.watch, reuse.old_pipe[0], count_ready), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(write(reuse.old_pipe[1], "x", 1), 1);
    assert_int_equal(dm_loop_turn(loop, -1), 2);
    assert_int_equal(reuse.old.n, 0);
    assert_int_equal(reuse.new.n, 0);
    assert_int_equal(dm_loop_stats(loop)->stale_events, 1);
    assert_int_equal(write(reuse.new_pipe[1], "x", 1), 1);
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_int_equal(reuse.new.n, 1);
    dm_watch_close(loop, &first.watch);
    dm_watch_close(loop, &reuse.new.watch);
    close(fds[1]);
    close(reuse.old_pipe[1]);
    close(reuse.new_pipe[0]);
    close(reuse.new_pipe[1]);
}

static void many_descriptors_grow_the_table(void **state)
{
    struct counter c[100] = {0};
    int fds[100][2];

    for (int i = 0; i < 100; i++) {
        make_pipe(fds[i]);
        assert_int_equal(dm_watch_add(loop, &c[i].watch, fds[i][0], count_ready), 0);
        assert_int_equal(write(fds[i][1], "x", 1), 1);
    }
    dm_loop_set_bounds(loop, 10, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(dm_loop_turn(loop, -1), 10);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(c[i].n, 1);
        dm_watch_close(loop, &c[i].watch);
        close(fds[i][1]);
    }
}

static void stop_loop(struct dm_timer *timer)
{
    dm_loop_stop(loop);
}

static void count_hook(struct dm_hook *hook)
{
    struct counter *c = DM_CONTAINER_OF(hook, struct counter, hook);

    if (++c->n == 3)
        dm_hook_del(loop, hook);
    fake_clock_advance_ms(&fake, 1);
}

static void run_ends_at_stop_and_hooks_run_each_turn(void **state)
{
    struct counter c = {.hook.run = count_hook};
    struct dm_timer timer = {.on_due = stop_loop};

    dm_hook_add(loop, &c.hook);
    dm_timer_arm(loop, &timer, 3);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(c.n, 3);
    assert_int_equal(dm_loop_run(loop), 0);
    assert_int_equal(c.n, 3);
    dm_loop_stop(loop);
    assert_int_equal(dm_loop_run(loop), 0);
    assert_int_equal(dm_loop_stats(loop)->turns, 4);
}

static void the_real_clock_ends_a_sleep(void **state)
{
    struct dm_loop *real = dm_loop_new(dm_sys_real());
    struct counter c = {.timer.on_due = count_timer};
    uint64_t start_ns = dm_loop_now_ns(real);

    dm_timer_arm(real, &c.timer, 20);
    while (c.n == 0)
        assert_true(dm_loop_turn(real, -1) >= 0);
    assert_true(dm_loop_now_ns(real) - start_ns >= 20000000);
    dm_loop_free(real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_task_posted_by_a_task_waits_for_the_next_turn),
        TEST(tasks_are_bounded_and_keep_their_order),
        TEST(timers_fire_by_the_clock_of_the_seam),
        TEST(readiness_comes_once_for_each_edge),
        TEST(a_stale_event_reaches_nobody),
        TEST(an_event_of_a_number_in_use_again_reaches_nobody),
        TEST(many_descriptors_grow_the_table),
        TEST(run_ends_at_stop_and_hooks_run_each_turn),
        TEST(the_real_clock_ends_a_sleep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
