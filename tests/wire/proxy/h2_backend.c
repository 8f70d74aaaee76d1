#include "h2_backend.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

#define TEXT_MAX (1u << 20)
#define PREFACE_BYTES (sizeof(FRAMES_PREFACE) - 1)
#define CLEAN "headers $ :status: 200 | content-length: 5\ndata $ end clean\n"

static void send_lines(struct h2_backend_conn *conn, struct dm_str lines)
{
    struct dm_buf out DM_CLEANUP(dm_buf_done);
    struct dm_str line;

    dm_buf_init(&out, TEXT_MAX);
    while (lines.len > 0) {
        (void)dm_str_cut(&lines, '\n', &line);
        if (line.len > 0)
            assert_true(frames_write(line, conn->last_stream, &out));
    }
    if (dm_stream_is_open(&conn->link.stream) && out.len > 0)
        (void)!dm_stream_put(&conn->link.stream, out.ptr, out.len);
}

static void answer(struct h2_backend_conn *conn, struct frames_stream *stream)
{
    struct h2_backend *backend = conn->backend;

    conn->last_stream = stream->id;
    dm_buf_printf(&backend->requests, "%s %s %zu\n", stream->method, stream->path, stream->body.len);
    if (strstr(stream->path, "/next")) {
        send_lines(conn, DM_STR(CLEAN));
        return;
    }
    send_lines(conn, dm_buf_str(&backend->answer));
    if (backend->closes)
        dm_stream_close(&conn->link.stream);
}

static void on_head(void *arg, struct frames_stream *stream)
{
    struct h2_backend_conn *conn = arg;

    if (conn->backend->answers_early && !stream->is_ended)
        answer(conn, stream);
}

static void on_end(void *arg, struct frames_stream *stream)
{
    struct h2_backend_conn *conn = arg;

    if (conn->last_stream < stream->id)
        answer(conn, stream);
}

static void send_settings(struct h2_backend_conn *conn, bool is_ack)
{
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    dm_buf_init(&out, TEXT_MAX);
    frames_write_settings(is_ack, &out);
    if (dm_stream_is_open(&conn->link.stream))
        (void)!dm_stream_put(&conn->link.stream, out.ptr, out.len);
}

static void on_settings(void *arg)
{
    send_settings(arg, true);
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct h2_backend_conn *conn = DM_CONTAINER_OF(stream, struct h2_backend_conn, link.stream);

    dm_buf_add_n(&conn->received, ptr, len);
    frames_read(&conn->reader, dm_str_skip(dm_buf_str(&conn->received), DM_MIN(conn->received.len, PREFACE_BYTES)));
    assert_false(conn->reader.is_bad);
    return len;
}

static const struct dm_stream_type type = {on_read,        rig_link_eof,    NULL, NULL,
                                           rig_link_error, rig_link_closed, 0,    64u << 20};

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct h2_backend *backend = DM_CONTAINER_OF(listener, struct h2_backend, listener);
    struct h2_backend_conn *conn = dm_calloc(1, sizeof(*conn));

    assert_true(backend->n_conns < H2_BACKEND_CONNS_MAX);
    backend->conns[backend->n_conns++] = conn;
    conn->backend = backend;
    frames_reader_init(&conn->reader);
    conn->reader.on_settings = on_settings;
    conn->reader.on_head = on_head;
    conn->reader.on_end = on_end;
    conn->reader.arg = conn;
    dm_buf_init(&conn->received, TEXT_MAX);
    assert_int_equal(dm_stream_open(&conn->link.stream, listener->loop, &type, fd), 0);
    send_settings(conn, false);
}

void h2_backend_init(struct rig *rig, struct h2_backend *backend)
{
    memset(backend, 0, sizeof(*backend));
    backend->rig = rig;
    dm_buf_init(&backend->answer, TEXT_MAX);
    dm_buf_init(&backend->requests, TEXT_MAX);
    rig_listen(rig, &backend->listener, DM_STR("127.0.0.1:0"), on_accept);
}

void h2_backend_done(struct h2_backend *backend)
{
    dm_listener_close(&backend->listener);
    for (unsigned i = 0; i < backend->n_conns; i++) {
        struct h2_backend_conn *conn = backend->conns[i];
        rig_link_close(backend->rig, &conn->link);
        frames_reader_done(&conn->reader);
        dm_buf_done(&conn->received);
        dm_free(conn);
    }
    rig_settle(backend->rig);
    dm_buf_done(&backend->answer);
    dm_buf_done(&backend->requests);
}

uint16_t h2_backend_port(const struct h2_backend *backend)
{
    return dm_addr_port(&backend->listener.addr);
}

void h2_backend_send(struct h2_backend *backend, struct dm_str lines)
{
    for (unsigned i = 0; i < backend->n_conns; i++)
        if (!backend->conns[i]->link.is_closed)
            send_lines(backend->conns[i], lines);
}
