#include "io/overload.h"

#define INTERVAL_NS UINT64_C(100000000)
#define INTERVALS_MAX 50 /* more change nothing */

static uint32_t grown(uint32_t share)
{
    return share + (DM_OVERLOAD_SHARE_MAX - share + 3) / 4;
}

static uint32_t shrunk(uint32_t share)
{
    return share - (share + 7) / 8;
}

/* All intervals that have passed were as the present one: what is followed says what was in between. */
static void end_intervals(struct dm_overload *o, uint64_t n)
{
    uint32_t share = o->share;

    for (n = DM_MIN(n, (uint64_t)INTERVALS_MAX); n > 0; n--)
        share = o->has_waited && !o->has_not ? grown(share) : shrunk(share);
    o->share = (uint16_t)share;
    o->has_waited = o->has_not = false;
}

uint64_t dm_overload_taken(struct dm_overload *o, uint64_t now_ns, uint32_t spent, uint64_t target_ns)
{
    uint64_t waited_ns = now_ns - o->posted_ns, n;
    bool is_long = target_ns > 0 && waited_ns >= target_ns && spent != o->spent_before; /* O1 */

    o->followed = NULL;
    o->has_waited |= is_long;
    o->has_not |= !is_long;
    if ((n = (now_ns - o->interval_ns) / INTERVAL_NS) > 0) {
        end_intervals(o, n);
        o->interval_ns = now_ns;
    }
    return waited_ns;
}

bool dm_overload_refuses_next(struct dm_overload *o)
{
    uint32_t carry = (uint32_t)o->carry + o->share;

    o->carry = (uint16_t)(carry % DM_OVERLOAD_ONE);
    return carry >= DM_OVERLOAD_ONE;
}
