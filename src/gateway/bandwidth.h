/* The bandwidth of a tenant: how many bytes a second its clients send and get, of all its exchanges and workers together.
 *
 * B1. A body goes on only as far as there is room in its direction's bucket; the rest stays unread where it came from, so that whoever
 *     sends it has to wait (back-pressure). Nothing is gathered here, and nothing dropped. Tunnels and HTTP/2 are no different.
 * B2. The bucket lies in pages that all workers share (limit/table.h) and holds a quarter of a second, at least 64 KiB. A worker takes
 *     from it in pieces, so what passes is exact but for what a worker has taken and not used: at most a piece of each exchange.
 * B3. Who finds no room waits in the tenant's queue, first in, first out, and gets a piece when its turn comes: so the tenant's exchanges
 *     share its bandwidth in turns, whatever each of them has to send. Nobody passes those that wait.
 * B4. What is no body (heads, framing, the gateway's own answers) never waits, and is paid for afterwards: the next bodies wait for it,
 *     up to what the bucket holds.
 * B5. Time in which a body waits here is nobody's slowness: neither the client's pace nor the backend's times run.
 *
 * Cost: a test of a pointer for each piece of a body of a tenant without a bound. Threads: the worker's. */
#ifndef DM_GATEWAY_BANDWIDTH_H
#define DM_GATEWAY_BANDWIDTH_H

#include "gateway/exchange.h"

enum dm_bandwidth_way { DM_BANDWIDTH_IN, DM_BANDWIDTH_OUT, DM_BANDWIDTH_WAYS };

struct dm_bandwidth;

#define DM_THROTTLE_BYTES 256 /* of what an exchange needs for it, at most */

/* Bytes a second; 0: no bound. From here on, also of what waits. */
void dm_bandwidth_set(struct dm_live_tenant *tenant, uint64_t in_bytes, uint64_t out_bytes);
/* Nothing of the tenant is in hand any more. */
void dm_bandwidth_free(struct dm_live_tenant *tenant);

/* Of a tenant that has, or had, a bound. Returns how many were taken; if fewer than len, the exchange is told later, as when the other
 * side takes no more: dm_http_request_resume(), or dm_exchange_resume_response(). */
size_t dm_bandwidth_pass(struct dm_exchange *ex, enum dm_bandwidth_way way, const char *ptr, size_t len);
/* The client's side is through: what was no body is paid for. */
void dm_bandwidth_end(struct dm_exchange *ex);

/* What came of a request's body, to its backend. */
static inline size_t dm_bandwidth_to_backend(struct dm_exchange *ex, const char *ptr, size_t len)
{
    if (DM_LIKELY(ex->tenant->bandwidth == NULL))
        return dm_http_call_write(ex->call, ptr, len);
    return dm_bandwidth_pass(ex, DM_BANDWIDTH_IN, ptr, len);
}

/* A response's body, to the client. */
static inline size_t dm_bandwidth_to_client(struct dm_exchange *ex, const char *ptr, size_t len)
{
    if (DM_LIKELY(ex->tenant->bandwidth == NULL))
        return dm_http_request_write(ex->caller, ptr, len);
    return dm_bandwidth_pass(ex, DM_BANDWIDTH_OUT, ptr, len);
}

#endif
