#include "gateway/keeper/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "model/tenant.h"

enum { PERIOD_US = 100000, US_PER_PERCENT = PERIOD_US / 100, SHARES = 1024, SHARES_MIN = 2, PROCS_MAX = 1 << 20 };

/* --- files -------------------------------------------------------------------------------------------------------- */

static void join(char ret[DM_CGROUP_PATH_MAX], const char *fmt, ...) DM_PRINTF(2, 3);
static void join(char ret[DM_CGROUP_PATH_MAX], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(ret, DM_CGROUP_PATH_MAX, fmt, args);
    va_end(args);
}

static int fail(struct dm_err *err, const char *path, int error)
{
    return dm_fail(err, error == -EACCES || error == -EPERM || error == -EROFS ? DM_EPERM : DM_EIO, "", "%s: %s", path,
                   strerror(-error));
}

/* One write: the kernel takes each as a whole. A file that the kernel has not is none that can be made. */
static int write_value(const struct dm_cgroups *c, const char *path, const char *value, struct dm_err *err)
{
    int fd = c->sys->ops->open(c->sys, path, O_WRONLY | O_CREAT, 0600);
    ssize_t n;

    if (fd < 0)
        return fail(err, path, fd);
    n = c->sys->ops->write(c->sys, fd, value, strlen(value));
    c->sys->ops->close(c->sys, fd);
    return n < 0 ? fail(err, path, (int)n) : 0;
}

static int make_dir(const struct dm_cgroups *c, const char *path, struct dm_err *err)
{
    int rc = c->sys->ops->mkdir(c->sys, path, 0755);

    return rc < 0 && rc != -EEXIST ? fail(err, path, rc) : 0;
}

static bool is_there(const struct dm_cgroups *c, const char *path)
{
    int fd = c->sys->ops->open(c->sys, path, O_PATH, 0);

    if (fd >= 0)
        c->sys->ops->close(c->sys, fd);
    return fd >= 0;
}

/* --- version 2 ---------------------------------------------------------------------------------------------------- */

/* Those that end meanwhile are not missed. */
static int move_all(const struct dm_cgroups *c, const char *from, const char *to, struct dm_err *err)
{
    struct dm_buf pids;
    struct dm_str rest;
    char pid[24];
    int rc = dm_sys_read_file(c->sys, from, PROCS_MAX, &pids, err);

    if (rc < 0)
        return rc;
    for (rest = dm_buf_str(&pids); rest.len > 0 && rc == 0;) {
        size_t n = dm_str_find(rest, '\n');
        struct dm_err ignored = {0};
        snprintf(pid, sizeof(pid), "%.*s", (int)DM_MIN(n, sizeof(pid) - 1), rest.ptr);
        if (n > 0 && write_value(c, to, pid, &ignored) < 0 && ignored.code == DM_EPERM)
            rc = dm_fail(err, DM_EPERM, "", "%s", ignored.message);
        rest = dm_str_skip(rest, DM_MIN(n + 1, rest.len));
    }
    dm_buf_done(&pids);
    return rc;
}

static int open_2(struct dm_cgroups *c, const char *dir, struct dm_err *err)
{
    char shared[DM_CGROUP_PATH_MAX], from[DM_CGROUP_PATH_MAX], to[DM_CGROUP_PATH_MAX];
    int rc;

    join(shared, "%s/shared", dir);
    join(from, "%s/cgroup.procs", dir);
    join(to, "%s/shared/cgroup.procs", dir);
    if ((rc = make_dir(c, shared, err)) < 0 || (rc = move_all(c, from, to, err)) < 0)
        return rc;
    join(to, "%s/cgroup.subtree_control", dir);
    if ((rc = write_value(c, to, "+cpu +memory", err)) < 0)
        return rc;
    snprintf(c->cpu, sizeof(c->cpu), "%s", dir);
    snprintf(c->memory, sizeof(c->memory), "%s", dir);
    c->version = 2;
    return 0;
}

static int bound_2(const struct dm_cgroups *c, const char *cell, const struct dm_ucell *bounds, struct dm_err *err)
{
    char path[DM_CGROUP_PATH_MAX], value[64];
    int rc;

    join(path, "%s/cell-%s", c->cpu, cell);
    if ((rc = make_dir(c, path, err)) < 0)
        return rc;
    if (bounds->cpu_percent > 0)
        snprintf(value, sizeof(value), "%u %d", bounds->cpu_percent * US_PER_PERCENT, PERIOD_US);
    else
        snprintf(value, sizeof(value), "max %d", PERIOD_US);
    join(path, "%s/cell-%s/cpu.max", c->cpu, cell);
    if ((rc = write_value(c, path, value, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/cpu.weight", c->cpu, cell);
    snprintf(value, sizeof(value), "%u", DM_MAX(bounds->cpu_weight, 1u));
    if ((rc = write_value(c, path, value, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/memory.max", c->memory, cell);
    if (bounds->memory_bytes > 0)
        snprintf(value, sizeof(value), "%llu", (unsigned long long)bounds->memory_bytes);
    else
        snprintf(value, sizeof(value), "max");
    return write_value(c, path, value, err);
}

/* --- version 1 ---------------------------------------------------------------------------------------------------- */

static int open_1(struct dm_cgroups *c, const char *dir, const char *id, struct dm_err *err)
{
    int rc;

    snprintf(c->cpu, sizeof(c->cpu), "%s/cpu/daemun-%s", dir, id);
    snprintf(c->memory, sizeof(c->memory), "%s/memory/daemun-%s", dir, id);
    if ((rc = make_dir(c, c->cpu, err)) < 0 || (rc = make_dir(c, c->memory, err)) < 0)
        return rc;
    c->version = 1;
    return 0;
}

static int bound_1(const struct dm_cgroups *c, const char *cell, const struct dm_ucell *bounds, struct dm_err *err)
{
    char path[DM_CGROUP_PATH_MAX], value[64];
    int rc;

    join(path, "%s/cell-%s", c->cpu, cell);
    if ((rc = make_dir(c, path, err)) < 0)
        return rc;
    join(path, "%s/cell-%s", c->memory, cell);
    if ((rc = make_dir(c, path, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/cpu.cfs_period_us", c->cpu, cell);
    snprintf(value, sizeof(value), "%d", PERIOD_US);
    if ((rc = write_value(c, path, value, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/cpu.cfs_quota_us", c->cpu, cell);
    snprintf(value, sizeof(value), "%lld",
             bounds->cpu_percent > 0 ? (long long)bounds->cpu_percent * US_PER_PERCENT : -1LL);
    if ((rc = write_value(c, path, value, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/cpu.shares", c->cpu, cell);
    snprintf(value, sizeof(value), "%u",
             DM_MAX(bounds->cpu_weight * SHARES / DM_CELL_CPU_WEIGHT_DEFAULT, (unsigned)SHARES_MIN));
    if ((rc = write_value(c, path, value, err)) < 0)
        return rc;
    join(path, "%s/cell-%s/memory.limit_in_bytes", c->memory, cell);
    snprintf(value, sizeof(value), "%lld", bounds->memory_bytes > 0 ? (long long)bounds->memory_bytes : -1LL);
    return write_value(c, path, value, err);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

int dm_cgroups_open(struct dm_cgroups *c, struct dm_sys *sys, const char *dir, const char *id, struct dm_err *err)
{
    char path[DM_CGROUP_PATH_MAX];

    *c = (struct dm_cgroups){.sys = sys};
    join(path, "%s/cgroup.controllers", dir);
    if (is_there(c, path))
        return open_2(c, dir, err);
    join(path, "%s/cpu/cgroup.procs", dir);
    if (is_there(c, path))
        return open_1(c, dir, id, err);
    return dm_fail(err, DM_ENOENT, "", "%s is neither a control group nor where the controllers are mounted", dir);
}

int dm_cgroups_bound(const struct dm_cgroups *c, const char *cell, const struct dm_ucell *bounds, struct dm_err *err)
{
    return c->version == 2 ? bound_2(c, cell, bounds, err) : bound_1(c, cell, bounds, err);
}

int dm_cgroups_add(const struct dm_cgroups *c, const char *cell, pid_t pid, struct dm_err *err)
{
    char path[DM_CGROUP_PATH_MAX], value[24];
    int rc;

    snprintf(value, sizeof(value), "%d", (int)pid);
    join(path, "%s/cell-%s/cgroup.procs", c->cpu, cell);
    if ((rc = write_value(c, path, value, err)) < 0 || c->version == 2)
        return rc;
    join(path, "%s/cell-%s/cgroup.procs", c->memory, cell);
    return write_value(c, path, value, err);
}

void dm_cgroups_remove(const struct dm_cgroups *c, const char *cell)
{
    char path[DM_CGROUP_PATH_MAX];

    join(path, "%s/cell-%s", c->cpu, cell);
    (void)rmdir(path);
    join(path, "%s/cell-%s", c->memory, cell);
    (void)rmdir(path);
}

void dm_cgroups_close(struct dm_cgroups *c)
{
    if (c->version == 1) {
        (void)rmdir(c->cpu);
        (void)rmdir(c->memory);
    }
    c->version = 0;
}
