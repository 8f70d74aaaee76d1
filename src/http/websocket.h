/* WebSocket (RFC 6455), as much as a tunnel must know to say goodbye in it: where frames end, and the close frame. Messages and
 * payloads are nobody's business here.
 *
 * A frame of our own may stand between two others, also inside a message that comes in fragments (section 5.4), and nothing may
 * stand behind a close frame (section 5.5.1). What can't be a frame makes the walk lost, for good. */
#ifndef DM_HTTP_WEBSOCKET_H
#define DM_HTTP_WEBSOCKET_H

#include "base/str.h"

#define DM_WEBSOCKET_GOING_AWAY 1001u /* section 7.4.1 */
#define DM_WEBSOCKET_MASK_BYTES 4
#define DM_WEBSOCKET_TEXT_MAX 123                                                        /* of a close frame */
#define DM_WEBSOCKET_CLOSE_MAX (2 + DM_WEBSOCKET_MASK_BYTES + 2 + DM_WEBSOCKET_TEXT_MAX) /* bytes of one */

/* Over one direction; zeroed at its begin. */
struct dm_websocket_walk {
    uint64_t left;    /* of the payload; while its head comes, what is known of the length */
    uint8_t head_at;  /* bytes of a head that have come; 0: none */
    uint8_t head_len; /* known from the second one on */
    uint8_t length_len, opcode;
    bool is_lost, has_closed; /* closed: a close frame has begun */
};

/* These bytes went by. Costs a look at each frame's head. */
void dm_websocket_walk_on(struct dm_websocket_walk *walk, const char *ptr, size_t len);
/* May a close frame stand here? */
bool dm_websocket_walk_may_close(const struct dm_websocket_walk *walk);

/* A whole close frame; returns its length. text: UTF-8 of at most TEXT_MAX bytes, more is left out whole. mask: drawn at random, of
 * one that goes to a server (section 5.3); NULL: to a client. */
size_t dm_websocket_close(unsigned code, struct dm_str text, const uint8_t mask[DM_WEBSOCKET_MASK_BYTES],
                          char ret[DM_WEBSOCKET_CLOSE_MAX]);

#endif
