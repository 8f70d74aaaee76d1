/* Parts of the log that have tests of their own. */
#ifndef DM_BASE_LOG_INT_H
#define DM_BASE_LOG_INT_H

#include "base/buf.h"

#include <time.h>

#define DM_LOG_RING_BYTES (256 * 1024)

/* Bytes in order of arrival. Whole lines go in, any number of bytes comes out. */
struct dm_log_ring {
    size_t head, len; /* the oldest byte; how many */
    char bytes[DM_LOG_RING_BYTES];
};

/* false, and nothing is added, when the line does not fit. */
bool dm_log_ring_put(struct dm_log_ring *ring, struct dm_str line);
/* The oldest bytes that lie in one piece. */
struct dm_str dm_log_ring_front(const struct dm_log_ring *ring);
/* Takes out the oldest n bytes. */
void dm_log_ring_take(struct dm_log_ring *ring, size_t n);

/* Turns wall time into text; the second that was last asked for is kept. */
struct dm_log_clock {
    time_t second;
    bool is_set;
    char text[sizeof("2026-01-01T00:00:00")];
};

#define DM_LOG_TIME_MAX sizeof("2026-01-01T00:00:00.000Z")
/* RFC 3339 in UTC with milliseconds. ret holds DM_LOG_TIME_MAX bytes. */
void dm_log_clock_text(struct dm_log_clock *clock, const struct timespec *wall, char *ret);

/* Bytes that would move a terminal's cursor, or are not UTF-8, become \xNN. */
void dm_log_add_visible(struct dm_buf *buf, struct dm_str s);

#endif
