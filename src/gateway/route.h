/* The host table of a worker: public host name -> tenant and product. A name is in it when the tenant's grants hold it; which
 * product answers on it, its release says. Rebuilt for one tenant when its grants, domains or release change: O(that tenant).
 *
 * R1. An exact name wins over a wildcard, a longer wildcard over a shorter.
 * R2. A name that two tenants claim stays with the one that had it, and is the other's as soon as that one lets go: the units
 *     of two tenants arrive in any order when a name moves between them (the controller lets no second claim pass).
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_ROUTE_H
#define DM_GATEWAY_ROUTE_H

#include "base/map.h"
#include "gateway/tenant.h"
#include "snapshot/release.h"

#define DM_ROUTE_NO_PRODUCT UINT32_MAX

struct dm_route {
    struct dm_live_tenant *tenant;
    const struct dm_live_domain *domain; /* of the tenant's, how it is served; NULL: none said */
    uint32_t product;                    /* index in the tenant's live release, or DM_ROUTE_NO_PRODUCT */
    struct dm_str host;
    struct dm_route *next; /* of the same tenant */
};

struct dm_routes {
    struct dm_map exact;     /* "api.example.com" */
    struct dm_map wildcards; /* ".example.com" */
    struct dm_map tenants;   /* tenant name -> struct tenant_routes */
    size_t n_waiting;        /* tenants that claim a name of another's */
};

void dm_routes_init(struct dm_routes *routes);
void dm_routes_done(struct dm_routes *routes);
/* Makes the table say what the tenant's units say now; one that is gone leaves it. */
void dm_routes_update(struct dm_routes *routes, struct dm_live_tenant *tenant);
/* host: normalised, without port. NULL: nobody's. */
const struct dm_route *dm_routes_find(const struct dm_routes *routes, struct dm_str host);

/* The version of the product that answers on this (normalised) path: the longest prefix of whole segments; NULL: none.
 * *ret_rest is the path below it, "/" at least. */
const struct dm_uversion *dm_route_version(const struct dm_unit *release, const struct dm_uproduct *product,
                                           struct dm_str path, struct dm_str *ret_rest);
/* The mount for the path below the version, by the same rule. */
const struct dm_umount *dm_route_mount(const struct dm_unit *release, const struct dm_uversion *version,
                                       struct dm_str path, struct dm_str *ret_rest);

#endif
