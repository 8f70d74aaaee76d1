#include "gateway/limit/limit.h"

#include "snapshot/unit.h"

/* The request in hand, and how far it got: what was taken is given back when a later limit refuses. */
struct taking {
    struct dm_limits *limits;
    const struct dm_usage *usage;
    const struct dm_ulimit *limit;
    const struct dm_urate_limit *rate;
    uint64_t scope, wall_ns;
    uint32_t n_limits, n_rates; /* taken */
};

static uint64_t amount_of(const struct dm_usage *usage, uint32_t metric)
{
    for (unsigned i = 0; i < usage->count; i++)
        if (usage->items[i].metric == metric)
            return usage->items[i].delta;
    return 0;
}

static bool take_limit(const struct taking *t, const struct dm_ulimit *limit, struct dm_limit_verdict *ret)
{
    const struct dm_period_window *window = &t->limits->periods.windows[limit->period];
    uint64_t amount = amount_of(t->usage, limit->metric), now_s = t->wall_ns / 1000000000, count;

    if (amount == 0 || dm_limit_take(&t->limits->table, dm_limit_key(t->scope, limit->id), window->number,
                                     window->ends_s, now_s, amount, limit->value, &count))
        return true;
    *ret = (struct dm_limit_verdict){DM_REASON_LIMIT_EXCEEDED, limit->metric, limit->period, limit->value,
                                     window->ends_s == UINT64_MAX ? 0 : window->ends_s - now_s};
    return false;
}

static bool take_rate(const struct taking *t, const struct dm_urate_limit *rate, struct dm_limit_verdict *ret)
{
    uint64_t amount = amount_of(t->usage, rate->metric), wait_ns;

    if (amount == 0 || rate->interval_ns == 0 ||
        dm_limit_take_rate(&t->limits->table, dm_limit_key(t->scope, rate->id), t->wall_ns, amount, rate->interval_ns,
                           rate->burst_ns, &wait_ns))
        return true;
    *ret = (struct dm_limit_verdict){DM_REASON_RATE_LIMITED, rate->metric, 0, rate->burst_ns / rate->interval_ns,
                                     (wait_ns + 999999999) / 1000000000};
    return false;
}

static void give_back(const struct taking *t)
{
    for (uint32_t i = 0; i < t->n_rates; i++) {
        uint64_t amount = amount_of(t->usage, t->rate[i].metric);
        if (amount > 0)
            dm_limit_give_back_rate(&t->limits->table, dm_limit_key(t->scope, t->rate[i].id), amount,
                                    t->rate[i].interval_ns);
    }
    for (uint32_t i = 0; i < t->n_limits; i++) {
        uint64_t amount = amount_of(t->usage, t->limit[i].metric);
        if (amount > 0)
            dm_limit_give_back(&t->limits->table, dm_limit_key(t->scope, t->limit[i].id),
                               t->limits->periods.windows[t->limit[i].period].number, amount);
    }
}

static bool take_all(struct taking *t, const struct dm_uplan *plan, struct dm_limit_verdict *ret)
{
    for (; t->n_rates < plan->n_rate_limits; t->n_rates++)
        if (!take_rate(t, &t->rate[t->n_rates], ret))
            return false;
    for (; t->n_limits < plan->n_limits; t->n_limits++)
        if (!take_limit(t, &t->limit[t->n_limits], ret))
            return false;
    return true;
}

void dm_limits_take(struct dm_limits *limits, const struct dm_unit *release, const struct dm_uplan *plan,
                    uint64_t tenant_id, uint64_t application_id, const struct dm_usage *usage, uint64_t wall_ns,
                    struct dm_limit_verdict *ret)
{
    struct taking t = {.limits = limits,
                       .usage = usage,
                       .limit = dm_unit_at(release, plan->limits),
                       .rate = dm_unit_at(release, plan->rate_limits),
                       .scope = dm_limit_scope(&limits->table, tenant_id, application_id),
                       .wall_ns = wall_ns};

    ret->reason = DM_REASON_NONE;
    if (plan->n_limits + plan->n_rate_limits == 0)
        return;
    dm_periods_update(&limits->periods, wall_ns / 1000000000);
    if (!take_all(&t, plan, ret))
        give_back(&t);
}
