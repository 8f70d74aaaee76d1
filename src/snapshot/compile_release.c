#include "snapshot/compile_int.h"
#include "snapshot/release.h"

#include "base/mem.h"

#include <arpa/inet.h>

#define RATE_BURST_NS_MAX (UINT64_C(1) << 62)

/* --- backends ----------------------------------------------------------------------------------------------------- */

/* A path of whole segments without the slash at its end: "/" becomes "". */
static struct dm_ustr add_prefix(struct dm_builder *b, struct dm_str path)
{
    while (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    return dm_builder_str(b, path);
}

static void set_address(struct dm_uendpoint *e, struct dm_str host)
{
    char text[INET6_ADDRSTRLEN];

    if (host.len >= sizeof(text))
        return;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, e->address) == 1)
        e->address_bytes = 4;
    else if (inet_pton(AF_INET6, text, e->address) == 1)
        e->address_bytes = 16;
}

static struct dm_ustr add_authority(struct dm_builder *b, const struct dm_backend *backend,
                                    const struct dm_endpoint *endpoint)
{
    char text[512];
    struct dm_buf buf;
    bool is_v6 = dm_str_find(endpoint->host, ':') < endpoint->host.len;

    if (backend->host_header.len > 0)
        return dm_builder_str(b, backend->host_header);
    if (dm_unix_path(endpoint->host).ptr)
        return dm_builder_str(b, DM_STR("localhost"));
    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_buf_printf(&buf, is_v6 ? "[%.*s]" : "%.*s", DM_STR_ARG(endpoint->host));
    if (endpoint->port != (backend->tls ? 443 : 80))
        dm_buf_printf(&buf, ":%lld", (long long)endpoint->port);
    return dm_builder_str(b, dm_buf_str(&buf));
}

static dm_off add_endpoints(struct dm_builder *b, const struct dm_backend *backend, uint32_t *ret_weight_sum)
{
    struct dm_uendpoint *out DM_CLEANUP(dm_freep) = dm_calloc(backend->n_endpoints, sizeof(*out));

    *ret_weight_sum = 0;
    for (size_t i = 0; i < backend->n_endpoints; i++) {
        const struct dm_endpoint *endpoint = &backend->endpoints[i];
        out[i].host = dm_builder_str(b, endpoint->host);
        out[i].port = (uint16_t)endpoint->port;
        out[i].weight = (uint16_t)endpoint->weight;
        out[i].authority = add_authority(b, backend, endpoint);
        set_address(&out[i], endpoint->host);
        *ret_weight_sum += out[i].weight;
    }
    return DM_BUILDER_ADD(b, out, backend->n_endpoints, struct dm_uendpoint);
}

static dm_off add_backend_tls(struct dm_builder *b, const struct dm_backend_tls *tls)
{
    struct dm_ubackend_tls out = {.verifies = true};

    if (!tls)
        return 0;
    out.ca = dm_builder_str(b, tls->ca);
    out.server_name = dm_builder_str(b, tls->server_name);
    out.client_certificate = dm_builder_str(b, tls->client_certificate);
    out.verifies = tls->verify;
    return DM_BUILDER_ADD(b, &out, 1, struct dm_ubackend_tls);
}

static struct dm_ubreaker breaker_of(const struct dm_backend_breaker *from)
{
    return (struct dm_ubreaker){.run_max = (uint32_t)from->consecutive_failures,
                                .calls_min = (uint32_t)from->min_requests,
                                .window_ms = (uint32_t)from->window_ms,
                                .open_ms = (uint32_t)from->open_ms,
                                .open_max_ms = (uint32_t)from->open_max_ms,
                                .slow_ms = (uint32_t)from->slow_ms,
                                .mode = (uint8_t)from->mode,
                                .statuses = (uint8_t)from->failure_statuses,
                                .failed_percent = (uint8_t)from->failure_percent,
                                .slow_percent = (uint8_t)from->slow_percent,
                                .probes_max = (uint16_t)from->probes};
}

static dm_off add_health(struct dm_builder *b, const struct dm_backend_health *from)
{
    struct dm_uhealth out = {0};

    if (!from)
        return 0;
    out.path = dm_builder_str(b, from->path);
    out.service = dm_builder_str(b, from->service);
    out.interval_ms = (uint32_t)from->interval_ms;
    out.timeout_ms = (uint32_t)from->timeout_ms;
    out.status_min = (uint16_t)from->status_min;
    out.status_max = (uint16_t)from->status_max;
    out.type = (uint8_t)from->type;
    out.method = (uint8_t)from->method;
    out.unhealthy_threshold = (uint8_t)from->unhealthy_threshold;
    out.healthy_threshold = (uint8_t)from->healthy_threshold;
    return DM_BUILDER_ADD(b, &out, 1, struct dm_uhealth);
}

#define TEXT DM_STR("text/plain; charset=utf-8")

static dm_off add_fallback(struct dm_builder *b, const struct dm_backend_fallback *from)
{
    struct dm_ufallback out = {0};

    if (!from)
        return 0;
    out.on = from->on;
    out.answer.status = (uint16_t)from->status;
    out.answer.has_body = true;
    if (from->body.len > 0)
        out.answer.content_type = dm_builder_str(b, from->content_type.len > 0 ? from->content_type : TEXT);
    out.answer.body = dm_builder_str(b, from->body);
    return DM_BUILDER_ADD(b, &out, 1, struct dm_ufallback);
}

static dm_off add_backends(struct dm_builder *b, const struct dm_release_body *body)
{
    struct dm_ubackend *out DM_CLEANUP(dm_freep) = dm_calloc(body->n_backends, sizeof(*out));

    for (size_t i = 0; i < body->n_backends; i++) {
        const struct dm_backend *backend = &body->backends[i];
        out[i].id = dm_unit_name_id(backend->name);
        out[i].name = dm_builder_str(b, backend->name);
        out[i].base_path = add_prefix(b, backend->base_path);
        out[i].endpoints = add_endpoints(b, backend, &out[i].weight_sum);
        out[i].n_endpoints = (uint32_t)backend->n_endpoints;
        out[i].connect_timeout_ms = (uint32_t)backend->connect_timeout_ms;
        out[i].response_timeout_ms = (uint32_t)backend->response_timeout_ms;
        out[i].idle_timeout_ms = (uint32_t)backend->idle_timeout_ms;
        out[i].tunnel_idle_timeout_ms = (uint32_t)backend->tunnel_idle_timeout_ms;
        out[i].tunnel_total_ms = (uint32_t)backend->tunnel_total_ms;
        out[i].protocol = (uint8_t)backend->protocol;
        out[i].tls = add_backend_tls(b, backend->tls);
        out[i].breaker = breaker_of(&backend->breaker);
        out[i].balance.method = (uint8_t)backend->balance.method;
        out[i].balance.hash_by = (uint8_t)backend->balance.hash_by;
        out[i].balance.header = dm_builder_str(b, backend->balance.header);
        out[i].outlier = (struct dm_uoutlier){.run_max = (uint32_t)backend->outlier.consecutive_failures,
                                              .eject_ms = (uint32_t)backend->outlier.eject_ms,
                                              .eject_max_ms = (uint32_t)backend->outlier.eject_max_ms,
                                              .max_percent = (uint32_t)backend->outlier.max_percent,
                                              .slow_start_ms = (uint32_t)backend->outlier.slow_start_ms};
        out[i].concurrency = (struct dm_uconcurrency){.limit = (uint8_t)backend->concurrency.limit,
                                                      .min = (uint32_t)backend->concurrency.min,
                                                      .max = (uint32_t)backend->concurrency.max};
        out[i].retry.total_timeout_ms = (uint32_t)backend->total_timeout_ms;
        out[i].retry.tries = (uint8_t)backend->retry.tries;
        out[i].retry.budget_percent = (uint8_t)backend->retry.budget_percent;
        out[i].retry.budget_min = (uint32_t)backend->retry.budget_min;
        out[i].health = add_health(b, backend->health);
        out[i].fallback = add_fallback(b, backend->fallback);
    }
    return DM_BUILDER_ADD(b, out, body->n_backends, struct dm_ubackend);
}

/* --- metrics and plans -------------------------------------------------------------------------------------------- */

/* `hits` first, then metrics without a parent, then the methods: a parent stands before its methods. */
static size_t order_metrics(const struct dm_product *product, const struct dm_metric **ret)
{
    size_t n = 0;

    ret[n++] = dm_product_metric(product, DM_METRIC_HITS);
    for (int methods = 0; methods < 2; methods++)
        for (size_t i = 0; i < product->n_metrics; i++)
            if ((product->metrics[i].parent.len > 0) == (methods == 1) &&
                !dm_str_eq(product->metrics[i].name, DM_METRIC_HITS))
                ret[n++] = &product->metrics[i];
    return n;
}

static dm_off add_metrics(struct dm_builder *b, const struct dm_metric *const *metrics,
                          const struct dm_metric_names *names)
{
    struct dm_umetric *out DM_CLEANUP(dm_freep) = dm_calloc(names->count, sizeof(*out));

    for (size_t i = 0; i < names->count; i++) {
        out[i].id = dm_unit_name_id(metrics[i]->name);
        out[i].name = dm_builder_str(b, metrics[i]->name);
        out[i].parent = metrics[i]->parent.len > 0 ? (int32_t)dm_metric_index(names, metrics[i]->parent) : -1;
    }
    return DM_BUILDER_ADD(b, out, names->count, struct dm_umetric);
}

/* Of (kind of limit, product, metric, period): counters live on when plans or values change. */
static uint64_t limit_id(char kind, struct dm_str product, struct dm_str metric, int period)
{
    char text[2 * DM_NAME_MAX + 16];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_buf_printf(&buf, "%c%d/%.*s/%.*s", kind, period, DM_STR_ARG(product), DM_STR_ARG(metric));
    return dm_unit_name_id(dm_buf_str(&buf));
}

static dm_off add_limits(struct dm_builder *b, struct dm_str product, const struct dm_plan *plan,
                         const struct dm_metric_names *metrics)
{
    struct dm_ulimit *out DM_CLEANUP(dm_freep) = dm_calloc(plan->n_limits, sizeof(*out));

    for (size_t i = 0; i < plan->n_limits; i++) {
        const struct dm_limit *limit = &plan->limits[i];
        out[i].id = limit_id('l', product, limit->metric, limit->period);
        out[i].value = (uint64_t)limit->value;
        out[i].metric = dm_metric_index(metrics, limit->metric);
        out[i].period = (uint32_t)limit->period;
    }
    return DM_BUILDER_ADD(b, out, plan->n_limits, struct dm_ulimit);
}

/* At least 1 ns a unit, and at most what fits beside the time of day in 64 bits. */
static void set_rate(struct dm_urate_limit *out, const struct dm_rate_limit *limit)
{
    uint64_t burst = (uint64_t)dm_rate_limit_burst(limit);

    out->interval_ns = DM_MAX(dm_rate_unit_ns(limit->per) / (uint64_t)limit->rate, 1);
    out->burst_ns = burst > RATE_BURST_NS_MAX / out->interval_ns ? RATE_BURST_NS_MAX : burst * out->interval_ns;
}

static dm_off add_rate_limits(struct dm_builder *b, struct dm_str product, const struct dm_plan *plan,
                              const struct dm_metric_names *metrics)
{
    struct dm_urate_limit *out DM_CLEANUP(dm_freep) = dm_calloc(plan->n_rate_limits, sizeof(*out));

    for (size_t i = 0; i < plan->n_rate_limits; i++) {
        const struct dm_rate_limit *limit = &plan->rate_limits[i];
        out[i].id = limit_id('r', product, limit->metric, limit->per);
        out[i].metric = dm_metric_index(metrics, limit->metric);
        set_rate(&out[i], limit);
    }
    return DM_BUILDER_ADD(b, out, plan->n_rate_limits, struct dm_urate_limit);
}

static dm_off add_plans(struct dm_builder *b, const struct dm_product *product, const struct dm_metric_names *metrics)
{
    struct dm_uplan *out DM_CLEANUP(dm_freep) = dm_calloc(product->n_plans, sizeof(*out));

    for (size_t i = 0; i < product->n_plans; i++) {
        const struct dm_plan *plan = &product->plans[i];
        out[i].id = dm_plan_id(product->name, plan->name);
        out[i].name = dm_builder_str(b, plan->name);
        out[i].limits = add_limits(b, product->name, plan, metrics);
        out[i].n_limits = (uint32_t)plan->n_limits;
        out[i].rate_limits = add_rate_limits(b, product->name, plan, metrics);
        out[i].n_rate_limits = (uint32_t)plan->n_rate_limits;
    }
    return DM_BUILDER_ADD(b, out, product->n_plans, struct dm_uplan);
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

/* Lower stands earlier, wherever it was written. CORS: a preflight carries no credential (Fetch, 3.2.2). Compression: it
 * judges the request as the caller sent it, before others take credentials out or put fields in. */
#define RANKS 3

static int rank_of(const struct dm_policy *policy)
{
    return policy->type == DM_POLICY_CORS ? 0 : policy->type == DM_POLICY_COMPRESSION ? 1 : RANKS - 1;
}

static dm_off add_policies(struct dm_builder *b, const struct dm_version *version)
{
    struct dm_upolicy *out DM_CLEANUP(dm_freep) = dm_calloc(version->n_policies, sizeof(*out));
    size_t n = 0;

    for (int rank = 0; rank < RANKS; rank++)
        for (size_t i = 0; i < version->n_policies; i++)
            if (rank_of(&version->policies[i]) == rank) {
                out[n].config = dm_compile_policy(b, &version->policies[i], &out[n].type);
                n++;
            }
    return DM_BUILDER_ADD(b, out, version->n_policies, struct dm_upolicy);
}

static int longest_path_first(const void *a, const void *b)
{
    const struct dm_ustr *x = a, *y = b; /* path is the first member of what is sorted */

    return x->len == y->len ? 0 : x->len > y->len ? -1 : 1;
}

static uint32_t backend_index(const struct dm_release_body *body, struct dm_str name)
{
    for (size_t i = 0; i < body->n_backends; i++)
        if (dm_str_eq(body->backends[i].name, name))
            return (uint32_t)i;
    abort(); /* the model resolved every reference */
}

static dm_off add_mounts(struct dm_builder *b, const struct dm_version *version, const struct dm_release_body *body)
{
    struct dm_umount *out DM_CLEANUP(dm_freep) = dm_calloc(version->n_backends, sizeof(*out));

    for (size_t i = 0; i < version->n_backends; i++) {
        out[i].path = add_prefix(b, version->backends[i].path);
        out[i].backend = backend_index(body, version->backends[i].backend);
    }
    qsort(out, version->n_backends, sizeof(*out), longest_path_first);
    return DM_BUILDER_ADD(b, out, version->n_backends, struct dm_umount);
}

static dm_off add_errors(struct dm_builder *b, const struct dm_version *version)
{
    struct dm_uerror *out DM_CLEANUP(dm_freep) = dm_calloc(version->n_errors, sizeof(*out));

    for (size_t i = 0; i < version->n_errors; i++) {
        const struct dm_error_override *e = &version->errors[i];
        out[i].reason = dm_reason_of(e->reason);
        out[i].status = (uint16_t)e->status;
        out[i].has_body = e->body.len > 0;
        out[i].content_type = dm_builder_str(b, e->content_type.len > 0 ? e->content_type : TEXT);
        out[i].body = dm_builder_str(b, e->body);
    }
    return DM_BUILDER_ADD(b, out, version->n_errors, struct dm_uerror);
}

static dm_off add_strs(struct dm_builder *b, const struct dm_str *items, size_t n)
{
    struct dm_ustr *out DM_CLEANUP(dm_freep) = dm_calloc(n, sizeof(*out));

    for (size_t i = 0; i < n; i++)
        out[i] = dm_builder_str(b, items[i]);
    return DM_BUILDER_ADD(b, out, n, struct dm_ustr);
}

static int add_version(struct dm_builder *b, const struct dm_version *version, const struct dm_release_body *body,
                       const struct dm_metric_names *metrics, struct dm_uversion *ret, struct dm_err *err)
{
    ret->path = add_prefix(b, version->path);
    ret->id = dm_unit_name_id(version->name);
    ret->name = dm_builder_str(b, version->name);
    ret->policies = add_policies(b, version);
    ret->n_policies = (uint32_t)version->n_policies;
    ret->mounts = add_mounts(b, version, body);
    ret->n_mounts = (uint32_t)version->n_backends;
    ret->errors = add_errors(b, version);
    ret->n_errors = (uint32_t)version->n_errors;
    ret->upgrades = add_strs(b, version->upgrades, version->n_upgrades);
    ret->n_upgrades = (uint32_t)version->n_upgrades;
    return dm_compile_rules(b, version->mapping_rules, version->n_mapping_rules, metrics, &ret->rules, err);
}

static int add_versions(struct dm_builder *b, const struct dm_product *product, const struct dm_release_body *body,
                        const struct dm_metric_names *metrics, dm_off *ret, struct dm_err *err)
{
    struct dm_uversion *out DM_CLEANUP(dm_freep) = dm_calloc(product->n_versions, sizeof(*out));
    int rc;

    for (size_t i = 0; i < product->n_versions; i++)
        if ((rc = add_version(b, &product->versions[i], body, metrics, &out[i], err)) < 0)
            return dm_err_prefix(err, "/versions/%zu", i);
    qsort(out, product->n_versions, sizeof(*out), longest_path_first);
    *ret = DM_BUILDER_ADD(b, out, product->n_versions, struct dm_uversion);
    return 0;
}

/* --- products ----------------------------------------------------------------------------------------------------- */

static int add_product(struct dm_builder *b, const struct dm_product *product, const struct dm_release_body *body,
                       struct dm_uproduct *ret, struct dm_err *err)
{
    const struct dm_metric *metrics[DM_METRICS_MAX + 1];
    struct dm_str names[DM_METRICS_MAX + 1];
    struct dm_metric_names index = {names, order_metrics(product, metrics)};

    if (index.count > DM_METRICS_MAX)
        return dm_fail(err, DM_EINVAL, "/metrics", "must be at most %d with hits, are %zu", DM_METRICS_MAX,
                       index.count);
    for (size_t i = 0; i < index.count; i++)
        names[i] = metrics[i]->name;
    ret->id = dm_unit_name_id(product->name);
    ret->name = dm_builder_str(b, product->name);
    ret->domains = add_strs(b, product->domains, product->n_domains);
    ret->n_domains = (uint32_t)product->n_domains;
    ret->metrics = add_metrics(b, metrics, &index);
    ret->n_metrics = (uint32_t)index.count;
    ret->plans = add_plans(b, product, &index);
    ret->n_plans = (uint32_t)product->n_plans;
    ret->n_versions = (uint32_t)product->n_versions;
    return add_versions(b, product, body, &index, &ret->versions, err);
}

/* Ids stand for names in other units and in counters, so one may not stand for two. */
static int check_ids(const struct dm_uproduct *products, size_t n, const struct dm_release_body *body,
                     struct dm_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (products[i].id == products[k].id)
                return dm_fail(err, DM_EINVAL, "/products", "'%.*s' and '%.*s' share an id: rename one",
                               DM_STR_ARG(body->products[i].name), DM_STR_ARG(body->products[k].name));
    return 0;
}

int dm_compile_release(struct dm_builder *b, const struct dm_release_body *body, dm_off *ret, struct dm_err *err)
{
    struct dm_uproduct *products DM_CLEANUP(dm_freep) = dm_calloc(body->n_products, sizeof(*products));
    struct dm_urelease root = {.n_products = (uint32_t)body->n_products, .n_backends = (uint32_t)body->n_backends};
    int rc;

    for (size_t i = 0; i < body->n_products; i++)
        if ((rc = add_product(b, &body->products[i], body, &products[i], err)) < 0)
            return dm_err_prefix(err, "/products/%zu", i);
    if ((rc = check_ids(products, body->n_products, body, err)) < 0)
        return rc;
    root.products = DM_BUILDER_ADD(b, products, body->n_products, struct dm_uproduct);
    root.backends = add_backends(b, body);
    *ret = DM_BUILDER_ADD(b, &root, 1, struct dm_urelease);
    return 0;
}
