/* Replies kept under an idempotency key, so that a POST that is repeated is done once. They go with the tenant that they
 * are about. */
#ifndef DM_CONTROL_STORE_REPLIES_H
#define DM_CONTROL_STORE_REPLIES_H

#include "base/crypto.h"

#include "control/store/tenants.h"

struct dm_reply_row {
    int64_t token_id; /* whose key it is */
    struct dm_str key;
    uint8_t request[DM_DIGEST_BYTES]; /* digest of method, target and body */
    struct dm_str sealed;             /* the reply */
};

/* DM_ENOENT when it is not there. */
DM_MUST_USE int dm_replies_get(struct dm_txn *txn, int64_t token_id, struct dm_str key, struct dm_reply_row *ret,
                               struct dm_err *err);
/* tenant: that the reply is about; NULL = the platform. */
DM_MUST_USE int dm_replies_put(struct dm_txn *txn, const struct dm_tenant_handle *tenant,
                               const struct dm_reply_row *row, struct dm_err *err);
/* Forgets those made before this time. */
DM_MUST_USE int dm_replies_purge(struct dm_txn *txn, int64_t before_ms, struct dm_err *err);

#endif
