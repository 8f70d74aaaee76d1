/* Which credentials a worker has verified lately, so that the next request with the same one need not be digested again.
 *
 * K1. No credential is kept, and no digest of one that says anything outside this process: an entry holds SipHash-2-4-128 of it
 *     (Aumasson, Bernstein 2012) under a key that is drawn when the worker starts and never leaves it.
 * K2. An entry counts for the unit in which the credential was found and for no other (by the unit's checksum): with a new
 *     unit, a revoked key is gone and another tenant's was never there.
 * K3. What was not found is not remembered: guessing costs the caller's share of a digest each time and evicts nothing.
 *
 * A direct-mapped table of fixed size. Threads: the worker's. */
#ifndef DM_GATEWAY_CREDENTIAL_CACHE_H
#define DM_GATEWAY_CREDENTIAL_CACHE_H

#include "model/credential.h"
#include "snapshot/applications.h"

struct dm_credential_cache;

/* secret: random bytes. */
struct dm_credential_cache *dm_credential_cache_new(const uint8_t secret[16]);
void dm_credential_cache_free(struct dm_credential_cache *cache);

/* The credential of the unit (kind applications) that this key proves, or NULL. Whether it is disabled or expired is the caller's
 * to ask. key has at most DM_CREDENTIAL_VALUE_MAX bytes. */
const struct dm_ucredential *dm_credential_cache_find(struct dm_credential_cache *cache, const struct dm_unit *unit,
                                                      enum dm_credential_type type, struct dm_str key);

#endif
