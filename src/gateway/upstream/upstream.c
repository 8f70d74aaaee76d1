#include "gateway/upstream/upstream.h"

#include "base/mem.h"
#include "gateway/observe/counter_pages.h"
#include "io/tls.h"
#include "model/backend.h"
#include "snapshot/grants.h"

#include <netinet/in.h>

#define IDLE_MAX 1024  /* kept per endpoint */
#define PEER_AHEAD 256 /* bytes of a connection that a call begins with */
#define CONNS_KEEP 64  /* records of connections, for reuse */
#define DOWN_NS (1000ull * 1000 * 1000)

/* One connection, from connect to its end. Idle ones (HTTP/2: those with room for a call) are a stack, so that the rest grows
 * old and ends. */
struct conn {
    struct conn *next, *prev; /* in the endpoint's idle or busy ones */
    struct endpoint *endpoint;
    struct dm_http_peer *peer;
    bool is_idle;
};

struct endpoint {
    struct dm_upstream *upstream;
    struct conn *idle, *busy;
    struct conn *spare; /* records for reuse */
    size_t n_idle, n_spare;
    uint64_t down_until_ns;
    struct dm_addr addr;                /* with is_numeric */
    const struct dm_unit *addr_allowed; /* the grants that were found to hold addr; compared, not read */
    uint32_t weight;
    int32_t credit;        /* of its weight; the richest has the turn */
    uint32_t next_address; /* of a name with several: turn by turn */
    uint32_t n_addresses;  /* when it was last resolved */
    uint32_t calls_max;    /* on one connection, as HTTP/2 backends last said; 0: unknown */
    uint16_t port;
    bool is_numeric; /* or a Unix socket: nothing to resolve */
    char *host, *authority;
    struct dm_http_tls *tls; /* made when it is first connected to */
};

/* As struct dm_ubackend_tls. */
struct tls {
    char *ca, *server_name, *client_certificate;
    bool verifies;
};

struct dm_upstream {
    struct dm_upstream_env env;
    struct dm_upstream_share *share;
    struct dm_upstream *next, *prev; /* of the share's */
    struct dm_tenant_counters *counters;
    uint64_t id;
    uint32_t refs, weight_sum;
    uint32_t n_endpoints;
    struct tls *tls; /* NULL: clear text */
    bool is_http2;
    bool is_retired; /* nothing is kept idle */
    struct endpoint endpoints[];
};

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

static void set_numeric(struct endpoint *e, const struct dm_uendpoint *from)
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

static struct tls *tls_new(const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_ubackend_tls *from = dm_unit_at(release, backend->tls);
    struct tls *tls;

    if (backend->tls == 0)
        return NULL;
    tls = dm_calloc(1, sizeof(*tls));
    tls->ca = dm_strdup(dm_unit_str(release, from->ca));
    tls->server_name = dm_strdup(dm_unit_str(release, from->server_name));
    tls->client_certificate = dm_strdup(dm_unit_str(release, from->client_certificate));
    tls->verifies = from->verifies;
    return tls;
}

static bool is_same_tls(const struct tls *tls, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_ubackend_tls *now = dm_unit_at(release, backend->tls);

    if (!tls || backend->tls == 0)
        return !tls && backend->tls == 0;
    return tls->verifies == (now->verifies != 0) && dm_str_eq(dm_str_of(tls->ca), dm_unit_str(release, now->ca)) &&
           dm_str_eq(dm_str_of(tls->server_name), dm_unit_str(release, now->server_name)) &&
           dm_str_eq(dm_str_of(tls->client_certificate), dm_unit_str(release, now->client_certificate));
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
    u->tls = tls_new(release, backend);
    u->is_http2 = backend->protocol == DM_BACKEND_HTTP2;
    u->n_endpoints = backend->n_endpoints;
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct endpoint *e = &u->endpoints[i];
        e->upstream = u;
        e->weight = from[i].weight;
        e->port = from[i].port;
        e->host = dm_strdup(dm_unit_str(release, from[i].host));
        e->authority = dm_strdup(dm_unit_str(release, from[i].authority));
        set_numeric(e, &from[i]);
    }
    return u;
}

bool dm_upstream_is_same(const struct dm_upstream *u, const struct dm_unit *release, const struct dm_ubackend *backend)
{
    const struct dm_uendpoint *now = dm_unit_at(release, backend->endpoints);

    if (u->id != backend->id || u->n_endpoints != backend->n_endpoints ||
        u->is_http2 != (backend->protocol == DM_BACKEND_HTTP2) || !is_same_tls(u->tls, release, backend))
        return false;
    for (uint32_t i = 0; i < u->n_endpoints; i++)
        if (u->endpoints[i].weight != now[i].weight || u->endpoints[i].port != now[i].port ||
            !dm_str_eq(dm_str_of(u->endpoints[i].host), dm_unit_str(release, now[i].host)) ||
            !dm_str_eq(dm_str_of(u->endpoints[i].authority), dm_unit_str(release, now[i].authority)))
            return false;
    return true;
}

/* --- records of connections --------------------------------------------------------------------------------------- */

static struct conn **list_of(struct conn *c)
{
    return c->is_idle ? &c->endpoint->idle : &c->endpoint->busy;
}

static void unlink_conn(struct conn *c)
{
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        *list_of(c) = c->next;
    c->endpoint->n_idle -= c->is_idle;
}

static void link_conn(struct conn *c, bool is_idle)
{
    struct conn **list;

    c->is_idle = is_idle;
    list = list_of(c);
    c->prev = NULL;
    c->next = *list;
    if (c->next)
        c->next->prev = c;
    *list = c;
    c->endpoint->n_idle += is_idle;
}

static void move_conn(struct conn *c, bool is_idle)
{
    unlink_conn(c);
    link_conn(c, is_idle);
}

static struct conn *conn_new(struct endpoint *e)
{
    struct conn *c = e->spare;

    if (c) {
        e->spare = c->next;
        e->n_spare--;
    } else {
        c = dm_alloc(sizeof(*c));
    }
    *c = (struct conn){.endpoint = e};
    link_conn(c, false);
    return c;
}

static void conn_free(struct conn *c)
{
    struct endpoint *e = c->endpoint;

    unlink_conn(c);
    if (e->n_spare >= CONNS_KEEP) {
        dm_free(c);
        return;
    }
    c->next = e->spare;
    e->spare = c;
    e->n_spare++;
}

static void close_conn(struct conn *c)
{
    struct dm_http_peer *peer = c->peer;

    conn_free(c);
    dm_http_peer_close(peer);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_endpoint(struct endpoint *e)
{
    while (e->idle)
        close_conn(e->idle);
    while (e->busy)
        close_conn(e->busy);
    while (e->spare) {
        struct conn *next = e->spare->next;
        dm_free(e->spare);
        e->spare = next;
    }
    dm_http_tls_unref(e->tls);
    dm_free(e->host);
    dm_free(e->authority);
}

static void free_tls(struct tls *tls)
{
    if (!tls)
        return;
    dm_free(tls->ca);
    dm_free(tls->server_name);
    dm_free(tls->client_certificate);
    dm_free(tls);
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
    for (uint32_t i = 0; i < u->n_endpoints; i++)
        free_endpoint(&u->endpoints[i]);
    leave(u);
    free_tls(u->tls);
    dm_free(u);
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

/* --- choosing an endpoint ----------------------------------------------------------------------------------------- */

static bool is_down(const struct endpoint *e)
{
    return e->down_until_ns > dm_loop_now_ns(e->upstream->env.loop);
}

/* Smooth weighted round robin: each earns its weight a turn, the richest is taken and pays for all. */
static struct endpoint *at_turn(struct dm_upstream *u, bool takes_down)
{
    struct endpoint *best = NULL;
    int32_t sum = 0;

    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct endpoint *e = &u->endpoints[i];
        if (e->weight == 0 || (!takes_down && is_down(e)))
            continue;
        e->credit += (int32_t)e->weight;
        sum += (int32_t)e->weight;
        if (!best || e->credit > best->credit)
            best = e;
    }
    if (best)
        best->credit -= sum;
    return best;
}

static struct endpoint *pick_endpoint(struct dm_upstream *u)
{
    struct endpoint *e;

    if (u->n_endpoints == 1 && u->weight_sum > 0)
        return &u->endpoints[0];
    e = at_turn(u, false);
    return e ? e : at_turn(u, true);
}

void dm_upstream_failed(struct dm_upstream *u, uint32_t endpoint)
{
    u->endpoints[endpoint].down_until_ns = dm_loop_now_ns(u->env.loop) + DOWN_NS;
    u->counters->upstream_failures++;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

/* A call on a connection of HTTP/2 with room, or NULL. A second try does not go to one that may be as stale as the first, but
 * to one that is new, so that all of a connection's calls meet again on one other. */
static struct dm_http_call *open_among(struct endpoint *e, const struct dm_upstream_request *r)
{
    struct dm_http_call *call = NULL;

    for (struct conn *c = e->idle, *next; c && !call; c = next) {
        next = c->next;
        if (r->wants_fresh && !dm_http_peer_is_new(c->peer))
            continue;
        call = dm_http_peer_open(c->peer, &r->timeouts);
        if (!dm_http_peer_has_room(c->peer))
            move_conn(c, false);
    }
    return call;
}

static struct dm_http_call *open_idle(struct endpoint *e, const struct dm_upstream_request *r)
{
    struct conn *c = e->idle;

    if (DM_UNLIKELY(e->upstream->is_http2))
        return open_among(e, r);
    if (r->wants_fresh)
        return NULL;
    move_conn(c, false);
    if (e->idle)
        dm_prefetch(e->idle->peer, 0, PEER_AHEAD); /* for the request that comes next */
    return dm_http_peer_open(c->peer, &r->timeouts);
}

static bool take_idle(struct endpoint *e, struct dm_upstream_request *r)
{
    struct dm_http_call *call = open_idle(e, r);

    if (!call)
        return false;
    e->upstream->counters->upstream_reuses++;
    r->on_call(r, call, DM_REASON_NONE);
    return true;
}

/* The answer for a numeric endpoint holds until dm_upstream_recheck. */
static bool is_allowed(struct endpoint *e, const struct dm_addr *addr, const struct dm_unit *grants)
{
    if (DM_LIKELY(e->addr_allowed == grants && grants))
        return true;
    if (!grants || !dm_ugrants_allow(grants, addr))
        return false;
    if (e->is_numeric)
        e->addr_allowed = grants;
    return true;
}

/* --- TLS ---------------------------------------------------------------------------------------------------------- */

/* The bundle that was given, or the system's, which is read once. */
static int find_trust(const struct dm_upstream *u, struct dm_tls_trust **ret)
{
    int rc = 0;

    if (u->tls->ca[0] != 0)
        return dm_tls_trust_new(dm_str_of(u->tls->ca), ret, NULL);
    if (!*u->env.system_trust)
        rc = dm_tls_trust_new_system(u->env.system_trust, NULL);
    if (rc == 0)
        *ret = dm_tls_trust_ref(*u->env.system_trust);
    return rc;
}

static enum dm_tls_reason new_client(const struct endpoint *e, struct dm_upstream_request *r,
                                     struct dm_tls_trust *trust, struct dm_tls_client **ret)
{
    const struct tls *tls = e->upstream->tls;
    struct dm_str name = dm_str_of(tls->client_certificate);
    struct dm_tls_client_settings settings = {
        .skips_verification = !tls->verifies,
        .trust = trust,
        .server_name = dm_str_of(tls->server_name[0] ? tls->server_name : e->host),
        .wants_http2 = e->upstream->is_http2,
    };

    char *key = NULL;
    size_t key_len = 0;
    int rc;

    if (name.len > 0 && !(r->find_certificate && r->find_certificate(r, name, &settings.chain_pem, &key, &key_len)))
        return DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING;
    settings.key_pem = dm_str_n(key, key_len);
    rc = dm_tls_client_new(&settings, ret, NULL);
    dm_secret_free(key);
    return rc < 0 ? DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID : DM_TLS_REASON_NONE;
}

/* Made once, with the first connection. */
static bool make_tls(struct endpoint *e, struct dm_upstream_request *r)
{
    struct dm_tls_trust *trust = NULL;
    struct dm_tls_client *client;

    if (e->tls)
        return true;
    r->tls_reason = DM_TLS_REASON_NO_TRUSTED_CA;
    if (e->upstream->tls->verifies && find_trust(e->upstream, &trust) < 0)
        return false;
    r->tls_reason = new_client(e, r, trust, &client);
    if (r->tls_reason == DM_TLS_REASON_NONE) {
        e->tls = dm_http_tls_new(client);
        dm_tls_client_unref(client);
    }
    dm_tls_trust_unref(trust);
    return e->tls != NULL;
}

void dm_upstream_renew_tls(struct dm_upstream *u)
{
    if (!u->tls || u->tls->client_certificate[0] == 0)
        return;
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct endpoint *e = &u->endpoints[i];
        dm_http_tls_unref(e->tls);
        e->tls = NULL;
        while (e->idle)
            close_conn(e->idle);
    }
}

/* --- how many ----------------------------------------------------------------------------------------------------- */

static bool is_full(const struct dm_upstream *u)
{
    uint64_t held = u->counters->upstream_connections;

    if (u->share->connections_max == 0)
        return held >= u->env.connections_max;
    return held + dm_counter_pages_others(u->env.pages, u->counters,
                                          offsetof(struct dm_tenant_counters, upstream_connections)) >=
           u->share->connections_max;
}

/* Of the oldest, which is the last; HTTP/2's idle ones may have calls in hand. */
static bool close_idle(struct dm_upstream *u)
{
    for (uint32_t i = 0; i < u->n_endpoints; i++) {
        struct conn *found = NULL;
        for (struct conn *c = u->endpoints[i].idle; c; c = c->next)
            if (!dm_http_peer_has_calls(c->peer))
                found = c;
        if (!found)
            continue;
        close_conn(found);
        return true;
    }
    return false;
}

/* Is the room worth more to another worker than the connection here? */
static bool must_yield(const struct dm_upstream *u)
{
    return u->share->connections_max > 0 && u->env.pages->n_others > 0 && is_full(u);
}

void dm_upstream_share_yield(struct dm_upstream_share *share)
{
    if (!share->first || !must_yield(share->first))
        return;
    for (struct dm_upstream *at = share->first; at; at = at->next)
        while (close_idle(at))
            ;
}

/* U5 */
static bool make_room(struct dm_upstream *u)
{
    if (DM_LIKELY(!is_full(u)))
        return true;
    for (struct dm_upstream *at = u->share->first; at; at = at->next)
        if (close_idle(at))
            return true;
    u->counters->refused[DM_CAP_UPSTREAM_CONNECTIONS]++;
    return false;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

/* What a new connection takes before it says so: many calls that begin at once are not refused twice. */
static uint32_t known_calls_max(struct endpoint *e)
{
    const struct conn *lists[] = {e->busy, e->idle};
    uint32_t n;

    for (size_t i = 0; i < DM_COUNT(lists); i++) {
        for (const struct conn *c = lists[i]; c; c = c->next) {
            if ((n = dm_http_peer_calls_max(c->peer)) > 0) {
                e->calls_max = n;
                return n;
            }
        }
    }
    return e->calls_max;
}

static void connect_to(struct endpoint *e, const struct dm_addr *addr, struct dm_upstream_request *r)
{
    struct dm_upstream *u = e->upstream;
    struct dm_http_peer_settings settings = {.addr = *addr,
                                             .connect_ms = r->connect_ms,
                                             .is_http2 = u->is_http2,
                                             .counter = &u->counters->upstream_connections,
                                             .buffered = &u->counters->buffered_bytes};
    struct dm_http_call *call;
    struct conn *c;

    if (!is_allowed(e, addr, r->grants)) {
        r->on_call(r, NULL, DM_REASON_EGRESS_NOT_APPROVED);
        return;
    }
    if (!make_room(u)) {
        r->on_call(r, NULL, DM_REASON_TENANT_OVER_CAP);
        return;
    }
    if (u->tls && !make_tls(e, r)) {
        r->on_call(r, NULL, DM_REASON_BACKEND_TLS);
        return;
    }
    settings.tls = e->tls;
    if (DM_UNLIKELY(u->is_http2))
        settings.calls_max = known_calls_max(e);
    u->counters->upstream_connects++;
    c = conn_new(e);
    c->peer = dm_http_client_connect(u->env.client, &settings, c);
    call = dm_http_peer_open(c->peer, &r->timeouts);
    if (u->is_http2)
        move_conn(c, true); /* calls that follow find it while it connects */
    r->on_call(r, call, DM_REASON_NONE);
}

static void set_port(struct dm_addr *addr, uint16_t port)
{
    if (addr->ss.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&addr->ss)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)&addr->ss)->sin_port = htons(port);
}

static void connect_resolved(struct endpoint *e, const struct dm_dns_answer *answer, struct dm_upstream_request *r)
{
    struct dm_addr addr;

    if (answer->count == 0) {
        r->on_call(r, NULL, DM_REASON_BACKEND_UNRESOLVED);
        return;
    }
    e->n_addresses = (uint32_t)answer->count;
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
    if (code < 0)
        r->on_call(r, NULL, DM_REASON_BACKEND_UNRESOLVED);
    else
        connect_resolved(&u->endpoints[r->endpoint], answer, r);
    dm_upstream_unref(u);
}

static void resolve(struct endpoint *e, struct dm_upstream_request *r)
{
    const struct dm_dns_answer *answer;
    int rc;

    r->query.on_done = on_resolved;
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
    struct endpoint *e = pick_endpoint(u);

    r->upstream = NULL;
    if (!e) {
        r->on_call(r, NULL, DM_REASON_NO_ENDPOINT);
        return;
    }
    r->endpoint = (uint32_t)(e - u->endpoints);
    if (e->idle && take_idle(e, r))
        return;
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

/* Of a tenant with a cap. */
static void keep_or_yield(struct conn *c)
{
    if (must_yield(c->endpoint->upstream) && !dm_http_peer_has_calls(c->peer))
        close_conn(c);
    else if (!c->is_idle)
        move_conn(c, true);
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    struct conn *c = owner;

    (void)peer;
    if (DM_UNLIKELY(c->endpoint->upstream->is_retired || c->endpoint->n_idle >= IDLE_MAX))
        close_conn(c);
    else if (DM_UNLIKELY(c->endpoint->upstream->share->connections_max > 0))
        keep_or_yield(c);
    else if (!c->is_idle)
        move_conn(c, true);
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    (void)peer; /* the client's */
    conn_free(owner);
}

const struct dm_http_peer_handler dm_upstream_peer_handler = {on_room, on_end};

static void recheck(struct conn *conns, const struct dm_unit *grants)
{
    for (struct conn *c = conns, *next; c; c = next) {
        next = c->next;
        if (!is_allowed(c->endpoint, dm_http_peer_addr(c->peer), grants))
            close_conn(c);
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
}
