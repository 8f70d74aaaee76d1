/* An upstream's breaker and retry budget at work: what counts as a failure, and who is told of changes. */
#include "gateway/upstream/upstream_int.h"

#include "base/log.h"
#include "gateway/observe/counters.h"
#include "model/backend.h"

#define MS_NS UINT64_C(1000000)
#define S_NS UINT64_C(1000000000)
#define TOLD_MAX 10     /* lines a second about one tenant */
#define RETRY_HELD_S 60 /* nobody knows when people close it */

_Static_assert(DM_COUNT(((struct dm_tenant_counters *)NULL)->circuit_changes) == DM_BREAKER_STATES,
               "a counter for each");

static uint64_t now_ns(const struct dm_upstream *u)
{
    return dm_loop_now_ns(u->env.loop);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

bool dm_upstream_may_tell(struct dm_upstream *u, uint32_t *ret_untold)
{
    struct dm_upstream_share *share = u->share;

    if (now_ns(u) >= share->told_until_ns) {
        share->told_until_ns = now_ns(u) + S_NS;
        share->n_told = 0;
    }
    if (share->n_told >= TOLD_MAX) {
        share->n_untold++;
        return false;
    }
    share->n_told++;
    *ret_untold = share->n_untold;
    share->n_untold = 0;
    return true;
}

static void log_change(struct dm_upstream *u)
{
    static const char *const events[] = {"circuit_closed", "circuit_opened", "circuit_probing"};
    const struct dm_breaker_change *c = &u->breaker.change;
    const struct dm_log_member members[] = {
        {"tenant", u->share->tenant},
        {"backend", dm_str_of(u->name)},
        {"cause", dm_str_of(dm_breaker_cause_name(c->cause))},
    };
    bool is_held = c->open_for_ns == UINT64_MAX;
    uint32_t n_untold;

    if (!dm_upstream_may_tell(u, &n_untold))
        return;
    dm_log_members(
        c->to == DM_BREAKER_OPEN ? DM_LOG_WARN : DM_LOG_INFO, events[c->to], members, DM_COUNT(members),
        "%s after %llu ms %s: of %u calls in the window %u failed and %u were slow, the last %u failed behind one "
        "another; open for %lld ms; %u events before it untold",
        dm_breaker_state_name(c->to), (unsigned long long)(c->lasted_ns / MS_NS), dm_breaker_state_name(c->from),
        c->window.calls, c->window.failed, c->window.slow, c->run, is_held ? -1LL : (long long)(c->open_for_ns / MS_NS),
        n_untold);
}

static void tell(struct dm_upstream *u)
{
    const struct dm_breaker_change *c = &u->breaker.change;

    u->counters->circuit_changes[c->to]++;
    u->counters->circuits_open += c->from == DM_BREAKER_CLOSED && c->to != DM_BREAKER_CLOSED;
    u->counters->circuits_open -= c->from != DM_BREAKER_CLOSED && c->to == DM_BREAKER_CLOSED;
    log_change(u);
}

static void tell_change(struct dm_upstream *u)
{
    if (DM_UNLIKELY(dm_breaker_has_changed(&u->breaker)))
        tell(u);
}

void dm_upstream_set(struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_ubreaker *from = &backend->breaker;
    struct dm_breaker_settings settings = {.mode = from->mode,
                                           .run_max = from->run_max,
                                           .calls_min = from->calls_min,
                                           .failed_percent = from->failed_percent,
                                           .slow_percent = from->slow_percent,
                                           .probes_max = from->probes_max,
                                           .window_ns = from->window_ms * MS_NS,
                                           .open_ns = from->open_ms * MS_NS,
                                           .open_max_ns = from->open_max_ms * MS_NS};

    u->slow_ns = from->slow_ms * MS_NS;
    u->failure_statuses = from->statuses;
    u->out =
        (struct dm_outlier_settings){backend->outlier.run_max, backend->outlier.eject_ms * MS_NS,
                                     backend->outlier.eject_max_ms * MS_NS, backend->outlier.slow_start_ms * MS_NS};
    u->out_percent = backend->outlier.max_percent;
    u->method = backend->balance.method;
    u->retry = (struct dm_retry_settings){backend->retry.budget_percent, backend->retry.budget_min};
    if (u->breaker.generation == 0)
        dm_breaker_init(&u->breaker, &settings, now_ns(u));
    else
        dm_breaker_set(&u->breaker, &settings, now_ns(u));
    tell_change(u);
    dm_upstream_checks_set(u, release, backend);
}

void dm_upstream_circuit_done(struct dm_upstream *u)
{
    u->counters->circuits_open -= u->breaker.state != DM_BREAKER_CLOSED;
}

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static uint64_t retry_s(const struct dm_upstream *u)
{
    uint64_t wait_ns = dm_breaker_wait_ns(&u->breaker, now_ns(u));

    return wait_ns == UINT64_MAX ? RETRY_HELD_S : DM_MAX((wait_ns + S_NS - 1) / S_NS, UINT64_C(1));
}

bool dm_upstream_is_shut(const struct dm_upstream *u, uint64_t *ret_retry_s)
{
    if (DM_LIKELY(u->breaker.state != DM_BREAKER_OPEN) || dm_breaker_wait_ns(&u->breaker, now_ns(u)) == 0)
        return false;
    *ret_retry_s = retry_s(u);
    return true;
}

bool dm_upstream_admit(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint64_t *ret_retry_s)
{
    bool may = dm_breaker_take(&u->breaker, ticket, now_ns(u));

    tell_change(u);
    if (DM_UNLIKELY(!may))
        *ret_retry_s = retry_s(u);
    else
        dm_retry_budget_request(&u->retry_budget, now_ns(u));
    return may;
}

bool dm_upstream_take_retry(struct dm_upstream *u)
{
    bool may = dm_retry_budget_take(&u->retry_budget, &u->retry, now_ns(u));

    u->counters->upstream_retries_denied += !may;
    return may;
}

static bool is_failure(const struct dm_upstream *u, unsigned status)
{
    switch ((enum dm_breaker_statuses)u->failure_statuses) {
    case DM_BREAKER_UNAVAILABLE: return status >= 502 && status <= 504;
    case DM_BREAKER_SERVER_ERRORS: return true;
    default: return false;
    }
}

void dm_upstream_answered(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint32_t endpoint, unsigned status,
                          uint64_t took_ns)
{
    enum dm_breaker_outcome outcome = DM_BREAKER_OK;

    if (DM_UNLIKELY(status >= 500) && is_failure(u, status)) {
        outcome = DM_BREAKER_FAILED;
        dm_upstream_endpoint_failed(u, endpoint, DM_OUTLIER_SOFT);
    }
    if (u->slow_ns > 0 && outcome == DM_BREAKER_OK && took_ns > u->slow_ns)
        outcome = DM_BREAKER_SLOW;
    dm_breaker_answer(&u->breaker, ticket, outcome, now_ns(u));
    tell_change(u);
}

/* B5 holds for endpoints too. */
void dm_upstream_broken(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint32_t endpoint,
                        uint64_t answered_ns)
{
    if (answered_ns == 0 || now_ns(u) - answered_ns < u->breaker.settings.window_ns)
        dm_upstream_endpoint_failed(u, endpoint, DM_OUTLIER_SOFT);
    if (answered_ns > 0)
        dm_breaker_cut(&u->breaker, ticket, answered_ns, now_ns(u));
    else
        dm_breaker_fail(&u->breaker, ticket, now_ns(u));
    tell_change(u);
}

void dm_upstream_ended(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint32_t endpoint, unsigned status,
                       uint64_t answered_ns)
{
    if (DM_UNLIKELY(status >= 500) && is_failure(u, status) && ticket->step == DM_BREAKER_TICKET_ANSWERED)
        dm_upstream_broken(u, ticket, endpoint, answered_ns);
}

void dm_upstream_whole(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint32_t endpoint)
{
    if (ticket->step == DM_BREAKER_TICKET_ANSWERED)
        dm_outlier_ok(&u->endpoints[endpoint].outlier);
    dm_breaker_whole(&u->breaker, ticket);
}

void dm_upstream_drop(struct dm_upstream *u, struct dm_breaker_ticket *ticket)
{
    dm_breaker_drop(&u->breaker, ticket);
}
