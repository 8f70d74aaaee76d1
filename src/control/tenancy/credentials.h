/* The credentials of one application, brought from what is stored to what is wanted. */
#ifndef DM_CONTROL_TENANCY_CREDENTIALS_H
#define DM_CONTROL_TENANCY_CREDENTIALS_H

#include "control/tenancy/write.h"
#include "model/application.h"

/* Fills the digests of `wanted` (the stored one where the key is left out, a new key where there is none stored) and
 * counts the credentials that differ from what is stored. */
DM_MUST_USE int dm_credentials_resolve(struct dm_write *write, const struct dm_application *before,
                                       struct dm_application *wanted, size_t *ret_changed);
/* Removes the stored ones that are not wanted as they are; doing it twice does no harm. */
DM_MUST_USE int dm_credentials_drop_stale(struct dm_write *write, const struct dm_application *before,
                                          const struct dm_application *wanted);
/* Adds those that are not stored yet; sets their ids. */
DM_MUST_USE int dm_credentials_add_new(struct dm_write *write, const struct dm_application *before,
                                       struct dm_application *wanted);

#endif
