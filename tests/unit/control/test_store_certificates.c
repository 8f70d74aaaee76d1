/* Rows of keys: what is put is there, another tenant reaches nothing, and what goes is gone. */
#include "store_rows.h"

#include "control/store/certificate_keys.h"
#include "control/store/sql.h"

static void assert_key(struct harness *h, struct dm_tenant_handle *tenant, const char *name, const char *want)
{
    struct dm_str sealed;

    OK(dm_certificate_keys_get(tenant, dm_str_of(name), &sealed, &h->err));
    assert_true(dm_str_eq(sealed, dm_str_of(want)));
}

static void test_keys(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn;
    struct dm_tenant_handle *a, *b;
    struct dm_str sealed;
    int64_t id;

    txn = begin(h, DM_TXN_WRITE);
    a = create(h, txn, "a");
    b = create(h, txn, "b");
    OK(dm_certificate_keys_put(b, DM_STR("main"), DM_STR("one"), &h->err));
    OK(dm_certificate_keys_put(b, DM_STR("main"), DM_STR("two"), &h->err));
    OK(dm_certificate_keys_set_data(b, 1, DM_STR("first"), &h->err));
    OK(dm_certificate_keys_set_data(b, 2, DM_STR("second"), &h->err));
    assert_key(h, b, "main", "two");
    OK(dm_certificate_keys_data(b, &id, &sealed, &h->err));
    assert_int_equal(id, 2);
    assert_true(dm_str_eq(sealed, DM_STR("second")));

    CODE(DM_ENOENT, dm_certificate_keys_get(a, DM_STR("main"), &sealed, &h->err));
    CODE(DM_ENOENT, dm_certificate_keys_remove(a, DM_STR("main"), &h->err));
    CODE(DM_ENOENT, dm_certificate_keys_data(a, &id, &sealed, &h->err));
    OK(dm_certificate_keys_put(a, DM_STR("main"), DM_STR("mine"), &h->err));
    assert_key(h, b, "main", "two");
    OK(dm_certificate_keys_remove(a, DM_STR("main"), &h->err));
    assert_key(h, b, "main", "two");

    OK(dm_tenants_remove(b, &h->err));
    b = create(h, txn, "b");
    CODE(DM_ENOENT, dm_certificate_keys_get(b, DM_STR("main"), &sealed, &h->err));
    CODE(DM_ENOENT, dm_certificate_keys_data(b, &id, &sealed, &h->err));
    dm_txn_abort(&txn);
}

/* Sealed keys too are overwritten, not only forgotten, when they go. */
static void test_what_goes_is_overwritten(void **state)
{
    struct harness *h = *state;
    struct dm_sql *sql;
    int64_t n;

    OK(dm_sqlite_driver.open(h->database, true, &sql, &h->err));
    OK(dm_sql_int_n(sql, "PRAGMA secure_delete", NULL, 0, &n, &h->err));
    assert_int_equal(n, 1);
    dm_sqlite_driver.close(sql);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_keys), TEST(test_what_goes_is_overwritten)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
