/* An exchange: one request and its response, from the head of the request until both sides are through. The only long-lived
 * object of the path; its arena holds all that must outlive the callback in which it arrived.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_EXCHANGE_H
#define DM_GATEWAY_EXCHANGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "gateway/limit/limit.h"
#include "gateway/tenant.h"
#include "gateway/upstream/upstream.h"
#include "http/server.h"
#include "model/credential.h"
#include "snapshot/applications.h"
#include "snapshot/release.h"

struct dm_worker;
struct dm_admission;
struct dm_encoders;
struct dm_exchange_timeout;
struct dm_turn;
struct dm_filter;
struct dm_grpc_deadline;
struct dm_throttle;
struct dm_tunnel;
struct dm_worker_listener;

#define DM_REQUEST_ID_LEN 32  /* of our own */
#define DM_REQUEST_ID_MAX 128 /* of a trusted front's */

struct dm_exchange {
    struct dm_arena arena;
    struct dm_worker *worker;
    const struct dm_worker_listener *listener; /* that the request came by */
    struct dm_http_request *caller;            /* NULL once the client's side is through */
    struct dm_http_call *call; /* NULL before there is a connection and once the backend's side is through */

    /* What was decided from the request's head. Pinned: release and applications. */
    struct dm_live_tenant *tenant;
    struct dm_live_release *release;
    struct dm_unit *applications;
    const struct dm_uproduct *product;
    const struct dm_uversion *version;
    const struct dm_uapplication *application;
    const struct dm_ubackend *backend;
    struct dm_upstream *upstream;

    /* The request. head is set during on_request only; the strings after it live in the arena. */
    struct dm_http_head *head;
    struct dm_str method, path;   /* path: normalised */
    struct dm_str rest;           /* of the path, below the version's */
    struct dm_str query;          /* as it is forwarded */
    const struct dm_addr *client; /* who asks, by the trust rule: the connection's peer, or in the arena */
    struct dm_addr peer;
    struct dm_http_message request;
    struct dm_upstream_request wish;
    struct dm_breaker_ticket ticket; /* of the backend's circuit: each end of the call says what came of it (U6) */
    struct dm_turn *turn;            /* of a front's request that waits for its tenant's (turn.h) */
    struct dm_admission *admission;  /* of a request that waits, or waited, above a cap (admission.h) */
    char *replay;                    /* what was taken of the body, as long as it may have to be sent again (E3) */
    struct dm_str request_trailers;
    struct dm_str websocket_key; /* of the client's, when the backend's connection proves otherwise (upgrade.h) */
    struct dm_str request_id;
    char own_id[DM_REQUEST_ID_LEN];

    uint64_t begun_ns, sent_ns, answered_ns;           /* loop time */
    uint64_t request_ended_ns;                         /* of one with a body; 0: not yet */
    uint64_t body_sent, replayed, bytes_in, bytes_out; /* replayed: of body_sent, on this call */
    struct dm_limit_verdict verdict;
    const struct dm_ucors *cors; /* of the version, when the request has an Origin */
    struct dm_str origin;
    const struct dm_ucompression *compression; /* of the version, when this response may be compressed */
    struct dm_filter *filter;                  /* of the response's body; NULL: none */
    struct dm_grpc_deadline *deadline;         /* of a gRPC call that has one (grpc_call.h) */
    struct dm_exchange_timeout *timeout;       /* of a backend that has one for all tries */
    struct dm_tunnel *tunnel;                  /* NULL: none */
    struct dm_throttle *throttle;              /* of a tenant with a bound, from its first body on (bandwidth.h) */
    unsigned status;
    uint8_t reason;       /* enum dm_reason */
    uint16_t tls_failure; /* io/tls.h, of the last connection to a backend that failed of it; 0: none */
    uint8_t fault;        /* enum dm_http_fault, when it is the reason */
    uint8_t tries;
    uint8_t coding; /* enum dm_ucoding: what the caller prefers of what compression offers */
    bool has_credential, is_preflight, has_request_ended, is_responding, is_answered, is_direct, may_replay;
    bool is_relay; /* its tenant's cell serves it (relay.h): nothing below the call is set */
    bool is_grpc;
    bool may_say_status;         /* of gRPC, in trailers: the response is one of gRPC's, and can have them */
    uint8_t grpc_status;         /* of the gateway's own answer, where more is known than the reason; 0: the reason's */
    bool is_secure;              /* the caller came by https, at the latest front that is trusted */
    bool is_redirect;            /* to https */
    struct dm_str hsts;          /* value of Strict-Transport-Security; in the arena */
    bool is_last;                /* it may pass no other hop */
    bool must_wait;              /* to be in flight, behind all decisions but the limits */
    bool is_load_known, is_shed; /* dm_turn_is_shed() */
};

/* A buffer for putting something together inside one function; empty. Whoever calls something that may use it too is done
 * with it first. */
struct dm_buf *dm_exchange_scratch(struct dm_exchange *ex);
/* The credential among the exchange's applications that this key proves, or NULL; as dm_credential_cache_find(). */
const struct dm_ucredential *dm_exchange_find_credential(struct dm_exchange *ex, enum dm_credential_type type,
                                                         struct dm_str key);
/* The worker's. */
struct dm_encoders *dm_exchange_encoders(struct dm_exchange *ex);
/* Of the certificate that the caller's connection showed, verified; both in memory of the connection. False: none. */
bool dm_exchange_certificate(const struct dm_exchange *ex, struct dm_str *ret_fingerprint, struct dm_str *ret_subject);
/* Unix time. */
uint64_t dm_exchange_wall_s(const struct dm_exchange *ex);

/* Of the response's body, to the client, as dm_http_request_write(); but no more than the tenant's bandwidth lets go on. */
size_t dm_exchange_write(struct dm_exchange *ex, const char *ptr, size_t len);

/* The deadline is over, from the loop: what is not answered yet is BACKEND_TIMEOUT, what is under way ends with gRPC's status where it
 * may, or is reset. The exchange may be gone when this returns. */
void dm_exchange_expire(struct dm_exchange *ex);

/* Callbacks of the servers (arg: the struct dm_worker_listener) and of the client of a worker. */
extern const struct dm_http_handler dm_exchange_handler;
extern const struct dm_http_call_handler dm_exchange_call_handler;

#endif
