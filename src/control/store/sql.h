/* The seam between the store's statements and a database driver: connections, cached prepared statements, rows.
 *
 * Statements are written once, in the SQL that SQLite and PostgreSQL share, with numbered parameters (?1, ?2, …). A
 * driver (sqlite.c) fills struct dm_sql_driver. Only files of store/ include this header.
 *
 * Threads: a connection is used by one thread at a time; whoever holds the transaction holds the connection. */
#ifndef DM_CONTROL_STORE_SQL_H
#define DM_CONTROL_STORE_SQL_H

#include "base/err.h"

struct dm_sql;      /* a connection */
struct dm_sql_rows; /* a running statement */

enum dm_sql_type { DM_SQL_NULL, DM_SQL_INT, DM_SQL_TEXT, DM_SQL_BLOB };

/* A parameter. Strings are borrowed until the statement is finished. */
struct dm_sql_arg {
    enum dm_sql_type type;
    int64_t n;
    struct dm_str s;
};
#define DM_SQL_I(value) ((struct dm_sql_arg){.type = DM_SQL_INT, .n = (int64_t)(value)})
#define DM_SQL_T(value) ((struct dm_sql_arg){.type = DM_SQL_TEXT, .s = (value)})
#define DM_SQL_B(value) ((struct dm_sql_arg){.type = DM_SQL_BLOB, .s = (value)})
#define DM_SQL_N ((struct dm_sql_arg){.type = DM_SQL_NULL})
/* NULL when the pointer of the string is NULL. */
#define DM_SQL_T_OR_N(value) ((struct dm_sql_arg){.type = (value).ptr ? DM_SQL_TEXT : DM_SQL_NULL, .s = (value)})

struct dm_sql_driver {
    /* where: the driver's address of the database. A reader refuses writes. */
    int (*open)(const char *where, bool is_writer, struct dm_sql **ret, struct dm_err *err);
    void (*close)(struct dm_sql *sql);
    /* Several statements without parameters or rows. */
    int (*script)(struct dm_sql *sql, const char *text, struct dm_err *err);
    /* Takes the statement from the cache or prepares it, and binds. */
    int (*start)(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                 struct dm_sql_rows **ret, struct dm_err *err);
    /* 1 = a row is there, 0 = no more. */
    int (*next)(struct dm_sql_rows *rows, struct dm_err *err);
    bool (*is_null)(struct dm_sql_rows *rows, int column);
    int64_t (*col_int)(struct dm_sql_rows *rows, int column);
    struct dm_str (*col_str)(struct dm_sql_rows *rows, int column);
    int64_t (*changed)(struct dm_sql *sql); /* rows changed by the last statement */
    void (*finish)(struct dm_sql_rows *rows);
};

/* What every driver's connection begins with. */
struct dm_sql {
    const struct dm_sql_driver *driver;
    _Atomic long
        *fault;     /* shared by the store: > 0 counts down at each step; the step that reaches 0 fails. May be NULL */
    bool is_failed; /* a step failed since the transaction began */
};
struct dm_sql_rows {
    struct dm_sql *sql;
};

extern const struct dm_sql_driver dm_sqlite_driver;

DM_MUST_USE int dm_sql_script(struct dm_sql *sql, const char *text, struct dm_err *err);
/* text is a literal that lives as long as the connection. */
DM_MUST_USE int dm_sql_start_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                               struct dm_sql_rows **ret, struct dm_err *err);
DM_MUST_USE int dm_sql_next(struct dm_sql_rows *rows, struct dm_err *err);
void dm_sql_finish(struct dm_sql_rows *rows);
/* For DM_CLEANUP. */
void dm_sql_finishp(struct dm_sql_rows **rows);
/* Runs to the end; returns the number of rows changed. */
DM_MUST_USE int dm_sql_run_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                             struct dm_err *err);
/* The first column of the first row as an integer; DM_ENOENT when there is no row. */
DM_MUST_USE int dm_sql_int_n(struct dm_sql *sql, const char *text, const struct dm_sql_arg *args, size_t n_args,
                             int64_t *ret, struct dm_err *err);

static inline bool dm_sql_is_null(struct dm_sql_rows *rows, int column)
{
    return rows->sql->driver->is_null(rows, column);
}

static inline int64_t dm_sql_col_int(struct dm_sql_rows *rows, int column)
{
    return rows->sql->driver->col_int(rows, column);
}

/* Borrowed until the next step. ptr is NULL for NULL. */
static inline struct dm_str dm_sql_col_str(struct dm_sql_rows *rows, int column)
{
    return rows->sql->driver->col_str(rows, column);
}

#define DM_SQL_ARGS_(...)                                                                                              \
    (const struct dm_sql_arg[]){__VA_ARGS__},                                                                          \
        sizeof((const struct dm_sql_arg[]){__VA_ARGS__}) / sizeof(struct dm_sql_arg)
#define dm_sql_start(sql, ret, err, text, ...) dm_sql_start_n((sql), (text), DM_SQL_ARGS_(__VA_ARGS__), (ret), (err))
#define dm_sql_run(sql, err, text, ...) dm_sql_run_n((sql), (text), DM_SQL_ARGS_(__VA_ARGS__), (err))
#define dm_sql_int(sql, ret, err, text, ...) dm_sql_int_n((sql), (text), DM_SQL_ARGS_(__VA_ARGS__), (ret), (err))

#endif
