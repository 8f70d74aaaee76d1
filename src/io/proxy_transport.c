/* The lowest transport of a stream that begins with a PROXY header: looks at what came without taking it, takes exactly the header,
 * and gives way to the plain socket. So a transport above (TLS) that was put on before finds clean bytes. */
#include <errno.h>

#include "io/loop_int.h"
#include "io/proxy_protocol.h"
#include "io/transport.h"

/* Lives as long as the program: the transport's state is the callback alone. */
struct expectation {
    int (*on_header)(struct dm_stream *stream, const struct dm_proxy_header *header);
};
_Static_assert(sizeof(struct expectation) == sizeof(void *), "kept in transport_state itself");

static struct expectation expectation_of(const struct dm_stream *stream)
{
    struct expectation expectation;

    memcpy(&expectation, &stream->transport_state, sizeof(expectation));
    return expectation;
}

/* What was seen is there; the system may give it out in pieces. */
static ssize_t take(struct dm_stream *stream, char *bytes, size_t len)
{
    struct dm_sys *sys = stream->loop->sys;
    ssize_t n = 0;

    for (size_t taken = 0; taken < len; taken += (size_t)n)
        if ((n = sys->ops->recv(sys, stream->watch.fd, bytes, len - taken)) <= 0)
            return n == 0 || n == -EAGAIN ? -EPROTO : n;
    return 0;
}

static ssize_t recv_header(struct dm_stream *stream, void *ret, size_t len)
{
    struct expectation expectation = expectation_of(stream);
    struct dm_sys *sys = stream->loop->sys;
    char bytes[DM_PROXY_HEADER_MAX];
    struct dm_proxy_header header;
    ssize_t n = sys->ops->peek(sys, stream->watch.fd, bytes, sizeof(bytes)), rc;

    if (n <= 0)
        return n;
    if ((rc = dm_proxy_header_parse(bytes, (size_t)n, &header)) == 0)
        return stream->has_hup ? -EPROTO : -EAGAIN; /* behind the peer's end nothing comes any more */
    if (rc < 0)
        return -EPROTO;
    if ((rc = take(stream, bytes, (size_t)rc)) < 0)
        return rc;
    stream->transport = &dm_transport_plain;
    stream->transport_state = NULL;
    if ((rc = expectation.on_header(stream, &header)) < 0)
        return rc;
    return stream->transport->recv(stream, ret, len);
}

static const struct dm_transport transport = {
    .recv = recv_header,
    .send = dm_transport_plain_send,
    .sendv = dm_transport_plain_sendv,
    .shutdown_write = dm_transport_plain_shutdown_write,
    .short_read_is_empty = true,
};

void dm_proxy_expect(struct dm_stream *stream,
                     int (*on_header)(struct dm_stream *stream, const struct dm_proxy_header *header))
{
    struct expectation expectation = {on_header};

    stream->transport = &transport;
    memcpy(&stream->transport_state, &expectation, sizeof(expectation));
}
