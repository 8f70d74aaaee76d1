/* Idempotency keys: a POST with the field Idempotency-Key is done once; when it comes again, the same answer is given.
 * Answers are kept for 24 hours, sealed, because they may show a secret once; those about a tenant no longer than it. */
#ifndef DM_CONTROL_API_REPLY_H
#define DM_CONTROL_API_REPLY_H

#include "base/defs.h"

struct dm_call;
struct dm_write;

#define DM_REPLY_KEY_MAX 128

/* 1 = the call has its answer from before. */
DM_MUST_USE int dm_reply_find(struct dm_call *call, struct dm_write *write);
/* Keeps the call's answer, when it has a key, within the write. */
DM_MUST_USE int dm_reply_keep(struct dm_call *call, struct dm_write *write);

#endif
