/* An upstream and its endpoints; connecting. */
#include "gateway/upstream/upstream_int.h"

#include "base/mem.h"
#include "base/mix.h"
#include "gateway/observe/counters.h"
#include "model/backend.h"
#include "snapshot/grants.h"

#include <netinet/in.h>

#define RESOLVE_MIN_NS UINT64_C(1000000000) /* between two looks at a name */

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

static void set_numeric(struct dm_upstream_endpoint *e, const struct dm_uendpoint *from)
{
    e->is_numeric = from->address_bytes != 0;
    if (from->address_bytes == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&e->addr.ss;
        in->sin_family = AF_INET;
        in->sin_port = htons(from->port);
        memcpy(&in->sin_addr, from->address, 4);
        e->addr.len = sizeof(*in);
    } else if (from->address_bytes == 16) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&e->addr.ss;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(from->port);
        memcpy(&in6->sin6_addr, from->address, 16);
        e->addr.len = sizeof(*in6);
    } else if (dm_str_starts(dm_str_of(e->host), DM_STR("unix:"))) {
        e->is_numeric = dm_addr_parse(dm_str_of(e->host), &e->addr, NULL) == 0;
    }
}

/* Of all in which dm_upstream_is_same looks for a difference. */
static uint64_t digest(const struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_uendpoint *from = dm_unit_at(release, backend->endpoints);
    const struct dm_ubackend_tls *tls = backend->tls ? dm_unit_at(release, backend->tls) : NULL;
    uint64_t sum = dm_mix64(u->n_endpoints + (u->is_http2 ? 1u << 16 : 0));

    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        sum = dm_mix64(sum ^ u->endpoints[i].hash);
        sum = dm_mix64(sum ^ dm_unit_name_id(dm_unit_str(release, from[i].authority)) ^ from[i].weight);
    }
    if (!tls)
        return sum;
    sum = dm_mix64(sum ^ dm_unit_name_id(dm_unit_str(release, tls->ca)) ^ (tls->verifies ? 1 : 2));
    sum = dm_mix64(sum ^ dm_unit_name_id(dm_unit_str(release, tls->server_name)));
    return dm_mix64(sum ^ dm_unit_name_id(dm_unit_str(release, tls->client_certificate)));
}

static void join(struct dm_upstream *u, struct dm_upstream_share *share)
{
    u->share = share;
    u->next = share->first;
    if (u->next)
        u->next->prev = u;
    share->first = u;
}

static void leave(struct dm_upstream *u)
{
    if (u->next)
        u->next->prev = u->prev;
    if (u->prev)
        u->prev->next = u->next;
    else
        u->share->first = u->next;
}

struct dm_upstream *dm_upstream_new(const struct dm_upstream_env *env, const struct dm_unit *release,
                                    const struct dm_ubackend *backend, struct dm_upstream_share *share)
{
    const struct dm_uendpoint *from = dm_unit_at(release, backend->endpoints);
    struct dm_upstream *u = dm_calloc(1, sizeof(*u) + backend->n_endpoints * sizeof(u->endpoints[0]));

    u->env = *env;
    u->counters = share->counters;
    join(u, share);
    u->id = backend->id;
    u->refs = 1;
    u->weight_sum = backend->weight_sum;
    u->name = dm_strdup(dm_unit_str(release, backend->name));
    u->tls = dm_upstream_tls_new(release, backend);
    u->is_http2 = backend->protocol == DM_BACKEND_HTTP2;
    u->n_endpoints = backend->n_endpoints;
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct dm_upstream_endpoint *e = &u->endpoints[i];
        e->upstream = u;
        e->weight = from[i].weight;
        e->port = from[i].port;
        e->host = dm_strdup(dm_unit_str(release, from[i].host));
        e->authority = dm_strdup(dm_unit_str(release, from[i].authority));
        e->hash = dm_unit_name_id(dm_str_of(e->host)) ^ dm_mix64(e->port);
        set_numeric(e, &from[i]);
    }
    u->what = digest(u, release, backend);
    dm_wait_queue_init(&u->waiting, env->loop, share->at_backends, share->flow);
    dm_upstream_set(u, release, backend);
    return u;
}

bool dm_upstream_is_same(const struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_uendpoint *now = dm_unit_at(release, backend->endpoints);

    if (u->id != backend->id || u->n_endpoints != backend->n_endpoints ||
        u->is_http2 != (backend->protocol == DM_BACKEND_HTTP2) || !dm_upstream_tls_is_same(u->tls, release, backend))
        return false;
    for (uint32_t i = 0; i < u->n_endpoints; i++)
        if (u->endpoints[i].weight != now[i].weight || u->endpoints[i].port != now[i].port ||
            !dm_str_eq(dm_str_of(u->endpoints[i].host), dm_unit_str(release, now[i].host)) ||
            !dm_str_eq(dm_str_of(u->endpoints[i].authority), dm_unit_str(release, now[i].authority)))
            return false;
    return true;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_endpoint(struct dm_upstream_endpoint *e)
{
    while (e->idle)
        dm_upstream_conn_close(e->idle);
    while (e->busy)
        dm_upstream_conn_close(e->busy);
    while (e->spare) {
        struct dm_upstream_conn *next = e->spare->next;
        dm_free(e->spare);
        e->spare = next;
    }
    dm_dns_cancel(e->upstream->env.dns, &e->query);
    dm_http_tls_unref(e->tls);
    dm_free(e->host);
    dm_free(e->authority);
}

struct dm_upstream *dm_upstream_ref(struct dm_upstream *u)
{
    u->refs++;
    return u;
}

void dm_upstream_unref(struct dm_upstream *u)
{
    if (!u || --u->refs > 0)
        return;
    dm_upstream_checks_done(u);
    for (uint32_t i = 0; i < u->n_endpoints; i++)
        free_endpoint(&u->endpoints[i]);
    dm_upstream_circuit_done(u);
    dm_wait_queue_done(&u->waiting);
    leave(u);
    dm_upstream_tls_free(u->tls);
    dm_free(u->name);
    dm_free(u);
}

struct dm_wait_queue *dm_upstream_waiting(struct dm_upstream *u)
{
    return &u->waiting;
}

struct dm_upstream *dm_upstream_of_waiting(struct dm_wait_queue *queue)
{
    return DM_CONTAINER_OF(queue, struct dm_upstream, waiting);
}

struct dm_upstream_share *dm_upstream_share_of(const struct dm_upstream *u)
{
    return u->share;
}

size_t dm_upstream_targets(const struct dm_upstream *u)
{
    size_t n = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++)
        if (u->endpoints[i].weight > 0)
            n += DM_MAX(u->endpoints[i].n_addresses, 1u);
    return n;
}

struct dm_str dm_upstream_authority(const struct dm_upstream *u, uint32_t endpoint)
{
    return dm_str_of(u->endpoints[endpoint].authority);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

/* The answer for a numeric endpoint holds until dm_upstream_recheck. */
static bool is_allowed(struct dm_upstream_endpoint *e, const struct dm_addr *addr, const struct dm_unit *grants)
{
    if (DM_LIKELY(e->addr_allowed == grants && grants))
        return true;
    if (!grants || !dm_ugrants_allow(grants, addr))
        return false;
    if (e->is_numeric)
        e->addr_allowed = grants;
    return true;
}

/* K1: nobody else gets a call on it, and it ends behind this one. */
static void connect_apart(struct dm_upstream *u, const struct dm_http_peer_settings *settings,
                          struct dm_upstream_request *r)
{
    struct dm_http_peer *peer = dm_http_client_connect(u->env.check_client, settings, NULL);

    r->on_call(r, dm_http_peer_open(peer, &r->timeouts), DM_REASON_NONE);
    dm_http_peer_close(peer);
}

static void connect_to(struct dm_upstream_endpoint *e, const struct dm_addr *addr, struct dm_upstream_request *r)
{
    struct dm_upstream *u = e->upstream;
    struct dm_http_peer_settings settings = {.addr = *addr,
                                             .connect_ms = r->connect_ms,
                                             .is_http2 = u->is_http2,
                                             .flow = u->share->flow,
                                             .counter = &u->counters->upstream_connections,
                                             .buffered = &u->counters->buffered_bytes,
                                             .traffic = &u->counters->upstream};
    struct dm_http_call *call;
    struct dm_upstream_conn *c;

    if (!is_allowed(e, addr, r->grants)) {
        r->on_call(r, NULL, DM_REASON_EGRESS_NOT_APPROVED);
        return;
    }
    if (!dm_upstream_make_room(u)) {
        r->on_call(r, NULL, DM_REASON_TENANT_OVER_CAP);
        return;
    }
    if (u->tls && !dm_upstream_tls_make(e, r)) {
        r->on_call(r, NULL, DM_REASON_BACKEND_TLS);
        return;
    }
    settings.tls = e->tls;
    if (DM_UNLIKELY(u->is_http2))
        settings.calls_max = dm_upstream_known_calls_max(e);
    u->counters->upstream_connects++;
    if (DM_UNLIKELY(r->is_check)) {
        connect_apart(u, &settings, r);
        return;
    }
    c = dm_upstream_conn_new(e);
    c->peer = dm_http_client_connect(u->env.client, &settings, c);
    call = dm_http_peer_open(c->peer, &r->timeouts);
    if (u->is_http2)
        dm_upstream_conn_move(c, true); /* calls that follow find it while it connects */
    dm_upstream_enter(e, r);
    r->on_call(r, call, DM_REASON_NONE);
}

static void set_port(struct dm_addr *addr, uint16_t port)
{
    if (addr->ss.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&addr->ss)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)&addr->ss)->sin_port = htons(port);
}

/* --- names (U7) --------------------------------------------------------------------------------------------------- */

static bool is_among(const struct dm_upstream_endpoint *e, const struct dm_dns_answer *answer,
                     const struct dm_addr *peer)
{
    for (size_t i = 0; i < answer->count; i++) {
        struct dm_addr addr = answer->addrs[i];
        set_port(&addr, e->port);
        if (dm_addr_eq(&addr, peer))
            return true;
    }
    return false;
}

static void close_gone(struct dm_upstream_conn *conns, const struct dm_dns_answer *answer)
{
    for (struct dm_upstream_conn *c = conns, *next; c; c = next) {
        next = c->next;
        if (!is_among(c->endpoint, answer, dm_http_peer_addr(c->peer)))
            dm_upstream_conn_close(c);
    }
}

static void note_addresses(struct dm_upstream_endpoint *e, const struct dm_dns_answer *answer)
{
    e->resolve_ns = DM_MAX(answer->expires_ns, dm_loop_now_ns(e->upstream->env.loop) + RESOLVE_MIN_NS);
    if (answer->count == 0)
        return;
    e->n_addresses = (uint32_t)answer->count;
    if (answer->count == DM_DNS_ADDRS_MAX)
        return;
    close_gone(e->idle, answer);
    close_gone(e->busy, answer);
}

static void on_renewed(struct dm_dns_query *query, int code, const struct dm_dns_answer *answer)
{
    struct dm_upstream_endpoint *e = DM_CONTAINER_OF(query, struct dm_upstream_endpoint, query);

    dm_loop_enter(e->upstream->env.loop, e->upstream->share->flow);
    if (code == 0)
        note_addresses(e, answer);
}

/* Nobody waits for it. */
static void renew_addresses(struct dm_upstream_endpoint *e)
{
    uint64_t now_ns = dm_loop_now_ns(e->upstream->env.loop);
    const struct dm_dns_answer *answer;

    if (now_ns < e->resolve_ns)
        return;
    e->resolve_ns = now_ns + RESOLVE_MIN_NS;
    e->query.on_done = on_renewed;
    if (!e->query.link && dm_dns_lookup(e->upstream->env.dns, dm_str_of(e->host), &e->query, &answer) > 0)
        note_addresses(e, answer);
}

static void connect_resolved(struct dm_upstream_endpoint *e, const struct dm_dns_answer *answer,
                             struct dm_upstream_request *r)
{
    struct dm_addr addr;

    if (answer->count == 0) {
        r->on_call(r, NULL, DM_REASON_BACKEND_UNRESOLVED);
        return;
    }
    note_addresses(e, answer);
    for (size_t i = 0; i < answer->count; i++) {
        addr = answer->addrs[e->next_address++ % answer->count];
        set_port(&addr, e->port);
        if (is_allowed(e, &addr, r->grants))
            break;
    }
    connect_to(e, &addr, r);
}

static void on_resolved(struct dm_dns_query *query, int code, const struct dm_dns_answer *answer)
{
    struct dm_upstream_request *r = DM_CONTAINER_OF(query, struct dm_upstream_request, query);
    struct dm_upstream *u = r->upstream;

    r->upstream = NULL;
    r->grants = r->current_grants(r);
    dm_upstream_unref(u); /* whoever asks has it still, until on_call */
    if (code < 0)
        r->on_call(r, NULL, DM_REASON_BACKEND_UNRESOLVED);
    else
        connect_resolved(&u->endpoints[r->endpoint], answer, r);
}

static void resolve(struct dm_upstream_endpoint *e, struct dm_upstream_request *r)
{
    const struct dm_dns_answer *answer;
    int rc;

    r->query.on_done = on_resolved;
    r->query.flow = e->upstream->share->flow;
    rc = dm_dns_lookup(e->upstream->env.dns, dm_str_of(e->host), &r->query, &answer);
    if (rc > 0)
        connect_resolved(e, answer, r);
    else if (rc < 0)
        r->on_call(r, NULL, DM_REASON_BACKEND_UNRESOLVED);
    else
        r->upstream = dm_upstream_ref(e->upstream);
}

void dm_upstream_get(struct dm_upstream *u, struct dm_upstream_request *r)
{
    struct dm_upstream_endpoint *e = dm_upstream_pick(u, r->hash);

    r->upstream = NULL;
    if (!e) {
        r->on_call(r, NULL, DM_REASON_NO_ENDPOINT);
        return;
    }
    r->endpoint = (uint32_t)(e - u->endpoints);
    if (DM_UNLIKELY(!e->is_numeric) && e->idle)
        renew_addresses(e);
    if (e->idle && dm_upstream_take_idle(e, r))
        return;
    dm_upstream_get_at(e, r);
}

void dm_upstream_get_at(struct dm_upstream_endpoint *e, struct dm_upstream_request *r)
{
    if (e->is_numeric)
        connect_to(e, &e->addr, r);
    else
        resolve(e, r);
}

void dm_upstream_cancel(struct dm_upstream_request *r)
{
    if (!r->upstream)
        return;
    dm_dns_cancel(r->upstream->env.dns, &r->query);
    dm_upstream_unref(r->upstream);
    r->upstream = NULL;
}

static void recheck(struct dm_upstream_conn *conns, const struct dm_unit *grants)
{
    for (struct dm_upstream_conn *c = conns, *next; c; c = next) {
        next = c->next;
        if (!is_allowed(c->endpoint, dm_http_peer_addr(c->peer), grants))
            dm_upstream_conn_close(c);
    }
}

void dm_upstream_recheck(struct dm_upstream *u, const struct dm_unit *grants)
{
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        u->endpoints[i].addr_allowed = NULL;
        recheck(u->endpoints[i].idle, grants);
        recheck(u->endpoints[i].busy, grants);
    }
    u->is_retired = grants == NULL;
    dm_upstream_checks_look(u);
}
