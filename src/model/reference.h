/* The reference for people, generated from the tables: docs/reference/resources.md, reasons.md and listeners.md. */
#ifndef DM_MODEL_REFERENCE_H
#define DM_MODEL_REFERENCE_H

#include "base/buf.h"

#define DM_REFERENCE_MAX (1u << 20)

void dm_reference_resources(struct dm_buf *ret);
void dm_reference_reasons(struct dm_buf *ret);
void dm_reference_listeners(struct dm_buf *ret);

#endif
