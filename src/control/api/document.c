/* The whole declarative file of a tenant. */
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/release/load.h"
#include "control/tenancy/file.h"
#include "base/json.h"

static int answer_etag(struct dm_call *call, struct dm_tenant_handle *handle)
{
    struct dm_err err = {0};
    int64_t version;

    if (dm_changes_latest(handle, &version, &err) < 0)
        return dm_call_fail(call, &err);
    dm_call_etag(call, version);
    return 0;
}

int dm_handle_document_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *handle;
    struct dm_tenant_file file;
    struct dm_err err = {0};
    struct dm_jsonw w;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &handle)) < 0)
        return rc;
    if (dm_load_file(handle, &file, &err) < 0)
        return dm_call_fail(call, &err);
    w = dm_call_answer(call, 200);
    dm_model_write(&dm_schema_tenant_file, &file, &w, 0);
    return answer_etag(call, handle);
}

static void write_diff(struct dm_jsonw *w, const struct dm_diff *diff, size_t n)
{
    static const char *const ops[] = {
        [DM_DIFF_ADDED] = "added", [DM_DIFF_REMOVED] = "removed", [DM_DIFF_CHANGED] = "changed"};

    dm_jsonw_name(w, "changes");
    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        dm_jsonw_begin_object(w);
        dm_jsonw_member_cstr(w, "op", ops[diff[i].op]);
        dm_jsonw_member_str(w, "pointer", diff[i].pointer);
        if (diff[i].before.len > 0) {
            dm_jsonw_name(w, "before");
            dm_jsonw_raw(w, diff[i].before);
        }
        if (diff[i].after.len > 0) {
            dm_jsonw_name(w, "after");
            dm_jsonw_raw(w, diff[i].after);
        }
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_array(w);
}

static void write_new_keys(struct dm_jsonw *w, const struct dm_new_key *keys)
{
    dm_jsonw_name(w, "credentials");
    dm_jsonw_begin_array(w);
    for (const struct dm_new_key *key = keys; key != NULL; key = key->next) {
        dm_jsonw_begin_object(w);
        dm_jsonw_member_str(w, "application", key->application);
        dm_jsonw_member_str(w, "name", key->credential);
        dm_jsonw_member_str(w, "key", key->key);
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_array(w);
}

static void answer(struct dm_call *call, bool is_dry_run, bool is_changed, const struct dm_diff *diff, size_t n_diff,
                   const struct dm_new_key *keys)
{
    struct dm_jsonw w = dm_call_answer(call, 200);

    dm_jsonw_begin_object(&w);
    dm_jsonw_member_bool(&w, "dry_run", is_dry_run);
    dm_jsonw_member_bool(&w, "changed", is_changed);
    write_diff(&w, diff, n_diff);
    write_new_keys(&w, keys);
    dm_jsonw_end_object(&w);
}

static int check_version(struct dm_call *call, struct dm_write *write)
{
    struct dm_precondition precondition;
    struct dm_err err = {0};
    int64_t version;
    int rc = dm_call_precondition(call, &precondition);

    if (rc < 0)
        return rc;
    if (dm_changes_latest(write->tenant, &version, &err) < 0)
        return dm_call_fail(call, &err);
    return dm_write_check(write, &precondition, version);
}

static int apply(struct dm_call *call, struct dm_write *write, struct dm_json *json, bool is_dry_run)
{
    struct dm_tenant_file before, after;
    struct dm_diff *diff = NULL;
    struct dm_err err = {0};
    bool is_changed = false;
    ssize_t n_diff;
    int rc = check_version(call, write);

    if (rc < 0)
        return rc;
    if (dm_load_file(write->tenant, &before, &err) < 0)
        return dm_call_fail(call, &err);
    if ((rc = dm_file_read(write, json, &before, &after)) < 0)
        return rc;
    if ((n_diff = dm_file_diff(write, &before, &after, &diff)) < 0)
        return (int)n_diff;
    if ((rc = dm_file_apply(write, &before, &after, &is_changed)) < 0)
        return rc;
    answer(call, is_dry_run, is_changed, diff, (size_t)n_diff, is_dry_run ? NULL : write->new_keys);
    if (is_dry_run)
        return 0;
    if ((rc = answer_etag(call, write->tenant)) < 0)
        return rc;
    return dm_call_commit(call, write);
}

/* A dry run does everything but the commit, so that what it says is what would happen. */
int dm_handle_document_put(struct dm_call *call)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_write write;
    bool is_dry_run;
    int rc;

    if ((rc = dm_call_query_bool(call, "dry_run", &is_dry_run)) < 0 || (rc = dm_call_json(call, &json)) < 0)
        return rc;
    if ((rc = dm_call_begin_write(call, &write)) == 0 && (rc = dm_write_open(&write, call->params[0])) >= 0)
        rc = apply(call, &write, json, is_dry_run);
    dm_write_done(&write);
    call->wants_live &= !is_dry_run;
    return rc;
}
