/* Credentials of one application. */
#include "control/api/body.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/release/load.h"
#include "control/tenancy/resources.h"
#include "base/json.h"

static int list_all(struct dm_page *page, const struct dm_application *application)
{
    int64_t after;
    int rc = dm_page_after_number(page, &after);

    for (size_t i = 0; rc >= 0 && i < application->n_credentials; i++) {
        const struct dm_credential *credential = &application->credentials[i];
        char key[24];

        if (credential->id <= after)
            continue;
        snprintf(key, sizeof(key), "%lld", (long long)credential->id);
        if (!dm_page_next(page, dm_str_of(key)))
            break;
        dm_body_write(&page->w, &dm_schema_credential, credential);
    }
    return rc;
}

int dm_handle_credentials_list(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant;
    struct dm_application application;
    struct dm_resource_row row;
    struct dm_page page;
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0)
        return rc;
    if (dm_load_resource(tenant, DM_KIND_APPLICATION, call->params[1], &application, &row, &err) < 0)
        return dm_call_fail(call, &err);
    if ((rc = dm_page_begin(&page, call)) < 0 || (rc = list_all(&page, &application)) < 0)
        return rc;
    dm_page_end(&page);
    return 0;
}

static int create(struct dm_call *call, struct dm_write *write, struct dm_json *json)
{
    struct dm_credential credential;
    struct dm_outcome outcome = {0};
    struct dm_jsonw w;
    bool is_given;
    int rc = dm_body_read(call, &dm_schema_credential, json, DM_STR_NULL, &credential);

    if (rc < 0)
        return rc;
    is_given = credential.key.len > 0 || credential.type != DM_CREDENTIAL_API_KEY;
    if ((rc = dm_put_credential(write, call->params[1], &credential, &outcome)) < 0)
        return rc;
    w = dm_call_answer(call, 201);
    dm_model_write(&dm_schema_credential, &credential, &w,
                   DM_WRITE_DEFAULTS | DM_WRITE_READ_ONLY | (is_given ? 0 : DM_WRITE_SECRETS));
    dm_call_field(call, "Location", "%.*s/%.*s", DM_STR_ARG(call->path), DM_STR_ARG(credential.name));
    return dm_call_commit(call, write);
}

int dm_handle_credentials_create(struct dm_call *call)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_call_json(call, &json)) >= 0 && (rc = dm_write_open(&write, call->params[0])) >= 0)
        rc = create(call, &write, json);
    dm_write_done(&write);
    return rc;
}

int dm_handle_credential_delete(struct dm_call *call)
{
    struct dm_write write;
    int rc = dm_call_begin_write(call, &write);

    if (rc == 0 && (rc = dm_write_open(&write, call->params[0])) >= 0 &&
        (rc = dm_remove_credential(&write, call->params[1], call->params[2])) >= 0) {
        call->status = 204;
        rc = dm_call_commit(call, &write);
    }
    dm_write_done(&write);
    return rc;
}
