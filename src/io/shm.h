/* A named page set shared between processes that outlives them: a file mapped shared. Its header states what it is; a file
 * of another kind, version or size is refused. Content starts zeroed. Readers and writers agree on atomics themselves. */
#ifndef DM_IO_SHM_H
#define DM_IO_SHM_H

#include "base/err.h"

struct dm_shm {
    void *ptr; /* size_bytes of content, 64-byte aligned; NULL when not open */
    size_t size_bytes;
    void *map;
    size_t map_bytes;
};

/* Creates (mode 0600) or opens it. kind: at most 15 characters. When replaces_other, a file that would be refused is removed
 * first and made anew (processes that have it mapped keep the old one). DM_EVERSION: another version or size; DM_ECORRUPT:
 * not such a file; DM_EIO. Two processes that create it at once get the same pages. */
DM_MUST_USE int dm_shm_open(struct dm_shm *shm, const char *path, const char *kind, uint32_t version, size_t size_bytes,
                            bool replaces_other, struct dm_err *err);
/* For a process that keeps such files for another, which it does not trust: it maps none of them, and waits for no lock.
 * prepare: the file is there and sound, or is made anew, with this mode; nobody else makes it. open_to_read: a descriptor for read, or
 * DM_ENOENT, DM_EVERSION, DM_ECORRUPT. read: len bytes of the content; false when they are not there (any more). */
DM_MUST_USE int dm_shm_prepare(const char *path, const char *kind, uint32_t version, size_t size_bytes, unsigned mode,
                               struct dm_err *err);
DM_MUST_USE int dm_shm_open_to_read(const char *path, const char *kind, uint32_t version, size_t size_bytes);
bool dm_shm_read(int fd, size_t at, void *ret, size_t len);
/* Has all of it in memory now, so that no store waits for a page later; as far as the system can. */
void dm_shm_populate(struct dm_shm *shm);
/* Unmaps; the file stays. */
void dm_shm_close(struct dm_shm *shm);

#endif
