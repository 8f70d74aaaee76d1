/* A file locked for as long as its holder lives: who holds "worker-0.lock" is worker 0. The lock (F_OFD_SETLK, not flock: it
 * can be tested without being taken) goes with the process, also on kill -9; the file stays. It contains the holder's pid. */
#ifndef DM_IO_LOCKFILE_H
#define DM_IO_LOCKFILE_H

#include "base/err.h"

struct dm_lockfile {
    int fd;
};

/* DM_EEXIST: held by a living process (err names its pid); DM_EIO. */
DM_MUST_USE int dm_lockfile_take(struct dm_lockfile *lock, const char *path, struct dm_err *err);
/* Also right when it is not held and initialised with fd -1. */
void dm_lockfile_release(struct dm_lockfile *lock);
/* The pid of the holder; 0 when nobody holds it or there is no such file; 1 > rc: -errno. A holder that has not written its
 * pid yet is -EAGAIN. */
DM_MUST_USE int dm_lockfile_holder(const char *path);

#endif
