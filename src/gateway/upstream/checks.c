#include "gateway/upstream/checks.h"

#include "base/crypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mix.h"
#include "gateway/observe/counter_pages.h"
#include "snapshot/grants.h"

#define MS_NS UINT64_C(1000000)
#define LATE_NS (1000 * MS_NS) /* a check may end so much behind its time, and count */
#define LOOK_MIN_MS 25u
#define LOOK_MAX_MS 500u
#define FIRST_NS (2000 * MS_NS) /* within which the first check is made */

_Static_assert(DM_COUNT(((struct dm_tenant_counters *)NULL)->checks) == DM_CHECK_VERDICTS, "a counter for each");

static uint64_t now_ns(const struct dm_checks *c)
{
    return dm_loop_now_ns(c->upstream->env.loop);
}

/* In [0, n). */
static uint64_t draw(struct dm_checks *c, uint64_t n)
{
    return (dm_mix64(c->key ^ now_ns(c) ^ ++c->n_draws) >> 1) % DM_MAX(n, UINT64_C(1));
}

static uint64_t interval_ns(const struct dm_checks *c)
{
    return c->settings.interval_ms * MS_NS;
}

/* How far ahead any worker sets a time (A3). */
static uint64_t ahead_ns(const struct dm_checks *c)
{
    return interval_ns(c) + interval_ns(c) / 10 + c->settings.timeout_ms * MS_NS + LATE_NS;
}

static struct dm_health_cell *cell_of(struct dm_endpoint_check *check)
{
    struct dm_checks *c = check->checks;
    const struct dm_upstream *u = c->upstream;
    uint64_t first_ns = now_ns(c) + draw(c, DM_MIN(interval_ns(c), FIRST_NS));

    return dm_health_table_find(u->env.health, (size_t)(u->counters - u->env.pages->own->tenants), check->key,
                                now_ns(c), first_ns);
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

static void put_out(struct dm_endpoint_check *check)
{
    dm_outlier_hold(&check->endpoint->outlier);
    check->checks->upstream->counters->endpoints_unhealthy++;
}

/* What has been well again may be called: the next call of an open circuit shows whether it is. */
static void put_back(struct dm_endpoint_check *check)
{
    struct dm_upstream *u = check->checks->upstream;

    dm_outlier_release(&check->endpoint->outlier, now_ns(check->checks));
    u->counters->endpoints_unhealthy--;
    dm_breaker_hurry(&u->breaker);
}

static void see(struct dm_endpoint_check *check, struct dm_health health)
{
    if (health.is_unwell != check->seen.is_unwell) {
        if (health.is_unwell)
            put_out(check);
        else
            put_back(check);
    } else if (!health.is_unwell && health.passed != check->seen.passed) {
        dm_outlier_reached(&check->endpoint->outlier, now_ns(check->checks));
    }
    check->seen = health;
}

static void tell(const struct dm_endpoint_check *check, const struct dm_health *health, uint32_t n_run,
                 const char *cause)
{
    struct dm_upstream *u = check->checks->upstream;
    const struct dm_log_member members[] = {
        {"tenant", u->share->tenant},
        {"backend", dm_str_of(u->name)},
        {"endpoint", dm_str_of(check->endpoint->host)},
        {"cause", dm_str_of(cause)},
    };
    uint32_t n_untold;

    u->counters->health_changes[health->is_unwell]++;
    if (!dm_upstream_may_tell(u, &n_untold))
        return;
    dm_log_members(
        health->is_unwell ? DM_LOG_WARN : DM_LOG_INFO, health->is_unwell ? "endpoint_unhealthy" : "endpoint_healthy",
        members, DM_COUNT(members),
        "port %u, %s after %u checks behind one another; the last took %llu ms, status %u; %u events before it untold",
        check->endpoint->port, health->is_unwell ? "out of turn" : "back", n_run,
        (unsigned long long)((now_ns(check->checks) - check->begun_ns) / MS_NS), check->status, n_untold);
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static void begin(struct dm_endpoint_check *check, uint64_t until_ns)
{
    check->lease_ns = until_ns;
    check->begun_ns = now_ns(check->checks);
    check->checks->upstream->share->n_checks++;
    dm_check_ask(check);
}

static void release(struct dm_endpoint_check *check)
{
    check->lease_ns = 0;
    check->checks->upstream->share->n_checks--;
}

static uint64_t next_due_ns(struct dm_checks *c)
{
    return now_ns(c) + interval_ns(c) - interval_ns(c) / 10 + draw(c, interval_ns(c) / 5);
}

static void note(struct dm_endpoint_check *check, struct dm_health_cell *cell, uint64_t lease_ns, bool has_passed,
                 const char *cause)
{
    uint32_t n_run = dm_health_cell_read(cell).run + 1;
    struct dm_health health;
    int rc = dm_health_cell_note(cell, lease_ns, &check->checks->settings.thresholds, has_passed, &health);

    if (rc < 0)
        return;
    see(check, health);
    if (rc > 0)
        tell(check, &health, n_run, cause);
}

void dm_check_end(struct dm_endpoint_check *check, enum dm_check_verdict verdict, const char *cause)
{
    struct dm_checks *c = check->checks;
    struct dm_health_cell *cell = cell_of(check);
    uint64_t lease_ns = check->lease_ns;

    release(check);
    c->upstream->counters->checks[verdict]++;
    dm_wait_queue_room(&c->upstream->share->waiting);
    if (!cell)
        return;
    if (verdict != DM_CHECK_SAYS_NOTHING)
        note(check, cell, lease_ns, verdict == DM_CHECK_PASSED, cause);
    dm_health_cell_end(cell, lease_ns, next_due_ns(c));
}

static void look(struct dm_endpoint_check *check)
{
    struct dm_checks *c = check->checks;
    struct dm_health_cell *cell = cell_of(check);
    uint64_t until_ns = now_ns(c) + c->settings.timeout_ms * MS_NS + LATE_NS;

    if (!cell)
        return;
    see(check, dm_health_cell_read(cell));
    if (check->lease_ns == 0 && c->upstream->share->n_checks < DM_CHECKS_MAX &&
        dm_health_cell_lease(cell, now_ns(c), ahead_ns(c), until_ns))
        begin(check, until_ns);
}

/* A change reaches all workers within this time. */
static uint32_t look_ms(const struct dm_checks *c)
{
    return DM_MAX(DM_MIN(c->settings.interval_ms / 4, LOOK_MAX_MS), LOOK_MIN_MS);
}

static void on_look(struct dm_timer *timer)
{
    struct dm_checks *c = DM_CONTAINER_OF(timer, struct dm_checks, look);

    dm_timer_arm(c->upstream->env.loop, &c->look, look_ms(c));
    for (uint32_t i = 0; i < c->upstream->n_endpoints; i++)
        look(&c->items[i]);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static struct dm_check_settings settings_of(const struct dm_uhealth *from)
{
    return (struct dm_check_settings){.thresholds = {from->unhealthy_threshold, from->healthy_threshold},
                                      .interval_ms = from->interval_ms,
                                      .timeout_ms = from->timeout_ms,
                                      .status_min = from->status_min,
                                      .status_max = from->status_max,
                                      .type = from->type,
                                      .method = from->method};
}

static uint64_t key_of(const struct dm_upstream *u, const struct dm_check_settings *s, struct dm_str path,
                       struct dm_str service)
{
    uint64_t key = dm_mix64(u->id ^ dm_unit_name_id(path)) ^ dm_unit_name_id(service);

    key = dm_mix64(key ^ u->share->tenant_id) ^ dm_upstream_tls_id(u->tls) ^ u->is_http2;
    key = dm_mix64(key ^ s->interval_ms) ^ s->timeout_ms;
    key = dm_mix64(key ^ ((uint64_t)s->status_min << 32 | s->status_max));
    key = dm_mix64(key ^ ((uint64_t)s->thresholds.unhealthy_max << 32 | s->thresholds.healthy_max));
    return dm_mix64(key ^ ((uint64_t)s->type << 8 | s->method));
}

static struct dm_checks *checks_new(struct dm_upstream *u, const struct dm_uhealth *from, uint64_t key,
                                    struct dm_str path, struct dm_str service)
{
    struct dm_checks *c = dm_calloc(1, sizeof(*c) + u->n_endpoints * sizeof(c->items[0]));

    c->upstream = u;
    c->settings = settings_of(from);
    c->key = key;
    c->path = dm_strdup(path);
    c->service = dm_strdup(service);
    c->look.on_due = on_look;
    c->look.task.flow = u->share->flow;
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        c->items[i].checks = c;
        c->items[i].endpoint = &u->endpoints[i];
        c->items[i].key =
            dm_mix64(key ^ u->endpoints[i].hash ^ dm_mix64(dm_unit_name_id(dm_str_of(u->endpoints[i].authority)))) | 1;
    }
    return c;
}

/* Those in hand are another worker's from now on. */
static void give_up_all(struct dm_checks *c)
{
    for (uint32_t i = 0; i < c->upstream->n_endpoints; i++) {
        struct dm_endpoint_check *check = &c->items[i];
        struct dm_health_cell *cell = check->lease_ns ? cell_of(check) : NULL;
        if (check->lease_ns == 0)
            continue;
        if (cell)
            dm_health_cell_end(cell, check->lease_ns, now_ns(c));
        release(check);
        dm_check_give_up(check);
    }
}

/* K3 */
static bool may_check(const struct dm_upstream *u)
{
    const struct dm_unit *grants = u->share->grants;

    return !u->is_retired && grants && !DM_UNIT_ROOT(grants, dm_ugrants)->is_suspended;
}

void dm_upstream_checks_look(struct dm_upstream *u)
{
    struct dm_checks *c = u->checks;

    if (!c)
        return;
    if (!may_check(u)) {
        dm_timer_cancel(u->env.loop, &c->look);
        give_up_all(c);
    } else if (!dm_timer_is_armed(&c->look)) {
        dm_timer_arm(u->env.loop, &c->look, 1);
    }
}

void dm_upstream_checks_done(struct dm_upstream *u)
{
    struct dm_checks *c = u->checks;

    if (!c)
        return;
    dm_timer_cancel(u->env.loop, &c->look);
    give_up_all(c);
    for (uint32_t i = 0; i < u->n_endpoints; i++)
        if (c->items[i].seen.is_unwell)
            put_back(&c->items[i]);
    u->checks = NULL;
    dm_free(c->path);
    dm_free(c->service);
    dm_free(c);
}

void dm_upstream_checks_set(struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_uhealth *from = dm_unit_at(release, backend->health);
    struct dm_check_settings settings;
    uint64_t key;

    if (backend->health == 0 || !u->env.health) {
        dm_upstream_checks_done(u);
        return;
    }
    settings = settings_of(from);
    key = key_of(u, &settings, dm_unit_str(release, from->path), dm_unit_str(release, from->service));
    if (u->checks && u->checks->key == key)
        return;
    dm_upstream_checks_done(u);
    u->checks = checks_new(u, from, key, dm_unit_str(release, from->path), dm_unit_str(release, from->service));
    dm_upstream_checks_look(u);
}
