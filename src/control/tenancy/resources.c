#include "control/tenancy/resources.h"
#include "control/audit/details.h"
#include "control/release/load.h"
#include "control/store/credentials.h"
#include "control/tenancy/certificates.h"
#include "control/tenancy/check.h"
#include "control/tenancy/credentials.h"
#include "base/jsonw.h"

#define BODY_MAX (16u << 20)

/* What is stored of it: canonical, without secrets; credentials have rows of their own. What a certificate says of itself is
 * stored with it, so that only its writer pays for reading X.509. */
static int body_of(struct dm_write *write, enum dm_kind kind, const void *object, struct dm_str *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_application application;
    struct dm_jsonw w;

    if (kind == DM_KIND_APPLICATION) {
        application = *(const struct dm_application *)object;
        application.n_credentials = 0;
        object = &application;
    }
    dm_buf_init(&text, BODY_MAX);
    dm_jsonw_init(&w, &text);
    dm_model_write(dm_kinds[kind].schema, object, &w, kind == DM_KIND_CERTIFICATE ? DM_WRITE_READ_ONLY : 0);
    if (text.failed || dm_arena_str(dm_write_arena(write), dm_buf_str(&text), ret) < 0)
        return dm_write_no_memory(write);
    return 0;
}

static int set_subscriptions(struct dm_write *write, const struct dm_application *application)
{
    struct dm_err err = {0};
    int rc = dm_resources_unsubscribe(write->tenant, application->name, &err);

    for (size_t i = 0; rc >= 0 && i < application->n_subscriptions; i++)
        rc = dm_resources_subscribe(write->tenant, application->name, application->subscriptions[i].product,
                                    application->subscriptions[i].plan, &err);
    return rc < 0 ? dm_write_fail(write, &err) : 0;
}

static int store_row(struct dm_write *write, enum dm_kind kind, void *object, int64_t number, int64_t version)
{
    struct dm_resource_row row = {
        .kind = dm_kinds[kind].name,
        .name = dm_kind_name_of(kind, object),
        .number = number,
        .version = version,
    };
    struct dm_err err = {0};
    int rc = body_of(write, kind, object, &row.body);

    if (rc < 0)
        return rc;
    if (number == 0 && dm_resources_number(write->tenant, row.kind, &row.number, &err) < 0)
        return dm_write_fail(write, &err);
    if (dm_resources_put(write->tenant, &row, &err) < 0)
        return dm_write_fail(write, &err);
    if (kind != DM_KIND_APPLICATION)
        return 0;
    ((struct dm_application *)object)->id = row.number;
    return set_subscriptions(write, object);
}

static int store_credentials(struct dm_write *write, const struct dm_application *before, struct dm_application *after)
{
    int rc = dm_credentials_drop_stale(write, before, after);

    return rc < 0 ? rc : dm_credentials_add_new(write, before, after);
}

static int store_secrets(struct dm_write *write, enum dm_kind kind, const void *before, void *object)
{
    switch (kind) {
    case DM_KIND_APPLICATION: return store_credentials(write, before, object);
    case DM_KIND_CERTIFICATE: return dm_certificates_store_key(write, object);
    default: return 0;
    }
}

/* What the controller set in it stands in the answer also when nothing was written. */
static int take_numbers(struct dm_write *write, const struct dm_application *before, struct dm_application *after)
{
    after->id = before->id;
    return dm_credentials_add_new(write, before, after);
}

int dm_store_resource(struct dm_write *write, enum dm_kind kind, const void *before, int64_t number, void *object,
                      struct dm_outcome *ret)
{
    size_t n_details = 0, n_credentials = 0;
    struct dm_err err = {0};
    struct dm_str details;
    int rc = kind == DM_KIND_APPLICATION ? dm_credentials_resolve(write, before, object, &n_credentials) : 0;

    if (rc < 0)
        return rc;
    if (dm_audit_details(dm_kinds[kind].schema, before, object, dm_write_arena(write), &details, &n_details, &err) < 0)
        return dm_write_fail(write, &err);
    ret->is_created = before == NULL;
    ret->is_changed = before == NULL || n_details + n_credentials > 0;
    if (!ret->is_changed)
        return kind == DM_KIND_APPLICATION ? take_numbers(write, before, object) : 0;
    rc = dm_write_record(write, ret->is_created ? DM_CHANGE_CREATE : DM_CHANGE_UPDATE, dm_kinds[kind].name,
                         dm_kind_name_of(kind, object), details, &ret->version);
    if (rc < 0 || (rc = store_row(write, kind, object, number, ret->version)) < 0)
        return rc;
    dm_write_touch(write, dm_kinds[kind].unit);
    return store_secrets(write, kind, before, object);
}

/* The present state into *ret_before (the arena's); *ret_row.version 0 and *ret_before NULL when it is not there. */
static int load_before(struct dm_write *write, enum dm_kind kind, struct dm_str name, void **ret_before,
                       struct dm_resource_row *ret_row)
{
    void *before = dm_arena_calloc(dm_write_arena(write), dm_kinds[kind].bytes);
    struct dm_err err = {0};
    int rc;

    if (before == NULL)
        return dm_write_no_memory(write);
    *ret_before = NULL;
    *ret_row = (struct dm_resource_row){0};
    rc = dm_load_resource(write->tenant, kind, name, before, ret_row, &err);
    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0)
        return dm_write_fail(write, &err);
    *ret_before = before;
    return 0;
}

static int check_count(struct dm_write *write, enum dm_kind kind)
{
    struct dm_err err = {0};
    size_t count;

    if (dm_resources_count(write->tenant, dm_kinds[kind].name, &count, &err) < 0)
        return dm_write_fail(write, &err);
    if (count < dm_kinds[kind].max)
        return 0;
    return dm_failure_add(write->failure, DM_EINVAL, "too_many", "",
                          "the tenant has %zu %s, which is the most it may have", count, dm_kinds[kind].plural);
}

int dm_put_resource(struct dm_write *write, enum dm_kind kind, void *object, const struct dm_precondition *precondition,
                    struct dm_outcome *ret)
{
    struct dm_resource_row row;
    void *before = NULL;
    int rc = load_before(write, kind, dm_kind_name_of(kind, object), &before, &row);

    if (rc < 0 || (rc = dm_write_check(write, precondition, row.version)) < 0 ||
        (before == NULL && (rc = check_count(write, kind)) < 0) ||
        (kind == DM_KIND_CERTIFICATE && (rc = dm_certificates_resolve(write, before, object, "")) < 0) ||
        (rc = dm_certificates_check_authorities(write, kind, before, object, "")) < 0 ||
        (rc = dm_check_put(write, kind, object)) < 0)
        return rc;
    ret->version = row.version;
    return dm_store_resource(write, kind, before, row.number, object, ret);
}

static int drop_row(struct dm_write *write, enum dm_kind kind, struct dm_str name)
{
    struct dm_err err = {0};
    int rc = dm_resources_remove(write->tenant, dm_kinds[kind].name, name, &err);

    if (rc >= 0 && kind == DM_KIND_APPLICATION)
        rc = dm_resources_unsubscribe(write->tenant, name, &err);
    if (rc >= 0 && kind == DM_KIND_APPLICATION)
        rc = dm_credentials_remove_all(write->tenant, name, &err);
    if (rc < 0)
        return dm_write_fail(write, &err);
    return kind == DM_KIND_CERTIFICATE ? dm_certificates_drop_key(write, name) : 0;
}

int dm_drop_resource(struct dm_write *write, enum dm_kind kind, const void *before)
{
    struct dm_str name = dm_kind_name_of(kind, before), details;
    struct dm_err err = {0};
    int64_t version;
    size_t n_details;
    int rc;

    if (dm_audit_details(dm_kinds[kind].schema, before, NULL, dm_write_arena(write), &details, &n_details, &err) < 0)
        return dm_write_fail(write, &err);
    if ((rc = drop_row(write, kind, name)) < 0)
        return rc;
    dm_write_touch(write, dm_kinds[kind].unit);
    return dm_write_record(write, DM_CHANGE_DELETE, dm_kinds[kind].name, name, details, &version);
}

static int no_resource(struct dm_write *write, enum dm_kind kind, struct dm_str name)
{
    return dm_failure_add(write->failure, DM_ENOENT, NULL, "", "there is no %.*s '%.*s'",
                          DM_STR_ARG(dm_kinds[kind].name), DM_STR_ARG(name));
}

int dm_remove_resource(struct dm_write *write, enum dm_kind kind, struct dm_str name,
                       const struct dm_precondition *precondition)
{
    struct dm_resource_row row;
    void *before = NULL;
    int rc = load_before(write, kind, name, &before, &row);

    if (rc < 0 || (rc = dm_write_check(write, precondition, row.version)) < 0)
        return rc;
    if (before == NULL)
        return no_resource(write, kind, name);
    if ((rc = dm_check_remove(write, kind, name)) < 0)
        return rc;
    return dm_drop_resource(write, kind, before);
}

/* --- one credential ----------------------------------------------------------------------------------------------- */

static int load_application(struct dm_write *write, struct dm_str name, struct dm_application **ret,
                            struct dm_resource_row *ret_row)
{
    void *before = NULL;
    int rc = load_before(write, DM_KIND_APPLICATION, name, &before, ret_row);

    if (rc < 0)
        return rc;
    if (before == NULL)
        return no_resource(write, DM_KIND_APPLICATION, name);
    *ret = before;
    return 0;
}

/* A copy of the application with room for one credential more. */
static int copy_application(struct dm_write *write, const struct dm_application *before, struct dm_application *ret)
{
    size_t bytes = (before->n_credentials + 1) * sizeof(*before->credentials);
    struct dm_credential *credentials = dm_arena_calloc(dm_write_arena(write), bytes);

    if (credentials == NULL)
        return dm_write_no_memory(write);
    if (before->n_credentials > 0)
        memcpy(credentials, before->credentials, before->n_credentials * sizeof(*credentials));
    *ret = *before;
    ret->credentials = credentials;
    return 0;
}

int dm_put_credential(struct dm_write *write, struct dm_str application, struct dm_credential *credential,
                      struct dm_outcome *ret)
{
    struct dm_application *before = NULL, after;
    struct dm_resource_row row;
    int rc = load_application(write, application, &before, &row);

    if (rc < 0 || (rc = copy_application(write, before, &after)) < 0)
        return rc;
    for (size_t i = 0; i < before->n_credentials; i++)
        if (dm_str_eq(before->credentials[i].name, credential->name))
            return dm_failure_add(write->failure, DM_EEXIST, NULL, "/name",
                                  "the application has a credential '%.*s' already", DM_STR_ARG(credential->name));
    if (before->n_credentials == DM_CREDENTIALS_MAX)
        return dm_failure_add(write->failure, DM_EINVAL, "too_many", "", "an application has at most %d credentials",
                              DM_CREDENTIALS_MAX);
    after.credentials[after.n_credentials++] = *credential;
    ret->version = row.version;
    rc = dm_store_resource(write, DM_KIND_APPLICATION, before, row.number, &after, ret);
    if (rc >= 0)
        *credential = after.credentials[after.n_credentials - 1];
    return rc;
}

int dm_remove_credential(struct dm_write *write, struct dm_str application, struct dm_str name)
{
    struct dm_application *before = NULL, after;
    struct dm_resource_row row;
    struct dm_outcome outcome = {0};
    size_t at = 0;
    int rc = load_application(write, application, &before, &row);

    if (rc < 0 || (rc = copy_application(write, before, &after)) < 0)
        return rc;
    while (at < after.n_credentials && !dm_str_eq(after.credentials[at].name, name))
        at++;
    if (at == after.n_credentials)
        return dm_failure_add(write->failure, DM_ENOENT, NULL, "", "the application has no credential '%.*s'",
                              DM_STR_ARG(name));
    memmove(&after.credentials[at], &after.credentials[at + 1],
            (--after.n_credentials - at) * sizeof(*after.credentials));
    return dm_store_resource(write, DM_KIND_APPLICATION, before, row.number, &after, &outcome);
}
