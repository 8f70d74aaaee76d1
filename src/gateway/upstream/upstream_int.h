/* What the files of this folder share: an upstream, its endpoints and their connections. */
#ifndef DM_GATEWAY_UPSTREAM_INT_H
#define DM_GATEWAY_UPSTREAM_INT_H

#include "gateway/circuit/table.h"
#include "gateway/upstream/limiter.h"
#include "gateway/upstream/upstream.h"

struct dm_checks;

/* One connection, from connect to its end. Idle ones (HTTP/2: those with room for a call) are a stack, so that the rest grows
 * old and ends; below those that stand are those that are being made. */
struct dm_upstream_conn {
    struct dm_upstream_conn *next, *prev; /* in the endpoint's idle or busy ones */
    struct dm_upstream_endpoint *endpoint;
    struct dm_http_peer *peer;
    bool is_idle;
};

struct dm_upstream_endpoint {
    struct dm_upstream *upstream;
    struct dm_upstream_conn *idle, *idle_last, *busy;
    struct dm_upstream_conn *spare; /* records for reuse */
    size_t n_idle, n_spare;
    struct dm_outlier outlier;
    uint32_t n_calls;                   /* in flight */
    uint64_t hash;                      /* of what it is, for the method `hash` */
    struct dm_addr addr;                /* with is_numeric */
    const struct dm_unit *addr_allowed; /* the grants that were found to hold addr; compared, not read */
    uint32_t weight;
    int32_t credit;            /* of its weight, in percent; the richest has the turn */
    uint32_t next_address;     /* of a name with several: turn by turn */
    uint32_t n_addresses;      /* when it was last resolved */
    uint64_t resolve_ns;       /* from then on the addresses may be others (U7) */
    struct dm_dns_query query; /* whether they are */
    uint32_t calls_max;        /* on one connection, as HTTP/2 backends last said; 0: unknown */
    uint16_t port;
    bool is_numeric; /* or a Unix socket: nothing to resolve */
    char *host, *authority;
    struct dm_http_tls *tls; /* made when it is first connected to */
};

/* As struct dm_ubackend_tls. */
struct dm_upstream_tls {
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
    struct dm_upstream_tls *tls; /* NULL: clear text */
    bool is_http2;
    bool is_retired;          /* nothing is kept idle */
    uint8_t failure_statuses; /* enum dm_breaker_statuses */
    uint8_t method;           /* enum dm_balance_method */
    uint64_t n_draws;
    char *name;
    uint64_t slow_ns; /* 0: no call is slow */
    struct dm_breaker breaker;
    struct dm_circuit shared; /* the breaker's state, with the other workers */
    uint64_t what;            /* a digest of what the backend is (X4) */
    uint8_t mode;             /* enum dm_breaker_mode, as the release has it */
    bool is_counted_open;
    bool is_limited; /* concurrency.c */
    struct dm_limiter limiter;
    struct dm_circuit_limit heard; /* of the others, last */
    struct dm_wait_queue waiting;  /* for a place */
    struct dm_outlier_settings out;
    uint32_t out_percent; /* of endpoints that may be out for failures that are not hard */
    struct dm_retry_settings retry;
    struct dm_retry_budget retry_budget;
    struct dm_checks *checks; /* NULL: none */
    struct dm_upstream_endpoint endpoints[];
};

/* upstream.c */

/* As dm_upstream_get, of this endpoint and on a connection of its own; the wish's endpoint is set. */
void dm_upstream_get_at(struct dm_upstream_endpoint *endpoint, struct dm_upstream_request *request);

/* checks.c */

void dm_upstream_checks_set(struct dm_upstream *upstream, const struct dm_unit *release,
                            const struct dm_ubackend *backend);
/* Grants or the upstream's being live have changed (K3). */
void dm_upstream_checks_look(struct dm_upstream *upstream);
void dm_upstream_checks_done(struct dm_upstream *upstream);

/* balance.c */

/* NULL: none takes requests. */
struct dm_upstream_endpoint *dm_upstream_pick(struct dm_upstream *upstream, uint64_t hash);

static inline void dm_upstream_enter(struct dm_upstream_endpoint *endpoint, struct dm_upstream_request *request)
{
    endpoint->n_calls++;
    request->is_in_flight = true;
}

/* conns.c: connections to an endpoint, idle and busy */

/* A busy one, whose peer the caller sets. */
struct dm_upstream_conn *dm_upstream_conn_new(struct dm_upstream_endpoint *endpoint);
void dm_upstream_conn_move(struct dm_upstream_conn *conn, bool is_idle);
void dm_upstream_conn_close(struct dm_upstream_conn *conn);
/* Gives the wish a call on an idle connection. False: there is none that takes it. */
bool dm_upstream_take_idle(struct dm_upstream_endpoint *endpoint, struct dm_upstream_request *request);
/* U5. False: the tenant may have no further one. */
bool dm_upstream_make_room(struct dm_upstream *upstream);
/* What a new connection takes before it says so: many calls that begin at once are not refused twice. 0: unknown. */
uint32_t dm_upstream_known_calls_max(struct dm_upstream_endpoint *endpoint);

/* circuit.c */

/* May the log have a line more about the tenant's backends (P1)? ret: how many it had to do without. */
bool dm_upstream_may_tell(struct dm_upstream *upstream, uint32_t *ret_untold);

void dm_upstream_circuit_done(struct dm_upstream *upstream);

/* concurrency.c */

void dm_upstream_set_concurrency(struct dm_upstream *upstream, const struct dm_uconcurrency *from);
void dm_upstream_take_place(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket);
/* took_ns: what the answer took; 0: it says nothing. */
void dm_upstream_leave_place(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint64_t took_ns);

/* balance.c: those that are out of turn now. */
uint32_t dm_upstream_count_out(const struct dm_upstream *upstream);

/* tls.c: how a backend is spoken to */

/* NULL: in clear text. */
struct dm_upstream_tls *dm_upstream_tls_new(const struct dm_unit *release, const struct dm_ubackend *backend);
bool dm_upstream_tls_is_same(const struct dm_upstream_tls *tls, const struct dm_unit *release,
                             const struct dm_ubackend *backend);
/* Of what it says; 0: clear text. */
uint64_t dm_upstream_tls_id(const struct dm_upstream_tls *tls);
void dm_upstream_tls_free(struct dm_upstream_tls *tls);
/* The endpoint's client, once, with its first connection. False: request->tls_reason says why not. */
bool dm_upstream_tls_make(struct dm_upstream_endpoint *endpoint, struct dm_upstream_request *request);

#endif
