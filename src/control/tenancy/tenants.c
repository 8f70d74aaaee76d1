#include "control/tenancy/tenants.h"
#include "control/audit/details.h"
#include "control/release/load.h"
#include "control/release/stamp.h"
#include "control/store/domains.h"
#include "base/jsonw.h"
#include "model/tenant.h"

#define TENANT_MAX 65536
#define GRANTS_MAX (1u << 20)

/* Opens the tenant and reads it; *ret_version 0 when it is not there. */
static int load_before(struct dm_write *write, struct dm_str name, struct dm_tenant *ret, int64_t *ret_version)
{
    struct dm_err err = {0};
    int rc = dm_tenants_open(write->txn, write->caller, name, &write->tenant, &err);

    *ret_version = 0;
    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0 || dm_load_tenant(write->tenant, ret, ret_version, &err) < 0)
        return dm_write_fail(write, &err);
    return 0;
}

static int create(struct dm_write *write, struct dm_str name)
{
    struct dm_err err = {0};

    if (dm_tenants_create(write->txn, write->caller, name, &write->tenant, &err) < 0)
        return dm_write_fail(write, &err);
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++)
        dm_write_touch(write, kind);
    return 0;
}

static void touch_changed(struct dm_write *write, const struct dm_tenant *before, const struct dm_tenant *after)
{
    dm_write_touch(write, DM_UNIT_GRANTS);
    if (dm_str_eq(before->compat_date, after->compat_date))
        return;
    dm_write_touch(write, DM_UNIT_RELEASE);
    dm_write_touch(write, DM_UNIT_APPLICATIONS);
    dm_write_touch(write, DM_UNIT_DOMAINS);
}

/* Writes what lies in `tenant` and reads back what the controller set in it. */
static int store(struct dm_write *write, struct dm_tenant *tenant, int64_t version)
{
    char memory[TENANT_MAX];
    struct dm_buf text;
    struct dm_jsonw w;
    struct dm_err err = {0};

    dm_buf_init_fixed(&text, memory, sizeof(memory));
    dm_jsonw_init(&w, &text);
    dm_model_write(&dm_schema_tenant, tenant, &w, 0);
    if (text.failed)
        return dm_write_no_memory(write);
    if (dm_tenants_update(write->tenant, dm_buf_str(&text), tenant->state == DM_STATE_SUSPENDED, version, &err) < 0 ||
        dm_load_tenant(write->tenant, tenant, &version, &err) < 0)
        return dm_write_fail(write, &err);
    return 0;
}

/* Left out, the date stays as it is; a new tenant gets that of its creation. */
static int set_compat_date(struct dm_write *write, const struct dm_tenant *before, struct dm_tenant *tenant)
{
    char date[DM_STAMP_MAX];

    if (tenant->compat_date.len > 0)
        return 0;
    if (before != NULL) {
        tenant->compat_date = before->compat_date;
        return 0;
    }
    dm_stamp_date(dm_txn_now_ms(write->txn), date);
    return dm_arena_str(dm_write_arena(write), dm_str_of(date), &tenant->compat_date) < 0 ? dm_write_no_memory(write)
                                                                                          : 0;
}

int dm_put_tenant(struct dm_write *write, struct dm_tenant *tenant, const struct dm_precondition *precondition,
                  struct dm_outcome *ret)
{
    struct dm_tenant before;
    struct dm_err err = {0};
    struct dm_str details;
    size_t n_details;
    int64_t version;
    int rc = load_before(write, tenant->name, &before, &version);

    if (rc < 0 || (rc = dm_write_check(write, precondition, version)) < 0 ||
        (rc = set_compat_date(write, version != 0 ? &before : NULL, tenant)) < 0 ||
        (version == 0 && (rc = create(write, tenant->name)) < 0))
        return rc;
    if (dm_audit_details(&dm_schema_tenant, version != 0 ? &before : NULL, tenant, dm_write_arena(write), &details,
                         &n_details, &err) < 0)
        return dm_write_fail(write, &err);
    *ret = (struct dm_outcome){.is_created = version == 0, .is_changed = n_details > 0, .version = version};
    if (!ret->is_changed) {
        *tenant = before;
        return 0;
    }
    if (version != 0)
        touch_changed(write, &before, tenant);
    rc = dm_write_record(write, ret->is_created ? DM_CHANGE_CREATE : DM_CHANGE_UPDATE, DM_STR("tenant"), tenant->name,
                         details, &ret->version);
    return rc < 0 ? rc : store(write, tenant, ret->version);
}

static int note_removed(void *arg, const struct dm_unit_row *row, struct dm_err *err)
{
    struct dm_write *write = arg;
    struct dm_unit_row *unit = &write->units[write->n_units++];

    *unit = (struct dm_unit_row){
        .tenant = dm_tenants_name(write->tenant),
        .kind = row->kind,
        .mark = {row->mark.epoch, row->mark.sequence + 1},
        .document = DM_STR(""),
        .is_removed = true,
    };
    return 0;
}

int dm_remove_tenant(struct dm_write *write, struct dm_str name, const struct dm_precondition *precondition)
{
    struct dm_tenant before;
    struct dm_err err = {0};
    struct dm_str details;
    size_t n_details;
    int64_t version, number;
    int rc = load_before(write, name, &before, &version);

    if (rc < 0 || (rc = dm_write_check(write, precondition, version)) < 0)
        return rc;
    if (version == 0)
        return dm_failure_add(write->failure, DM_ENOENT, NULL, "", "there is no tenant '%.*s'", DM_STR_ARG(name));
    if (dm_audit_details(&dm_schema_tenant, &before, NULL, dm_write_arena(write), &details, &n_details, &err) < 0)
        return dm_write_fail(write, &err);
    if ((rc = dm_write_record(write, DM_CHANGE_DELETE, DM_STR("tenant"), name, details, &number)) < 0)
        return rc;
    if (dm_units_of(write->tenant, note_removed, write, &err) < 0 || dm_tenants_remove(write->tenant, &err) < 0)
        return dm_write_fail(write, &err);
    return 0;
}

/* --- grants ------------------------------------------------------------------------------------------------------- */

static int claim_domains(struct dm_write *write, const struct dm_grants *grants)
{
    struct dm_err err = {0};
    int rc = dm_domains_release_all(write->tenant, &err);

    for (size_t i = 0; rc >= 0 && i < grants->n_domains; i++) {
        rc = dm_domains_claim(write->tenant, grants->domains[i].name, &err);
        if (rc == DM_EEXIST) {
            dm_err_prefix(&err, "/domains/%zu/name", i);
            return dm_failure_err(write->failure, "domain_taken", &err);
        }
    }
    return rc < 0 ? dm_write_fail(write, &err) : 0;
}

/* Domains that are granted are in the document of domains, others are not. */
static int touch_domains(struct dm_write *write, const struct dm_grants *before, const struct dm_grants *after)
{
    struct dm_grants was = {.domains = before->domains, .n_domains = before->n_domains};
    struct dm_grants is = {.domains = after->domains, .n_domains = after->n_domains};
    struct dm_err err = {0};
    size_t count;

    if (dm_model_equal(&dm_schema_grants, &was, &is))
        return 0;
    if (dm_resources_count(write->tenant, dm_kinds[DM_KIND_DOMAIN].name, &count, &err) < 0)
        return dm_write_fail(write, &err);
    if (count > 0)
        dm_write_touch(write, DM_UNIT_DOMAINS);
    return 0;
}

static int store_grants(struct dm_write *write, const struct dm_grants *grants, int64_t version)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_resource_row row = {.kind = DM_STR("grants"), .name = DM_STR(""), .number = 1, .version = version};
    struct dm_jsonw w;
    struct dm_err err = {0};

    dm_buf_init(&text, GRANTS_MAX);
    dm_jsonw_init(&w, &text);
    dm_model_write(&dm_schema_grants, grants, &w, 0);
    row.body = dm_buf_str(&text);
    if (text.failed)
        return dm_write_no_memory(write);
    return dm_resources_put(write->tenant, &row, &err) < 0 ? dm_write_fail(write, &err) : 0;
}

int dm_put_grants(struct dm_write *write, const struct dm_grants *grants, const struct dm_precondition *precondition,
                  struct dm_outcome *ret)
{
    struct dm_grants before;
    struct dm_err err = {0};
    struct dm_str details;
    size_t n_details;
    int64_t version;
    int rc;

    if (dm_load_grants(write->tenant, &before, &version, &err) < 0)
        return dm_write_fail(write, &err);
    if ((rc = dm_write_check(write, precondition, version)) < 0)
        return rc;
    if (dm_audit_details(&dm_schema_grants, &before, grants, dm_write_arena(write), &details, &n_details, &err) < 0)
        return dm_write_fail(write, &err);
    *ret = (struct dm_outcome){.is_created = version == 0, .is_changed = n_details > 0, .version = version};
    if (!ret->is_changed)
        return 0;
    if (!dm_caller_is_master(write->caller))
        return dm_failure_add(write->failure, DM_EPERM, "master_only", "",
                              "only the master gives domains and endpoints; leave grants out or as they are");
    if ((rc = claim_domains(write, grants)) < 0 ||
        (rc = dm_write_record(write, DM_CHANGE_UPDATE, DM_STR("grants"), DM_STR(""), details, &ret->version)) < 0)
        return rc;
    dm_write_touch(write, DM_UNIT_GRANTS);
    if ((rc = touch_domains(write, &before, grants)) < 0)
        return rc;
    return store_grants(write, grants, ret->version);
}
