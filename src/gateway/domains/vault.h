/* What is secret to this gateway, in locked memory: the secret half of its box key, and the data keys of tenants that come sealed
 * to it. With a data key the private keys of that tenant's certificates open, and nothing of another's (P2).
 *
 * The pair lies in DATA/gateway/box.key; the keeper makes it once, workers read it. Nothing here is ever logged.
 * Threads: one. */
#ifndef DM_GATEWAY_VAULT_H
#define DM_GATEWAY_VAULT_H

#include "base/crypto.h"
#include "base/sys.h"

struct dm_tenant_key;
struct dm_vault;

/* Reads the pair at the path; may_make: makes one when there is none. DM_ENOENT, DM_ECORRUPT, DM_EIO. */
DM_MUST_USE int dm_vault_open(struct dm_sys *sys, const char *path, bool may_make, struct dm_vault **ret,
                              struct dm_err *err);
/* Without a pair: nothing sealed opens; data keys are given to it opened. */
struct dm_vault *dm_vault_new(void);
/* NULL is fine. */
void dm_vault_free(struct dm_vault *vault);
/* Borrowed; DM_BOX_PUBLIC_BYTES. */
const uint8_t *dm_vault_public(const struct dm_vault *vault);

/* A data key as model/tenant_key.h seals it takes the place of the tenant's former one. Numbers other than those inside are
 * DM_ECORRUPT, as is what was not sealed to this gateway. */
DM_MUST_USE int dm_vault_put(struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id, struct dm_str sealed);
/* The same of one that is open already, and the other way round: *ret is secret. DM_ENOENT. */
void dm_vault_put_open(struct dm_vault *vault, const struct dm_tenant_key *key);
DM_MUST_USE int dm_vault_open_key(const struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id,
                                  struct dm_str sealed, struct dm_tenant_key *ret);
/* The tenant's data key is forgotten. */
void dm_vault_drop(struct dm_vault *vault, uint64_t tenant_id);

/* The private key (PEM) of the tenant's certificate with this name, as dm_certificate_key_seal() left it. *ret is memory of
 * dm_secret_alloc(), the caller's. DM_EAGAIN: the data key is not here (yet), or there is no vault; DM_ECORRUPT: it was sealed
 * with another one, or for another tenant or name. */
DM_MUST_USE int dm_vault_certificate_key(const struct dm_vault *vault, uint64_t tenant_id, uint64_t key_id,
                                         struct dm_str name, struct dm_str key_sealed, char **ret, size_t *ret_len);

#endif
