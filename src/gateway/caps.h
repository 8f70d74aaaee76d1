/* The caps of a tenant: how much of the gateway it may hold, and what one request or connection of its may take.
 *
 * K1. A cap allows nothing that the listener does not. One that is 0 is the listener's, or what is derived from it.
 * K2. connections, exchanges, upstream_connections and buffered_bytes hold for all workers of the gateway together. Two workers that take at the same
 *     time, or within one turn, may pass a cap by what they took meanwhile. Without a cap a tenant may have, in each worker, its share (K7)
 *     of the connections of the listener, and of those of all listeners (at least a thousand) as exchanges and as connections to
 *     backends: the rest is the others' (P1).
 * K3. connections and streams, idle and head timeouts are a connection's: they hold from where it becomes the tenant's on, as they were then.
 *     The others are a request's, also on connections that are nobody's.
 *     Above exchanges and upstream_connections requests wait first (admission.h); those that wait to be in flight are not.
 * K4. Each refusal is counted by its cap.
 * K5. buffered_bytes stops what begins, not what goes on: each of a tenant's exchanges holds at most what its two sides' queues and
 *     windows take, so together with `exchanges` it is a bound. What connections of trusted fronts hold is nobody's.
 *
 * K6. handshakes is a bucket in pages that all workers share, exact over all: it holds what a second brings. A resumption counts as much
 *     as another one: with TLS 1.3 it costs four fifths of it, and what a ClientHello offers is not known to be any good before that.
 *
 * K7. A tenant's share of a bound is 3w / (3w + 100) of it, where w is its weight: three quarters with the usual 100, and never all.
 *
 * Cost: a comparison for each request of a tenant without caps. Threads: the worker's. */
#ifndef DM_GATEWAY_CAPS_H
#define DM_GATEWAY_CAPS_H

#include "gateway/exchange.h"
#include "gateway/observe/counters.h"

/* What is derived from the listeners of the worker. */
void dm_caps_init(struct dm_worker *worker);
/* The tenant's grants, or none, are others now. */
void dm_caps_set(struct dm_live_tenant *tenant);

/* May one more handshake begin for the tenant? Then it is counted. */
bool dm_caps_take_handshake(struct dm_worker *worker, struct dm_live_tenant *tenant);
/* May one more connection be the tenant's? Then it is counted, until it is given back. */
bool dm_caps_take_connection(const struct dm_worker_listener *listener, struct dm_live_tenant *tenant);
void dm_caps_give_connection(struct dm_live_tenant *tenant);
/* K3, of a connection that was taken. */
void dm_caps_bound_connection(const struct dm_worker_listener *listener, const struct dm_live_tenant *tenant,
                              struct dm_http_conn *conn);

/* Holds a request, whose tenant is known and which is in flight, against the caps: NONE; or TENANT_OVER_CAP, URI_TOO_LONG,
 * HEADER_TOO_LARGE, BODY_TOO_LARGE. Bounds its body. NONE with ex->must_wait: it waits before it goes on. */
static inline enum dm_reason dm_caps_enter(struct dm_exchange *ex);
/* Is there room in flight for one that waits? */
bool dm_caps_has_room(const struct dm_exchange *ex);
/* The body turned out to be too large. */
void dm_caps_count_too_large(const struct dm_exchange *ex);

/* dm_caps_enter, of tenants with caps or many exchanges. */
enum dm_reason dm_caps_check(struct dm_exchange *ex);

static inline enum dm_reason dm_caps_enter(struct dm_exchange *ex)
{
    const struct dm_tenant_counters *counters = ex->tenant->counters;

    if (DM_LIKELY(counters->exchanges_begun - counters->exchanges_ended <= ex->tenant->free_exchanges))
        return DM_REASON_NONE;
    return dm_caps_check(ex);
}

#endif
