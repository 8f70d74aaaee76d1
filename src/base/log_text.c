/* Ring, time text and terminal text of the log. */
#include "base/log_int.h"
#include "base/utf8_int.h"

bool dm_log_ring_put(struct dm_log_ring *ring, struct dm_str line)
{
    size_t tail = (ring->head + ring->len) % DM_LOG_RING_BYTES;
    size_t first = DM_MIN(line.len, DM_LOG_RING_BYTES - tail);

    if (line.len > DM_LOG_RING_BYTES - ring->len)
        return false;
    memcpy(ring->bytes + tail, line.ptr, first);
    memcpy(ring->bytes, line.ptr + first, line.len - first);
    ring->len += line.len;
    return true;
}

struct dm_str dm_log_ring_front(const struct dm_log_ring *ring)
{
    return dm_str_n(ring->bytes + ring->head, DM_MIN(ring->len, DM_LOG_RING_BYTES - ring->head));
}

void dm_log_ring_take(struct dm_log_ring *ring, size_t n)
{
    ring->head = (ring->head + n) % DM_LOG_RING_BYTES;
    ring->len -= n;
}

void dm_log_clock_text(struct dm_log_clock *clock, const struct timespec *wall, char *ret)
{
    struct tm tm;

    if (!clock->is_set || clock->second != wall->tv_sec) {
        gmtime_r(&wall->tv_sec, &tm);
        strftime(clock->text, sizeof(clock->text), "%Y-%m-%dT%H:%M:%S", &tm);
        clock->second = wall->tv_sec;
        clock->is_set = true;
    }
    snprintf(ret, DM_LOG_TIME_MAX, "%s.%03uZ", clock->text, (unsigned)(wall->tv_nsec / 1000000) % 1000);
}

/* C1 controls (U+0080 to U+009F) are c2 80 to c2 9f. */
static bool is_visible(const unsigned char *p, size_t len)
{
    if (len == 1)
        return p[0] >= 0x20 && p[0] != 0x7f;
    return len > 0 && !(p[0] == 0xc2 && p[1] < 0xa0);
}

void dm_log_add_visible(struct dm_buf *buf, struct dm_str s)
{
    while (s.len > 0) {
        const unsigned char *p = (const unsigned char *)s.ptr;
        size_t len = dm_utf8_len(p, s.len);

        if (is_visible(p, len)) {
            dm_buf_add_n(buf, s.ptr, len);
        } else {
            dm_buf_printf(buf, "\\x%02x", p[0]);
            len = 1;
        }
        s = dm_str_skip(s, len);
    }
}
