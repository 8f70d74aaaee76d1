/* Circuits of backends on the gateways: what they tell of them, and what people want of them.
 *
 * Of each the last FLEET_CIRCUIT_CHANGES changes are kept, over connections too, by the number that the gateway gave them; they are
 * forgotten with the tenant, and when the controller ends. What people want is in the store; what stands of it is told to each gateway when
 * it connects, and at once when it is said. */
#include "control/fleet/fleet_int.h"
#include "control/release/stamp.h"
#include "control/store/circuit_holds.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/backend.h"

#define ARENA_BYTES (16u << 20)
#define KEY_MAX 160

static struct dm_str key_of(struct dm_str tenant, struct dm_str backend, char ret[KEY_MAX])
{
    int len = snprintf(ret, KEY_MAX, "%.*s/%.*s", DM_STR_ARG(tenant), DM_STR_ARG(backend));

    return dm_str_n(ret, (size_t)DM_MIN(len, KEY_MAX - 1));
}

/* --- what gateways tell ------------------------------------------------------------------------------------------- */

static struct circuit *circuit_for(struct gateway *gateway, const struct dm_circuit_report *report)
{
    char buf[KEY_MAX];
    struct dm_str key = key_of(report->tenant, report->backend, buf);
    struct circuit *circuit = dm_map_get(&gateway->circuits, key);

    if (circuit == NULL) {
        circuit = dm_calloc(1, sizeof(*circuit));
        circuit->key = dm_str_n(dm_strdup(key), key.len);
        circuit->tenant = dm_str_n(circuit->key.ptr, report->tenant.len);
        dm_map_put(&gateway->circuits, circuit->key, circuit);
    }
    return circuit;
}

/* A number lower than the last one is of pages that were made anew. */
static bool is_of_the_same(const struct circuit *circuit, const struct dm_circuit_report *report)
{
    return circuit->tenant_id == report->tenant_id && report->n_changes - circuit->n_changes < UINT32_MAX / 2;
}

static void keep_change(struct circuit *circuit, const struct dm_circuit_change *change)
{
    if (circuit->n_kept == FLEET_CIRCUIT_CHANGES)
        memmove(&circuit->changes[0], &circuit->changes[1], --circuit->n_kept * sizeof(circuit->changes[0]));
    circuit->changes[circuit->n_kept++] = *change;
}

static void take_report(struct circuit *circuit, const struct dm_circuit_report *report)
{
    if (!is_of_the_same(circuit, report))
        circuit->n_changes = circuit->n_kept = 0;
    for (unsigned i = 0; i < report->n_listed; i++)
        if (circuit->n_kept == 0 ||
            report->changes[i].number - circuit->changes[circuit->n_kept - 1].number - 1 < UINT32_MAX / 2)
            keep_change(circuit, &report->changes[i]);
    circuit->tenant_id = report->tenant_id;
    circuit->state = report->state;
    circuit->is_held = report->is_held;
    circuit->n_changes = report->n_changes;
}

/* Of tenants that there are. */
void dm_fleet_on_circuit(void *arg, struct dm_link_peer *peer, const struct dm_circuit_report *report)
{
    struct dm_fleet *fleet = arg;
    struct gateway *gateway = dm_link_peer_user(peer);
    const struct target *target = dm_fleet_target(fleet, report->tenant, DM_UNIT_RELEASE);

    if (target == NULL || target->is_removed)
        return;
    pthread_mutex_lock(&fleet->mutex);
    take_report(circuit_for(gateway, report), report);
    pthread_mutex_unlock(&fleet->mutex);
}

void dm_fleet_doubt_circuits(struct gateway *gateway)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&gateway->circuits, &at)) != NULL) {
        struct circuit *circuit = slot->value;

        circuit->state = DM_BREAKER_CLOSED;
        circuit->is_held = false;
    }
}

static void free_circuit(struct gateway *gateway, struct circuit *circuit)
{
    dm_map_del(&gateway->circuits, circuit->key);
    dm_free((char *)circuit->key.ptr);
    dm_free(circuit);
}

static void drop_of(struct gateway *gateway, struct dm_str tenant)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&gateway->circuits, &at)) != NULL) {
        struct circuit *circuit = slot->value;

        if (tenant.ptr == NULL || dm_str_eq(circuit->tenant, tenant))
            free_circuit(gateway, circuit);
    }
}

void dm_fleet_free_circuits(struct gateway *gateway)
{
    drop_of(gateway, DM_STR_NULL);
    dm_map_done(&gateway->circuits);
}

/* --- what people want --------------------------------------------------------------------------------------------- */

static bool is_same(const struct dm_circuit_hold *a, const struct dm_circuit_hold *b)
{
    return a->tenant_id == b->tenant_id && dm_str_eq(a->backend, b->backend);
}

static void free_hold(struct hold **at)
{
    struct hold *hold = *at;

    *at = hold->next;
    dm_free((char *)hold->said.tenant.ptr);
    dm_free((char *)hold->said.backend.ptr);
    dm_free(hold);
}

void dm_fleet_free_holds(struct dm_fleet *fleet)
{
    while (fleet->holds != NULL)
        free_hold(&fleet->holds);
}

void dm_fleet_drop_circuits(struct dm_fleet *fleet, struct dm_str tenant)
{
    for (struct gateway *gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        drop_of(gateway, tenant);
    for (struct hold **at = &fleet->holds; *at != NULL;) {
        if (dm_str_eq((*at)->said.tenant, tenant))
            free_hold(at);
        else
            at = &(*at)->next;
    }
}

static void put_hold(struct dm_fleet *fleet, const struct dm_circuit_hold *said)
{
    struct hold *hold;

    for (struct hold **at = &fleet->holds; *at != NULL;) {
        if (is_same(&(*at)->said, said))
            free_hold(at);
        else
            at = &(*at)->next;
    }
    if (said->mode == DM_BREAKER_AUTO)
        return;
    hold = dm_calloc(1, sizeof(*hold));
    hold->said = *said;
    hold->said.tenant = dm_str_n(dm_strdup(said->tenant), said->tenant.len);
    hold->said.backend = dm_str_n(dm_strdup(said->backend), said->backend.len);
    hold->next = fleet->holds;
    fleet->holds = hold;
}

static int add_hold(void *arg, const struct dm_circuit_hold *hold, struct dm_err *err)
{
    put_hold(arg, hold);
    return 0;
}

int dm_fleet_load_holds(struct dm_fleet *fleet, struct dm_err *err)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_arena arena;
    int rc;

    dm_arena_init(&arena, NULL, ARENA_BYTES);
    if ((rc = dm_txn_begin(fleet->settings.store, DM_TXN_READ, &arena, &txn, err)) >= 0)
        rc = dm_circuit_holds_all(txn, &caller, add_hold, fleet, err);
    dm_txn_abort(&txn);
    dm_arena_done(&arena);
    return rc < 0 ? rc : 0;
}

static bool send_hold(struct gateway *gateway, const struct dm_circuit_hold *hold)
{
    struct dm_link_message message = {.type = DM_LINK_HOLD, .hold = *hold};

    return dm_link_send(gateway->peer, &message) == 0;
}

/* Those whose time is over go now. */
void dm_fleet_send_holds(struct gateway *gateway)
{
    struct dm_fleet *fleet = gateway->fleet;
    struct dm_sys *sys = dm_loop_sys(fleet->settings.loop);
    uint64_t now_ms = sys->ops->wall_ns(sys) / 1000000;

    gateway->is_hold_due = false;
    for (struct hold **at = &fleet->holds; *at != NULL && gateway->peer != NULL;) {
        if ((*at)->said.until_ms <= now_ms) {
            free_hold(at);
            continue;
        }
        gateway->is_hold_due |= !send_hold(gateway, &(*at)->said);
        at = &(*at)->next;
    }
}

void dm_fleet_hold(struct dm_fleet *fleet, const struct dm_circuit_hold *hold)
{
    put_hold(fleet, hold);
    for (struct gateway *gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        if (gateway->peer != NULL)
            gateway->is_hold_due |= !send_hold(gateway, hold);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void write_stamp(struct dm_jsonw *w, const char *name, uint64_t unix_ms)
{
    char buf[DM_STAMP_MAX];

    dm_jsonw_member_str(w, name, dm_stamp((int64_t)DM_MIN(unix_ms, (uint64_t)INT64_MAX / 4), buf));
}

static void write_change(const struct dm_circuit_change *change, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_u64(w, "number", change->number);
    write_stamp(w, "at", change->at_ms);
    dm_jsonw_member_cstr(w, "from", dm_breaker_state_names[change->from]);
    dm_jsonw_member_cstr(w, "to", dm_breaker_state_names[change->to]);
    dm_jsonw_member_cstr(w, "cause", dm_breaker_cause_names[change->cause]);
    dm_jsonw_member_u64(w, "calls", change->calls);
    dm_jsonw_member_u64(w, "failed", change->failed);
    dm_jsonw_member_u64(w, "slow", change->slow);
    dm_jsonw_member_u64(w, "consecutive", change->run);
    dm_jsonw_member_u64(w, "endpoints", change->endpoints);
    dm_jsonw_member_u64(w, "endpoints_out", change->endpoints_out);
    dm_jsonw_member_u64(w, "lasted_ms", change->lasted_ms);
    if (change->to == DM_BREAKER_OPEN && change->open_for_ms != DM_CIRCUIT_FOREVER)
        dm_jsonw_member_u64(w, "open_ms", change->open_for_ms);
    dm_jsonw_end_object(w);
}

/* Since when, and until when it is open, as the last change says. */
static void write_times(const struct circuit *circuit, struct dm_jsonw *w)
{
    const struct dm_circuit_change *last = &circuit->changes[circuit->n_kept - 1];

    if (last->to != circuit->state)
        return; /* the gateway could not tell of the last one */
    write_stamp(w, "since", last->at_ms);
    if (last->to == DM_BREAKER_OPEN && last->open_for_ms != DM_CIRCUIT_FOREVER)
        write_stamp(w, "probe_at", last->at_ms + last->open_for_ms);
}

static void write_gateway(const struct gateway *gateway, const struct circuit *circuit, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "gateway", gateway->id);
    dm_jsonw_member_bool(w, "connected", gateway->peer != NULL);
    dm_jsonw_member_cstr(w, "state", dm_breaker_state_names[circuit != NULL ? circuit->state : DM_BREAKER_CLOSED]);
    dm_jsonw_member_bool(w, "held", circuit != NULL && circuit->is_held);
    if (circuit != NULL && circuit->n_kept > 0)
        write_times(circuit, w);
    dm_jsonw_name(w, "changes");
    dm_jsonw_begin_array(w);
    for (unsigned i = circuit != NULL ? circuit->n_kept : 0; i-- > 0;)
        write_change(&circuit->changes[i], w);
    dm_jsonw_end_array(w);
    dm_jsonw_end_object(w);
}

/* What a namesake that was before left is not the tenant's (P2). */
static const struct circuit *find(const struct gateway *gateway, uint64_t tenant_id, struct dm_str key)
{
    const struct circuit *circuit = dm_map_get(&gateway->circuits, key);

    return circuit != NULL && circuit->tenant_id == tenant_id ? circuit : NULL;
}

/* Of all gateways the one that is worst off says what it is. */
static enum dm_breaker_state worst_of(const struct dm_fleet *fleet, uint64_t tenant_id, struct dm_str key)
{
    enum dm_breaker_state worst = DM_BREAKER_CLOSED;

    for (const struct gateway *gateway = fleet->gateways; gateway != NULL; gateway = gateway->next) {
        const struct circuit *circuit = find(gateway, tenant_id, key);

        if (circuit != NULL && (circuit->state == DM_BREAKER_OPEN || worst == DM_BREAKER_CLOSED))
            worst = circuit->state;
    }
    return worst;
}

void dm_fleet_write_circuit(struct dm_fleet *fleet, uint64_t tenant_id, struct dm_str tenant, struct dm_str backend,
                            struct dm_jsonw *w)
{
    char buf[KEY_MAX];
    struct dm_str key = key_of(tenant, backend, buf);

    pthread_mutex_lock(&fleet->mutex);
    dm_jsonw_member_cstr(w, "state", dm_breaker_state_names[worst_of(fleet, tenant_id, key)]);
    dm_jsonw_name(w, "gateways");
    dm_jsonw_begin_array(w);
    for (const struct gateway *gateway = fleet->gateways; gateway != NULL; gateway = gateway->next)
        write_gateway(gateway, find(gateway, tenant_id, key), w);
    dm_jsonw_end_array(w);
    pthread_mutex_unlock(&fleet->mutex);
}
