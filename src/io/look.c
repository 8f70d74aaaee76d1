#include "io/look.h"

#include <errno.h>

#include "io/loop_int.h"
#include "io/transport.h"

/* Lives as long as the program: the transport's state is the callback alone. */
struct looker {
    dm_look_cb look;
};
_Static_assert(sizeof(struct looker) == sizeof(void *), "kept in transport_state itself");

static struct looker looker_of(const struct dm_stream *stream)
{
    struct looker looker;

    memcpy(&looker, &stream->transport_state, sizeof(looker));
    return looker;
}

/* Somebody else has the connection too: when our descriptor is closed, it stays in our poll set. */
static ssize_t let_go(struct dm_stream *stream)
{
    struct dm_sys *sys = stream->loop->sys;

    (void)sys->ops->poll_del(sys, stream->loop->poll_fd, stream->watch.fd);
    return -ECONNABORTED;
}

static ssize_t recv_first(struct dm_stream *stream, void *ret, size_t len)
{
    struct looker looker = looker_of(stream);
    struct dm_sys *sys = stream->loop->sys;
    ssize_t n = sys->ops->peek(sys, stream->watch.fd, ret, len);
    enum dm_look verdict = DM_LOOK_SERVE;
    bool is_last = stream->has_hup || (size_t)n == len;

    if (n == -EAGAIN)
        return n;
    if (n > 0)
        verdict = looker.look(stream, ret, (size_t)n, is_last);
    if (verdict == DM_LOOK_GONE)
        return let_go(stream);
    if (verdict == DM_LOOK_MORE && !is_last)
        return -EAGAIN;
    stream->transport = &dm_transport_plain;
    stream->transport_state = NULL;
    return stream->transport->recv(stream, ret, len);
}

static const struct dm_transport transport = {
    .recv = recv_first,
    .send = dm_transport_plain_send,
    .sendv = dm_transport_plain_sendv,
    .shutdown_write = dm_transport_plain_shutdown_write,
    .short_read_is_empty = true,
};

void dm_look_expect(struct dm_stream *stream, dm_look_cb look)
{
    struct looker looker = {look};

    stream->transport = &transport;
    memcpy(&stream->transport_state, &looker, sizeof(looker));
}
