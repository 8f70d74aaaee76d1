/* Resources of a tenant as canonical JSON, by kind and name (release/kind.h), and the one set of grants. */
#ifndef DM_CONTROL_STORE_RESOURCES_H
#define DM_CONTROL_STORE_RESOURCES_H

#include "control/store/tenants.h"

struct dm_resource_row {
    struct dm_str kind; /* "backend", "grants", … */
    struct dm_str name;
    struct dm_str body;
    int64_t number;  /* unique per tenant and kind, never reused */
    int64_t version; /* sequence of the change that made it: never the same twice, also after delete and create */
};

DM_MUST_USE int dm_resources_get(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str name,
                                 struct dm_resource_row *ret, struct dm_err *err);
/* Makes or replaces. */
DM_MUST_USE int dm_resources_put(struct dm_tenant_handle *handle, const struct dm_resource_row *row,
                                 struct dm_err *err);
/* DM_ENOENT when it is not there. */
DM_MUST_USE int dm_resources_remove(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str name,
                                    struct dm_err *err);
/* A number for a new resource of this kind. */
DM_MUST_USE int dm_resources_number(struct dm_tenant_handle *handle, struct dm_str kind, int64_t *ret,
                                    struct dm_err *err);
DM_MUST_USE int dm_resources_count(struct dm_tenant_handle *handle, struct dm_str kind, size_t *ret,
                                   struct dm_err *err);
/* By name, after `after`, at most limit (0 = all). Borrowed for the visit. */
typedef int (*dm_resources_visit)(void *arg, const struct dm_resource_row *row, struct dm_err *err);
DM_MUST_USE int dm_resources_each(struct dm_tenant_handle *handle, struct dm_str kind, struct dm_str after,
                                  size_t limit, dm_resources_visit visit, void *arg, struct dm_err *err);

/* What applications subscribe to, kept beside them so that a product can be checked without reading them all. */
DM_MUST_USE int dm_resources_subscribe(struct dm_tenant_handle *handle, struct dm_str application,
                                       struct dm_str product, struct dm_str plan, struct dm_err *err);
DM_MUST_USE int dm_resources_unsubscribe(struct dm_tenant_handle *handle, struct dm_str application,
                                         struct dm_err *err);
/* Each product and plan in use once, with one application that uses it. */
typedef int (*dm_subscriptions_visit)(void *arg, struct dm_str product, struct dm_str plan, struct dm_str application,
                                      struct dm_err *err);
DM_MUST_USE int dm_resources_subscribed(struct dm_tenant_handle *handle, dm_subscriptions_visit visit, void *arg,
                                        struct dm_err *err);

#endif
