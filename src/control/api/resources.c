/* Backends, products, domains, certificates and applications: one set of handlers, the route says which kind. */
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/api/route.h"
#include "control/release/load.h"
#include "control/tenancy/resources.h"
#include "base/json.h"

union object {
    struct dm_backend backend;
    struct dm_product product;
    struct dm_domain domain;
    struct dm_certificate certificate;
    struct dm_application application;
};

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct listing {
    struct dm_page page;
    struct dm_tenant_handle *tenant;
    enum dm_kind kind;
};

static int list_one(void *arg, const struct dm_resource_row *row, struct dm_err *err)
{
    struct listing *listing = arg;
    struct dm_resource_row again;
    union object object;
    int rc;

    if (!dm_page_next(&listing->page, row->name))
        return 0;
    if ((rc = dm_load_resource(listing->tenant, listing->kind, row->name, &object, &again, err)) < 0)
        return rc;
    dm_body_write(&listing->page.w, dm_kinds[listing->kind].schema, &object);
    return 0;
}

int dm_handle_resources_list(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct listing listing = {.kind = (enum dm_kind)call->route->detail};
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &listing.tenant)) < 0 ||
        (rc = dm_page_begin(&listing.page, call)) < 0)
        return rc;
    if (dm_resources_each(listing.tenant, dm_kinds[listing.kind].name, listing.page.after, listing.page.limit + 1,
                          list_one, &listing, &err) < 0)
        return dm_call_fail(call, &err);
    dm_page_end(&listing.page);
    return 0;
}

int dm_handle_resource_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    enum dm_kind kind = (enum dm_kind)call->route->detail;
    struct dm_tenant_handle *tenant;
    struct dm_resource_row row;
    union object object;
    struct dm_err err = {0};
    struct dm_jsonw w;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0)
        return rc;
    if (dm_load_resource(tenant, kind, call->params[1], &object, &row, &err) < 0)
        return dm_call_fail(call, &err);
    w = dm_call_answer(call, 200);
    dm_body_write(&w, dm_kinds[kind].schema, &object);
    dm_call_etag(call, row.version);
    return 0;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static struct dm_str find_key(const struct dm_write *write, struct dm_str application, struct dm_str credential)
{
    for (const struct dm_new_key *key = write->new_keys; key != NULL; key = key->next)
        if (dm_str_eq(key->application, application) && dm_str_eq(key->credential, credential))
            return key->key;
    return DM_STR("");
}

/* Only keys that were made now are shown, this once. */
static void answer_application(struct dm_jsonw *w, const struct dm_write *write, struct dm_application *application)
{
    for (size_t i = 0; i < application->n_credentials; i++)
        application->credentials[i].key = find_key(write, application->name, application->credentials[i].name);
    dm_model_write(&dm_schema_application, application, w, DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY | DM_WRITE_SECRETS);
}

static void answer(struct dm_call *call, const struct dm_write *write, enum dm_kind kind, void *object,
                   const struct dm_outcome *outcome)
{
    struct dm_jsonw w = dm_call_answer(call, outcome->is_created ? 201 : 200);

    if (kind == DM_KIND_APPLICATION)
        answer_application(&w, write, object);
    else
        dm_body_write(&w, dm_kinds[kind].schema, object);
    dm_call_etag(call, outcome->version);
}

/* PUT says nothing about credentials when the member is left out: the application keeps those it has. */
static int keep_credentials(struct dm_call *call, struct dm_write *write, struct dm_json *json,
                            struct dm_application *application)
{
    struct dm_application before;
    struct dm_resource_row row;
    struct dm_err err = {0};
    int rc;

    if (dm_json_get(json, "credentials") != NULL)
        return 0;
    rc = dm_load_resource(write->tenant, DM_KIND_APPLICATION, application->name, &before, &row, &err);
    if (rc == DM_ENOENT)
        return 0;
    if (rc < 0)
        return dm_call_fail(call, &err);
    application->credentials = before.credentials;
    application->n_credentials = before.n_credentials;
    return 0;
}

static int put(struct dm_call *call, struct dm_write *write, struct dm_json *json)
{
    enum dm_kind kind = (enum dm_kind)call->route->detail;
    struct dm_precondition precondition;
    struct dm_outcome outcome = {0};
    union object object;
    int rc;

    if ((rc = dm_body_read(call, dm_kinds[kind].schema, json, call->params[1], &object)) < 0 ||
        (rc = dm_call_precondition(call, &precondition)) < 0 ||
        (kind == DM_KIND_APPLICATION && (rc = keep_credentials(call, write, json, &object.application)) < 0) ||
        (rc = dm_put_resource(write, kind, &object, &precondition, &outcome)) < 0)
        return rc;
    answer(call, write, kind, &object, &outcome);
    return dm_call_commit(call, write);
}

static int in_write(struct dm_call *call, int (*act)(struct dm_call *, struct dm_write *))
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_write_open(&write, call->params[0])) >= 0)
        rc = act(call, &write);
    dm_write_done(&write);
    return rc;
}

static int put_body(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    int rc = dm_call_json(call, &json);

    return rc < 0 ? rc : put(call, write, json);
}

static int patch_body(struct dm_call *call, struct dm_write *write)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    enum dm_kind kind = (enum dm_kind)call->route->detail;
    struct dm_resource_row row;
    union object object;
    struct dm_err err = {0};
    int rc;

    if (dm_load_resource(write->tenant, kind, call->params[1], &object, &row, &err) < 0)
        return dm_call_fail(call, &err);
    rc = dm_body_patch(call, dm_kinds[kind].schema, &object, &json);
    return rc < 0 ? rc : put(call, write, json);
}

static int remove_it(struct dm_call *call, struct dm_write *write)
{
    struct dm_precondition precondition;
    int rc;

    if ((rc = dm_call_precondition(call, &precondition)) < 0 ||
        (rc = dm_remove_resource(write, (enum dm_kind)call->route->detail, call->params[1], &precondition)) < 0)
        return rc;
    call->status = 204;
    return dm_call_commit(call, write);
}

int dm_handle_resource_put(struct dm_call *call)
{
    return in_write(call, put_body);
}

int dm_handle_resource_patch(struct dm_call *call)
{
    return in_write(call, patch_body);
}

int dm_handle_resource_delete(struct dm_call *call)
{
    return in_write(call, remove_it);
}
