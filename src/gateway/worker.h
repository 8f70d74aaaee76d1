/* A worker: one process, one loop, one core. Accepts on the sockets that the keeper gives, runs exchanges, knows units and
 * never documents.
 *
 * States:  starting --[SYNCED from the keeper]--> serving --[DRAIN]--> draining --[no connections, or time]--> exit
 *          Draining: what waits in its sockets is accepted, then they are let go; each connection ends with its next answer.
 *          In serving and draining the keeper may be gone; the worker reconnects and serves on (worker_link.h, W1).
 *
 * Memory: objects of the path come from the worker's free lists and chunk pool; in steady state the system allocator is not
 * called. Threads: one. */
#ifndef DM_GATEWAY_WORKER_H
#define DM_GATEWAY_WORKER_H

#include "base/freelist.h"
#include "gateway/credential_cache.h"
#include "gateway/exchange.h"
#include "gateway/limit/limit.h"
#include "gateway/observe/access_log.h"
#include "gateway/observe/counter_pages.h"
#include "gateway/observe/usage.h"
#include "gateway/process/options.h"
#include "gateway/policy/encoder.h"
#include "gateway/route.h"
#include "gateway/circuit/table.h"
#include "gateway/upstream/health_table.h"
#include "http/serialize.h"
#include "io/dns.h"

struct dm_lobby;

/* One of the options' listeners and the server of its connections: what the exchanges' callbacks get as their arg. */
struct dm_worker_listener {
    struct dm_worker *worker;
    const struct dm_listener_spec *spec;
    struct dm_http_server *server;
    struct dm_listener_counters *counters;
    struct dm_lobby *lobby; /* NULL: it has none (entrance.h) */
};

struct dm_worker {
    struct dm_loop *loop;
    const struct dm_gateway_options *options;
    struct dm_worker_listener listeners[DM_LISTENERS_MAX]; /* as in the options */
    size_t n_listeners;
    struct dm_flow lobby;    /* connections that are nobody's, or nobody's yet */
    uint64_t lobby_delay_ns; /* the longest that its work waited, since the counters were written */
    struct dm_http_client *client;
    struct dm_http_client *check_client; /* of health checks */
    struct dm_health_table health;       /* of all workers */
    struct dm_cell_gate *gates;          /* of tenants that have a cell; cell_gate.h */
    struct dm_http_client *relays;       /* with the first of them */
    struct dm_http_head *look_head;
    struct dm_tls_trust *system_trust; /* NULL: not needed yet */
    struct dm_upstream_env upstream_env;
    struct dm_circuit_table circuits; /* of all workers; no page: this one is alone */
    struct dm_routes routes;
    struct dm_map tenants; /* name -> struct dm_live_tenant, one reference each */
    struct dm_limits limits;
    struct dm_counters_page *counters;
    struct dm_counter_pages pages;
    uint32_t
        held_max; /* exchanges, and connections to backends, of which each tenant may have its share (caps.h, K7) */
    struct dm_access_log log;
    struct dm_usage_table usage;
    struct dm_usage matched; /* of the request in hand */
    struct dm_credential_cache *credentials;
    struct dm_encoders *encoders;
    struct dm_vault *vault;           /* owned; NULL: no sealed key opens */
    struct dm_tls_acceptor *acceptor; /* of all listeners with TLS */
    struct dm_freelist exchanges, connections, tunnels, turns, throttles;
    struct dm_chunk_pool chunks;
    struct dm_buf scratch, answer;
    uint64_t wall_offset_ns; /* wall clock - loop clock, refreshed every second */
    uint64_t date_s;         /* second that date_text is for */
    char date_text[DM_HTTP_DATE_LEN];
    char id_prefix[DM_REQUEST_ID_LEN / 2]; /* of request ids, drawn at start */
    uint64_t id_count, id_secret[2];
    size_t n_exchanges;
};

/* The role `worker` of daemun-gateway; returns the exit code. */
int dm_worker_main(const struct dm_gateway_options *options);

/* Makes what exchanges need, without listeners and keeper. For dm_worker_main and tests. counters: zeroed or shared. */
DM_MUST_USE int dm_worker_init(struct dm_worker *worker, struct dm_sys *sys, const struct dm_gateway_options *options,
                               struct dm_counters_page *counters, const char *limits_path, struct dm_err *err);
/* Backends' endpoints are checked from here on, by one of the workers that share the pages at path. Before the first unit. */
DM_MUST_USE int dm_worker_share_health(struct dm_worker *worker, const char *path, struct dm_err *err);
void dm_worker_done(struct dm_worker *worker);
/* Takes over a descriptor that was accepted at the listener's address. */
void dm_worker_listener_accept(const struct dm_worker_listener *listener, int fd, const struct dm_addr *peer);
/* Client connections open, of all listeners. */
size_t dm_worker_connections(const struct dm_worker *worker);
/* Takes no more connections and ends those that there are, as dm_http_server_drain(). */
void dm_worker_drain(struct dm_worker *worker);
/* Clients between requests are not waited for any longer. */
void dm_worker_drain_end(struct dm_worker *worker);
/* What is known of circuits is shared with the workers that have the same pages. Before any unit is applied. */
DM_MUST_USE int dm_worker_share_circuits(struct dm_worker *worker, const char *path, struct dm_err *err);
/* Every second: tells them that this one is still at it. */
void dm_worker_tend_circuits(struct dm_worker *worker);
/* Every second: finds the counters of workers that have started lately, for the caps of tenants, and leaves them room (U5). */
void dm_worker_look_at_others(struct dm_worker *worker);
/* Ends all that is in hand, as politely as its protocol lets us: what has no answer yet gets one, gRPC its status, tunnels their
 * protocol's goodbye, and the rest is cut so that clients see it. On its way some turns of the loop later; dm_worker_done() does it
 * too, but waits for nothing. */
void dm_worker_end_exchanges(struct dm_worker *worker);
/* Takes over the unit (one reference), also on failure. An older or equal mark than the live one is dropped: 0. Domains whose
 * keys do not open are not applied, and the former ones serve on: DM_EAGAIN when the data key may come yet, or DM_ECORRUPT.
 * counter_slot: of the tenant. */
DM_MUST_USE int dm_worker_apply(struct dm_worker *worker, struct dm_unit *unit, uint32_t counter_slot,
                                struct dm_err *err);
/* The tenant has a cell behind this gate (cell_gate.h): from here on it is served there, and of its units only the grants are kept. NULL:
 * it has none any more. */
void dm_worker_set_cell(struct dm_worker *worker, struct dm_str name, struct dm_cell_gate *gate);
void dm_worker_remove(struct dm_worker *worker, struct dm_str name, enum dm_unit_kind kind, struct dm_mark mark);

/* What dm_exchange_scratch gives. */
static inline struct dm_buf *dm_worker_scratch(struct dm_worker *worker)
{
    dm_buf_reset(&worker->scratch);
    return &worker->scratch;
}

static inline uint64_t dm_worker_wall_ns(const struct dm_worker *worker)
{
    return dm_loop_now_ns(worker->loop) + worker->wall_offset_ns;
}

/* A request id of our own, unique among all workers. It does not tell how many there were: that is other tenants' traffic. */
void dm_worker_next_id(struct dm_worker *worker, char ret[DM_REQUEST_ID_LEN]);

/* The Date field's value for this second; DM_HTTP_DATE_LEN bytes. */
struct dm_str dm_worker_date(struct dm_worker *worker);

#endif
