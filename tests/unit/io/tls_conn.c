#include "tls_conn.h"

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    assert_int_equal(c->n_connect, 1);
    assert_true(c->n_seen + len <= c->room);
    memcpy(c->seen + c->n_seen, ptr, len);
    c->n_seen += len;
    if (c->echoes)
        assert_int_equal(dm_stream_put(stream, ptr, len), 0);
    return len;
}

static void on_eof(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_eof++;
}

static void on_connect(struct dm_stream *stream)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);
    struct dm_tls_info info;

    c->n_connect++;
    assert_true(dm_tls_info(stream, &info));
    if (c->says_early)
        assert_int_equal(dm_stream_put(stream, "early", 5), 0);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_error++;
    c->error = code;
    c->reason = dm_tls_reason(stream);
    c->alert = dm_tls_alert(stream);
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_closed++;
}

const struct dm_stream_type conn_type = {
    .on_read = on_read,
    .on_eof = on_eof,
    .on_connect = on_connect,
    .on_error = on_error,
    .on_closed = on_closed,
};

struct conn *conn_new(size_t room)
{
    struct conn *c = dm_calloc(1, sizeof(*c) + room);

    c->room = room;
    return c;
}
