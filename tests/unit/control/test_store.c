/* Rows: what is put is there, in the transaction that did it and those after it, for threads too. */
#include <pthread.h>

#include "store_rows.h"

#include "control/store/domains.h"
#include "control/store/replies.h"
#include "control/store/tokens.h"
#include "control/store/units.h"
#include "control/store/usage.h"
#include "base/mem.h"

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_resources), TEST(test_a_read_transaction_writes_nothing),
        TEST(test_domains),   TEST(test_marks_never_go_back),
        TEST(test_token_ids), TEST(test_usage),
        TEST(test_replies),   TEST(test_a_failed_transaction_does_not_commit),
        TEST(test_threads),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
