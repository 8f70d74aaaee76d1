#include "gateway/domains/vault.h"

#include "base/key_file.h"
#include "base/mem.h"
#include "model/certificate.h"
#include "model/tenant_key.h"

#define KEYS_FIRST 64

struct box_key {
    uint8_t public_half[DM_BOX_PUBLIC_BYTES], secret[DM_BOX_SECRET_BYTES];
};

struct dm_vault {
    struct box_key *box;        /* locked */
    struct dm_tenant_key *keys; /* locked; in no order */
    size_t n_keys, cap;
};

static int read_or_make(struct dm_sys *sys, const char *path, bool may_make, struct box_key *box, struct dm_err *err)
{
    int rc = dm_key_file_read(sys, path, (uint8_t *)box, sizeof(*box), err);

    if (rc != DM_ENOENT || !may_make)
        return rc;
    dm_box_keypair(box->public_half, box->secret);
    return dm_key_file_write(sys, path, (const uint8_t *)box, sizeof(*box), err);
}

struct dm_vault *dm_vault_new(void)
{
    struct dm_vault *vault = dm_calloc(1, sizeof(*vault));

    vault->keys = dm_secret_alloc(KEYS_FIRST * sizeof(*vault->keys));
    vault->cap = KEYS_FIRST;
    return vault;
}

int dm_vault_open(struct dm_sys *sys, const char *path, bool may_make, struct dm_vault **ret, struct dm_err *err)
{
    struct dm_vault *vault = dm_vault_new();
    int rc;

    vault->box = dm_secret_alloc(sizeof(*vault->box));
    if ((rc = read_or_make(sys, path, may_make, vault->box, err)) < 0)
        dm_vault_free(vault);
    else
        *ret = vault;
    return rc;
}

void dm_vault_free(struct dm_vault *vault)
{
    if (!vault)
        return;
    dm_secret_free(vault->box);
    dm_secret_free(vault->keys);
    dm_free(vault);
}

const uint8_t *dm_vault_public(const struct dm_vault *vault)
{
    return vault->box->public_half;
}

static struct dm_tenant_key *find(const struct dm_vault *vault, uint64_t tenant_id)
{
    for (size_t i = 0; i < vault->n_keys; i++)
        if (vault->keys[i].tenant_id == tenant_id)
            return &vault->keys[i];
    return NULL;
}

static struct dm_tenant_key *add(struct dm_vault *vault)
{
    if (vault->n_keys == vault->cap) {
        struct dm_tenant_key *more = dm_secret_alloc(2 * vault->cap * sizeof(*more));
        memcpy(more, vault->keys, vault->n_keys * sizeof(*more));
        dm_secret_free(vault->keys);
        vault->keys = more;
        vault->cap *= 2;
    }
    return &vault->keys[vault->n_keys++];
}

int dm_vault_open_key(const struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id, struct dm_str sealed,
                      struct dm_tenant_key *ret)
{
    int rc = vault->box ? dm_tenant_key_open(vault->box->public_half, vault->box->secret, sealed, ret) : DM_ENOENT;

    if (rc == 0 && (ret->tenant_id != tenant_id || ret->key_id != key_id))
        rc = DM_ECORRUPT;
    return rc;
}

void dm_vault_put_open(struct dm_vault *vault, const struct dm_tenant_key *key)
{
    struct dm_tenant_key *place = find(vault, key->tenant_id);

    *(place ? place : add(vault)) = *key;
}

int dm_vault_put(struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id, struct dm_str sealed)
{
    struct dm_tenant_key key = {0};
    int rc = dm_vault_open_key(vault, tenant_id, key_id, sealed, &key);

    if (rc == 0)
        dm_vault_put_open(vault, &key);
    dm_mem_wipe(&key, sizeof(key));
    return rc;
}

void dm_vault_drop(struct dm_vault *vault, uint64_t tenant_id)
{
    struct dm_tenant_key *key = find(vault, tenant_id);

    if (!key)
        return;
    *key = vault->keys[--vault->n_keys];
    dm_mem_wipe(&vault->keys[vault->n_keys], sizeof(*key));
}

int dm_vault_certificate_key(const struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id, struct dm_str name,
                             struct dm_str key_sealed, char **ret, size_t *ret_len)
{
    const struct dm_tenant_key *key = vault ? find(vault, tenant_id) : NULL;
    char *pem;
    ssize_t n;

    if (!key || key->key_id != key_id)
        return DM_EAGAIN;
    pem = dm_secret_alloc(DM_CHAIN_KEY_BYTES);
    if ((n = dm_certificate_key_open(key->key, tenant_id, name, key_sealed, (uint8_t *)pem)) < 0) {
        dm_secret_free(pem);
        return (int)n;
    }
    *ret = pem;
    *ret_len = (size_t)n;
    return 0;
}
