/* Requests of trusted fronts' connections, which are read in the lobby's turn: what they cost from there on is their tenant's, and waits for its
 * turn when it has others to do, or owes. Until then the exchange has a copy of the head, belongs to no tenant, and takes no body.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_TURN_H
#define DM_GATEWAY_TURN_H

#include "gateway/exchange.h"
#include "gateway/tenant.h"

struct dm_turn {
    struct dm_task task;
    struct dm_exchange *ex;
    struct dm_live_tenant *tenant; /* whose turn it is to be; one reference */
    struct dm_arena arena;
    struct dm_http_head head;
    struct dm_http_head *trailers; /* NULL: none */
};

/* Is the request refused because its tenant has too much to do (io/overload.h)? Asked once of each: before it waits for its turn, or else when
 * it is decided. */
static inline bool dm_turn_is_shed(struct dm_exchange *ex, struct dm_live_tenant *tenant);
/* Trailers came before its turn: kept for dm_turn_trailers(). Negative: there is no room for them. */
DM_MUST_USE int dm_turn_keep_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers);
/* Those that were kept; NULL: none. */
static inline const struct dm_http_head *dm_turn_trailers(const struct dm_exchange *ex);
/* Does the request wait for its tenant's turn? Then dm_exchange_decide() comes there. */
bool dm_turn_wait(struct dm_exchange *ex);
/* It waits no longer, and its head goes. Nothing for one that never waited. */
void dm_turn_leave(struct dm_exchange *ex);

static inline bool dm_turn_is_shed(struct dm_exchange *ex, struct dm_live_tenant *tenant)
{
    if (DM_UNLIKELY(ex->is_load_known))
        return ex->is_shed;
    ex->is_load_known = true;
    ex->is_shed = dm_overload_refuses(&tenant->flow.overload, ex->begun_ns);
    return ex->is_shed;
}

static inline const struct dm_http_head *dm_turn_trailers(const struct dm_exchange *ex)
{
    return DM_UNLIKELY(ex->turn != NULL) ? ex->turn->trailers : NULL;
}

#endif
