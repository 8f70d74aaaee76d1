#include "model/tenant_key.h"
#include "base/mem.h"

#define PLAIN_BYTES (DM_TENANT_KEY_SEALED_BYTES - DM_BOX_OVERHEAD)

static void put_u64(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> 8 * (7 - i));
}

static uint64_t u64_at(const uint8_t *at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

int dm_tenant_key_seal(const uint8_t box_public[DM_BOX_PUBLIC_BYTES], const struct dm_tenant_key *key,
                       uint8_t ret[DM_TENANT_KEY_SEALED_BYTES])
{
    uint8_t plain[PLAIN_BYTES];
    int rc;

    put_u64(plain, key->tenant_id);
    put_u64(plain + 8, key->key_id);
    memcpy(plain + 16, key->key, sizeof(key->key));
    rc = dm_box_seal(box_public, dm_str_n((const char *)plain, sizeof(plain)), ret);
    dm_mem_wipe(plain, sizeof(plain));
    return rc;
}

int dm_tenant_key_open(const uint8_t box_public[DM_BOX_PUBLIC_BYTES], const uint8_t box_secret[DM_BOX_SECRET_BYTES],
                       struct dm_str sealed, struct dm_tenant_key *ret)
{
    uint8_t plain[PLAIN_BYTES];
    int rc;

    if (sealed.len != DM_TENANT_KEY_SEALED_BYTES)
        return DM_ECORRUPT;
    if ((rc = dm_box_open(box_public, box_secret, sealed, plain)) < 0)
        return rc;
    ret->tenant_id = u64_at(plain);
    ret->key_id = u64_at(plain + 8);
    memcpy(ret->key, plain + 16, sizeof(ret->key));
    dm_mem_wipe(plain, sizeof(plain));
    return 0;
}
