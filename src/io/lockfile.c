#include "io/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PID_TEXT_MAX = 16 };

static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

static int read_pid(int fd)
{
    char text[PID_TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof(text), 0);
    uint64_t pid;

    if (n <= 0 || text[n - 1] != '\n' || dm_str_to_u64(dm_str_n(text, (size_t)n - 1), &pid) < 0 || pid == 0 ||
        pid > INT32_MAX)
        return -EAGAIN;
    return (int)pid;
}

static int write_pid(int fd)
{
    char text[PID_TEXT_MAX];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return -errno;
    return 0;
}

static int fail_held(const char *path, int fd, struct dm_err *err)
{
    int pid = read_pid(fd);

    if (pid > 0)
        return dm_fail(err, DM_EEXIST, "", "%s is held by the living process %d", path, pid);
    return dm_fail(err, DM_EEXIST, "", "%s is held by another process", path);
}

/* Locks the open file and makes it say who we are. */
static int lock_fd(int fd, const char *path, struct dm_err *err)
{
    struct flock lock = whole_file();
    int rc;

    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return fail_held(path, fd, err);
        return dm_fail(err, DM_EIO, "", "can't lock %s: %s", path, strerror(errno));
    }
    if ((rc = write_pid(fd)) < 0)
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", path, strerror(-rc));
    return 0;
}

int dm_lockfile_take(struct dm_lockfile *lock, const char *path, struct dm_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc;

    lock->fd = -1;
    if (fd < 0)
        return dm_fail(err, DM_EIO, "", "can't open %s: %s", path, strerror(errno));
    if ((rc = lock_fd(fd, path, err)) < 0) {
        close(fd);
        return rc;
    }
    lock->fd = fd;
    return 0;
}

void dm_lockfile_release(struct dm_lockfile *lock)
{
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
}

int dm_lockfile_holder(const char *path)
{
    struct flock lock = whole_file();
    int fd = open(path, O_RDWR | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        rc = -errno;
    else if (lock.l_type != F_UNLCK)
        rc = read_pid(fd);
    close(fd);
    return rc;
}
