/* Calendar periods in UTC: which window of each period a moment lies in, and when it ends. */
#ifndef DM_GATEWAY_LIMIT_PERIOD_H
#define DM_GATEWAY_LIMIT_PERIOD_H

#include "base/defs.h"
#include "model/plan.h"

enum { DM_PERIOD_COUNT = DM_PERIOD_ETERNITY + 1 };

struct dm_period_window {
    uint32_t number; /* differs from that of the windows before and after; weeks begin on Monday */
    uint64_t ends_s; /* Unix time; UINT64_MAX for eternity */
};

/* Valid until the next minute begins. */
struct dm_periods {
    uint64_t valid_from_s, valid_to_s;
    struct dm_period_window windows[DM_PERIOD_COUNT];
};

/* Brings *periods to the moment now_s; cheap when the minute is still the same. */
void dm_periods_update(struct dm_periods *periods, uint64_t now_s);

#endif
