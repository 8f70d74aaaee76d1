/* Change records (P7): one per thing that a write changed, chained by hash.
 *
 * hash = BLAKE2b-256 over the previous record's hash (zeros before the first) and the record as canonical JSON: number,
 * sequence where it differs (it did not before it was recorded), at_ms, actor, tenant_id, tenant, action, kind, name,
 * request_id, details. Secrets are never in it. */
#ifndef DM_CONTROL_AUDIT_RECORD_H
#define DM_CONTROL_AUDIT_RECORD_H

#include "control/store/changes.h"
#include "model/change.h"

struct dm_audit_entry {
    const struct dm_caller *caller;
    struct dm_tenant_handle *tenant; /* NULL = the platform's */
    enum dm_change_action action;
    struct dm_str kind, name;
    struct dm_str details; /* JSON array, see audit/details.h */
};

/* Appends the record. Its sequence is the version (ETag) of what was changed. */
DM_MUST_USE int dm_audit_record(struct dm_txn *txn, const struct dm_audit_entry *entry, int64_t *ret_sequence,
                                struct dm_err *err);
/* Walks the whole chain. DM_ECORRUPT names the first record that does not fit. */
DM_MUST_USE int dm_audit_verify(struct dm_txn *txn, const struct dm_caller *caller, int64_t *ret_count,
                                struct dm_err *err);

#endif
