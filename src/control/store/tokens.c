#include "control/store/tokens.h"
#include "control/store/store_int.h"

#define COLUMNS                                                                                                        \
    "k.token_id, k.role, COALESCE(t.name, ''), k.name, k.created_ms, k.expires_ms, k.used_ms, k.digest, "              \
    "COALESCE(k.tenant_id, 0)"
#define FROM " FROM token k LEFT JOIN tenant t ON t.tenant_id = k.tenant_id "

#define IDS_PER_MS 256

static int row_of(struct dm_sql_rows *rows, struct dm_token_row *ret, struct dm_err *err)
{
    struct dm_str digest = dm_sql_col_str(rows, 7);

    if (digest.len != sizeof(ret->digest))
        return dm_fail(err, DM_ECORRUPT, "", "a token in the database has a digest of %zu bytes", digest.len);
    *ret = (struct dm_token_row){
        .id = dm_sql_col_int(rows, 0),
        .role = dm_sql_col_str(rows, 1),
        .tenant = dm_sql_col_str(rows, 2),
        .name = dm_sql_col_str(rows, 3),
        .created_ms = dm_sql_col_int(rows, 4),
        .expires_ms = dm_sql_col_int(rows, 5),
        .used_ms = dm_sql_col_int(rows, 6),
        .tenant_number = dm_sql_col_int(rows, 8),
    };
    memcpy(ret->digest, digest.ptr, digest.len);
    return 0;
}

/* The one row, kept in the arena. */
static int take_one(struct dm_txn *txn, struct dm_sql_rows *rows, struct dm_token_row *ret, struct dm_err *err)
{
    struct dm_token_row row;
    int rc = dm_sql_next(rows, err);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "there is no such token");
    if ((rc = row_of(rows, &row, err)) < 0)
        return rc;
    if (dm_txn_keep(txn, rows, 1, &row.role, err) < 0 || dm_txn_keep(txn, rows, 2, &row.tenant, err) < 0 ||
        dm_txn_keep(txn, rows, 3, &row.name, err) < 0)
        return DM_EBUDGET;
    *ret = row;
    return 0;
}

int dm_tokens_find(struct dm_txn *txn, const uint8_t digest[DM_DIGEST_BYTES], struct dm_token_row *ret,
                   struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    int rc = dm_sql_start(txn->sql, &rows, err, "SELECT " COLUMNS FROM "WHERE k.digest = ?1",
                          DM_SQL_B(dm_str_n((const char *)digest, DM_DIGEST_BYTES)));

    return rc < 0 ? rc : take_one(txn, rows, ret, err);
}

/* The tokens that are meant: those of one tenant, or (?1 NULL) all. */
static int scope_of(const struct dm_caller *caller, struct dm_tenant_handle *handle, struct dm_sql_arg *ret,
                    struct dm_err *err)
{
    if (handle == NULL && !dm_caller_is_master(caller))
        return dm_fail(err, DM_EPERM, "", "only the master reaches the tokens of the platform");
    *ret = handle != NULL ? DM_SQL_I(handle->tenant_id) : DM_SQL_N;
    return 0;
}

/* Numbers in a row would tell a tenant how many tokens others make, so they follow the clock, in steps by chance. */
static int next_id(struct dm_txn *txn, int64_t *ret, struct dm_err *err)
{
    uint8_t step;

    dm_crypto_random(&step, sizeof(step));
    return dm_sql_int(
        txn->sql, ret, err,
        "INSERT INTO counter (name, value) VALUES ('token', ?1 + ?2) ON CONFLICT (name) DO UPDATE SET value = "
        "CASE WHEN counter.value < ?1 THEN ?1 ELSE counter.value END + ?2 RETURNING value",
        DM_SQL_I(txn->now_ms * IDS_PER_MS), DM_SQL_I(1 + step));
}

int dm_tokens_add(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle,
                  struct dm_token_row *row, struct dm_err *err)
{
    struct dm_sql_arg scope;
    int64_t count = 0;
    int rc = scope_of(caller, handle, &scope, err);

    if (rc >= 0)
        rc = dm_sql_int(txn->sql, &count, err,
                        "SELECT COUNT(*) FROM token WHERE COALESCE(tenant_id, 0) = COALESCE(?1, 0) AND name = ?2",
                        scope, DM_SQL_T(row->name));
    if (rc >= 0 && count > 0)
        rc = dm_fail(err, DM_EEXIST, "/name", "there is a token '%.*s' already", DM_STR_ARG(row->name));
    if (rc < 0 || (rc = next_id(txn, &row->id, err)) < 0)
        return rc;
    row->created_ms = txn->now_ms;
    rc = dm_sql_run(txn->sql, err,
                    "INSERT INTO token (token_id, digest, role, tenant_id, name, created_ms, expires_ms, used_ms) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
                    DM_SQL_I(row->id), DM_SQL_B(dm_str_n((const char *)row->digest, DM_DIGEST_BYTES)),
                    DM_SQL_T(row->role), scope, DM_SQL_T(row->name), DM_SQL_I(row->created_ms),
                    DM_SQL_I(row->expires_ms));
    return rc < 0 ? rc : 0;
}

int dm_tokens_get(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle, int64_t id,
                  struct dm_token_row *ret, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_sql_arg scope;
    int rc = scope_of(caller, handle, &scope, err);

    if (rc < 0)
        return rc;
    rc = dm_sql_start(txn->sql, &rows, err,
                      "SELECT " COLUMNS FROM "WHERE k.token_id = ?1 AND (?2 IS NULL OR k.tenant_id = ?2)", DM_SQL_I(id),
                      scope);
    return rc < 0 ? rc : take_one(txn, rows, ret, err);
}

int dm_tokens_remove(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle, int64_t id,
                     struct dm_err *err)
{
    struct dm_sql_arg scope;
    int rc = scope_of(caller, handle, &scope, err);

    if (rc < 0)
        return rc;
    rc = dm_sql_run(txn->sql, err, "DELETE FROM token WHERE token_id = ?1 AND (?2 IS NULL OR tenant_id = ?2)",
                    DM_SQL_I(id), scope);
    if (rc == 0)
        return dm_fail(err, DM_ENOENT, "", "there is no such token");
    return rc < 0 ? rc : 0;
}

int dm_tokens_touch(struct dm_txn *txn, int64_t id, struct dm_err *err)
{
    int rc = dm_sql_run(txn->sql, err, "UPDATE token SET used_ms = ?2 WHERE token_id = ?1", DM_SQL_I(id),
                        DM_SQL_I(txn->now_ms));

    return rc < 0 ? rc : 0;
}

int dm_tokens_stands(struct dm_txn *txn, int64_t id, bool *ret, struct dm_err *err)
{
    int64_t count = 0;
    int rc = dm_sql_int(txn->sql, &count, err,
                        "SELECT COUNT(*) FROM token WHERE token_id = ?1 AND (expires_ms = 0 OR expires_ms > ?2)",
                        DM_SQL_I(id), DM_SQL_I(txn->now_ms));

    *ret = count > 0;
    return rc;
}

int dm_tokens_any(struct dm_txn *txn, bool *ret, struct dm_err *err)
{
    int64_t count = 0;
    int rc = dm_sql_int_n(txn->sql, "SELECT COUNT(*) FROM token WHERE tenant_id IS NULL", NULL, 0, &count, err);

    *ret = count > 0;
    return rc;
}

int dm_tokens_each(struct dm_txn *txn, const struct dm_caller *caller, struct dm_tenant_handle *handle, int64_t after,
                   size_t limit, dm_tokens_visit visit, void *arg, struct dm_err *err)
{
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_sql_arg scope;
    int rc = scope_of(caller, handle, &scope, err);

    if (rc < 0)
        return rc;
    rc = dm_sql_start(txn->sql, &rows, err,
                      "SELECT " COLUMNS FROM "WHERE k.token_id > ?1 AND (?2 IS NULL OR k.tenant_id = ?2) "
                      "ORDER BY k.token_id LIMIT ?3",
                      DM_SQL_I(after), scope, DM_SQL_I(limit));
    while (rc >= 0 && (rc = dm_sql_next(rows, err)) > 0) {
        struct dm_token_row row;

        if ((rc = row_of(rows, &row, err)) >= 0)
            rc = visit(arg, &row, err);
    }
    return rc;
}
