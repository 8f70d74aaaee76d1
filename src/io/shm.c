#include "io/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KIND_MAX = 15, LAYOUT = 1 };

/* Written before the content is handed to anybody; 64 bytes. */
struct shm_head {
    char magic[8];
    uint32_t layout, version;
    uint64_t size_bytes;
    char kind[KIND_MAX + 1];
    char reserved[24];
};

_Static_assert(sizeof(struct shm_head) == 64, "the content begins 64-byte aligned");

static const char magic[8] = "daemunp";

static struct shm_head wanted_head(const char *kind, uint32_t version, size_t size_bytes)
{
    struct shm_head head = {.layout = LAYOUT, .version = version, .size_bytes = size_bytes};

    memcpy(head.magic, magic, sizeof(magic));
    memcpy(head.kind, kind, strnlen(kind, KIND_MAX));
    return head;
}

/* 0, DM_EVERSION, DM_ECORRUPT or DM_EIO. */
static int check_file(int fd, const struct shm_head *wanted)
{
    struct shm_head head;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return DM_EIO;
    if ((size_t)st.st_size < sizeof(head) || pread(fd, &head, sizeof(head), 0) != sizeof(head))
        return DM_ECORRUPT;
    if (memcmp(head.magic, magic, sizeof(magic)) != 0 || memcmp(head.kind, wanted->kind, sizeof(head.kind)) != 0)
        return DM_ECORRUPT;
    if (head.layout != LAYOUT || head.version != wanted->version || head.size_bytes != wanted->size_bytes)
        return DM_EVERSION;
    return (uint64_t)st.st_size == sizeof(head) + head.size_bytes ? 0 : DM_ECORRUPT;
}

/* Blocks are reserved now: a full disk fails here and not as a bus error at some store. */
static int write_new(int fd, const struct shm_head *head)
{
    int error = posix_fallocate(fd, 0, (off_t)(sizeof(*head) + head->size_bytes));

    if (error)
        return -error;
    return pwrite(fd, head, sizeof(*head), 0) == sizeof(*head) ? 0 : -EIO;
}

/* Is the open file still the one at path? */
static bool is_at_path(int fd, const char *path)
{
    struct stat here, there;

    return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

/* Opens or creates path and locks it, so that one process at a time decides what it is. */
static int open_locked(const char *path, struct dm_err *err)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc;
        if (fd < 0)
            return dm_fail(err, DM_EIO, "", "can't open %s: %s", path, strerror(errno));
        while ((rc = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
            ;
        if (rc == 0 && is_at_path(fd, path))
            return fd;
        close(fd);
        if (rc < 0)
            return dm_fail(err, DM_EIO, "", "can't lock %s: %s", path, strerror(errno));
    }
}

static int map(struct dm_shm *shm, int fd, size_t size_bytes)
{
    size_t bytes = sizeof(struct shm_head) + size_bytes;
    char *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (ptr == MAP_FAILED)
        return -errno;
    *shm =
        (struct dm_shm){.ptr = ptr + sizeof(struct shm_head), .size_bytes = size_bytes, .map = ptr, .map_bytes = bytes};
    return 0;
}

static int fail_check(int rc, const char *path, const struct shm_head *wanted, struct dm_err *err)
{
    if (rc == DM_EVERSION)
        return dm_fail(err, rc, "", "%s was made by another version of the program (expected version %u of '%s')", path,
                       (unsigned)wanted->version, wanted->kind);
    return dm_fail(err, rc, "", "%s is not a page file of kind '%s'", path, wanted->kind);
}

/* Decides what to do with the locked file: 0 when it can be mapped, 1 when it was removed and another try is due. */
static int settle(int fd, const char *path, const struct shm_head *wanted, bool replaces_other, struct dm_err *err)
{
    struct stat st;
    int rc;

    if (fstat(fd, &st) == 0 && st.st_size == 0) {
        if ((rc = write_new(fd, wanted)) == 0)
            return 0;
        unlink(path);
        return dm_fail(err, DM_EIO, "", "can't write %s: %s", path, strerror(-rc));
    }
    if ((rc = check_file(fd, wanted)) == 0)
        return 0;
    if (!replaces_other)
        return fail_check(rc, path, wanted, err);
    if (unlink(path) < 0)
        return dm_fail(err, DM_EIO, "", "can't remove %s: %s", path, strerror(errno));
    return 1;
}

int dm_shm_open(struct dm_shm *shm, const char *path, const char *kind, uint32_t version, size_t size_bytes,
                bool replaces_other, struct dm_err *err)
{
    struct shm_head wanted = wanted_head(kind, version, size_bytes);
    int fd, rc;

    *shm = (struct dm_shm){0};
    do {
        if ((fd = open_locked(path, err)) < 0)
            return fd;
        rc = settle(fd, path, &wanted, replaces_other, err);
        if (rc == 0 && (rc = map(shm, fd, size_bytes)) < 0)
            rc = dm_fail(err, DM_EIO, "", "can't map %s: %s", path, strerror(-rc));
        /* Closing alone would not: the mapping keeps the open file, and its lock. */
        flock(fd, LOCK_UN);
        close(fd);
    } while (rc > 0);
    return rc;
}

/* --- without trust ------------------------------------------------------------------------------------------------ */

static int open_checked(const char *path, const struct shm_head *wanted, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc;

    if (fd < 0)
        return errno == ENOENT ? DM_ENOENT : DM_EIO;
    if ((rc = check_file(fd, wanted)) == 0)
        return fd;
    close(fd);
    return rc;
}

static int make_anew(const char *path, const struct shm_head *wanted, struct dm_err *err)
{
    int fd, rc;

    (void)unlink(path);
    if ((fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        return dm_fail(err, DM_EIO, "", "can't make %s: %s", path, strerror(errno));
    if ((rc = write_new(fd, wanted)) == 0)
        return fd;
    close(fd);
    return dm_fail(err, DM_EIO, "", "can't write %s: %s", path, strerror(-rc));
}

int dm_shm_prepare(const char *path, const char *kind, uint32_t version, size_t size_bytes, unsigned mode,
                   struct dm_err *err)
{
    struct shm_head wanted = wanted_head(kind, version, size_bytes);
    int fd = open_checked(path, &wanted, O_RDWR), rc = 0;

    if (fd < 0 && (fd = make_anew(path, &wanted, err)) < 0)
        return fd;
    if (fchmod(fd, mode) < 0)
        rc = dm_fail(err, DM_EIO, "", "can't set the mode of %s: %s", path, strerror(errno));
    close(fd);
    return rc;
}

int dm_shm_open_to_read(const char *path, const char *kind, uint32_t version, size_t size_bytes)
{
    struct shm_head wanted = wanted_head(kind, version, size_bytes);

    return open_checked(path, &wanted, O_RDONLY);
}

bool dm_shm_read(int fd, size_t at, void *ret, size_t len)
{
    return pread(fd, ret, len, (off_t)(sizeof(struct shm_head) + at)) == (ssize_t)len;
}

void dm_shm_populate(struct dm_shm *shm)
{
    (void)madvise(shm->map, shm->map_bytes, MADV_POPULATE_WRITE); /* Linux 5.14 */
}

void dm_shm_close(struct dm_shm *shm)
{
    if (shm->map)
        munmap(shm->map, shm->map_bytes);
    *shm = (struct dm_shm){0};
}
