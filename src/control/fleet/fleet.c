#include "control/fleet/fleet_int.h"
#include "base/mem.h"

#define ARENA_BYTES (64u << 20)
#define KEY_MAX 96

static struct dm_str key_of(struct dm_str tenant, enum dm_unit_kind kind, char ret[KEY_MAX])
{
    int len = snprintf(ret, KEY_MAX, "%.*s.%s", DM_STR_ARG(tenant), dm_unit_kind_names[kind]);

    return dm_str_n(ret, (size_t)DM_MIN(len, KEY_MAX - 1));
}

struct target *dm_fleet_target(struct dm_fleet *fleet, struct dm_str tenant, enum dm_unit_kind kind)
{
    char buf[KEY_MAX];

    return dm_map_get(&fleet->targets, key_of(tenant, kind, buf));
}

static struct target *new_target(struct dm_fleet *fleet, struct dm_str tenant, enum dm_unit_kind kind)
{
    struct target *target = dm_calloc(1, sizeof(*target));
    char buf[KEY_MAX];
    struct dm_str key = key_of(tenant, kind, buf);

    target->key = dm_str_n(dm_strdup(key), key.len);
    target->tenant = dm_str_n(target->key.ptr, tenant.len);
    target->kind = kind;
    dm_map_put(&fleet->targets, target->key, target);
    return target;
}

struct target *dm_fleet_set_target(struct dm_fleet *fleet, const struct dm_unit_row *unit)
{
    struct target *target;

    pthread_mutex_lock(&fleet->mutex);
    target = dm_fleet_target(fleet, unit->tenant, unit->kind);
    if (target == NULL)
        target = new_target(fleet, unit->tenant, unit->kind);
    if (dm_mark_cmp(unit->mark, target->mark) > 0) {
        target->mark = unit->mark;
        target->is_removed = unit->is_removed;
        target->published_ns = dm_loop_now_ns(fleet->settings.loop);
        if (unit->is_removed && unit->kind == DM_UNIT_RELEASE)
            dm_fleet_drop_circuits(fleet, unit->tenant);
    }
    pthread_mutex_unlock(&fleet->mutex);
    return target;
}

struct held *dm_fleet_held(struct gateway *gateway, struct target *target)
{
    struct held *held = dm_map_get(&gateway->held, target->key);

    if (held == NULL) {
        held = dm_calloc(1, sizeof(*held));
        held->target = target;
        dm_map_put(&gateway->held, target->key, held);
    }
    return held;
}

struct gateway **dm_fleet_gateway(struct dm_fleet *fleet, struct dm_str id)
{
    struct gateway **at = &fleet->gateways;

    while (*at != NULL && !dm_str_eq(dm_str_of((*at)->id), id))
        at = &(*at)->next;
    return at;
}

static int add_target(void *arg, const struct dm_unit_row *row, struct dm_err *err)
{
    dm_fleet_set_target(arg, row)->published_ns = 0;
    return 0;
}

static int load_targets(struct dm_fleet *fleet, struct dm_err *err)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_arena arena;
    int rc;

    dm_arena_init(&arena, NULL, ARENA_BYTES);
    if ((rc = dm_txn_begin(fleet->settings.store, DM_TXN_READ, &arena, &txn, err)) >= 0)
        rc = dm_units_all(txn, &caller, add_target, fleet, err);
    dm_txn_abort(&txn);
    dm_arena_done(&arena);
    return rc < 0 ? rc : 0;
}

int dm_fleet_new(const struct dm_fleet_settings *settings, struct dm_fleet **ret, struct dm_err *err)
{
    struct dm_fleet *fleet = dm_calloc(1, sizeof(*fleet));
    int rc;

    fleet->settings = *settings;
    pthread_mutex_init(&fleet->mutex, NULL);
    dm_map_init_random(&fleet->targets);
    if ((rc = load_targets(fleet, err)) < 0 || (rc = dm_fleet_load_holds(fleet, err)) < 0) {
        dm_fleet_free(fleet);
        return rc;
    }
    *ret = fleet;
    return 0;
}

int dm_fleet_listen(struct dm_fleet *fleet, const struct dm_link_settings *link, struct dm_err *err)
{
    struct dm_link_settings settings = *link;

    settings.pool = fleet->settings.pool;
    settings.store = fleet->settings.store;
    return dm_link_server_open(fleet->settings.loop, &settings, &dm_fleet_link_handler, fleet, &fleet->link, err);
}

void dm_fleet_close(struct dm_fleet *fleet)
{
    if (fleet == NULL || fleet->link == NULL)
        return;
    dm_timer_cancel(fleet->settings.loop, &fleet->raise_retry);
    dm_link_server_close(fleet->link);
    fleet->link = NULL;
}

static void free_gateway(struct gateway *gateway)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&gateway->held, &at)) != NULL) {
        dm_free(((struct held *)slot->value)->refusal);
        dm_free(slot->value);
    }
    dm_map_done(&gateway->held);
    dm_fleet_free_circuits(gateway);
    dm_free(gateway);
}

void dm_fleet_free(struct dm_fleet *fleet)
{
    struct dm_map_slot *slot;
    struct gateway *gateway;
    size_t at = 0;

    if (fleet == NULL)
        return;
    while ((gateway = fleet->gateways) != NULL) {
        fleet->gateways = gateway->next;
        free_gateway(gateway);
    }
    while ((slot = dm_map_next(&fleet->targets, &at)) != NULL) {
        struct target *target = slot->value;

        dm_free((char *)target->key.ptr);
        dm_free(target);
    }
    dm_map_done(&fleet->targets);
    dm_fleet_free_holds(fleet);
    pthread_mutex_destroy(&fleet->mutex);
    dm_free(fleet);
}

void dm_fleet_publish(struct dm_fleet *fleet, const struct dm_unit_row *units, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct target *target = dm_fleet_set_target(fleet, &units[i]);
        /* Commits may be published out of order: then what came first is the older one, and not to be sent. */
        bool is_newest = dm_mark_cmp(target->mark, units[i].mark) == 0;

        for (struct gateway *gateway = fleet->gateways; is_newest && gateway != NULL; gateway = gateway->next)
            if (gateway->peer != NULL)
                dm_fleet_send(gateway, target, units[i].document);
    }
}

int dm_fleet_find(struct dm_fleet *fleet, struct dm_str id, bool *ret_is_connected)
{
    const struct gateway *gateway;

    pthread_mutex_lock(&fleet->mutex);
    gateway = *dm_fleet_gateway(fleet, id);
    if (gateway != NULL)
        *ret_is_connected = gateway->peer != NULL;
    pthread_mutex_unlock(&fleet->mutex);
    return gateway != NULL ? 0 : DM_ENOENT;
}

void dm_fleet_forget(struct dm_fleet *fleet, struct dm_str id)
{
    struct gateway **at = dm_fleet_gateway(fleet, id), *gateway = *at;

    if (gateway == NULL || gateway->peer != NULL)
        return;
    pthread_mutex_lock(&fleet->mutex);
    *at = gateway->next;
    free_gateway(gateway);
    pthread_mutex_unlock(&fleet->mutex);
    dm_fleet_wake(fleet, DM_STR_NULL);
}
