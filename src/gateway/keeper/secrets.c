#include "gateway/keeper/secrets.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/process/options.h"

#define DIR "keys"
#define FILE_BYTES_MAX 512
#define MS_NS UINT64_C(1000000)
#define TICKETS_NS (12 * 3600 * 1000 * MS_NS)

/* --- in memory ---------------------------------------------------------------------------------------------------- */

static void forget(struct dm_secrets *secrets, struct dm_str tenant)
{
    struct dm_held_key *key = dm_map_del(&secrets->keys, tenant);

    if (!key)
        return;
    dm_vault_drop(secrets->vault, key->message.tenant_id);
    dm_free(key);
}

/* C1 */
static int remember(struct dm_secrets *secrets, const struct dm_link_tenant_key *from, struct dm_err *err)
{
    struct dm_held_key *key;
    int rc = dm_vault_put(secrets->vault, from->tenant_id, from->key_id, from->sealed);

    if (rc < 0)
        return dm_fail(err, rc, "", "data key %llu of tenant %.*s is not sealed to this gateway",
                       (unsigned long long)from->key_id, DM_STR_ARG(from->tenant));
    dm_vault_drop(secrets->vault, from->tenant_id); /* C2 */
    forget(secrets, from->tenant);
    key = dm_calloc(1, sizeof(*key) + from->tenant.len + 1);
    key->message = (struct dm_worker_tenant_key){
        .tenant_id = from->tenant_id, .key_id = from->key_id, .sealed_bytes = (uint32_t)from->sealed.len};
    memcpy(key->message.sealed, from->sealed.ptr, from->sealed.len);
    memcpy(key->tenant, from->tenant.ptr, from->tenant.len);
    dm_map_put(&secrets->keys, dm_str_n(key->tenant, from->tenant.len), key);
    return 0;
}

/* --- on disk ------------------------------------------------------------------------------------------------------ */

static void path_of(const struct dm_secrets *secrets, struct dm_str tenant, char ret[DM_GATEWAY_PATH_MAX])
{
    dm_gateway_path(secrets->options, ret, DIR "/%.*s", DM_STR_ARG(tenant));
}

static int write_file(struct dm_secrets *secrets, const struct dm_link_tenant_key *key, struct dm_err *err)
{
    struct dm_link_message message = {.type = DM_LINK_TENANT_KEY, .tenant_key = *key};
    char path[DM_GATEWAY_PATH_MAX], bytes[FILE_BYTES_MAX];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, bytes, sizeof(bytes));
    dm_link_encode(&message, &buf);
    if (buf.failed)
        return dm_fail(err, DM_EBUDGET, "", "the data key of tenant %.*s is too long", DM_STR_ARG(key->tenant));
    path_of(secrets, key->tenant, path);
    return dm_sys_write_file(secrets->sys, path, dm_buf_str(&buf), 0600, true, err);
}

static int read_frame(struct dm_secrets *secrets, struct dm_str name, struct dm_str bytes, struct dm_err *err)
{
    struct dm_link_message message;
    struct dm_arena arena;
    ssize_t n;

    dm_arena_init(&arena, NULL, FILE_BYTES_MAX);
    n = dm_link_decode(bytes, &arena, &message, NULL);
    dm_arena_done(&arena);
    if (n <= 0 || (size_t)n != bytes.len || message.type != DM_LINK_TENANT_KEY ||
        !dm_str_eq(message.tenant_key.tenant, name))
        return dm_fail(err, DM_ECORRUPT, "", "the file is damaged");
    return remember(secrets, &message.tenant_key, err);
}

static int read_file(void *arg, const char *name)
{
    struct dm_secrets *secrets = arg;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    struct dm_buf bytes;

    path_of(secrets, dm_str_of(name), path);
    if (dm_sys_is_temp_name(name)) {
        (void)secrets->sys->ops->unlink(secrets->sys, path);
        return 0;
    }
    if (dm_sys_read_file(secrets->sys, path, FILE_BYTES_MAX, &bytes, &err) == 0) {
        (void)read_frame(secrets, dm_str_of(name), dm_buf_str(&bytes), &err);
        dm_buf_done(&bytes);
    }
    if (err.code < 0)
        dm_log(DM_LOG_ERROR, "tenant_key_refused", "%s: %s; it is left out until the controller sends it", path,
               err.message);
    return 0;
}

/* --- tickets ------------------------------------------------------------------------------------------------------ */

static void draw_tickets(struct dm_secrets *secrets)
{
    struct dm_worker_tickets *t = &secrets->tickets;

    secrets->sys->ops->random(secrets->sys, &t->keys, sizeof(t->keys));
    t->due_ns = secrets->sys->ops->mono_ns(secrets->sys) + TICKETS_NS;
    secrets->has_drawn_tickets = true;
}

static void rotate_once(struct dm_secrets *secrets)
{
    struct dm_tls_ticket_keys *keys = &secrets->tickets.keys;

    memcpy(keys->previous, keys->current, sizeof(keys->previous));
    memcpy(keys->current, keys->next, sizeof(keys->current));
    secrets->sys->ops->random(secrets->sys, keys->next, sizeof(keys->next));
    secrets->tickets.due_ns += TICKETS_NS;
    secrets->has_drawn_tickets = false;
}

uint32_t dm_secrets_rotate_tickets(struct dm_secrets *secrets)
{
    uint64_t now_ns = secrets->sys->ops->mono_ns(secrets->sys);

    while (secrets->tickets.due_ns <= now_ns)
        rotate_once(secrets);
    return (uint32_t)((secrets->tickets.due_ns - now_ns) / MS_NS + 1);
}

/* C3. Keys of one line are the newer the later they are due. */
bool dm_secrets_take_tickets(struct dm_secrets *secrets, const struct dm_worker_tickets *tickets)
{
    uint64_t now_ns = secrets->sys->ops->mono_ns(secrets->sys);

    if (tickets->due_ns == 0 || tickets->due_ns > now_ns + TICKETS_NS ||
        (!secrets->has_drawn_tickets && tickets->due_ns <= secrets->tickets.due_ns))
        return false;
    secrets->tickets = *tickets;
    secrets->has_drawn_tickets = false;
    (void)dm_secrets_rotate_tickets(secrets);
    return true;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int dm_secrets_open(struct dm_secrets *secrets, struct dm_sys *sys, const struct dm_gateway_options *options,
                    struct dm_err *err)
{
    char path[DM_GATEWAY_PATH_MAX];
    int rc;

    *secrets = (struct dm_secrets){.sys = sys, .options = options};
    dm_map_init_random(&secrets->keys);
    draw_tickets(secrets);
    dm_gateway_path(options, path, DM_GATEWAY_BOX_KEY);
    if ((rc = dm_vault_open(sys, path, true, &secrets->vault, err)) < 0)
        return rc;
    dm_gateway_path(options, path, DIR);
    if ((rc = dm_sys_make_dirs(sys, path, 0700, err)) < 0)
        return rc;
    if ((rc = sys->ops->list(sys, path, read_file, secrets)) < 0)
        return dm_fail(err, DM_EIO, "", "can't list %s: %s", path, strerror(-rc));
    return 0;
}

void dm_secrets_draw(struct dm_secrets *secrets, struct dm_sys *sys)
{
    *secrets = (struct dm_secrets){.sys = sys};
    draw_tickets(secrets);
}

const struct dm_held_key *dm_secrets_find(const struct dm_secrets *secrets, struct dm_str tenant)
{
    return dm_map_get(&secrets->keys, tenant);
}

void dm_secrets_done(struct dm_secrets *secrets)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&secrets->keys, &at)))
        dm_free(slot->value);
    dm_map_done(&secrets->keys);
    dm_vault_free(secrets->vault);
    dm_mem_wipe(&secrets->tickets, sizeof(secrets->tickets));
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static bool is_same(const struct dm_held_key *held, const struct dm_link_tenant_key *key)
{
    return held->message.tenant_id == key->tenant_id && held->message.key_id == key->key_id &&
           dm_str_eq(dm_str_n((const char *)held->message.sealed, held->message.sealed_bytes), key->sealed);
}

int dm_secrets_put(struct dm_secrets *secrets, const struct dm_link_tenant_key *key, const struct dm_held_key **ret,
                   struct dm_err *err)
{
    struct dm_held_key *held = dm_map_get(&secrets->keys, key->tenant);
    int rc;

    if (!held || !is_same(held, key)) {
        if ((rc = remember(secrets, key, err)) < 0 || (rc = write_file(secrets, key, err)) < 0)
            return rc;
        held = dm_map_get(&secrets->keys, key->tenant);
    }
    *ret = held;
    return 0;
}

void dm_secrets_drop(struct dm_secrets *secrets, struct dm_str tenant)
{
    char path[DM_GATEWAY_PATH_MAX];

    if (!dm_map_get(&secrets->keys, tenant))
        return;
    path_of(secrets, tenant, path);
    (void)secrets->sys->ops->unlink(secrets->sys, path);
    forget(secrets, tenant);
}

const struct dm_held_key *dm_secrets_next(const struct dm_secrets *secrets, size_t *at)
{
    struct dm_map_slot *slot = dm_map_next(&secrets->keys, at);

    return slot ? slot->value : NULL;
}
