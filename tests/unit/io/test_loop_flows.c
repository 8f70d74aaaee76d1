/* Flows on a loop: who runs, and who is charged, with a counter of ticks that tests drive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_clock.h"
#include "io/loop.h"
#include "io/stream.h"

enum { N_BUSY = 20, QUANTUM = 50000, SLICE = 100000 }; /* ticks, of which one is a nanosecond here */

static struct fake_clock fake;
static struct dm_loop *loop;
static uint64_t ticks, poll_ticks;

struct job {
    struct dm_task task;
    struct dm_timer timer;
    struct dm_flow flow;
    uint64_t cpu_ns, cost;
    unsigned n;
    bool again;
};

static struct job busy[N_BUSY], small;

static uint64_t fake_ticks(struct dm_sys *sys)
{
    return ticks;
}

static int costly_poll(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms)
{
    ticks += poll_ticks;
    return dm_sys_real()->ops->poll_wait(sys, poll_fd, ret, max, timeout_ms);
}

static int setup(void **state)
{
    fake_clock_init(&fake);
    fake.ops.ticks = fake.ops.cpu_ns = fake_ticks;
    fake.ops.poll_wait = costly_poll;
    ticks = UINT64_C(1) << 40;
    poll_ticks = 0;
    loop = dm_loop_new(&fake.sys);
    return 0;
}

static int teardown(void **state)
{
    dm_loop_free(loop);
    return 0;
}

static void work(struct job *job)
{
    job->n++;
    ticks += job->cost;
    if (job->again)
        dm_task_post(loop, &job->task);
}

static void run_job(struct dm_task *task)
{
    work(DM_CONTAINER_OF(task, struct job, task));
}

static void run_timer(struct dm_timer *timer)
{
    work(DM_CONTAINER_OF(timer, struct job, timer));
}

/* In a flow of its own, or in nobody's. */
static void init_job(struct job *job, bool has_flow, uint64_t cost)
{
    *job = (struct job){.task.run = run_job, .timer.on_due = run_timer, .cost = cost};
    dm_flow_init(&job->flow, DM_FLOW_WEIGHT, &job->cpu_ns);
    if (has_flow) {
        job->task.flow = &job->flow;
        dm_timer_set_flow(loop, &job->timer, &job->flow);
    }
}

static void keep_busy(void)
{
    for (size_t i = 0; i < N_BUSY; i++) {
        init_job(&busy[i], true, 10000);
        busy[i].again = true;
        dm_task_post(loop, &busy[i].task);
    }
}

static void stop(void)
{
    for (size_t i = 0; i < N_BUSY; i++) {
        dm_task_cancel(loop, &busy[i].task);
        dm_loop_forget(loop, &busy[i].flow);
    }
}

/* In ticks, until the job has run. */
static uint64_t time_until_run(struct job *job)
{
    uint64_t before = ticks;
    unsigned n = job->n;

    for (unsigned i = 0; job->n == n && i < 10000; i++)
        dm_loop_turn(loop, 0);
    assert_int_equal(job->n, n + 1);
    return ticks - before;
}

/* Polling is in nobody's turn: whatever it costs, what is the platform's to do is not put off for it. */
static void the_platforms_work_is_not_charged_for_polls(void **state)
{
    keep_busy();
    init_job(&small, false, 1000);
    poll_ticks = 40000;
    for (int i = 0; i < 200; i++)
        dm_loop_turn(loop, 0);
    for (int i = 0; i < 20; i++) {
        dm_task_post(loop, &small.task);
        assert_true(time_until_run(&small) <= SLICE + QUANTUM + poll_ticks);
        for (int k = 0; k < 50; k++)
            dm_loop_turn(loop, 0);
    }
    stop();
}

/* One that pays for what it sent only after it had gone to rest is fresh all the same. */
static void a_little_debt_makes_nobody_wait(void **state)
{
    init_job(&small, true, 1000);
    dm_task_post(loop, &small.task);
    dm_loop_turn(loop, 0);
    dm_loop_enter(loop, &small.flow);
    ticks += QUANTUM / 2;
    dm_loop_enter(loop, NULL);
    keep_busy();
    for (int i = 0; i < 100; i++)
        dm_loop_turn(loop, 0);
    dm_task_post(loop, &small.task);
    assert_true(time_until_run(&small) <= SLICE + QUANTUM);
    dm_loop_forget(loop, &small.flow);
    stop();
}

static void enters_another(struct dm_task *task)
{
    struct job *job = DM_CONTAINER_OF(task, struct job, task);

    dm_loop_enter(loop, &busy[0].flow);
    work(job);
}

/* Work that is done in another's name costs the turn as well: who waits behind it has waited. */
static void work_in_anothers_name_is_paid_twice(void **state)
{
    init_job(&busy[0], true, 0);
    init_job(&small, true, 3 * QUANTUM);
    small.task.run = enters_another;
    dm_task_post(loop, &small.task);
    dm_loop_turn(loop, 0);
    assert_in_range(-small.flow.credit, QUANTUM, 3 * QUANTUM);
    assert_in_range(-busy[0].flow.credit, QUANTUM, 3 * QUANTUM);
    dm_loop_settle(loop);
    assert_int_equal(busy[0].cpu_ns, 3 * QUANTUM);
    assert_int_equal(small.cpu_ns, 0);
    dm_loop_forget(loop, &busy[0].flow);
    dm_loop_forget(loop, &small.flow);
}

/* Each timer is its flow's, behind what that has to do already, and one after another. */
static void timers_wait_for_their_turn(void **state)
{
    struct job first, second, nobodys;

    init_job(&first, true, 2000);
    init_job(&second, true, 3000);
    init_job(&nobodys, false, 500);
    dm_timer_arm(loop, &first.timer, 1);
    dm_timer_arm(loop, &second.timer, 1);
    dm_timer_arm(loop, &nobodys.timer, 1);
    fake_clock_advance_ms(&fake, 2);
    assert_int_equal(dm_loop_turn(loop, 0), 3);
    dm_loop_settle(loop);
    assert_int_equal(first.cpu_ns, 2000);
    assert_int_equal(second.cpu_ns, 3000);
    assert_false(dm_timer_is_armed(&first.timer));
    dm_timer_arm(loop, &first.timer, 1);
    fake_clock_advance_ms(&fake, 2);
    dm_task_post(loop, &first.task);
    first.cost = SLICE; /* its task comes first, and is all of the turn */
    dm_loop_turn(loop, 0);
    assert_int_equal(first.n, 2);
    assert_true(dm_timer_is_armed(&first.timer));
    dm_timer_arm(loop, &first.timer, 3); /* put off while it waits */
    dm_loop_turn(loop, 0);
    assert_int_equal(first.n, 2);
    fake_clock_advance_ms(&fake, 4);
    dm_task_post(loop, &first.task);
    dm_loop_turn(loop, 0);
    dm_timer_cancel(loop, &first.timer); /* it waited again */
    assert_false(dm_timer_is_armed(&first.timer));
    for (int i = 0; i < 3; i++)
        dm_loop_turn(loop, 0);
    assert_int_equal(first.n, 3);
    dm_loop_forget(loop, &first.flow);
    dm_loop_forget(loop, &second.flow);
}

/* --- how long work waits ------------------------------------------------------------------------------------------ */

static struct job queued[200]; /* of one flow */
static uint64_t longest_wait_ns;
static unsigned n_waits;

static void on_wait(struct dm_flow *flow, uint64_t ns)
{
    n_waits++;
    longest_wait_ns = DM_MAX(longest_wait_ns, ns);
}

/* With the clock. */
static void run_queued(struct dm_task *task)
{
    struct job *job = DM_CONTAINER_OF(task, struct job, task);

    fake.now_ns += job->cost;
    work(job);
}

static void queue_up(uint64_t cost)
{
    for (size_t i = 0; i < DM_COUNT(queued); i++) {
        init_job(&queued[i], true, cost);
        queued[i].task.run = run_queued;
        queued[i].task.flow = &queued[0].flow;
        queued[i].again = true;
    }
    queued[0].flow.on_wait = on_wait;
    for (size_t i = 0; i < DM_COUNT(queued); i++)
        dm_task_post(loop, &queued[i].task);
}

static void leave_queue(void)
{
    for (size_t i = 0; i < DM_COUNT(queued); i++)
        dm_task_cancel(loop, &queued[i].task);
    assert_null(queued[0].flow.overload.followed);
    dm_loop_forget(loop, &queued[0].flow);
}

/* Who queues more than can be done in time is told to refuse some; who asks for little beside it waits for little, and is not. */
static void who_asks_for_more_than_can_be_done_is_told(void **state)
{
    dm_loop_set_wait_target(loop, 100000000);
    n_waits = 0;
    longest_wait_ns = 0;
    init_job(&small, true, 20000);
    small.task.run = run_queued;
    queue_up(1000000); /* 200 ms of work */
    for (int i = 0; i < 3000; i++) {
        dm_task_post(loop, &small.task);
        dm_loop_turn(loop, 0);
    }
    assert_true(queued[0].flow.overload.share > 0);
    assert_true(n_waits > 3);
    assert_in_range(longest_wait_ns, 150000000, 450000000);
    assert_int_equal(small.flow.overload.share, 0);
    leave_queue();
    dm_loop_forget(loop, &small.flow);
}

static void without_a_target_or_fairness_nobody_is_told(void **state)
{
    for (int i = 0; i < 2; i++) {
        dm_loop_set_wait_target(loop, i == 0 ? 0 : 100000000);
        dm_loop_set_fair(loop, i == 0);
        queue_up(1000000);
        for (int k = 0; k < 3000; k++)
            dm_loop_turn(loop, 0);
        assert_int_equal(queued[0].flow.overload.share, 0);
        leave_queue();
    }
}

/* As after a suspend, or on another core. */
static void a_counter_that_goes_back_costs_nobody(void **state)
{
    init_job(&small, true, 0);
    for (int i = 0; i < 6; i++) {
        small.cost = i % 2 ? 2000 : (uint64_t)-1000000; /* in the middle of its task */
        dm_task_post(loop, &small.task);
        dm_loop_turn(loop, 0);
        ticks -= 1000000;
        fake_clock_advance_ms(&fake, 20);
    }
    assert_true(small.flow.credit <= 0 && small.flow.credit >= -3000);
    assert_true(small.flow.ticks <= 6000);
    assert_int_equal(dm_loop_stats(loop)->longest_task_ns, 2000);
    dm_loop_forget(loop, &small.flow);
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static struct dm_stream leaving;
static unsigned n_closed;

static size_t take(struct dm_stream *stream, const char *ptr, size_t len)
{
    return len;
}

static void on_error(struct dm_stream *stream, int code)
{
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    n_closed++;
    memset(stream, 0xa5, sizeof(*stream)); /* it is the owner's again */
}

static const struct dm_stream_type type = {.on_read = take, .on_error = on_error, .on_closed = on_closed};

static void writes_and_leaves(struct dm_task *task)
{
    assert_int_equal(dm_stream_put(&leaving, "bye", 3), 0);
    dm_stream_close_gracefully(&leaving, 1000);
    assert_true(dm_task_is_posted(&leaving.task)); /* in its own flow, which has the next turn */
    ticks += QUANTUM + QUANTUM / 2;
}

/* A stream whose task has the turn is ended by what is sent before it: it is closed once. */
static void what_is_sent_before_a_turn_may_end_whose_it_is(void **state)
{
    struct job writer, owner, rest[3];
    int fds[2];

    n_closed = 0;
    init_job(&writer, true, 0);
    init_job(&owner, true, 0);
    writer.task.run = writes_and_leaves;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&leaving, loop, &type, fds[0]), 0);
    dm_stream_set_flow(&leaving, &owner.flow);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    for (int i = 0; i < 3; i++)
        dm_loop_turn(loop, 0);
    assert_true(leaving.has_eof);
    dm_task_post(loop, &writer.task);
    for (size_t i = 0; i < DM_COUNT(rest); i++) {
        init_job(&rest[i], false, 0);
        rest[i].task.flow = &writer.flow;
        dm_task_post(loop, &rest[i].task);
    }
    for (int i = 0; i < 6; i++)
        dm_loop_turn(loop, 0);
    assert_int_equal(n_closed, 1);
    assert_int_equal(rest[2].n, 1);
    dm_loop_forget(loop, &writer.flow);
    dm_loop_forget(loop, &owner.flow);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_platforms_work_is_not_charged_for_polls), TEST(a_little_debt_makes_nobody_wait),
        TEST(work_in_anothers_name_is_paid_twice),         TEST(timers_wait_for_their_turn),
        TEST(who_asks_for_more_than_can_be_done_is_told),  TEST(without_a_target_or_fairness_nobody_is_told),
        TEST(a_counter_that_goes_back_costs_nobody),       TEST(what_is_sent_before_a_turn_may_end_whose_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
