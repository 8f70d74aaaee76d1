#include "control/release/keys.h"
#include "control/identity/keyring.h"
#include "control/store/certificate_keys.h"
#include "base/mem.h"

#define CONTEXT_MAX 128

/* --- data keys ---------------------------------------------------------------------------------------------------- */

static struct dm_str data_context(const struct dm_tenant_handle *handle, int64_t key_id, char ret[CONTEXT_MAX])
{
    int len = snprintf(ret, CONTEXT_MAX, "tenant %lld data key %lld", (long long)dm_tenants_number(handle),
                       (long long)key_id);

    return dm_str_n(ret, (size_t)len);
}

static int not_ours(const char *what, struct dm_err *err)
{
    return dm_fail(err, DM_ECORRUPT, "", "the %s can't be opened: keys/sealing.key is not the one it was sealed with",
                   what);
}

int dm_keys_data(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_tenant_key *ret,
                 struct dm_err *err)
{
    char context[CONTEXT_MAX];
    struct dm_str sealed;
    int64_t id;
    int rc = dm_certificate_keys_data(handle, &id, &sealed, err);

    if (rc < 0)
        return rc;
    if (sealed.len != sizeof(ret->key) + DM_SEAL_OVERHEAD ||
        dm_seal_open(keyring->sealing, sealed, data_context(handle, id, context), ret->key) < 0)
        return not_ours("tenant's data key", err);
    ret->tenant_id = (uint64_t)dm_tenants_number(handle);
    ret->key_id = (uint64_t)id;
    return 0;
}

int dm_keys_make_data(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_tenant_key *ret,
                      struct dm_err *err)
{
    uint8_t sealed[sizeof(ret->key) + DM_SEAL_OVERHEAD];
    char context[CONTEXT_MAX];
    int rc = dm_keys_data(handle, keyring, ret, err);

    if (rc != DM_ENOENT)
        return rc;
    *ret = (struct dm_tenant_key){.tenant_id = (uint64_t)dm_tenants_number(handle), .key_id = 1};
    dm_crypto_random(ret->key, sizeof(ret->key));
    dm_seal(keyring->sealing, dm_str_n((const char *)ret->key, sizeof(ret->key)), data_context(handle, 1, context),
            sealed);
    return dm_certificate_keys_set_data(handle, 1, dm_str_n((const char *)sealed, sizeof(sealed)), err);
}

/* --- certificates ------------------------------------------------------------------------------------------------- */

static struct dm_str certificate_context(const struct dm_tenant_handle *handle, struct dm_str name,
                                         char ret[CONTEXT_MAX])
{
    int len = snprintf(ret, CONTEXT_MAX, "tenant %lld certificate %.*s", (long long)dm_tenants_number(handle),
                       DM_STR_ARG(name));

    return dm_str_n(ret, (size_t)len);
}

int dm_keys_put_certificate(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                            struct dm_str certificate, struct dm_str pem, struct dm_err *err)
{
    uint8_t sealed[DM_CHAIN_KEY_BYTES + DM_SEAL_OVERHEAD];
    char context[CONTEXT_MAX];

    if (pem.len > DM_CHAIN_KEY_BYTES)
        return dm_fail(err, DM_EINVAL, "/key", "must be at most %d bytes long, found %zu", DM_CHAIN_KEY_BYTES, pem.len);
    dm_seal(keyring->sealing, pem, certificate_context(handle, certificate, context), sealed);
    return dm_certificate_keys_put(handle, certificate, dm_str_n((const char *)sealed, pem.len + DM_SEAL_OVERHEAD),
                                   err);
}

int dm_keys_certificate(struct dm_tenant_handle *handle, const struct dm_keyring *keyring, struct dm_str certificate,
                        uint8_t ret[DM_CHAIN_KEY_BYTES], struct dm_str *ret_pem, struct dm_err *err)
{
    char context[CONTEXT_MAX];
    struct dm_str sealed;
    int rc = dm_certificate_keys_get(handle, certificate, &sealed, err);

    if (rc < 0)
        return rc;
    if (sealed.len < DM_SEAL_OVERHEAD || sealed.len > DM_CHAIN_KEY_BYTES + DM_SEAL_OVERHEAD ||
        dm_seal_open(keyring->sealing, sealed, certificate_context(handle, certificate, context), ret) < 0)
        return not_ours("key of a certificate", err);
    *ret_pem = dm_str_n((const char *)ret, sealed.len - DM_SEAL_OVERHEAD);
    return 0;
}
