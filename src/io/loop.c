#include "io/loop.h"

#include <assert.h>
#include <limits.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/loop_int.h"

enum { DEFAULT_MAX_EVENTS = 64, DEFAULT_MAX_TASKS = 64, FIRST_SLOTS = 64 };
enum { WATCH_BEFORE = 64, WATCH_BEHIND = 192 }; /* of what a watch stands in: bytes that are touched first */

#define NS_PER_MS UINT64_C(1000000)

static void ring_init(struct dm_task *head)
{
    head->next = head->prev = head;
}

static bool ring_empty(const struct dm_task *head)
{
    return head->next == head;
}

static void ring_del(struct dm_task *task)
{
    task->prev->next = task->next;
    task->next->prev = task->prev;
    task->next = NULL;
}

/* Appends all of from to the end of to. */
static void ring_append(struct dm_task *to, struct dm_task *from)
{
    if (ring_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    ring_init(from);
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
    ring_init(&loop->ready);
    ring_init(&loop->running);
    dm_timer_wheel_init(&loop->wheel, 0);
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
    dm_prefetch(loop->slots[(uint32_t)event->tag].watch, WATCH_BEFORE, WATCH_BEHIND);
}

/* Tasks */

void dm_task_post(struct dm_loop *loop, struct dm_task *task)
{
    if (task->next)
        return;
    task->prev = loop->ready.prev;
    task->next = &loop->ready;
    loop->ready.prev->next = task;
    loop->ready.prev = task;
}

void dm_task_cancel(struct dm_loop *loop, struct dm_task *task)
{
    if (task->next)
        ring_del(task);
}

static unsigned run_tasks(struct dm_loop *loop)
{
    unsigned n = 0;

    ring_append(&loop->running, &loop->ready);
    for (; n < loop->max_tasks && !ring_empty(&loop->running); n++) {
        struct dm_task *task = loop->running.next;
        ring_del(task);
        task->run(task);
    }
    loop->stats.tasks += n;
    return n;
}

/* Timers. A tick has passed when its last nanosecond has, so a due time is rounded up. */

void dm_timer_arm(struct dm_loop *loop, struct dm_timer *timer, uint32_t delay_ms)
{
    uint64_t tick = (loop->now_ns - loop->epoch_ns + NS_PER_MS - 1) / NS_PER_MS;

    dm_timer_wheel_arm(&loop->wheel, timer, tick + delay_ms);
}

void dm_timer_cancel(struct dm_loop *loop, struct dm_timer *timer)
{
    dm_timer_wheel_cancel(&loop->wheel, timer);
}

static unsigned run_timers(struct dm_loop *loop)
{
    uint64_t due = dm_timer_wheel_next(&loop->wheel), tick = (loop->now_ns - loop->epoch_ns) / NS_PER_MS;
    size_t n;

    if (DM_LIKELY(due > tick))
        return 0;
    if ((n = dm_timer_wheel_run(&loop->wheel, tick)) > 0) {
        uint64_t lag_ns = loop->now_ns - loop->epoch_ns - due * NS_PER_MS;
        loop->stats.max_lag_ns = DM_MAX(loop->stats.max_lag_ns, lag_ns);
        loop->stats.timers += n;
    }
    return (unsigned)n;
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

    if (!ring_empty(&loop->ready) || !ring_empty(&loop->running))
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
    if (max_wait_ms == 0 || loop->is_stopping || !ring_empty(&loop->ready) || !ring_empty(&loop->running))
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

static int turn(struct dm_loop *loop, int max_wait_ms)
{
    int n = loop->sys->ops->poll_wait(loop->sys, loop->poll_fd, loop->events, (int)loop->max_events,
                                      choose_wait(loop, max_wait_ms));
    unsigned n_served;

    if (n < 0)
        return n;
    read_clock(loop);
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            expect(loop, &loop->events[i + 1]);
        dispatch(loop, &loop->events[i]);
    }
    n_served = (unsigned)n + run_timers(loop);
    n_served += run_tasks(loop);
    run_hooks(loop);
    if (dm_log_pending())
        dm_log_flush();
    loop->stats.turns++;
    loop->stats.events += (unsigned)n;
    return (int)n_served;
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

const struct dm_loop_stats *dm_loop_stats(const struct dm_loop *loop)
{
    return &loop->stats;
}

void dm_loop_stats_reset_max(struct dm_loop *loop)
{
    loop->stats.longest_turn_ns = loop->stats.max_lag_ns = 0;
}
