#include "control/fleet/fleet_int.h"
#include "base/jsonw.h"

enum progress { LAGGING, REFUSED, LIVE };

static enum progress kind_progress(struct gateway *gateway, const struct dm_fleet_wait *wait, enum dm_unit_kind kind)
{
    struct target *target = dm_fleet_target(gateway->fleet, dm_str_of(wait->tenant), kind);
    const struct held *held = target != NULL ? dm_map_get(&gateway->held, target->key) : NULL;

    if (held == NULL)
        return LAGGING;
    if (dm_fleet_has_live(held, wait->marks[kind]))
        return LIVE;
    return dm_mark_cmp(held->refused, wait->marks[kind]) >= 0 ? REFUSED : LAGGING;
}

/* The least of its kinds. */
static enum progress gateway_progress(struct gateway *gateway, const struct dm_fleet_wait *wait)
{
    enum progress least = LIVE;

    for (int kind = 1; kind < DM_UNIT_KINDS; kind++)
        if (wait->marks[kind].epoch != 0)
            least = DM_MIN(least, kind_progress(gateway, wait, kind));
    return least;
}

static bool is_over(const struct dm_fleet_wait *wait)
{
    struct gateway *gateway;

    for (gateway = wait->fleet->gateways; gateway != NULL; gateway = gateway->next)
        if (gateway_progress(gateway, wait) == LAGGING)
            return false;
    return wait->fleet->gateways != NULL;
}

static void finish(struct dm_fleet_wait *wait)
{
    dm_fleet_wait_cancel(wait);
    wait->on_done(wait);
}

static void on_due(struct dm_timer *timer)
{
    finish(DM_CONTAINER_OF(timer, struct dm_fleet_wait, timer));
}

void dm_fleet_wait_start(struct dm_fleet *fleet, struct dm_fleet_wait *wait, struct dm_str tenant,
                         const struct dm_unit_row *units, size_t n, uint32_t timeout_ms)
{
    snprintf(wait->tenant, sizeof(wait->tenant), "%.*s", DM_STR_ARG(tenant));
    memset(wait->marks, 0, sizeof(wait->marks));
    for (size_t i = 0; i < n; i++)
        wait->marks[units[i].kind] = units[i].mark;
    for (int kind = 1; n == 0 && kind < DM_UNIT_KINDS; kind++) {
        struct target *target = dm_fleet_target(fleet, tenant, kind);

        if (target != NULL)
            wait->marks[kind] = target->mark;
    }
    wait->fleet = fleet;
    wait->is_waiting = true;
    wait->next = fleet->waits;
    fleet->waits = wait;
    wait->timer = (struct dm_timer){.on_due = on_due};
    if (timeout_ms == 0 || is_over(wait))
        finish(wait);
    else
        dm_timer_arm(fleet->settings.loop, &wait->timer, timeout_ms);
}

void dm_fleet_wait_cancel(struct dm_fleet_wait *wait)
{
    struct dm_fleet_wait **at;

    if (!wait->is_waiting)
        return;
    wait->is_waiting = false;
    dm_timer_cancel(wait->fleet->settings.loop, &wait->timer);
    for (at = &wait->fleet->waits; *at != wait; at = &(*at)->next)
        ;
    *at = wait->next;
}

/* A finished wait may cancel others of its owner; so the list is looked at from its start after each. */
void dm_fleet_wake(struct dm_fleet *fleet, struct dm_str tenant)
{
    struct dm_fleet_wait *wait = fleet->waits;

    while (wait != NULL) {
        bool is_asked = tenant.ptr == NULL || dm_str_eq(dm_str_of(wait->tenant), tenant);

        if (is_asked && is_over(wait)) {
            finish(wait);
            wait = fleet->waits;
        } else {
            wait = wait->next;
        }
    }
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void write_refusal(struct dm_jsonw *w, const struct gateway *gateway, const struct held *held)
{
    struct dm_str rest = dm_str_of(held->refusal), pointer;

    dm_str_cut(&rest, '\n', &pointer);
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "gateway", gateway->id);
    dm_jsonw_member_cstr(w, "kind", dm_unit_kind_names[held->target->kind]);
    dm_jsonw_member_str(w, "pointer", pointer);
    dm_jsonw_member_str(w, "message", rest);
    dm_jsonw_end_object(w);
}

static void write_refusals(const struct dm_fleet_wait *wait, struct dm_jsonw *w)
{
    struct gateway *gateway;

    dm_jsonw_name(w, "refused");
    dm_jsonw_begin_array(w);
    for (gateway = wait->fleet->gateways; gateway != NULL; gateway = gateway->next)
        for (int kind = 1; kind < DM_UNIT_KINDS; kind++)
            if (wait->marks[kind].epoch != 0 && kind_progress(gateway, wait, kind) == REFUSED) {
                struct target *target = dm_fleet_target(wait->fleet, dm_str_of(wait->tenant), kind);

                write_refusal(w, gateway, dm_map_get(&gateway->held, target->key));
            }
    dm_jsonw_end_array(w);
}

void dm_fleet_write_live(const struct dm_fleet_wait *wait, struct dm_jsonw *w)
{
    struct gateway *gateway;
    uint64_t live = 0, of = 0;

    for (gateway = wait->fleet->gateways; gateway != NULL; gateway = gateway->next) {
        of++;
        live += gateway_progress(gateway, wait) == LIVE;
    }
    dm_jsonw_begin_object(w);
    dm_jsonw_member_u64(w, "gateways", live);
    dm_jsonw_member_u64(w, "of", of);
    dm_jsonw_name(w, "lagging");
    dm_jsonw_begin_array(w);
    for (gateway = wait->fleet->gateways; gateway != NULL; gateway = gateway->next)
        if (gateway_progress(gateway, wait) == LAGGING)
            dm_jsonw_cstr(w, gateway->id);
    dm_jsonw_end_array(w);
    write_refusals(wait, w);
    dm_jsonw_end_object(w);
}
