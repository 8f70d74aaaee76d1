#include "gateway/tunnel.h"

#include "gateway/exchange.h"
#include "gateway/worker.h"

/* --- V1 ----------------------------------------------------------------------------------------------------------- */

static bool keep_str(struct dm_buf *kept, struct dm_str *s)
{
    size_t at = kept->len;

    dm_buf_add(kept, *s);
    if (kept->failed)
        return false;
    s->ptr = kept->ptr + at;
    return true;
}

/* Behind a trusted front it lies in the arena. Who stood before the client is not asked for again. */
static void keep_client(struct dm_exchange *ex)
{
    if (ex->client == &ex->peer)
        return;
    ex->peer = *ex->client;
    ex->client = &ex->peer;
}

/* Nothing else of the exchange is asked for behind an answer that opened a tunnel. */
static void forget(struct dm_exchange *ex)
{
    struct dm_str protocol = ex->request.protocol;

    memset(&ex->request, 0, sizeof(ex->request));
    ex->request.protocol = protocol;
    ex->rest = ex->query = ex->request_trailers = ex->websocket_key = ex->origin = ex->hsts = DM_STR_NULL;
    ex->replay = NULL;
    ex->may_replay = false;
    dm_arena_reset(&ex->arena);
}

static void keep(struct dm_exchange *ex, struct dm_tunnel *tunnel)
{
    struct dm_exchange moved = *ex;
    struct dm_buf kept;

    dm_buf_init_fixed(&kept, tunnel->text, sizeof(tunnel->text));
    if (!keep_str(&kept, &moved.method) || !keep_str(&kept, &moved.path) || !keep_str(&kept, &moved.request.protocol) ||
        !keep_str(&kept, &moved.request_id))
        return;
    keep_client(ex);
    ex->method = moved.method;
    ex->path = moved.path;
    ex->request.protocol = moved.request.protocol;
    ex->request_id = moved.request_id;
    forget(ex);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void dm_tunnel_begin(struct dm_exchange *ex)
{
    struct dm_tunnel *tunnel = dm_freelist_take(&ex->worker->tunnels);

    memset(tunnel, 0, offsetof(struct dm_tunnel, text));
    tunnel->is_websocket = dm_str_ieq(ex->request.protocol, DM_STR("websocket"));
    ex->tunnel = tunnel;
    ex->tenant->counters->tunnels_begun++;
    keep(ex, tunnel);
}

void dm_tunnel_free(struct dm_exchange *ex)
{
    if (ex->tunnel)
        dm_freelist_give(&ex->worker->tunnels, ex->tunnel);
    ex->tunnel = NULL;
}

/* --- V2 ----------------------------------------------------------------------------------------------------------- */

struct dm_str dm_tunnel_goodbye(const struct dm_exchange *ex, enum dm_tunnel_side to, enum dm_reason reason,
                                char buf[DM_WEBSOCKET_CLOSE_MAX])
{
    struct dm_sys *sys = dm_loop_sys(ex->worker->loop);
    uint8_t mask[DM_WEBSOCKET_MASK_BYTES];
    size_t len;

    if (!ex->tunnel->is_websocket || !dm_websocket_walk_may_close(&ex->tunnel->to[to]))
        return DM_STR_NULL;
    if (to == DM_TUNNEL_BACKEND)
        sys->ops->random(sys, mask, sizeof(mask));
    len = dm_websocket_close(DM_WEBSOCKET_GOING_AWAY, dm_str_of(dm_reason_info(reason)->code),
                             to == DM_TUNNEL_BACKEND ? mask : NULL, buf);
    return dm_str_n(buf, len);
}
