/* One connection is two half machines, writing a request and reading its response:
 *
 * writing   NONE --[send]--> BODY --[end]--> DONE
 * reading   IDLE --[send]--> HEAD --[final head]--> BODY --[end]--> DONE        any --[fault, timeout]--> gone
 * kept      after on_done, between keep and take: writing NONE, reading IDLE
 *
 * P1. has_exchange is true from send to on_done/on_abort; only then callbacks with the user come.
 * P2. A byte that arrives on a kept connection is nobody's: the connection is not used again (response smuggling).
 * P3. A response that is complete before its request ends the connection after it.
 * P4. The timer is armed wherever the backend is waited for; on_due() looks at the state. */
#include "http/client.h"
#include "base/freelist.h"
#include "base/mem.h"
#include "http/body.h"
#include "http/chunk.h"
#include "http/serialize.h"
#include "io/stream.h"

#include <errno.h>

#define HEAD_OUT_MAX (64u << 10)
#define PIECE_BYTES (16u << 10)

enum writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };
enum reading { READ_IDLE, READ_HEAD, READ_BODY, READ_DONE, READ_CLOSED };

struct dm_http_peer {
    struct dm_stream stream;
    struct dm_http_client *client;
    void *user;
    struct dm_timer timer;
    struct dm_task failure; /* a connect that failed at once is told from the loop */
    struct dm_http_body body;
    struct dm_http_peer_timeouts timeouts;
    struct dm_addr addr;
    size_t scan;
    uint64_t exchange_in, exchange_out;
    uint64_t length_left; /* of a request with LENGTH */
    char *end_trailers;
    int connect_error;
    uint8_t writing, reading;
    uint8_t framing;      /* of the request */
    uint8_t method;       /* enum dm_http_method of the request in hand */
    bool has_exchange, is_kept, is_connected, is_reused, is_end_pending, is_body_stalled;
    bool is_closing;      /* not to be used again */
    bool is_in_read;
};

struct dm_http_client {
    struct dm_loop *loop;
    struct dm_http_client_settings settings;
    const struct dm_http_peer_handler *handler;
    struct dm_freelist free_peers;
    struct dm_stream_type type;
    struct dm_buf out;
    struct dm_http_head head; /* of the message being parsed */
};

const struct dm_http_client_settings dm_http_client_defaults = {
    .limits = {64u << 10, 8u << 10, 128, 8u << 10, 4u << 10, true},
    .write_cap_bytes = 256u << 10,
};

static struct dm_http_peer *peer_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_peer, stream);
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void close_now(struct dm_http_peer *p)
{
    p->reading = READ_CLOSED;
    p->has_exchange = p->is_kept = false;
    dm_timer_cancel(p->client->loop, &p->timer);
    dm_task_cancel(p->client->loop, &p->failure);
    dm_stream_close(&p->stream);
}

static void abort_exchange(struct dm_http_peer *p, struct dm_http_end end)
{
    void *user = p->user;
    bool has_exchange = p->has_exchange, is_kept = p->is_kept;

    close_now(p);
    if (has_exchange)
        p->client->handler->on_abort(user, p, end);
    else if (is_kept && p->client->handler->on_idle_end)
        p->client->handler->on_idle_end(user, p);
}

static void fail_reading(struct dm_http_peer *p, int fault)
{
    abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, fault, 0});
}

static void arm(struct dm_http_peer *p, uint32_t ms)
{
    if (ms > 0)
        dm_timer_arm(p->client->loop, &p->timer, ms);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(timer, struct dm_http_peer, timer);

    if (p->is_kept)
        abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (p->has_exchange && p->reading == READ_HEAD && p->writing == WRITE_DONE)
        abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_RESPONSE_TIMEOUT, 0, 0});
    else if (p->has_exchange && ((p->reading == READ_BODY && !p->is_body_stalled) || dm_stream_unsent(&p->stream) > 0))
        abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void exchange_done(struct dm_http_peer *p)
{
    void *user = p->user;

    if (p->has_exchange && p->writing == WRITE_DONE && p->reading == READ_DONE) {
        p->has_exchange = false;
        p->client->handler->on_done(user, p);
    }
}

static void response_complete(struct dm_http_peer *p, const struct dm_http_head *trailers)
{
    p->reading = READ_DONE;
    if (p->writing != WRITE_DONE)
        p->is_closing = true;
    p->client->handler->on_response_end(p->user, p, trailers);
    if (!p->has_exchange)
        return;
    p->writing = WRITE_DONE; /* nobody wants the rest of the request */
    exchange_done(p);
}

static void begin_response(struct dm_http_peer *p)
{
    struct dm_http_head *head = &p->client->head;
    int rc = dm_http_body_init(&p->body, head, &p->client->settings.limits, UINT64_MAX);

    p->scan = 0;
    if (rc < 0) {
        fail_reading(p, -rc);
        return;
    }
    p->reading = READ_BODY;
    p->is_closing = p->is_closing || !head->keep_alive || head->framing == DM_HTTP_FRAMING_CLOSE;
    p->client->handler->on_response(p->user, p, head);
    if (p->reading == READ_BODY && dm_http_body_is_done(&p->body))
        response_complete(p, NULL);
}

static size_t read_head(struct dm_http_peer *p, const char *ptr, size_t len, bool *ret_more)
{
    struct dm_http_client *client = p->client;
    int rc = dm_http_parse_response(ptr, len, &p->scan, &client->settings.limits, (enum dm_http_method)p->method,
                                    &client->head);

    if (rc == 0)
        return 0;
    if (rc < 0) {
        fail_reading(p, -rc);
        return len;
    }
    *ret_more = true;
    if (client->head.status == 101) {
        fail_reading(p, DM_HTTP_BAD_STATUS); /* nobody asked for an upgrade */
        return len;
    }
    if (client->head.status >= 200)
        begin_response(p);
    else if (client->handler->on_inform)
        client->handler->on_inform(p->user, p, &client->head);
    return (size_t)rc;
}

static void body_through(struct dm_http_peer *p)
{
    struct dm_http_head *trailers = NULL;

    if (p->body.framing == DM_HTTP_FRAMING_CHUNKED && p->body.trailers.len > 2) {
        if (dm_http_parse_trailers(p->body.trailers.ptr, p->body.trailers.len, &p->client->settings.limits,
                                   &p->client->head) < 0) {
            fail_reading(p, DM_HTTP_BAD_TRAILER);
            return;
        }
        trailers = &p->client->head;
    }
    response_complete(p, trailers);
}

/* What the owner did not take is fed to the decoder again later. */
static size_t stall(struct dm_http_peer *p, const struct dm_http_body *before, const char *ptr, size_t taken_bytes)
{
    struct dm_str data;
    size_t consumed;

    p->body = *before;
    p->is_body_stalled = true;
    dm_stream_pause(&p->stream);
    if (taken_bytes == 0 || dm_http_body_feed(&p->body, dm_str_n(ptr, taken_bytes), &consumed, &data) < 0)
        return 0;
    return consumed;
}

static size_t read_body(struct dm_http_peer *p, const char *ptr, size_t len, bool *ret_more)
{
    struct dm_http_body before = p->body;
    struct dm_str data;
    size_t consumed;
    int rc = dm_http_body_feed(&p->body, dm_str_n(ptr, len), &consumed, &data);

    if (rc < 0) {
        fail_reading(p, -rc);
        return len;
    }
    if (data.len > 0) {
        size_t taken = p->client->handler->on_body(p->user, p, data.ptr, data.len);
        if (p->reading != READ_BODY)
            return len;
        if (taken < data.len)
            return stall(p, &before, ptr, (size_t)(data.ptr - ptr) + taken);
    }
    if (rc > 0)
        body_through(p);
    *ret_more = consumed > 0;
    return consumed;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_http_peer *p = peer_of(stream);
    size_t used = 0;
    bool more = true;

    if (!p->has_exchange) {
        if (p->reading != READ_CLOSED)
            abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, 0, 0});
        return len;
    }
    while (more && used < len && (p->reading == READ_HEAD || p->reading == READ_BODY)) {
        more = false;
        used += p->reading == READ_BODY ? read_body(p, ptr + used, len - used, &more)
                                        : read_head(p, ptr + used, len - used, &more);
    }
    if (p->reading == READ_CLOSED)
        return len;
    if (p->reading == READ_BODY && !p->is_body_stalled)
        arm(p, p->timeouts.idle_ms);
    if (p->reading == READ_IDLE && used < len) { /* kept inside on_done, but more than the response came */
        abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, 0, 0});
        return len;
    }
    return used;
}

static void on_eof(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    if (p->has_exchange && p->reading == READ_BODY && dm_http_body_end(&p->body) == 0) {
        p->is_closing = true;
        response_complete(p, NULL);
        return;
    }
    if (p->reading != READ_CLOSED)
        abort_exchange(p, (struct dm_http_end){DM_HTTP_ABORT_PEER_CLOSED, 0, 0});
}

static void on_connect(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    p->is_connected = true;
    arm(p, p->writing == WRITE_DONE ? p->timeouts.response_ms : p->timeouts.idle_ms);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_http_peer *p = peer_of(stream);
    enum dm_http_abort why = DM_HTTP_ABORT_PEER_RESET;

    if (!p->is_connected)
        why = code == DM_ETIMEOUT ? DM_HTTP_ABORT_CONNECT_TIMEOUT : DM_HTTP_ABORT_CONNECT_FAILED;
    else if (code == DM_EBUDGET)
        why = DM_HTTP_ABORT_FAULT;
    abort_exchange(p, (struct dm_http_end){why, code == DM_EBUDGET ? DM_HTTP_HEAD_TOO_LARGE : 0, code});
}

static void on_failed_start(struct dm_task *task)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(task, struct dm_http_peer, failure);
    struct dm_http_client *client = p->client;
    bool has_exchange = p->has_exchange;

    if (has_exchange)
        client->handler->on_abort(p->user, p, (struct dm_http_end){DM_HTTP_ABORT_CONNECT_FAILED, 0, p->connect_error});
    dm_free(p->end_trailers);
    dm_freelist_give(&client->free_peers, p);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

void dm_http_peer_send(struct dm_http_peer *p, const struct dm_http_message *m)
{
    struct dm_buf *out = &p->client->out;

    p->has_exchange = true;
    p->is_kept = p->is_end_pending = p->is_body_stalled = false;
    p->exchange_in = p->stream.bytes_in;
    p->exchange_out = p->stream.bytes_out + (p->connect_error ? 0 : dm_stream_unsent(&p->stream));
    p->framing = (uint8_t)m->framing;
    p->method = (uint8_t)dm_http_method_of(m->method);
    p->length_left = m->content_length;
    p->writing = WRITE_BODY;
    p->reading = READ_HEAD;
    p->scan = 0;
    p->is_closing = p->is_closing || m->is_closing;
    if (p->connect_error)
        return;
    dm_buf_reset(out);
    dm_http_write_request_line(out, m->method, m->target);
    dm_http_write_field(out, DM_STR("Host"), m->host);
    dm_buf_add(out, m->fields);
    if (m->framing == DM_HTTP_FRAMING_LENGTH)
        dm_http_write_field_u64(out, DM_STR("Content-Length"), m->content_length);
    else if (m->framing == DM_HTTP_FRAMING_CHUNKED)
        dm_buf_add_lit(out, "Transfer-Encoding: chunked\r\n");
    if (m->is_closing)
        dm_buf_add_lit(out, "Connection: close\r\n");
    dm_http_write_end(out);
    if (out->failed || dm_stream_put(&p->stream, out->ptr, out->len) < 0)
        p->is_closing = true;
    if (p->is_connected)
        arm(p, p->timeouts.idle_ms);
}

static size_t write_chunked(struct dm_http_peer *p, const char *ptr, size_t len)
{
    struct dm_buf *out = &p->client->out;
    size_t done = 0;

    while (done < len) {
        size_t n = DM_MIN(len - done, (size_t)PIECE_BYTES);
        char head[DM_HTTP_CHUNK_HEAD_MAX];

        dm_buf_reset(out);
        dm_buf_add_n(out, head, dm_http_chunk_head(n, head));
        dm_buf_add_n(out, ptr + done, n);
        dm_buf_add(out, DM_HTTP_CHUNK_TAIL);
        if (dm_stream_put(&p->stream, out->ptr, out->len) < 0)
            break;
        done += n;
    }
    return done;
}

size_t dm_http_peer_write(struct dm_http_peer *p, const char *ptr, size_t len)
{
    ssize_t n;

    if (len == 0 || p->writing != WRITE_BODY || p->connect_error)
        return len;
    if (p->framing == DM_HTTP_FRAMING_CHUNKED)
        return write_chunked(p, ptr, len);
    n = dm_stream_write(&p->stream, ptr, DM_MIN((uint64_t)len, p->length_left));
    if (n < 0)
        return n == DM_EAGAIN ? 0 : len;
    p->length_left -= (uint64_t)n;
    return (size_t)n;
}

static bool put_end(struct dm_http_peer *p, struct dm_str trailers)
{
    struct dm_buf *out = &p->client->out;

    if (p->framing != DM_HTTP_FRAMING_CHUNKED || p->connect_error)
        return true;
    dm_buf_reset(out);
    dm_buf_add(out, DM_HTTP_CHUNK_LAST);
    dm_buf_add(out, trailers);
    dm_http_write_end(out);
    return dm_stream_put(&p->stream, out->ptr, out->len) != DM_EAGAIN;
}

static void request_through(struct dm_http_peer *p)
{
    p->writing = WRITE_DONE;
    if (p->is_connected)
        arm(p, p->timeouts.response_ms);
    exchange_done(p);
}

void dm_http_peer_end(struct dm_http_peer *p, struct dm_str trailers)
{
    if (p->writing != WRITE_BODY)
        return;
    if (put_end(p, trailers)) {
        request_through(p);
        return;
    }
    p->is_end_pending = true;
    p->end_trailers = dm_strdup(trailers);
}

static void on_writable(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    if (p->is_end_pending) {
        if (!put_end(p, dm_str_of(p->end_trailers)))
            return;
        p->is_end_pending = false;
        dm_free(p->end_trailers);
        p->end_trailers = NULL;
        request_through(p);
        return;
    }
    if (p->has_exchange && p->writing == WRITE_BODY && p->client->handler->on_writable)
        p->client->handler->on_writable(p->user, p);
}

void dm_http_peer_resume(struct dm_http_peer *p)
{
    if (!p->is_body_stalled)
        return;
    p->is_body_stalled = false;
    arm(p, p->timeouts.idle_ms);
    dm_stream_resume(&p->stream);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void on_closed(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    dm_timer_cancel(p->client->loop, &p->timer);
    dm_free(p->end_trailers);
    dm_freelist_give(&p->client->free_peers, p);
}

struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_addr *addr,
                                            const struct dm_http_peer_timeouts *timeouts)
{
    struct dm_http_peer *p = dm_freelist_take(&client->free_peers);

    memset(p, 0, sizeof(*p));
    p->client = client;
    p->timeouts = *timeouts;
    p->addr = *addr;
    p->timer.on_due = on_due;
    p->failure.run = on_failed_start;
    p->connect_error = dm_stream_connect(&p->stream, client->loop, &client->type, addr, timeouts->connect_ms);
    if (p->connect_error)
        dm_task_post(client->loop, &p->failure);
    return p;
}

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *handler)
{
    struct dm_http_client *client = dm_calloc(1, sizeof(*client));

    client->loop = loop;
    client->settings = *settings;
    client->handler = handler;
    client->type = (struct dm_stream_type){on_read, on_eof, on_writable, on_connect, on_error, on_closed,
                                           settings->limits.head_bytes + 4096, (uint32_t)settings->write_cap_bytes};
    dm_freelist_init(&client->free_peers, sizeof(struct dm_http_peer), 4096);
    dm_buf_init(&client->out, HEAD_OUT_MAX);
    return client;
}

void dm_http_client_free(struct dm_http_client *client)
{
    if (!client)
        return;
    dm_freelist_done(&client->free_peers);
    dm_buf_done(&client->out);
    dm_free(client);
}

void dm_http_peer_set_user(struct dm_http_peer *p, void *user)
{
    p->user = user;
}

void *dm_http_peer_user(const struct dm_http_peer *p)
{
    return p->user;
}

bool dm_http_peer_has_response(const struct dm_http_peer *p)
{
    return p->stream.bytes_in > p->exchange_in;
}

bool dm_http_peer_is_reused(const struct dm_http_peer *p)
{
    return p->is_reused;
}

bool dm_http_peer_is_reusable(const struct dm_http_peer *p)
{
    return !p->is_closing && p->reading == READ_DONE && dm_stream_is_open(&p->stream) && dm_stream_unsent(&p->stream) == 0;
}

void dm_http_peer_keep(struct dm_http_peer *p, void *idle_user, uint32_t idle_ms)
{
    p->is_kept = true;
    p->user = idle_user;
    p->reading = READ_IDLE;
    p->writing = WRITE_NONE;
    arm(p, idle_ms);
}

void dm_http_peer_take(struct dm_http_peer *p, const struct dm_http_peer_timeouts *timeouts)
{
    p->is_kept = false;
    p->is_reused = true;
    p->timeouts = *timeouts;
}

void dm_http_peer_close(struct dm_http_peer *p)
{
    if (p->connect_error) {
        p->has_exchange = false; /* the posted task frees it */
        return;
    }
    if (p->reading != READ_CLOSED || !p->stream.is_closing)
        close_now(p);
}

const struct dm_addr *dm_http_peer_addr(const struct dm_http_peer *p)
{
    return &p->addr;
}

uint64_t dm_http_peer_bytes_in(const struct dm_http_peer *p)
{
    return p->stream.bytes_in - p->exchange_in;
}

uint64_t dm_http_peer_bytes_out(const struct dm_http_peer *p)
{
    return p->stream.bytes_out + dm_stream_unsent(&p->stream) - p->exchange_out;
}
