/* What carries a stream's bytes: the plain socket, or a layer on it (TLS). Only streams and transports use this header.
 *
 * recv, send and sendv mean what they do in struct dm_sys_ops. A layer that needs the socket to become writable before it
 * can read, or the reverse, returns -EAGAIN and is called again at the next readiness of either kind. */
#ifndef DM_IO_TRANSPORT_H
#define DM_IO_TRANSPORT_H

#include "io/stream.h"

struct dm_transport {
    ssize_t (*recv)(struct dm_stream *stream, void *ret, size_t len);
    ssize_t (*send)(struct dm_stream *stream, const void *ptr, size_t len);
    ssize_t (*sendv)(struct dm_stream *stream, const struct iovec *iov, int n);
    int (*shutdown_write)(struct dm_stream *stream);
    void (*done)(struct dm_stream *stream); /* before the descriptor closes; NULL: nothing to do */
    bool short_read_is_empty;               /* a read of less than asked for has emptied it */
};

extern const struct dm_transport dm_transport_plain;

#endif
