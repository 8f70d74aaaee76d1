/* What was used, by product, application, metric and step. */
#include "control/store/usage.h"
#include "control/api/call.h"
#include "control/api/handlers.h"
#include "control/api/page.h"
#include "control/release/stamp.h"

#define MINUTES_PER_DAY 1440

/* --- what is asked for -------------------------------------------------------------------------------------------- */

static int query_minute(struct dm_call *call, const char *name, int64_t otherwise, int64_t *ret)
{
    struct dm_str text = dm_call_query(call, name);
    int64_t ms = 0;

    *ret = otherwise;
    if (text.ptr == NULL)
        return 0;
    if (dm_stamp_parse(text, &ms) < 0)
        return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "%s must be a time such as 2026-11-01T12:00:00Z",
                              name);
    *ret = DM_MAX((int64_t)0, ms / 60000);
    return 0;
}

static int read_step(struct dm_call *call, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t minutes;
    } steps[] = {{"total", 0}, {"minute", 1}, {"hour", 60}, {"day", MINUTES_PER_DAY}};
    struct dm_str text = dm_call_query(call, "step");

    *ret = 0;
    if (text.ptr == NULL)
        return 0;
    for (size_t i = 0; i < DM_COUNT(steps); i++)
        if (dm_str_eq(text, dm_str_of(steps[i].name))) {
            *ret = steps[i].minutes;
            return 0;
        }
    return dm_failure_add(&call->failure, DM_EINVAL, NULL, "", "step must be 'total', 'minute', 'hour' or 'day'");
}

static int read_query(struct dm_call *call, int64_t now_minute, struct dm_usage_query *ret)
{
    int rc;

    if ((rc = query_minute(call, "from", now_minute - MINUTES_PER_DAY, &ret->from_minute)) < 0 ||
        (rc = query_minute(call, "to", now_minute + 1, &ret->to_minute)) < 0 ||
        (rc = read_step(call, &ret->step_minutes)) < 0)
        return rc;
    ret->product = dm_call_query(call, "product");
    ret->application = dm_call_query(call, "application");
    ret->metric = dm_call_query(call, "metric");
    return 0;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

struct listing {
    struct dm_page page;
    struct dm_usage_query query;
};

/* "FROM/TO/product/application/metric/minute". The span is in it because its default follows the clock, and the pages of
 * one list are of one span. */
static struct dm_str write_key(const struct listing *listing, const struct dm_usage_row *row, char ret[DM_PAGE_KEY_MAX])
{
    int len = snprintf(ret, DM_PAGE_KEY_MAX, "%lld/%lld/%.*s/%lld/%.*s/%lld", (long long)listing->query.from_minute,
                       (long long)listing->query.to_minute, DM_STR_ARG(row->product), (long long)row->application,
                       DM_STR_ARG(row->metric), (long long)row->minute);

    return dm_str_n(ret, (size_t)DM_MIN(len, DM_PAGE_KEY_MAX - 1));
}

static bool cut_number(struct dm_str *rest, int64_t *ret)
{
    struct dm_str piece;
    uint64_t number;

    if (!dm_str_cut(rest, '/', &piece) || dm_str_to_u64(piece, &number) < 0 || number > INT64_MAX)
        return false;
    *ret = (int64_t)number;
    return true;
}

static int read_key(struct listing *listing)
{
    struct dm_usage_row *after = &listing->query.after;
    struct dm_str rest = listing->page.after;

    if (rest.len == 0)
        return 0;
    if (!cut_number(&rest, &listing->query.from_minute) || !cut_number(&rest, &listing->query.to_minute) ||
        !dm_str_cut(&rest, '/', &after->product) || !cut_number(&rest, &after->application) ||
        !dm_str_cut(&rest, '/', &after->metric) || !cut_number(&rest, &after->minute) || rest.ptr != NULL)
        return dm_page_bad_cursor(&listing->page);
    return 0;
}

static int list_one(void *arg, const struct dm_usage_row *row, struct dm_err *err)
{
    struct listing *listing = arg;
    struct dm_jsonw *w = &listing->page.w;
    char key[DM_PAGE_KEY_MAX], stamp[DM_STAMP_MAX];

    if (!dm_page_next(&listing->page, write_key(listing, row, key)))
        return 0;
    dm_jsonw_begin_object(w);
    dm_jsonw_member_str(w, "product", row->product);
    dm_jsonw_member_str(w, "application", row->application_name);
    dm_jsonw_member_str(w, "metric", row->metric);
    dm_jsonw_member_str(w, "from", dm_stamp(row->minute * 60000, stamp));
    dm_jsonw_member_u64(w, "count", (uint64_t)row->count);
    dm_jsonw_end_object(w);
    return 0;
}

int dm_handle_usage_get(struct dm_call *call)
{
    DM_CLEANUP(dm_txn_abort) struct dm_txn *txn = NULL;
    struct dm_tenant_handle *tenant;
    struct listing listing = {0};
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_call_begin_read(call, &txn)) < 0 || (rc = dm_call_open_tenant(call, txn, &tenant)) < 0 ||
        (rc = read_query(call, dm_txn_now_ms(txn) / 60000, &listing.query)) < 0 ||
        (rc = dm_page_begin(&listing.page, call)) < 0 || (rc = read_key(&listing)) < 0)
        return rc;
    if (dm_usage_each(tenant, &listing.query, listing.page.limit + 1, list_one, &listing, &err) < 0)
        return dm_call_fail(call, &err);
    dm_page_end(&listing.page);
    return 0;
}
