#include "gateway/upstream/retry_budget.h"

/* Windows end at multiples of their length. */
void dm_retry_budget_move_on(struct dm_retry_budget *b, uint64_t now_ns)
{
    bool is_next = now_ns - b->end_ns < DM_RETRY_WINDOW_NS;

    b->former = is_next ? b->now : (struct dm_retry_count){0};
    b->now = (struct dm_retry_count){0};
    b->end_ns = (now_ns / DM_RETRY_WINDOW_NS + 1) * DM_RETRY_WINDOW_NS;
}

bool dm_retry_budget_take(struct dm_retry_budget *b, const struct dm_retry_settings *settings, uint64_t now_ns)
{
    uint64_t allowed;

    if (now_ns >= b->end_ns)
        dm_retry_budget_move_on(b, now_ns);
    allowed = DM_MAX((b->now.requests + b->former.requests) * settings->percent / 100, (uint64_t)settings->min);
    if (b->now.retries + b->former.retries >= allowed)
        return false;
    b->now.retries++;
    return true;
}
