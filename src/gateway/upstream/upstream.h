/* What one worker keeps about one backend of one tenant: its endpoints and the connections to them.
 *
 * U1. An upstream belongs to one tenant; connections never move between upstreams (P2).
 * U2. It lives on unchanged over releases that leave id and endpoints as they were; otherwise a new one takes its place, and
 *     the old one goes, idle connections first, with its last exchange.
 * U3. Every address is held against the tenant's grants when it is connected to, and connections again when the grants change: one
 *     that they no longer hold takes no further call (P5).
 * U4. Where there are several endpoints, one that fails is put out of turn for a while that grows (outlier.h): at once when it could not be
 *     connected to, unless all are out; for other failures only as long as enough stay. Endpoints take turns by weight,
 *     evenly spread, or as the backend's balance says; those that are back with less at first; the addresses of a name take turns, and those that the grants do not hold are passed over.
 * U5. A tenant has at most connections_max connections, those among them that take no call any more (GOAWAY, other grants) and end
 *     behind the ones in hand. At that bound an idle one of its makes way, whichever
 *     upstream has it, or the wish is answered with TENANT_OVER_CAP; those that wait for room then are told of it; and none is kept
 *     idle that another worker may want the room of.
 * U6. A backend whose calls fail is left alone for a while (breaker.h), by all workers (circuit/table.h). An exchange counts once,
 *     by its last try. Failures are: no connection, no answer in time, one that is malformed or cut, and the statuses that the
 *     backend's settings name, those of gRPC by what they are in HTTP. What callers or the gateway end, and what the team or the
 *     master has to mend (grants, weights, certificates), is none.
 *
 * U7. Where an endpoint is a name, it is looked up again when its answer has run out, and connections to addresses that are its no more
 *     take no further call. An answer that may not be all (DM_DNS_ADDRS_MAX), or none, ends no connection.
 * U8. Where a backend has health checks, an endpoint that they find unwell is out of turn until they find it well (checks.h).
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_UPSTREAM_UPSTREAM_H
#define DM_GATEWAY_UPSTREAM_UPSTREAM_H

#include "gateway/upstream/breaker.h"
#include "gateway/upstream/outlier.h"
#include "gateway/upstream/retry_budget.h"
#include "http/client.h"
#include "io/dns.h"
#include "io/tls.h"
#include "io/wait_queue.h"
#include "snapshot/release.h"

struct dm_circuit_table;
struct dm_uconcurrency;
struct dm_upstream;
struct dm_upstream_request;
struct dm_upstream_share;
struct dm_tenant_counters;
struct dm_health_table;
struct dm_vault;

/* What upstreams of one worker share; borrowed. */
struct dm_upstream_env {
    struct dm_loop *loop;
    struct dm_dns *dns;
    struct dm_http_client *client;
    struct dm_tls_trust **system_trust; /* the system's CA certificates; read when the first backend needs them */
    const struct dm_counter_pages *pages;
    uint32_t connections_max; /* of this worker; a tenant without a cap of its own has a share of it (caps.h) */
    /* Of health checks; NULL: none are made. */
    struct dm_health_table *health;
    struct dm_http_client *check_client; /* with the handlers below */
    struct dm_vault *const *vault;       /* the worker's, which opens keys of certificates that backends are shown */
    struct dm_circuit_table *circuits;   /* what all workers know of circuits; NULL: this one is alone */
    unsigned n_workers;                  /* of the gateway; 0: one */
};

/* What the upstreams of one tenant share; outlives them. */
struct dm_upstream_share {
    struct dm_str tenant; /* its name; borrowed */
    uint64_t tenant_id;
    const struct dm_unit *grants; /* borrowed; NULL: none. dm_upstream_recheck() follows each change */
    /* As that of a wish, for checks; may be NULL. */
    bool (*find_certificate)(struct dm_upstream_share *share, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len);
    uint32_t n_checks;      /* in hand */
    uint64_t told_until_ns; /* lines of the log about its backends, in this second */
    uint32_t n_told, n_untold;
    struct dm_tenant_counters *counters;
    struct dm_flow *flow;                      /* whose work its connections are; NULL: of whoever runs */
    uint32_t connections_max;                  /* of the tenant, in all workers together; 0: there is no such cap */
    uint32_t connections_usual;                /* and then it has so many in this worker */
    struct dm_upstream *first;                 /* those that there are */
    uint32_t n_kept;                           /* connections that got free and were waited for */
    struct dm_wait_queue waiting;              /* the tenant's requests that wait for a connection (admission.h) */
    const struct dm_wait_handler *at_backends; /* of those that wait for a place at a backend; NULL: none does */
    size_t n_at_backends;
};

/* Has one reference. The unit may go; what is needed is copied (with dm_upstream_set). */
struct dm_upstream *dm_upstream_new(const struct dm_upstream_env *env, const struct dm_unit *release,
                                    const struct dm_ubackend *backend, struct dm_upstream_share *share);
struct dm_upstream *dm_upstream_ref(struct dm_upstream *upstream);
void dm_upstream_unref(struct dm_upstream *upstream);
/* Same id and endpoints? */
bool dm_upstream_is_same(const struct dm_upstream *upstream, const struct dm_unit *release,
                         const struct dm_ubackend *backend);

/* What a release may change without another upstream taking the place of this one. */
void dm_upstream_set(struct dm_upstream *upstream, const struct dm_unit *release, const struct dm_ubackend *backend);

/* --- containment (circuit.c): what exchanges come to, so that a backend that fails is left alone; U6 ---------------------------- */

/* Is it open, and not due to be tried? Then *ret_retry_s says when to ask again. */
bool dm_upstream_is_shut(struct dm_upstream *upstream, uint64_t *ret_retry_s);
/* Before the first try. False: *ret_retry_s says when to ask again. Otherwise one of the four below follows. */
bool dm_upstream_admit(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint64_t *ret_retry_s);
/* The answer begins, so long after the request; took_ns 0: not known. Then whole, or cut, or drop follows. */
void dm_upstream_answered(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint32_t endpoint,
                          unsigned status, uint64_t took_ns);
/* There was none, or it broke off: the exchange has no further try. answered_ns: when it began; 0: never. */
void dm_upstream_broken(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint32_t endpoint,
                        uint64_t answered_ns);
/* It ended as it should and with a status of its own (gRPC's trailers), which is given as one of HTTP; whole follows. */
void dm_upstream_ended(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint32_t endpoint,
                       unsigned status, uint64_t answered_ns);
void dm_upstream_whole(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket, uint32_t endpoint);
/* It says nothing of the backend: its caller, or the gateway, ended it. */
void dm_upstream_drop(struct dm_upstream *upstream, struct dm_breaker_ticket *ticket);

/* Is there a place for one more call at a time (limiter.h)? dm_upstream_admit() takes it, and it is left with the head of the answer,
 * or without one. */
bool dm_upstream_has_place(struct dm_upstream *upstream);
/* Those that wait for one, in this worker. */
struct dm_wait_queue *dm_upstream_waiting(struct dm_upstream *upstream);
struct dm_upstream *dm_upstream_of_waiting(struct dm_wait_queue *queue);
struct dm_upstream_share *dm_upstream_share_of(const struct dm_upstream *upstream);

/* What is to be done every second: tells the other workers that this one is still at it. */
void dm_upstream_share_tend(struct dm_upstream_share *share);

/* May a request be sent again that the backend may have begun, or that found no connection? False, and counted: it has used up its
 * budget (retry_budget.h). */
bool dm_upstream_take_retry(struct dm_upstream *upstream);

/* --- connections -------------------------------------------------------------------------------------------------- */

/* A wish for a call on a connection, embedded in the exchange; zero it before the first use. */
struct dm_upstream_request {
    /* call: on a connection that is connected, connecting or was idle; set_user and send follow. NULL: reason says why not
     * (NO_ENDPOINT, BACKEND_UNRESOLVED, EGRESS_NOT_APPROVED, BACKEND_TLS with tls_reason, TENANT_OVER_CAP). endpoint: index, for dm_upstream_endpoint_failed. */
    void (*on_call)(struct dm_upstream_request *request, struct dm_http_call *call, enum dm_reason reason);
    struct dm_upstream *upstream; /* NULL when not waiting */
    const struct dm_unit *grants; /* borrowed for dm_upstream_get; read anew after a wait through current_grants */
    const struct dm_unit *(*current_grants)(struct dm_upstream_request *request);
    /* Finds chain (PEM, borrowed during the call) and key (PEM, memory of dm_secret_alloc() that the upstream frees) of the
     * certificate that the backend is shown; false: there is none such. May be NULL. */
    bool (*find_certificate)(struct dm_upstream_request *request, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len);
    uint32_t connect_ms;
    struct dm_http_timeouts timeouts;
    struct dm_dns_query query;
    uint64_t hash; /* of what requests to one endpoint have in common; with the method `hash` */
    uint32_t endpoint;
    enum dm_tls_reason
        tls_reason;    /* why TLS can't be spoken: no trusted CA, or our own certificate is missing or unfit */
    bool wants_fresh;  /* no idle connection (a second try) */
    bool is_in_flight; /* its call is counted at the endpoint: dm_upstream_left */
    bool is_check;     /* checks.h, K1 */
};

/* on_call is called before this returns, or later from the loop. Whoever asks has a reference on the upstream until then; on_call may let go of the last. */
void dm_upstream_get(struct dm_upstream *upstream, struct dm_upstream_request *request);
/* The call that on_call gave is over, or given up. */
void dm_upstream_left(struct dm_upstream *upstream, struct dm_upstream_request *request);
/* on_call will not come. */
void dm_upstream_cancel(struct dm_upstream_request *request);
/* U4. HARD: there was no connection. */
void dm_upstream_endpoint_failed(struct dm_upstream *upstream, uint32_t endpoint, enum dm_outlier_failure failure);
/* Would a call be had now, on a connection that is idle or on a new one (U5)? */
bool dm_upstream_has_room(const struct dm_upstream *upstream);
/* Of HTTP/2: is there a connection with room for a call? */
bool dm_upstream_stands_with_room(const struct dm_upstream *upstream);
/* Addresses that a request may be tried at, as far as they are known. */
size_t dm_upstream_targets(const struct dm_upstream *upstream);
/* What the Host field says for this endpoint; borrowed from the upstream. */
struct dm_str dm_upstream_authority(const struct dm_upstream *upstream, uint32_t endpoint);

/* The tenant's certificates have changed: connections of a backend that is shown one are made with what find_certificate gives
 * from here on, and the idle ones end. */
void dm_upstream_renew_tls(struct dm_upstream *upstream);
/* At its bound over all workers a tenant keeps nothing idle here, so that another worker has room: now and then. */
void dm_upstream_share_yield(struct dm_upstream_share *share);
/* U3: connections to addresses that the grants no longer hold end, behind the call in hand. grants NULL: all, and none is kept
 * idle from here on. */
void dm_upstream_recheck(struct dm_upstream *upstream, const struct dm_unit *grants);
/* Of the client whose connections upstreams own. */
extern const struct dm_http_peer_handler dm_upstream_peer_handler;
/* Of the client that makes checks (check_call.c). */
extern const struct dm_http_peer_handler dm_upstream_check_peer_handler;
extern const struct dm_http_call_handler dm_upstream_check_handler;

#endif
