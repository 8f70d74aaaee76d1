/* Secrets of a tenant that gateways need in clear: private keys of certificates, sealed at rest with the keyring's sealing key,
 * and the data key that they are sealed with on their way to gateways. Clear text never leaves the caller's stack. */
#ifndef DM_CONTROL_RELEASE_KEYS_H
#define DM_CONTROL_RELEASE_KEYS_H

#include "control/store/tenants.h"
#include "model/certificate.h"
#include "model/tenant_key.h"

struct dm_keyring;

/* The tenant's data key. DM_ENOENT when there is none yet; DM_ECORRUPT when it does not open. The caller wipes it. */
DM_MUST_USE int dm_keys_data(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                             struct dm_tenant_key *ret, struct dm_err *err);
/* The same, made at first use. */
DM_MUST_USE int dm_keys_make_data(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                                  struct dm_tenant_key *ret, struct dm_err *err);

/* Makes or replaces. */
DM_MUST_USE int dm_keys_put_certificate(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                                        struct dm_str certificate, struct dm_str pem, struct dm_err *err);
/* *ret_pem lies in ret, which the caller wipes. DM_ENOENT, DM_ECORRUPT. */
DM_MUST_USE int dm_keys_certificate(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                                    struct dm_str certificate, uint8_t ret[DM_CHAIN_KEY_BYTES], struct dm_str *ret_pem,
                                    struct dm_err *err);

#endif
