/* Credentials of applications: digests and what a list may show of them. */
#ifndef DM_CONTROL_STORE_CREDENTIALS_H
#define DM_CONTROL_STORE_CREDENTIALS_H

#include "base/crypto.h"

#include "control/store/tenants.h"

struct dm_credential_row {
    int64_t number; /* unique per tenant, never reused */
    struct dm_str application;
    struct dm_str name;
    struct dm_str type;  /* "api_key", "client_certificate" */
    struct dm_str shown; /* what it is of, where that is no secret; "" otherwise */
    uint8_t digest[DM_DIGEST_BYTES];
    int64_t created_ms;
};

/* Sets row->number and created_ms. DM_EEXIST when the application has the name or the tenant has the key already;
 * err->pointer is then "/name" or "/key". */
DM_MUST_USE int dm_credentials_add(struct dm_tenant_handle *handle, struct dm_credential_row *row, struct dm_err *err);
/* DM_ENOENT when it is not there. */
DM_MUST_USE int dm_credentials_remove(struct dm_tenant_handle *handle, struct dm_str application, struct dm_str name,
                                      struct dm_err *err);
DM_MUST_USE int dm_credentials_remove_all(struct dm_tenant_handle *handle, struct dm_str application,
                                          struct dm_err *err);
/* Of one application, or of all when application is DM_STR_NULL, by application and number. Borrowed for the visit. */
typedef int (*dm_credentials_visit)(void *arg, const struct dm_credential_row *row, struct dm_err *err);
DM_MUST_USE int dm_credentials_each(struct dm_tenant_handle *handle, struct dm_str application,
                                    dm_credentials_visit visit, void *arg, struct dm_err *err);

/* The key that the tenant's digests are keyed with, sealed. DM_ENOENT when there is none yet. */
DM_MUST_USE int dm_credentials_digest_key(struct dm_tenant_handle *handle, int64_t *ret_id, struct dm_str *ret_sealed,
                                          struct dm_err *err);
DM_MUST_USE int dm_credentials_set_digest_key(struct dm_tenant_handle *handle, int64_t id, struct dm_str sealed,
                                              struct dm_err *err);

#endif
