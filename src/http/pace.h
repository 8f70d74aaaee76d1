/* How fast a peer that is waited for moves bytes in one direction. A timer looks now and then; between looks it costs nothing.
 *
 * Only time in which the peer was waited for counts, and only what moved in it, so that it is never blamed for a slowness
 * of ours. A verdict is never early and at most two looks late. */
#ifndef DM_HTTP_PACE_H
#define DM_HTTP_PACE_H

#include "base/defs.h"

#define DM_HTTP_PACE_GRACE_MS 10000 /* the average counts from here on */

struct dm_http_pace {
    uint64_t bytes, looked_ns; /* the counter and the time of the last look */
    uint64_t moved, waited_ns; /* in sum */
    uint64_t still_ns;         /* since when nothing moved */
    bool is_waiting;           /* since the last look */
};

enum dm_http_pace_verdict { DM_HTTP_PACE_FINE, DM_HTTP_PACE_IDLE, DM_HTTP_PACE_SLOW };

/* Forgets everything; nobody is waited for. */
void dm_http_pace_reset(struct dm_http_pace *pace);
/* bytes is a counter that only grows; is_waiting holds from now on. Also to be called when that changes. */
void dm_http_pace_look(struct dm_http_pace *pace, uint64_t bytes, bool is_waiting, uint64_t now_ns);
/* At the last look. idle_ms 0, rate (bytes per second) 0: no such rule. */
enum dm_http_pace_verdict dm_http_pace_judge(const struct dm_http_pace *pace, uint32_t idle_ms, uint32_t rate);
/* How long until the next look. */
uint32_t dm_http_pace_period_ms(uint32_t idle_ms);

#endif
