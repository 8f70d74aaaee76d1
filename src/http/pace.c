#include "http/pace.h"

#define PERIOD_MAX_MS 5000u
#define NS_PER_MS 1000000u

void dm_http_pace_reset(struct dm_http_pace *pace)
{
    pace->moved = pace->waited_ns = 0;
    pace->is_waiting = false;
}

void dm_http_pace_look(struct dm_http_pace *pace, uint64_t bytes, bool is_waiting, uint64_t now_ns)
{
    if (pace->is_waiting) {
        pace->moved += bytes - pace->bytes;
        pace->waited_ns += now_ns - pace->looked_ns;
    }
    if (!pace->is_waiting || bytes != pace->bytes)
        pace->still_ns = now_ns;
    pace->bytes = bytes;
    pace->looked_ns = now_ns;
    pace->is_waiting = is_waiting;
}

enum dm_http_pace_verdict dm_http_pace_judge(const struct dm_http_pace *pace, uint32_t idle_ms, uint32_t rate)
{
    uint64_t waited_ms = pace->waited_ns / NS_PER_MS;

    if (!pace->is_waiting)
        return DM_HTTP_PACE_FINE;
    if (idle_ms > 0 && pace->looked_ns - pace->still_ns >= (uint64_t)idle_ms * NS_PER_MS)
        return DM_HTTP_PACE_IDLE;
    if (rate > 0 && waited_ms > DM_HTTP_PACE_GRACE_MS && pace->moved < rate * waited_ms / 1000)
        return DM_HTTP_PACE_SLOW;
    return DM_HTTP_PACE_FINE;
}

uint32_t dm_http_pace_period_ms(uint32_t idle_ms)
{
    return idle_ms == 0 ? PERIOD_MAX_MS : DM_MIN(DM_MAX(idle_ms / 8, 1u), PERIOD_MAX_MS);
}
