/* Whose turn it is among the endpoints of an upstream, and who is out of turn. */
#include "gateway/upstream/upstream_int.h"

#include "base/log.h"
#include "base/mix.h"
#include "gateway/observe/counters.h"
#include "model/backend.h"

#include <math.h>

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

uint32_t dm_upstream_count_out(const struct dm_upstream *u)
{
    uint64_t now_ns = dm_loop_now_ns(u->env.loop);
    uint32_t n = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++)
        n += dm_outlier_is_out(&u->endpoints[i].outlier, now_ns);
    return n;
}

static void log_out(const struct dm_upstream_endpoint *e, uint32_t run, enum dm_outlier_failure failure)
{
    struct dm_upstream *u = e->upstream;
    const struct dm_log_member members[] = {
        {"tenant", u->share->tenant},
        {"backend", dm_str_of(u->name)},
        {"endpoint", dm_str_of(e->host)},
        {"cause", failure == DM_OUTLIER_HARD ? DM_STR("no_connection") : DM_STR("consecutive_failures")},
    };

    uint32_t n_untold;

    if (!dm_upstream_may_tell(u, &n_untold))
        return;
    dm_log_members(DM_LOG_WARN, "endpoint_out", members, DM_COUNT(members),
                   "port %u, out of turn for %llu ms after %u failures behind one another; %u events before it untold",
                   e->port, (unsigned long long)(e->outlier.for_ns / MS_NS), run, n_untold);
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

/* In [0, n). */
static uint32_t draw(struct dm_upstream *u, uint32_t n)
{
    return (uint32_t)((dm_mix64(u->id ^ ++u->n_draws) >> 32) * n >> 32);
}

/* Those that may take a request: their indexes. */
static uint32_t list(const struct dm_upstream *u, bool takes_out, uint64_t now_ns,
                     uint8_t ret[DM_BACKEND_ENDPOINTS_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++)
        if (u->endpoints[i].weight > 0 && (takes_out || !dm_outlier_is_out(&u->endpoints[i].outlier, now_ns)))
            ret[n++] = (uint8_t)i;
    return n;
}

/* Two by chance, the one with fewer calls for its weight: it follows the load without the herd that the very least attracts
 * (Mitzenmacher 2001). */
static struct dm_upstream_endpoint *least_of_two(struct dm_upstream *u, bool takes_out, uint64_t now_ns)
{
    uint8_t all[DM_BACKEND_ENDPOINTS_MAX];
    uint32_t n = list(u, takes_out, now_ns, all), first, second;
    struct dm_upstream_endpoint *a, *b;

    if (n < 2)
        return n == 0 ? NULL : &u->endpoints[all[0]];
    first = draw(u, n);
    second = (first + 1 + draw(u, n - 1)) % n;
    a = &u->endpoints[all[first]];
    b = &u->endpoints[all[second]];
    return (uint64_t)(a->n_calls + 1) * (uint64_t)weight_of(b, now_ns) <=
                   (uint64_t)(b->n_calls + 1) * (uint64_t)weight_of(a, now_ns)
               ? a
               : b;
}

/* Rendezvous hashing with weights (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005): what goes to an endpoint
 * changes only when that one comes or goes. */
static struct dm_upstream_endpoint *by_hash(struct dm_upstream *u, bool takes_out, uint64_t now_ns, uint64_t hash)
{
    uint8_t all[DM_BACKEND_ENDPOINTS_MAX];
    uint32_t n = list(u, takes_out, now_ns, all);
    struct dm_upstream_endpoint *best = NULL;
    double best_score = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct dm_upstream_endpoint *e = &u->endpoints[all[i]];
        double share = ((double)(dm_mix64(hash ^ e->hash) >> 11) + 1) / ((double)(UINT64_C(1) << 53) + 1);
        double score = -(double)weight_of(e, now_ns) / log(share);
        if (best && score <= best_score)
            continue;
        best = e;
        best_score = score;
    }
    return best;
}

static struct dm_upstream_endpoint *pick(struct dm_upstream *u, bool takes_out, uint64_t now_ns, uint64_t hash)
{
    switch ((enum dm_balance_method)u->method) {
    case DM_BALANCE_LEAST_REQUESTS: return least_of_two(u, takes_out, now_ns);
    case DM_BALANCE_HASH: return by_hash(u, takes_out, now_ns, hash);
    default: return at_turn(u, takes_out, now_ns);
    }
}

struct dm_upstream_endpoint *dm_upstream_pick(struct dm_upstream *u, uint64_t hash)
{
    uint64_t now_ns = dm_loop_now_ns(u->env.loop);
    struct dm_upstream_endpoint *e;

    if (u->n_endpoints == 1 && u->weight_sum > 0)
        return &u->endpoints[0];
    e = pick(u, false, now_ns, hash);
    return e ? e : pick(u, true, now_ns, hash);
}

void dm_upstream_left(struct dm_upstream *u, struct dm_upstream_request *r)
{
    u->endpoints[r->endpoint].n_calls -= r->is_in_flight;
    r->is_in_flight = false;
}
