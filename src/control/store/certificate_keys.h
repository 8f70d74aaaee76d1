/* Private keys of certificates, and the keys of tenants that they are sealed with for gateways. All are sealed when they come
 * here; what with, release/keys.h says. */
#ifndef DM_CONTROL_STORE_CERTIFICATE_KEYS_H
#define DM_CONTROL_STORE_CERTIFICATE_KEYS_H

#include "control/store/tenants.h"

/* Makes or replaces. */
DM_MUST_USE int dm_certificate_keys_put(struct dm_tenant_handle *handle, struct dm_str certificate,
                                        struct dm_str sealed, struct dm_err *err);
/* DM_ENOENT when there is none. */
DM_MUST_USE int dm_certificate_keys_get(struct dm_tenant_handle *handle, struct dm_str certificate,
                                        struct dm_str *ret_sealed, struct dm_err *err);
/* DM_ENOENT when there is none. */
DM_MUST_USE int dm_certificate_keys_remove(struct dm_tenant_handle *handle, struct dm_str certificate,
                                           struct dm_err *err);

/* The tenant's newest data key. DM_ENOENT when there is none yet. */
DM_MUST_USE int dm_certificate_keys_data(struct dm_tenant_handle *handle, int64_t *ret_id, struct dm_str *ret_sealed,
                                         struct dm_err *err);
DM_MUST_USE int dm_certificate_keys_set_data(struct dm_tenant_handle *handle, int64_t id, struct dm_str sealed,
                                             struct dm_err *err);

#endif
