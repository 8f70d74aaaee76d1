/* A tenant's data key on its way to a gateway: what private keys in the tenant's documents are sealed with. It is sealed to
 * the gateway's own box key, together with what it is the key of, so that one tenant's can't be passed off as another's. */
#ifndef DM_MODEL_TENANT_KEY_H
#define DM_MODEL_TENANT_KEY_H

#include "base/crypto.h"

#define DM_TENANT_KEY_BYTES 32
#define DM_TENANT_KEY_SEALED_BYTES (8 + 8 + DM_TENANT_KEY_BYTES + DM_BOX_OVERHEAD)

struct dm_tenant_key {
    uint64_t tenant_id;
    uint64_t key_id; /* counting up from 1 */
    uint8_t key[DM_TENANT_KEY_BYTES];
};

/* DM_EINVAL when the public key is none that can be sealed to. */
DM_MUST_USE int dm_tenant_key_seal(const uint8_t box_public[DM_BOX_PUBLIC_BYTES], const struct dm_tenant_key *key,
                                   uint8_t ret[DM_TENANT_KEY_SEALED_BYTES]);
/* DM_ECORRUPT when it is not for this gateway, or was changed. The caller compares the numbers, and wipes *ret in the end. */
DM_MUST_USE int dm_tenant_key_open(const uint8_t box_public[DM_BOX_PUBLIC_BYTES],
                                   const uint8_t box_secret[DM_BOX_SECRET_BYTES], struct dm_str sealed,
                                   struct dm_tenant_key *ret);

#endif
