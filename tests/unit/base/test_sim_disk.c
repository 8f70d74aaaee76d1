/* What a crash leaves on the simulated disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/sim.h"

static const unsigned always = 1000000;

struct rig {
    struct dm_world *world;
    struct dm_sys *sys;
};

static struct rig rig_new(uint64_t seed, const struct dm_sim_faults *faults)
{
    struct rig rig = {.world = dm_world_new(seed, NULL)};

    rig.sys = dm_world_process(rig.world);
    assert_int_equal(dm_sys_make_dirs(rig.sys, "/data", 0700, NULL), 0);
    dm_world_set_faults(rig.world, faults);
    return rig;
}

/* The machine fails and starts again. */
static void crash(struct rig *rig)
{
    dm_world_kill(rig->world, rig->sys);
    rig->sys = dm_world_process(rig->world);
}

static int open_file(struct rig *rig, const char *path, int flags)
{
    int fd = rig->sys->ops->open(rig->sys, path, flags, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void write_str(struct rig *rig, int fd, const char *text)
{
    assert_int_equal(rig->sys->ops->write(rig->sys, fd, text, strlen(text)), strlen(text));
}

static void sync_dir(struct rig *rig, const char *path)
{
    int fd = open_file(rig, path, O_RDONLY | O_DIRECTORY);

    assert_int_equal(rig->sys->ops->fsync(rig->sys, fd), 0);
    assert_int_equal(rig->sys->ops->close(rig->sys, fd), 0);
}

/* The contents, or "-" when there is no such file; static storage. */
static const char *contents(struct rig *rig, const char *path)
{
    static char text[4096];
    struct dm_buf buf DM_CLEANUP(dm_buf_done) = {0};

    if (dm_sys_read_file(rig->sys, path, sizeof(text) - 1, &buf, NULL) < 0)
        return "-";
    if (buf.len > 0)
        memcpy(text, buf.ptr, buf.len);
    text[buf.len] = '\0';
    return text;
}

static void unsynced_is_lost(void **state)
{
    struct rig rig = rig_new(1, NULL);
    int fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);

    write_str(&rig, fd, "synced");
    assert_int_equal(rig.sys->ops->fsync(rig.sys, fd), 0);
    sync_dir(&rig, "/data");
    write_str(&rig, fd, " and not");
    assert_string_equal(contents(&rig, "/data/f"), "synced and not");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/f"), "synced");
    dm_world_free(rig.world);
}

static void names_need_their_directory(void **state)
{
    struct rig rig = rig_new(1, NULL);
    int fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);

    write_str(&rig, fd, "text");
    assert_int_equal(rig.sys->ops->fsync(rig.sys, fd), 0);
    assert_int_equal(rig.sys->ops->mkdir(rig.sys, "/data/sub", 0700), 0);
    fd = open_file(&rig, "/data/sub/g", O_WRONLY | O_CREAT);
    sync_dir(&rig, "/data/sub"); /* of which no name is durable */
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/f"), "-");
    assert_string_equal(contents(&rig, "/data/sub/g"), "-");

    fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);
    write_str(&rig, fd, "text");
    sync_dir(&rig, "/data");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/f"), ""); /* the name, but not the contents */
    dm_world_free(rig.world);
}

static void exit_loses_nothing(void **state)
{
    struct rig rig = rig_new(1, NULL);
    int fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);

    write_str(&rig, fd, "text");
    dm_world_exit(rig.world, rig.sys);
    rig.sys = dm_world_process(rig.world);
    assert_string_equal(contents(&rig, "/data/f"), "text");
    dm_world_free(rig.world);
}

/* One process's crash takes nothing of another's. */
static void others_keep_theirs(void **state)
{
    struct rig rig = rig_new(1, NULL), other = {.world = rig.world, .sys = dm_world_process(rig.world)};
    int fd = open_file(&other, "/data/theirs", O_WRONLY | O_CREAT);

    write_str(&other, fd, "theirs");
    fd = open_file(&rig, "/data/ours", O_WRONLY | O_CREAT);
    write_str(&rig, fd, "ours");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/ours"), "-");
    assert_string_equal(contents(&rig, "/data/theirs"), "theirs");
    crash(&other);
    assert_string_equal(contents(&rig, "/data/theirs"), "-");
    dm_world_free(rig.world);
}

static void unlink_and_rename_are_undone(void **state)
{
    struct rig rig = rig_new(1, NULL);

    assert_int_equal(dm_sys_write_file(rig.sys, "/data/a", DM_STR("A"), 0600, true, NULL), 0);
    assert_int_equal(dm_sys_write_file(rig.sys, "/data/b", DM_STR("B"), 0600, true, NULL), 0);
    assert_int_equal(rig.sys->ops->rename(rig.sys, "/data/a", "/data/b"), 0);
    assert_int_equal(rig.sys->ops->unlink(rig.sys, "/data/b"), 0);
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/a"), "A");
    assert_string_equal(contents(&rig, "/data/b"), "B");
    assert_int_equal(rig.sys->ops->rename(rig.sys, "/data/a", "/data/b"), 0);
    sync_dir(&rig, "/data");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/a"), "-");
    assert_string_equal(contents(&rig, "/data/b"), "A");
    dm_world_free(rig.world);
}

/* A rename between directories, of which one is synced, leaves exactly one name. */
static void rename_across_directories(void **state)
{
    struct rig rig = rig_new(1, NULL);

    assert_int_equal(dm_sys_make_dirs(rig.sys, "/data/x", 0700, NULL), 0);
    assert_int_equal(dm_sys_make_dirs(rig.sys, "/data/y", 0700, NULL), 0);
    open_file(&rig, "/data/x/f", O_WRONLY | O_CREAT);
    assert_int_equal(rig.sys->ops->rename(rig.sys, "/data/x/f", "/data/y/f"), 0);
    sync_dir(&rig, "/data/y");
    sync_dir(&rig, "/data/x");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/x/f"), "-");
    assert_string_equal(contents(&rig, "/data/y/f"), "");
    dm_world_free(rig.world);
}

static void durable_writes_stay(void **state)
{
    struct rig rig = rig_new(1, &(struct dm_sim_faults){.short_io = 500000});

    assert_int_equal(dm_sys_make_dirs(rig.sys, "/data/a/b/c", 0700, NULL), 0);
    assert_int_equal(dm_sys_write_file(rig.sys, "/data/a/b/c/f", DM_STR("first"), 0600, true, NULL), 0);
    assert_int_equal(dm_sys_write_file(rig.sys, "/data/a/b/c/f", DM_STR("second"), 0600, true, NULL), 0);
    assert_int_equal(dm_sys_write_file(rig.sys, "/data/a/b/c/f", DM_STR("third"), 0600, false, NULL), 0);
    assert_string_equal(contents(&rig, "/data/a/b/c/f"), "third");
    crash(&rig);
    assert_string_equal(contents(&rig, "/data/a/b/c/f"), "second");
    dm_world_free(rig.world);
}

/* Whatever call fails and whenever the machine does, a file is the old one or the new one, and an acknowledged write
 * is there. */
static void write_file_is_atomic(void **state)
{
    unsigned n_old = 0, n_new = 0;
    bool is_reached = true;

    for (uint64_t nth = 1; is_reached; nth++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct rig rig = rig_new(seed, NULL);
            int rc;

            assert_int_equal(dm_sys_write_file(rig.sys, "/data/f", DM_STR("old"), 0600, true, NULL), 0);
            dm_world_set_faults(rig.world, &(struct dm_sim_faults){.disk_torn_write = 500000 * (seed % 3)});
            dm_world_fail_nth(rig.sys, nth, ENOSPC);
            rc = dm_sys_write_file(rig.sys, "/data/f", DM_STR("a new text"), 0600, true, NULL);
            is_reached = dm_world_fail_reached(rig.sys);
            crash(&rig);
            dm_world_set_faults(rig.world, NULL);
            const char *now = contents(&rig, "/data/f");
            bool is_new = strcmp(now, "a new text") == 0;
            assert_true(is_new || strcmp(now, "old") == 0);
            assert_true(rc < 0 || is_new);
            n_old += !is_new;
            n_new += is_new;
            dm_world_free(rig.world);
        }
    }
    assert_true(n_old > 0 && n_new > 0);
}

/* Unsynced contents can be torn by a crash: the fault that the durable way is there for. */
static void tearing_tears(void **state)
{
    unsigned n_none = 0, n_part = 0, n_whole = 0, n_zeros = 0;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig rig = rig_new(seed, NULL);
        struct dm_buf buf = {0};
        int fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);

        sync_dir(&rig, "/data");
        write_str(&rig, fd, "0123456789");
        dm_world_set_faults(rig.world, &(struct dm_sim_faults){.disk_torn_write = always});
        crash(&rig);
        dm_world_set_faults(rig.world, NULL);
        assert_int_equal(dm_sys_read_file(rig.sys, "/data/f", 100, &buf, NULL), 0);
        size_t good = 0;
        while (good < buf.len && buf.ptr[good] == (char)('0' + good))
            good++;
        for (size_t i = good; i < buf.len; i++)
            assert_int_equal(buf.ptr[i], 0);
        n_none += buf.len == 0;
        n_part += good == buf.len && good > 0 && good < 10;
        n_whole += good == 10;
        n_zeros += good < buf.len;
        dm_buf_done(&buf);
        dm_world_free(rig.world);
    }
    assert_true(n_none > 0 && n_part > 0 && n_whole > 0 && n_zeros > 0);
}

/* Of several changes of names the first few survive. */
static void names_tear_in_order(void **state)
{
    unsigned seen[4] = {0};

    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rig rig = rig_new(seed, NULL);
        unsigned n = 0;

        open_file(&rig, "/data/0", O_WRONLY | O_CREAT);
        open_file(&rig, "/data/1", O_WRONLY | O_CREAT);
        open_file(&rig, "/data/2", O_WRONLY | O_CREAT);
        dm_world_set_faults(rig.world, &(struct dm_sim_faults){.disk_torn_write = always});
        crash(&rig);
        dm_world_set_faults(rig.world, NULL);
        bool has[] = {contents(&rig, "/data/0")[0] != '-', contents(&rig, "/data/1")[0] != '-',
                      contents(&rig, "/data/2")[0] != '-'};
        while (n < 3 && has[n])
            n++;
        for (unsigned i = n; i < 3; i++)
            assert_false(has[i]);
        seen[n]++;
        dm_world_free(rig.world);
    }
    for (size_t i = 0; i < DM_COUNT(seen); i++)
        assert_true(seen[i] > 0);
}

static void torn_write_stores_a_part(void **state)
{
    struct rig rig = rig_new(3, &(struct dm_sim_faults){.disk_torn_write = always});
    int fd = open_file(&rig, "/data/f", O_WRONLY | O_CREAT);

    assert_int_equal(rig.sys->ops->write(rig.sys, fd, "0123456789", 10), -EIO);
    dm_world_set_faults(rig.world, NULL);
    const char *part = contents(&rig, "/data/f");
    assert_memory_equal(part, "0123456789", strlen(part));
    dm_world_free(rig.world);
}

static void disk_errors_do_nothing(void **state)
{
    struct rig rig = rig_new(1, NULL);
    struct dm_sys *sys = rig.sys;
    int fd = open_file(&rig, "/data/f", O_RDWR | O_CREAT);
    char byte;

    dm_world_set_faults(rig.world, &(struct dm_sim_faults){.disk_error = always});
    assert_int_equal(sys->ops->open(sys, "/data/g", O_WRONLY | O_CREAT, 0600), -EIO);
    assert_int_equal(sys->ops->write(sys, fd, "x", 1), -EIO);
    assert_int_equal(sys->ops->read(sys, fd, &byte, 1), -EIO);
    assert_int_equal(sys->ops->fsync(sys, fd), -EIO);
    assert_int_equal(sys->ops->rename(sys, "/data/f", "/data/g"), -EIO);
    assert_int_equal(sys->ops->unlink(sys, "/data/f"), -EIO);
    assert_int_equal(sys->ops->mkdir(sys, "/data/d", 0700), -EIO);
    dm_world_set_faults(rig.world, NULL);
    assert_string_equal(contents(&rig, "/data/f"), "");
    assert_string_equal(contents(&rig, "/data/g"), "-");
    dm_world_free(rig.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsynced_is_lost),
        cmocka_unit_test(names_need_their_directory),
        cmocka_unit_test(exit_loses_nothing),
        cmocka_unit_test(others_keep_theirs),
        cmocka_unit_test(unlink_and_rename_are_undone),
        cmocka_unit_test(rename_across_directories),
        cmocka_unit_test(durable_writes_stay),
        cmocka_unit_test(write_file_is_atomic),
        cmocka_unit_test(tearing_tears),
        cmocka_unit_test(names_tear_in_order),
        cmocka_unit_test(torn_write_stores_a_part),
        cmocka_unit_test(disk_errors_do_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
