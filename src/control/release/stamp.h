/* Times as the API writes them: RFC 3339 in UTC. */
#ifndef DM_CONTROL_RELEASE_STAMP_H
#define DM_CONTROL_RELEASE_STAMP_H

#include "base/err.h"

#define DM_STAMP_MAX 32

/* "2026-11-01T12:00:00.123Z", without the fraction when it is zero. */
struct dm_str dm_stamp(int64_t unix_ms, char ret[DM_STAMP_MAX]);
/* "2026-11-01" */
struct dm_str dm_stamp_date(int64_t unix_ms, char ret[DM_STAMP_MAX]);
/* "2026-11-01T12:00:00Z", with or without fraction, to milliseconds. */
DM_MUST_USE int dm_stamp_parse(struct dm_str text, int64_t *ret_unix_ms);

#endif
