/* The store of the keeper on a real disk: what it makes of sound, damaged and left-over files. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "gateway/keeper/store.h"
#include "gateway/process/loader.h"
#include "snapshot/builder.h"

static struct dm_store store;

static void open_store(const struct keeper_fixture *f)
{
    struct dm_err err = {0};

    assert_int_equal(dm_store_open(&store, dm_sys_real(), &f->options, &err), 0);
}

static void reopen(const struct keeper_fixture *f)
{
    dm_store_done(&store);
    open_store(f);
}

static struct dm_held_unit *release_of(const char *tenant)
{
    struct dm_held_tenant *found = dm_store_find(&store, dm_str_of(tenant));

    assert_non_null(found);
    return &found->units[DM_UNIT_RELEASE];
}

static void compile(const struct dm_staged *staged, struct dm_str document)
{
    struct dm_err err = {0};
    struct dm_builder b;
    struct dm_mark mark;

    dm_builder_init(&b);
    assert_int_equal(dm_loader_compile(store.key, document, &b, &mark, &err), 0);
    assert_int_equal(dm_sys_write_file(dm_sys_real(), staged->unit, dm_buf_str(&b.buf), 0600, false, &err), 0);
    dm_builder_done(&b);
}

/* As the keeper does when a document comes. */
static void take(const struct keeper_fixture *f, const char *tenant, uint64_t sequence)
{
    struct dm_held_tenant *held;
    struct dm_staged staged;
    struct dm_err err = {0};
    struct dm_buf document;
    struct dm_mark mark = {1, sequence};

    keeper_fixture_document(f, tenant, 1, sequence, &document);
    assert_int_equal(dm_store_tenant(&store, dm_str_of(tenant), &held, &err), 0);
    assert_int_equal(dm_store_stage(&store, &held->units[DM_UNIT_RELEASE], dm_buf_str(&document), &staged, &err), 0);
    compile(&staged, dm_buf_str(&document));
    assert_int_equal(dm_store_sync(&store, &staged, &err), 0);
    assert_int_equal(dm_store_commit(&store, &held->units[DM_UNIT_RELEASE], &staged, mark, &err), 0);
    assert_int_equal(staged.fd, -1);
    dm_buf_done(&document);
}

static void begin(const struct keeper_fixture *f)
{
    struct dm_err err = {0};

    open_store(f);
    assert_int_equal(dm_store_pin(&store, f->public_key, &err), 0);
}

static void assert_mark(struct dm_mark mark, uint64_t sequence)
{
    assert_int_equal(mark.epoch, sequence ? 1 : 0);
    assert_int_equal(mark.sequence, sequence);
}

static void test_sound_files_survive(void **state)
{
    struct keeper_fixture *f = *state;

    begin(f);
    take(f, "orders", 1);
    take(f, "orders", 2);
    take(f, "catalog", 5);
    dm_store_sync_dir(&store);
    reopen(f);
    assert_int_equal(store.n_tenants, 2);
    assert_mark(release_of("orders")->live, 2);
    assert_mark(release_of("orders")->document, 2);
    assert_mark(release_of("orders")->floor, 2);
    assert_mark(release_of("catalog")->live, 5);
    assert_false(release_of("orders")->needs_compile);
    dm_store_done(&store);
}

static void test_damaged_unit_is_compiled_again(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_staged staged;
    struct dm_err err = {0};

    begin(f);
    take(f, "orders", 3);
    take(f, "catalog", 1);
    keeper_fixture_damage(f, "units/orders.release");
    reopen(f);
    assert_true(release_of("orders")->needs_compile);
    assert_true(release_of("orders")->is_damaged);
    assert_mark(release_of("orders")->document, 3);
    assert_mark(release_of("orders")->live, 0);
    assert_mark(release_of("catalog")->live, 1);
    assert_int_equal(dm_store_stage_again(&store, release_of("orders"), &staged, &err), 0);
    assert_string_equal(staged.document, "");
    dm_store_drop(&store, &staged);
    assert_true(keeper_fixture_exists(f, "documents/orders.release"));
    dm_store_done(&store);
}

static void test_cut_unit(void **state)
{
    struct keeper_fixture *f = *state;
    char path[DM_GATEWAY_PATH_MAX];

    begin(f);
    take(f, "orders", 3);
    dm_store_unit_path(&store, release_of("orders"), path);
    assert_int_equal(truncate(path, 100), 0);
    reopen(f);
    assert_true(release_of("orders")->needs_compile);
    assert_int_equal(truncate(path, 0), 0);
    reopen(f);
    assert_true(release_of("orders")->needs_compile);
    dm_store_done(&store);
}

static void test_damaged_document_keeps_its_unit(void **state)
{
    struct keeper_fixture *f = *state;

    begin(f);
    take(f, "orders", 3);
    keeper_fixture_damage(f, "documents/orders.release");
    reopen(f);
    assert_mark(release_of("orders")->live, 3);
    assert_mark(release_of("orders")->document, 0);
    assert_mark(release_of("orders")->floor, 3);
    assert_false(release_of("orders")->is_damaged);
    /* The controller sends it again. */
    take(f, "orders", 3);
    reopen(f);
    assert_mark(release_of("orders")->document, 3);
    dm_store_done(&store);
}

static void test_both_damaged_concerns_that_unit_alone(void **state)
{
    struct keeper_fixture *f = *state;

    begin(f);
    take(f, "orders", 3);
    take(f, "catalog", 2);
    keeper_fixture_damage(f, "documents/orders.release");
    keeper_fixture_damage(f, "units/orders.release");
    reopen(f);
    assert_true(release_of("orders")->is_damaged);
    assert_false(release_of("orders")->needs_compile);
    assert_mark(release_of("orders")->live, 0);
    assert_mark(release_of("catalog")->live, 2);
    dm_store_done(&store);
}

static void test_unit_of_an_older_document(void **state)
{
    struct keeper_fixture *f = *state;
    char unit[DM_GATEWAY_PATH_MAX], kept[DM_GATEWAY_PATH_MAX + 8];

    begin(f);
    take(f, "orders", 3);
    dm_store_unit_path(&store, release_of("orders"), unit);
    snprintf(kept, sizeof(kept), "%s-kept", unit);
    assert_int_equal(rename(unit, kept), 0);
    take(f, "orders", 4);
    assert_int_equal(rename(kept, unit), 0);
    reopen(f);
    assert_true(release_of("orders")->needs_compile);
    assert_mark(release_of("orders")->floor, 4);
    dm_store_done(&store);
}

static void test_unit_of_another_tenant(void **state)
{
    struct keeper_fixture *f = *state;
    char orders[DM_GATEWAY_PATH_MAX], catalog[DM_GATEWAY_PATH_MAX];

    begin(f);
    take(f, "orders", 3);
    take(f, "catalog", 3);
    dm_store_unit_path(&store, release_of("orders"), orders);
    dm_store_unit_path(&store, release_of("catalog"), catalog);
    assert_int_equal(unlink(orders), 0);
    assert_int_equal(link(catalog, orders), 0);
    reopen(f);
    assert_true(release_of("orders")->needs_compile);
    assert_mark(release_of("orders")->live, 0);
    dm_store_done(&store);
}

static void test_tombstone_keeps_the_mark(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_err err = {0};

    begin(f);
    take(f, "orders", 3);
    assert_int_equal(dm_store_remove(&store, release_of("orders"), (struct dm_mark){1, 4}, &err), 0);
    assert_false(keeper_fixture_exists(f, "units/orders.release"));
    reopen(f);
    assert_true(release_of("orders")->is_gone);
    assert_mark(release_of("orders")->floor, 4);
    assert_mark(release_of("orders")->live, 0);
    take(f, "orders", 5);
    reopen(f);
    assert_false(release_of("orders")->is_gone);
    assert_mark(release_of("orders")->live, 5);
    dm_store_done(&store);
}

static void test_left_over_files_go(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_staged staged;
    struct dm_held_tenant *tenant;
    struct dm_err err = {0};

    begin(f);
    assert_int_equal(dm_store_tenant(&store, DM_STR("orders"), &tenant, &err), 0);
    assert_int_equal(dm_store_stage(&store, &tenant->units[DM_UNIT_RELEASE], DM_STR("half"), &staged, &err), 0);
    assert_true(keeper_fixture_exists(f, "documents/orders.release.next-1"));
    close(staged.fd); /* the keeper is killed here */
    reopen(f);
    assert_false(keeper_fixture_exists(f, "documents/orders.release.next-1"));
    assert_mark(release_of("orders")->floor, 0);
    dm_store_done(&store);
}

static void test_counter_slots_stay(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_held_tenant *tenant;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};
    int fd;

    begin(f);
    assert_int_equal(dm_store_tenant(&store, DM_STR("b"), &tenant, &err), 0);
    assert_int_equal(dm_store_tenant(&store, DM_STR("a"), &tenant, &err), 0);
    assert_int_equal(tenant->counter_slot, 1);
    dm_gateway_path(&f->options, path, "run/counter-slots");
    fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "torn", 4), 4); /* the machine died inside a line */
    close(fd);
    reopen(f);
    assert_int_equal(dm_store_find(&store, DM_STR("a"))->counter_slot, 1);
    assert_null(dm_store_find(&store, DM_STR("torn")));
    assert_int_equal(dm_store_tenant(&store, DM_STR("c"), &tenant, &err), 0);
    assert_int_equal(tenant->counter_slot, 2);
    reopen(f);
    assert_int_equal(dm_store_find(&store, DM_STR("c"))->counter_slot, 2);
    assert_int_equal(dm_store_tenant(&store, DM_STR("../evil"), &tenant, &err), DM_EINVAL);
    dm_store_done(&store);
}

static ssize_t write_two(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    return dm_sys_real()->ops->write(dm_sys_real(), fd, ptr, DM_MIN(len, (size_t)2));
}

/* P2: half a name must not run into the next tenant's, which would then count under a name that nobody has. */
static void test_full_disk_inside_a_counter_slot(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_held_tenant *tenant;
    struct dm_sys_ops ops = *dm_sys_real()->ops;
    struct dm_sys full = {&ops};
    struct dm_err err = {0};

    ops.write = write_two;
    begin(f);
    store.sys = &full;
    assert_int_equal(dm_store_tenant(&store, DM_STR("orders"), &tenant, &err), DM_EIO);
    store.sys = dm_sys_real();
    assert_int_equal(dm_store_tenant(&store, DM_STR("catalog"), &tenant, &err), 0);
    assert_int_equal(tenant->counter_slot, 0);
    reopen(f);
    assert_int_equal(store.n_tenants, 1);
    assert_int_equal(dm_store_find(&store, DM_STR("catalog"))->counter_slot, 0);
    dm_store_done(&store);
}

static void test_pinned_key(void **state)
{
    struct keeper_fixture *f = *state;
    uint8_t other[DM_SIGN_PUBLIC_BYTES] = {1};
    struct dm_err err = {0};

    begin(f);
    reopen(f);
    assert_true(store.has_key);
    assert_int_equal(dm_store_pin(&store, f->public_key, &err), 0);
    assert_int_equal(dm_store_pin(&store, other, &err), DM_EPERM);
    assert_non_null(strstr(err.message, "controller.pub"));
    dm_store_done(&store);
}

static void test_other_files_are_left_alone(void **state)
{
    struct keeper_fixture *f = *state;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};

    begin(f);
    dm_gateway_path(&f->options, path, "documents/README");
    assert_int_equal(dm_sys_write_file(dm_sys_real(), path, DM_STR("x"), 0600, false, &err), 0);
    reopen(f);
    assert_int_equal(store.n_tenants, 0);
    assert_true(keeper_fixture_exists(f, "documents/README"));
    dm_store_done(&store);
}

static void test_data_dir_that_is_a_file(void **state)
{
    struct keeper_fixture *f = *state;
    struct dm_gateway_options options = f->options;
    char path[DM_GATEWAY_PATH_MAX];
    struct dm_err err = {0};

    dm_gateway_path(&f->options, path, "file");
    assert_int_equal(dm_sys_write_file(dm_sys_real(), path, DM_STR("x"), 0600, false, &err), 0);
    snprintf(options.data_dir, sizeof(options.data_dir), "%.79s", path);
    assert_true(dm_store_open(&store, dm_sys_real(), &options, &err) < 0);
    assert_true(err.message[0] != '\0');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, keeper_fixture_setup, keeper_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sound_files_survive),
        TEST(test_damaged_unit_is_compiled_again),
        TEST(test_cut_unit),
        TEST(test_damaged_document_keeps_its_unit),
        TEST(test_both_damaged_concerns_that_unit_alone),
        TEST(test_unit_of_an_older_document),
        TEST(test_unit_of_another_tenant),
        TEST(test_tombstone_keeps_the_mark),
        TEST(test_left_over_files_go),
        TEST(test_counter_slots_stay),
        TEST(test_full_disk_inside_a_counter_slot),
        TEST(test_pinned_key),
        TEST(test_other_files_are_left_alone),
        TEST(test_data_dir_that_is_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
