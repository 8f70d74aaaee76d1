/* Body decoder: takes the framing off (RFC 9112 sections 6 and 7) and yields slices of the input, without copying.
 *
 * B1. A slice is body; nothing of the framing ever comes out.
 * B2. Bytes behind the message are never consumed.
 * B3. Chunk sizes are 1 to 16 hexadecimal digits that fit 63 bits. Lines end with CR LF. Extensions that follow the
 *     grammar (section 7.1.1, quoted strings with it) are dropped up to limits.extension_bytes in sum; others are
 *     refused, as is white space that no extension follows.
 *
 * States of a chunked body:
 *   SIZE --digit--> DIGITS --CR--> SIZE_LF --LF, size > 0--> DATA --all--> DATA_CR --CR--> DATA_LF --LF--> SIZE
 *   DIGITS --';' or white space--> EXT_* --CR--> SIZE_LF --LF, size 0--> TRAILERS --empty line--> DONE */
#ifndef DM_HTTP_BODY_H
#define DM_HTTP_BODY_H

#include "http/head.h"

struct dm_http_body {
    const struct dm_http_limits *limits;
    uint64_t left;  /* of the body (LENGTH) or the chunk (CHUNKED) */
    uint64_t total; /* body bytes announced so far: content length, or the sum of chunk sizes; with CLOSE those seen */
    uint64_t max_bytes; /* of the body; may be changed at any time */
    struct dm_str
        trailers; /* CHUNKED, when done: the whole trailer section in the last input, "\r\n" when it is empty */
    size_t scan;
    uint32_t extension_left;
    uint8_t framing; /* enum dm_http_framing */
    uint8_t state;
    uint8_t digits;
};

/* Starts the body of a parsed head. limits is borrowed. max_bytes UINT64_MAX = no limit. 0, or the negative of
 * DM_HTTP_BODY_TOO_LARGE when the head announces more. */
DM_MUST_USE int dm_http_body_init(struct dm_http_body *body, const struct dm_http_head *head,
                                  const struct dm_http_limits *limits, uint64_t max_bytes);

/* Consumes a prefix of `in` and yields at most one slice of it (empty if none). Returns 1 when the body is complete,
 * 0 when not, or a negative enum dm_http_fault. Call again with what was not consumed; 0 with an empty slice means
 * that more input is needed. A trailer section is consumed only as a whole (at most limits.trailer_bytes), so what
 * was not consumed must be kept and presented again with what follows. Which fault is found does not depend on how
 * the bytes were cut. */
DM_MUST_USE int dm_http_body_feed(struct dm_http_body *body, struct dm_str in, size_t *ret_consumed,
                                  struct dm_str *ret_data);

/* The connection ended: 0 if the body was complete or framed by it, else the negative of DM_HTTP_BODY_CUT. */
DM_MUST_USE int dm_http_body_end(struct dm_http_body *body);

bool dm_http_body_is_done(const struct dm_http_body *body);

#endif
