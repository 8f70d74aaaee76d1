/* Health checks of an upstream's endpoints at work. Each worker looks at what is said of them (health_table.h), puts those that are
 * unwell out of turn, and makes the checks that nobody else has.
 *
 * K1. A check goes the way of requests: the endpoint's address (resolved anew), held against the present grants, with the backend's TLS and
 *     Host, as the tenant's work and among its connections; but on a connection of its own, which ends with it, so that it shows that
 *     one can be made, and takes none from a request.
 * K2. At most DM_CHECKS_MAX of a tenant are in hand in a worker, and one of an endpoint in all workers.
 * K3. None is made for a tenant that is suspended, has no grants, or whose release is another one; those in hand are given up.
 * K4. Failures: no connection, no whole answer in time, one that is malformed, cut, or has another status. What people have to mend, and
 *     what the gateway ends, says nothing, as for the circuit (U6).
 *
 *   a check    is in hand                                     ends by
 *   waiting    wish.upstream set: the name is resolved        on_call; its time
 *   asking     call set                                       on_done, on_abort; its time
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_UPSTREAM_CHECKS_H
#define DM_GATEWAY_UPSTREAM_CHECKS_H

#include "gateway/upstream/upstream_int.h"
#include "gateway/upstream/grpc_health.h"
#include "gateway/upstream/health_table.h"

#define DM_CHECKS_MAX 8

enum dm_check_verdict { DM_CHECK_FAILED, DM_CHECK_PASSED, DM_CHECK_SAYS_NOTHING, DM_CHECK_VERDICTS };

struct dm_check_settings {
    struct dm_health_settings thresholds;
    uint32_t interval_ms, timeout_ms;
    uint16_t status_min, status_max;
    uint8_t type;   /* enum dm_health_type */
    uint8_t method; /* enum dm_health_method */
};

/* Of one endpoint. */
struct dm_endpoint_check {
    struct dm_checks *checks;
    struct dm_upstream_endpoint *endpoint;
    uint64_t key; /* of its cell */
    struct dm_health seen;
    /* the check in hand */
    uint64_t lease_ns; /* 0: none */
    uint64_t begun_ns;
    struct dm_upstream_request wish;
    struct dm_http_call *call;
    struct dm_timer timer;
    unsigned status;
    uint64_t body_bytes;
    bool has_status_ok;   /* gRPC: grpc-status is 0 */
    size_t n_sent, n_got; /* gRPC: of the request; of the answer in `message` */
    char message[DM_GRPC_HEALTH_MAX];
};

struct dm_checks {
    struct dm_upstream *upstream;
    struct dm_check_settings settings;
    uint64_t key; /* of the settings */
    char *path, *service;
    struct dm_timer look;
    uint64_t n_draws;
    struct dm_endpoint_check items[]; /* as the upstream's endpoints */
};

/* check_call.c: one check. dm_check_end() follows, now or later, unless it is given up. */
void dm_check_ask(struct dm_endpoint_check *check);
void dm_check_give_up(struct dm_endpoint_check *check);

/* checks.c. cause: for the log; static storage. */
void dm_check_end(struct dm_endpoint_check *check, enum dm_check_verdict verdict, const char *cause);

#endif
