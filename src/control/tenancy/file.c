#include "control/tenancy/file.h"
#include "control/release/load.h"
#include "control/tenancy/certificates.h"
#include "control/tenancy/credentials.h"
#include "control/tenancy/resources.h"
#include "control/tenancy/tenants.h"
#include "base/json.h"
#include "base/map.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

static const struct dm_application *find_application(const struct dm_map *by_name, const struct dm_json *item)
{
    const struct dm_json *name = dm_json_type(item) == DM_JSON_OBJECT ? dm_json_get(item, "name") : NULL;

    if (name == NULL || dm_json_type(name) != DM_JSON_STRING)
        return NULL;
    return dm_map_get(by_name, dm_json_string(name));
}

static void set_text(struct dm_json *object, const char *name, struct dm_str text)
{
    if (text.len > 0)
        dm_json_set(object, name, dm_json_new_string(text));
}

static void add_stored_credentials(struct dm_json *item, const struct dm_application *application)
{
    struct dm_json *list = dm_json_new_array();

    for (size_t i = 0; i < application->n_credentials; i++) {
        struct dm_json *credential = dm_json_new_object();

        dm_json_set(credential, "name", dm_json_new_string(application->credentials[i].name));
        dm_json_set(credential, "type",
                    dm_json_new_string(dm_str_of(dm_credential_type_names[application->credentials[i].type])));
        set_text(credential, "fingerprint", application->credentials[i].fingerprint);
        set_text(credential, "subject", application->credentials[i].subject);
        dm_json_append(list, credential);
    }
    dm_json_set(item, "credentials", list);
}

static void keep_credentials(struct dm_json *json, const struct dm_tenant_file *before)
{
    struct dm_json *list = dm_json_type(json) == DM_JSON_OBJECT ? dm_json_get(json, "applications") : NULL;
    struct dm_map by_name;

    if (list == NULL || dm_json_type(list) != DM_JSON_ARRAY)
        return;
    dm_map_init_random(&by_name);
    for (size_t i = 0; i < before->n_applications; i++)
        dm_map_put(&by_name, before->applications[i].name, &before->applications[i]);
    for (size_t i = 0; i < dm_json_count(list); i++) {
        struct dm_json *item = dm_json_at(list, i);
        const struct dm_application *application = find_application(&by_name, item);

        if (application != NULL && dm_json_get(item, "credentials") == NULL)
            add_stored_credentials(item, application);
    }
    dm_map_done(&by_name);
}

static int check_grants(struct dm_write *write, const struct dm_tenant_file *before, const struct dm_tenant_file *file)
{
    struct dm_errs errs = {0};
    struct dm_check check;

    if (file->grants != NULL)
        return 0;
    dm_check_init(&check, &errs);
    dm_grants_check(before->grants, file, &check);
    for (size_t i = 0; i < errs.n; i++)
        dm_failure_err(write->failure, "not_granted", &errs.items[i]);
    return dm_errs_code(&errs);
}

static const struct dm_certificate *find_certificate(const struct dm_tenant_file *file, struct dm_str name)
{
    for (size_t i = 0; i < file->n_certificates; i++)
        if (dm_str_eq(file->certificates[i].name, name))
            return &file->certificates[i];
    return NULL;
}

static const struct dm_domain *find_domain(const struct dm_tenant_file *file, struct dm_str name)
{
    for (size_t i = 0; i < file->n_domains; i++)
        if (dm_str_eq(file->domains[i].name, name))
            return &file->domains[i];
    return NULL;
}

static const struct dm_backend *find_backend(const struct dm_tenant_file *file, struct dm_str name)
{
    for (size_t i = 0; i < file->n_backends; i++)
        if (dm_str_eq(file->backends[i].name, name))
            return &file->backends[i];
    return NULL;
}

/* One in the file that trusts the same, or, when there is none before it, the one that there was. */
static const struct dm_domain *looked_at_domain(const struct dm_tenant_file *before, const struct dm_tenant_file *file,
                                                size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (dm_str_eq(file->domains[i].client_ca, file->domains[at].client_ca))
            return &file->domains[i];
    return find_domain(before, file->domains[at].name);
}

static struct dm_str authorities_of(const struct dm_backend *backend)
{
    return backend->tls != NULL ? backend->tls->ca : DM_STR("");
}

static const struct dm_backend *looked_at_backend(const struct dm_tenant_file *before,
                                                  const struct dm_tenant_file *file, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (dm_str_eq(authorities_of(&file->backends[i]), authorities_of(&file->backends[at])))
            return &file->backends[i];
    return find_backend(before, file->backends[at].name);
}

static int check_authorities(struct dm_write *write, const struct dm_tenant_file *before,
                             const struct dm_tenant_file *file)
{
    char at[64];
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < file->n_domains; i++) {
        snprintf(at, sizeof(at), "/domains/%zu", i);
        rc = dm_certificates_check_authorities(write, DM_KIND_DOMAIN, looked_at_domain(before, file, i),
                                               &file->domains[i], at);
    }
    for (size_t i = 0; rc >= 0 && i < file->n_backends; i++) {
        snprintf(at, sizeof(at), "/backends/%zu", i);
        rc = dm_certificates_check_authorities(write, DM_KIND_BACKEND, looked_at_backend(before, file, i),
                                               &file->backends[i], at);
    }
    return rc;
}

/* Every certificate by itself, and then what names them. */
static int check_certificates(struct dm_write *write, const struct dm_tenant_file *before, struct dm_tenant_file *file)
{
    struct dm_errs errs = {0};
    struct dm_check check;

    for (size_t i = 0; i < file->n_certificates; i++) {
        struct dm_certificate *certificate = &file->certificates[i];
        char at[64];
        int rc;

        snprintf(at, sizeof(at), "/certificates/%zu", i);
        if ((rc = dm_certificates_resolve(write, find_certificate(before, certificate->name), certificate, at)) < 0)
            return rc;
    }
    dm_check_init(&check, &errs);
    dm_tenant_file_check_domains(file, &check);
    for (size_t i = 0; i < errs.n; i++)
        dm_failure_err(write->failure, NULL, &errs.items[i]);
    return dm_errs_code(&errs);
}

int dm_file_read(struct dm_write *write, struct dm_json *json, const struct dm_tenant_file *before,
                 struct dm_tenant_file *ret)
{
    struct dm_tenant_file file;
    struct dm_errs errs = {0};
    int rc;

    keep_credentials(json, before);
    rc = dm_model_read(&dm_schema_tenant_file, json, dm_write_arena(write), &file, &errs);
    for (size_t i = 0; i < errs.n; i++)
        dm_failure_err(write->failure, rc == DM_EPERM ? "not_granted" : NULL, &errs.items[i]);
    if (rc < 0)
        return rc;
    if (!dm_str_eq(file.tenant, dm_tenants_name(write->tenant)))
        return dm_failure_add(write->failure, DM_EINVAL, NULL, "/tenant",
                              "must be '%.*s', the tenant in the path; found '%.*s'",
                              DM_STR_ARG(dm_tenants_name(write->tenant)), DM_STR_ARG(file.tenant));
    if ((rc = check_grants(write, before, &file)) < 0 || (rc = check_certificates(write, before, &file)) < 0 ||
        (rc = check_authorities(write, before, &file)) < 0)
        return rc;
    *ret = file;
    return 0;
}

ssize_t dm_file_diff(struct dm_write *write, const struct dm_tenant_file *before, const struct dm_tenant_file *after,
                     struct dm_diff **ret)
{
    struct dm_tenant_file from = *before;
    ssize_t count;

    if (after->grants == NULL)
        from.grants = NULL;
    count = dm_model_diff(&dm_schema_tenant_file, &from, after, dm_write_arena(write), ret);
    return count < 0 ? dm_write_no_memory(write) : count;
}

/* --- applying ----------------------------------------------------------------------------------------------------- */

struct side {
    char *items;
    size_t n;
};

static struct side side_of(const struct dm_tenant_file *file, enum dm_kind kind)
{
    switch (kind) {
    case DM_KIND_BACKEND: return (struct side){(char *)file->backends, file->n_backends};
    case DM_KIND_PRODUCT: return (struct side){(char *)file->products, file->n_products};
    case DM_KIND_DOMAIN: return (struct side){(char *)file->domains, file->n_domains};
    case DM_KIND_CERTIFICATE: return (struct side){(char *)file->certificates, file->n_certificates};
    default: return (struct side){(char *)file->applications, file->n_applications};
    }
}

static void *item_of(struct side side, enum dm_kind kind, size_t at)
{
    return side.items + at * dm_kinds[kind].bytes;
}

static void index_by_name(struct dm_map *map, struct side side, enum dm_kind kind)
{
    dm_map_init_random(map);
    for (size_t i = 0; i < side.n; i++)
        dm_map_put(map, dm_kind_name_of(kind, item_of(side, kind, i)), item_of(side, kind, i));
}

/* Keys may move from one application to another within a file, so all that go are gone before any comes. */
static int resolve_credentials(struct dm_write *write, const struct dm_map *was, struct side after)
{
    size_t changed;
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < after.n; i++) {
        struct dm_application *application = item_of(after, DM_KIND_APPLICATION, i);
        const struct dm_application *before = dm_map_get(was, application->name);

        if ((rc = dm_credentials_resolve(write, before, application, &changed)) >= 0)
            rc = dm_credentials_drop_stale(write, before, application);
    }
    return rc;
}

static int put_all(struct dm_write *write, enum dm_kind kind, const struct dm_map *was, struct side after,
                   bool *ret_is_changed)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < after.n; i++) {
        void *object = item_of(after, kind, i);
        const void *before = dm_map_get(was, dm_kind_name_of(kind, object));
        int64_t number =
            kind == DM_KIND_APPLICATION && before != NULL ? ((const struct dm_application *)before)->id : 0;
        struct dm_outcome outcome = {0};

        rc = dm_store_resource(write, kind, before, number, object, &outcome);
        *ret_is_changed |= outcome.is_changed;
    }
    return rc;
}

static int drop_missing(struct dm_write *write, enum dm_kind kind, struct side before, const struct dm_map *is,
                        bool *ret_is_changed)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < before.n; i++) {
        const void *object = item_of(before, kind, i);

        if (dm_map_get(is, dm_kind_name_of(kind, object)) != NULL)
            continue;
        *ret_is_changed = true;
        rc = dm_drop_resource(write, kind, object);
    }
    return rc;
}

static int apply_kind(struct dm_write *write, enum dm_kind kind, const struct dm_tenant_file *before,
                      const struct dm_tenant_file *after, bool *ret_is_changed)
{
    struct side from = side_of(before, kind), to = side_of(after, kind);
    struct dm_map was, is;
    int rc;

    index_by_name(&was, from, kind);
    index_by_name(&is, to, kind);
    rc = drop_missing(write, kind, from, &is, ret_is_changed);
    if (rc >= 0 && kind == DM_KIND_APPLICATION)
        rc = resolve_credentials(write, &was, to);
    if (rc >= 0)
        rc = put_all(write, kind, &was, to, ret_is_changed);
    dm_map_done(&was);
    dm_map_done(&is);
    return rc;
}

static int apply_grants(struct dm_write *write, const struct dm_grants *grants, bool *ret_is_changed)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome = {0};
    int rc;

    if (grants == NULL)
        return 0;
    rc = dm_put_grants(write, grants, &none, &outcome);
    *ret_is_changed |= outcome.is_changed;
    for (size_t i = 0; rc < 0 && i < write->failure->errs.n; i++)
        dm_err_prefix(&write->failure->errs.items[i], "/grants");
    return rc;
}

int dm_file_apply(struct dm_write *write, const struct dm_tenant_file *before, struct dm_tenant_file *after,
                  bool *ret_is_changed)
{
    int rc;

    *ret_is_changed = false;
    if ((rc = apply_grants(write, after->grants, ret_is_changed)) < 0)
        return rc;
    for (enum dm_kind kind = DM_KIND_BACKEND; rc >= 0 && kind <= DM_KIND_APPLICATION; kind++)
        rc = apply_kind(write, kind, before, after, ret_is_changed);
    return rc;
}
