/* An upstream's breaker and retry budget at work: what counts as a failure, what of it is shared with the other workers
 * (gateway/circuit/table.h), and who is told of changes.
 *
 * What other workers made of the circuit is taken over before a call is let through. What this one makes of it counts once it stands in
 * the table; when another was faster, it goes on from what stands there, as if it had decided nothing. While people hold the circuit open
 * or closed (the release's mode, or a word meanwhile), what calls come to moves nothing. */
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
        {"cause", dm_str_of(dm_breaker_cause_names[c->cause])},
    };
    bool is_held = c->open_for_ns == UINT64_MAX;
    uint32_t n_untold;

    if (!dm_upstream_may_tell(u, &n_untold))
        return;
    dm_log_members(
        c->to == DM_BREAKER_OPEN ? DM_LOG_WARN : DM_LOG_INFO, events[c->to], members, DM_COUNT(members),
        "%s after %llu ms %s: of %u calls in the window %u failed and %u were slow, the last %u failed behind one "
        "another; %u of %u endpoints out of turn; open for %lld ms; %u events before it untold",
        dm_breaker_state_names[c->to], (unsigned long long)(c->lasted_ns / MS_NS), dm_breaker_state_names[c->from],
        c->window.calls, c->window.failed, c->window.slow, c->run, dm_upstream_count_out(u), u->n_endpoints,
        is_held ? -1LL : (long long)(c->open_for_ns / MS_NS), n_untold);
}

static uint32_t to_ms(uint64_t ns)
{
    return ns == UINT64_MAX ? DM_CIRCUIT_FOREVER : (uint32_t)DM_MIN(ns / MS_NS, (uint64_t)DM_CIRCUIT_FOREVER - 1);
}

static void tell_table(struct dm_upstream *u)
{
    const struct dm_breaker_change *c = &u->breaker.change;
    struct dm_sys *sys = dm_loop_sys(u->env.loop);
    struct dm_circuit_change change = {.at_ms = sys->ops->wall_ns(sys) / MS_NS,
                                       .from = c->from,
                                       .to = c->to,
                                       .cause = c->cause,
                                       .calls = c->window.calls,
                                       .failed = c->window.failed,
                                       .slow = c->window.slow,
                                       .run = (uint16_t)DM_MIN(c->run, (uint32_t)UINT16_MAX),
                                       .open_for_ms = to_ms(c->open_for_ns),
                                       .lasted_ms = to_ms(c->lasted_ns),
                                       .endpoints = (uint8_t)u->n_endpoints,
                                       .endpoints_out = (uint8_t)dm_upstream_count_out(u)};

    dm_circuit_tell(&u->shared, u->env.circuits, &change);
}

static void tell(struct dm_upstream *u)
{
    u->counters->circuit_changes[u->breaker.change.to]++;
    log_change(u);
    tell_table(u);
}

static void count_open(struct dm_upstream *u, bool is_open)
{
    u->counters->circuits_open += is_open;
    u->counters->circuits_open -= u->is_counted_open;
    u->is_counted_open = is_open;
}

/* --- with the other workers --------------------------------------------------------------------------------------- */

static void set_mode(struct dm_upstream *u)
{
    struct dm_breaker_settings settings = u->breaker.settings;
    int hold = dm_circuit_hold(&u->shared);

    settings.mode = hold != DM_BREAKER_AUTO ? hold : u->mode;
    settings.by = hold != DM_BREAKER_AUTO ? DM_BREAKER_HAND : DM_BREAKER_MODE;
    dm_breaker_set(&u->breaker, &settings, now_ns(u));
}

/* The mode has changed, here or in what people said meanwhile. The first worker that hears of it changes the word. */
static void agree(struct dm_upstream *u)
{
    struct dm_breaker_view view, own;
    bool is_held = u->breaker.settings.mode != DM_BREAKER_AUTO, has_changed = dm_breaker_has_changed(&u->breaker);

    while (dm_circuit_read(&u->shared, &view) &&
           (view.is_held != is_held || (is_held && view.state != u->breaker.state))) {
        own = dm_breaker_view(&u->breaker, now_ns(u));
        if (!dm_circuit_put(&u->shared, &own))
            continue;
        if (has_changed || view.state != own.state)
            tell(u);
        count_open(u, u->breaker.state != DM_BREAKER_CLOSED);
        return;
    }
    if (u->shared.entry && !is_held)
        dm_breaker_adopt(&u->breaker, &view, now_ns(u));
    else if (!u->shared.entry && has_changed)
        tell(u);
    count_open(u, u->breaker.state != DM_BREAKER_CLOSED);
}

/* Takes over what others did. */
static void catch_up(struct dm_upstream *u)
{
    int mode = u->breaker.settings.mode;
    struct dm_breaker_view view;

    set_mode(u);
    if (u->breaker.settings.mode != mode) {
        agree(u);
        return;
    }
    if (dm_circuit_read(&u->shared, &view) && mode == DM_BREAKER_AUTO)
        dm_breaker_adopt(&u->breaker, &view, now_ns(u));
    count_open(u, u->breaker.state != DM_BREAKER_CLOSED);
}

/* What has changed here counts when it stands in the table. False: another worker was faster, and what it did is taken over. */
static bool settle_change(struct dm_upstream *u)
{
    struct dm_breaker_view view = dm_breaker_view(&u->breaker, now_ns(u));
    bool is_ours = u->breaker.has_changed || (u->breaker.state == DM_BREAKER_HALF_OPEN && u->breaker.is_prober);

    if (!is_ours || u->breaker.settings.mode != DM_BREAKER_AUTO)
        return true;
    if (!dm_circuit_put(&u->shared, &view)) {
        catch_up(u);
        return false;
    }
    if (dm_breaker_has_changed(&u->breaker))
        tell(u);
    count_open(u, u->breaker.state != DM_BREAKER_CLOSED);
    return true;
}

static inline bool settle(struct dm_upstream *u)
{
    return DM_LIKELY(u->breaker.state == DM_BREAKER_CLOSED && !u->breaker.has_changed) || settle_change(u);
}

/* X2 */
static void claim_probes(struct dm_upstream *u)
{
    if (u->breaker.state == DM_BREAKER_HALF_OPEN && !u->breaker.is_prober &&
        dm_circuit_is_lease_over(&u->shared, now_ns(u) / MS_NS))
        dm_breaker_claim(&u->breaker);
}

static bool take(struct dm_upstream *u, struct dm_breaker_ticket *ticket)
{
    bool may;

    do {
        if (DM_UNLIKELY(dm_circuit_has_news(&u->shared)))
            catch_up(u);
        if (DM_UNLIKELY(u->breaker.state != DM_BREAKER_CLOSED))
            claim_probes(u);
        may = dm_breaker_take(&u->breaker, ticket, now_ns(u));
    } while (DM_UNLIKELY(!settle(u)));
    return may;
}

static void tend(struct dm_upstream *u)
{
    dm_circuit_touch(&u->shared, now_ns(u) / MS_NS);
    if (dm_circuit_has_news(&u->shared))
        catch_up(u);
    else if (u->breaker.state == DM_BREAKER_HALF_OPEN && u->breaker.is_prober)
        (void)settle_change(u); /* the lease */
}

void dm_upstream_share_tend(struct dm_upstream_share *share)
{
    for (struct dm_upstream *u = share->first; u; u = u->next)
        tend(u);
}

static void meet(struct dm_upstream *u)
{
    struct dm_circuit_name name = {u->share->tenant_id, u->share->tenant, dm_str_of(u->name)};

    dm_circuit_join(u->env.circuits, &u->shared, &name, u->what, now_ns(u) / MS_NS);
    set_mode(u);
    agree(u);
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static struct dm_breaker_settings settings_of(const struct dm_upstream *u, const struct dm_ubreaker *from)
{
    return (struct dm_breaker_settings){.mode = u->breaker.generation > 0 ? u->breaker.settings.mode : from->mode,
                                        .by = DM_BREAKER_MODE,
                                        .run_max = from->run_max,
                                        .calls_min = from->calls_min,
                                        .failed_percent = from->failed_percent,
                                        .slow_percent = from->slow_percent,
                                        .probes_max = from->probes_max,
                                        .window_ns = from->window_ms * MS_NS,
                                        .open_ns = from->open_ms * MS_NS,
                                        .open_max_ns = from->open_max_ms * MS_NS};
}

static void set_breaker(struct dm_upstream *u, const struct dm_ubreaker *from)
{
    struct dm_breaker_settings settings = settings_of(u, from);
    int mode = settings.mode;

    u->mode = from->mode;
    u->slow_ns = from->slow_ms * MS_NS;
    u->failure_statuses = from->statuses;
    if (u->breaker.generation == 0) {
        dm_breaker_init(&u->breaker, &settings, now_ns(u));
        meet(u);
        return;
    }
    dm_breaker_set(&u->breaker, &settings, now_ns(u));
    set_mode(u);
    if (u->breaker.settings.mode != mode)
        agree(u);
    else
        (void)settle(u); /* fewer probes may have been enough */
}

void dm_upstream_set(struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    set_breaker(u, &backend->breaker);
    u->out =
        (struct dm_outlier_settings){backend->outlier.run_max, backend->outlier.eject_ms * MS_NS,
                                     backend->outlier.eject_max_ms * MS_NS, backend->outlier.slow_start_ms * MS_NS};
    dm_upstream_set_concurrency(u, &backend->concurrency);
    u->out_percent = backend->outlier.max_percent;
    u->method = backend->balance.method;
    u->retry = (struct dm_retry_settings){backend->retry.budget_percent, backend->retry.budget_min};
    dm_upstream_checks_set(u, release, backend);
}

void dm_upstream_circuit_done(struct dm_upstream *u)
{
    count_open(u, false);
}

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static uint64_t retry_s(const struct dm_upstream *u)
{
    uint64_t wait_ns = dm_breaker_wait_ns(&u->breaker, now_ns(u));

    return wait_ns == UINT64_MAX ? RETRY_HELD_S : DM_MAX((wait_ns + S_NS - 1) / S_NS, UINT64_C(1));
}

bool dm_upstream_is_shut(struct dm_upstream *u, uint64_t *ret_retry_s)
{
    if (DM_UNLIKELY(dm_circuit_has_news(&u->shared)))
        catch_up(u);
    if (DM_LIKELY(u->breaker.state != DM_BREAKER_OPEN) || dm_breaker_wait_ns(&u->breaker, now_ns(u)) == 0)
        return false;
    *ret_retry_s = retry_s(u);
    return true;
}

bool dm_upstream_admit(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint64_t *ret_retry_s)
{
    bool may = take(u, ticket);

    if (DM_UNLIKELY(!may)) {
        *ret_retry_s = retry_s(u);
        return false;
    }
    dm_retry_budget_request(&u->retry_budget, now_ns(u));
    if (DM_UNLIKELY(u->is_limited))
        dm_upstream_take_place(u, ticket);
    return true;
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
    if (DM_UNLIKELY(ticket->has_place))
        dm_upstream_leave_place(u, ticket, outcome == DM_BREAKER_OK ? took_ns : 0);
    if (u->slow_ns > 0 && outcome == DM_BREAKER_OK && took_ns > u->slow_ns)
        outcome = DM_BREAKER_SLOW;
    dm_breaker_answer(&u->breaker, ticket, outcome, now_ns(u));
    (void)settle(u);
}

/* B5 holds for endpoints too. */
void dm_upstream_broken(struct dm_upstream *u, struct dm_breaker_ticket *ticket, uint32_t endpoint,
                        uint64_t answered_ns)
{
    if (DM_UNLIKELY(ticket->has_place))
        dm_upstream_leave_place(u, ticket, 0);
    if (answered_ns == 0 || now_ns(u) - answered_ns < u->breaker.settings.window_ns)
        dm_upstream_endpoint_failed(u, endpoint, DM_OUTLIER_SOFT);
    if (answered_ns > 0)
        dm_breaker_cut(&u->breaker, ticket, answered_ns, now_ns(u));
    else
        dm_breaker_fail(&u->breaker, ticket, now_ns(u));
    (void)settle(u);
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
    if (DM_UNLIKELY(ticket->has_place))
        dm_upstream_leave_place(u, ticket, 0);
    dm_breaker_drop(&u->breaker, ticket);
    (void)settle(u); /* a probe that says nothing leaves room for another worker's */
}
