/* Timers in a hierarchical wheel of 1 ms ticks: arming, re-arming and cancelling are O(1) and make no system call. The loop
 * owns a wheel (dm_timer_arm in io/loop.h is what most callers want); the wheel alone knows no clock and no loop.
 *
 * Seven levels of 64 slots cover 2^42 ticks. A timer of level L lies in the slot of its due tick's L-th group of six bits,
 * L being the highest group in which the due tick differs from the present one; when the wheel reaches the start of a slot
 * above level 0, its timers move down.
 *
 * T1. A timer never fires before its due tick.
 * T2. Timers due at different ticks fire in that order; at one tick in no order.
 * T3. An armed timer put off to a later tick stays where it is and is moved when its former tick comes: putting off is a
 *     store.
 *
 * Threads: one. */
#ifndef DM_IO_TIMER_H
#define DM_IO_TIMER_H

#include "io/scheduler.h"

enum { DM_TIMER_LEVELS = 7, DM_TIMER_SLOTS = 64 };

struct dm_timer_link {
    struct dm_timer_link *next, *prev;
};

/* Embedded in its owner. Zeroed is not armed; set on_due before arming. */
struct dm_timer {
    struct dm_timer_link link; /* next is NULL when not in the wheel */
    uint64_t due_tick;         /* when it fires */
    uint64_t placed_tick;      /* what its slot was chosen by, <= due_tick */
    void (*on_due)(struct dm_timer *timer);
    struct dm_task task; /* the loop's: a timer that is due waits for its turn; task.flow says among whose work */
    uint16_t slot;       /* level * DM_TIMER_SLOTS + slot */
};

struct dm_timer_wheel {
    uint64_t now_tick; /* all up to here has fired */
    uint64_t occupied[DM_TIMER_LEVELS];
    size_t n_armed;
    struct dm_timer_link slots[DM_TIMER_LEVELS * DM_TIMER_SLOTS];
    struct dm_timer_link firing;
};

void dm_timer_wheel_init(struct dm_timer_wheel *wheel, uint64_t now_tick);
/* Arms or re-arms. A due tick that has passed counts as the next one. */
void dm_timer_wheel_arm(struct dm_timer_wheel *wheel, struct dm_timer *timer, uint64_t due_tick);
/* Nothing when it is not armed. */
void dm_timer_wheel_cancel(struct dm_timer_wheel *wheel, struct dm_timer *timer);
/* The next tick at which dm_timer_wheel_run has something to do (not later than the earliest due tick); UINT64_MAX when
 * nothing is armed. */
uint64_t dm_timer_wheel_next(const struct dm_timer_wheel *wheel);
/* Gives what is due up to now_tick to fire, max timers at most, the others in the next run; each is disarmed before, and fire may arm and
 * cancel any timer and free its own. Returns how many. */
size_t dm_timer_wheel_run(struct dm_timer_wheel *wheel, uint64_t now_tick, size_t max,
                          void (*fire)(void *arg, struct dm_timer *timer), void *arg);

/* In the wheel, or due and waiting for its turn. */
static inline bool dm_timer_is_armed(const struct dm_timer *timer)
{
    return timer->link.next != NULL || timer->task.next != NULL;
}

#endif
