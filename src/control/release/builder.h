/* From rows to a signed document: what a gateway gets of one tenant for one kind of unit. Cost: that unit. */
#ifndef DM_CONTROL_RELEASE_BUILDER_H
#define DM_CONTROL_RELEASE_BUILDER_H

#include "control/store/units.h"

struct dm_keyring;

/* Reads the tenant's rows as the transaction left them, numbers and signs the document and keeps it in the store. *ret
 * lies in the transaction's arena. */
DM_MUST_USE int dm_builder_make(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                                enum dm_unit_kind kind, struct dm_unit_row *ret, struct dm_err *err);

/* The key that the tenant's credential digests are keyed with; made at first use. */
DM_MUST_USE int dm_builder_digest_key(struct dm_tenant_handle *handle, const struct dm_keyring *keyring,
                                      int64_t *ret_id, uint8_t ret_key[32], struct dm_err *err);

#endif
