#include "control/tenancy/write.h"
#include "control/release/builder.h"

int dm_write_begin(struct dm_write *write, struct dm_arena *arena)
{
    struct dm_err err = {0};

    return dm_txn_begin(write->store, DM_TXN_WRITE, arena, &write->txn, &err) < 0 ? dm_write_fail(write, &err) : 0;
}

int dm_write_open(struct dm_write *write, struct dm_str tenant)
{
    struct dm_err err = {0};
    struct dm_tenant_row row;

    if (dm_tenants_open(write->txn, write->caller, tenant, &write->tenant, &err) < 0 ||
        dm_tenants_get(write->tenant, &row, &err) < 0)
        return dm_write_fail(write, &err);
    if (row.is_suspended && !dm_caller_is_master(write->caller))
        return dm_failure_add(write->failure, DM_EPERM, "tenant_suspended", "",
                              "the tenant is suspended: only the master may change it");
    return 0;
}

int dm_write_make_units(struct dm_write *write)
{
    struct dm_err err = {0};

    for (int kind = 1; kind < DM_UNIT_KINDS; kind++) {
        if ((write->touched & 1u << kind) == 0)
            continue;
        if (dm_builder_make(write->tenant, write->keyring, kind, &write->units[write->n_units], &err) < 0)
            return dm_write_fail(write, &err);
        write->n_units++;
    }
    write->touched = 0;
    return 0;
}

int dm_write_finish(struct dm_write *write)
{
    struct dm_err err = {0};
    int rc = dm_write_make_units(write);

    if (rc < 0)
        return rc;
    return dm_txn_commit(&write->txn, &err) < 0 ? dm_write_fail(write, &err) : 0;
}

void dm_write_done(struct dm_write *write)
{
    dm_txn_abort(&write->txn);
}

struct dm_arena *dm_write_arena(const struct dm_write *write)
{
    return dm_txn_arena(write->txn);
}

int dm_write_fail(struct dm_write *write, const struct dm_err *err)
{
    return dm_failure_err(write->failure, NULL, err);
}

int dm_write_no_memory(struct dm_write *write)
{
    return dm_failure_add(write->failure, DM_EBUDGET, NULL, "", "the request needs more memory than one may use");
}

static bool matches(const struct dm_precondition *precondition, int64_t version)
{
    if (version == 0)
        return false;
    if (precondition->match_any)
        return true;
    for (size_t i = 0; i < precondition->n_versions; i++)
        if (precondition->versions[i] == version)
            return true;
    return false;
}

int dm_write_check(struct dm_write *write, const struct dm_precondition *precondition, int64_t version)
{
    if (precondition->none_match_any && version != 0)
        return dm_failure_add(write->failure, DM_ECONFLICT, "precondition_failed", "",
                              "it is there already, with ETag \"%lld\"", (long long)version);
    if (!precondition->has_match || matches(precondition, version))
        return 0;
    if (version == 0)
        return dm_failure_add(write->failure, DM_ECONFLICT, "precondition_failed", "", "it is not there");
    return dm_failure_add(write->failure, DM_ECONFLICT, "precondition_failed", "",
                          "it was changed meanwhile: its ETag is \"%lld\" now", (long long)version);
}

int dm_write_record(struct dm_write *write, enum dm_change_action action, struct dm_str kind, struct dm_str name,
                    struct dm_str details, int64_t *ret_version)
{
    struct dm_err err = {0};
    struct dm_audit_entry entry = {
        .caller = write->caller,
        .tenant = write->tenant,
        .action = action,
        .kind = kind,
        .name = name,
        .details = details,
    };

    return dm_audit_record(write->txn, &entry, ret_version, &err) < 0 ? dm_write_fail(write, &err) : 0;
}
