#include "http/h2_guard.h"

#define STEP_NS UINT64_C(100000000) /* budgets are refilled in steps */
#define STEPS_PER_SECOND 10
#define STEPS_MAX 10000u

static const struct {
    uint16_t burst, per_second; /* the latter a multiple of STEPS_PER_SECOND */
} budgets[DM_H2_BUDGETS] = {
    [DM_H2_RAPID_RESET] = {200, 20},    [DM_H2_MADE_YOU_RESET] = {100, 10}, [DM_H2_SETTINGS_FLOOD] = {64, 10},
    [DM_H2_PING_FLOOD] = {128, 20},     [DM_H2_EMPTY_FRAMES] = {128, 20},   [DM_H2_PRIORITY_FLOOD] = {256, 20},
    [DM_H2_WINDOW_STALL] = {2000, 200},
};

void dm_h2_guard_init(struct dm_h2_guard *guard, uint64_t now_ns)
{
    guard->refilled_ns = now_ns;
    for (size_t i = 0; i < DM_H2_BUDGETS; i++)
        guard->left[i] = budgets[i].burst;
}

void dm_h2_guard_give(struct dm_h2_guard *guard, enum dm_h2_abuse abuse, unsigned n)
{
    guard->left[abuse] = (uint16_t)DM_MIN((unsigned)guard->left[abuse] + n, (unsigned)budgets[abuse].burst);
}

void dm_h2_guard_refill(struct dm_h2_guard *guard, uint64_t now_ns)
{
    uint64_t steps = (now_ns - guard->refilled_ns) / STEP_NS;

    if (DM_LIKELY(steps == 0))
        return;
    guard->refilled_ns += steps * STEP_NS;
    for (unsigned i = 0; i < DM_H2_BUDGETS; i++)
        dm_h2_guard_give(guard, (enum dm_h2_abuse)i,
                         (unsigned)DM_MIN(steps, STEPS_MAX) * (budgets[i].per_second / STEPS_PER_SECOND));
}

bool dm_h2_guard_spend(struct dm_h2_guard *guard, enum dm_h2_abuse abuse, unsigned n)
{
    if (DM_UNLIKELY(guard->left[abuse] < n))
        return false;
    guard->left[abuse] = (uint16_t)(guard->left[abuse] - n);
    return true;
}

void dm_h2_guard_count(struct dm_http2_counters *counters, enum dm_h2_abuse abuse)
{
    switch (abuse) {
    case DM_H2_RAPID_RESET: counters->rapid_reset++; break;
    case DM_H2_MADE_YOU_RESET: counters->made_you_reset++; break;
    case DM_H2_SETTINGS_FLOOD: counters->settings_flood++; break;
    case DM_H2_PING_FLOOD: counters->ping_flood++; break;
    case DM_H2_EMPTY_FRAMES: counters->empty_frames++; break;
    case DM_H2_PRIORITY_FLOOD: counters->priority_flood++; break;
    case DM_H2_WINDOW_STALL: counters->window_stall++; break;
    case DM_H2_CONTINUATION_FLOOD: counters->continuation_flood++; break;
    case DM_H2_HEADER_BOMB: counters->header_bomb++; break;
    }
}
