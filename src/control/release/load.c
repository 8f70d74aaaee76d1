#include "control/release/load.h"
#include "control/release/stamp.h"
#include "control/store/credentials.h"
#include "base/encode.h"
#include "base/vec.h"

#define BODY_MAX (16u << 20)

int dm_load_body(struct dm_txn *txn, const struct dm_schema *schema, struct dm_str body, void *ret, struct dm_err *err)
{
    struct dm_errs errs = {0};
    int rc = dm_model_read_text(schema, body, BODY_MAX, dm_txn_arena(txn), ret, &errs);

    if (rc == DM_EBUDGET)
        return dm_fail(err, rc, "", "the answer needs more memory than one request may use");
    if (rc < 0)
        return dm_fail(err, DM_ECORRUPT, "", "a %s in the database does not read: %s: %s", schema->name,
                       errs.items[0].pointer, errs.items[0].message);
    return 0;
}

static int keep_stamp(struct dm_txn *txn, int64_t unix_ms, struct dm_str *ret, struct dm_err *err)
{
    char buf[DM_STAMP_MAX];

    if (dm_arena_str(dm_txn_arena(txn), dm_stamp(unix_ms / 1000 * 1000, buf), ret) < 0)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    return 0;
}

int dm_load_tenant(struct dm_tenant_handle *handle, struct dm_tenant *ret, int64_t *ret_version, struct dm_err *err)
{
    struct dm_tenant_row row;
    struct dm_tenant tenant;
    int rc = dm_tenants_get(handle, &row, err);

    if (rc < 0 || (rc = dm_load_body(dm_tenants_txn(handle), &dm_schema_tenant, row.body, &tenant, err)) < 0)
        return rc;
    tenant.id = row.id;
    tenant.name = row.name;
    if ((rc = keep_stamp(dm_tenants_txn(handle), row.created_ms, &tenant.created_at, err)) < 0)
        return rc;
    *ret = tenant;
    *ret_version = row.version;
    return 0;
}

/* --- credentials -------------------------------------------------------------------------------------------------- */

struct credential_load {
    struct dm_tenant_handle *handle;
    struct dm_application *applications; /* by name */
    size_t n, at;
    DM_VEC(struct dm_credential) found; /* of the application at `at` */
};

static int type_of(struct dm_str name, struct dm_err *err)
{
    int type = dm_names_find(dm_credential_type_names, name);

    return type >= 0
               ? type
               : dm_fail(err, DM_ECORRUPT, "", "the database holds a credential of type '%.*s'", DM_STR_ARG(name));
}

/* "fingerprint:…", "subject:…" or "" */
static int keep_shown(struct dm_txn *txn, struct dm_str shown, struct dm_credential *ret)
{
    struct dm_str rest = shown, what;

    if (!dm_str_cut(&rest, ':', &what) || rest.ptr == NULL)
        return 0;
    return dm_arena_str(dm_txn_arena(txn), rest,
                        dm_str_eq(what, DM_STR("fingerprint")) ? &ret->fingerprint : &ret->subject);
}

static int credential_of(struct dm_txn *txn, const struct dm_credential_row *row, struct dm_credential *ret,
                         struct dm_err *err)
{
    char hex[2 * DM_DIGEST_BYTES + 1];
    int type = type_of(row->type, err);

    if (type < 0)
        return type;
    dm_hex(row->digest, sizeof(row->digest), hex);
    *ret = (struct dm_credential){.id = row->number, .type = type};
    if (dm_arena_str(dm_txn_arena(txn), row->name, &ret->name) < 0 ||
        dm_arena_str(dm_txn_arena(txn), dm_str_of(hex), &ret->digest) < 0)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    if (keep_shown(txn, row->shown, ret) < 0)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    return keep_stamp(txn, row->created_ms, &ret->created_at, err);
}

/* Gives what was found to its application. */
static int close_application(struct credential_load *load, struct dm_err *err)
{
    struct dm_application *application = &load->applications[load->at];
    size_t bytes = load->found.count * sizeof(*load->found.items);

    application->n_credentials = load->found.count;
    application->credentials = NULL;
    if (bytes == 0)
        return 0;
    application->credentials = dm_arena_alloc(dm_txn_arena(dm_tenants_txn(load->handle)), bytes);
    if (application->credentials == NULL)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    memcpy(application->credentials, load->found.items, bytes);
    load->found.count = 0;
    return 0;
}

static int visit_credential(void *arg, const struct dm_credential_row *row, struct dm_err *err)
{
    struct credential_load *load = arg;
    int rc;

    while (load->at < load->n && !dm_str_eq(load->applications[load->at].name, row->application)) {
        if ((rc = close_application(load, err)) < 0)
            return rc;
        load->at++;
    }
    if (load->at == load->n)
        return dm_fail(err, DM_ECORRUPT, "", "a credential in the database belongs to no application");
    return credential_of(dm_tenants_txn(load->handle), row, dm_vec_push(&load->found), err);
}

/* applications are ordered by name as the rows are; `only` is the one there is, or DM_STR_NULL. */
static int load_credentials(struct dm_tenant_handle *handle, struct dm_application *applications, size_t n,
                            struct dm_str only, struct dm_err *err)
{
    struct credential_load load = {.handle = handle, .applications = applications, .n = n};
    int rc = dm_credentials_each(handle, only, visit_credential, &load, err);

    for (; rc >= 0 && load.at < n; load.at++)
        rc = close_application(&load, err);
    dm_vec_done(&load.found);
    return rc < 0 ? rc : 0;
}

/* --- resources ---------------------------------------------------------------------------------------------------- */

int dm_load_resource(struct dm_tenant_handle *handle, enum dm_kind kind, struct dm_str name, void *ret,
                     struct dm_resource_row *ret_row, struct dm_err *err)
{
    int rc = dm_resources_get(handle, dm_kinds[kind].name, name, ret_row, err);

    if (rc < 0 || (rc = dm_load_body(dm_tenants_txn(handle), dm_kinds[kind].schema, ret_row->body, ret, err)) < 0)
        return rc;
    if (kind != DM_KIND_APPLICATION)
        return 0;
    ((struct dm_application *)ret)->id = ret_row->number;
    return load_credentials(handle, ret, 1, name, err);
}

struct all_load {
    struct dm_txn *txn;
    enum dm_kind kind;
    char *items;
    size_t n, cap;
};

static int visit_resource(void *arg, const struct dm_resource_row *row, struct dm_err *err)
{
    struct all_load *load = arg;
    void *item = load->items + load->n * dm_kinds[load->kind].bytes;
    int rc;

    if (load->n == load->cap)
        return dm_fail(err, DM_ECORRUPT, "", "the database changed within a transaction");
    if ((rc = dm_load_body(load->txn, dm_kinds[load->kind].schema, row->body, item, err)) < 0)
        return rc;
    if (load->kind == DM_KIND_APPLICATION)
        ((struct dm_application *)item)->id = row->number;
    load->n++;
    return 0;
}

int dm_load_all(struct dm_tenant_handle *handle, enum dm_kind kind, size_t spare, void **ret, size_t *ret_count,
                struct dm_err *err)
{
    struct all_load load = {.txn = dm_tenants_txn(handle), .kind = kind};
    int rc = dm_resources_count(handle, dm_kinds[kind].name, &load.cap, err);

    if (rc < 0)
        return rc;
    load.items = dm_arena_calloc(dm_txn_arena(load.txn), (load.cap + spare + 1) * dm_kinds[kind].bytes);
    if (load.items == NULL)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    rc = dm_resources_each(handle, dm_kinds[kind].name, DM_STR(""), 0, visit_resource, &load, err);
    if (rc >= 0 && kind == DM_KIND_APPLICATION)
        rc = load_credentials(handle, (struct dm_application *)(void *)load.items, load.n, DM_STR_NULL, err);
    if (rc < 0)
        return rc;
    *ret = load.items;
    *ret_count = load.n;
    return 0;
}

int dm_load_grants(struct dm_tenant_handle *handle, struct dm_grants *ret, int64_t *ret_version, struct dm_err *err)
{
    struct dm_resource_row row;
    int rc = dm_load_resource(handle, DM_KIND_GRANTS, DM_STR(""), ret, &row, err);

    *ret_version = rc < 0 ? 0 : row.version;
    if (rc != DM_ENOENT)
        return rc;
    dm_model_default(&dm_schema_grants, ret);
    return 0;
}

int dm_load_file(struct dm_tenant_handle *handle, struct dm_tenant_file *ret, struct dm_err *err)
{
    struct dm_tenant_file file = {.daemun = 1, .tenant = dm_tenants_name(handle)};
    void *backends, *products, *domains, *certificates, *applications;
    int64_t version;
    int rc;

    if ((file.grants = DM_ARENA_NEW(dm_txn_arena(dm_tenants_txn(handle)), struct dm_grants)) == NULL)
        return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
    if ((rc = dm_load_grants(handle, file.grants, &version, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_BACKEND, 0, &backends, &file.n_backends, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_PRODUCT, 0, &products, &file.n_products, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_DOMAIN, 0, &domains, &file.n_domains, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_CERTIFICATE, 0, &certificates, &file.n_certificates, err)) < 0 ||
        (rc = dm_load_all(handle, DM_KIND_APPLICATION, 0, &applications, &file.n_applications, err)) < 0)
        return rc;
    file.backends = backends;
    file.products = products;
    file.domains = domains;
    file.certificates = certificates;
    file.applications = applications;
    *ret = file;
    return 0;
}
