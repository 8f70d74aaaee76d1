#include "http/h2_scan.h"

#include "http/h2_server_int.h"

enum {
    PRIORITY_BYTES = 5,
    DEPENDENCY_BYTES = 4,
    RESET_BYTES = 4,
    TYPE_AT = 3,
    FLAGS_AT = 4,
    ID_AT = 5,
    USEFUL_BYTES = 256,
    PEEK_MAX = 256 /* frames behind the share that are looked at for resets */
};

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* --- streams that begin and are reset ----------------------------------------------------------------------------- */

static void note_opening(struct dm_h2_conn *c, uint32_t id)
{
    struct dm_h2_openings *openings = &dm_h2_shared_of(c)->openings;

    if (openings->n < DM_H2_OPENINGS_MAX)
        openings->ids[openings->n++] = id;
}

/* One among those of the share. DM_H2_OPENINGS_MAX: none of them. */
static unsigned opening_of(const struct dm_h2_openings *openings, uint32_t id)
{
    for (unsigned i = 0; i < openings->n; i++)
        if (openings->ids[i] == id)
            return i;
    return DM_H2_OPENINGS_MAX;
}

static void note_reset(struct dm_h2_conn *c, uint32_t id)
{
    struct dm_h2_openings *openings = &dm_h2_shared_of(c)->openings;
    unsigned i = opening_of(openings, id);

    if (i < DM_H2_OPENINGS_MAX)
        openings->resets |= UINT64_C(1) << i;
}

bool dm_h2_is_reset(const struct dm_h2_conn *c, uint32_t id)
{
    const struct dm_h2_openings *openings = &dm_h2_shared_of(c)->openings;
    unsigned i;

    if (DM_LIKELY(openings->resets == 0))
        return false;
    i = opening_of(openings, id);
    return i < DM_H2_OPENINGS_MAX && (openings->resets >> i & 1);
}

/* Behind the share, where a frame begins. */
static void peek(struct dm_h2_conn *c, const char *ptr, size_t len)
{
    const uint8_t *at = (const uint8_t *)ptr;

    for (int i = 0; i < PEEK_MAX && len >= DM_H2_FRAME_HEAD_BYTES + RESET_BYTES; i++) {
        size_t n = DM_H2_FRAME_HEAD_BYTES + (u32_at(at) >> 8);
        if (at[TYPE_AT] == NGHTTP2_RST_STREAM)
            note_reset(c, u32_at(at + ID_AT) & 0x7fffffff);
        if (n > len)
            return;
        at += n;
        len -= n;
    }
}

/* --- heads of frames ---------------------------------------------------------------------------------------------- */

static void scan_data(struct dm_h2_conn *c, uint32_t len, uint8_t flags, uint32_t id)
{
    if (len == 0 && !(flags & NGHTTP2_FLAG_END_STREAM))
        dm_h2_conn_spend(c, DM_H2_EMPTY_FRAMES, 1);
    else if (len >= USEFUL_BYTES)
        dm_h2_guard_give(&c->guard, DM_H2_PING_FLOOD, 1);
    if (id == c->cancelled_id && id > c->reset_id)
        dm_h2_conn_end(c, NGHTTP2_STREAM_CLOSED);
    else
        dm_h2_guard_closed(c, id);
}

/* What nghttp2 looks at no priorities for, as they mean nothing to us: that a stream depends on itself (RFC 7540 section 5.3.1). */
static void scan_priority(struct dm_h2_conn *c, uint32_t id)
{
    c->scan_left -= DEPENDENCY_BYTES;
    if ((u32_at(c->scan_head + DM_H2_FRAME_HEAD_BYTES) & 0x7fffffff) == id)
        dm_h2_conn_end(c, NGHTTP2_PROTOCOL_ERROR);
}

/* One that comes in part may never be whole. */
static void scan_reset(struct dm_h2_conn *c, uint32_t id, bool is_whole)
{
    c->cancelled_id = id;
    if (is_whole)
        note_reset(c, id);
}

/* A frame's head is there, of PRIORITY with what it depends on; so many bytes are there behind it. */
static void scan_head(struct dm_h2_conn *c, size_t behind)
{
    const uint8_t *head = c->scan_head;
    uint32_t len = u32_at(head) >> 8, id = u32_at(head + ID_AT) & 0x7fffffff;
    uint8_t type = head[TYPE_AT], flags = head[FLAGS_AT];

    c->work += type == NGHTTP2_HEADERS ? DM_H2_OPENING_WORK : 1;
    c->scan_left = len;
    if (type == NGHTTP2_HEADERS)
        note_opening(c, id);
    if (DM_UNLIKELY(c->scan_have > DM_H2_FRAME_HEAD_BYTES))
        scan_priority(c, id);
    else if (type <= NGHTTP2_HEADERS && (flags & NGHTTP2_FLAG_PADDED) && len == 0)
        dm_h2_conn_end(c, NGHTTP2_FRAME_SIZE_ERROR); /* RFC 9113 section 4.2 */
    else if (type == NGHTTP2_DATA)
        scan_data(c, len, flags, id);
    else if (type == NGHTTP2_RST_STREAM)
        scan_reset(c, id, behind >= RESET_BYTES);
    c->scan_have = 0;
}

static size_t wanted_head(const struct dm_h2_conn *c)
{
    bool is_priority = c->scan_have >= DM_H2_FRAME_HEAD_BYTES && c->scan_head[TYPE_AT] == NGHTTP2_PRIORITY &&
                       u32_at(c->scan_head) >> 8 == PRIORITY_BYTES;

    return DM_H2_FRAME_HEAD_BYTES + (is_priority ? (size_t)DEPENDENCY_BYTES : 0);
}

static void begin(struct dm_h2_conn *c)
{
    struct dm_h2_openings *openings = &dm_h2_shared_of(c)->openings;

    c->work = 0;
    openings->n = 0;
    openings->resets = 0;
    if (DM_UNLIKELY(c->block_stream != NULL))
        note_opening(c, (uint32_t)c->block_stream->id);
}

size_t dm_h2_scan(struct dm_h2_conn *c, const char *ptr, size_t len)
{
    const char *start = ptr;

    begin(c);
    while (len > 0 && (c->work < DM_H2_READ_WORK || c->scan_left > 0)) {
        size_t n = c->scan_left > 0 ? c->scan_left : wanted_head(c) - c->scan_have;
        n = DM_MIN(n, len);
        if (c->scan_left > 0) {
            c->scan_left -= (uint32_t)n;
        } else {
            memcpy(c->scan_head + c->scan_have, ptr, n);
            c->scan_have = (uint8_t)(c->scan_have + n);
            if (c->scan_have == wanted_head(c))
                scan_head(c, len - n);
        }
        ptr += n;
        len -= n;
    }
    peek(c, ptr, len);
    return (size_t)(ptr - start);
}
