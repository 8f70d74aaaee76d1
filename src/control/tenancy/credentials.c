#include "control/tenancy/credentials.h"
#include "control/release/builder.h"
#include "control/release/stamp.h"
#include "control/store/credentials.h"
#include "base/encode.h"
#include "base/mem.h"

#define KEY_RANDOM_BYTES 24

static const struct dm_credential *find(const struct dm_application *application, struct dm_str name)
{
    for (size_t i = 0; application != NULL && i < application->n_credentials; i++)
        if (dm_str_eq(application->credentials[i].name, name))
            return &application->credentials[i];
    return NULL;
}

static bool is_kept(const struct dm_application *before, const struct dm_credential *wanted)
{
    const struct dm_credential *stored = find(before, wanted->name);

    return stored != NULL && stored->type == wanted->type && dm_str_eq(stored->digest, wanted->digest);
}

static int generate(struct dm_write *write, const struct dm_application *application, struct dm_credential *credential)
{
    struct dm_new_key *key = DM_ARENA_NEW(dm_write_arena(write), struct dm_new_key);
    uint8_t random[KEY_RANDOM_BYTES];
    char text[DM_BASE64_MAX(KEY_RANDOM_BYTES)];
    size_t len;

    dm_crypto_random(random, sizeof(random));
    len = dm_base64url(dm_str_n((const char *)random, sizeof(random)), text);
    if (key == NULL || dm_arena_str(dm_write_arena(write), dm_str_n(text, len), &credential->key) < 0)
        return dm_write_no_memory(write);
    *key = (struct dm_new_key){write->new_keys, application->name, credential->name, credential->key};
    write->new_keys = key;
    return 0;
}

/* Of a client certificate there is always something to digest (model/credential.c). */
static int digest(struct dm_write *write, struct dm_credential *credential)
{
    char value[DM_CREDENTIAL_VALUE_MAX];
    uint8_t key[32], bytes[DM_DIGEST_BYTES];
    char hex[2 * DM_DIGEST_BYTES + 1];
    struct dm_err err = {0};
    int64_t id;

    if (dm_builder_digest_key(write->tenant, write->keyring, &id, key, &err) < 0)
        return dm_write_fail(write, &err);
    dm_credential_digest(key, credential->type, dm_credential_value(credential, value), bytes);
    dm_mem_wipe(key, sizeof(key));
    dm_hex(bytes, sizeof(bytes), hex);
    return dm_arena_str(dm_write_arena(write), dm_str_of(hex), &credential->digest) < 0 ? dm_write_no_memory(write) : 0;
}

static int resolve(struct dm_write *write, const struct dm_application *before, struct dm_application *wanted,
                   struct dm_credential *credential)
{
    const struct dm_credential *stored = find(before, credential->name);
    int rc = 0;

    if (credential->type != DM_CREDENTIAL_API_KEY)
        return digest(write, credential);
    if (credential->key.len == 0 && stored != NULL && stored->type == credential->type) {
        credential->digest = stored->digest;
        return 0;
    }
    if (credential->key.len == 0)
        rc = generate(write, wanted, credential);
    return rc < 0 ? rc : digest(write, credential);
}

int dm_credentials_resolve(struct dm_write *write, const struct dm_application *before, struct dm_application *wanted,
                           size_t *ret_changed)
{
    size_t n_before = before != NULL ? before->n_credentials : 0, n_kept = 0;
    int rc;

    for (size_t i = 0; i < wanted->n_credentials; i++) {
        if ((rc = resolve(write, before, wanted, &wanted->credentials[i])) < 0)
            return rc;
        n_kept += is_kept(before, &wanted->credentials[i]);
    }
    *ret_changed = (n_before - n_kept) + (wanted->n_credentials - n_kept);
    return 0;
}

int dm_credentials_drop_stale(struct dm_write *write, const struct dm_application *before,
                              const struct dm_application *wanted)
{
    struct dm_err err = {0};
    int rc;

    for (size_t i = 0; before != NULL && i < before->n_credentials; i++) {
        const struct dm_credential *next = find(wanted, before->credentials[i].name);

        if (next != NULL && is_kept(before, next))
            continue;
        rc = dm_credentials_remove(write->tenant, before->name, before->credentials[i].name, &err);
        if (rc < 0 && rc != DM_ENOENT)
            return dm_write_fail(write, &err);
    }
    return 0;
}

static int add(struct dm_write *write, const struct dm_application *application, size_t at)
{
    struct dm_credential *credential = &application->credentials[at];
    struct dm_credential_row row = {
        .application = application->name,
        .name = credential->name,
        .type = dm_str_of(dm_credential_type_names[credential->type]),
    };
    char value[DM_CREDENTIAL_VALUE_MAX];
    struct dm_err err = {0};
    char stamp[DM_STAMP_MAX];
    int rc = dm_unhex(credential->digest, row.digest, sizeof(row.digest));

    if (credential->type != DM_CREDENTIAL_API_KEY)
        row.shown = dm_credential_value(credential, value);
    if (rc >= 0)
        rc = dm_credentials_add(write->tenant, &row, &err);
    if (rc == DM_EEXIST) {
        if (strcmp(err.pointer, "/key") == 0)
            snprintf(err.pointer, sizeof(err.pointer), "/%s", dm_credential_member(credential));
        dm_err_prefix(&err, "/credentials/%zu", at);
        return dm_failure_err(write->failure, "key_in_use", &err);
    }
    if (rc < 0)
        return dm_write_fail(write, &err);
    credential->id = row.number;
    if (dm_arena_str(dm_write_arena(write), dm_stamp(row.created_ms / 1000 * 1000, stamp), &credential->created_at) < 0)
        return dm_write_no_memory(write);
    return 0;
}

static void take_stored(struct dm_credential *wanted, const struct dm_credential *stored)
{
    wanted->id = stored->id;
    wanted->created_at = stored->created_at;
}

int dm_credentials_add_new(struct dm_write *write, const struct dm_application *before, struct dm_application *wanted)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < wanted->n_credentials; i++)
        if (is_kept(before, &wanted->credentials[i]))
            take_stored(&wanted->credentials[i], find(before, wanted->credentials[i].name));
        else
            rc = add(write, wanted, i);
    return rc;
}
