/* What an exchange is once it has become a tunnel: raw bytes both ways until both sides have ended theirs, its time is over, or the
 * gateway goes.
 *
 * V1. The exchange's arena goes when the tunnel stands: what the line in the access log needs lies here. Where that is too much the
 *     arena stays as well.
 * V2. A tunnel that the gateway ends is told why in its own protocol, each direction for itself, where that lets us: WebSocket
 *     between two frames, with the code 1001 and the reason's code as text. Any other one ends as its connection does.
 * V3. Of what passes nothing is kept; WebSocket's frames are walked over to know where they end.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_TUNNEL_H
#define DM_GATEWAY_TUNNEL_H

#include "http/websocket.h"
#include "model/reason.h"

#define DM_TUNNEL_TEXT_BYTES 384

struct dm_exchange;

enum dm_tunnel_side { DM_TUNNEL_CLIENT, DM_TUNNEL_BACKEND };

struct dm_tunnel {
    struct dm_websocket_walk to[2]; /* by side */
    bool is_websocket;
    _Alignas(16) char text[DM_TUNNEL_TEXT_BYTES]; /* V1 */
};

/* The exchange's request has a protocol, and both sides agreed on it. Sets ex->tunnel. */
void dm_tunnel_begin(struct dm_exchange *ex);
void dm_tunnel_free(struct dm_exchange *ex);
/* These bytes went to that side. */
static inline void dm_tunnel_passed(struct dm_tunnel *tunnel, enum dm_tunnel_side to, const char *ptr, size_t len)
{
    if (tunnel->is_websocket)
        dm_websocket_walk_on(&tunnel->to[to], ptr, len);
}
/* The last bytes for that side, in buf; empty when there can be none (V2). */
struct dm_str dm_tunnel_goodbye(const struct dm_exchange *ex, enum dm_tunnel_side to, enum dm_reason reason,
                                char buf[DM_WEBSOCKET_CLOSE_MAX]);

#endif
