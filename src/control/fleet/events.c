/* What gateways say. */
#include "control/fleet/fleet_int.h"
#include "base/log.h"
#include "base/mem.h"

/* --- hello -------------------------------------------------------------------------------------------------------- */

static void on_retry(struct dm_timer *timer)
{
    dm_fleet_pump(DM_CONTAINER_OF(timer, struct gateway, retry));
}

static struct gateway *find_gateway(struct dm_fleet *fleet, struct dm_str id)
{
    struct gateway *gateway = *dm_fleet_gateway(fleet, id);

    if (gateway != NULL)
        return gateway;
    gateway = dm_calloc(1, sizeof(*gateway));
    gateway->fleet = fleet;
    gateway->dirty_tail = &gateway->dirty;
    gateway->retry.on_due = on_retry;
    dm_map_init_random(&gateway->held);
    dm_map_init_random(&gateway->circuits);
    snprintf(gateway->id, sizeof(gateway->id), "%.*s", DM_STR_ARG(id));
    gateway->next = fleet->gateways;
    fleet->gateways = gateway;
    return gateway;
}

/* Nothing is known of what it holds. */
static void forget(struct gateway *gateway)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&gateway->held, &at)) != NULL) {
        struct held *held = slot->value;

        dm_free(held->refusal);
        *held = (struct held){.target = held->target};
    }
    gateway->dirty = NULL;
    gateway->dirty_tail = &gateway->dirty;
    gateway->n_dirty = 0;
    gateway->is_synced = gateway->is_blocked = false;
}

static void send_away(struct gateway *gateway, const struct dm_link_held *has)
{
    struct dm_mark beyond = {has->mark.epoch, has->mark.sequence + 1};

    if (dm_fleet_send_gone(gateway, has->tenant, has->kind, beyond) < 0)
        dm_log(DM_LOG_WARN, "gone_not_sent", "gateway '%s' keeps a unit of the unknown tenant '%.*s' for now",
               gateway->id, DM_STR_ARG(has->tenant));
}

/* What it holds is on its disk; what of it is live, its acknowledgements say. */
static void take_held(struct gateway *gateway, const struct dm_link_held *has)
{
    struct target *target = dm_fleet_target(gateway->fleet, has->tenant, has->kind);

    if (target == NULL) {
        send_away(gateway, has);
        return;
    }
    dm_fleet_held(gateway, target)->sent = has->mark;
    if (dm_mark_cmp(has->mark, target->mark) <= 0)
        return;
    if (target->is_removed)
        send_away(gateway, has);
    else
        dm_fleet_raise(gateway->fleet, target, has->mark.epoch);
}

static void mark_all_due(struct gateway *gateway)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&gateway->fleet->targets, &at)) != NULL) {
        struct held *held = dm_fleet_held(gateway, slot->value);

        if (held->target->is_removed && held->sent.epoch == 0)
            held->sent = held->live = held->target->mark; /* it never had it */
        held->is_key_due = held->target->kind == DM_UNIT_DOMAINS && !held->target->is_removed;
        if (dm_fleet_is_due(held))
            dm_fleet_mark_dirty(gateway, held);
    }
}

static void on_hello(void *arg, struct dm_link_peer *peer, const struct dm_link_hello *hello)
{
    struct dm_fleet *fleet = arg;
    struct gateway *gateway;

    pthread_mutex_lock(&fleet->mutex);
    gateway = find_gateway(fleet, dm_link_peer_gateway(peer));
    dm_fleet_drop_load(gateway);
    forget(gateway);
    gateway->peer = peer;
    gateway->n_workers = hello->n_workers;
    memcpy(gateway->box_public_key, hello->box_public_key, sizeof(gateway->box_public_key));
    gateway->since_ns = dm_loop_now_ns(fleet->settings.loop);
    snprintf(gateway->version, sizeof(gateway->version), "%.*s", DM_STR_ARG(hello->program_version));
    dm_link_peer_set_user(peer, gateway);
    for (size_t i = 0; i < hello->n_held; i++)
        take_held(gateway, &hello->held[i]);
    mark_all_due(gateway);
    dm_fleet_doubt_circuits(gateway);
    pthread_mutex_unlock(&fleet->mutex);
    dm_fleet_send_holds(gateway); /* L6 of the link: before SYNCED */
    dm_fleet_raise_next(fleet);
    dm_fleet_pump(gateway);
    dm_fleet_wake(fleet, DM_STR_NULL);
}

static void on_gone(void *arg, struct dm_link_peer *peer)
{
    struct dm_fleet *fleet = arg;
    struct gateway *gateway = dm_link_peer_user(peer);

    pthread_mutex_lock(&fleet->mutex);
    if (gateway != NULL && gateway->peer == peer) {
        dm_fleet_drop_load(gateway);
        gateway->peer = NULL;
        gateway->since_ns = dm_loop_now_ns(fleet->settings.loop);
    }
    pthread_mutex_unlock(&fleet->mutex);
}

static void on_room(void *arg, struct dm_link_peer *peer)
{
    struct gateway *gateway = dm_link_peer_user(peer);

    gateway->is_blocked = false;
    if (gateway->is_hold_due)
        dm_fleet_send_holds(gateway);
    dm_fleet_pump(gateway);
}

/* --- acknowledgements --------------------------------------------------------------------------------------------- */

static void count_lag(struct dm_fleet *fleet, const struct target *target)
{
    double seconds = (double)(dm_loop_now_ns(fleet->settings.loop) - target->published_ns) / 1e9;

    for (size_t i = 0; i < FLEET_LAG_BUCKETS; i++)
        fleet->lag_buckets[i] += seconds <= dm_fleet_lag_bounds[i];
    fleet->lag_count++;
    fleet->lag_sum_s += seconds;
}

static void take_live(struct dm_fleet *fleet, struct held *held, const struct dm_link_ack *ack)
{
    held->is_partly = false;
    if (dm_mark_cmp(ack->mark, held->live) <= 0)
        return;
    held->live = ack->mark;
    if (held->target->published_ns != 0 && dm_mark_cmp(ack->mark, held->target->mark) == 0)
        count_lag(fleet, held->target);
}

static void take_refusal(struct dm_fleet *fleet, struct gateway *gateway, struct held *held,
                         const struct dm_link_ack *ack)
{
    size_t size = ack->pointer.len + ack->message.len + 2;

    dm_free(held->refusal);
    held->refusal = dm_alloc(size);
    snprintf(held->refusal, size, "%.*s\n%.*s", DM_STR_ARG(ack->pointer), DM_STR_ARG(ack->message));
    held->refused = ack->mark;
    fleet->n_refused++;
    dm_log(DM_LOG_ERROR, "unit_refused", "gateway '%s' refused %s of tenant '%.*s' (%llu, %llu): %.*s: %.*s",
           gateway->id, dm_unit_kind_names[ack->kind], DM_STR_ARG(ack->tenant), (unsigned long long)ack->mark.epoch,
           (unsigned long long)ack->mark.sequence, DM_STR_ARG(ack->pointer), DM_STR_ARG(ack->message));
}

static void on_ack(void *arg, struct dm_link_peer *peer, const struct dm_link_ack *ack)
{
    struct dm_fleet *fleet = arg;
    struct gateway *gateway = dm_link_peer_user(peer);
    struct target *target = dm_fleet_target(fleet, ack->tenant, ack->kind);
    struct held *held;

    if (target == NULL)
        return;
    pthread_mutex_lock(&fleet->mutex);
    held = dm_fleet_held(gateway, target);
    held->workers_live = ack->workers_live;
    held->workers = ack->workers;
    if (ack->status == DM_LINK_LIVE)
        take_live(fleet, held, ack);
    else if (ack->status == DM_LINK_REFUSED)
        take_refusal(fleet, gateway, held, ack);
    else
        held->is_partly |= dm_mark_cmp(ack->mark, held->live) == 0; /* L3: a worker lost it */
    pthread_mutex_unlock(&fleet->mutex);
    dm_fleet_wake(fleet, ack->tenant);
}

const struct dm_link_handler dm_fleet_link_handler = {
    .on_hello = on_hello,
    .on_ack = on_ack,
    .on_circuit = dm_fleet_on_circuit,
    .on_room = on_room,
    .on_gone = on_gone,
};
