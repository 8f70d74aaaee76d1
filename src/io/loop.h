/* The event loop: one per process, one thread, edge-triggered, on the seam (base/sys.h), so that it runs on the kernel and
 * in a simulation alike.
 *
 * A turn: poll (not waiting when tasks are ready) -> read the clock -> at most max_events events -> due timers, 256 at most, are posted
 * -> tasks, as long as a slice of time -> hooks. Whose task runs next is the scheduler's to say (io/scheduler.h); events should do no
 * more than post one. A callback that stops before its descriptor is empty posts a task for the rest, so a backlog waits its turn
 * behind everybody else's work.
 *
 * L1. A turn runs at most as many tasks as were ready when it began to, and no longer than a slice and one task: a turn ends, and what
 *     became ready meanwhile is seen. A timer armed for now fires in a later turn; one that is due fires behind what was posted before
 *     it, so that what has come is looked at before it is given up.
 * L2. An event for a descriptor whose watch was deleted reaches nobody, also when the descriptor's number is in use again.
 * L3. The clock is read once a turn, and once more before a turn that may sleep.
 * L4. All time is somebody's: the flow's whose task runs, or which was entered by name, else the platform's (polling, events, hooks).
 *     The scheduler is told in ticks, at once: a task is charged to the flow that had the turn, whole, and what is done in another's name
 *     to that one too; polling and the like are in nobody's turn. In nanoseconds of CPU time it is settled, some hundred times a
 *     second or before the loop sleeps: then what the system says that the thread has run is shared out by the ticks, and the sum is the
 *     system's. What a sleep costs is the platform's.
 *
 * Watches, tasks, timers and hooks are embedded in their owners (DM_CONTAINER_OF) and must be deleted or cancelled before
 * the owner's memory goes. Callbacks never run inside another; nobody may call dm_loop_turn or dm_loop_run from one. */
#ifndef DM_IO_LOOP_H
#define DM_IO_LOOP_H

#include "base/sys.h"
#include "io/scheduler.h"
#include "io/timer.h"

struct dm_loop;

/* Aborts when the system has no descriptor for it. sys is borrowed. */
struct dm_loop *dm_loop_new(struct dm_sys *sys);
/* Everything on it should be deleted or closed before; pending tasks and timers are forgotten. NULL is fine. */
void dm_loop_free(struct dm_loop *loop);
struct dm_sys *dm_loop_sys(const struct dm_loop *loop);

/* Monotonic time of this turn. */
uint64_t dm_loop_now_ns(const struct dm_loop *loop);

/* Turns until dm_loop_stop; 0, or negative when polling failed. A stop that came before the call ends it at once. */
int dm_loop_run(struct dm_loop *loop);
/* From a callback; dm_loop_run returns at the end of this turn. */
void dm_loop_stop(struct dm_loop *loop);
/* One turn that waits at most max_wait_ms (-1: until there is something to do). Returns the number of events, timers and
 * tasks served, or negative when polling failed. */
int dm_loop_turn(struct dm_loop *loop, int max_wait_ms);
/* How long a turn would sleep: 0 when tasks are ready, -1 when no timer is armed. For tests that drive several loops. */
int dm_loop_wait_ms(struct dm_loop *loop);
/* Bounds of a turn; defaults 256 and 256. max_events is at most 256. */
void dm_loop_set_bounds(struct dm_loop *loop, unsigned max_events, unsigned max_tasks);

/* Readiness of one descriptor, edge-triggered: ready holds DM_READY_ bits. What is ready when it is added is reported. */
struct dm_watch;
typedef void (*dm_watch_cb)(struct dm_watch *watch, unsigned ready);
struct dm_watch {
    dm_watch_cb on_ready; /* may be changed at any time */
    int fd;               /* -1 when not added; set by dm_watch_add */
};
/* 0 or -errno. */
DM_MUST_USE int dm_watch_add(struct dm_loop *loop, struct dm_watch *watch, int fd, dm_watch_cb on_ready);
/* The descriptor stays open. */
void dm_watch_del(struct dm_loop *loop, struct dm_watch *watch);
/* Deletes the watch and closes its descriptor, at the cost of the close alone. */
void dm_watch_close(struct dm_loop *loop, struct dm_watch *watch);

/* Work for this turn, or a later one. Nothing when it is posted already. It is taken from the queue before run, which may post it again and may free it. */
void dm_task_post(struct dm_loop *loop, struct dm_task *task);
/* Nothing when it is not posted. */
void dm_task_cancel(struct dm_loop *loop, struct dm_task *task);
/* Also of a task that is posted, which goes behind the flow's others. */
void dm_task_set_flow(struct dm_loop *loop, struct dm_task *task, struct dm_flow *flow);
static inline bool dm_task_is_posted(const struct dm_task *task)
{
    return task->next != NULL;
}

/* --- whose time it is (L4) */

/* Off: all work waits in one queue, and no time is charged. For programs whose work is nobody's, and to measure what it costs. */
void dm_loop_set_fair(struct dm_loop *loop, bool is_fair);
/* A flow whose tasks keep waiting longer than this for their turns, by its own doing, is told to refuse some of what is new
 * (io/overload.h): dm_overload_refuses(&flow->overload). 0, as at first: none ever is. How long tasks wait is told to on_wait of their flow, to within a
 * turn. Needs is_fair. */
void dm_loop_set_wait_target(struct dm_loop *loop, uint64_t ns);
/* Work that is nobody's. */
struct dm_flow *dm_loop_platform(struct dm_loop *loop);
/* From here to the end of the callback, or the next such call, time is this flow's; NULL: the platform's. */
void dm_loop_enter(struct dm_loop *loop, struct dm_flow *flow);
/* May work of this flow be done here and now, in the turn of whoever runs (and paid by both)? Else it should wait for its own. */
bool dm_loop_may_do(const struct dm_loop *loop, const struct dm_flow *flow);
/* Whose it is now. */
struct dm_flow *dm_loop_current(const struct dm_loop *loop);
/* Before the flow's memory goes: what it was charged is settled, and what it has left to do is the platform's. */
void dm_loop_forget(struct dm_loop *loop, struct dm_flow *flow);
/* Writes what all were charged to where their flows say. */
void dm_loop_settle(struct dm_loop *loop);

/* Fires once, at the earliest delay_ms after this turn's clock; arming an armed timer moves it. */
void dm_timer_arm(struct dm_loop *loop, struct dm_timer *timer, uint32_t delay_ms);
void dm_timer_cancel(struct dm_loop *loop, struct dm_timer *timer);
/* As dm_task_set_flow(). */
void dm_timer_set_flow(struct dm_loop *loop, struct dm_timer *timer, struct dm_flow *flow);

/* Runs at the end of each turn, before the next poll. May not delete other hooks than its own. */
struct dm_hook {
    struct dm_hook *next;
    void (*run)(struct dm_hook *hook);
};
void dm_hook_add(struct dm_loop *loop, struct dm_hook *hook);
void dm_hook_del(struct dm_loop *loop, struct dm_hook *hook);

struct dm_loop_stats {
    uint64_t turns, events, stale_events, timers, tasks;
    uint64_t busy_ns;                          /* time not spent sleeping in poll */
    uint64_t longest_turn_ns, longest_task_ns; /* since the last dm_loop_stats_reset_max */
    uint64_t max_lag_ns;                       /* the latest that a timer fired after its due time, since then */
};
const struct dm_loop_stats *dm_loop_stats(struct dm_loop *loop);
void dm_loop_stats_reset_max(struct dm_loop *loop);

#endif
