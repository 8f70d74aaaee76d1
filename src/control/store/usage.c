#include "control/store/usage.h"
#include "control/store/store_int.h"

/* Bit i of `seen` stands for the batch high - i. */
struct window {
    uint64_t high;
    uint8_t seen[DM_USAGE_WINDOW / 8];
};

static int read_window(struct dm_txn *txn, struct dm_str gateway, struct window *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_str seen;
    int rc =
        dm_sql_start(txn->sql, &rows, err, "SELECT high, seen FROM usage_batch WHERE gateway = ?1", DM_SQL_T(gateway));

    if (rc < 0 || (rc = dm_sql_next(rows, err)) <= 0)
        return rc;
    ret->high = (uint64_t)dm_sql_col_int(rows, 0);
    seen = dm_sql_col_str(rows, 1);
    if (seen.len != sizeof(ret->seen))
        return dm_fail(err, DM_ECORRUPT, "", "the batches of a gateway in the database have %zu bytes", seen.len);
    memcpy(ret->seen, seen.ptr, seen.len);
    return 0;
}

static bool has_bit(const struct window *window, uint64_t i)
{
    return (window->seen[i / 8] >> i % 8 & 1) != 0;
}

/* Makes `batch` the highest. */
static void move_window(struct window *window, uint64_t batch)
{
    struct window moved = {.high = batch};
    uint64_t by = batch - window->high;

    for (uint64_t i = 0; by < DM_USAGE_WINDOW && i < DM_USAGE_WINDOW - by; i++)
        if (has_bit(window, i))
            moved.seen[(i + by) / 8] |= (uint8_t)(1u << (i + by) % 8);
    *window = moved;
}

/* false: it was there. */
static bool note_batch(struct window *window, uint64_t batch)
{
    uint64_t i;

    if (batch > window->high)
        move_window(window, batch);
    i = window->high - batch;
    if (i >= DM_USAGE_WINDOW || has_bit(window, i))
        return false;
    window->seen[i / 8] |= (uint8_t)(1u << i % 8);
    return true;
}

int dm_usage_batch(struct dm_txn *txn, struct dm_str gateway, uint64_t batch, struct dm_err *err)
{
    struct window window = {0};
    int rc = read_window(txn, gateway, &window, err);

    if (rc < 0 || !note_batch(&window, batch))
        return rc;
    rc = dm_sql_run(txn->sql, err,
                    "INSERT INTO usage_batch (gateway, high, seen) VALUES (?1, ?2, ?3) "
                    "ON CONFLICT (gateway) DO UPDATE SET high = ?2, seen = ?3",
                    DM_SQL_T(gateway), DM_SQL_I(window.high),
                    DM_SQL_B(dm_str_n((const char *)window.seen, sizeof(window.seen))));
    return rc < 0 ? rc : 1;
}

int dm_usage_add(struct dm_tenant_handle *handle, const struct dm_usage_row *row, struct dm_err *err)
{
    int rc = dm_sql_run(handle->txn->sql, err,
                        "INSERT INTO usage_minute (tenant_id, product, application, metric, minute, count) "
                        "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tenant_id, minute, product, application, metric) "
                        "DO UPDATE SET count = usage_minute.count + ?6",
                        DM_SQL_I(handle->tenant_id), DM_SQL_T(row->product), DM_SQL_I(row->application),
                        DM_SQL_T(row->metric), DM_SQL_I(row->minute), DM_SQL_I(row->count));

    return rc < 0 ? rc : 0;
}

#define STEP "(?4 + (u.minute - ?4) / ?5 * ?5)"
static const char *const query_text =
    "SELECT u.product, u.application, COALESCE(r.name, ''), u.metric, " STEP ", SUM(u.count) "
    "FROM usage_minute u LEFT JOIN resource r "
    "ON r.tenant_id = u.tenant_id AND r.kind = 'application' AND r.number = u.application "
    "WHERE u.tenant_id = ?1 AND u.minute >= ?4 AND u.minute < ?6 AND (?2 IS NULL OR u.product = ?2) "
    "AND (?3 IS NULL OR u.metric = ?3) AND (?7 IS NULL OR r.name = ?7) "
    "AND (u.product, u.application, u.metric, " STEP ") > (?8, ?9, ?10, ?11) "
    "GROUP BY u.product, u.application, r.name, u.metric, " STEP " "
    "ORDER BY u.product, u.application, u.metric, " STEP " LIMIT ?12";

int dm_usage_each(struct dm_tenant_handle *handle, const struct dm_usage_query *query, size_t limit,
                  dm_usage_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int64_t step =
        query->step_minutes > 0 ? query->step_minutes : DM_MAX((int64_t)1, query->to_minute - query->from_minute);
    int rc = dm_sql_start(handle->txn->sql, &rows, err, query_text, DM_SQL_I(handle->tenant_id),
                          DM_SQL_T_OR_N(query->product), DM_SQL_T_OR_N(query->metric), DM_SQL_I(query->from_minute),
                          DM_SQL_I(step), DM_SQL_I(query->to_minute), DM_SQL_T_OR_N(query->application),
                          DM_SQL_T(query->after.product), DM_SQL_I(query->after.application),
                          DM_SQL_T(query->after.metric), DM_SQL_I(query->after.minute), DM_SQL_I(limit));

    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_usage_row row = {
            .product = dm_sql_col_str(rows, 0),
            .application = dm_sql_col_int(rows, 1),
            .application_name = dm_sql_col_str(rows, 2),
            .metric = dm_sql_col_str(rows, 3),
            .minute = dm_sql_col_int(rows, 4),
            .count = dm_sql_col_int(rows, 5),
        };

        rc = visit(arg, &row, err);
    }
    return rc;
}
