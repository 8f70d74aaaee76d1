/* Usage batches of gateways into the store: each once, however often it is sent. */
#ifndef DM_CONTROL_USAGE_INGEST_H
#define DM_CONTROL_USAGE_INGEST_H

#include "base/err.h"

struct dm_link_usage;
struct dm_store;

/* Blocking; one transaction. 0 when the batch is stored, now or before. Usage of a tenant or application that is gone is
 * dropped. */
DM_MUST_USE int dm_usage_ingest(struct dm_store *store, struct dm_str gateway, const struct dm_link_usage *usage,
                                struct dm_err *err);

#endif
