#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#include "control/identity/access.h"
#include "control/identity/authenticate.h"
#include "control/identity/master.h"
#include "control/release/stamp.h"
#include "control/store/tokens.h"

static int authenticate(struct harness *h, const char *authorization, struct dm_caller *ret)
{
    struct dm_txn *txn;
    bool is_stale;
    int rc;

    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &txn, &h->err), 0);
    rc = dm_authenticate(txn, &h->keyring, dm_str_of(authorization), ret, &is_stale, &h->err);
    dm_txn_abort(&txn);
    return rc;
}

static void add_token(struct harness *h, char ret_text[DM_TOKEN_TEXT_BYTES], int64_t expires_ms)
{
    struct dm_token_row row = {.role = DM_STR("tenant_admin"), .name = DM_STR("t"), .expires_ms = expires_ms};
    struct dm_tenant_handle *tenant;
    struct dm_txn *txn;

    dm_authenticate_make(&h->keyring, ret_text, row.digest);
    assert_int_equal(dm_txn_begin(h->store, DM_TXN_WRITE, &h->arena, &txn, &h->err), 0);
    assert_int_equal(dm_tenants_create(txn, &master_caller, DM_STR("a"), &tenant, &h->err), 0);
    assert_int_equal(dm_tokens_add(txn, &master_caller, tenant, &row, &h->err), 0);
    assert_int_equal(dm_txn_commit(&txn, &h->err), 0);
}

static void test_tokens(void **state)
{
    struct harness *h = *state;
    char token[DM_TOKEN_TEXT_BYTES], other[DM_TOKEN_TEXT_BYTES], text[128];
    uint8_t digest[DM_DIGEST_BYTES];
    struct dm_caller caller;

    add_token(h, token, 0);
    assert_int_equal(strlen(token), 47);
    snprintf(text, sizeof(text), "Bearer %s", token);
    assert_int_equal(authenticate(h, text, &caller), 0);
    assert_int_equal(caller.standing, DM_STANDING_TENANT_ADMIN);
    assert_true(dm_str_eq(caller.tenant, DM_STR("a")));
    snprintf(text, sizeof(text), "bearer  %s ", token);
    assert_int_equal(authenticate(h, text, &caller), 0);

    dm_authenticate_make(&h->keyring, other, digest);
    snprintf(text, sizeof(text), "Bearer %s", other);
    assert_int_equal(authenticate(h, text, &caller), DM_EPERM);
    static const char *const bad[] = {"", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer dmt_", "Bearer dmt_short"};
    for (size_t i = 0; i < DM_COUNT(bad); i++)
        assert_int_equal(authenticate(h, bad[i], &caller), DM_EPERM);
    token[46] = '\0';
    snprintf(text, sizeof(text), "Bearer %s", token);
    assert_int_equal(authenticate(h, text, &caller), DM_EPERM);
}

static void test_expiry(void **state)
{
    struct harness *h = *state;
    char token[DM_TOKEN_TEXT_BYTES], text[128];
    struct dm_caller caller;

    add_token(h, token, 1000);
    snprintf(text, sizeof(text), "Bearer %s", token);
    assert_int_equal(authenticate(h, text, &caller), DM_EPERM);
    assert_non_null(strstr(h->err.message, "expired"));
}

/* The table as it is meant: a change of it must be a change here. */
static void test_access(void **state)
{
    static const bool admin_may[DM_OP_COUNT] = {
        [DM_OP_OPEN] = true,           [DM_OP_WHOAMI] = true,      [DM_OP_TENANT_LIST] = true,
        [DM_OP_TENANT_READ] = true,    [DM_OP_GRANTS_READ] = true, [DM_OP_RESOURCE_READ] = true,
        [DM_OP_RESOURCE_WRITE] = true, [DM_OP_STATUS_READ] = true, [DM_OP_CHANGES_READ] = true,
        [DM_OP_USAGE_READ] = true,     [DM_OP_TOKENS_READ] = true, [DM_OP_TOKENS_WRITE] = true,
    };
    struct dm_caller admin = {.standing = DM_STANDING_TENANT_ADMIN, .tenant = DM_STR("a")};
    struct dm_caller nobody = {0};
    struct dm_err err = {0};

    for (int op = 0; op < DM_OP_COUNT; op++) {
        assert_int_equal(dm_access_check(&master_caller, op, DM_STR("a"), &err), 0);
        assert_int_equal(dm_access_check(&admin, op, DM_STR("a"), &err), admin_may[op] ? 0 : DM_EPERM);
        assert_int_equal(dm_access_check(&admin, op, DM_STR("b"), &err), op == DM_OP_OPEN ? 0 : DM_ENOENT);
        assert_int_equal(dm_access_check(&nobody, op, DM_STR("a"), &err), op == DM_OP_OPEN ? 0 : DM_EPERM);
    }
}

static void test_keyring(void **state)
{
    struct harness *h = *state;
    struct dm_keyring again;
    struct stat st;
    char path[160], dir[128];

    assert_int_equal(dm_keyring_open(dm_sys_real(), h->dir, false, &again, &h->err), 0);
    assert_memory_equal(&again, &h->keyring, sizeof(again));
    snprintf(path, sizeof(path), "%s/signing.key", h->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(dm_keyring_open(dm_sys_real(), h->dir, true, &again, &h->err), DM_ECORRUPT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dm_keyring_open(dm_sys_real(), h->dir, false, &again, &h->err), DM_ENOENT);
    snprintf(dir, sizeof(dir), "%s/nowhere", h->dir);
    assert_true(dm_keyring_open(dm_sys_real(), dir, true, &again, &h->err) < 0);
}

static void test_master_token_is_made_once(void **state)
{
    struct harness *h = *state;
    struct dm_caller caller;
    struct stat st;
    char path[160], token[64] = "", text[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/token", h->dir);
    assert_int_equal(dm_master_ensure(h->store, &h->keyring, dm_sys_real(), path, &h->err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    file = fopen(path, "r");
    assert_non_null(fgets(token, sizeof(token), file));
    fclose(file);
    token[strcspn(token, "\n")] = '\0';
    snprintf(text, sizeof(text), "Bearer %s", token);
    assert_int_equal(authenticate(h, text, &caller), 0);
    assert_int_equal(caller.standing, DM_STANDING_MASTER_ADMIN);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dm_master_ensure(h->store, &h->keyring, dm_sys_real(), path, &h->err), 0);
    assert_int_not_equal(stat(path, &st), 0);
}

static void test_stamps(void **state)
{
    char text[DM_STAMP_MAX];
    int64_t ms;

    assert_true(dm_str_eq(dm_stamp(0, text), DM_STR("1970-01-01T00:00:00Z")));
    assert_true(dm_str_eq(dm_stamp(1793534400123, text), DM_STR("2026-11-01T12:00:00.123Z")));
    assert_true(dm_str_eq(dm_stamp_date(1793534400123, text), DM_STR("2026-11-01")));
    assert_int_equal(dm_stamp_parse(DM_STR("2026-11-01T12:00:00Z"), &ms), 0);
    assert_int_equal(ms, 1793534400000);
    assert_int_equal(dm_stamp_parse(DM_STR("2026-11-01T12:00:00.12Z"), &ms), 0);
    assert_int_equal(ms, 1793534400120);
    assert_int_equal(dm_stamp_parse(DM_STR("2026-11-01T12:00:00.Z"), &ms), DM_EINVAL);
    assert_int_equal(dm_stamp_parse(DM_STR("2026-11-01T12:00:00+00:00"), &ms), DM_EINVAL);
    assert_int_equal(dm_stamp_parse(DM_STR("2026-13-01T12:00:00Z"), &ms), DM_EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tokens),
        TEST(test_expiry),
        TEST(test_access),
        TEST(test_keyring),
        TEST(test_master_token_is_made_once),
        cmocka_unit_test(test_stamps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
