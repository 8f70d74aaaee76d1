/* Whose work runs next: deficit round robin over measured time (Shreedhar and Varghese, 1996), with a first turn for flows that
 * were at rest, as in FQ-CoDel (RFC 8290).
 *
 * A flow is one whose work is kept apart from others': a tenant's, a listener's before it knows a tenant, the platform's own. Its
 * tasks wait in its queue, first in, first out. A flow has credit, in ticks; each task that ran is charged what it took. A flow
 * without credit goes behind the others, with a quantum more, which its weight says.
 *
 * at rest --[task]--> fresh --[credit spent, or empty]--> waiting --[its turn comes, and it is empty]--> at rest
 *                                                          waiting --[its turn comes, credit]--> runs, up to a quantum
 *
 * D1. Fresh flows run before waiting ones, each for one quantum at most, and then stand among those that wait until their turn has come
 *     there, with work or without. So many small flows can't starve a large one.
 * D2. A task is not interrupted: a flow overdraws by one task at most, and pays for it before it runs again. What it owes is kept
 *     while it rests, less a quantum when it wakes. It never owes more than DM_FLOW_DEBT_MAX quanta.
 * D3. Credit is not saved: a flow that rests has none, or owes.
 * D4. Work conserving: while anybody has a task, somebody has the turn.
 *
 * The bound. Of a flow that rested and owes less than a quantum, the first task waits for the task that runs, for one quantum and one
 * overdraft of each flow that became fresh before it, and for nobody else. The next one waits, at worst, for two quanta and one
 * overdraft of every other flow that has work: a flow may end its turn among those that wait, and be fresh at once.
 *
 * Knows no clock, no loop and no tenant. Threads: one. */
#ifndef DM_IO_SCHEDULER_H
#define DM_IO_SCHEDULER_H

#include "base/defs.h"
#include "io/overload.h"

enum { DM_FLOW_WEIGHT = 100, DM_FLOW_DEBT_MAX = 16 }; /* the usual weight; quanta */

struct dm_flow;

/* Work to be done. Embedded in its owner; zeroed is not posted. */
struct dm_task {
    struct dm_task *next, *prev; /* next is NULL when not posted */
    void (*run)(struct dm_task *task);
    struct dm_flow *flow; /* whose work it is; NULL: of whoever runs when it is posted */
};

enum dm_flow_state { DM_FLOW_AT_REST, DM_FLOW_FRESH, DM_FLOW_WAITING };

struct dm_flow {
    struct dm_flow *next, *prev; /* among those that are not at rest */
    struct dm_task queue;        /* head of a ring */
    int64_t credit;              /* ticks */
    uint32_t weight;             /* to DM_FLOW_WEIGHT of others */
    uint8_t state;               /* enum dm_flow_state */
    bool has_run;                /* since it went behind the others last */
    uint32_t n_spent;            /* quanta that it used up while it had more to do; wraps around */
    uint64_t ticks;              /* charged since it was last settled (io/loop.h) */
    struct dm_flow *next_charged;
    uint64_t *cpu_ns; /* where that is written to; borrowed */
    uint64_t *timers; /* where its timers that come due are counted; borrowed; NULL: nowhere */
    struct dm_overload overload;
    void (*on_wait)(struct dm_flow *flow,
                    uint64_t ns); /* how long a task waited for its turn; NULL: nobody asks (io/loop.h) */
};

struct dm_scheduler {
    struct dm_flow fresh, waiting; /* heads of rings */
    size_t n_tasks;
    uint64_t quantum; /* ticks, of the usual weight */
};

void dm_scheduler_init(struct dm_scheduler *scheduler, uint64_t quantum);

/* At rest. cpu_ns: grows by what the flow's work cost. */
void dm_flow_init(struct dm_flow *flow, uint32_t weight, uint64_t *cpu_ns);
/* Its tasks, if any, become the other's. */
void dm_flow_leave(struct dm_scheduler *scheduler, struct dm_flow *flow, struct dm_flow *heir);

/* The task is not posted. */
void dm_scheduler_post(struct dm_scheduler *scheduler, struct dm_flow *flow, struct dm_task *task);
/* The task is posted. */
void dm_scheduler_cancel(struct dm_scheduler *scheduler, struct dm_task *task);
/* Has the flow nothing to do, and would a task of it be run for the credit that it has, or would have when it wakes? */
bool dm_scheduler_is_free(const struct dm_scheduler *scheduler, const struct dm_flow *flow);
/* Whose turn it is: a flow that has a task. NULL: nobody has one, and all rest. The same until a task is posted, cancelled, taken or
 * charged for. */
struct dm_flow *dm_scheduler_turn(struct dm_scheduler *scheduler);
/* The first task of the flow that has the turn, no longer posted. */
struct dm_task *dm_scheduler_take(struct dm_scheduler *scheduler, struct dm_flow *flow);
/* The one that is its first now; NULL: it has none. */
struct dm_task *dm_scheduler_peek(const struct dm_flow *flow);
/* The flow's work took so long. */
static inline void dm_scheduler_charge(struct dm_flow *flow, uint64_t ticks)
{
    flow->credit -= (int64_t)ticks;
}

#endif
