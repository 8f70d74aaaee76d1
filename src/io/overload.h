/* How long a flow's work waits for its turn, and what share of what is new is to be refused so that the rest does not wait for ever.
 *
 * One task of a flow at a time is followed from where it is posted to its turn: the others wait as long. Where none in a whole interval
 * waited less than the target, there is a queue that does not go away (as in CoDel, RFC 8289, sections 3 and 4): more is asked for than can
 * be done. Then the share to be refused grows, and it shrinks with each interval that is otherwise, or in which nothing was followed.
 *
 * O1. A task that waited while its flow did not spend a whole quantum waited for others: that flow asks for no more than its share, and
 *     nothing of its is refused.
 * O2. The share is below DM_OVERLOAD_SHARE_MAX: what gets through shows when the load has gone.
 * O3. Refusals are spread evenly over what asks.
 *
 * Knows no clock; what is refused, and how, is the owner's to say. Threads: one. */
#ifndef DM_IO_OVERLOAD_H
#define DM_IO_OVERLOAD_H

#include "base/defs.h"

enum { DM_OVERLOAD_ONE = 1024, DM_OVERLOAD_SHARE_MAX = DM_OVERLOAD_ONE * 9 / 10 };

struct dm_task;

/* Zeroed: nothing is followed, nothing refused. */
struct dm_overload {
    const struct dm_task *followed; /* NULL: none */
    uint64_t posted_ns;
    uint32_t spent_before;
    uint16_t share, carry; /* of DM_OVERLOAD_ONE; what is left of it from refusal to refusal */
    uint64_t interval_ns;  /* begin of the present one */
    bool has_waited, has_not;
};

/* spent: how many quanta the flow has used up while it had more to do; may wrap around. */
static inline void dm_overload_posted(struct dm_overload *overload, const struct dm_task *task, uint64_t now_ns,
                                      uint32_t spent)
{
    if (overload->followed)
        return;
    overload->followed = task;
    overload->posted_ns = now_ns;
    overload->spent_before = spent;
}

/* Its turn will not come. */
static inline void dm_overload_cancelled(struct dm_overload *overload, const struct dm_task *task)
{
    if (DM_UNLIKELY(overload->followed == task))
        overload->followed = NULL;
}

/* The turn of the task that is followed has come. Returns how long it waited. target_ns 0: never too long. */
uint64_t dm_overload_taken(struct dm_overload *overload, uint64_t now_ns, uint32_t spent, uint64_t target_ns);

/* Is this one refused (O3)? The share shrinks here too: when all that is new is refused, nothing may be followed. */
bool dm_overload_refuses_next(struct dm_overload *overload, uint64_t now_ns);
static inline bool dm_overload_refuses(struct dm_overload *overload, uint64_t now_ns)
{
    return DM_UNLIKELY(overload->share > 0) && dm_overload_refuses_next(overload, now_ns);
}

#endif
