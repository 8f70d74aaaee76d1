/* Connections to endpoints: who has them, who may have another, and what the client tells of them. */
#include "gateway/upstream/upstream_int.h"

#include "base/mem.h"
#include "gateway/observe/counter_pages.h"

#define KEPT_IN_A_ROW 8 /* connections for those that wait here, before one is left to other workers */
#define IDLE_MAX 1024   /* kept per endpoint */
#define CONNS_KEEP 64   /* records, for reuse */
#define PEER_AHEAD 256  /* bytes of a connection that a call begins with */

/* --- records ------------------------------------------------------------------------------------------------------ */

static struct dm_upstream_conn **list_of(struct dm_upstream_conn *c)
{
    return c->is_idle ? &c->endpoint->idle : &c->endpoint->busy;
}

static void unlink_conn(struct dm_upstream_conn *c)
{
    if (c->next)
        c->next->prev = c->prev;
    else if (c->is_idle)
        c->endpoint->idle_last = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        *list_of(c) = c->next;
    c->endpoint->n_idle -= c->is_idle;
}

/* At the top, or below all others. */
static void link_conn(struct dm_upstream_conn *c, bool is_idle, bool is_below)
{
    struct dm_upstream_conn **list;

    c->is_idle = is_idle;
    list = list_of(c);
    c->prev = is_below ? c->endpoint->idle_last : NULL;
    c->next = is_below ? NULL : *list;
    if (c->next)
        c->next->prev = c;
    else if (is_idle)
        c->endpoint->idle_last = c;
    if (c->prev)
        c->prev->next = c;
    else
        *list = c;
    c->endpoint->n_idle += is_idle;
}

void dm_upstream_conn_move(struct dm_upstream_conn *c, bool is_idle)
{
    unlink_conn(c);
    link_conn(c, is_idle, is_idle && !dm_http_peer_is_connected(c->peer));
}

struct dm_upstream_conn *dm_upstream_conn_new(struct dm_upstream_endpoint *e)
{
    struct dm_upstream_conn *c = e->spare;

    if (c) {
        e->spare = c->next;
        e->n_spare--;
    } else {
        c = dm_alloc(sizeof(*c));
    }
    *c = (struct dm_upstream_conn){.endpoint = e};
    link_conn(c, false, false);
    return c;
}

static void conn_free(struct dm_upstream_conn *c)
{
    struct dm_upstream_endpoint *e = c->endpoint;

    unlink_conn(c);
    if (e->n_spare >= CONNS_KEEP) {
        dm_free(c);
        return;
    }
    c->next = e->spare;
    e->spare = c;
    e->n_spare++;
}

void dm_upstream_conn_close(struct dm_upstream_conn *c)
{
    struct dm_http_peer *peer = c->peer;

    conn_free(c);
    dm_http_peer_close(peer);
}

/* --- calls on those that there are -------------------------------------------------------------------------------- */

/* A call on a connection of HTTP/2 with room, or NULL. A second try does not go to one that may be as stale as the first, but
 * to one that is new, so that all of a connection's calls meet again on one other. */
static struct dm_http_call *open_among(struct dm_upstream_endpoint *e, const struct dm_upstream_request *r)
{
    struct dm_http_call *call = NULL;

    for (struct dm_upstream_conn *c = e->idle, *next; c && !call; c = next) {
        next = c->next;
        if (r->wants_fresh && !dm_http_peer_is_new(c->peer))
            continue;
        call = dm_http_peer_open(c->peer, &r->timeouts);
        if (!dm_http_peer_has_room(c->peer))
            dm_upstream_conn_move(c, false);
    }
    return call;
}

static struct dm_http_call *open_idle(struct dm_upstream_endpoint *e, const struct dm_upstream_request *r)
{
    struct dm_upstream_conn *c = e->idle;

    if (DM_UNLIKELY(e->upstream->is_http2))
        return open_among(e, r);
    if (r->wants_fresh)
        return NULL;
    dm_upstream_conn_move(c, false);
    if (e->idle)
        dm_prefetch(e->idle->peer, 0, PEER_AHEAD); /* for the request that comes next */
    return dm_http_peer_open(c->peer, &r->timeouts);
}

bool dm_upstream_take_idle(struct dm_upstream_endpoint *e, struct dm_upstream_request *r)
{
    struct dm_http_call *call = open_idle(e, r);

    if (!call)
        return false;
    e->upstream->counters->upstream_reuses++;
    dm_upstream_enter(e, r);
    r->on_call(r, call, DM_REASON_NONE);
    return true;
}

uint32_t dm_upstream_known_calls_max(struct dm_upstream_endpoint *e)
{
    const struct dm_upstream_conn *lists[] = {e->busy, e->idle};
    uint32_t n;

    for (size_t i = 0; i < DM_COUNT(lists); i++) {
        for (const struct dm_upstream_conn *c = lists[i]; c; c = c->next) {
            if ((n = dm_http_peer_calls_max(c->peer)) > 0) {
                e->calls_max = n;
                return n;
            }
        }
    }
    return e->calls_max;
}

/* --- how many ----------------------------------------------------------------------------------------------------- */

static bool is_full(const struct dm_upstream *u)
{
    uint64_t held = u->counters->upstream_connections;

    if (u->share->connections_max == 0)
        return held >= u->share->connections_usual;
    return held + dm_counter_pages_others(u->env.pages, u->counters,
                                          offsetof(struct dm_tenant_counters, upstream_connections)) >=
           u->share->connections_max;
}

/* The oldest, which is the last, or NULL; HTTP/2's idle ones may have calls in hand. */
static struct dm_upstream_conn *find_idle(const struct dm_upstream *u)
{
    struct dm_upstream_conn *found = NULL;

    for (uint32_t i = 0; i < u->n_endpoints && !found; i++)
        for (struct dm_upstream_conn *c = u->endpoints[i].idle; c; c = c->next)
            if (!dm_http_peer_has_calls(c->peer))
                found = c;
    return found;
}

static bool close_idle(struct dm_upstream *u)
{
    struct dm_upstream_conn *found = find_idle(u);

    if (found)
        dm_upstream_conn_close(found);
    return found != NULL;
}

bool dm_upstream_stands_with_room(const struct dm_upstream *u)
{
    for (uint32_t i = 0; u->is_http2 && i < u->n_endpoints; i++)
        if (u->endpoints[i].idle)
            return true;
    return false;
}

bool dm_upstream_has_room(const struct dm_upstream *u)
{
    if (!is_full(u) || dm_upstream_stands_with_room(u))
        return true;
    for (const struct dm_upstream *at = u->share->first; at; at = at->next)
        if (find_idle(at))
            return true;
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
bool dm_upstream_make_room(struct dm_upstream *u)
{
    if (DM_LIKELY(!is_full(u)))
        return true;
    for (struct dm_upstream *at = u->share->first; at; at = at->next)
        if (close_idle(at))
            return true;
    return false;
}

/* --- of the client ------------------------------------------------------------------------------------------------ */

/* Does somebody here wait for it? Of several in a row one is for the other workers still. */
static bool is_waited_for(struct dm_upstream_share *share)
{
    return share->waiting.first && ++share->n_kept % KEPT_IN_A_ROW != 0;
}

/* Of a tenant with a cap. */
static void keep_or_yield(struct dm_upstream_conn *c)
{
    struct dm_upstream *u = c->endpoint->upstream;

    if (!dm_http_peer_has_calls(c->peer) && must_yield(u) && !is_waited_for(u->share))
        dm_upstream_conn_close(c);
    else if (!c->is_idle)
        dm_upstream_conn_move(c, true);
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    struct dm_upstream_conn *c = owner;
    struct dm_wait_queue *waiting = &c->endpoint->upstream->share->waiting;

    (void)peer;
    if (DM_UNLIKELY(c->endpoint->upstream->is_retired || c->endpoint->n_idle >= IDLE_MAX))
        dm_upstream_conn_close(c);
    else if (DM_UNLIKELY(c->endpoint->upstream->share->connections_max > 0))
        keep_or_yield(c);
    else if (!c->is_idle)
        dm_upstream_conn_move(c, true);
    dm_wait_queue_room(waiting);
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    struct dm_upstream_conn *c = owner;

    (void)peer; /* the client's */
    dm_wait_queue_room(&c->endpoint->upstream->share->waiting);
    conn_free(c);
}

const struct dm_http_peer_handler dm_upstream_peer_handler = {on_room, on_end};
