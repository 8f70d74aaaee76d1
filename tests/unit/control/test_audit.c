/* The hash chain of changes: what breaks it is found, and what a tenant sees counts its own changes alone. */
#include "store_rows.h"

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hash_chain),
        TEST(test_sequences_are_of_one_name),
    };

    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
