/* Backends whose connections end at every byte of a response, in every way an end can come, behind every protocol that clients and
 * backends speak.
 *
 * For each prefix of a response the client has either all of it, or the gateway's own answer (while nothing of it was passed on), or
 * sees that it was cut: never a body that looks whole and is not. Then the next client is served as if nothing had been. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "gateway/exchange.h"
#include "http/body.h"
#include "pki/pki.h"
#include "wire/proxy/frames.h"

#define TEXT_MAX (1u << 20)
#define BODY "0123456789"
#define PREFACE_BYTES (sizeof(FRAMES_PREFACE) - 1)

/* How a backend's connection ends. On TLS an end says close_notify before, a cut does not. */
enum ending { ENDING_END, ENDING_CUT, ENDING_RESET, N_ENDINGS };

struct cutter {
    struct rig *rig;
    struct dm_listener listener;
    struct dm_tls_acceptor *tls; /* NULL: clear text */
    const char *lines;           /* of the response, in HTTP/2 */
    struct dm_buf response;      /* as bytes; in HTTP/2 for the stream that was last asked on */
    size_t n_send;               /* of it, then comes the end; SIZE_MAX: all, and the connection is kept */
    size_t n_whole;              /* requests that get all before; then n_send counts */
    size_t n_asked;
    enum ending ending;
    bool is_http2;
};

struct conn {
    struct dm_stream stream;
    struct cutter *cutter;
    struct dm_buf received;
    struct frames_reader reader;
};

/* --- the backend -------------------------------------------------------------------------------------------------- */

static void end_conn(struct conn *conn)
{
    struct dm_sys *sys = dm_loop_sys(conn->stream.loop);

    dm_stream_flush(&conn->stream);
    if (conn->cutter->ending == ENDING_RESET)
        assert_int_equal(sys->ops->reset_on_close(sys, dm_stream_fd(&conn->stream)), 0);
    if (conn->cutter->ending == ENDING_END)
        dm_stream_close(&conn->stream);
    else
        dm_stream_abort(&conn->stream);
}

/* As many bytes whatever the stream. */
static void render(struct cutter *cutter, uint32_t stream)
{
    struct dm_str lines = dm_str_of(cutter->lines), line;

    dm_buf_reset(&cutter->response);
    while (dm_str_cut(&lines, '\n', &line) && line.len > 0)
        assert_true(frames_write(line, stream, &cutter->response));
}

static void answer(struct conn *conn)
{
    struct cutter *cutter = conn->cutter;
    bool is_whole = cutter->n_asked++ < cutter->n_whole || cutter->n_send == SIZE_MAX;
    size_t n = is_whole ? cutter->response.len : cutter->n_send;

    if (n > 0)
        assert_int_equal(dm_stream_put(&conn->stream, cutter->response.ptr, n), 0);
    if (!is_whole)
        end_conn(conn);
}

static void on_settings(void *arg)
{
    struct conn *conn = arg;
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    dm_buf_init(&out, TEXT_MAX);
    frames_write_settings(true, &out);
    assert_int_equal(dm_stream_put(&conn->stream, out.ptr, out.len), 0);
}

static void on_end(void *arg, struct frames_stream *stream)
{
    render(((struct conn *)arg)->cutter, stream->id);
    answer(arg);
}

/* Requests here have a head and at most "hello". */
static void read_requests(struct conn *conn)
{
    struct dm_buf *in = &conn->received;
    const char *end;

    while (dm_stream_is_open(&conn->stream) && (end = in->len ? memmem(in->ptr, in->len, "\r\n\r\n", 4) : NULL)) {
        size_t head = (size_t)(end - in->ptr) + 4, body = in->ptr[0] == 'P' ? 5 : 0;
        if (in->len < head + body)
            return;
        dm_buf_consume(in, head + body);
        answer(conn);
    }
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *conn = DM_CONTAINER_OF(stream, struct conn, stream);

    dm_buf_add_n(&conn->received, ptr, len);
    if (conn->cutter->is_http2)
        frames_read(&conn->reader, dm_str_skip(dm_buf_str(&conn->received), DM_MIN(conn->received.len, PREFACE_BYTES)));
    else
        read_requests(conn);
    return len;
}

static void on_eof(struct dm_stream *stream)
{
    dm_stream_close(stream);
}

static void on_error(struct dm_stream *stream, int code)
{
    dm_stream_abort(stream);
}

static void on_closed(struct dm_stream *stream)
{
    struct conn *conn = DM_CONTAINER_OF(stream, struct conn, stream);

    dm_buf_done(&conn->received);
    frames_reader_done(&conn->reader);
    dm_free(conn);
}

static const struct dm_stream_type cutter_type = {on_read, on_eof, NULL, NULL, on_error, on_closed, 0, 0};

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct cutter *cutter = DM_CONTAINER_OF(listener, struct cutter, listener);
    struct conn *conn = dm_calloc(1, sizeof(*conn));
    struct dm_buf settings DM_CLEANUP(dm_buf_done);

    conn->cutter = cutter;
    dm_buf_init(&conn->received, TEXT_MAX);
    frames_reader_init(&conn->reader);
    conn->reader.on_settings = on_settings;
    conn->reader.on_end = on_end;
    conn->reader.arg = conn;
    assert_int_equal(dm_stream_open(&conn->stream, listener->loop, &cutter_type, fd), 0);
    if (cutter->tls)
        dm_tls_serve(&conn->stream, cutter->tls);
    dm_buf_init(&settings, TEXT_MAX);
    frames_write_settings(false, &settings);
    if (cutter->is_http2)
        assert_int_equal(dm_stream_put(&conn->stream, settings.ptr, settings.len), 0);
}

/* --- the scene ---------------------------------------------------------------------------------------------------- */

enum front { FRONT_HTTP11, FRONT_HTTP10, FRONT_HTTP2, FRONT_HTTP11_TLS, FRONT_HTTP10_TLS, FRONT_HTTP2_TLS, N_FRONTS };

static const char *const front_names[] = {"HTTP/1.1",        "HTTP/1.0",        "HTTP/2",
                                          "HTTP/1.1 on TLS", "HTTP/1.0 on TLS", "HTTP/2 on TLS"};

struct scene {
    struct stage stage;
    struct cutter cutter;
    struct pki_identity *root, *server;
    struct dm_tls_profile *profile;
    struct dm_tls_acceptor *acceptor;
    struct dm_tls_client *clients[2]; /* with HTTP/1.1, with HTTP/2 */
    struct dm_listener tls_door;      /* of the worker, beside the one in clear text */
    struct dm_http_server *tls_server;
};

static struct dm_tls_profile *choose(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    return ((struct scene *)arg)->profile;
}

static void on_tls_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_http_server_accept(DM_CONTAINER_OF(listener, struct scene, tls_door)->tls_server, fd, peer);
}

/* What the client agreed to; the worker's own handler asks its listener, which is one in clear text. */
static enum dm_http_protocol first_bytes(void *arg, struct dm_http_conn *conn)
{
    struct dm_tls_info info;

    assert_true(dm_tls_info(dm_http_conn_stream(conn), &info));
    return dm_str_eq(info.alpn, DM_STR("h2")) ? DM_HTTP_PROTOCOL_2 : DM_HTTP_PROTOCOL_1;
}

static void open_tls_front(struct scene *s)
{
    static struct dm_http_handler handler;
    struct dm_http_server_settings settings = dm_http_server_defaults;
    struct dm_worker *worker = &s->stage.rig.worker;
    struct dm_addr any;

    handler = dm_exchange_handler;
    handler.on_first_bytes = first_bytes;
    settings.tls = s->acceptor;
    s->tls_server = dm_http_server_new(worker->loop, &settings, &handler, &worker->listeners[0]);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &any, NULL), 0);
    assert_int_equal(dm_listener_open(&s->tls_door, worker->loop, &any, 64, false, on_tls_accept, NULL), 0);
}

static void make_tls(struct scene *s)
{
    struct dm_tls_profile_settings profile = {.min_version = DM_TLS_1_2, .allows_http2 = true};
    struct dm_tls_client_settings client = {.skips_verification = true, .server_name = DM_STR("orders.test")};

    s->root = pki_make(&(struct pki_spec){.subject = "root", .is_ca = true}, NULL);
    s->server = pki_make(&(struct pki_spec){.subject = "server", .names = "DNS:orders.test,IP:127.0.0.1"}, s->root);
    profile.chain_pem = s->server->chain_pem;
    profile.key_pem = s->server->key_pem;
    assert_int_equal(dm_tls_profile_new(&profile, &s->profile, NULL), 0);
    s->acceptor = dm_tls_acceptor_new(choose, s);
    assert_int_equal(dm_tls_client_new(&client, &s->clients[0], NULL), 0);
    client.wants_http2 = true;
    assert_int_equal(dm_tls_client_new(&client, &s->clients[1], NULL), 0);
}

static int setup(void **state)
{
    struct scene *s = dm_calloc(1, sizeof(*s));
    struct rig *rig = &s->stage.rig;
    struct dm_addr any;

    rig_init(rig);
    rig_origin_init(rig, &s->stage.origin, DM_STR(STAGE_OK));
    make_tls(s);
    open_tls_front(s);
    s->cutter.rig = rig;
    dm_buf_init(&s->cutter.response, TEXT_MAX);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &any, NULL), 0);
    assert_int_equal(dm_listener_open(&s->cutter.listener, rig->worker.loop, &any, 64, false, on_accept, NULL), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    rig_settle(&s->stage.rig);
    assert_int_equal(s->stage.rig.worker.n_exchanges, 0);
    dm_listener_close(&s->tls_door);
    dm_http_server_free(s->tls_server);
    dm_listener_close(&s->cutter.listener);
    rig_apply(&s->stage.rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS);
    stage_release(&s->stage, &(struct stage_release){0}); /* and the kept connections go */
    rig_settle(&s->stage.rig);
    rig_origin_done(&s->stage.origin);
    rig_done(&s->stage.rig);
    dm_tls_client_unref(s->clients[0]);
    dm_tls_client_unref(s->clients[1]);
    dm_tls_acceptor_free(s->acceptor);
    dm_tls_profile_unref(s->profile);
    pki_free(s->server);
    pki_free(s->root);
    dm_buf_done(&s->cutter.response);
    dm_free(s);
    return 0;
}

/* The backend speaks so from here on. */
static void speak(struct scene *s, bool is_http2, bool is_tls)
{
    char endpoints[100], backend[100];

    s->cutter.is_http2 = is_http2;
    s->cutter.tls = is_tls ? s->acceptor : NULL;
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}",
             dm_addr_port(&s->cutter.listener.addr));
    snprintf(backend, sizeof(backend), "%s%s" STAGE_NO_BREAKER, is_http2 ? ",\"protocol\":\"http2\"" : "",
             is_tls ? ",\"tls\":{\"verify\":false}" : "");
    stage_apply(&s->stage, &(struct stage_release){.endpoints = endpoints, .backend = backend});
}

/* --- the client --------------------------------------------------------------------------------------------------- */

/* What a client makes of what it got. */
struct outcome {
    unsigned status; /* 0: none */
    bool is_whole;   /* as far as the client can tell */
    char body[64];
    size_t body_len;
};

static bool is_of_http2(enum front front)
{
    return front == FRONT_HTTP2 || front == FRONT_HTTP2_TLS;
}

static struct rig_socket *send_request(struct scene *s, enum front front, const char *method)
{
    struct rig *rig = &s->stage.rig;
    struct dm_addr clear = rig->addr;
    struct dm_buf out DM_CLEANUP(dm_buf_done);
    struct rig_socket *socket;
    bool is_tls = front >= FRONT_HTTP11_TLS, has_body = method[0] == 'P';
    char line[200];

    if (is_tls)
        rig->addr = s->tls_door.addr;
    socket = rig_connect(rig);
    rig->addr = clear;
    if (is_tls)
        dm_tls_connect(&socket->stream, s->clients[is_of_http2(front)], NULL);
    dm_buf_init(&out, TEXT_MAX);
    if (is_of_http2(front)) {
        dm_buf_add_lit(&out, FRAMES_PREFACE);
        frames_write_settings(false, &out);
        snprintf(line, sizeof(line),
                 "headers 1 %s:method: %s | :scheme: http | :authority: orders.test | :path: / | x-api-key: good%s",
                 has_body ? "" : "end ", method, has_body ? " | content-length: 5" : "");
        assert_true(frames_write(dm_str_of(line), 0, &out));
        if (has_body)
            assert_true(frames_write(DM_STR("data 1 end hello"), 0, &out));
    } else {
        dm_buf_printf(&out, "%s / HTTP/1.%d\r\nHost: orders.test\r\n" STAGE_KEY "%s\r\n%s", method,
                      front == FRONT_HTTP10 || front == FRONT_HTTP10_TLS ? 0 : 1,
                      has_body ? "Content-Length: 5\r\n" : "", has_body ? "hello" : "");
    }
    rig_send(socket, dm_buf_str(&out));
    return socket;
}

static void take_body(struct outcome *ret, struct dm_str body)
{
    size_t n = DM_MIN(body.len, sizeof(ret->body) - ret->body_len);

    if (n > 0)
        memcpy(ret->body + ret->body_len, body.ptr, n);
    ret->body_len += n;
}

static void read_http1_body(const struct dm_http_head *head, struct dm_str rest, bool has_orderly_end,
                            struct outcome *ret)
{
    static const struct dm_http_limits limits = {64u << 10, 16u << 10, DM_HTTP_FIELDS_MAX, 8u << 10, 4u << 10, true};
    struct dm_http_body body;
    struct dm_str data;
    size_t used = 1;
    int rc;

    assert_int_equal(dm_http_body_init(&body, head, &limits, UINT64_MAX), 0);
    for (rc = dm_http_body_is_done(&body); rc == 0 && used > 0; rest = dm_str_skip(rest, used)) {
        assert_true((rc = dm_http_body_feed(&body, rest, &used, &data)) >= 0);
        take_body(ret, data);
    }
    ret->is_whole = rc > 0 || (has_orderly_end && dm_http_body_end(&body) == 0);
}

static void read_http1(const struct rig_socket *socket, struct outcome *ret)
{
    static const struct dm_http_limits limits = {64u << 10, 16u << 10, DM_HTTP_FIELDS_MAX, 8u << 10, 4u << 10, true};
    static struct dm_http_head head;
    struct dm_str rest = dm_buf_str(&socket->received);
    size_t scan = 0;
    int rc;

    do {
        if (rest.len == 0)
            return;
        rc = dm_http_parse_response(rest.ptr, rest.len, &scan, &limits, DM_HTTP_METHOD_GET, &head);
        assert_true(rc > 0); /* heads come whole */
        rest = dm_str_skip(rest, (size_t)rc);
    } while (head.status < 200);
    ret->status = head.status;
    read_http1_body(&head, rest, socket->has_eof && !socket->is_failed, ret);
}

static void read_http2(const struct rig_socket *socket, struct outcome *ret)
{
    struct frames_reader reader;
    const struct frames_stream *stream;
    struct dm_str statuses;
    uint64_t status;

    frames_reader_init(&reader);
    frames_read(&reader, dm_buf_str(&socket->received));
    if (reader.n_streams > 0) {
        stream = reader.streams[0];
        statuses = dm_buf_str(&stream->statuses);
        if (statuses.len >= 3 && dm_str_to_u64(dm_str_skip(statuses, statuses.len - 3), &status) == 0)
            ret->status = status >= 200 ? (unsigned)status : 0;
        take_body(ret, dm_buf_str(&stream->body));
        ret->is_whole = stream->is_ended && !stream->has_reset;
    }
    frames_reader_done(&reader);
}

/* The stream ended, or the connection. */
static bool is_over(const struct rig_socket *socket, enum front front)
{
    struct outcome outcome = {0};

    if (socket->has_eof || socket->is_failed)
        return true;
    if (is_of_http2(front))
        read_http2(socket, &outcome);
    else
        read_http1(socket, &outcome);
    return outcome.is_whole;
}

struct asker {
    struct rig_socket *socket;
    enum front front;
};

static bool is_answered(void *arg)
{
    const struct asker *asker = arg;
    struct frames_reader reader;
    bool is_reset;

    if (is_over(asker->socket, asker->front))
        return true;
    if (!is_of_http2(asker->front))
        return false;
    frames_reader_init(&reader);
    frames_read(&reader, dm_buf_str(&asker->socket->received));
    is_reset = reader.n_streams > 0 && reader.streams[0]->has_reset;
    frames_reader_done(&reader);
    return is_reset;
}

static struct outcome ask(struct scene *s, enum front front, const char *method)
{
    struct asker asker = {send_request(s, front, method), front};
    struct outcome outcome = {0};

    rig_run_until(&s->stage.rig, is_answered, &asker);
    if (is_of_http2(front))
        read_http2(asker.socket, &outcome);
    else
        read_http1(asker.socket, &outcome);
    rig_close(&s->stage.rig, asker.socket);
    return outcome;
}

/* --- at every byte ------------------------------------------------------------------------------------------------ */

struct sample {
    const char *name;
    const char *response; /* with LF for each "\n"; of HTTP/2: lines of frames.h */
    size_t head_len;      /* filled in */
    bool ends_with_connection;
};

static struct sample http1_samples[] = {
    {"length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" BODY, 0, false},
    {"chunks with trailers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5;a=b\r\n56789\r\n0\r\nX-Sum: 1\r\n\r\n", 0,
     false},
    {"until the end", "HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n" BODY, 0, true},
    {"103 before", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" BODY,
     0, false},
};

static struct sample http2_samples[] = {
    {"length", "headers $ :status: 200 | content-length: 10\ndata $ 01234\ndata $ end 56789\n", 0, false},
    {"trailers", "headers $ :status: 200\ndata $ 01234\ndata $ 56789\nheaders $ end x-sum: 1\n", 0, false},
};

static void load(struct cutter *cutter, struct sample *sample)
{
    struct dm_str text = dm_str_of(sample->response), line;

    dm_buf_reset(&cutter->response);
    if (!cutter->is_http2) {
        dm_buf_add(&cutter->response, text);
        sample->head_len = (size_t)(strstr(strstr(sample->response, " 200 "), "\r\n\r\n") - sample->response) + 4;
        return;
    }
    assert_true(dm_str_cut(&text, '\n', &line) && frames_write(line, 1, &cutter->response));
    sample->head_len = cutter->response.len;
    cutter->lines = sample->response;
    render(cutter, 1);
}

/* Is what the backend sent all of a response? Where the end of the connection is the end of the body, unless it is a cut that can be
 * told from one. */
static bool is_whole(const struct cutter *cutter, const struct sample *sample)
{
    if (!sample->ends_with_connection)
        return cutter->n_send == cutter->response.len;
    return cutter->n_send >= sample->head_len &&
           (cutter->ending == ENDING_END || (cutter->ending == ENDING_CUT && !cutter->tls));
}

/* A reset may cost what came before it. */
static bool is_right(const struct cutter *cutter, const struct sample *sample, const struct outcome *o)
{
    bool may_be_lost = cutter->ending == ENDING_RESET;

    if (o->status == 502)
        return o->is_whole && (cutter->n_send < sample->head_len || may_be_lost);
    if (o->status != 200 || o->body_len > strlen(BODY) || memcmp(o->body, BODY, o->body_len) != 0)
        return false;
    if (o->is_whole)
        return is_whole(cutter, sample) && (o->body_len == strlen(BODY) || sample->ends_with_connection);
    return cutter->n_send >= sample->head_len && (!is_whole(cutter, sample) || may_be_lost);
}

static void check(const struct scene *s, const struct sample *sample, enum front front, const struct outcome *o)
{
    const struct cutter *cutter = &s->cutter;

    if (!is_right(cutter, sample, o))
        fail_msg("%s to %s, backend %s%s, ending %d behind %zu of %zu bytes: status %u, %s, body '%.*s'", sample->name,
                 front_names[front], cutter->is_http2 ? "HTTP/2" : "HTTP/1.1", cutter->tls ? " on TLS" : "",
                 cutter->ending, cutter->n_send, cutter->response.len, o->status, o->is_whole ? "whole" : "cut",
                 (int)o->body_len, o->body);
}

/* Whoever comes next. */
static void check_next(struct scene *s)
{
    struct outcome outcome;
    enum ending ending = s->cutter.ending;

    s->cutter.ending = ENDING_END;
    s->cutter.n_send = s->cutter.response.len;
    outcome = ask(s, FRONT_HTTP11, "GET");
    s->cutter.ending = ending;
    assert_int_equal(outcome.status, 200);
    assert_true(outcome.is_whole);
    assert_int_equal(outcome.body_len, strlen(BODY));
    assert_memory_equal(outcome.body, BODY, strlen(BODY));
}

static void cut_everywhere(struct scene *s, struct sample *sample, enum front front)
{
    struct outcome outcome;
    size_t first;

    load(&s->cutter, sample);
    /* A client hears of a head when it is whole: one kind is enough for what comes before. */
    first = front == FRONT_HTTP11 ? 0 : sample->head_len - 1;
    for (int ending = 0; ending < N_ENDINGS; ending++) {
        s->cutter.ending = (enum ending)ending;
        for (size_t n = first; n <= s->cutter.response.len; n++) {
            s->cutter.n_send = n;
            outcome = ask(s, front, "GET");
            check(s, sample, front, &outcome);
        }
        check_next(s);
    }
}

static void test_http1(void **state)
{
    struct scene *s = *state;

    speak(s, false, false);
    for (size_t i = 0; i < DM_COUNT(http1_samples); i++)
        for (int front = 0; front < N_FRONTS; front++)
            cut_everywhere(s, &http1_samples[i], (enum front)front);
}

static void test_http1_on_tls(void **state)
{
    struct scene *s = *state;

    speak(s, false, true);
    for (size_t i = 0; i < DM_COUNT(http1_samples); i++) {
        cut_everywhere(s, &http1_samples[i], FRONT_HTTP11);
        cut_everywhere(s, &http1_samples[i], FRONT_HTTP10_TLS);
    }
}

static void test_http2(void **state)
{
    struct scene *s = *state;

    speak(s, true, false);
    for (size_t i = 0; i < DM_COUNT(http2_samples); i++)
        for (int front = 0; front < N_FRONTS; front++)
            cut_everywhere(s, &http2_samples[i], (enum front)front);
}

static void test_http2_on_tls(void **state)
{
    struct scene *s = *state;

    speak(s, true, true);
    for (size_t i = 0; i < DM_COUNT(http2_samples); i++) {
        cut_everywhere(s, &http2_samples[i], FRONT_HTTP10);
        cut_everywhere(s, &http2_samples[i], FRONT_HTTP2_TLS);
    }
}

/* --- on a kept connection ----------------------------------------------------------------------------------------- */

/* The second request on a connection finds it ended behind n bytes of the response. Returns how often it was sent. */
static size_t ask_twice(struct scene *s, const char *method, size_t n, struct outcome *ret)
{
    struct cutter *cutter = &s->cutter;

    cutter->n_asked = 0;
    cutter->n_whole = 1;
    cutter->n_send = SIZE_MAX;
    *ret = ask(s, FRONT_HTTP11, "GET");
    assert_int_equal(ret->status, 200);
    rig_settle(&s->stage.rig);
    cutter->n_send = n;
    *ret = ask(s, FRONT_HTTP11, method);
    cutter->n_whole = 0;
    return cutter->n_asked - 1;
}

/* E3 of exchange.c: only a request that can be repeated, only before a response began, once. */
static void check_repeats(struct scene *s, struct sample *sample)
{
    static const char *const methods[] = {"GET", "DELETE", "OPTIONS", "POST", "PATCH", "PUT"};
    struct outcome outcome;
    size_t begun;

    load(&s->cutter, sample);
    begun = s->cutter.is_http2 ? sample->head_len : 1; /* less than a frame is nobody's */
    for (int ending = 0; ending < N_ENDINGS; ending++) {
        s->cutter.ending = (enum ending)ending;
        for (size_t i = 0; i < DM_COUNT(methods); i++) {
            bool is_repeated = methods[i][0] != 'P';
            assert_int_equal(ask_twice(s, methods[i], 0, &outcome), is_repeated ? 2 : 1);
            assert_int_equal(outcome.status, 502); /* the new connection ends as well: there is no third time */
            assert_int_equal(ask_twice(s, methods[i], begun, &outcome), 1);
            assert_int_equal(outcome.status, s->cutter.is_http2 ? 200 : 502);
            assert_int_equal(outcome.is_whole, !s->cutter.is_http2);
        }
    }
}

static void test_kept(void **state)
{
    struct scene *s = *state;

    for (int is_tls = 0; is_tls < 2; is_tls++) {
        speak(s, false, is_tls);
        check_repeats(s, &http1_samples[0]);
        speak(s, true, is_tls);
        check_repeats(s, &http2_samples[0]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_http1), TEST(test_http1_on_tls), TEST(test_http2), TEST(test_http2_on_tls), TEST(test_kept),
    };

    return cmocka_run_group_tests_name("cuts", tests, NULL, NULL);
}
