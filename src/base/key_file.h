/* Keys on disk: one file each, hexadecimal digits and a line feed, readable by its owner alone. */
#ifndef DM_BASE_KEY_FILE_H
#define DM_BASE_KEY_FILE_H

#include "base/sys.h"

#define DM_KEY_FILE_BYTES_MAX 128 /* of a key */

/* DM_ENOENT: there is none; DM_ECORRUPT: it does not hold len bytes. *ret is the caller's to wipe. */
DM_MUST_USE int dm_key_file_read(struct dm_sys *sys, const char *path, uint8_t *ret, size_t len, struct dm_err *err);
/* Durably, in place of what was there. */
DM_MUST_USE int dm_key_file_write(struct dm_sys *sys, const char *path, const uint8_t *key, size_t len,
                                  struct dm_err *err);

#endif
