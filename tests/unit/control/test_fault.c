/* Fault sweep: the n-th step of the database fails, for n = 1, 2, … until the write passes untouched. Whatever fails,
 * nothing is half-applied: the database reads as before, the chain of changes is whole, and the next write goes through. */
#include <sqlite3.h>

#include "harness.h"

#include "control/audit/record.h"
#include "control/release/load.h"
#include "control/tenancy/file.h"
#include "control/tenancy/resources.h"
#include "control/tenancy/tenants.h"
#include "base/json.h"
#include "pki/pki.h"

static const char *const tables[] = {"counter",      "tenant",      "tenant_epoch",    "tenant_key",
                                     "resource",     "domain",      "credential",      "subscription",
                                     "unit",         "token",       "change",          "reply",
                                     "usage_minute", "usage_batch", "certificate_key", "tenant_data_key"};

static void dump_table(sqlite3 *db, const char *table, struct dm_digest_state *digest)
{
    sqlite3_stmt *stmt;
    char text[64];

    snprintf(text, sizeof(text), "SELECT * FROM %s ORDER BY 1, 2", table);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const void *ptr = sqlite3_column_blob(stmt, i);

            dm_digest_update(digest, ptr != NULL ? ptr : "", (size_t)sqlite3_column_bytes(stmt, i));
            dm_digest_update(digest, "|", 1);
        }
    sqlite3_finalize(stmt);
}

/* All that the database holds, in one hash. */
static void fingerprint(struct harness *h, uint8_t ret[DM_DIGEST_BYTES])
{
    struct dm_digest_state digest;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(h->database, &db), SQLITE_OK);
    dm_digest_init(&digest, NULL);
    for (size_t i = 0; i < DM_COUNT(tables); i++)
        dump_table(db, tables[i], &digest);
    dm_digest_final(&digest, ret);
    sqlite3_close(db);
}

static void assert_chain_is_whole(struct harness *h)
{
    struct dm_txn *txn;
    int64_t count;

    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &txn, &h->err), 0);
    if (dm_audit_verify(txn, &master_caller, &count, &h->err) < 0)
        fail_msg("%s", h->err.message);
    dm_txn_abort(&txn);
}

typedef int (*write_fn)(struct harness *h, struct dm_write *write);

static int attempt(struct harness *h, write_fn act)
{
    struct dm_failure failure = {0};
    struct dm_write write = {.store = h->store, .keyring = &h->keyring, .caller = &master_caller, .failure = &failure};
    int rc = dm_write_begin(&write, &h->arena);

    if (rc >= 0 && (rc = act(h, &write)) >= 0)
        rc = dm_write_finish(&write);
    dm_write_done(&write);
    assert_true(rc >= 0 || failure.errs.n > 0);
    return rc;
}

static void sweep(struct harness *h, write_fn act)
{
    uint8_t before[DM_DIGEST_BYTES], after[DM_DIGEST_BYTES];
    long n = 0;
    int rc;

    fingerprint(h, before);
    do {
        dm_store_set_fault(h->store, ++n);
        rc = attempt(h, act);
        if (dm_store_fault(h->store) > 0) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, DM_EIO);
        dm_store_set_fault(h->store, 0);
        fingerprint(h, after);
        assert_memory_equal(before, after, sizeof(before));
        dm_arena_reset(&h->arena);
    } while (n < 10000);
    dm_store_set_fault(h->store, 0);
    assert_true(n > 5 && n < 10000);
    fingerprint(h, after);
    assert_memory_not_equal(before, after, sizeof(before));
    assert_chain_is_whole(h);
}

/* --- the writes --------------------------------------------------------------------------------------------------------- */

static int put_application(struct harness *h, struct dm_write *write)
{
    static struct dm_subscription subscription = {{"shop", 4}, {"basic", 5}};
    struct dm_credential credentials[2] = {{.name = DM_STR("first")}, {.name = DM_STR("second")}};
    struct dm_precondition none = {0};
    struct dm_outcome outcome = {0};
    struct dm_application application;
    int rc = dm_write_open(write, DM_STR("orders"));

    dm_model_default(&dm_schema_application, &application);
    application.name = DM_STR("mobile");
    application.description = DM_STR("changed");
    application.subscriptions = &subscription;
    application.n_subscriptions = 1;
    application.credentials = credentials;
    application.n_credentials = 2;
    return rc < 0 ? rc : dm_put_resource(write, DM_KIND_APPLICATION, &application, &none, &outcome);
}

static int make_tenant(struct harness *h, struct dm_write *write)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome;
    struct dm_tenant tenant;

    dm_model_default(&dm_schema_tenant, &tenant);
    tenant.name = DM_STR("fresh");
    return dm_put_tenant(write, &tenant, &none, &outcome);
}

static int remove_tenant(struct harness *h, struct dm_write *write)
{
    struct dm_precondition none = {0};

    return dm_remove_tenant(write, DM_STR("orders"), &none);
}

static int apply_file(struct harness *h, struct dm_write *write)
{
    static const char text[] =
        "{\"daemun\":1,\"tenant\":\"orders\",\"grants\":{\"domains\":[{\"name\":\"new.localhost\"}],\"endpoints\":"
        "[{\"address\":\"127.0.0.1\",\"port\":9105}]},\"backends\":[{\"name\":\"other\",\"endpoints\":"
        "[{\"host\":\"127.0.0.1\",\"port\":9105}]}],\"products\":[{\"name\":\"shop\",\"domains\":[\"new.localhost\"],"
        "\"versions\":[{\"name\":\"v1\",\"policies\":[{\"type\":\"api_key\"}],\"backends\":[{\"backend\":\"other\"}]}],"
        "\"plans\":[{\"name\":\"gold\"}]}],\"applications\":[{\"name\":\"web\",\"subscriptions\":"
        "[{\"product\":\"shop\",\"plan\":\"gold\"}],\"credentials\":[{\"name\":\"k\"}]}]}";
    struct dm_json_limits limits = {sizeof(text), 32};
    DM_CLEANUP(dm_json_freep) struct dm_json *json = NULL;
    struct dm_tenant_file before, after;
    struct dm_err err = {0};
    bool is_changed;
    int rc = dm_write_open(write, DM_STR("orders"));

    assert_int_equal(dm_json_parse(dm_str_of(text), &limits, &json, NULL), 0);
    if (rc >= 0 && dm_load_file(write->tenant, &before, &err) < 0)
        rc = dm_write_fail(write, &err);
    if (rc >= 0 && (rc = dm_file_read(write, json, &before, &after)) >= 0)
        rc = dm_file_apply(write, &before, &after, &is_changed);
    return rc;
}

static struct pki_identity *identity;

static int make_identity(void **state)
{
    const struct pki_spec spec = {.subject = "orders", .names = "DNS:orders.localhost"};

    identity = pki_make(&spec, NULL);
    return 0;
}

static int drop_identity(void **state)
{
    pki_free(identity);
    return 0;
}

static int put_certificate(struct harness *h, struct dm_write *write)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome = {0};
    struct dm_certificate certificate;
    int rc = dm_write_open(write, DM_STR("orders"));

    dm_model_default(&dm_schema_certificate, &certificate);
    certificate.name = DM_STR("main");
    certificate.chain = identity->chain_pem;
    assert_int_equal(dm_arena_str(&h->arena, identity->key_pem, &certificate.key), 0);
    return rc < 0 ? rc : dm_put_resource(write, DM_KIND_CERTIFICATE, &certificate, &none, &outcome);
}

static int remove_certificate(struct harness *h, struct dm_write *write)
{
    struct dm_precondition none = {0};
    int rc = dm_write_open(write, DM_STR("orders"));

    return rc < 0 ? rc : dm_remove_resource(write, DM_KIND_CERTIFICATE, DM_STR("main"), &none);
}

static void test_put_certificate(void **state)
{
    make_team(*state, "orders", 9101, "key-of-orders-1234");
    sweep(*state, put_certificate);
    sweep(*state, remove_certificate);
}

static void test_put_application(void **state)
{
    make_team(*state, "orders", 9101, "key-of-orders-1234");
    sweep(*state, put_application);
}

static void test_make_tenant(void **state)
{
    make_team(*state, "orders", 9101, "key-of-orders-1234");
    sweep(*state, make_tenant);
}

static void test_remove_tenant(void **state)
{
    make_team(*state, "orders", 9101, "key-of-orders-1234");
    sweep(*state, remove_tenant);
}

static void test_apply_file(void **state)
{
    make_team(*state, "orders", 9101, "key-of-orders-1234");
    sweep(*state, apply_file);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_put_application), TEST(test_make_tenant),     TEST(test_remove_tenant),
        TEST(test_apply_file),      TEST(test_put_certificate),
    };

    return cmocka_run_group_tests(tests, make_identity, drop_identity);
}
