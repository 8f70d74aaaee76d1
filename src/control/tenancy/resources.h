/* Writing one resource of a tenant. */
#ifndef DM_CONTROL_TENANCY_RESOURCES_H
#define DM_CONTROL_TENANCY_RESOURCES_H

#include "control/tenancy/write.h"

struct dm_application;
struct dm_credential;

/* Makes or replaces; nothing is written when it is what is there already. object is a valid struct of the kind. Of an
 * application, credentials without a key keep the one they have or get a new one (write->new_keys). */
DM_MUST_USE int dm_put_resource(struct dm_write *write, enum dm_kind kind, void *object,
                                const struct dm_precondition *precondition, struct dm_outcome *ret);
/* DM_ENOENT. */
DM_MUST_USE int dm_remove_resource(struct dm_write *write, enum dm_kind kind, struct dm_str name,
                                   const struct dm_precondition *precondition);

/* One credential of an application. Sets id, created_at and, when it was generated, key. */
DM_MUST_USE int dm_put_credential(struct dm_write *write, struct dm_str application, struct dm_credential *credential,
                                  struct dm_outcome *ret);
DM_MUST_USE int dm_remove_credential(struct dm_write *write, struct dm_str application, struct dm_str name);

/* For the declarative file, which checked everything as a whole. before is what is there (NULL = nothing), number its
 * number. */
DM_MUST_USE int dm_store_resource(struct dm_write *write, enum dm_kind kind, const void *before, int64_t number,
                                  void *object, struct dm_outcome *ret);
DM_MUST_USE int dm_drop_resource(struct dm_write *write, enum dm_kind kind, const void *before);

#endif
