/* One endpoint among several: when it fails while others are there it is put out of turn for a while, and takes its share again
 * slowly. No clock, no I/O, no memory of its own.
 *
 *   state      takes turns                  ends by
 *   in         yes                          run_max failures behind one another, or one that is hard (no connection): out
 *   out        no                           its time is over: back. After one that was hard, that it was reached: back
 *   held       no                           release: back
 *   back       a share that grows for       a failure: out, twice as long, up to out_max_ns. As long as it was out without one: in
 *              slow_start_ns
 *
 * O1. A failure that is not hard puts it out only while the owner allows that (a floor of endpoints that stay).
 * O2. What happens to calls while it is out says nothing: they began before, or all are out.
 * O3. Who holds an endpoint knows more than calls can say (checks.h): any state but held ends by hold, held by release alone.
 *
 * Threads: the owner's. */
#ifndef DM_GATEWAY_UPSTREAM_OUTLIER_H
#define DM_GATEWAY_UPSTREAM_OUTLIER_H

#include "base/defs.h"

struct dm_outlier_settings {
    uint32_t run_max;
    uint64_t out_ns, out_max_ns, slow_start_ns;
};

/* Zeroed before the first use. */
struct dm_outlier {
    uint64_t until_ns; /* out; 0: it never was; UINT64_MAX: held */
    uint64_t for_ns;   /* the last time */
    uint32_t run;
    bool was_hard; /* the last time */
};

enum dm_outlier_failure { DM_OUTLIER_SOFT, DM_OUTLIER_HARD };

static inline bool dm_outlier_is_out(const struct dm_outlier *outlier, uint64_t now_ns)
{
    return DM_UNLIKELY(outlier->until_ns > now_ns);
}

static inline void dm_outlier_ok(struct dm_outlier *outlier)
{
    outlier->run = 0;
}

/* True: it is out now. may: O1. */
bool dm_outlier_fail(struct dm_outlier *outlier, const struct dm_outlier_settings *settings,
                     enum dm_outlier_failure failure, bool may, uint64_t now_ns);
/* O3 */
void dm_outlier_hold(struct dm_outlier *outlier);
void dm_outlier_release(struct dm_outlier *outlier, uint64_t now_ns);
/* A connection could be made. */
void dm_outlier_reached(struct dm_outlier *outlier, uint64_t now_ns);
/* Its share of its weight in percent, 10 to 100; all of it while it is out, when all are. */
uint32_t dm_outlier_share(const struct dm_outlier *outlier, const struct dm_outlier_settings *settings,
                          uint64_t now_ns);

#endif
