/* Files, names and the helpers for whole files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sys_stage.h"

static const char *in_dir(struct stage *stage, const char *name)
{
    static char path[4][256];
    static unsigned next;

    next = (next + 1) % DM_COUNT(path);
    snprintf(path[next], sizeof(path[next]), "%s/%s", stage->dir, name);
    return path[next];
}

static void expect_file(struct stage *stage, const char *name, const char *text)
{
    struct dm_buf buf DM_CLEANUP(dm_buf_done) = {0};

    assert_int_equal(dm_sys_read_file(stage->sys, in_dir(stage, name), 4096, &buf, NULL), 0);
    assert_int_equal(buf.len, strlen(text));
    assert_memory_equal(buf.len > 0 ? buf.ptr : "", text, buf.len);
}

struct listing {
    char text[256];
    unsigned count;
};

static int note_name(void *arg, const char *name)
{
    struct listing *listing = arg;

    listing->count++;
    snprintf(listing->text + strlen(listing->text), sizeof(listing->text) - strlen(listing->text), "[%s]", name);
    return 0;
}

static int stop_at_first(void *arg, const char *name)
{
    ++*(int *)arg;
    return 42;
}

static void files(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    char bytes[16];
    int fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(sys->ops->write(sys, fd, "abcdef", 6), 6);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), 0); /* at the end */
    assert_int_equal(sys->ops->fsync(sys, fd), 0);
    stage_close(stage, fd);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "f"), O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY, 0);
    assert_int_equal(sys->ops->write(sys, fd, "XY", 2), 2);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), -EBADF);
    stage_close(stage, fd);
    expect_file(stage, "f", "XYcdef");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY | O_APPEND, 0);
    assert_int_equal(sys->ops->write(sys, fd, "gh", 2), 2);
    stage_close(stage, fd);
    expect_file(stage, "f", "XYcdefgh");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY | O_TRUNC, 0);
    stage_close(stage, fd);
    expect_file(stage, "f", "");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDONLY, 0);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, fd, 1), -EPERM);
    assert_int_equal(sys->ops->write(sys, fd, "x", 1), -EBADF);
    stage_close(stage, fd);
}

static void names(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct listing listing = {0};
    int visits = 0;

    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "d"), 0700), 0);
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "d"), 0700), -EEXIST);
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "no/d"), 0700), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "no"), O_RDONLY, 0), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "no/f"), O_WRONLY | O_CREAT, 0600), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "d"), O_WRONLY, 0), -EISDIR);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "d/a"), DM_STR("one"), 0600, false, NULL), 0);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "d/b"), DM_STR("two"), 0600, false, NULL), 0);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "d/a"), O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d/a"), in_dir(stage, "d/b")), 0);
    expect_file(stage, "d/b", "one");
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d/a"), in_dir(stage, "d/b")), -ENOENT);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d"), note_name, &listing), 0);
    assert_string_equal(listing.text, "[b]");
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d"), stop_at_first, &visits), 42);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d/b"), note_name, &listing), -ENOTDIR);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "no"), note_name, &listing), -ENOENT);

    /* A directory moves with what is in it. */
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d"), in_dir(stage, "e")), 0);
    expect_file(stage, "e/b", "one");
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "e"), in_dir(stage, "e/in")), -EINVAL);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e")), -EISDIR);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e/b")), 0);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e/b")), -ENOENT);
}

/* An unlinked file lives as long as it is open. */
static void unlinked_open_file(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    char bytes[8];
    int fd;

    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "f"), DM_STR("kept"), 0600, false, NULL), 0);
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDONLY, 0);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "f")), 0);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "kept", 4);
    stage_close(stage, fd);
}

static void whole_files(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct dm_buf buf = {0};
    struct dm_err err = {0};
    struct listing listing = {0};
    char big[40000];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i % 127);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "w"), dm_str_n(big, sizeof(big)), 0640, true, NULL), 0);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "w"), sizeof(big), &buf, NULL), 0);
    assert_int_equal(buf.len, sizeof(big));
    assert_memory_equal(buf.ptr, big, sizeof(big));
    dm_buf_done(&buf);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "w"), sizeof(big) - 1, &buf, &err), DM_EBUDGET);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "none"), 10, &buf, &err), DM_ENOENT);
    assert_non_null(strstr(err.message, "none"));
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "w"), DM_STR("short"), 0640, true, NULL), 0);
    expect_file(stage, "w", "short");
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "no/w"), DM_STR("x"), 0640, true, &err), DM_ENOENT);

    /* Neither success nor failure leaves anything else behind. */
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "dir"), 0700), 0);
    assert_true(dm_sys_write_file(sys, in_dir(stage, "dir"), DM_STR("x"), 0640, true, &err) < 0);
    assert_int_equal(sys->ops->list(sys, stage->dir, note_name, &listing), 0);
    assert_int_equal(listing.count, 2);
}

static void made_dirs(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct dm_err err = {0};

    assert_int_equal(dm_sys_make_dirs(sys, in_dir(stage, "x/y//z/"), 0700, &err), 0);
    assert_int_equal(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z"), 0700, &err), 0);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "x/y/z/f"), DM_STR("deep"), 0600, true, NULL), 0);
    expect_file(stage, "x/y/z/f", "deep");
    assert_true(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z/f"), 0700, &err) < 0);
    assert_true(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z/f/g"), 0700, &err) < 0);
}

const struct scenario sys_disk_scenarios[] = {
    {"files", files},
    {"names", names},
    {"unlinked_open_file", unlinked_open_file},
    {"whole_files", whole_files},
    {"made_dirs", made_dirs},
    {0},
};
