/* The SQLite driver: one file, WAL, synchronous=FULL (an acknowledged commit survives power loss), foreign keys on.
 * Prepared statements are kept per connection, found by their text. */
#include <sqlite3.h>

#include "control/store/sql.h"
#include "base/map.h"
#include "base/mem.h"

#define BUSY_TIMEOUT_MS 10000

struct sqlite_conn {
    struct dm_sql sql;
    sqlite3 *db;
    struct dm_map statements; /* text -> struct sqlite_rows */
};

struct sqlite_rows {
    struct dm_sql_rows rows;
    sqlite3_stmt *stmt;
    bool is_busy;
    bool is_kept; /* in the cache; otherwise freed by finish */
};

static struct sqlite_conn *conn_of(struct dm_sql *sql)
{
    return DM_CONTAINER_OF(sql, struct sqlite_conn, sql);
}

static struct sqlite_rows *rows_of(struct dm_sql_rows *rows)
{
    return DM_CONTAINER_OF(rows, struct sqlite_rows, rows);
}

static int code_of(sqlite3 *db)
{
    switch (sqlite3_extended_errcode(db)) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY: return DM_EEXIST;
    case SQLITE_CONSTRAINT_FOREIGNKEY: return DM_ECONFLICT;
    default: break;
    }
    switch (sqlite3_errcode(db)) {
    case SQLITE_BUSY: return DM_EAGAIN;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return DM_ECORRUPT;
    default: return DM_EIO;
    }
}

static int fail(sqlite3 *db, struct dm_err *err)
{
    return dm_fail(err, code_of(db), "", "the database failed: %s", sqlite3_errmsg(db));
}

static int script(struct dm_sql *sql, const char *text, struct dm_err *err)
{
    sqlite3 *db = conn_of(sql)->db;

    return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err);
}

static int set_up(struct sqlite_conn *conn, bool is_writer, struct dm_err *err)
{
    sqlite3_busy_timeout(conn->db, BUSY_TIMEOUT_MS);
    if (script(
            &conn->sql,
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000; PRAGMA secure_delete = ON",
            err) < 0)
        return err->code;
    return script(&conn->sql, is_writer ? "PRAGMA journal_mode = WAL" : "PRAGMA query_only = ON", err);
}

static void conn_close(struct dm_sql *sql)
{
    struct sqlite_conn *conn = conn_of(sql);
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&conn->statements, &at)) != NULL) {
        struct sqlite_rows *rows = slot->value;

        sqlite3_finalize(rows->stmt);
        dm_free(rows);
    }
    dm_map_done(&conn->statements);
    sqlite3_close(conn->db);
    dm_free(conn);
}

static int conn_open(const char *where, bool is_writer, struct dm_sql **ret, struct dm_err *err)
{
    struct sqlite_conn *conn = dm_calloc(1, sizeof(*conn));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (is_writer ? SQLITE_OPEN_CREATE : 0);
    int rc;

    conn->sql.driver = &dm_sqlite_driver;
    dm_map_init_random(&conn->statements);
    if (sqlite3_open_v2(where, &conn->db, flags, NULL) != SQLITE_OK)
        rc = dm_fail(err, DM_EIO, "", "can't open the database '%s': %s", where, sqlite3_errmsg(conn->db));
    else if ((rc = set_up(conn, is_writer, err)) < 0)
        dm_fail(err, rc, "", "can't use the database '%s': %s", where, sqlite3_errmsg(conn->db));
    if (rc < 0) {
        conn_close(&conn->sql);
        return rc;
    }
    *ret = &conn->sql;
    return 0;
}

static int prepare(struct sqlite_conn *conn, const char *text, struct sqlite_rows **ret, struct dm_err *err)
{
    struct sqlite_rows *kept = dm_map_get(&conn->statements, dm_str_of(text));
    struct sqlite_rows *rows;
    sqlite3_stmt *stmt = NULL;

    if (kept != NULL && !kept->is_busy) {
        *ret = kept;
        return 0;
    }
    if (sqlite3_prepare_v3(conn->db, text, -1, kept == NULL ? SQLITE_PREPARE_PERSISTENT : 0, &stmt, NULL) != SQLITE_OK)
        return fail(conn->db, err);
    rows = dm_calloc(1, sizeof(*rows));
    *rows = (struct sqlite_rows){.rows.sql = &conn->sql, .stmt = stmt, .is_kept = kept == NULL};
    if (rows->is_kept)
        dm_map_put(&conn->statements, dm_str_of(text), rows);
    *ret = rows;
    return 0;
}

static int bind(sqlite3_stmt *stmt, int at, const struct dm_sql_arg *arg)
{
    const char *ptr = arg->s.ptr != NULL ? arg->s.ptr : "";

    switch (arg->type) {
    case DM_SQL_INT: return sqlite3_bind_int64(stmt, at, arg->n);
    case DM_SQL_TEXT: return sqlite3_bind_text64(stmt, at, ptr, arg->s.len, SQLITE_STATIC, SQLITE_UTF8);
    case DM_SQL_BLOB: return sqlite3_bind_blob64(stmt, at, ptr, arg->s.len, SQLITE_STATIC);
    case DM_SQL_NULL: break;
    }
    return sqlite3_bind_null(stmt, at);
}

static void finish(struct dm_sql_rows *base)
{
    struct sqlite_rows *rows = rows_of(base);

    sqlite3_reset(rows->stmt);
    sqlite3_clear_bindings(rows->stmt);
    rows->is_busy = false;
    if (rows->is_kept)
        return;
    sqlite3_finalize(rows->stmt);
    dm_free(rows);
}

static int start(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                 struct dm_sql_rows **ret, struct dm_err *err)
{
    struct sqlite_conn *conn = conn_of(sql);
    struct sqlite_rows *rows = NULL;
    int rc = prepare(conn, text, &rows, err);

    if (rc < 0)
        return rc;
    rows->is_busy = true;
    for (size_t i = 0; i < n_args; i++)
        if (bind(rows->stmt, (int)i + 1, &args[i]) != SQLITE_OK) {
            rc = fail(conn->db, err);
            finish(&rows->rows);
            return rc;
        }
    *ret = &rows->rows;
    return 0;
}

static int next(struct dm_sql_rows *rows, struct dm_err *err)
{
    switch (sqlite3_step(rows_of(rows)->stmt)) {
    case SQLITE_ROW: return 1;
    case SQLITE_DONE: return 0;
    default: return fail(conn_of(rows->sql)->db, err);
    }
}

static bool is_null(struct dm_sql_rows *rows, int column)
{
    return sqlite3_column_type(rows_of(rows)->stmt, column) == SQLITE_NULL;
}

static int64_t col_int(struct dm_sql_rows *rows, int column)
{
    return sqlite3_column_int64(rows_of(rows)->stmt, column);
}

static struct dm_str col_str(struct dm_sql_rows *rows, int column)
{
    sqlite3_stmt *stmt = rows_of(rows)->stmt;
    const char *ptr = sqlite3_column_blob(stmt, column);

    if (ptr == NULL)
        return is_null(rows, column) ? DM_STR_NULL : DM_STR("");
    return dm_str_n(ptr, (size_t)sqlite3_column_bytes(stmt, column));
}

static int64_t changed(struct dm_sql *sql)
{
    return sqlite3_changes64(conn_of(sql)->db);
}

const struct dm_sql_driver dm_sqlite_driver = {
    .open = conn_open,
    .close = conn_close,
    .script = script,
    .start = start,
    .next = next,
    .is_null = is_null,
    .col_int = col_int,
    .col_str = col_str,
    .changed = changed,
    .finish = finish,
};
