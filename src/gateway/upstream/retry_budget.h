/* How many requests may be sent again: a share of those that were made lately, or a number that is always allowed, whichever is
 * more. So a backend that fails gets little more than it was asked for, however many tries each request has.
 *
 * R1. Over the present and the former window (of DM_RETRY_WINDOW_NS) together retries are at most percent of the requests, or min.
 *
 * No clock, no I/O, no memory of its own. Threads: the owner's. */
#ifndef DM_GATEWAY_UPSTREAM_RETRY_BUDGET_H
#define DM_GATEWAY_UPSTREAM_RETRY_BUDGET_H

#include "base/defs.h"

#define DM_RETRY_WINDOW_NS UINT64_C(10000000000)

struct dm_retry_settings {
    uint32_t percent, min;
};

struct dm_retry_count {
    uint64_t requests, retries;
};

/* Zeroed before the first use. */
struct dm_retry_budget {
    uint64_t end_ns; /* of the present window */
    struct dm_retry_count now, former;
};

/* A request is made for the first time. */
static inline void dm_retry_budget_request(struct dm_retry_budget *budget, uint64_t now_ns);
/* May one be made again? Then it is counted. */
bool dm_retry_budget_take(struct dm_retry_budget *budget, const struct dm_retry_settings *settings, uint64_t now_ns);

/* The window is over. */
void dm_retry_budget_move_on(struct dm_retry_budget *budget, uint64_t now_ns);

static inline void dm_retry_budget_request(struct dm_retry_budget *budget, uint64_t now_ns)
{
    if (DM_UNLIKELY(now_ns >= budget->end_ns))
        dm_retry_budget_move_on(budget, now_ns);
    budget->now.requests++;
}

#endif
