#include "gateway/upstream/outlier.h"

#define SHARE_MIN 10

static bool is_back(const struct dm_outlier *o, uint64_t now_ns)
{
    return o->until_ns > 0 && now_ns < o->until_ns + o->for_ns;
}

bool dm_outlier_fail(struct dm_outlier *o, const struct dm_outlier_settings *s, enum dm_outlier_failure failure,
                     bool may, uint64_t now_ns)
{
    bool is_again = is_back(o, now_ns);

    if (dm_outlier_is_out(o, now_ns))
        return false; /* O2 */
    o->run++;
    if (failure == DM_OUTLIER_SOFT && (!may || (o->run < s->run_max && !is_again)))
        return false;
    o->for_ns = is_again ? DM_MIN(2 * o->for_ns, DM_MAX(s->out_max_ns, s->out_ns)) : s->out_ns;
    o->until_ns = now_ns + o->for_ns;
    o->run = 0;
    o->was_hard = failure == DM_OUTLIER_HARD;
    return true;
}

void dm_outlier_hold(struct dm_outlier *o)
{
    *o = (struct dm_outlier){.until_ns = UINT64_MAX};
}

void dm_outlier_release(struct dm_outlier *o, uint64_t now_ns)
{
    *o = (struct dm_outlier){.until_ns = now_ns};
}

/* What it was out for last stays known: out again soon, it is so for longer. */
void dm_outlier_reached(struct dm_outlier *o, uint64_t now_ns)
{
    if (dm_outlier_is_out(o, now_ns) && o->was_hard)
        o->until_ns = now_ns;
}

uint32_t dm_outlier_share(const struct dm_outlier *o, const struct dm_outlier_settings *s, uint64_t now_ns)
{
    uint64_t since_ns = now_ns - o->until_ns;

    if (o->until_ns == 0 || now_ns < o->until_ns || since_ns >= s->slow_start_ns)
        return 100;
    return (uint32_t)DM_MAX(since_ns * 100 / s->slow_start_ns, (uint64_t)SHARE_MIN);
}
