/* A write to the control plane: one transaction over rows, numbers, signed units and change records (S2).
 *
 *   begin -> [open a tenant] -> put, remove, … -> finish (makes the units that were touched, commits)
 *                                              -> done without finish: nothing happened
 *
 * A failure of any call fills `failure`; the write can then only be ended with dm_write_done. */
#ifndef DM_CONTROL_TENANCY_WRITE_H
#define DM_CONTROL_TENANCY_WRITE_H

#include "control/audit/record.h"
#include "control/release/kind.h"
#include "control/store/units.h"
#include "control/tenancy/failure.h"

struct dm_keyring;

/* What If-Match and If-None-Match ask for. Zeroed asks for nothing. */
struct dm_precondition {
    bool has_match, match_any; /* If-Match: *, or one of versions */
    int64_t versions[8];
    size_t n_versions;
    bool none_match_any; /* If-None-Match: * */
};

struct dm_outcome {
    bool is_created, is_changed;
    int64_t version; /* for ETag */
};

/* A key that was made for a credential; shown in the answer and never again. Lies in the arena. */
struct dm_new_key {
    struct dm_new_key *next;
    struct dm_str application, credential, key;
};

struct dm_write {
    struct dm_store *store;
    const struct dm_keyring *keyring;
    const struct dm_caller *caller;
    struct dm_failure *failure;
    struct dm_txn *txn;
    struct dm_tenant_handle *tenant;         /* NULL until opened */
    unsigned touched;                        /* bits 1 << enum dm_unit_kind */
    struct dm_unit_row units[DM_UNIT_KINDS]; /* after finish: what gateways get */
    size_t n_units;
    struct dm_new_key *new_keys;
};

/* The members store, keyring, caller and failure are set by the caller. */
DM_MUST_USE int dm_write_begin(struct dm_write *write, struct dm_arena *arena);
/* DM_ENOENT as dm_tenants_open; DM_EPERM tenant_suspended for a tenant admin of a suspended tenant. */
DM_MUST_USE int dm_write_open(struct dm_write *write, struct dm_str tenant);
/* Makes the touched units. Nothing may be changed after it. */
DM_MUST_USE int dm_write_make_units(struct dm_write *write);
/* dm_write_make_units, unless it was called, and commit. */
DM_MUST_USE int dm_write_finish(struct dm_write *write);
/* Ends it; rolls back what was not finished. */
void dm_write_done(struct dm_write *write);

/* For the writers in this folder and in api/. */
struct dm_arena *dm_write_arena(const struct dm_write *write);
/* A failure of the database's, or whatever err says. Returns err->code. */
int dm_write_fail(struct dm_write *write, const struct dm_err *err);
int dm_write_no_memory(struct dm_write *write);
/* version 0 = the thing is not there. DM_ECONFLICT precondition_failed. */
DM_MUST_USE int dm_write_check(struct dm_write *write, const struct dm_precondition *precondition, int64_t version);
/* Records the change; its sequence is the new version. details as dm_audit_details makes them. */
DM_MUST_USE int dm_write_record(struct dm_write *write, enum dm_change_action action, struct dm_str kind,
                                struct dm_str name, struct dm_str details, int64_t *ret_version);
static inline void dm_write_touch(struct dm_write *write, enum dm_unit_kind kind)
{
    write->touched |= 1u << kind;
}

#endif
