/* Circuits of backends between the workers' table and the controller: what changed goes up, what people want of them goes down.
 *
 * C1. The table is looked through when it says that something has changed, and now and then in any case: a worker that was killed
 *     between a change and telling of it is found out then. A circuit is told of at most once in LOOK_MS, however often it changes.
 * C2. What people said ends at its time, whoever is there; and when the controller does not say it again on the next connection (L6).
 *     It stands in the table, so it outlives keeper and workers. */
#include "gateway/keeper/keeper_int.h"

#include "base/mem.h"
#include "base/mix.h"
#include "model/backend.h"

enum { LOOK_MS = 250 };
#define LOOK_ANYWAY_NS UINT64_C(10000000000)
#define LOOK_HOLDS_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
#define KEY_MAX (24 + DM_CIRCUIT_NAME_MAX)

static uint64_t now_ms(const struct dm_keeper *k)
{
    return dm_loop_now_ns(k->loop) / MS_NS;
}

static uint64_t wall_ms(const struct dm_keeper *k)
{
    return k->sys->ops->wall_ns(k->sys) / MS_NS;
}

/* --- up ----------------------------------------------------------------------------------------------------------- */

static uint64_t digest_name(const struct dm_circuit_report *report)
{
    uint64_t name = dm_mix64(report->tenant_id ^ dm_unit_name_id(report->backend));

    return name > 0 ? name : 1;
}

static uint64_t digest_state(const struct dm_circuit_report *report)
{
    uint64_t state = (uint64_t)report->state << 4 | (uint64_t)report->is_held << 2 | (uint64_t)report->hold;

    return dm_mix64(state ^ report->hold_until_ms << 8);
}

/* Of one that never changed and that nobody holds there is nothing to tell. */
static bool is_worth_telling(const struct dm_circuit_report *report)
{
    return report->n_changes > 0 || report->state != DM_BREAKER_CLOSED || report->is_held ||
           report->hold != DM_BREAKER_AUTO;
}

static void report_to_controller(struct dm_keeper *k, const struct dm_circuit_report *report,
                                 struct dm_keeper_told *told)
{
    struct dm_keeper_told now = {digest_name(report), digest_state(report), report->n_changes};
    struct dm_link_message message = {.type = DM_LINK_CIRCUIT, .circuit = *report};

    if (!is_worth_telling(report) || !dm_controller_is_up(&k->controller) ||
        (told->name == now.name && told->state == now.state && told->n_changes == now.n_changes))
        return;
    *told = now;
    dm_controller_send(&k->controller, &message);
}

/* --- down --------------------------------------------------------------------------------------------------------- */

static void log_hold(const struct dm_circuit_hold *hold, const char *why)
{
    const struct dm_log_member members[] = {{"tenant", hold->tenant}, {"backend", hold->backend}};

    dm_log_members(DM_LOG_INFO, "circuit_hold", members, DM_COUNT(members), "%s: %s", dm_breaker_mode_names[hold->mode],
                   why);
}

static void set_hold(struct dm_keeper *k, const struct dm_circuit_hold *hold, const char *why)
{
    if (!dm_circuit_table_hold(&k->circuits.table, hold, now_ms(k), wall_ms(k))) {
        dm_log(DM_LOG_ERROR, "circuit_hold_failed", "there is no room for what was said of backend %.*s of tenant %.*s",
               DM_STR_ARG(hold->backend), DM_STR_ARG(hold->tenant));
        return;
    }
    k->circuits.has_holds = true;
    log_hold(hold, why);
}

static void end_hold(struct dm_keeper *k, const struct dm_circuit_report *report, const char *why)
{
    struct dm_circuit_hold hold = {report->tenant_id, report->tenant, report->backend, DM_BREAKER_AUTO, 0};

    set_hold(k, &hold, why);
}

static struct dm_str key_of(uint64_t tenant_id, struct dm_str backend, char ret[KEY_MAX])
{
    int n = snprintf(ret, KEY_MAX, "%llu/%.*s", (unsigned long long)tenant_id, DM_STR_ARG(backend));

    return dm_str_n(ret, (size_t)DM_MIN(n, KEY_MAX - 1));
}

static void forget_said(struct dm_keeper *k)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&k->circuits.holds, &at)))
        dm_free(slot->value);
    dm_map_done(&k->circuits.holds);
    dm_map_init_random(&k->circuits.holds);
}

static bool was_said(const struct dm_keeper *k, const struct dm_circuit_report *report)
{
    char key[KEY_MAX];

    return dm_map_get(&k->circuits.holds, key_of(report->tenant_id, report->backend, key)) != NULL;
}

static void note_said(struct dm_keeper *k, const struct dm_circuit_hold *hold)
{
    char key[KEY_MAX];
    struct dm_str text = key_of(hold->tenant_id, hold->backend, key);
    char *kept;

    if (dm_map_get(&k->circuits.holds, text))
        return;
    kept = dm_strdup(text);
    dm_map_put(&k->circuits.holds, dm_str_n(kept, text.len), kept);
}

void dm_keeper_on_hold(struct dm_keeper *k, const struct dm_circuit_hold *hold)
{
    if (!k->circuits.table.page)
        return;
    if (hold->mode != DM_BREAKER_AUTO)
        note_said(k, hold);
    set_hold(k, hold, "as the controller says");
}

/* L6 */
void dm_keeper_circuits_synced(struct dm_keeper *k)
{
    struct dm_circuit_info info;
    size_t at = 0;

    while (k->circuits.table.page && dm_circuit_table_next(&k->circuits.table, &at, now_ms(k), &info))
        if (info.report.hold != DM_BREAKER_AUTO && !was_said(k, &info.report))
            end_hold(k, &info.report, "the controller does not say so any more");
    forget_said(k);
}

void dm_keeper_circuits_up(struct dm_keeper *k)
{
    forget_said(k);
    if (k->circuits.told)
        memset(k->circuits.told, 0, DM_CIRCUIT_ENTRIES * sizeof(k->circuits.told[0]));
    k->circuits.looked_ns = 0;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static void tend_hold(struct dm_keeper *k, const struct dm_circuit_report *report, size_t at)
{
    k->circuits.has_holds = true;
    dm_circuit_table_touch(&k->circuits.table, at, now_ms(k));
    if (report->hold_until_ms <= wall_ms(k))
        end_hold(k, report, "its time is over");
}

static void look(struct dm_keeper *k)
{
    struct dm_circuit_info info;
    size_t at = 0;

    k->circuits.looked_ns = dm_loop_now_ns(k->loop);
    k->circuits.has_holds = false;
    while (dm_circuit_table_next(&k->circuits.table, &at, now_ms(k), &info)) {
        if (info.report.hold != DM_BREAKER_AUTO)
            tend_hold(k, &info.report, at);
        report_to_controller(k, &info.report, &k->circuits.told[at - 1]);
    }
}

static void on_due(struct dm_timer *timer)
{
    struct dm_keeper *k = DM_CONTAINER_OF(timer, struct dm_keeper, circuits.timer);
    struct dm_keeper_circuits *c = &k->circuits;
    uint64_t changes = dm_circuit_table_changes(&c->table), ago_ns = dm_loop_now_ns(k->loop) - c->looked_ns;

    dm_timer_arm(k->loop, timer, LOOK_MS);
    if (changes == c->seen_changes && ago_ns < (c->has_holds ? LOOK_HOLDS_NS : LOOK_ANYWAY_NS))
        return;
    c->seen_changes = changes;
    look(k);
}

static int by_name(const struct dm_circuit_info *x, const struct dm_circuit_info *y)
{
    int rc = strcmp(x->names[0], y->names[0]);

    return rc != 0 ? rc : strcmp(x->names[1], y->names[1]);
}

/* The later of two namesakes first. */
static int by_backend(const void *a, const void *b)
{
    const struct dm_circuit_info *x = a, *y = b;
    int rc = by_name(x, y);

    return rc != 0 ? rc : x->report.tenant_id < y->report.tenant_id ? 1 : -1;
}

/* A tenant that took the name of one that is gone goes before it. */
static size_t drop_namesakes(struct dm_circuit_info *infos, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (n == 0 || by_name(&infos[n - 1], &infos[i]) != 0)
            infos[n++] = infos[i];
    return n;
}

static void point_at_names(struct dm_circuit_info *infos, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        infos[i].report.tenant = dm_str_of(infos[i].names[0]);
        infos[i].report.backend = dm_str_of(infos[i].names[1]);
    }
}

struct dm_circuit_info *dm_keeper_list_circuits(const struct dm_keeper *k, size_t *ret_count)
{
    DM_VEC(struct dm_circuit_info) list = {0};
    struct dm_circuit_info info;
    size_t at = 0;

    while (k->circuits.table.page && dm_circuit_table_next(&k->circuits.table, &at, now_ms(k), &info))
        if ((is_worth_telling(&info.report) || info.limit.limit > 0) && dm_store_find(&k->store, info.report.tenant))
            *dm_vec_push(&list) = info;
    if (list.count > 0)
        qsort(list.items, list.count, sizeof(list.items[0]), by_backend);
    *ret_count = drop_namesakes(list.items, list.count);
    point_at_names(list.items, *ret_count);
    return list.items;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Without the table the gateway serves on, and nothing is told. */
void dm_keeper_circuits_start(struct dm_keeper *k)
{
    struct dm_keeper_circuits *c = &k->circuits;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};

    dm_map_init_random(&c->holds);
    c->timer.on_due = on_due;
    dm_gateway_path(&k->options, path, DM_GATEWAY_CIRCUITS);
    if (dm_circuit_table_open(&c->table, path, &err) < 0) {
        dm_log(DM_LOG_ERROR, "circuits_not_shared", "%s", err.message);
        return;
    }
    c->told = dm_calloc(DM_CIRCUIT_ENTRIES, sizeof(c->told[0]));
    dm_timer_arm(k->loop, &c->timer, LOOK_MS);
}

void dm_keeper_circuits_done(struct dm_keeper *k)
{
    struct dm_keeper_circuits *c = &k->circuits;

    dm_timer_cancel(k->loop, &c->timer);
    forget_said(k);
    dm_map_done(&c->holds);
    if (c->table.page)
        dm_circuit_table_close(&c->table);
    dm_free(c->told);
}
