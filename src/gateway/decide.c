#include "gateway/decide.h"

#include "gateway/admission.h"
#include "gateway/caps.h"
#include "gateway/connection.h"
#include "gateway/forward.h"
#include "gateway/grpc_call.h"
#include "gateway/hops.h"
#include "gateway/policy/policy.h"
#include "gateway/turn.h"
#include "gateway/relay.h"
#include "gateway/upgrade.h"
#include "gateway/worker.h"
#include "http/path.h"
#include "http/query.h"
#include "model/domain.h"
#include "snapshot/grants.h"

enum { RETRY_S = 1 }; /* of who is refused because there is too much to do */

/* --- route -------------------------------------------------------------------------------------------------------- */

static void pin_tenant(struct dm_exchange *ex, struct dm_live_tenant *tenant)
{
    ex->tenant = dm_live_tenant_ref(tenant);
    tenant->counters->exchanges_begun++;
}

static enum dm_reason pin_release(struct dm_exchange *ex, const struct dm_route *route)
{
    struct dm_live_tenant *tenant = ex->tenant;

    if (DM_UNIT_ROOT(tenant->grants, dm_ugrants)->is_suspended)
        return DM_REASON_TENANT_SUSPENDED;
    if (!tenant->release || route->product == DM_ROUTE_NO_PRODUCT)
        return DM_REASON_NO_RELEASE;
    ex->release = dm_live_release_ref(tenant->release);
    if (tenant->applications)
        ex->applications = dm_unit_ref(tenant->applications);
    ex->product = (const struct dm_uproduct *)dm_unit_at(ex->release->unit,
                                                         DM_UNIT_ROOT(ex->release->unit, dm_urelease)->products) +
                  route->product;
    return DM_REASON_NONE;
}

static enum dm_reason refuse(struct dm_exchange *ex, enum dm_http_fault fault)
{
    ex->fault = (uint8_t)fault;
    return DM_REASON_BAD_REQUEST;
}

/* The path as it is routed and forwarded; what the log and later callbacks read lives in the arena. */
static enum dm_reason keep_request(struct dm_exchange *ex)
{
    const struct dm_http_head *head = ex->head;
    struct dm_str path;
    char *buf = dm_arena_alloc(&ex->arena, head->path.len + 1);
    int rc;

    if (!buf || dm_arena_str(&ex->arena, head->method_name, &ex->method) < 0)
        return DM_REASON_HEADER_TOO_LARGE;
    if ((rc = dm_path_normalise(head->path, 0, buf, &path)) < 0)
        return refuse(ex, (enum dm_http_fault) - rc);
    if (path.ptr != buf)
        memcpy(buf, path.ptr, path.len);
    ex->path = dm_str_n(buf, path.len);
    ex->query = head->query;
    return DM_REASON_NONE;
}

/* What the domain says of callers' connections. Only a connection of ours shows a certificate: a front's word is none. */
static enum dm_reason enter_domain(struct dm_exchange *ex, const struct dm_live_domains *domains,
                                   const struct dm_udomain *settings)
{
    struct dm_str hsts = dm_unit_str(domains->unit, settings->hsts);

    if (ex->is_secure && hsts.len > 0 && dm_arena_str(&ex->arena, hsts, &ex->hsts) < 0)
        return DM_REASON_HEADER_TOO_LARGE;
    ex->is_redirect = !ex->is_secure && settings->redirects_to_https && ex->path.ptr[0] == '/';
    if (!ex->is_redirect && !ex->listener->spec->is_tls &&
        settings->client_certificate == DM_CLIENT_CERTIFICATE_REQUIRED)
        return DM_REASON_CLIENT_CERTIFICATE_REQUIRED;
    return DM_REASON_NONE;
}

/* Before anything that costs (docs/fairness.md). */
static enum dm_reason check_load(struct dm_exchange *ex)
{
    if (DM_LIKELY(!dm_turn_is_shed(ex, ex->tenant)))
        return DM_REASON_NONE;
    ex->tenant->counters->shed_requests++;
    ex->verdict = (struct dm_limit_verdict){.reason = DM_REASON_OVERLOADED, .retry_after_s = RETRY_S};
    return DM_REASON_OVERLOADED;
}

static enum dm_reason enter(struct dm_exchange *ex, const struct dm_route *route)
{
    enum dm_reason reason;

    if ((reason = dm_connection_enter(ex, route)) != DM_REASON_NONE || (reason = keep_request(ex)) != DM_REASON_NONE ||
        (reason = check_load(ex)) != DM_REASON_NONE || (reason = dm_caps_enter(ex)) != DM_REASON_NONE || !route->domain)
        return reason;
    return enter_domain(ex, route->tenant->domains, route->domain->settings);
}

static enum dm_reason find_version(struct dm_exchange *ex)
{
    ex->version = dm_route_version(ex->release->unit, ex->product, ex->path, &ex->rest);
    return ex->version ? DM_REASON_NONE : DM_REASON_NO_VERSION;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

static struct dm_str credential_header(const struct dm_exchange *ex)
{
    const struct dm_upolicy *policies = dm_unit_at(ex->release->unit, ex->version->policies);

    for (uint32_t i = 0; i < ex->version->n_policies; i++)
        if (policies[i].type == DM_UPOLICY_API_KEY)
            return dm_unit_str(ex->release->unit,
                               DM_UNIT_GET(ex->release->unit, dm_uapi_key, policies[i].config)->header);
    return DM_STR_NULL;
}

/* Servers behind CGI-like interfaces read '_' and '-' as one, some '.' and other marks too: a name that holds one of these is refused
 * unless the version declares it as the credential's, and then each other name that reads the same. */
static enum dm_reason check_folded_names(struct dm_exchange *ex)
{
    struct dm_str declared = credential_header(ex);
    bool is_declared = dm_http_field_name_is_folded(declared);

    for (unsigned i = 0; i < ex->head->field_count; i++) {
        const struct dm_http_field *field = &ex->head->fields[i];
        bool is_folded = field->flags & DM_HTTP_FIELD_FOLDED;
        if (is_folded && !(is_declared && dm_str_ieq(field->name, declared)))
            return refuse(ex, DM_HTTP_BAD_FIELD_NAME);
        if (is_declared && !is_folded && dm_http_field_names_fold_alike(field->name, declared))
            return refuse(ex, DM_HTTP_BAD_FIELD_NAME);
    }
    return DM_REASON_NONE;
}

/* --- rules, application, limits ----------------------------------------------------------------------------------- */

/* The last argument of the name counts. */
static bool has_arg(const void *ctx, struct dm_str name, const struct dm_str *value)
{
    struct dm_str query = *(const struct dm_str *)ctx;
    struct dm_query_arg arg;
    bool is_match = false;

    while (dm_query_next(&query, &arg))
        if (dm_query_eq(arg.name, name))
            is_match = !value || dm_query_eq(arg.value, *value);
    return is_match;
}

static enum dm_reason match_rules(struct dm_exchange *ex, struct dm_str query)
{
    struct dm_rules_request request = {ex->method, ex->rest, has_arg, &query};
    uint32_t first;

    return dm_rules_match(ex->release->unit, ex->version->rules, ex->product->metrics, &request, &ex->worker->matched,
                          &first) > 0
               ? DM_REASON_NONE
               : DM_REASON_NO_MAPPING_RULE;
}

static const struct dm_usubscription *subscription(const struct dm_exchange *ex)
{
    const struct dm_usubscription *s = dm_unit_at(ex->applications, ex->application->subscriptions);

    for (uint32_t i = 0; i < ex->application->n_subscriptions; i++)
        if (s[i].product_id == ex->product->id)
            return &s[i];
    return NULL;
}

static const struct dm_uplan *plan_of(const struct dm_exchange *ex, uint64_t id)
{
    const struct dm_uplan *plans = dm_unit_at(ex->release->unit, ex->product->plans);

    for (uint32_t i = 0; i < ex->product->n_plans; i++)
        if (plans[i].id == id)
            return &plans[i];
    return NULL;
}

static enum dm_reason authorise(struct dm_exchange *ex, const struct dm_uplan **ret)
{
    const struct dm_usubscription *s;

    if (!ex->application)
        return DM_REASON_AUTH_INVALID;
    if (ex->application->is_suspended)
        return DM_REASON_APPLICATION_SUSPENDED;
    s = subscription(ex);
    *ret = s ? plan_of(ex, s->plan_id) : NULL;
    return *ret ? DM_REASON_NONE : DM_REASON_NOT_SUBSCRIBED;
}

static void count_usage(struct dm_exchange *ex)
{
    const struct dm_usage *usage = &ex->worker->matched;
    const struct dm_umetric *metrics = dm_unit_at(ex->release->unit, ex->product->metrics);
    struct dm_usage_names names = {ex->tenant->name, dm_unit_str(ex->release->unit, ex->product->name), DM_STR_NULL};

    for (unsigned i = 0; i < usage->count; i++) {
        const struct dm_umetric *metric = &metrics[usage->items[i].metric];
        uint64_t key[4] = {ex->tenant->id, ex->application->id, ex->product->id, metric->id};
        names.metric = dm_unit_str(ex->release->unit, metric->name);
        dm_usage_table_add(&ex->worker->usage, key, &names, usage->items[i].delta);
    }
}

enum dm_reason dm_decide_limits(struct dm_exchange *ex, const struct dm_uplan *plan)
{
    dm_limits_take(&ex->worker->limits, ex->release->unit, plan, ex->tenant->id, ex->application->id,
                   &ex->worker->matched, dm_worker_wall_ns(ex->worker), &ex->verdict);
    if (ex->verdict.reason == DM_REASON_NONE)
        count_usage(ex);
    return ex->verdict.reason;
}

/* --- backend ------------------------------------------------------------------------------------------------------ */

static enum dm_reason write_target(struct dm_exchange *ex, struct dm_str below)
{
    struct dm_buf *out = dm_worker_scratch(ex->worker);

    dm_buf_add(out, dm_unit_str(ex->release->unit, ex->backend->base_path));
    dm_buf_add(out, below);
    if (ex->query.len > 0 || DM_UNLIKELY(ex->head->has_query && ex->head->query.len == 0)) {
        dm_buf_add_char(out, '?');
        dm_buf_add(out, ex->query);
    }
    return dm_arena_str(&ex->arena, dm_buf_str(out), &ex->request.target) < 0 ? DM_REASON_URI_TOO_LONG : DM_REASON_NONE;
}

static enum dm_reason find_backend(struct dm_exchange *ex)
{
    const struct dm_unit *unit = ex->release->unit;
    struct dm_str below;
    const struct dm_umount *mount = dm_route_mount(unit, ex->version, ex->rest, &below);

    if (!mount)
        return DM_REASON_NO_BACKEND;
    ex->backend =
        (const struct dm_ubackend *)dm_unit_at(unit, DM_UNIT_ROOT(unit, dm_urelease)->backends) + mount->backend;
    ex->upstream = dm_upstream_ref(ex->release->upstreams[mount->backend]);
    return write_target(ex, below);
}

/* Before it waits, and before limits: what can't be sent costs nothing. */
static enum dm_reason check_circuit(struct dm_exchange *ex)
{
    uint64_t retry_s;

    if (DM_LIKELY(!dm_upstream_is_shut(ex->upstream, &retry_s)))
        return DM_REASON_NONE;
    ex->verdict = (struct dm_limit_verdict){.reason = DM_REASON_CIRCUIT_OPEN, .retry_after_s = retry_s};
    return DM_REASON_CIRCUIT_OPEN;
}

/* RFC 9110 section 8.6: where content has a meaning, servers want to be told that there is none; some answer 411. */
static bool has_no_content(const struct dm_http_head *head)
{
    bool takes_content = head->method == DM_HTTP_METHOD_POST || head->method == DM_HTTP_METHOD_PUT ||
                         head->method == DM_HTTP_METHOD_PATCH;

    return takes_content && head->framing == DM_HTTP_FRAMING_NONE && head->upgrade.len == 0;
}

static enum dm_reason build_request(struct dm_exchange *ex)
{
    enum dm_reason reason;

    ex->request.method = ex->method;
    ex->request.framing = has_no_content(ex->head) ? DM_HTTP_FRAMING_LENGTH : (enum dm_http_framing)ex->head->framing;
    ex->request.content_length = ex->head->content_length;
    if (DM_UNLIKELY(ex->head->upgrade.len > 0) && (reason = dm_upgrade_request(ex)) != DM_REASON_NONE)
        return reason;
    if (DM_UNLIKELY(ex->is_grpc) && (reason = dm_grpc_call_request(ex)) != DM_REASON_NONE)
        return reason;
    return dm_forward_request(ex, &ex->request.fields) < 0 ? DM_REASON_HEADER_TOO_LARGE : DM_REASON_NONE;
}

/* To the tenant's cell; what does not get there is this worker's to answer. */
static enum dm_reason pass_on(struct dm_exchange *ex, const struct dm_route *route)
{
    enum dm_reason reason = dm_connection_enter(ex, route);

    if (reason == DM_REASON_NONE)
        reason = keep_request(ex);
    if (reason == DM_REASON_NONE)
        reason = dm_relay_begin(ex, route->tenant);
    if (ex->is_relay)
        ex->tenant = dm_live_tenant_ref(route->tenant);
    else
        pin_tenant(ex, route->tenant);
    return reason;
}

enum dm_reason dm_decide(struct dm_exchange *ex)
{
    const struct dm_route *route = dm_routes_find(&ex->worker->routes, ex->head->host.name);
    const struct dm_uplan *plan = NULL;
    enum dm_reason reason;

    if (!route) {
        ex->worker->counters->worker.unknown_host++;
        return (reason = keep_request(ex)) != DM_REASON_NONE ? reason : DM_REASON_HOST_UNKNOWN;
    }
    if (DM_UNLIKELY(route->tenant->cell != NULL))
        return pass_on(ex, route);
    pin_tenant(ex, route->tenant);
    if ((reason = enter(ex, route)) != DM_REASON_NONE || ex->is_redirect)
        return reason;
    if ((reason = pin_release(ex, route)) != DM_REASON_NONE || (reason = find_version(ex)) != DM_REASON_NONE ||
        (reason = check_folded_names(ex)) != DM_REASON_NONE)
        return reason;
    if ((reason = dm_policies_request(ex)) != DM_REASON_NONE || ex->is_preflight)
        return reason;
    if ((reason = match_rules(ex, ex->head->query)) != DM_REASON_NONE ||
        (reason = authorise(ex, &plan)) != DM_REASON_NONE)
        return reason;
    if (DM_UNLIKELY(ex->is_last = dm_hops_are_over(ex)))
        return DM_REASON_NONE;
    if ((reason = find_backend(ex)) != DM_REASON_NONE || (reason = check_circuit(ex)) != DM_REASON_NONE ||
        (reason = build_request(ex)) != DM_REASON_NONE)
        return reason;
    return DM_UNLIKELY(ex->must_wait) ? dm_admission_begin(ex, plan) : dm_decide_limits(ex, plan);
}
