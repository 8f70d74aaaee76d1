/* One request to the API while it is worked on: what was asked, who asks, and the answer as it grows. It lives on a pool
 * thread from the moment its body is complete until its answer is; the event loop owns it before and after. */
#ifndef DM_CONTROL_API_CALL_H
#define DM_CONTROL_API_CALL_H

#include "control/store/units.h"
#include "control/tenancy/write.h"
#include "base/arena.h"
#include "base/jsonw.h"
#include "model/circuit.h"

struct dm_fleet;
struct dm_keyring;
struct dm_metrics;
struct dm_route;

#define DM_CALL_PARAMS_MAX 4
#define DM_CALL_ARENA_BYTES (256u << 20)
#define DM_CALL_REPLY_MAX (64u << 20)

/* What all calls share. */
struct dm_api {
    struct dm_store *store;
    const struct dm_keyring *keyring;
    struct dm_fleet *fleet;
    struct dm_metrics *metrics;
    size_t bodies_max_bytes; /* of all requests in hand together; 0 = 256 MiB */
};

struct dm_call {
    const struct dm_api *api;
    const struct dm_route *route;
    struct dm_arena arena;
    struct dm_caller caller;

    /* what was asked; the strings lie in the arena */
    struct dm_str method, path, query, request_id;
    struct dm_str authorization, if_match, if_none_match, idempotency_key, content_type;
    struct dm_str params[DM_CALL_PARAMS_MAX]; /* what stood for {…} in the route's path, in its order */
    struct dm_str body;

    /* the answer */
    unsigned status;
    struct dm_buf fields; /* whole lines */
    struct dm_buf reply;
    const char *reply_type;
    struct dm_failure failure;

    /* what became new on gateways */
    struct dm_unit_row units[DM_UNIT_KINDS];
    size_t n_units;
    struct dm_circuit_hold hold; /* what is to be told to gateways */
    bool has_hold;
    struct dm_str gone_gateway; /* that the fleet is to forget; "" = none */
    bool wants_live;            /* ?wait=live */
    struct dm_str live_tenant;  /* whose units to wait for: the one in the path, or that the handler names */
    uint32_t live_timeout_ms;
};

void dm_call_init(struct dm_call *call, const struct dm_api *api);
void dm_call_done(struct dm_call *call);

/* Authenticates, checks the right and runs the route's handler: afterwards status, fields and reply are the answer. Any
 * thread. */
void dm_call_run(struct dm_call *call);

/* --- for handlers: each returns negative after it has filled call->failure -------------------------------------- */

/* A query argument, decoded; DM_STR_NULL when it is not there. */
struct dm_str dm_call_query(struct dm_call *call, const char *name);
DM_MUST_USE int dm_call_query_u64(struct dm_call *call, const char *name, uint64_t min, uint64_t max,
                                  uint64_t otherwise, uint64_t *ret);
DM_MUST_USE int dm_call_query_bool(struct dm_call *call, const char *name, bool *ret);
/* The body as a JSON object; the caller frees it. */
DM_MUST_USE int dm_call_json(struct dm_call *call, struct dm_json **ret);
DM_MUST_USE int dm_call_precondition(struct dm_call *call, struct dm_precondition *ret);

DM_MUST_USE int dm_call_begin_read(struct dm_call *call, struct dm_txn **ret);
/* The first parameter as a tenant. */
DM_MUST_USE int dm_call_open_tenant(struct dm_call *call, struct dm_txn *txn, struct dm_tenant_handle **ret);
/* The token must stand still. 1 = the idempotency key was used before and the answer is there: the handler returns at once. */
DM_MUST_USE int dm_call_begin_write(struct dm_call *call, struct dm_write *write);
/* The answer must be complete: it is kept under the idempotency key in the same transaction. */
DM_MUST_USE int dm_call_commit(struct dm_call *call, struct dm_write *write);
int dm_call_fail(struct dm_call *call, const struct dm_err *err);

void dm_call_field(struct dm_call *call, const char *name, const char *fmt, ...) DM_PRINTF(3, 4);
void dm_call_etag(struct dm_call *call, int64_t version);
/* Starts a JSON answer. */
struct dm_jsonw dm_call_answer(struct dm_call *call, unsigned status);

#endif
