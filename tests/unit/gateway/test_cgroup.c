/* Control groups by the files that are written: a directory in place of the kernel's, and the kernel's own where it lets us. */
#include "gateway/keeper/cgroup.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"

static char dir[64];

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/daemun-cgroup-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static const char *below(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const char *text)
{
    assert_int_equal(dm_sys_write_file(dm_sys_real(), below(name), dm_str_of(text), 0600, false, NULL), 0);
}

static void assert_holds(const char *name, const char *text)
{
    struct dm_buf bytes;

    assert_int_equal(dm_sys_read_file(dm_sys_real(), below(name), 4096, &bytes, NULL), 0);
    assert_int_equal(bytes.len, strlen(text));
    assert_memory_equal(bytes.ptr, text, bytes.len);
    dm_buf_done(&bytes);
}

static void divides_a_delegated_group(void **state)
{
    struct dm_ucell bounds = {.n_workers = 1, .cpu_percent = 150, .cpu_weight = 70, .memory_bytes = 5000000000u};
    struct dm_cgroups groups;
    struct dm_err err = {0};

    put("cgroup.controllers", "cpu memory pids\n");
    put("cgroup.procs", "17\n18\n");
    assert_int_equal(dm_cgroups_open(&groups, dm_sys_real(), dir, "gw", &err), 0);
    assert_int_equal(groups.version, 2);
    assert_holds("cgroup.subtree_control", "+cpu +memory");
    assert_holds("shared/cgroup.procs", "18"); /* each is one write; the kernel keeps no text */
    assert_int_equal(dm_cgroups_bound(&groups, "orders", &bounds, &err), 0);
    assert_holds("cell-orders/cpu.max", "150000 100000");
    assert_holds("cell-orders/cpu.weight", "70");
    assert_holds("cell-orders/memory.max", "5000000000");
    assert_int_equal(dm_cgroups_add(&groups, "orders", 4711, &err), 0);
    assert_holds("cell-orders/cgroup.procs", "4711");
}

static void takes_bounds_away_again(void **state)
{
    struct dm_ucell bounds = {.n_workers = 1, .cpu_weight = 100};
    struct dm_cgroups groups;
    struct dm_err err = {0};

    put("cgroup.controllers", "cpu memory\n");
    put("cgroup.procs", "");
    assert_int_equal(dm_cgroups_open(&groups, dm_sys_real(), dir, "gw", &err), 0);
    assert_int_equal(dm_cgroups_bound(&groups, "orders", &bounds, &err), 0);
    assert_int_equal(dm_cgroups_bound(&groups, "orders", &bounds, &err), 0);
    assert_holds("cell-orders/cpu.max", "max 100000");
    assert_holds("cell-orders/memory.max", "max");
}

static void uses_controllers_of_version_1(void **state)
{
    struct dm_ucell bounds = {.n_workers = 1, .cpu_percent = 50, .cpu_weight = 200, .memory_bytes = 1 << 30};
    struct dm_cgroups groups;
    struct dm_err err = {0};

    assert_int_equal(mkdir(below("cpu"), 0700), 0);
    assert_int_equal(mkdir(below("memory"), 0700), 0);
    put("cpu/cgroup.procs", "");
    assert_int_equal(dm_cgroups_open(&groups, dm_sys_real(), dir, "gw", &err), 0);
    assert_int_equal(groups.version, 1);
    assert_int_equal(dm_cgroups_bound(&groups, "orders", &bounds, &err), 0);
    assert_holds("cpu/daemun-gw/cell-orders/cpu.cfs_period_us", "100000");
    assert_holds("cpu/daemun-gw/cell-orders/cpu.cfs_quota_us", "50000");
    assert_holds("cpu/daemun-gw/cell-orders/cpu.shares", "2048");
    assert_holds("memory/daemun-gw/cell-orders/memory.limit_in_bytes", "1073741824");
    assert_int_equal(dm_cgroups_add(&groups, "orders", 4711, &err), 0);
    assert_holds("cpu/daemun-gw/cell-orders/cgroup.procs", "4711");
    assert_holds("memory/daemun-gw/cell-orders/cgroup.procs", "4711");
}

static void says_why_it_can_not(void **state)
{
    struct dm_cgroups groups;
    struct dm_err err = {0};

    assert_int_equal(dm_cgroups_open(&groups, dm_sys_real(), dir, "gw", &err), DM_ENOENT);
    assert_int_equal(groups.version, 0);
    assert_non_null(strstr(err.message, "neither a control group"));
    put("cgroup.controllers", "cpu memory\n");
    assert_int_equal(mkdir(below("cgroup.subtree_control"), 0700), 0); /* can't be written */
    put("cgroup.procs", "");
    assert_true(dm_cgroups_open(&groups, dm_sys_real(), dir, "gw", &err) < 0);
    assert_int_equal(groups.version, 0);
}

/* The kernel's own files take what is written. */
static void agrees_with_the_kernel(void **state)
{
    struct dm_ucell bounds = {.n_workers = 1, .cpu_percent = 150, .cpu_weight = 70, .memory_bytes = 512 << 20};
    struct dm_cgroups groups;
    struct dm_err err = {0};
    struct dm_buf bytes;
    char id[32], path[256];

    snprintf(id, sizeof(id), "test-%d", (int)getpid());
    if (access("/sys/fs/cgroup/cpu/cgroup.procs", W_OK) < 0 ||
        dm_cgroups_open(&groups, dm_sys_real(), "/sys/fs/cgroup", id, &err) < 0) {
        print_message("skipped: no controllers of version 1 that are ours to use\n");
        skip();
    }
    if (dm_cgroups_bound(&groups, "orders", &bounds, &err) < 0)
        fail_msg("%s", err.message);
    snprintf(path, sizeof(path), "/sys/fs/cgroup/memory/daemun-%s/cell-orders/memory.limit_in_bytes", id);
    assert_int_equal(dm_sys_read_file(dm_sys_real(), path, 4096, &bytes, &err), 0);
    assert_memory_equal(bytes.ptr, "536870912\n", 10);
    dm_buf_done(&bytes);
    dm_cgroups_remove(&groups, "orders");
    assert_int_equal(rmdir(groups.cpu), 0);
    assert_int_equal(rmdir(groups.memory), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(divides_a_delegated_group), TEST(takes_bounds_away_again), TEST(uses_controllers_of_version_1),
        TEST(says_why_it_can_not),       TEST(agrees_with_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
