/* Whose turn it is among the endpoints of an upstream, and who is out of turn. */
#include "gateway/upstream/upstream_int.h"

#include "base/log.h"
#include "gateway/observe/counters.h"

#define MS_NS UINT64_C(1000000)

/* --- who is out --------------------------------------------------------------------------------------------------- */

/* O1: one more may be, if that leaves enough of those that take requests. */
static bool may_put_out(const struct dm_upstream *u, uint64_t now_ns)
{
    uint64_t n_out = 1, n = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        n += u->endpoints[i].weight > 0;
        n_out += u->endpoints[i].weight > 0 && dm_outlier_is_out(&u->endpoints[i].outlier, now_ns);
    }
    return n_out * 100 <= n * u->out_percent;
}

static void log_out(const struct dm_upstream_endpoint *e, uint32_t run, enum dm_outlier_failure failure)
{
    const struct dm_upstream *u = e->upstream;
    const struct dm_log_member members[] = {
        {"tenant", u->share->tenant},
        {"backend", dm_str_of(u->name)},
        {"endpoint", dm_str_of(e->host)},
        {"cause", failure == DM_OUTLIER_HARD ? DM_STR("no_connection") : DM_STR("consecutive_failures")},
    };

    dm_log_members(DM_LOG_WARN, "endpoint_out", members, DM_COUNT(members),
                   "port %u, out of turn for %llu ms after %u failures behind one another", e->port,
                   (unsigned long long)(e->outlier.for_ns / MS_NS), run);
}

void dm_upstream_endpoint_failed(struct dm_upstream *u, uint32_t endpoint, enum dm_outlier_failure failure)
{
    struct dm_upstream_endpoint *e = &u->endpoints[endpoint];
    uint64_t now_ns = dm_loop_now_ns(u->env.loop);
    uint32_t run = e->outlier.run + 1;

    u->counters->upstream_failures += failure == DM_OUTLIER_HARD;
    if (u->n_endpoints == 1 ||
        !dm_outlier_fail(&e->outlier, &u->out, failure, failure == DM_OUTLIER_HARD || may_put_out(u, now_ns), now_ns))
        return;
    u->counters->endpoints_out++;
    log_out(e, run, failure);
}

/* --- whose turn it is --------------------------------------------------------------------------------------------- */

static int32_t weight_of(const struct dm_upstream_endpoint *e, uint64_t now_ns)
{
    return (int32_t)(e->weight * dm_outlier_share(&e->outlier, &e->upstream->out, now_ns));
}

/* Smooth weighted round robin: each earns its weight a turn, the richest is taken and pays for all. */
static struct dm_upstream_endpoint *at_turn(struct dm_upstream *u, bool takes_out, uint64_t now_ns)
{
    struct dm_upstream_endpoint *best = NULL;
    int32_t sum = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct dm_upstream_endpoint *e = &u->endpoints[i];
        int32_t weight;
        if (e->weight == 0 || (!takes_out && dm_outlier_is_out(&e->outlier, now_ns)))
            continue;
        weight = weight_of(e, now_ns);
        e->credit += weight;
        sum += weight;
        if (!best || e->credit > best->credit)
            best = e;
    }
    if (best)
        best->credit -= sum;
    return best;
}

struct dm_upstream_endpoint *dm_upstream_pick(struct dm_upstream *u)
{
    uint64_t now_ns = dm_loop_now_ns(u->env.loop);
    struct dm_upstream_endpoint *e;

    if (u->n_endpoints == 1 && u->weight_sum > 0)
        return &u->endpoints[0];
    e = at_turn(u, false, now_ns);
    return e ? e : at_turn(u, true, now_ns);
}
