#include "io/loop.h"

#include <assert.h>
#include <limits.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/loop_int.h"

enum { DEFAULT_MAX_EVENTS = DM_LOOP_EVENTS_MAX, DEFAULT_MAX_TASKS = 256, FIRST_SLOTS = 64, TIMERS_MAX = 256 };
enum { OWNER_BEFORE = 64, OWNER_BEHIND = 192 }; /* of what a watch or a task stands in: bytes that are touched first */

#define NS_PER_MS UINT64_C(1000000)
#define QUANTUM_NS 50000.0
#define SLICE_NS 100000.0
#define SETTLE_NS (10 * NS_PER_MS)

/* Whose time it is */

/* One tick a nanosecond, until the clock has said more. */
static void set_rate(struct dm_loop *loop, double ticks_per_ns)
{
    loop->ticks_per_ns = ticks_per_ns;
    loop->scheduler.quantum = (uint64_t)(QUANTUM_NS * ticks_per_ns);
    loop->slice = (uint64_t)(SLICE_NS * ticks_per_ns);
}

static void init_time(struct dm_loop *loop)
{
    loop->is_fair = true;
    dm_scheduler_init(&loop->scheduler, 0);
    dm_flow_init(&loop->platform, DM_FLOW_WEIGHT, NULL);
    loop->current = &loop->platform;
    loop->mark = loop->learned_ticks = loop->sys->ops->ticks(loop->sys);
    loop->learned_ns = loop->now_ns;
    loop->settled_cpu_ns = loop->sys->ops->cpu_ns(loop->sys);
    loop->settled_ns = loop->now_ns;
    set_rate(loop, 1);
}

/* What passed since the mark is the current flow's, which pays with its credit too, unless run() charges it for the whole task. Loops and
 * polls are in nobody's turn. A counter may go back, after a suspend or on another core. */
static void charge(struct dm_loop *loop)
{
    struct dm_flow *flow = loop->current;
    uint64_t now, ticks;

    if (DM_UNLIKELY(!loop->is_fair))
        return;
    now = loop->sys->ops->ticks(loop->sys);
    ticks = (int64_t)(now - loop->mark) > 0 ? now - loop->mark : 0;
    loop->mark = now;
    if (ticks == 0)
        return;
    if (flow->ticks == 0) {
        flow->next_charged = loop->charged;
        loop->charged = flow;
    }
    flow->ticks += ticks;
    loop->passed += ticks;
    if (flow != &loop->platform && flow != loop->in_turn)
        dm_scheduler_charge(flow, ticks);
}

/* Of the time since the last look alone: the counter may go on where the clock stands. */
static void learn_rate(struct dm_loop *loop)
{
    uint64_t now_ns = loop->sys->ops->mono_ns(loop->sys), ns = now_ns - loop->learned_ns;
    int64_t ticks = (int64_t)(loop->mark - loop->learned_ticks);

    if (ns < NS_PER_MS)
        return;
    if (ticks > (int64_t)(ns / 1000))
        set_rate(loop, (double)ticks / (double)ns);
    loop->learned_ns = now_ns;
    loop->learned_ticks = loop->mark;
}

static void write_cpu(struct dm_flow *flow, uint64_t ns)
{
    if (flow->cpu_ns)
        *flow->cpu_ns += ns;
}

void dm_loop_settle(struct dm_loop *loop)
{
    uint64_t cpu_ns, left_ns;
    double sum = 0, grown_ns;

    if (DM_UNLIKELY(!loop->is_fair))
        return;
    charge(loop);
    cpu_ns = loop->sys->ops->cpu_ns(loop->sys);
    left_ns = cpu_ns - loop->settled_cpu_ns;
    grown_ns = (double)left_ns;
    for (const struct dm_flow *flow = loop->charged; flow; flow = flow->next_charged)
        sum += (double)flow->ticks;
    while (loop->charged) {
        struct dm_flow *flow = loop->charged;
        uint64_t ns = DM_MIN((uint64_t)(grown_ns * ((double)flow->ticks / sum)), left_ns);
        loop->charged = flow->next_charged;
        flow->ticks = 0;
        write_cpu(flow, ns);
        left_ns -= ns;
    }
    write_cpu(&loop->platform, left_ns);
    loop->settled_cpu_ns = cpu_ns;
    loop->settled_ns = loop->now_ns;
    learn_rate(loop);
}

/* What the thread ran since it was settled was for a sleep. */
static void settle_sleep(struct dm_loop *loop)
{
    uint64_t cpu_ns;

    if (DM_UNLIKELY(!loop->is_fair))
        return;
    cpu_ns = loop->sys->ops->cpu_ns(loop->sys);
    write_cpu(&loop->platform, cpu_ns - loop->settled_cpu_ns);
    loop->settled_cpu_ns = cpu_ns;
    loop->mark = loop->sys->ops->ticks(loop->sys);
}

void dm_loop_set_wait_target(struct dm_loop *loop, uint64_t ns)
{
    loop->wait_target_ns = ns;
}

void dm_loop_set_fair(struct dm_loop *loop, bool is_fair)
{
    loop->is_fair = is_fair;
}

struct dm_flow *dm_loop_platform(struct dm_loop *loop)
{
    return &loop->platform;
}

struct dm_flow *dm_loop_current(const struct dm_loop *loop)
{
    return loop->current;
}

bool dm_loop_may_do(const struct dm_loop *loop, const struct dm_flow *flow)
{
    return !loop->is_fair || flow == loop->in_turn || dm_scheduler_is_free(&loop->scheduler, flow);
}

void dm_loop_enter(struct dm_loop *loop, struct dm_flow *flow)
{
    flow = flow && DM_LIKELY(loop->is_fair) ? flow : &loop->platform;
    if (flow == loop->current)
        return;
    charge(loop);
    loop->current = flow;
}

void dm_loop_forget(struct dm_loop *loop, struct dm_flow *flow)
{
    dm_loop_settle(loop);
    if (loop->current == flow)
        loop->current = &loop->platform;
    if (loop->in_turn == flow)
        loop->in_turn = NULL;
    if (loop->streams_forget)
        loop->streams_forget(loop, flow);
    dm_flow_leave(&loop->scheduler, flow, &loop->platform);
}

struct dm_loop *dm_loop_new(struct dm_sys *sys)
{
    struct dm_loop *loop = dm_calloc(1, sizeof(*loop));

    loop->sys = sys;
    if ((loop->poll_fd = sys->ops->poll_new(sys)) < 0) {
        dm_log(DM_LOG_ERROR, "loop_failed", "no descriptor for polling: %s", strerror(-loop->poll_fd));
        dm_log_drain(1000);
        abort();
    }
    loop->max_events = DEFAULT_MAX_EVENTS;
    loop->max_tasks = DEFAULT_MAX_TASKS;
    loop->n_slots = FIRST_SLOTS;
    loop->slots = dm_calloc(loop->n_slots, sizeof(*loop->slots));
    loop->now_ns = loop->epoch_ns = sys->ops->mono_ns(sys);
    dm_timer_wheel_init(&loop->wheel, 0);
    init_time(loop);
    return loop;
}

void dm_loop_free(struct dm_loop *loop)
{
    if (!loop)
        return;
    assert(!loop->is_turning);
    if (loop->streams_free)
        loop->streams_free(loop);
    if (loop->tls_free)
        loop->tls_free(loop);
    if (loop->reaper_free)
        loop->reaper_free(loop);
    loop->sys->ops->close(loop->sys, loop->poll_fd);
    dm_free(loop->slots);
    dm_free(loop);
}

struct dm_sys *dm_loop_sys(const struct dm_loop *loop)
{
    return loop->sys;
}

uint64_t dm_loop_now_ns(const struct dm_loop *loop)
{
    return loop->now_ns;
}

void dm_loop_stop(struct dm_loop *loop)
{
    loop->is_stopping = true;
}

void dm_loop_set_bounds(struct dm_loop *loop, unsigned max_events, unsigned max_tasks)
{
    loop->max_events = DM_MIN(DM_MAX(max_events, 1u), DM_LOOP_EVENTS_MAX);
    loop->max_tasks = DM_MAX(max_tasks, 1u);
}

/* Descriptors */

static void grow_slots(struct dm_loop *loop, size_t fd)
{
    size_t n = loop->n_slots;

    while (n <= fd)
        n *= 2;
    loop->slots = dm_realloc(loop->slots, n * sizeof(*loop->slots));
    memset(loop->slots + loop->n_slots, 0, (n - loop->n_slots) * sizeof(*loop->slots));
    loop->n_slots = n;
}

int dm_watch_add(struct dm_loop *loop, struct dm_watch *watch, int fd, dm_watch_cb on_ready)
{
    struct dm_watch_slot *slot;
    int rc;

    if ((size_t)fd >= loop->n_slots)
        grow_slots(loop, (size_t)fd);
    slot = &loop->slots[fd];
    assert(!slot->watch);
    slot->generation++;
    rc = loop->sys->ops->poll_add(loop->sys, loop->poll_fd, fd, (uint64_t)slot->generation << 32 | (uint32_t)fd);
    if (rc < 0)
        return rc;
    slot->watch = watch;
    watch->fd = fd;
    watch->on_ready = on_ready;
    return 0;
}

static int forget(struct dm_loop *loop, struct dm_watch *watch)
{
    int fd = watch->fd;

    assert(loop->slots[fd].watch == watch);
    loop->slots[fd].watch = NULL;
    watch->fd = -1;
    return fd;
}

void dm_watch_del(struct dm_loop *loop, struct dm_watch *watch)
{
    if (watch->fd >= 0)
        loop->sys->ops->poll_del(loop->sys, loop->poll_fd, forget(loop, watch));
}

void dm_watch_close(struct dm_loop *loop, struct dm_watch *watch)
{
    if (watch->fd >= 0)
        loop->sys->ops->close(loop->sys, forget(loop, watch));
}

static void dispatch(struct dm_loop *loop, const struct dm_ready_event *event)
{
    struct dm_watch_slot *slot = &loop->slots[(uint32_t)event->tag];

    if (DM_LIKELY(slot->watch && slot->generation == event->tag >> 32))
        slot->watch->on_ready(slot->watch, event->ready);
    else
        loop->stats.stale_events++;
}

/* With many connections, what an event is about has left the cache since the last one. */
static void expect(const struct dm_loop *loop, const struct dm_ready_event *event)
{
    dm_prefetch(loop->slots[(uint32_t)event->tag].watch, OWNER_BEFORE, OWNER_BEHIND);
}

/* Tasks */

void dm_task_post(struct dm_loop *loop, struct dm_task *task)
{
    struct dm_flow *flow = task->flow && DM_LIKELY(loop->is_fair) ? task->flow : loop->current;

    if (task->next)
        return;
    dm_scheduler_post(&loop->scheduler, flow, task);
    if (flow == task->flow)
        dm_overload_posted(&flow->overload, task, loop->now_ns, flow->n_spent);
}

void dm_task_cancel(struct dm_loop *loop, struct dm_task *task)
{
    if (!task->next)
        return;
    dm_scheduler_cancel(&loop->scheduler, task);
    if (task->flow)
        dm_overload_cancelled(&task->flow->overload, task);
}

void dm_task_set_flow(struct dm_loop *loop, struct dm_task *task, struct dm_flow *flow)
{
    bool is_posted = task->next != NULL;

    dm_task_cancel(loop, task);
    task->flow = flow;
    if (is_posted)
        dm_task_post(loop, task);
}

static void end_wait(struct dm_loop *loop, struct dm_flow *flow)
{
    uint64_t ns = dm_overload_taken(&flow->overload, loop->now_ns, flow->n_spent, loop->wait_target_ns);

    if (flow->on_wait)
        flow->on_wait(flow, ns);
}

/* The flow pays for all of the task, also for what was another's: the others have waited for it. */
static void run(struct dm_loop *loop, struct dm_flow *flow)
{
    struct dm_task *task = dm_scheduler_take(&loop->scheduler, flow), *next = dm_scheduler_peek(flow);
    uint64_t before;

    if (next)
        dm_prefetch(next, OWNER_BEFORE, OWNER_BEHIND);
    dm_loop_enter(loop, flow);
    if (flow->overload.followed == task)
        end_wait(loop, flow);
    before = loop->passed;
    loop->in_turn = flow;
    task->run(task);
    charge(loop);
    if (loop->in_turn)
        dm_scheduler_charge(loop->in_turn, loop->passed - before);
    loop->in_turn = NULL;
    loop->longest_task = DM_MAX(loop->longest_task, loop->passed - before);
}

/* Whose work is next. What the one before has gathered to be sent goes first, and may change it. */
static struct dm_flow *next_flow(struct dm_loop *loop, struct dm_flow *last)
{
    struct dm_flow *flow = dm_scheduler_turn(&loop->scheduler);

    if (DM_LIKELY(flow == last) || !last || !loop->streams_flush)
        return flow;
    loop->streams_flush(loop);
    return dm_scheduler_turn(&loop->scheduler);
}

/* L1 */
static unsigned run_tasks(struct dm_loop *loop)
{
    size_t max = DM_MIN(loop->scheduler.n_tasks, (size_t)loop->max_tasks);
    struct dm_flow *flow = NULL;
    uint64_t begun;
    unsigned n = 0;

    charge(loop);
    begun = loop->passed;
    while (n < max && loop->passed - begun < loop->slice && (flow = next_flow(loop, flow))) {
        run(loop, flow);
        n++;
    }
    if (loop->scheduler.n_tasks == 0)
        (void)dm_scheduler_turn(&loop->scheduler);
    dm_loop_enter(loop, NULL);
    loop->stats.tasks += n;
    return n;
}

/* Timers. A tick has passed when its last nanosecond has, so a due time is rounded up. */

void dm_timer_arm(struct dm_loop *loop, struct dm_timer *timer, uint32_t delay_ms)
{
    uint64_t tick = (loop->now_ns - loop->epoch_ns + NS_PER_MS - 1) / NS_PER_MS;

    dm_task_cancel(loop, &timer->task);
    dm_timer_wheel_arm(&loop->wheel, timer, tick + delay_ms);
}

void dm_timer_cancel(struct dm_loop *loop, struct dm_timer *timer)
{
    dm_task_cancel(loop, &timer->task);
    dm_timer_wheel_cancel(&loop->wheel, timer);
}

void dm_timer_set_flow(struct dm_loop *loop, struct dm_timer *timer, struct dm_flow *flow)
{
    dm_task_set_flow(loop, &timer->task, flow);
}

static void run_timer(struct dm_task *task)
{
    struct dm_timer *timer = DM_CONTAINER_OF(task, struct dm_timer, task);

    timer->on_due(timer);
}

static void post_timer(void *arg, struct dm_timer *timer)
{
    struct dm_loop *loop = arg;
    const struct dm_flow *flow = timer->task.flow ? timer->task.flow : &loop->platform;

    if (flow->timers)
        (*flow->timers)++;
    timer->task.run = run_timer;
    dm_task_post(loop, &timer->task);
}

/* They wait for their turn behind what came before. */
static void post_timers(struct dm_loop *loop)
{
    uint64_t due = dm_timer_wheel_next(&loop->wheel), tick = (loop->now_ns - loop->epoch_ns) / NS_PER_MS;
    size_t n;

    if (DM_LIKELY(due > tick))
        return;
    if ((n = dm_timer_wheel_run(&loop->wheel, tick, TIMERS_MAX, post_timer, loop)) > 0) {
        uint64_t lag_ns = loop->now_ns - loop->epoch_ns - due * NS_PER_MS;
        loop->stats.max_lag_ns = DM_MAX(loop->stats.max_lag_ns, lag_ns);
        loop->stats.timers += n;
    }
}

/* Hooks */

void dm_hook_add(struct dm_loop *loop, struct dm_hook *hook)
{
    hook->next = loop->hooks;
    loop->hooks = hook;
}

void dm_hook_del(struct dm_loop *loop, struct dm_hook *hook)
{
    for (struct dm_hook **at = &loop->hooks; *at; at = &(*at)->next)
        if (*at == hook) {
            *at = hook->next;
            return;
        }
}

static void run_hooks(struct dm_loop *loop)
{
    for (struct dm_hook *hook = loop->hooks, *next; hook; hook = next) {
        next = hook->next;
        hook->run(hook);
    }
}

/* Turns */

/* From the given moment, rounded up so that a sleep does not end before the tick. */
static int wait_ms_from(struct dm_loop *loop, uint64_t now_ns)
{
    uint64_t due, since_ns = now_ns - loop->epoch_ns;

    if (loop->scheduler.n_tasks > 0)
        return 0;
    if ((due = dm_timer_wheel_next(&loop->wheel)) == UINT64_MAX)
        return -1;
    if (due * NS_PER_MS <= since_ns)
        return 0;
    return (int)DM_MIN((due * NS_PER_MS - since_ns + NS_PER_MS - 1) / NS_PER_MS, (uint64_t)INT_MAX);
}

int dm_loop_wait_ms(struct dm_loop *loop)
{
    return wait_ms_from(loop, loop->sys->ops->mono_ns(loop->sys));
}

static void end_busy(struct dm_loop *loop, uint64_t now_ns)
{
    uint64_t turn_ns = now_ns - loop->now_ns;

    loop->stats.busy_ns += turn_ns;
    loop->stats.longest_turn_ns = DM_MAX(loop->stats.longest_turn_ns, turn_ns);
}

/* How long to poll. A turn that does not sleep needs no clock here: it ends at the next reading. */
static int choose_wait(struct dm_loop *loop, int max_wait_ms)
{
    int wait_ms;

    loop->slept_from_ns = 0;
    if (max_wait_ms == 0 || loop->is_stopping || loop->scheduler.n_tasks > 0)
        return 0;
    loop->slept_from_ns = loop->sys->ops->mono_ns(loop->sys);
    wait_ms = wait_ms_from(loop, loop->slept_from_ns);
    return wait_ms < 0 || (max_wait_ms > 0 && wait_ms > max_wait_ms) ? max_wait_ms : wait_ms;
}

static void read_clock(struct dm_loop *loop)
{
    uint64_t now_ns = loop->sys->ops->mono_ns(loop->sys);

    end_busy(loop, loop->slept_from_ns ? loop->slept_from_ns : now_ns);
    loop->now_ns = now_ns;
}

static int poll(struct dm_loop *loop, int max_wait_ms)
{
    int wait_ms = choose_wait(loop, max_wait_ms), n;

    if (wait_ms != 0)
        dm_loop_settle(loop);
    n = loop->sys->ops->poll_wait(loop->sys, loop->poll_fd, loop->events, (int)loop->max_events, wait_ms);
    if (n < 0)
        return n;
    if (wait_ms != 0)
        settle_sleep(loop);
    read_clock(loop);
    return n;
}

static int turn(struct dm_loop *loop, int max_wait_ms)
{
    int n = poll(loop, max_wait_ms);
    unsigned n_tasks;

    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            expect(loop, &loop->events[i + 1]);
        dispatch(loop, &loop->events[i]);
    }
    post_timers(loop);
    n_tasks = run_tasks(loop);
    run_hooks(loop);
    if (dm_log_pending())
        dm_log_flush();
    if (loop->now_ns - loop->settled_ns >= SETTLE_NS)
        dm_loop_settle(loop);
    dm_loop_enter(loop, NULL);
    loop->stats.turns++;
    loop->stats.events += (unsigned)n;
    return n + (int)n_tasks;
}

int dm_loop_turn(struct dm_loop *loop, int max_wait_ms)
{
    int rc;

    assert(!loop->is_turning);
    loop->is_turning = true;
    rc = turn(loop, max_wait_ms);
    loop->is_turning = false;
    return rc;
}

int dm_loop_run(struct dm_loop *loop)
{
    int rc = 0;

    while (!loop->is_stopping && rc >= 0)
        rc = dm_loop_turn(loop, -1);
    loop->is_stopping = false;
    return DM_MIN(rc, 0);
}

const struct dm_loop_stats *dm_loop_stats(struct dm_loop *loop)
{
    loop->stats.longest_task_ns = (uint64_t)((double)loop->longest_task / loop->ticks_per_ns);
    return &loop->stats;
}

void dm_loop_stats_reset_max(struct dm_loop *loop)
{
    loop->stats.longest_turn_ns = loop->stats.max_lag_ns = 0;
    loop->longest_task = 0;
}
