/* API tokens as keyed digests. */
#ifndef DM_CONTROL_STORE_TOKENS_H
#define DM_CONTROL_STORE_TOKENS_H

#include "base/crypto.h"

#include "control/store/tenants.h"

struct dm_token_row {
    int64_t id; /* rises in steps by chance, never reused */
    uint8_t digest[DM_DIGEST_BYTES];
    struct dm_str role;    /* "master_admin", "tenant_admin" */
    struct dm_str tenant;  /* "" = none */
    int64_t tenant_number; /* 0 = none */
    struct dm_str name;
    int64_t created_ms, expires_ms, used_ms; /* 0 = never */
};

/* Authentication: whose token is this? DM_ENOENT. Asks nothing about expiry. */
DM_MUST_USE int dm_tokens_find(struct dm_txn *txn, const uint8_t digest[DM_DIGEST_BYTES], struct dm_token_row *ret,
                               struct dm_err *err);
/* A token of the tenant, or of the platform when handle is NULL (then the caller must be master: DM_EPERM). Sets row->id
 * and created_ms; row->tenant and tenant_number are not read. DM_EEXIST when the name is taken there. */
DM_MUST_USE int dm_tokens_add(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                              struct dm_token_row *row, struct dm_err *err);
/* Of the tenant; with handle NULL any token, for the master only. Returns the row. */
DM_MUST_USE int dm_tokens_get(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                              int64_t id, struct dm_token_row *ret, struct dm_err *err);
DM_MUST_USE int dm_tokens_remove(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                                 int64_t id, struct dm_err *err);
DM_MUST_USE int dm_tokens_touch(struct dm_txn *txn, int64_t id, struct dm_err *err);
/* Is it there still, and not expired? */
DM_MUST_USE int dm_tokens_stands(struct dm_txn *txn, int64_t id, bool *ret, struct dm_err *err);
/* Is there any token of the platform? */
DM_MUST_USE int dm_tokens_any(struct dm_txn *txn, bool *ret, struct dm_err *err);

typedef int (*dm_tokens_visit)(void *arg, const struct dm_token_row *row, struct dm_err *err);
/* By id, after `after`, at most limit; with handle NULL all tokens, for the master only. */
DM_MUST_USE int dm_tokens_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                               int64_t after, size_t limit, dm_tokens_visit visit, void *arg, struct dm_err *err);

#endif
