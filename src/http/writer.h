/* The body of a message on its way into a stream, for either direction: puts the framing on.
 *
 * W1. What goes out is never more than was announced, and framing is never cut by a full queue.
 * W2. An end for which there is no room yet waits, and goes out with dm_http_writer_retry(). */
#ifndef DM_HTTP_WRITER_H
#define DM_HTTP_WRITER_H

#include "base/buf.h"

struct dm_stream;

struct dm_http_writer {
    uint64_t length_left; /* with LENGTH */
    char *trailers;       /* of an end that waits; heap or NULL */
    uint8_t framing;      /* enum dm_http_framing */
    bool is_ending;       /* an end waits */
};

/* Returns how many bytes were taken: fewer than len promise on_writable of the stream. What exceeds the announced length,
 * has no place in the framing, or follows the stream's failure, is taken and dropped. scratch is used during the call. */
size_t dm_http_writer_put(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch,
                          const char *ptr, size_t len);
/* The body is complete; trailer lines (CR LF ended) go out when it is chunked. False: it waits (W2). */
bool dm_http_writer_end(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch,
                        struct dm_str trailers);
/* There is room again. False: it still waits. */
bool dm_http_writer_retry(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch);
/* Was less written than announced? */
bool dm_http_writer_is_short(const struct dm_http_writer *writer);
/* Forgets an end that waits. */
void dm_http_writer_done(struct dm_http_writer *writer);

#endif
