#include "model/tenant_file_int.h"
#include "base/map.h"
#include "model/format.h"

void dm_tenant_file_fail_name(struct dm_check *check, const char *sub, const char *what, struct dm_str name,
                              const struct dm_str *names, size_t n)
{
    char near[DM_NAME_MAX + 1] = "", shown[DM_SHOW_MAX];
    size_t best = DM_MAX(1, name.len / 3) + 1;

    for (size_t i = 0; i < n; i++) {
        size_t distance = dm_str_distance(names[i], name);

        if (distance >= best)
            continue;
        best = distance;
        snprintf(near, sizeof(near), "%.*s", DM_STR_ARG(names[i]));
    }
    dm_check_fail(check, sub, near[0] ? "no %s %s, did you mean '%s'?" : "no %s %s", what, dm_show(name, shown), near);
}

static void fail_backend(const struct dm_tenant_file *file, struct dm_str name, struct dm_check *check)
{
    struct dm_str names[DM_BACKENDS_MAX];
    size_t n = DM_MIN(file->n_backends, DM_BACKENDS_MAX);

    for (size_t i = 0; i < n; i++)
        names[i] = file->backends[i].name;
    dm_tenant_file_fail_name(check, "/backend", "backend", name, names, n);
}

static void check_mounts(const struct dm_tenant_file *file, const struct dm_map *backends, struct dm_check *check)
{
    for (size_t i = 0; i < file->n_products; i++) {
        for (size_t v = 0; v < file->products[i].n_versions; v++) {
            const struct dm_version *version = &file->products[i].versions[v];

            for (size_t m = 0; m < version->n_backends; m++) {
                size_t mark;

                if (dm_map_get(backends, version->backends[m].backend))
                    continue;
                mark = dm_check_enter(check, "/products/%zu/versions/%zu/backends/%zu", i, v, m);
                fail_backend(file, version->backends[m].backend, check);
                dm_check_leave(check, mark);
            }
        }
    }
}

/* What a gateway keeps of one tenant's checks is bounded. */
static void check_checked(const struct dm_tenant_file *file, struct dm_check *check)
{
    size_t n = 0;

    for (size_t i = 0; i < file->n_backends; i++) {
        const struct dm_backend *backend = &file->backends[i];
        size_t before = n;

        if (!backend->health)
            continue;
        n += backend->n_endpoints;
        if (before <= DM_HEALTH_ENDPOINTS_MAX && n > DM_HEALTH_ENDPOINTS_MAX) {
            size_t mark = dm_check_enter(check, "/backends/%zu", i);
            dm_check_fail(
                check, "/health",
                "must leave at most %d endpoints of all backends together that are checked, found %zu up to here",
                DM_HEALTH_ENDPOINTS_MAX, n);
            dm_check_leave(check, mark);
        }
    }
}

/* Key of (domain, path) for the map of what is taken; domains hold no space. */
static struct dm_str place_of(struct dm_arena *arena, struct dm_str domain, struct dm_str path)
{
    struct dm_str ret = DM_STR_NULL;

    if (dm_arena_printf(arena, &ret, "%.*s %.*s", DM_STR_ARG(domain), DM_STR_ARG(path)) < 0)
        return DM_STR_NULL;
    return ret;
}

/* The versions of product i on its domain d; whoever was there first is named. */
static void check_places(const struct dm_tenant_file *file, size_t i, size_t d, struct dm_map *taken,
                         struct dm_arena *arena, struct dm_check *check)
{
    const struct dm_product *product = &file->products[i];
    char shown[DM_SHOW_MAX];

    for (size_t v = 0; v < product->n_versions; v++) {
        struct dm_str place = place_of(arena, product->domains[d], product->versions[v].path);
        const struct dm_product *other = dm_map_get(taken, place);
        size_t mark = dm_check_enter(check, "/products/%zu/domains/%zu", i, d);

        if (other && other != product)
            dm_check_fail(check, "", "must not be shared at one path, but product '%.*s' has a version at %s there too",
                          DM_STR_ARG(other->name), dm_show(product->versions[v].path, shown));
        else if (!other && place.ptr)
            dm_map_put(taken, place, (void *)(uintptr_t)product);
        dm_check_leave(check, mark);
    }
}

static void check_domains(const struct dm_tenant_file *file, struct dm_check *check)
{
    struct dm_arena arena;
    struct dm_map taken;

    dm_arena_init(&arena, NULL, SIZE_MAX / 2);
    dm_map_init_random(&taken);
    for (size_t i = 0; i < file->n_products; i++) {
        for (size_t d = 0; d < file->products[i].n_domains; d++)
            check_places(file, i, d, &taken, &arena, check);
    }
    dm_map_done(&taken);
    dm_arena_done(&arena);
}

static void fail_product(const struct dm_tenant_file *file, struct dm_str name, struct dm_check *check)
{
    struct dm_str names[DM_PRODUCTS_MAX];
    size_t n = DM_MIN(file->n_products, DM_PRODUCTS_MAX);

    for (size_t i = 0; i < n; i++)
        names[i] = file->products[i].name;
    dm_tenant_file_fail_name(check, "/product", "product", name, names, n);
}

static void fail_plan(const struct dm_product *product, struct dm_str name, struct dm_check *check)
{
    struct dm_str names[DM_PLANS_MAX];
    size_t n = DM_MIN(product->n_plans, DM_PLANS_MAX);
    char what[DM_NAME_MAX + 32];

    for (size_t i = 0; i < n; i++)
        names[i] = product->plans[i].name;
    snprintf(what, sizeof(what), "plan of product '%.*s' named", DM_STR_ARG(product->name));
    dm_tenant_file_fail_name(check, "/plan", what, name, names, n);
}

static void check_subscriptions(const struct dm_tenant_file *file, size_t i, const struct dm_map *products,
                                struct dm_check *check)
{
    const struct dm_application *application = &file->applications[i];

    for (size_t s = 0; s < application->n_subscriptions; s++) {
        const struct dm_subscription *subscription = &application->subscriptions[s];
        const struct dm_product *product = dm_map_get(products, subscription->product);
        size_t mark = dm_check_enter(check, "/applications/%zu/subscriptions/%zu", i, s);

        if (!product)
            fail_product(file, subscription->product, check);
        else if (!dm_product_plan(product, subscription->plan))
            fail_plan(product, subscription->plan, check);
        dm_check_leave(check, mark);
    }
}

/* One key, or one certificate, is one application: a second one with it would take its calls. */
static void check_credential(const struct dm_application *application, const struct dm_credential *credential,
                             struct dm_map *seen, struct dm_check *check)
{
    struct dm_str value = credential->key.len > 0           ? credential->key
                          : credential->fingerprint.len > 0 ? credential->fingerprint
                                                            : credential->subject;
    const struct dm_application *other = value.len > 0 ? dm_map_get(seen, value) : NULL;
    char sub[32];

    if (other) {
        snprintf(sub, sizeof(sub), "/%s", dm_credential_member(credential));
        dm_check_fail(check, sub, "must be unique in the tenant, but application '%.*s' has the same %s",
                      DM_STR_ARG(other->name), dm_credential_member(credential));
    } else if (value.len > 0) {
        dm_map_put(seen, value, (void *)(uintptr_t)application);
    }
}

static void check_keys(const struct dm_tenant_file *file, struct dm_check *check)
{
    struct dm_map seen[2]; /* by enum dm_credential_type */

    dm_map_init_random(&seen[DM_CREDENTIAL_API_KEY]);
    dm_map_init_random(&seen[DM_CREDENTIAL_CLIENT_CERTIFICATE]);
    for (size_t i = 0; i < file->n_applications; i++) {
        const struct dm_application *application = &file->applications[i];

        for (size_t c = 0; c < application->n_credentials; c++) {
            const struct dm_credential *credential = &application->credentials[c];
            size_t mark = dm_check_enter(check, "/applications/%zu/credentials/%zu", i, c);

            check_credential(application, credential, &seen[credential->type], check);
            dm_check_leave(check, mark);
        }
    }
    dm_map_done(&seen[DM_CREDENTIAL_API_KEY]);
    dm_map_done(&seen[DM_CREDENTIAL_CLIENT_CERTIFICATE]);
}

void dm_tenant_file_check(const struct dm_tenant_file *file, struct dm_check *check)
{
    struct dm_map backends, products;

    dm_map_init_random(&backends);
    dm_map_init_random(&products);
    for (size_t i = 0; i < file->n_backends; i++)
        dm_map_put(&backends, file->backends[i].name, &file->backends[i]);
    for (size_t i = 0; i < file->n_products; i++)
        dm_map_put(&products, file->products[i].name, &file->products[i]);
    check_mounts(file, &backends, check);
    check_checked(file, check);
    dm_tenant_file_check_authorities(file, check);
    check_domains(file, check);
    for (size_t i = 0; i < file->n_applications; i++)
        check_subscriptions(file, i, &products, check);
    check_keys(file, check);
    dm_map_done(&backends);
    dm_map_done(&products);
}

static void check_granted_endpoint(const struct dm_grants *grants, const struct dm_endpoint *endpoint,
                                   struct dm_check *check)
{
    struct dm_cidr address;
    char shown[DM_SHOW_MAX];

    if (dm_unix_path(endpoint->host).ptr) {
        if (!dm_grants_allow_unix(grants, endpoint->host))
            dm_check_fail_code(check, DM_EPERM, "", "%s is not granted to this tenant", dm_show(endpoint->host, shown));
    } else if (dm_cidr_parse_address(endpoint->host, &address, NULL) < 0) {
        if (!dm_grants_allow_port(grants, (uint16_t)endpoint->port))
            dm_check_fail_code(check, DM_EPERM, "/port", "no endpoint with port %lld is granted to this tenant",
                               (long long)endpoint->port);
    } else if (!dm_grants_allow_endpoint(grants, &address, (uint16_t)endpoint->port)) {
        dm_check_fail_code(check, DM_EPERM, "", "%s port %lld is not granted to this tenant",
                           dm_show(endpoint->host, shown), (long long)endpoint->port);
    }
}

void dm_grants_check(const struct dm_grants *grants, const struct dm_tenant_file *file, struct dm_check *check)
{
    char shown[DM_SHOW_MAX];
    size_t mark;

    for (size_t i = 0; i < file->n_backends; i++) {
        for (size_t e = 0; e < file->backends[i].n_endpoints; e++) {
            mark = dm_check_enter(check, "/backends/%zu/endpoints/%zu", i, e);
            check_granted_endpoint(grants, &file->backends[i].endpoints[e], check);
            dm_check_leave(check, mark);
        }
    }
    for (size_t i = 0; i < file->n_domains; i++) {
        mark = dm_check_enter(check, "/domains/%zu/name", i);
        if (!dm_grants_allow_domain(grants, file->domains[i].name))
            dm_check_fail_code(check, DM_EPERM, "", "domain %s is not granted to this tenant",
                               dm_show(file->domains[i].name, shown));
        dm_check_leave(check, mark);
    }
    for (size_t i = 0; i < file->n_products; i++) {
        for (size_t d = 0; d < file->products[i].n_domains; d++) {
            struct dm_str name = file->products[i].domains[d];

            mark = dm_check_enter(check, "/products/%zu/domains/%zu", i, d);
            if (!dm_grants_allow_domain(grants, name))
                dm_check_fail_code(check, DM_EPERM, "", "domain %s is not granted to this tenant",
                                   dm_show(name, shown));
            dm_check_leave(check, mark);
        }
    }
}

static void check_file(const void *object, struct dm_check *check)
{
    const struct dm_tenant_file *file = object;

    dm_tenant_file_check(file, check);
    if (file->grants)
        dm_grants_check(file->grants, file, check);
}

static const struct dm_field fields[] = {
    {"daemun", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_tenant_file, daemun), .min = 1, .max = 1, .def_int = 1,
     .doc = "Format of the file: 1."},
    {"tenant", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_tenant_file, tenant), .max = 63,
     .format = &dm_format_tenant, .doc = "Name of the tenant."},
    {"grants", DM_FIELD_OBJECT, 0, DM_AT(struct dm_tenant_file, grants), .sub = &dm_schema_grants,
     .doc = "For the master alone. Left out: not changed."},
    {"backends", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_tenant_file, backends), .max = DM_BACKENDS_MAX,
     .sub = &dm_schema_backend, .doc = "All backends of the tenant."},
    {"products", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_tenant_file, products), .max = DM_PRODUCTS_MAX,
     .sub = &dm_schema_product, .doc = "All products of the tenant."},
    {"domains", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_tenant_file, domains), .max = DM_DOMAINS_MAX,
     .sub = &dm_schema_domain, .doc = "How the tenant's host names are served."},
    {"certificates", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_tenant_file, certificates), .max = DM_CERTIFICATES_MAX,
     .sub = &dm_schema_certificate, .doc = "All certificates of the tenant."},
    {"applications", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_tenant_file, applications), .max = DM_APPLICATIONS_MAX,
     .sub = &dm_schema_application, .doc = "All applications of the tenant."},
};

const struct dm_schema dm_schema_tenant_file = {
    .name = "TenantFile",
    .doc = "The whole declarative file of a tenant: what is not in it is not there.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_tenant_file),
    .validate = check_file,
};
