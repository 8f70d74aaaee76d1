#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#include "control/audit/record.h"
#include "control/store/credentials.h"
#include "control/store/domains.h"
#include "control/store/migrate.h"
#include "control/store/replies.h"
#include "control/store/resources.h"
#include "control/store/tokens.h"
#include "control/store/units.h"
#include "control/store/usage.h"
#include "base/mem.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if ((call) < 0)                                                                                                \
            fail_msg("%s: %s", #call, h->err.message);                                                                 \
    } while (0)
#define CODE(code, call) assert_int_equal((call), (code))

static struct dm_txn *begin(struct harness *h, enum dm_txn_kind kind)
{
    struct dm_txn *txn = NULL;

    OK(dm_txn_begin(h->store, kind, &h->arena, &txn, &h->err));
    return txn;
}

static struct dm_tenant_handle *create(struct harness *h, struct dm_txn *txn, const char *name)
{
    struct dm_tenant_handle *handle = NULL;

    OK(dm_tenants_create(txn, &master_caller, dm_str_of(name), &handle, &h->err));
    return handle;
}

static struct dm_tenant_handle *open_tenant(struct harness *h, struct dm_txn *txn, const char *name)
{
    struct dm_tenant_handle *handle = NULL;

    OK(dm_tenants_open(txn, &master_caller, dm_str_of(name), &handle, &h->err));
    return handle;
}

static struct dm_resource_row row(const char *name, const char *body, int64_t version)
{
    return (struct dm_resource_row){
        .kind = DM_STR("backend"), .name = dm_str_of(name), .body = dm_str_of(body), .number = 1, .version = version};
}

static int count_resource(void *arg, const struct dm_resource_row *row_, struct dm_err *err)
{
    ++*(int *)arg;
    return 0;
}

static void test_resources(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    struct dm_resource_row one = row("x", "{\"v\":1}", 1), two = row("y", "{}", 2), got;
    size_t count;
    int n = 0;

    OK(dm_resources_put(a, &one, &h->err));
    OK(dm_resources_put(a, &two, &h->err));
    OK(dm_txn_commit(&txn, &h->err));

    txn = begin(h, DM_TXN_WRITE);
    a = open_tenant(h, txn, "a");
    one.body = DM_STR("{\"v\":2}");
    one.version = 3;
    OK(dm_resources_put(a, &one, &h->err));
    OK(dm_resources_get(a, DM_STR("backend"), DM_STR("x"), &got, &h->err));
    assert_int_equal(got.version, 3);
    assert_true(dm_str_eq(got.body, one.body));
    OK(dm_resources_count(a, DM_STR("backend"), &count, &h->err));
    assert_int_equal(count, 2);
    OK(dm_resources_each(a, DM_STR("backend"), DM_STR("x"), 10, count_resource, &n, &h->err));
    assert_int_equal(n, 1);
    OK(dm_resources_remove(a, DM_STR("backend"), DM_STR("x"), &h->err));
    CODE(DM_ENOENT, dm_resources_remove(a, DM_STR("backend"), DM_STR("x"), &h->err));
    CODE(DM_ENOENT, dm_resources_get(a, DM_STR("backend"), DM_STR("x"), &got, &h->err));
    dm_txn_abort(&txn);

    txn = begin(h, DM_TXN_READ);
    a = open_tenant(h, txn, "a");
    OK(dm_resources_get(a, DM_STR("backend"), DM_STR("x"), &got, &h->err));
    assert_int_equal(got.version, 1);
    dm_txn_abort(&txn);
}

static void test_a_read_transaction_writes_nothing(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_resource_row one = row("x", "{}", 1);

    create(h, txn, "a");
    OK(dm_txn_commit(&txn, &h->err));
    txn = begin(h, DM_TXN_READ);
    CODE(DM_EIO, dm_resources_put(open_tenant(h, txn, "a"), &one, &h->err));
    CODE(DM_EIO, dm_txn_commit(&txn, &h->err));
    assert_null(txn);
}

/* --- P2: a handle of one tenant reaches nothing of another --------------------------------------------------------- */

static int count_any(void *arg)
{
    ++*(int *)arg;
    return 0;
}

static int count_credential(void *arg, const struct dm_credential_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int count_subscription(void *arg, struct dm_str product, struct dm_str plan, struct dm_str application,
                              struct dm_err *err)
{
    return count_any(arg);
}

static int count_unit(void *arg, const struct dm_unit_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int count_token(void *arg, const struct dm_token_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int count_change(void *arg, const struct dm_change_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int count_usage(void *arg, const struct dm_usage_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int count_tenant(void *arg, const struct dm_tenant_row *row_, struct dm_err *err)
{
    return count_any(arg);
}

static int64_t fill_everything(struct harness *h, struct dm_txn *txn, struct dm_tenant_handle *t)
{
    struct dm_resource_row resource = row("x", "{}", 1);
    struct dm_credential_row credential = {
        .application = DM_STR("app"), .name = DM_STR("c"), .type = DM_STR("api_key")};
    struct dm_token_row token = {.role = DM_STR("tenant_admin"), .name = DM_STR("tok"), .digest = {7}};
    struct dm_usage_row usage = {.product = DM_STR("p"), .metric = DM_STR("hits"), .minute = 5, .count = 3};
    struct dm_audit_entry entry = {
        .caller = &master_caller, .tenant = t, .kind = DM_STR("backend"), .name = DM_STR("x"), .details = DM_STR("[]")};
    struct dm_mark mark;
    int64_t number;

    OK(dm_tenants_update(t, DM_STR("{}"), false, 1, &h->err));
    OK(dm_resources_put(t, &resource, &h->err));
    OK(dm_resources_subscribe(t, DM_STR("app"), DM_STR("p"), DM_STR("plan"), &h->err));
    OK(dm_domains_claim(t, DM_STR("b.example"), &h->err));
    OK(dm_credentials_add(t, &credential, &h->err));
    OK(dm_credentials_set_digest_key(t, 1, DM_STR("sealed"), &h->err));
    OK(dm_units_next(t, DM_UNIT_RELEASE, &mark, &h->err));
    OK(dm_units_put(t, DM_UNIT_RELEASE, mark, DM_STR("doc"), &h->err));
    OK(dm_tokens_add(txn, &master_caller, t, &token, &h->err));
    OK(dm_usage_add(t, &usage, &h->err));
    OK(dm_audit_record(txn, &entry, &number, &h->err));
    return token.id;
}

static void test_isolation(void **state)
{
    struct harness *h = *state;
    struct dm_caller admin_a = {.standing = DM_STANDING_TENANT_ADMIN, .tenant = DM_STR("a"), .name = DM_STR("x")};
    struct dm_caller nobody = {0};
    struct dm_usage_query everything = {.from_minute = 0, .to_minute = 100};
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a"), *b = create(h, txn, "b"), *handle;
    int64_t token_b = fill_everything(h, txn, b), number;
    struct dm_resource_row resource;
    struct dm_unit_row unit;
    struct dm_token_row token;
    struct dm_str sealed;
    size_t size;
    int n = 0;

    admin_a.tenant_number = dm_tenants_number(a);
    CODE(DM_ENOENT, dm_resources_get(a, DM_STR("backend"), DM_STR("x"), &resource, &h->err));
    CODE(DM_ENOENT, dm_resources_remove(a, DM_STR("backend"), DM_STR("x"), &h->err));
    OK(dm_resources_count(a, DM_STR("backend"), &size, &h->err));
    assert_int_equal(size, 0);
    OK(dm_resources_each(a, DM_STR("backend"), DM_STR(""), 0, count_resource, &n, &h->err));
    OK(dm_resources_unsubscribe(a, DM_STR("app"), &h->err));
    OK(dm_resources_subscribed(a, count_subscription, &n, &h->err));
    OK(dm_domains_release_all(a, &h->err));
    CODE(DM_EEXIST, dm_domains_claim(a, DM_STR("b.example"), &h->err));
    CODE(DM_ENOENT, dm_credentials_remove(a, DM_STR("app"), DM_STR("c"), &h->err));
    OK(dm_credentials_remove_all(a, DM_STR("app"), &h->err));
    OK(dm_credentials_each(a, DM_STR_NULL, count_credential, &n, &h->err));
    CODE(DM_ENOENT, dm_credentials_digest_key(a, &number, &sealed, &h->err));
    CODE(DM_ENOENT, dm_units_get(a, DM_UNIT_RELEASE, &unit, &h->err));
    OK(dm_units_of(a, count_unit, &n, &h->err));
    CODE(DM_ENOENT, dm_tokens_get(txn, &admin_a, a, token_b, &token, &h->err));
    CODE(DM_ENOENT, dm_tokens_remove(txn, &admin_a, a, token_b, &h->err));
    OK(dm_tokens_each(txn, &admin_a, a, 0, 10, count_token, &n, &h->err));
    OK(dm_changes_each(txn, &admin_a, a, 0, 10, count_change, &n, &h->err));
    OK(dm_changes_latest(a, &number, &h->err));
    assert_int_equal(number, 0);
    OK(dm_usage_each(a, &everything, 10, count_usage, &n, &h->err));
    assert_int_equal(n, 0);

    CODE(DM_ENOENT, dm_tenants_open(txn, &admin_a, DM_STR("b"), &handle, &h->err));
    CODE(DM_ENOENT, dm_tenants_open(txn, &nobody, DM_STR("b"), &handle, &h->err));
    CODE(DM_EPERM, dm_tenants_create(txn, &admin_a, DM_STR("c"), &handle, &h->err));
    CODE(DM_EPERM, dm_units_all(txn, &admin_a, count_unit, &n, &h->err));
    CODE(DM_EPERM, dm_changes_each(txn, &admin_a, NULL, 0, 10, count_change, &n, &h->err));
    CODE(DM_EPERM, dm_changes_walk(txn, &admin_a, count_change, &n, &h->err));
    CODE(DM_EPERM, dm_tokens_each(txn, &admin_a, NULL, 0, 10, count_token, &n, &h->err));
    CODE(DM_EPERM, dm_tokens_remove(txn, &admin_a, NULL, token_b, &h->err));
    OK(dm_tenants_each(txn, &admin_a, DM_STR(""), 10, count_tenant, &n, &h->err));
    assert_int_equal(n, 1);

    /* What the calls above did not reach is all there. */
    n = 0;
    OK(dm_resources_each(b, DM_STR("backend"), DM_STR(""), 0, count_resource, &n, &h->err));
    OK(dm_resources_subscribed(b, count_subscription, &n, &h->err));
    OK(dm_credentials_each(b, DM_STR_NULL, count_credential, &n, &h->err));
    OK(dm_units_of(b, count_unit, &n, &h->err));
    OK(dm_tokens_each(txn, &master_caller, b, 0, 10, count_token, &n, &h->err));
    OK(dm_changes_each(txn, &master_caller, b, 0, 10, count_change, &n, &h->err));
    OK(dm_usage_each(b, &everything, 10, count_usage, &n, &h->err));
    assert_int_equal(n, 7);

    /* Removing one leaves the other, and its own is gone. */
    OK(dm_tenants_remove(b, &h->err));
    CODE(DM_ENOENT, dm_tenants_open(txn, &master_caller, DM_STR("b"), &handle, &h->err));
    OK(dm_domains_claim(a, DM_STR("b.example"), &h->err));
    b = create(h, txn, "b");
    n = 0;
    OK(dm_changes_each(txn, &master_caller, b, 0, 10, count_change, &n, &h->err));
    OK(dm_units_of(b, count_unit, &n, &h->err));
    OK(dm_credentials_each(b, DM_STR_NULL, count_credential, &n, &h->err));
    assert_int_equal(n, 0);
    dm_txn_abort(&txn);
}

/* --- domains --------------------------------------------------------------------------------------------------------- */

static void test_domains(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a"), *b = create(h, txn, "b");

    OK(dm_domains_claim(a, DM_STR("*.shop.example"), &h->err));
    OK(dm_domains_claim(a, DM_STR("x.shop.example"), &h->err)); /* under the own wildcard */
    CODE(DM_EEXIST, dm_domains_claim(b, DM_STR("y.shop.example"), &h->err));
    CODE(DM_EEXIST, dm_domains_claim(b, DM_STR("z.y.shop.example"), &h->err));
    CODE(DM_EEXIST, dm_domains_claim(b, DM_STR("*.y.shop.example"), &h->err));
    CODE(DM_EEXIST, dm_domains_claim(b, DM_STR("*.example"), &h->err)); /* would hold a's */
    OK(dm_domains_claim(b, DM_STR("shop.example"), &h->err));           /* a wildcard does not hold its own base */
    OK(dm_domains_claim(b, DM_STR("myshop.example"), &h->err));
    OK(dm_domains_claim(b, DM_STR("*.myshop.example"), &h->err));
    CODE(DM_EEXIST, dm_domains_claim(a, DM_STR("shop.example"), &h->err));
    assert_non_null(strstr(h->err.message, "'b'"));
    dm_txn_abort(&txn);
}

/* --- units ------------------------------------------------------------------------------------------------------------ */

static void test_marks_never_go_back(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    struct dm_mark first, next, again;
    struct dm_unit_row unit;

    OK(dm_units_next(a, DM_UNIT_GRANTS, &first, &h->err));
    assert_int_equal(first.sequence, 1);
    OK(dm_units_put(a, DM_UNIT_GRANTS, first, DM_STR("one"), &h->err));
    CODE(DM_ECONFLICT, dm_units_put(a, DM_UNIT_GRANTS, first, DM_STR("one"), &h->err));
    OK(dm_units_next(a, DM_UNIT_GRANTS, &next, &h->err));
    assert_int_equal(next.sequence, 2);
    OK(dm_units_put(a, DM_UNIT_GRANTS, next, DM_STR("two"), &h->err));
    OK(dm_units_get(a, DM_UNIT_GRANTS, &unit, &h->err));
    assert_true(dm_str_eq(unit.document, DM_STR("two")));

    OK(dm_units_raise_epoch(a, next.epoch + 10, &h->err));
    OK(dm_units_next(a, DM_UNIT_GRANTS, &again, &h->err));
    assert_int_equal(again.epoch, next.epoch + 11);
    assert_int_equal(again.sequence, 1);

    OK(dm_tenants_remove(a, &h->err));
    a = create(h, txn, "a");
    OK(dm_units_next(a, DM_UNIT_GRANTS, &first, &h->err));
    assert_true(dm_mark_cmp(first, again) > 0);
    dm_txn_abort(&txn);
}

/* --- schema ------------------------------------------------------------------------------------------------------------ */

static void run_sql(struct harness *h, const char *text)
{
    char *message = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(h->database, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
}

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

/* --- hash chain ---------------------------------------------------------------------------------------------------------- */

/* A change of the tenant, or of the platform (NULL). Returns its sequence. */
static int64_t record(struct harness *h, const char *tenant, const char *name)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_audit_entry entry = {.caller = &master_caller,
                                   .tenant = tenant != NULL ? open_tenant(h, txn, tenant) : NULL,
                                   .action = DM_CHANGE_UPDATE,
                                   .kind = DM_STR("tenant"),
                                   .name = dm_str_of(name),
                                   .details = DM_STR("[]")};
    int64_t sequence;

    OK(dm_audit_record(txn, &entry, &sequence, &h->err));
    OK(dm_txn_commit(&txn, &h->err));
    return sequence;
}

static int verify(struct harness *h, int64_t *ret_count)
{
    struct dm_txn *txn = begin(h, DM_TXN_READ);
    int rc = dm_audit_verify(txn, &master_caller, ret_count, &h->err);

    dm_txn_abort(&txn);
    return rc;
}

static void test_hash_chain(void **state)
{
    struct harness *h = *state;
    int64_t count = 0;

    for (int i = 0; i < 5; i++)
        record(h, NULL, "x");
    OK(verify(h, &count));
    assert_int_equal(count, 5);
    run_sql(h, "UPDATE change SET name = 'y' WHERE number = 3");
    CODE(DM_ECORRUPT, verify(h, &count));
    assert_non_null(strstr(h->err.message, "change 3"));
    run_sql(h, "UPDATE change SET name = 'x' WHERE number = 3");
    OK(verify(h, &count));
    run_sql(h, "DELETE FROM change WHERE number = 4");
    CODE(DM_ECORRUPT, verify(h, &count));
}

static void make_tenants(struct harness *h)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);

    create(h, txn, "a");
    create(h, txn, "b");
    OK(dm_txn_commit(&txn, &h->err));
}

static void remove_tenant(struct harness *h, const char *name)
{
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);

    OK(dm_tenants_remove(open_tenant(h, txn, name), &h->err));
    OK(dm_txn_commit(&txn, &h->err));
}

/* P2: what a tenant sees counts its own changes alone; no number comes twice under a name. */
static void test_sequences_are_of_one_name(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn;
    int64_t count = 0;

    make_tenants(h);
    assert_int_equal(record(h, "a", "x"), 1);
    assert_int_equal(record(h, "b", "x"), 1);
    assert_int_equal(record(h, "b", "x"), 2);
    assert_int_equal(record(h, NULL, "x"), 4);
    assert_int_equal(record(h, "a", "x"), 2);
    OK(verify(h, &count));
    assert_int_equal(count, 5);
    run_sql(h, "UPDATE change SET sequence = 3 WHERE number = 5");
    CODE(DM_ECORRUPT, verify(h, &count));
    run_sql(h, "UPDATE change SET sequence = 2 WHERE number = 5");
    OK(verify(h, &count));

    remove_tenant(h, "a");
    txn = begin(h, DM_TXN_WRITE);
    create(h, txn, "a");
    OK(dm_txn_commit(&txn, &h->err));
    assert_int_equal(record(h, "a", "x"), 3);
}

/* Ids of tokens rise with the clock, not with the number of tokens. */
static void test_token_ids(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    int64_t last = dm_txn_now_ms(txn), first = 0;
    char name[16];

    for (int i = 0; i < 32; i++) {
        struct dm_token_row token = {.role = DM_STR("master_admin"), .digest = {(uint8_t)i}};

        snprintf(name, sizeof(name), "t%d", i);
        token.name = dm_str_of(name);
        OK(dm_tokens_add(txn, &master_caller, NULL, &token, &h->err));
        assert_true(token.id > last);
        first = i == 0 ? token.id : first;
        last = token.id;
    }
    assert_true(last - first > 31);
    dm_txn_abort(&txn);
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

/* --- the rest ---------------------------------------------------------------------------------------------------------- */

static int64_t usage_sum;

static int add_usage(void *arg, const struct dm_usage_row *row_, struct dm_err *err)
{
    usage_sum += row_->count;
    ++*(int *)arg;
    return 0;
}

static void test_usage(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    struct dm_usage_row usage = {.product = DM_STR("p"), .metric = DM_STR("hits"), .application = 4, .count = 2};
    struct dm_usage_query query = {.from_minute = 0, .to_minute = 200, .step_minutes = 60};
    int n = 0;

    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 7, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 7, &h->err), 0);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 6, &h->err), 1); /* late, not lost */
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 6, &h->err), 0);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 9, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 7, &h->err), 0);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 8, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 8 + DM_USAGE_WINDOW, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 9, &h->err), 0);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 10, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 8, &h->err), 0); /* below the window */
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 100000, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("g"), 99999, &h->err), 1);
    assert_int_equal(dm_usage_batch(txn, DM_STR("other"), 1, &h->err), 1);
    for (usage.minute = 0; usage.minute < 120; usage.minute += 30) {
        OK(dm_usage_add(a, &usage, &h->err));
        OK(dm_usage_add(a, &usage, &h->err));
    }
    usage_sum = 0;
    OK(dm_usage_each(a, &query, 100, add_usage, &n, &h->err));
    assert_int_equal(n, 2);
    assert_int_equal(usage_sum, 16);
    query.after =
        (struct dm_usage_row){.product = DM_STR("p"), .metric = DM_STR("hits"), .application = 4, .minute = 0};
    usage_sum = n = 0;
    OK(dm_usage_each(a, &query, 100, add_usage, &n, &h->err));
    assert_int_equal(n, 1);
    assert_int_equal(usage_sum, 8);
    query.after.application = 5;
    n = 0;
    OK(dm_usage_each(a, &query, 100, add_usage, &n, &h->err));
    assert_int_equal(n, 0);
    query.after = (struct dm_usage_row){0};
    query.step_minutes = 0;
    n = 0;
    OK(dm_usage_each(a, &query, 100, add_usage, &n, &h->err));
    assert_int_equal(n, 1);
    query.metric = DM_STR("other");
    n = 0;
    OK(dm_usage_each(a, &query, 100, add_usage, &n, &h->err));
    assert_int_equal(n, 0);
    dm_txn_abort(&txn);
}

static void test_replies(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    struct dm_reply_row reply = {.token_id = 1, .key = DM_STR("k"), .sealed = DM_STR("s"), .request = {1, 2}}, got;

    OK(dm_replies_put(txn, NULL, &reply, &h->err));
    OK(dm_replies_get(txn, 1, DM_STR("k"), &got, &h->err));
    assert_memory_equal(got.request, reply.request, sizeof(got.request));
    CODE(DM_ENOENT, dm_replies_get(txn, 2, DM_STR("k"), &got, &h->err));
    /* What is about a tenant goes with it, whoever asked. */
    reply.key = DM_STR("of a");
    OK(dm_replies_put(txn, a, &reply, &h->err));
    OK(dm_replies_get(txn, 1, DM_STR("of a"), &got, &h->err));
    OK(dm_tenants_remove(a, &h->err));
    CODE(DM_ENOENT, dm_replies_get(txn, 1, DM_STR("of a"), &got, &h->err));
    OK(dm_replies_get(txn, 1, DM_STR("k"), &got, &h->err));
    OK(dm_replies_purge(txn, dm_txn_now_ms(txn) + 1, &h->err));
    CODE(DM_ENOENT, dm_replies_get(txn, 1, DM_STR("k"), &got, &h->err));
    dm_txn_abort(&txn);
}

static void test_a_failed_transaction_does_not_commit(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    struct dm_resource_row one = row("x", "{}", 1);

    dm_store_set_fault(h->store, 1);
    CODE(DM_EIO, dm_resources_put(a, &one, &h->err));
    CODE(DM_EIO, dm_txn_commit(&txn, &h->err));
    txn = begin(h, DM_TXN_READ);
    CODE(DM_ENOENT, dm_tenants_open(txn, &master_caller, DM_STR("a"), &a, &h->err));
    dm_txn_abort(&txn);
}

/* --- threads ------------------------------------------------------------------------------------------------------------ */

#define WRITES 40

static void *write_many(void *arg)
{
    struct harness *h = arg;

    for (int i = 0; i < WRITES; i++) {
        struct dm_arena arena;
        struct dm_txn *txn = NULL;
        struct dm_tenant_handle *a;
        struct dm_resource_row one = row("n", "{}", i);
        int64_t number;

        dm_arena_init(&arena, NULL, 1u << 20);
        if (dm_txn_begin(h->store, DM_TXN_WRITE, &arena, &txn, NULL) == 0 &&
            dm_tenants_open(txn, &master_caller, DM_STR("a"), &a, NULL) == 0 &&
            dm_resources_number(a, DM_STR("backend"), &number, NULL) == 0 && dm_resources_put(a, &one, NULL) == 0 &&
            dm_txn_commit(&txn, NULL) < 0)
            abort();
        dm_txn_abort(&txn);
        dm_arena_done(&arena);
    }
    return NULL;
}

static void *read_many(void *arg)
{
    struct harness *h = arg;

    for (int i = 0; i < WRITES; i++) {
        struct dm_arena arena;
        struct dm_txn *txn = NULL;
        struct dm_tenant_handle *a;
        size_t first, second;

        dm_arena_init(&arena, NULL, 1u << 20);
        if (dm_txn_begin(h->store, DM_TXN_READ, &arena, &txn, NULL) < 0 ||
            dm_tenants_open(txn, &master_caller, DM_STR("a"), &a, NULL) < 0 ||
            dm_resources_count(a, DM_STR("backend"), &first, NULL) < 0 ||
            dm_resources_count(a, DM_STR("backend"), &second, NULL) < 0 || first != second)
            abort();
        dm_txn_abort(&txn);
        dm_arena_done(&arena);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a");
    pthread_t threads[4];
    int64_t number;

    OK(dm_txn_commit(&txn, &h->err));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? write_many : read_many, h), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    txn = begin(h, DM_TXN_WRITE);
    a = open_tenant(h, txn, "a");
    OK(dm_resources_number(a, DM_STR("backend"), &number, &h->err));
    assert_int_equal(number, 2 * WRITES + 1);
    dm_txn_abort(&txn);
}

/* P2: who was authenticated for a tenant reaches no other that was made under its name meanwhile. */
static void test_a_tenant_made_again_is_another(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn = begin(h, DM_TXN_WRITE);
    struct dm_tenant_handle *a = create(h, txn, "a"), *got = NULL;
    struct dm_caller admin = {
        .standing = DM_STANDING_TENANT_ADMIN, .tenant = DM_STR("a"), .tenant_number = dm_tenants_number(a)};

    OK(dm_tenants_open(txn, &admin, DM_STR("a"), &got, &h->err));
    OK(dm_tenants_remove(a, &h->err));
    create(h, txn, "a");
    CODE(DM_ENOENT, dm_tenants_open(txn, &admin, DM_STR("a"), &got, &h->err));
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
        TEST(test_resources),
        TEST(test_a_read_transaction_writes_nothing),
        TEST(test_isolation),
        TEST(test_domains),
        TEST(test_marks_never_go_back),
        TEST(test_newer_schema),
        TEST(test_migrations_apply_once_and_whole),
        TEST(test_bad_files),
        TEST(test_pragmas),
        TEST(test_hash_chain),
        TEST(test_sequences_are_of_one_name),
        TEST(test_token_ids),
        TEST(test_an_old_database_opens),
        TEST(test_usage),
        TEST(test_replies),
        TEST(test_a_failed_transaction_does_not_commit),
        TEST(test_threads),
        TEST(test_a_tenant_made_again_is_another),
        TEST(test_a_restored_database_gives_no_number_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
