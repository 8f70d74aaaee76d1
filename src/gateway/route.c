#include "gateway/route.h"

#include "base/log.h"
#include "base/mem.h"
#include "model/domain.h"
#include "snapshot/grants.h"

/* What a tenant has in the table. */
struct tenant_routes {
    struct dm_live_tenant *tenant;
    struct dm_route *first;
    bool is_waiting; /* for a name that another tenant has (R2) */
};

void dm_routes_init(struct dm_routes *routes)
{
    dm_map_init_random(&routes->exact);
    dm_map_init_random(&routes->wildcards);
    dm_map_init_random(&routes->tenants);
    routes->n_waiting = 0;
}

static bool is_wildcard(struct dm_str host)
{
    return host.len > 0 && host.ptr[0] == '.';
}

static struct dm_map *map_for(struct dm_routes *routes, struct dm_str host)
{
    return is_wildcard(host) ? &routes->wildcards : &routes->exact;
}

static void remove_all(struct dm_routes *routes, struct tenant_routes *of)
{
    while (of->first) {
        struct dm_route *route = of->first;
        of->first = route->next;
        dm_map_del(map_for(routes, route->host), route->host);
        dm_free((void *)(uintptr_t)route->host.ptr);
        dm_free(route);
    }
}

void dm_routes_done(struct dm_routes *routes)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    while ((slot = dm_map_next(&routes->tenants, &at))) {
        remove_all(routes, slot->value);
        dm_free(slot->value);
    }
    dm_map_done(&routes->exact);
    dm_map_done(&routes->wildcards);
    dm_map_done(&routes->tenants);
}

static void wait_for(struct dm_routes *routes, struct tenant_routes *of, const struct dm_route *route)
{
    dm_log(DM_LOG_WARN, "domain_conflict", "domain %.*s of tenant %.*s is served for tenant %.*s still",
           DM_STR_ARG(route->host), DM_STR_ARG(of->tenant->name), DM_STR_ARG(route->tenant->name));
    routes->n_waiting += !of->is_waiting;
    of->is_waiting = true;
}

static void add(struct dm_routes *routes, struct tenant_routes *of, struct dm_str host, uint32_t product)
{
    struct dm_map *map = map_for(routes, host);
    struct dm_route *route = dm_map_get(map, host);

    if (route && route->tenant != of->tenant) {
        wait_for(routes, of, route);
        return;
    }
    if (!route) {
        route = dm_calloc(1, sizeof(*route));
        route->tenant = of->tenant;
        route->host = dm_str_n(dm_strdup(host), host.len);
        route->next = of->first;
        of->first = route;
        dm_map_put(map, route->host, route);
    }
    route->product = product;
}

static bool is_granted(const struct dm_unit *grants, struct dm_str host)
{
    const struct dm_ugrants *root = DM_UNIT_ROOT(grants, dm_ugrants);
    const struct dm_udomain_grant *domains = dm_unit_at(grants, root->domains);

    for (uint32_t i = 0; i < root->n_domains; i++) {
        struct dm_str name = dm_unit_str(grants, domains[i].name);
        if (domains[i].is_wildcard ? dm_str_ends(host, name) && host.len >= name.len : dm_str_eq(host, name))
            return true;
    }
    return false;
}

/* Granted names that no product uses are the tenant's all the same: requests to them get its reasons. */
static void add_granted(struct dm_routes *routes, struct tenant_routes *of)
{
    const struct dm_unit *grants = of->tenant->grants;
    const struct dm_ugrants *root = DM_UNIT_ROOT(grants, dm_ugrants);
    const struct dm_udomain_grant *domains = dm_unit_at(grants, root->domains);

    for (uint32_t i = 0; i < root->n_domains; i++)
        add(routes, of, dm_unit_str(grants, domains[i].name), DM_ROUTE_NO_PRODUCT);
}

static void add_product(struct dm_routes *routes, struct tenant_routes *of, uint32_t index,
                        const struct dm_uproduct *product)
{
    const struct dm_unit *unit = of->tenant->release->unit;
    const struct dm_ustr *domains = dm_unit_at(unit, product->domains);

    for (uint32_t i = 0; i < product->n_domains; i++) {
        struct dm_str host = dm_unit_str(unit, domains[i]);
        if (dm_domain_is_wildcard(host))
            host = dm_str_skip(host, 1);
        if (is_granted(of->tenant->grants, host))
            add(routes, of, host, index);
    }
}

/* A domain within a granted wildcard is a name of its own; its product is the one that answers there. */
static void add_domains(struct dm_routes *routes, struct tenant_routes *of)
{
    const struct dm_live_domains *domains = of->tenant->domains;

    for (uint32_t i = 0; domains && i < domains->n; i++) {
        struct dm_str host = dm_unit_str(domains->unit, domains->items[i].settings->name);
        const struct dm_route *covering = dm_routes_find(routes, host);
        if (covering && covering->tenant == of->tenant)
            add(routes, of, host, covering->product);
    }
    for (struct dm_route *route = of->first; route; route = route->next)
        route->domain = dm_live_domains_find(domains, route->host);
}

static void add_all(struct dm_routes *routes, struct tenant_routes *of)
{
    const struct dm_live_release *release = of->tenant->release;

    if (!of->tenant->grants)
        return;
    add_granted(routes, of);
    if (release) {
        const struct dm_urelease *root = DM_UNIT_ROOT(release->unit, dm_urelease);
        const struct dm_uproduct *products = dm_unit_at(release->unit, root->products);
        for (uint32_t i = 0; i < root->n_products; i++)
            add_product(routes, of, i, &products[i]);
    }
    add_domains(routes, of);
}

static void rebuild(struct dm_routes *routes, struct tenant_routes *of)
{
    remove_all(routes, of);
    routes->n_waiting -= of->is_waiting;
    of->is_waiting = false;
    if (!of->tenant->is_gone)
        add_all(routes, of);
}

/* R2: somebody let go of names, perhaps of those. */
static void rebuild_waiting(struct dm_routes *routes, const struct tenant_routes *but)
{
    struct dm_map_slot *slot;
    size_t at = 0;

    if (routes->n_waiting == 0)
        return;
    while ((slot = dm_map_next(&routes->tenants, &at))) {
        struct tenant_routes *of = slot->value;
        if (of != but && of->is_waiting)
            rebuild(routes, of);
    }
}

void dm_routes_update(struct dm_routes *routes, struct dm_live_tenant *tenant)
{
    struct tenant_routes *of = dm_map_get(&routes->tenants, tenant->name);

    if (!of && tenant->is_gone)
        return;
    if (!of) {
        of = dm_calloc(1, sizeof(*of));
        of->tenant = tenant;
        dm_map_put(&routes->tenants, tenant->name, of);
    }
    rebuild(routes, of);
    rebuild_waiting(routes, of);
    if (tenant->is_gone)
        dm_free(dm_map_del(&routes->tenants, tenant->name));
}

const struct dm_route *dm_routes_find(const struct dm_routes *routes, struct dm_str host)
{
    const struct dm_route *route = dm_map_get(&routes->exact, host);

    if (route || routes->wildcards.count == 0)
        return route;
    for (;;) {
        size_t dot = dm_str_find(host, '.');
        if (dot == host.len)
            return NULL;
        host = dm_str_skip(host, dot);
        if ((route = dm_map_get(&routes->wildcards, host)))
            return route;
        host = dm_str_skip(host, 1);
    }
}

/* Is `prefix` ("" or "/a/b") the path itself or whole segments at its head? */
static bool is_below(struct dm_str path, struct dm_str prefix, struct dm_str *ret_rest)
{
    if (!dm_str_starts(path, prefix) || (path.len > prefix.len && path.ptr[prefix.len] != '/'))
        return false;
    *ret_rest = path.len > prefix.len ? dm_str_skip(path, prefix.len) : DM_STR("/");
    return true;
}

const struct dm_uversion *dm_route_version(const struct dm_unit *release, const struct dm_uproduct *product,
                                           struct dm_str path, struct dm_str *ret_rest)
{
    const struct dm_uversion *versions = dm_unit_at(release, product->versions);

    for (uint32_t i = 0; i < product->n_versions; i++)
        if (is_below(path, dm_unit_str(release, versions[i].path), ret_rest))
            return &versions[i];
    return NULL;
}

const struct dm_umount *dm_route_mount(const struct dm_unit *release, const struct dm_uversion *version,
                                       struct dm_str path, struct dm_str *ret_rest)
{
    const struct dm_umount *mounts = dm_unit_at(release, version->mounts);

    for (uint32_t i = 0; i < version->n_mounts; i++)
        if (is_below(path, dm_unit_str(release, mounts[i].path), ret_rest))
            return &mounts[i];
    return NULL;
}
