/* The first master token. */
#ifndef DM_CONTROL_IDENTITY_MASTER_H
#define DM_CONTROL_IDENTITY_MASTER_H

#include "base/err.h"

struct dm_keyring;
struct dm_store;
struct dm_sys;

/* Makes a master token when the platform has no token yet: shown once on standard output, or written to `path` (mode
 * 0600) when it is not NULL. Only its digest is kept. */
DM_MUST_USE int dm_master_ensure(struct dm_store *store, const struct dm_keyring *keyring, struct dm_sys *sys,
                                 const char *path, struct dm_err *err);

#endif
