/* Bringing one gateway to the targets.
 *
 * What it lacks stands in its dirty list. dm_fleet_pump() reads the documents of the first few on the pool and sends them;
 * a document that was just committed is sent without being read again when nothing else waits before it.
 *
 * Before a document of domains, and once on each connection, goes the tenant's data key (TENANT_KEY), which a job on the pool
 * opens and seals to the gateway: so such documents are always read there. */
#include "control/fleet/fleet_int.h"
#include "control/release/keys.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/link.h"

#define LOAD_MAX 16
#define RETRY_MS 100
#define LOAD_ARENA_BYTES ((size_t)LOAD_MAX * DM_DOCUMENT_MAX)

/* --- sending ------------------------------------------------------------------------------------------------------ */

void dm_fleet_mark_dirty(struct gateway *gateway, struct held *held)
{
    if (held->is_dirty)
        return;
    held->is_dirty = true;
    held->next_dirty = NULL;
    *gateway->dirty_tail = held;
    gateway->dirty_tail = &held->next_dirty;
    gateway->n_dirty++;
}

static struct held *take_dirty(struct gateway *gateway)
{
    struct held *held = gateway->dirty;

    gateway->dirty = held->next_dirty;
    if (gateway->dirty == NULL)
        gateway->dirty_tail = &gateway->dirty;
    held->is_dirty = false;
    gateway->n_dirty--;
    return held;
}

int dm_fleet_send_gone(struct gateway *gateway, struct dm_str tenant, enum dm_unit_kind kind, struct dm_mark mark)
{
    struct dm_link_message message = {.type = DM_LINK_GONE, .gone = {.tenant = tenant, .kind = kind, .mark = mark}};

    return dm_link_send(gateway->peer, &message);
}

/* DM_EAGAIN also holds the pump until there is room. */
static int send_one(struct gateway *gateway, const struct target *target, struct dm_mark mark, struct dm_str document)
{
    struct dm_link_message message = {.type = DM_LINK_UNIT, .unit = document};
    int rc = document.len > 0 ? dm_link_send(gateway->peer, &message)
                              : dm_fleet_send_gone(gateway, target->tenant, target->kind, mark);

    gateway->is_blocked |= rc == DM_EAGAIN;
    return rc;
}

/* Documents of domains go out with the key that theirs are sealed with. */
static bool has_key(const struct target *target)
{
    return target->kind == DM_UNIT_DOMAINS && !target->is_removed;
}

bool dm_fleet_is_due(const struct held *held)
{
    return held->is_key_due || dm_mark_cmp(held->sent, held->target->mark) < 0;
}

void dm_fleet_send(struct gateway *gateway, struct target *target, struct dm_str document)
{
    struct held *held;

    pthread_mutex_lock(&gateway->fleet->mutex);
    held = dm_fleet_held(gateway, target);
    if (!has_key(target) && gateway->dirty == NULL && gateway->load == NULL && !gateway->is_blocked &&
        dm_fleet_is_due(held) && send_one(gateway, target, target->mark, document) == 0)
        held->sent = target->mark;
    else if (dm_fleet_is_due(held))
        dm_fleet_mark_dirty(gateway, held);
    pthread_mutex_unlock(&gateway->fleet->mutex);
    dm_fleet_pump(gateway);
}

/* --- reading documents -------------------------------------------------------------------------------------------- */

struct load_item {
    struct target *target; /* the loop's */
    enum dm_unit_kind kind;
    char tenant[64];
    struct dm_mark mark;
    struct dm_str document; /* the arena's */
    bool is_found;
    bool has_key; /* sealed_key is one */
    uint64_t tenant_id, key_id;
    uint8_t sealed_key[DM_TENANT_KEY_SEALED_BYTES];
};

struct load {
    struct dm_job job;
    struct gateway *gateway; /* NULL when it went away meanwhile */
    struct dm_store *store;
    const struct dm_keyring *keyring;
    struct dm_arena arena;
    uint8_t box_public_key[DM_BOX_PUBLIC_BYTES];
    struct load_item items[LOAD_MAX];
    size_t n;
    bool has_failed;
};

/* A tenant without certificates has no key. */
static int read_key(struct dm_tenant_handle *tenant, const struct load *load, struct load_item *item,
                    struct dm_err *err)
{
    struct dm_tenant_key key;
    int rc = dm_keys_data(tenant, load->keyring, &key, err);

    if (rc < 0)
        return rc == DM_ENOENT ? 0 : rc;
    item->tenant_id = key.tenant_id;
    item->key_id = key.key_id;
    item->has_key = dm_tenant_key_seal(load->box_public_key, &key, item->sealed_key) == 0;
    dm_mem_wipe(&key, sizeof(key));
    if (!item->has_key)
        dm_log(DM_LOG_ERROR, "key_not_sent", "a gateway has no box key that a key of tenant '%s' could be sealed to",
               item->tenant);
    return 0;
}

static int read_item(struct dm_txn *txn, const struct load *load, struct load_item *item, struct dm_err *err)
{
    struct dm_caller caller = DM_CALLER_SYSTEM;
    struct dm_tenant_handle *tenant;
    struct dm_unit_row row;
    int rc = dm_tenants_open(txn, &caller, dm_str_of(item->tenant), &tenant, err);

    if (rc >= 0)
        rc = dm_units_get(tenant, item->kind, &row, err);
    if (rc >= 0 && item->kind == DM_UNIT_DOMAINS)
        rc = read_key(tenant, load, item, err);
    if (rc < 0)
        return rc == DM_ENOENT ? 0 : rc; /* removed meanwhile: its GONE is on the way */
    item->document = row.document;
    item->mark = row.mark;
    item->is_found = true;
    return 0;
}

static void run_load(struct dm_job *job)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct load *load = DM_CONTAINER_OF(job, struct load, job);
    struct dm_err err = {0};
    int rc = dm_txn_begin(load->store, DM_TXN_READ, &load->arena, &txn, &err);

    for (size_t i = 0; rc >= 0 && i < load->n; i++)
        rc = read_item(txn, load, &load->items[i], &err);
    load->has_failed = rc < 0;
    if (rc < 0)
        dm_log(DM_LOG_ERROR, "documents_not_read", "%s", err.message);
}

static int send_key(struct gateway *gateway, const struct load_item *item)
{
    struct dm_link_message message = {
        .type = DM_LINK_TENANT_KEY,
        .tenant_key = {.tenant = dm_str_of(item->tenant),
                       .tenant_id = item->tenant_id,
                       .key_id = item->key_id,
                       .sealed = dm_str_n((const char *)item->sealed_key, sizeof(item->sealed_key))},
    };
    int rc = item->has_key ? dm_link_send(gateway->peer, &message) : 0;

    gateway->is_blocked |= rc == DM_EAGAIN;
    return rc;
}

/* false: it was not there to be sent. */
static bool send_loaded(struct gateway *gateway, const struct load_item *item)
{
    struct held *held = dm_fleet_held(gateway, item->target);
    bool is_ready = item->is_found && send_key(gateway, item) == 0;

    if (is_ready)
        held->is_key_due = false;
    if (is_ready && dm_mark_cmp(held->sent, item->mark) < 0 &&
        send_one(gateway, item->target, item->mark, item->document) == 0)
        held->sent = item->mark;
    if (dm_fleet_is_due(held))
        dm_fleet_mark_dirty(gateway, held);
    return item->is_found;
}

static void free_load(struct load *load)
{
    dm_arena_done(&load->arena);
    dm_free(load);
}

static void retry_later(struct gateway *gateway)
{
    dm_timer_arm(gateway->fleet->settings.loop, &gateway->retry, RETRY_MS);
}

static void on_loaded(struct dm_job *job)
{
    struct load *load = DM_CONTAINER_OF(job, struct load, job);
    struct gateway *gateway = load->gateway;
    bool is_whole = !load->has_failed;

    if (gateway != NULL) {
        gateway->load = NULL;
        pthread_mutex_lock(&gateway->fleet->mutex);
        for (size_t i = 0; i < load->n; i++)
            is_whole &= send_loaded(gateway, &load->items[i]);
        pthread_mutex_unlock(&gateway->fleet->mutex);
        if (is_whole)
            dm_fleet_pump(gateway);
        else
            retry_later(gateway);
    }
    free_load(load);
}

/* Moves the first dirty units to the load; what was removed is told at once. */
static void fill_load(struct gateway *gateway, struct load *load)
{
    while (gateway->dirty != NULL && load->n < LOAD_MAX && !gateway->is_blocked) {
        struct held *held = take_dirty(gateway);
        struct target *target = held->target;

        if (!dm_fleet_is_due(held))
            continue;
        if (!target->is_removed) {
            struct load_item *item = &load->items[load->n++];

            *item = (struct load_item){.target = target, .kind = target->kind};
            snprintf(item->tenant, sizeof(item->tenant), "%.*s", DM_STR_ARG(target->tenant));
        } else if (send_one(gateway, target, target->mark, DM_STR("")) == 0) {
            held->sent = target->mark;
            held->is_key_due = false;
        } else {
            dm_fleet_mark_dirty(gateway, held);
        }
    }
}

static void put_back(struct gateway *gateway, struct load *load)
{
    pthread_mutex_lock(&gateway->fleet->mutex);
    for (size_t i = 0; i < load->n; i++)
        dm_fleet_mark_dirty(gateway, dm_fleet_held(gateway, load->items[i].target));
    pthread_mutex_unlock(&gateway->fleet->mutex);
}

static void start_load(struct gateway *gateway)
{
    struct load *load = dm_calloc(1, sizeof(*load));

    load->job = (struct dm_job){.run = run_load, .done = on_loaded};
    load->store = gateway->fleet->settings.store;
    load->keyring = gateway->fleet->settings.keyring;
    load->gateway = gateway;
    memcpy(load->box_public_key, gateway->box_public_key, sizeof(load->box_public_key));
    dm_arena_init(&load->arena, NULL, LOAD_ARENA_BYTES);
    pthread_mutex_lock(&gateway->fleet->mutex);
    fill_load(gateway, load);
    pthread_mutex_unlock(&gateway->fleet->mutex);
    if (load->n == 0) {
        free_load(load);
    } else if (dm_pool_submit(gateway->fleet->settings.pool, &load->job) == 0) {
        gateway->load = load;
    } else {
        put_back(gateway, load);
        free_load(load);
        retry_later(gateway);
    }
}

void dm_fleet_pump(struct gateway *gateway)
{
    struct dm_link_message synced = {.type = DM_LINK_SYNCED};

    if (gateway->peer == NULL || gateway->load != NULL || gateway->is_blocked || dm_timer_is_armed(&gateway->retry))
        return;
    if (gateway->dirty != NULL)
        start_load(gateway);
    if (gateway->load != NULL || gateway->dirty != NULL || gateway->is_synced)
        return;
    if (dm_link_send(gateway->peer, &synced) == 0)
        gateway->is_synced = true;
    else
        gateway->is_blocked = true;
}

void dm_fleet_drop_load(struct gateway *gateway)
{
    dm_timer_cancel(gateway->fleet->settings.loop, &gateway->retry);
    if (gateway->load != NULL)
        gateway->load->gateway = NULL;
    gateway->load = NULL;
}
