/* Change records, newest first. */
#include "control/store/changes.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/api/route.h"
#include "control/audit/record.h"
#include "control/release/stamp.h"
#include "base/encode.h"

/* A number among all, and a hash over it, are the platform's to see. */
static bool is_platforms(const struct dm_call *call)
{
    return call->route->operation == DM_OP_PLATFORM_CHANGES_READ;
}

static int list_one(void *arg, const struct dm_change_row *row, struct dm_err *err)
{
    struct dm_page *page = arg;
    int64_t number = is_platforms(page->call) ? row->number : row->sequence;
    char key[24], stamp[DM_STAMP_MAX], hash[2 * DM_DIGEST_BYTES + 1];

    snprintf(key, sizeof(key), "%lld", (long long)number);
    if (!dm_page_next(page, dm_str_of(key)))
        return 0;
    dm_jsonw_begin_object(&page->w);
    dm_jsonw_member_u64(&page->w, "sequence", (uint64_t)number);
    dm_jsonw_member_str(&page->w, "at", dm_stamp(row->at_ms / 1000 * 1000, stamp));
    dm_jsonw_member_str(&page->w, "actor", row->actor);
    if (row->tenant.len > 0)
        dm_jsonw_member_str(&page->w, "tenant", row->tenant);
    dm_jsonw_member_str(&page->w, "action", row->action);
    dm_jsonw_member_str(&page->w, "kind", row->kind);
    dm_jsonw_member_str(&page->w, "name", row->name);
    dm_jsonw_member_str(&page->w, "request_id", row->request_id);
    dm_jsonw_name(&page->w, "details");
    dm_jsonw_raw(&page->w, row->details);
    dm_hex(row->hash, sizeof(row->hash), hash);
    if (is_platforms(page->call))
        dm_jsonw_member_cstr(&page->w, "hash", hash);
    dm_jsonw_end_object(&page->w);
    return 0;
}

int dm_handle_changes_list(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant = NULL;
    struct dm_page page;
    struct dm_err err = {0};
    int64_t before;
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 ||
        (!is_platforms(call) && (rc = dm_call_open_tenant(call, txn, &tenant)) < 0) ||
        (rc = dm_page_begin(&page, call)) < 0 || (rc = dm_page_after_number(&page, &before)) < 0)
        return rc;
    if (dm_changes_each(txn, &call->caller, tenant, before, page.limit + 1, list_one, &page, &err) < 0)
        return dm_call_fail(call, &err);
    dm_page_end(&page);
    return 0;
}

int dm_handle_changes_verify(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_err err = {0};
    struct dm_jsonw w;
    int64_t count = 0;
    int rc = dm_call_begin_read(call, &txn);

    if (rc < 0)
        return rc;
    rc = dm_audit_verify(txn, &call->caller, &count, &err);
    if (rc < 0 && rc != DM_ECORRUPT)
        return dm_call_fail(call, &err);
    w = dm_call_answer(call, 200);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_bool(&w, "intact", rc >= 0);
    if (rc < 0)
        dm_jsonw_member_cstr(&w, "detail", err.message);
    else
        dm_jsonw_member_u64(&w, "changes", (uint64_t)count);
    dm_jsonw_end_object(&w);
    return 0;
}
