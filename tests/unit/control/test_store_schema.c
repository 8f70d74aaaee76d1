/* Databases that are opened: older, newer, broken, restored from a backup. */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_rows.h"

#include "control/store/migrate.h"
#include "control/store/replies.h"
#include "control/store/units.h"
#include "base/mem.h"

/* --- schema ------------------------------------------------------------------------------------------------------------ */

static void test_newer_schema(void **state)
{
    struct harness *h = *state;
    struct dm_store_settings settings = {.path = h->database, .sys = dm_sys_real()};
    struct dm_store *store = NULL;

    dm_store_close(h->store);
    h->store = NULL;
    run_sql(h, "INSERT INTO schema_version VALUES (9999)");
    CODE(DM_EVERSION, dm_store_open(&settings, &store, &h->err));
    assert_non_null(strstr(h->err.message, "9999"));
    assert_null(store);
    run_sql(h, "DELETE FROM schema_version WHERE version = 9999");
    harness_open(h);
}

static void test_migrations_apply_once_and_whole(void **state)
{
    struct harness *h = *state;
    static const struct dm_migration list[] = {
        {1, "one", "CREATE TABLE one (n BIGINT)"},
        {2, "two", "CREATE TABLE two (n BIGINT); INSERT INTO two VALUES (1)"},
        {3, "bad", "CREATE TABLE three (n BIGINT); INSERT INTO nowhere VALUES (1)"},
    };
    struct dm_sql *sql;
    char path[160];
    int64_t n;

    snprintf(path, sizeof(path), "%s/m.db", h->dir);
    OK(dm_sqlite_driver.open(path, true, &sql, &h->err));
    OK(dm_migrate(sql, list, 1, &h->err));
    OK(dm_migrate(sql, list, 2, &h->err));
    OK(dm_migrate(sql, list, 2, &h->err));
    OK(dm_sql_int_n(sql, "SELECT COUNT(*) FROM two", NULL, 0, &n, &h->err));
    assert_int_equal(n, 1);
    assert_true(dm_migrate(sql, list, 3, &h->err) < 0);
    OK(dm_sql_int_n(sql, "SELECT MAX(version) FROM schema_version", NULL, 0, &n, &h->err));
    assert_int_equal(n, 2);
    assert_true(dm_sql_int_n(sql, "SELECT COUNT(*) FROM three", NULL, 0, &n, &h->err) < 0);
    CODE(DM_EVERSION, dm_migrate(sql, list, 1, &h->err));
    dm_sqlite_driver.close(sql);
}

static void test_bad_files(void **state)
{
    struct harness *h = *state;
    struct dm_store_settings settings = {.sys = dm_sys_real()};
    struct dm_store *store = NULL;
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/no/such/daemun.db", h->dir);
    settings.path = path;
    CODE(DM_EIO, dm_store_open(&settings, &store, &h->err));
    assert_non_null(strstr(h->err.message, "can't write"));

    snprintf(path, sizeof(path), "%s/garbage.db", h->dir);
    file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database", file);
    fclose(file);
    CODE(DM_ECORRUPT, dm_store_open(&settings, &store, &h->err));
    assert_null(store);
}

static void test_pragmas(void **state)
{
    struct harness *h = *state;
    DM_CLEANUP(dm_sql_finishp) struct dm_sql_rows *rows = NULL;
    struct dm_sql *sql;
    int64_t n;

    OK(dm_sqlite_driver.open(h->database, true, &sql, &h->err));
    OK(dm_sql_int_n(sql, "PRAGMA synchronous", NULL, 0, &n, &h->err));
    assert_int_equal(n, 2);
    OK(dm_sql_int_n(sql, "PRAGMA foreign_keys", NULL, 0, &n, &h->err));
    assert_int_equal(n, 1);
    OK(dm_sql_start_n(sql, "PRAGMA journal_mode", NULL, 0, &rows, &h->err));
    assert_int_equal(dm_sql_next(rows, &h->err), 1);
    assert_true(dm_str_eq(dm_sql_col_str(rows, 0), DM_STR("wal")));
    dm_sql_finishp(&rows);
    dm_sqlite_driver.close(sql);
}

/* The same rows in a database as the first schema made it. */
static void go_back_to_the_first_schema(struct harness *h)
{
    char text[1024];

    dm_store_close(h->store);
    dm_arena_done(&h->arena);
    snprintf(text, sizeof(text), "mv '%s' '%s.now'", h->database, h->database);
    assert_int_equal(system(text), 0);
    run_sql(h, dm_migrations[0].text);
    snprintf(
        text, sizeof(text),
        "CREATE TABLE schema_version (version BIGINT NOT NULL); INSERT INTO schema_version VALUES (1);"
        "ATTACH '%s.now' AS now; INSERT INTO tenant SELECT * FROM now.tenant;"
        "INSERT INTO tenant_epoch SELECT name, epoch FROM now.tenant_epoch;"
        "INSERT INTO change SELECT number, at_ms, actor, tenant_id, tenant, action, kind, name, request_id, details,"
        "previous, hash FROM now.change",
        h->database);
    run_sql(h, text);
}

/* What the first schema held is there after all migrations, and goes on. */
static void test_an_old_database_opens(void **state)
{
    struct harness *h = *state;
    struct dm_reply_row got;
    struct dm_txn *txn;
    int64_t count = 0;

    make_tenants(h);
    record(h, "a", "x");
    record(h, "a", "x");
    record(h, NULL, "x");
    go_back_to_the_first_schema(h);
    run_sql(h, "INSERT INTO token VALUES (5, x'01', 'tenant_admin', 1, 't', 1, 0, 0);"
               "INSERT INTO token VALUES (6, x'02', 'master_admin', NULL, 'm', 1, 0, 0);"
               "INSERT INTO reply SELECT token_id, 'k', zeroblob(32), x'03', 1 FROM token");
    harness_open(h);

    OK(verify(h, &count));
    assert_int_equal(count, 3);
    assert_int_equal(record(h, "a", "x"), 3);
    assert_int_equal(record(h, "b", "x"), 1);
    OK(verify(h, &count));
    assert_int_equal(count, 5);
    run_sql(h, "UPDATE change SET sequence = 9 WHERE number = 1");
    CODE(DM_ECORRUPT, verify(h, &count));

    txn = begin(h, DM_TXN_WRITE);
    OK(dm_replies_get(txn, 5, DM_STR("k"), &got, &h->err));
    OK(dm_tenants_remove(open_tenant(h, txn, "a"), &h->err));
    CODE(DM_ENOENT, dm_replies_get(txn, 5, DM_STR("k"), &got, &h->err));
    OK(dm_replies_get(txn, 6, DM_STR("k"), &got, &h->err));
    dm_txn_abort(&txn);
}

static uint64_t tomorrow(struct dm_sys *sys)
{
    return dm_sys_real()->ops->wall_ns(dm_sys_real()) + UINT64_C(86400) * 1000000000;
}

static struct dm_mark next_mark(struct harness *h)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_mark mark = {0};

    OK(dm_units_next(open_tenant(h, txn, "a"), DM_UNIT_RELEASE, &mark, &h->err));
    OK(dm_units_put(open_tenant(h, txn, "a"), DM_UNIT_RELEASE, mark, DM_STR("d"), &h->err));
    OK(dm_txn_commit(&txn, &h->err));
    return mark;
}

/* What gateways hold and the backup does not know may not be numbered like what is written after it. */
static void test_a_restored_database_gives_no_number_twice(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_sys_ops ops = *dm_sys_real()->ops;
    struct dm_sys later = {&ops};
    struct dm_store_settings settings = {.path = h->database, .sys = &later};
    struct dm_mark lost, again;
    char command[512];

    ops.wall_ns = tomorrow;
    create(h, txn, "a");
    OK(dm_txn_commit(&txn, &h->err));
    next_mark(h);
    dm_store_close(h->store);
    snprintf(command, sizeof(command), "cp '%s' '%s.backup'", h->database, h->database);
    assert_int_equal(system(command), 0);
    settings.sys = dm_sys_real();
    OK(dm_store_open(&settings, &h->store, &h->err));
    lost = next_mark(h);
    dm_store_close(h->store);
    snprintf(command, sizeof(command), "rm '%s'; mv '%s.backup' '%s'", h->database, h->database, h->database);
    assert_int_equal(system(command), 0);
    settings.sys = &later;
    OK(dm_store_open(&settings, &h->store, &h->err));
    again = next_mark(h);
    assert_true(dm_mark_cmp(again, lost) > 0);
    assert_true(dm_mark_cmp(next_mark(h), again) > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_newer_schema),
        TEST(test_migrations_apply_once_and_whole),
        TEST(test_bad_files),
        TEST(test_pragmas),
        TEST(test_an_old_database_opens),
        TEST(test_a_restored_database_gives_no_number_twice),
    };

    return cmocka_run_group_tests_name("store schema", tests, NULL, NULL);
}
