/* What a client may do to an HTTP/2 connection that costs us and brings it nothing, before the connection ends (GOAWAY,
 * ENHANCE_YOUR_CALM) and is counted under the name of the abuse.
 *
 * Each kind has a budget: so much at once, refilled by so much a second, and by the useful work that goes with it (a request that
 * went through, data that moved), so that a busy client is not taken for an attacker.
 *
 *   kind                what spends                                          also refilled by
 *   rapid_reset         RST_STREAM received                                  a request that went through; one that was being
 *                                                                            answered, or had waited for a quarter of a second
 *   made_you_reset      a stream that the client's frames made us reset
 *   settings_flood      SETTINGS
 *   ping_flood          PING                                                 a frame with data, either way
 *   empty_frames        DATA, CONTINUATION without a byte, unknown types
 *   priority_flood      PRIORITY, PRIORITY_UPDATE                            a request that went through
 *   window_stall        WINDOW_UPDATE; more: data that a tiny window cuts    a frame with data sent
 *
 * Not by budget: continuation_flood (more than DM_H2_CONTINUATIONS_MAX in a block), header_bomb (a block that unpacks to more than
 * DM_H2_BOMB_FACTOR times its limit; up to there 431 is answered). */
#ifndef DM_HTTP_H2_GUARD_H
#define DM_HTTP_H2_GUARD_H

#include "http/server.h"

enum { DM_H2_CONTINUATIONS_MAX = 8, DM_H2_BOMB_FACTOR = 4 };

enum dm_h2_abuse {
    DM_H2_RAPID_RESET,
    DM_H2_MADE_YOU_RESET,
    DM_H2_SETTINGS_FLOOD,
    DM_H2_PING_FLOOD,
    DM_H2_EMPTY_FRAMES,
    DM_H2_PRIORITY_FLOOD,
    DM_H2_WINDOW_STALL,
    DM_H2_BUDGETS, /* those above have one */
    DM_H2_CONTINUATION_FLOOD = DM_H2_BUDGETS,
    DM_H2_HEADER_BOMB,
};

struct dm_h2_guard {
    uint64_t refilled_ns;
    uint16_t left[DM_H2_BUDGETS];
};

void dm_h2_guard_init(struct dm_h2_guard *guard, uint64_t now_ns);
/* What time brings back; cheap enough for every read. */
void dm_h2_guard_refill(struct dm_h2_guard *guard, uint64_t now_ns);
/* False: the budget is used up. */
bool dm_h2_guard_spend(struct dm_h2_guard *guard, enum dm_h2_abuse abuse, unsigned n);
void dm_h2_guard_give(struct dm_h2_guard *guard, enum dm_h2_abuse abuse, unsigned n);
void dm_h2_guard_count(struct dm_http2_counters *counters, enum dm_h2_abuse abuse);

#endif
