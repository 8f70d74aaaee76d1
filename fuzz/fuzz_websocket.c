/* A walk over WebSocket's frames comes to the same place however the bytes are cut, and a close frame of ours where it lets one
 * stand ends it. */
#include <stdint.h>
#include <stdlib.h>

#include "http/websocket.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static bool is_same(const struct dm_websocket_walk *a, const struct dm_websocket_walk *b)
{
    if (a->is_lost || b->is_lost)
        return a->is_lost && b->is_lost;
    return a->left == b->left && a->head_at == b->head_at && a->has_closed == b->has_closed;
}

/* The first byte says how long the pieces are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_websocket_walk whole = {0}, pieces = {0};
    char frame[DM_WEBSOCKET_CLOSE_MAX];
    size_t step, at = 0;

    if (size < 1 + DM_WEBSOCKET_MASK_BYTES)
        return 0;
    step = data[0] + 1u;
    dm_websocket_walk_on(&whole, (const char *)data + 1, size - 1);
    for (const char *ptr = (const char *)data + 1; at < size - 1; at += DM_MIN(step, size - 1 - at))
        dm_websocket_walk_on(&pieces, ptr + at, DM_MIN(step, size - 1 - at));
    REQUIRE(is_same(&whole, &pieces));
    if (dm_websocket_walk_may_close(&whole)) {
        size_t len = dm_websocket_close(DM_WEBSOCKET_GOING_AWAY, dm_str_n((const char *)data, size), data + 1, frame);
        REQUIRE(len <= sizeof(frame));
        dm_websocket_walk_on(&whole, frame, len);
        REQUIRE(whole.has_closed && whole.left == 0 && whole.head_at == 0 && !whole.is_lost);
    }
    return 0;
}
