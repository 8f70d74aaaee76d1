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

/* Of the n that have passed the last n_long were overloaded. */
static void end_intervals(struct dm_overload *o, uint64_t n, uint64_t n_long, uint64_t now_ns)
{
    uint32_t share = o->share;

    n = DM_MIN(n, (uint64_t)INTERVALS_MAX);
    for (; n > n_long; n--)
        share = shrunk(share);
    for (; n > 0; n--)
        share = grown(share);
    o->share = (uint16_t)share;
    o->has_waited = o->has_not = false;
    o->interval_ns = now_ns;
}

static uint64_t passed(const struct dm_overload *o, uint64_t now_ns)
{
    return (now_ns - o->interval_ns) / INTERVAL_NS;
}

uint64_t dm_overload_taken(struct dm_overload *o, uint64_t now_ns, uint32_t spent, uint64_t target_ns)
{
    uint64_t waited_ns = now_ns - o->posted_ns, n;
    bool is_long = target_ns > 0 && waited_ns >= target_ns && spent != o->spent_before; /* O1 */

    o->followed = NULL;
    o->has_waited |= is_long;
    o->has_not |= !is_long;
    if ((n = passed(o, now_ns)) > 0) /* it says what was while it waited */
        end_intervals(o, n, o->has_waited && !o->has_not ? 1 + waited_ns / INTERVAL_NS : 0, now_ns);
    return waited_ns;
}

bool dm_overload_refuses_next(struct dm_overload *o, uint64_t now_ns)
{
    uint32_t carry;
    uint64_t n;

    if (!o->followed && (n = passed(o, now_ns)) > 0)
        end_intervals(o, n, 0, now_ns);
    carry = (uint32_t)o->carry + o->share;
    o->carry = (uint16_t)(carry % DM_OVERLOAD_ONE);
    return carry >= DM_OVERLOAD_ONE;
}
