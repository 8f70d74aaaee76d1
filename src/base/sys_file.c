#include <errno.h>
#include <fcntl.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"

enum { READ_CHUNK_BYTES = 16384 };

static int fail_file(struct dm_err *err, const char *act, const char *path, int negative_errno)
{
    return dm_fail(err, dm_err_of_errno(negative_errno), "", "cannot %s '%s': %s", act, path,
                   strerrordesc_np(-negative_errno));
}

static int read_all(struct dm_sys *sys, int fd, struct dm_buf *buf)
{
    char chunk[READ_CHUNK_BYTES];
    ssize_t n;

    while ((n = sys->ops->read(sys, fd, chunk, sizeof(chunk))) > 0 && !buf->failed)
        dm_buf_add_n(buf, chunk, (size_t)n);
    return (int)n;
}

int dm_sys_read_file(struct dm_sys *sys, const char *path, size_t max_bytes, struct dm_buf *ret, struct dm_err *err)
{
    struct dm_buf buf DM_CLEANUP(dm_buf_done) = {0};
    int fd, rc;

    if ((fd = sys->ops->open(sys, path, O_RDONLY, 0)) < 0)
        return fail_file(err, "open", path, fd);
    dm_buf_init(&buf, max_bytes);
    rc = read_all(sys, fd, &buf);
    sys->ops->close(sys, fd);
    if (buf.failed)
        return dm_fail(err, DM_EBUDGET, "", "'%s' is larger than the %zu bytes allowed", path, max_bytes);
    if (rc < 0)
        return fail_file(err, "read", path, rc);
    *ret = buf;
    buf = (struct dm_buf){0};
    return 0;
}

static int write_all(struct dm_sys *sys, int fd, struct dm_str bytes)
{
    ssize_t n;

    for (; bytes.len > 0; bytes = dm_str_skip(bytes, (size_t)n)) {
        if ((n = sys->ops->write(sys, fd, bytes.ptr, bytes.len)) < 0)
            return (int)n;
        if (n == 0)
            return -EIO;
    }
    return 0;
}

/* The whole of a new file, synced when is_durable. On failure nothing is left. */
static int write_new(struct dm_sys *sys, const char *path, struct dm_str bytes, unsigned mode, bool is_durable)
{
    int fd, rc, close_rc;

    if ((fd = sys->ops->open(sys, path, O_WRONLY | O_CREAT | O_EXCL, mode)) < 0)
        return fd;
    rc = write_all(sys, fd, bytes);
    if (rc >= 0 && is_durable)
        rc = sys->ops->fsync(sys, fd);
    close_rc = sys->ops->close(sys, fd);
    if (rc >= 0)
        rc = close_rc;
    if (rc < 0)
        sys->ops->unlink(sys, path);
    return rc;
}

static int sync_parent(struct dm_sys *sys, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct dm_str dir = !slash ? DM_STR(".") : slash == path ? DM_STR("/") : dm_str_n(path, (size_t)(slash - path));
    char *dir_path DM_CLEANUP(dm_freep) = dm_strdup(dir);
    int fd, rc;

    if ((fd = sys->ops->open(sys, dir_path, O_RDONLY | O_DIRECTORY, 0)) < 0)
        return fd;
    rc = sys->ops->fsync(sys, fd);
    sys->ops->close(sys, fd);
    return rc;
}

static char *temp_path(struct dm_sys *sys, const char *path)
{
    struct dm_buf buf;
    uint64_t tail;

    sys->ops->random(sys, &tail, sizeof(tail));
    dm_buf_init(&buf, strlen(path) + 32);
    dm_buf_printf(&buf, "%s.tmp-%016llx", path, (unsigned long long)tail);
    dm_buf_add_char(&buf, '\0');
    return buf.ptr;
}

bool dm_sys_is_temp_name(const char *name)
{
    static const size_t tail_len = sizeof(".tmp-0123456789abcdef") - 1;
    size_t len = strlen(name);
    const char *tail = name + len - DM_MIN(tail_len, len);

    return len > tail_len && strncmp(tail, ".tmp-", 5) == 0 && strspn(tail + 5, "0123456789abcdef") == 16;
}

int dm_sys_write_file(struct dm_sys *sys, const char *path, struct dm_str bytes, unsigned mode, bool is_durable,
                      struct dm_err *err)
{
    char *temp DM_CLEANUP(dm_freep) = temp_path(sys, path);
    int rc;

    if ((rc = write_new(sys, temp, bytes, mode, is_durable)) < 0)
        return fail_file(err, "write", temp, rc);
    if ((rc = sys->ops->rename(sys, temp, path)) < 0) {
        sys->ops->unlink(sys, temp);
        return fail_file(err, "replace", path, rc);
    }
    if (is_durable && (rc = sync_parent(sys, path)) < 0)
        return fail_file(err, "sync the directory of", path, rc);
    return 0;
}

/* 0 or -errno. O_PATH: one that we may pass through and not list is fine. */
static int find_dir(struct dm_sys *sys, const char *path)
{
    int fd = sys->ops->open(sys, path, O_PATH | O_DIRECTORY, 0);

    if (fd < 0)
        return fd;
    sys->ops->close(sys, fd);
    return 0;
}

static int make_dir(struct dm_sys *sys, const char *path, unsigned mode, struct dm_err *err)
{
    int rc;

    if (find_dir(sys, path) == 0)
        return 0;
    if ((rc = sys->ops->mkdir(sys, path, mode)) == 0)
        rc = sync_parent(sys, path);
    else if (rc != -EEXIST)
        return fail_file(err, "make the directory", path, rc);
    else if ((rc = find_dir(sys, path)) < 0) /* somebody else's directory is as good as ours; anything else is not */
        return fail_file(err, "open the directory", path, rc);
    return rc < 0 ? fail_file(err, "sync the directory of", path, rc) : 0;
}

int dm_sys_make_dirs(struct dm_sys *sys, const char *path, unsigned mode, struct dm_err *err)
{
    char *part DM_CLEANUP(dm_freep) = dm_strdup(dm_str_of(path));
    size_t len = strlen(part);
    int rc;

    while (len > 1 && part[len - 1] == '/')
        part[--len] = '\0';
    for (size_t i = 1; i < len; i++) {
        if (part[i] != '/' || part[i - 1] == '/')
            continue;
        part[i] = '\0';
        if ((rc = make_dir(sys, part, mode, err)) < 0)
            return rc;
        part[i] = '/';
    }
    return make_dir(sys, part, mode, err);
}
