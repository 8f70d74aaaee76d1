/* Frames on the wire, before nghttp2 reads them: what it does not look at, how many are a read's share, and which requests are reset by
 * what came with them (Q7, Q9 of h2_server_int.h). */
#ifndef DM_HTTP_H2_SCAN_H
#define DM_HTTP_H2_SCAN_H

#include "base/defs.h"

enum {
    DM_H2_FRAME_HEAD_BYTES = 9,
    DM_H2_READ_WORK = 256,  /* frames that are read at a time, where one that may open a stream counts for */
    DM_H2_OPENING_WORK = 8, /* so many */
    DM_H2_OPENINGS_MAX = DM_H2_READ_WORK / DM_H2_OPENING_WORK + 1, /* with the one whose block was under way */
};

struct dm_h2_conn;

/* Q9: the streams that the bytes which nghttp2 is about to read may open, and which of them are reset by what is there. */
struct dm_h2_openings {
    uint64_t resets; /* bits, in the order of ids */
    unsigned n;
    uint32_t ids[DM_H2_OPENINGS_MAX];
};

/* Looks at frames before nghttp2 does, which reads none of these bytes if one of them ends the connection. Returns how many are a
 * read's share (Q7). */
size_t dm_h2_scan(struct dm_h2_conn *conn, const char *ptr, size_t len);
/* Q9: of a stream that the share opens. */
bool dm_h2_is_reset(const struct dm_h2_conn *conn, uint32_t id);

#endif
