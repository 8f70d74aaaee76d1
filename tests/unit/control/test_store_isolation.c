/* P2: a handle of one tenant reaches nothing of another. */
#include "store_rows.h"

#include "control/audit/record.h"
#include "control/store/credentials.h"
#include "control/store/domains.h"
#include "control/store/tokens.h"
#include "control/store/units.h"
#include "control/store/usage.h"
#include "base/mem.h"

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_isolation),
        TEST(test_a_tenant_made_again_is_another),
    };

    return cmocka_run_group_tests_name("store isolation", tests, NULL, NULL);
}
