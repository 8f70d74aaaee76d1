/* Connections and transactions. One writer connection behind a mutex; reader connections are opened as they are needed
 * and kept. In WAL mode readers see the last commit and wait for nobody. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "control/store/migrate.h"
#include "control/store/store_int.h"
#include "base/vec.h"

struct dm_store {
    const struct dm_sql_driver *driver;
    struct dm_sys *sys;
    char *path;
    pthread_mutex_t writing; /* held from begin to end of a write transaction */
    struct dm_sql *writer;
    pthread_mutex_t mutex; /* guards readers */
    DM_VEC(struct dm_sql *) readers;
    _Atomic long fault;
    int64_t started_s;
};

/* SQLite's own message for a directory that can't be written comes late and says little. */
static int check_writable(const char *path, struct dm_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return dm_fail(err, DM_EIO, "", "can't write the database '%s': %s", path, strerror(errno));
    close(fd);
    return 0;
}

int dm_store_open(const struct dm_store_settings *settings, struct dm_store **ret, struct dm_err *err)
{
    struct dm_store *store;
    struct dm_sql *writer = NULL;
    int rc = check_writable(settings->path, err);

    if (rc < 0 || (rc = dm_sqlite_driver.open(settings->path, true, &writer, err)) < 0)
        return rc;
    if ((rc = dm_migrate(writer, dm_migrations, dm_migrations_count, err)) < 0) {
        writer->driver->close(writer);
        return rc;
    }
    store = dm_calloc(1, sizeof(*store));
    store->driver = &dm_sqlite_driver;
    store->sys = settings->sys;
    store->started_s = (int64_t)(store->sys->ops->wall_ns(store->sys) / 1000000000);
    store->path = dm_strdup(dm_str_of(settings->path));
    store->writer = writer;
    writer->fault = &store->fault;
    pthread_mutex_init(&store->writing, NULL);
    pthread_mutex_init(&store->mutex, NULL);
    *ret = store;
    return 0;
}

void dm_store_close(struct dm_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->readers.count; i++)
        store->driver->close(store->readers.items[i]);
    dm_vec_done(&store->readers);
    store->driver->close(store->writer);
    pthread_mutex_destroy(&store->writing);
    pthread_mutex_destroy(&store->mutex);
    dm_free(store->path);
    dm_free(store);
}

int dm_store_schema_version(void)
{
    return dm_migrations_count;
}

void dm_store_set_fault(struct dm_store *store, long n)
{
    atomic_store(&store->fault, n);
}

long dm_store_fault(const struct dm_store *store)
{
    return atomic_load(&store->fault);
}

static int take_reader(struct dm_store *store, struct dm_sql **ret, struct dm_err *err)
{
    struct dm_sql *sql = NULL;
    int rc;

    pthread_mutex_lock(&store->mutex);
    if (store->readers.count > 0)
        sql = store->readers.items[--store->readers.count];
    pthread_mutex_unlock(&store->mutex);
    if (sql == NULL) {
        if ((rc = store->driver->open(store->path, false, &sql, err)) < 0)
            return rc;
        sql->fault = &store->fault;
    }
    *ret = sql;
    return 0;
}

static void give_reader(struct dm_store *store, struct dm_sql *sql)
{
    pthread_mutex_lock(&store->mutex);
    *dm_vec_push(&store->readers) = sql;
    pthread_mutex_unlock(&store->mutex);
}

static int take(struct dm_store *store, enum dm_txn_kind kind, struct dm_sql **ret, struct dm_err *err)
{
    if (kind == DM_TXN_READ)
        return take_reader(store, ret, err);
    pthread_mutex_lock(&store->writing);
    *ret = store->writer;
    return 0;
}

static void give(struct dm_store *store, enum dm_txn_kind kind, struct dm_sql *sql)
{
    if (kind == DM_TXN_READ)
        give_reader(store, sql);
    else
        pthread_mutex_unlock(&store->writing);
}

int dm_txn_begin(struct dm_store *store, enum dm_txn_kind kind, struct dm_arena *arena, struct dm_txn **ret,
                 struct dm_err *err)
{
    struct dm_sql *sql = NULL;
    struct dm_txn *txn;
    int rc = take(store, kind, &sql, err);

    if (rc < 0)
        return rc;
    sql->is_failed = false;
    if ((rc = dm_sql_script(sql, kind == DM_TXN_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", err)) < 0) {
        give(store, kind, sql);
        return rc;
    }
    txn = dm_calloc(1, sizeof(*txn));
    *txn = (struct dm_txn){.store = store, .sql = sql, .arena = arena, .kind = kind, .started_s = store->started_s};
    txn->now_ms = (int64_t)(store->sys->ops->wall_ns(store->sys) / 1000000);
    *ret = txn;
    return 0;
}

static void end(struct dm_txn *txn)
{
    give(txn->store, txn->kind, txn->sql);
    dm_free(txn);
}

int dm_txn_commit(struct dm_txn **txn_ref, struct dm_err *err)
{
    struct dm_txn *txn = *txn_ref;
    int rc = 0;

    if (txn->sql->is_failed)
        rc = dm_fail(err, DM_EIO, "", "a statement of the transaction failed");
    else
        rc = dm_sql_script(txn->sql, "COMMIT", err);
    if (rc < 0) {
        dm_txn_abort(txn_ref);
        return rc;
    }
    *txn_ref = NULL;
    end(txn);
    return 0;
}

void dm_txn_abort(struct dm_txn **txn_ref)
{
    struct dm_txn *txn = *txn_ref;

    if (txn == NULL)
        return;
    *txn_ref = NULL;
    txn->sql->driver->script(txn->sql, "ROLLBACK", NULL);
    end(txn);
}

struct dm_arena *dm_txn_arena(struct dm_txn *txn)
{
    return txn->arena;
}

int64_t dm_txn_now_ms(const struct dm_txn *txn)
{
    return txn->now_ms;
}

int dm_txn_fail_budget(struct dm_err *err)
{
    return dm_fail(err, DM_EBUDGET, "", "the answer needs more memory than one request may use");
}

int dm_txn_keep(struct dm_txn *txn, struct dm_sql_rows *rows, int column, struct dm_str *ret, struct dm_err *err)
{
    struct dm_str s = dm_sql_col_str(rows, column);

    *ret = s;
    if (s.ptr != NULL && dm_arena_str(txn->arena, s, ret) < 0)
        return dm_txn_fail_budget(err);
    return 0;
}

int dm_txn_number(struct dm_txn *txn, const char *counter, int64_t *ret, struct dm_err *err)
{
    return dm_sql_int(txn->sql, ret, err,
                      "INSERT INTO counter (name, value) VALUES (?1, 1) "
                      "ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value",
                      DM_SQL_T(dm_str_of(counter)));
}
