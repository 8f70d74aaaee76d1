#include "control/tenancy/check.h"
#include "control/release/load.h"

/* Part of what the tenant has, as it would be: the resources that rules tie to the one that is written. */
struct state {
    struct dm_tenant_file file;
    enum dm_kind kind; /* of what is written */
    size_t at;         /* its index, or SIZE_MAX when it is removed */
};

/* The array of a kind that has a place in the file's rules. */
static char *items_of(struct dm_tenant_file *file, enum dm_kind kind, size_t **ret_count)
{
    switch (kind) {
    case DM_KIND_BACKEND: *ret_count = &file->n_backends; return (char *)file->backends;
    case DM_KIND_PRODUCT: *ret_count = &file->n_products; return (char *)file->products;
    case DM_KIND_DOMAIN: *ret_count = &file->n_domains; return (char *)file->domains;
    default: *ret_count = &file->n_certificates; return (char *)file->certificates;
    }
}

static int load_kind(struct dm_write *write, enum dm_kind kind, void **ret, size_t *ret_count)
{
    struct dm_err err = {0};

    return dm_load_all(write->tenant, kind, 1, ret, ret_count, &err) < 0 ? dm_write_fail(write, &err) : 0;
}

static int load_release(struct dm_write *write, struct state *state)
{
    void *backends, *products;
    int rc = load_kind(write, DM_KIND_BACKEND, &backends, &state->file.n_backends);

    if (rc < 0 || (rc = load_kind(write, DM_KIND_PRODUCT, &products, &state->file.n_products)) < 0)
        return rc;
    state->file.backends = backends;
    state->file.products = products;
    return 0;
}

/* Backends are asked about certificates only when one of those is written. */
static int load_domains(struct dm_write *write, struct state *state)
{
    void *domains, *certificates, *backends = NULL;
    int rc = load_kind(write, DM_KIND_DOMAIN, &domains, &state->file.n_domains);

    if (rc < 0 || (rc = load_kind(write, DM_KIND_CERTIFICATE, &certificates, &state->file.n_certificates)) < 0 ||
        (state->kind == DM_KIND_CERTIFICATE &&
         (rc = load_kind(write, DM_KIND_BACKEND, &backends, &state->file.n_backends)) < 0))
        return rc;
    state->file.domains = domains;
    state->file.certificates = certificates;
    state->file.backends = backends;
    return 0;
}

static bool is_of_domains(enum dm_kind kind)
{
    return kind == DM_KIND_DOMAIN || kind == DM_KIND_CERTIFICATE;
}

static int load_state(struct dm_write *write, struct state *state)
{
    state->file = (struct dm_tenant_file){.daemun = 1, .tenant = dm_tenants_name(write->tenant)};
    return is_of_domains(state->kind) ? load_domains(write, state) : load_release(write, state);
}

static size_t index_of(struct state *state, struct dm_str name)
{
    size_t *count, i;
    char *items = items_of(&state->file, state->kind, &count);

    for (i = 0; i < *count; i++)
        if (dm_str_eq(dm_kind_name_of(state->kind, items + i * dm_kinds[state->kind].bytes), name))
            break;
    return i;
}

static void put(struct state *state, const void *object)
{
    size_t bytes = dm_kinds[state->kind].bytes;
    size_t *count;
    char *items = items_of(&state->file, state->kind, &count);

    state->at = index_of(state, dm_kind_name_of(state->kind, object));
    if (state->at == *count)
        (*count)++;
    memcpy(items + state->at * bytes, object, bytes);
}

static void cut(struct state *state, struct dm_str name)
{
    size_t bytes = dm_kinds[state->kind].bytes;
    size_t *count;
    char *items = items_of(&state->file, state->kind, &count);
    size_t at = index_of(state, name);

    state->at = SIZE_MAX;
    if (at < *count)
        memmove(items + at * bytes, items + (at + 1) * bytes, (--*count - at) * bytes);
}

/* "/products/3/versions/0" -> kind, 3, "/versions/0" */
static bool split_pointer(const char *pointer, enum dm_kind *ret_kind, size_t *ret_at, struct dm_str *ret_rest)
{
    struct dm_str rest = dm_str_skip(dm_str_of(pointer), 1), piece;
    uint64_t at;

    for (*ret_kind = DM_KIND_BACKEND; *ret_kind <= DM_KIND_CERTIFICATE; (*ret_kind)++) {
        struct dm_str plural = dm_str_of(dm_kinds[*ret_kind].plural);

        if (!dm_str_starts(rest, plural) || rest.len == plural.len || rest.ptr[plural.len] != '/')
            continue;
        rest = dm_str_skip(rest, plural.len + 1);
        piece = dm_str_n(rest.ptr, dm_str_find(rest, '/'));
        if (dm_str_to_u64(piece, &at) < 0)
            return false;
        *ret_at = (size_t)at;
        *ret_rest = dm_str_skip(rest, piece.len);
        return true;
    }
    return false;
}

static void report_elsewhere(struct dm_write *write, struct state *state, const struct dm_err *err, enum dm_kind kind,
                             size_t at)
{
    size_t *count;
    char *items = items_of(&state->file, kind, &count);
    struct dm_str name = at < *count ? dm_kind_name_of(kind, items + at * dm_kinds[kind].bytes) : DM_STR("");

    dm_failure_add(write->failure, DM_ECONFLICT, state->at == SIZE_MAX ? "in_use" : "conflict", "",
                   "%.*s '%.*s' would be wrong: %s", DM_STR_ARG(dm_kinds[kind].name), DM_STR_ARG(name), err->message);
}

static int report(struct dm_write *write, struct state *state, const struct dm_errs *errs)
{
    for (size_t i = 0; i < errs->n; i++) {
        const struct dm_err *err = &errs->items[i];
        struct dm_err own = *err;
        enum dm_kind kind;
        struct dm_str rest;
        size_t at;

        if (!split_pointer(err->pointer, &kind, &at, &rest)) {
            dm_failure_err(write->failure, NULL, err);
        } else if (kind == state->kind && at == state->at) {
            memmove(own.pointer, own.pointer + (rest.ptr - err->pointer), rest.len + 1);
            dm_failure_err(write->failure, err->code == DM_EPERM ? "not_granted" : NULL, &own);
        } else {
            report_elsewhere(write, state, err, kind, at);
        }
    }
    return dm_errs_code(&write->failure->errs);
}

static int check_rules(struct dm_write *write, struct state *state)
{
    struct dm_errs errs = {0};
    struct dm_check check;

    dm_check_init(&check, &errs);
    if (is_of_domains(state->kind))
        dm_tenant_file_check_domains(&state->file, &check);
    else
        dm_tenant_file_check(&state->file, &check);
    return report(write, state, &errs);
}

/* What is written lies within the grants; the others are not asked, so that a grant that was taken back does not stand in
 * the way of a change elsewhere (gateways hold them to the grants at every request). */
static int check_grants(struct dm_write *write, enum dm_kind kind, const void *object)
{
    struct state one = {.kind = kind};
    struct dm_errs errs = {0};
    struct dm_err err = {0};
    struct dm_grants grants;
    struct dm_check check;
    int64_t version;

    if (dm_load_grants(write->tenant, &grants, &version, &err) < 0)
        return dm_write_fail(write, &err);
    if (kind == DM_KIND_BACKEND)
        one.file = (struct dm_tenant_file){.backends = (struct dm_backend *)object, .n_backends = 1};
    else if (kind == DM_KIND_DOMAIN)
        one.file = (struct dm_tenant_file){.domains = (struct dm_domain *)object, .n_domains = 1};
    else
        one.file = (struct dm_tenant_file){.products = (struct dm_product *)object, .n_products = 1};
    dm_check_init(&check, &errs);
    dm_grants_check(&grants, &one.file, &check);
    return report(write, &one, &errs);
}

/* --- certificates ------------------------------------------------------------------------------------------------- */

static bool has_certificate(const struct state *state, size_t domain)
{
    return dm_domain_certificate(&state->file.domains[domain], state->file.certificates, state->file.n_certificates) !=
           SIZE_MAX;
}

/* A domain that had TLS through a certificate which nobody named must not lose it unnoticed. */
static int check_left_without(struct dm_write *write, const struct state *state, const bool *had)
{
    for (size_t i = 0; i < state->file.n_domains; i++)
        if (had[i] && !has_certificate(state, i))
            dm_failure_add(write->failure, DM_ECONFLICT, state->at == SIZE_MAX ? "in_use" : "conflict", "",
                           "domain '%.*s' has no other certificate", DM_STR_ARG(state->file.domains[i].name));
    return dm_errs_code(&write->failure->errs);
}

/* object NULL: it is removed. */
static int check_certificate(struct dm_write *write, struct dm_str name, const void *object)
{
    struct state state = {.kind = DM_KIND_CERTIFICATE};
    bool had[DM_DOMAINS_MAX];
    int rc = load_state(write, &state);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < state.file.n_domains; i++)
        had[i] = has_certificate(&state, i);
    if (object != NULL)
        put(&state, object);
    else
        cut(&state, name);
    if ((rc = check_rules(write, &state)) < 0)
        return rc;
    return check_left_without(write, &state, had);
}

static int check_client_certificate(struct dm_write *write, const struct dm_backend *backend)
{
    struct dm_resource_row row;
    struct dm_err err = {0};
    int rc;

    if (backend->tls == NULL || backend->tls->client_certificate.len == 0)
        return 0;
    rc = dm_resources_get(write->tenant, dm_kinds[DM_KIND_CERTIFICATE].name, backend->tls->client_certificate, &row,
                          &err);
    if (rc == DM_ENOENT)
        return dm_failure_add(write->failure, DM_EINVAL, NULL, "/tls/client_certificate", "no certificate '%.*s'",
                              DM_STR_ARG(backend->tls->client_certificate));
    return rc < 0 ? dm_write_fail(write, &err) : 0;
}

/* --- subscriptions ------------------------------------------------------------------------------------------------ */

struct subscribers {
    struct dm_write *write;
    struct dm_str product;
    const struct dm_product *after; /* NULL = removed */
};

static int check_subscriber(void *arg, struct dm_str product, struct dm_str plan, struct dm_str application,
                            struct dm_err *err)
{
    struct subscribers *subscribers = arg;

    if (!dm_str_eq(product, subscribers->product))
        return 0;
    if (subscribers->after == NULL)
        return dm_fail(err, DM_ECONFLICT, "", "application '%.*s' subscribes to it", DM_STR_ARG(application));
    if (dm_product_plan(subscribers->after, plan) == NULL)
        return dm_fail(err, DM_ECONFLICT, "/plans", "application '%.*s' subscribes under the plan '%.*s'",
                       DM_STR_ARG(application), DM_STR_ARG(plan));
    return 0;
}

static int check_subscribers(struct dm_write *write, struct dm_str product, const struct dm_product *after)
{
    struct subscribers subscribers = {.write = write, .product = product, .after = after};
    struct dm_err err = {0};
    int rc = dm_resources_subscribed(write->tenant, check_subscriber, &subscribers, &err);

    if (rc == DM_ECONFLICT)
        return dm_failure_err(write->failure, "in_use", &err);
    return rc < 0 ? dm_write_fail(write, &err) : 0;
}

static int check_subscription(struct dm_write *write, const struct dm_subscription *subscription, size_t at)
{
    struct dm_resource_row row;
    struct dm_product product;
    struct dm_err err = {0};
    char pointer[64];
    int rc = dm_load_resource(write->tenant, DM_KIND_PRODUCT, subscription->product, &product, &row, &err);

    if (rc == DM_ENOENT) {
        snprintf(pointer, sizeof(pointer), "/subscriptions/%zu/product", at);
        return dm_failure_add(write->failure, DM_EINVAL, NULL, pointer, "there is no product '%.*s'",
                              DM_STR_ARG(subscription->product));
    }
    if (rc < 0)
        return dm_write_fail(write, &err);
    if (dm_product_plan(&product, subscription->plan) != NULL)
        return 0;
    snprintf(pointer, sizeof(pointer), "/subscriptions/%zu/plan", at);
    return dm_failure_add(write->failure, DM_EINVAL, NULL, pointer, "product '%.*s' has no plan '%.*s'",
                          DM_STR_ARG(subscription->product), DM_STR_ARG(subscription->plan));
}

static int check_application(struct dm_write *write, const struct dm_application *application)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < application->n_subscriptions; i++)
        rc = check_subscription(write, &application->subscriptions[i], i);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------------------ */

int dm_check_put(struct dm_write *write, enum dm_kind kind, const void *object)
{
    struct state state = {.kind = kind};
    int rc;

    if (kind == DM_KIND_APPLICATION)
        return check_application(write, object);
    if (kind == DM_KIND_CERTIFICATE)
        return check_certificate(write, dm_kind_name_of(kind, object), object);
    if ((rc = load_state(write, &state)) < 0)
        return rc;
    put(&state, object);
    if ((rc = check_rules(write, &state)) < 0 || (rc = check_grants(write, kind, object)) < 0)
        return rc;
    if (kind == DM_KIND_BACKEND)
        return check_client_certificate(write, object);
    return kind == DM_KIND_PRODUCT ? check_subscribers(write, dm_kind_name_of(kind, object), object) : 0;
}

int dm_check_remove(struct dm_write *write, enum dm_kind kind, struct dm_str name)
{
    struct state state = {.kind = kind};
    int rc;

    if (kind == DM_KIND_APPLICATION || kind == DM_KIND_DOMAIN)
        return 0;
    if (kind == DM_KIND_CERTIFICATE)
        return check_certificate(write, name, NULL);
    if (kind == DM_KIND_PRODUCT && (rc = check_subscribers(write, name, NULL)) < 0)
        return rc;
    if ((rc = load_state(write, &state)) < 0)
        return rc;
    cut(&state, name);
    return check_rules(write, &state);
}
