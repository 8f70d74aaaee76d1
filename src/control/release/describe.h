/* What a certificate says of itself, for the read-only members of struct dm_certificate. */
#ifndef DM_CONTROL_RELEASE_DESCRIBE_H
#define DM_CONTROL_RELEASE_DESCRIBE_H

#include "io/certificate.h"
#include "model/certificate.h"

struct dm_arena;

/* DM_EBUDGET when the arena is exhausted. */
DM_MUST_USE int dm_describe_certificate(const struct dm_certificate_info *info, struct dm_arena *arena,
                                        struct dm_certificate *ret);

#endif
