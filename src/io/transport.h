/* What carries a stream's bytes: the plain socket, or a layer on it (TLS). Only streams and transports use this header.
 *
 * recv, send and sendv mean what they do in struct dm_sys_ops. A layer that needs the socket to become writable before it
 * can read, or the reverse, returns -EAGAIN and is called again at the next readiness of either kind. What was refused with
 * -EAGAIN comes again in other pieces and from another place; an empty send never comes.
 *
 * A layer that accepts bytes before the system takes them counts those in stream->held_bytes; then it is flushed at the next
 * readiness, and the direction does not end before they have gone. A layer that stops reading with an end or a failure behind
 * what it returned sets stream->has_hup, so that it is asked again. */
#ifndef DM_IO_TRANSPORT_H
#define DM_IO_TRANSPORT_H

#include "io/stream.h"

struct dm_transport {
    /* Also DM_EAGAIN: worked through a turn's share without a byte to show, and goes on in the next. */
    ssize_t (*recv)(struct dm_stream *stream, void *ret, size_t len);
    ssize_t (*send)(struct dm_stream *stream, const void *ptr, size_t len);
    ssize_t (*sendv)(struct dm_stream *stream, const struct iovec *iov, int n);
    /* -EAGAIN: held_bytes have to go first; comes again then. */
    int (*shutdown_write)(struct dm_stream *stream);
    /* Before the descriptor closes. is_whole: the owner closes after everything was sent, rather than breaks off. NULL: nothing to
     * do. */
    void (*done)(struct dm_stream *stream, bool is_whole);
    /* While the stream is connecting, once the socket is connected, at each readiness and task: 0 done, -EAGAIN, or a failure. Clears
     * stream->is_readable when it has emptied the socket. NULL: nothing to do. */
    int (*handshake)(struct dm_stream *stream);
    int (*flush)(struct dm_stream *stream); /* sends held_bytes: 0, -EAGAIN or a failure; NULL: never holds any */
    bool short_read_is_empty;               /* a read of less than asked for has emptied it */
};

extern const struct dm_transport dm_transport_plain;
/* Its sending, for what stands in for it until the first bytes were looked at. */
ssize_t dm_transport_plain_send(struct dm_stream *stream, const void *ptr, size_t len);
ssize_t dm_transport_plain_sendv(struct dm_stream *stream, const struct iovec *iov, int n);
int dm_transport_plain_shutdown_write(struct dm_stream *stream);

#endif
