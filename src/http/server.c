/* One connection is two half machines, reading and writing one request at a time:
 *
 * reading   IDLE --[first byte]--> HEAD --[head]--> BODY --[end]--> COMPLETE --[response through]--> IDLE
 *           HEAD --[head without body]--> COMPLETE           any --[fault]--> CLOSED
 * writing   NONE --[respond]--> BODY --[end]--> DONE --[request complete]--> NONE
 *
 * C1. While reading is COMPLETE nothing is parsed: bytes of the next request wait in the stream, which is paused.
 * C2. Between on_request and on_done/on_abort has_request is true, and only then handler callbacks with a user come.
 * C3. The timer is armed wherever the peer is waited for; when it fires, on_due() looks at the state, so a state that waits
 *     for nobody need not cancel it. */
#include "http/server.h"
#include "base/freelist.h"
#include "base/mem.h"
#include "http/body.h"
#include "http/chunk.h"
#include "http/serialize.h"
#include "io/stream.h"

#define DROP_MAX_BYTES (64u << 10)  /* of a request's body that nobody wants */
#define LINGER_MS 2000              /* for the client to read our last answer */
#define HEAD_OUT_MAX (64u << 10)
#define PIECE_BYTES (16u << 10)     /* of a chunked body */
#define RATE_GRACE_NS (10ull * 1000 * 1000 * 1000)
#define RATE_CHECK_MS 5000u

enum reading { READ_IDLE, READ_HEAD, READ_BODY, READ_COMPLETE, READ_CLOSED };
enum writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };

struct dm_http_conn {
    struct dm_stream stream;
    struct dm_http_server *server;
    struct dm_http_conn *next, *prev;
    void *user;
    struct dm_timer timer;
    struct dm_addr peer;
    struct dm_http_body body;
    size_t scan;              /* of the head */
    uint64_t request_in, request_out; /* the stream's counters when this request began */
    uint64_t body_since_ns, progress; /* for the rate: when the body began; bytes in and out at the last look */
    uint64_t length_left;     /* of a response with LENGTH */
    char *end_trailers;       /* the end is due as soon as there is room */
    uint32_t drop_left;
    uint8_t reading, writing;
    uint8_t framing;          /* of the response */
    bool has_request, is_http10, is_head_request, is_ignoring, is_expecting, is_end_pending, has_eof;
    bool is_closing;          /* after this response */
    bool is_in_read, is_body_stalled, keeps_alive;
};

struct dm_http_server {
    struct dm_loop *loop;
    struct dm_http_server_settings settings;
    const struct dm_http_handler *handler;
    void *arg;
    struct dm_http_conn *conns;
    struct dm_freelist free_conns;
    struct dm_stream_type type;
    struct dm_buf out;         /* a head, or a chunk, while it is put together */
    size_t n_conns;
    bool is_draining, is_freeing;
    struct dm_http_head head;  /* of the message being parsed */
};

const struct dm_http_server_settings dm_http_server_defaults = {
    .limits = {32u << 10, 8u << 10, 100, 8u << 10, 4u << 10, false},
    .body_bytes_max = 0,
    .head_timeout_ms = 10000,
    .idle_timeout_ms = 75000,
    .body_timeout_ms = 30000,
    .body_rate_bytes = 0,
    .write_cap_bytes = 256u << 10,
    .connections_max = 100000,
};

const char *dm_http_abort_name(enum dm_http_abort why)
{
    static const char *const names[] = {
        [DM_HTTP_ABORT_PEER_CLOSED] = "peer_closed",
        [DM_HTTP_ABORT_PEER_RESET] = "peer_reset",
        [DM_HTTP_ABORT_IDLE] = "idle_timeout",
        [DM_HTTP_ABORT_HEAD_TIMEOUT] = "head_timeout",
        [DM_HTTP_ABORT_BODY_RATE] = "body_too_slow",
        [DM_HTTP_ABORT_CONNECT_FAILED] = "connect_failed",
        [DM_HTTP_ABORT_CONNECT_TIMEOUT] = "connect_timeout",
        [DM_HTTP_ABORT_RESPONSE_TIMEOUT] = "response_timeout",
        [DM_HTTP_ABORT_FAULT] = "malformed",
        [DM_HTTP_ABORT_TOO_LARGE] = "too_large",
        [DM_HTTP_ABORT_SHUTDOWN] = "shutdown",
    };

    return why > 0 && (size_t)why < DM_COUNT(names) && names[why] ? names[why] : "unknown";
}

static struct dm_http_conn *conn_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_conn, stream);
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void close_now(struct dm_http_conn *c)
{
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->server->loop, &c->timer);
    dm_stream_close(&c->stream);
}

static void close_after_answer(struct dm_http_conn *c)
{
    c->reading = READ_CLOSED;
    dm_timer_cancel(c->server->loop, &c->timer);
    dm_stream_close_gracefully(&c->stream, LINGER_MS);
}

/* The request in hand fails. The owner is told last: it may free the server's handler state, never the connection. */
static void abort_request(struct dm_http_conn *c, struct dm_http_end end)
{
    void *user = c->user;
    bool has_request = c->has_request;

    c->has_request = false;
    c->user = NULL;
    close_now(c);
    if (has_request)
        c->server->handler->on_abort(user, c, end);
}

static void answer_fault(struct dm_http_conn *c, struct dm_http_end end, unsigned status)
{
    struct dm_http_message message = {.status = status, .framing = DM_HTTP_FRAMING_LENGTH, .is_closing = true};
    struct dm_str body = DM_STR_NULL;

    if (c->server->handler->on_fault)
        c->server->handler->on_fault(c->server->arg, c, end, &message, &body);
    message.status = message.status ? message.status : status;
    message.is_closing = true;
    c->is_head_request = false;
    c->is_closing = true;
    message.content_length = body.len;
    dm_http_conn_respond(c, &message);
    if (body.len > 0 && dm_stream_put(&c->stream, body.ptr, body.len) < 0)
        c->is_closing = true;
    close_after_answer(c);
}

/* What came is no request, or its body is none. With a response under way there is nothing left to say. */
static void fail_reading(struct dm_http_conn *c, int fault)
{
    struct dm_http_end end = {fault == DM_HTTP_BODY_TOO_LARGE ? DM_HTTP_ABORT_TOO_LARGE : DM_HTTP_ABORT_FAULT, fault, 0};

    if (!c->has_request) {
        answer_fault(c, end, dm_http_fault_status((enum dm_http_fault)fault));
        return;
    }
    if (c->writing != WRITE_NONE) {
        abort_request(c, end);
        return;
    }
    void *user = c->user;
    c->has_request = false;
    c->user = NULL;
    answer_fault(c, end, dm_http_fault_status((enum dm_http_fault)fault));
    c->server->handler->on_abort(user, c, end);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static void arm(struct dm_http_conn *c, uint32_t ms)
{
    if (ms > 0)
        dm_timer_arm(c->server->loop, &c->timer, ms);
}

static void arm_body(struct dm_http_conn *c)
{
    const struct dm_http_server_settings *s = &c->server->settings;

    arm(c, s->body_rate_bytes ? DM_MIN(s->body_timeout_ms, RATE_CHECK_MS) : s->body_timeout_ms);
}

static bool waits_for_client(const struct dm_http_conn *c)
{
    return (c->reading == READ_BODY && !c->is_body_stalled) || dm_stream_unsent(&c->stream) > 0;
}

static bool is_too_slow(const struct dm_http_conn *c, uint64_t moved)
{
    uint64_t elapsed = dm_loop_now_ns(c->server->loop) - c->body_since_ns;
    uint32_t rate = c->server->settings.body_rate_bytes;

    return rate > 0 && elapsed > RATE_GRACE_NS && moved < rate * (elapsed / 1000000000);
}

/* A body moves in one direction or the other, or should. */
static void on_due_in_request(struct dm_http_conn *c)
{
    uint64_t moved = c->stream.bytes_in - c->request_in + c->stream.bytes_out - c->request_out;

    if (!waits_for_client(c))
        return;
    if (moved == c->progress && !c->server->settings.body_rate_bytes) {
        abort_request(c, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
        return;
    }
    if (is_too_slow(c, moved)) {
        abort_request(c, (struct dm_http_end){DM_HTTP_ABORT_BODY_RATE, 0, 0});
        return;
    }
    c->progress = moved;
    arm_body(c);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_http_conn *c = DM_CONTAINER_OF(timer, struct dm_http_conn, timer);

    if (c->has_request)
        on_due_in_request(c);
    else if (c->reading == READ_IDLE)
        close_now(c);
    else if (c->reading == READ_HEAD)
        answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_HEAD_TIMEOUT, 0, 0}, 408);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void request_done(struct dm_http_conn *c)
{
    void *user = c->user;
    bool is_ending = c->is_closing || c->has_eof || c->server->is_draining;

    c->has_request = false;
    c->user = NULL;
    c->reading = READ_IDLE;
    c->writing = WRITE_NONE;
    c->server->handler->on_done(user, c);
    if (is_ending) {
        close_after_answer(c);
        return;
    }
    arm(c, c->server->settings.idle_timeout_ms);
    if (!c->is_in_read && dm_stream_unread(&c->stream) > 0)
        dm_stream_resume(&c->stream);
}

static void maybe_done(struct dm_http_conn *c)
{
    if (c->has_request && c->writing == WRITE_DONE && c->reading == READ_COMPLETE)
        request_done(c);
}

/* The body is through: the owner hears of it unless it does not care, or is through itself. */
static void request_complete(struct dm_http_conn *c, const struct dm_http_head *trailers)
{
    c->reading = READ_COMPLETE;
    if (!c->is_ignoring && c->server->handler->on_request_end)
        c->server->handler->on_request_end(c->user, c, trailers);
    maybe_done(c);
}

static void begin_request(struct dm_http_conn *c, size_t head_bytes)
{
    struct dm_http_head *head = &c->server->head;
    uint64_t max = c->server->settings.body_bytes_max;
    int rc = dm_http_body_init(&c->body, head, &c->server->settings.limits, max ? max : UINT64_MAX);

    c->is_head_request = head->method == DM_HTTP_METHOD_HEAD;
    c->is_http10 = head->version_minor == 0;
    c->keeps_alive = head->keep_alive;
    c->is_closing = !head->keep_alive;
    c->is_ignoring = c->is_end_pending = c->is_body_stalled = false;
    c->is_expecting = head->expects_continue;
    c->writing = WRITE_NONE;
    c->scan = 0;
    c->request_in = c->stream.bytes_in - head_bytes;
    c->request_out = c->stream.bytes_out;
    c->progress = 0;
    if (rc < 0) {
        answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_TOO_LARGE, -rc, 0}, dm_http_fault_status((enum dm_http_fault)-rc));
        return;
    }
    c->has_request = true;
    c->reading = READ_BODY;
    if (!dm_http_body_is_done(&c->body)) {
        c->body_since_ns = dm_loop_now_ns(c->server->loop);
        arm_body(c);
    }
    c->server->handler->on_request(c->server->arg, c, head);
    if (c->reading == READ_BODY && dm_http_body_is_done(&c->body))
        request_complete(c, NULL);
}

/* Returns the bytes consumed; sets *ret_more when there is more to do with the rest. */
static size_t read_head(struct dm_http_conn *c, const char *ptr, size_t len, bool *ret_more)
{
    struct dm_http_server *server = c->server;
    int rc = dm_http_parse_request(ptr, len, &c->scan, &server->settings.limits, &server->head);

    if (rc == 0) {
        if (c->reading == READ_IDLE) {
            c->reading = READ_HEAD;
            arm(c, server->settings.head_timeout_ms);
        }
        return 0;
    }
    if (rc < 0) {
        fail_reading(c, -rc);
        return len;
    }
    begin_request(c, len);
    *ret_more = true;
    return (size_t)rc;
}

/* Gives a slice to the owner, or to nobody; returns how much was taken. */
static size_t deliver(struct dm_http_conn *c, struct dm_str data)
{
    size_t taken;

    if (!c->is_ignoring) {
        taken = c->server->handler->on_body(c->user, c, data.ptr, data.len);
        return c->has_request && !c->is_ignoring ? taken : data.len;
    }
    if (data.len > c->drop_left) {
        c->is_closing = true;
        c->reading = READ_COMPLETE;
        maybe_done(c);
        return data.len;
    }
    c->drop_left -= (uint32_t)data.len;
    return data.len;
}

static void body_through(struct dm_http_conn *c)
{
    struct dm_http_head *trailers = NULL;

    if (c->body.framing == DM_HTTP_FRAMING_CHUNKED && c->body.trailers.len > 2) {
        if (dm_http_parse_trailers(c->body.trailers.ptr, c->body.trailers.len, &c->server->settings.limits,
                                   &c->server->head) < 0) {
            fail_reading(c, DM_HTTP_BAD_TRAILER);
            return;
        }
        trailers = &c->server->head;
    }
    request_complete(c, trailers);
}

/* The decoder works on a copy, so that what the owner did not take can be fed again. */
static size_t read_body(struct dm_http_conn *c, const char *ptr, size_t len, bool *ret_more)
{
    struct dm_http_body before = c->body;
    struct dm_str data;
    size_t consumed, taken;
    int rc = dm_http_body_feed(&c->body, dm_str_n(ptr, len), &consumed, &data);

    if (rc < 0) {
        fail_reading(c, -rc);
        return len;
    }
    c->is_expecting = false;
    if (data.len > 0) {
        taken = deliver(c, data);
        if (c->reading != READ_BODY)
            return len;
        if (taken < data.len) {
            size_t framing = (size_t)(data.ptr - ptr);
            /* feed up to the last byte taken: what is left of the slice comes again */
            c->body = before;
            c->is_body_stalled = true;
            dm_stream_pause(&c->stream);
            if (framing + taken == 0)
                return 0;
            rc = dm_http_body_feed(&c->body, dm_str_n(ptr, framing + taken), &consumed, &data);
            return rc < 0 ? len : consumed;
        }
    }
    if (rc > 0)
        body_through(c);
    *ret_more = consumed > 0 || rc > 0;
    return consumed;
}

static bool may_parse(const struct dm_http_conn *c)
{
    return c->reading == READ_IDLE || c->reading == READ_HEAD || c->reading == READ_BODY;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_http_conn *c = conn_of(stream);
    size_t used = 0;
    bool more = true;

    c->is_in_read = true;
    while (more && used < len && may_parse(c)) {
        more = false;
        used += c->reading == READ_BODY ? read_body(c, ptr + used, len - used, &more)
                                        : read_head(c, ptr + used, len - used, &more);
    }
    c->is_in_read = false;
    if (c->reading == READ_CLOSED)
        return len;
    if (used < len && c->reading == READ_COMPLETE)
        dm_stream_pause(stream);
    else if (c->reading == READ_BODY && !c->is_body_stalled)
        arm_body(c);
    return used;
}

static void on_eof(struct dm_stream *stream)
{
    struct dm_http_conn *c = conn_of(stream);

    c->has_eof = true;
    if (!c->has_request)
        close_now(c);
    else if (c->reading == READ_BODY && !c->is_ignoring)
        abort_request(c, (struct dm_http_end){DM_HTTP_ABORT_PEER_CLOSED, 0, 0});
    else if (c->reading == READ_BODY) {
        c->reading = READ_COMPLETE;
        maybe_done(c);
    }
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_http_conn *c = conn_of(stream);

    if (code == DM_EBUDGET && !c->has_request)
        answer_fault(c, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE, 0}, 431);
    else
        abort_request(c, (struct dm_http_end){DM_HTTP_ABORT_PEER_RESET, 0, code});
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static bool has_body(const struct dm_http_conn *c, unsigned status)
{
    return !c->is_head_request && status != 204 && status != 304 && status >= 200;
}

static void write_framing(struct dm_buf *out, const struct dm_http_conn *c, const struct dm_http_message *m)
{
    if (m->framing == DM_HTTP_FRAMING_LENGTH && m->status != 204)
        dm_http_write_field_u64(out, DM_STR("Content-Length"), m->content_length);
    else if (m->framing == DM_HTTP_FRAMING_NONE && has_body(c, m->status))
        dm_buf_add_lit(out, "Content-Length: 0\r\n");
    else if (m->framing == DM_HTTP_FRAMING_CHUNKED && !c->is_http10 && m->status != 204 && m->status != 304)
        dm_buf_add_lit(out, "Transfer-Encoding: chunked\r\n");
}

static void write_connection(struct dm_buf *out, const struct dm_http_conn *c)
{
    if (c->is_closing)
        dm_buf_add_lit(out, "Connection: close\r\n");
    else if (c->is_http10)
        dm_buf_add_lit(out, "Connection: keep-alive\r\n");
}

/* A body that ends with the connection, or leaves a large rest of the request behind, closes it. */
static void decide_closing(struct dm_http_conn *c, const struct dm_http_message *m)
{
    bool ends_with_close = m->framing == DM_HTTP_FRAMING_CLOSE || (m->framing == DM_HTTP_FRAMING_CHUNKED && c->is_http10);
    bool leaves_rest = c->is_ignoring && c->reading == READ_BODY && !dm_http_body_is_done(&c->body) &&
                       (c->is_expecting || c->body.framing != DM_HTTP_FRAMING_LENGTH || c->body.left > DROP_MAX_BYTES);

    c->framing = ends_with_close ? DM_HTTP_FRAMING_CLOSE : (uint8_t)m->framing;
    c->is_closing = c->is_closing || m->is_closing || c->server->is_draining || leaves_rest ||
                    (ends_with_close && has_body(c, m->status));
}

void dm_http_conn_respond(struct dm_http_conn *c, const struct dm_http_message *m)
{
    struct dm_buf *out = &c->server->out;

    decide_closing(c, m);
    c->length_left = m->content_length;
    if (!has_body(c, m->status))
        c->framing = DM_HTTP_FRAMING_NONE;
    dm_buf_reset(out);
    dm_http_write_status_line(out, m->status, DM_STR_NULL);
    dm_buf_add(out, m->fields);
    write_framing(out, c, m);
    write_connection(out, c);
    dm_http_write_end(out);
    c->writing = WRITE_BODY;
    if (out->failed || dm_stream_put(&c->stream, out->ptr, out->len) < 0)
        c->is_closing = true;
    if (dm_stream_unsent(&c->stream) > 0)
        arm_body(c);
}

void dm_http_conn_inform(struct dm_http_conn *c, unsigned status, struct dm_str fields)
{
    struct dm_buf *out = &c->server->out;

    if (c->is_http10 || c->writing != WRITE_NONE || (status == 100 && !c->is_expecting))
        return;
    c->is_expecting = c->is_expecting && status != 100;
    dm_buf_reset(out);
    dm_http_write_status_line(out, status, DM_STR_NULL);
    dm_buf_add(out, fields);
    dm_http_write_end(out);
    if (dm_stream_put(&c->stream, out->ptr, out->len) < 0)
        return; /* a client that reads nothing misses nothing */
    dm_stream_flush(&c->stream);
}

/* Whole pieces only, each with its framing, so that a full queue never leaves half a chunk. */
static size_t write_chunked(struct dm_http_conn *c, const char *ptr, size_t len)
{
    struct dm_buf *out = &c->server->out;
    size_t done = 0;

    while (done < len) {
        size_t n = DM_MIN(len - done, (size_t)PIECE_BYTES);
        char head[DM_HTTP_CHUNK_HEAD_MAX];

        dm_buf_reset(out);
        dm_buf_add_n(out, head, dm_http_chunk_head(n, head));
        dm_buf_add_n(out, ptr + done, n);
        dm_buf_add(out, DM_HTTP_CHUNK_TAIL);
        if (dm_stream_put(&c->stream, out->ptr, out->len) < 0)
            break;
        done += n;
    }
    return done;
}

static size_t write_plain(struct dm_http_conn *c, const char *ptr, size_t len)
{
    ssize_t n;

    if (c->framing == DM_HTTP_FRAMING_LENGTH)
        len = (size_t)DM_MIN((uint64_t)len, c->length_left);
    n = len > 0 ? dm_stream_write(&c->stream, ptr, len) : 0;
    if (n < 0)
        return n == DM_EAGAIN ? 0 : len;
    c->length_left -= DM_MIN((uint64_t)n, c->length_left);
    return (size_t)n;
}

size_t dm_http_conn_write(struct dm_http_conn *c, const char *ptr, size_t len)
{
    size_t taken;

    if (len == 0 || c->framing == DM_HTTP_FRAMING_NONE)
        return len;
    taken = c->framing == DM_HTTP_FRAMING_CHUNKED ? write_chunked(c, ptr, len) : write_plain(c, ptr, len);
    if (taken < len)
        arm_body(c);
    return taken;
}

static bool put_end(struct dm_http_conn *c, struct dm_str trailers)
{
    struct dm_buf *out = &c->server->out;

    if (c->framing != DM_HTTP_FRAMING_CHUNKED)
        return true;
    dm_buf_reset(out);
    dm_buf_add(out, DM_HTTP_CHUNK_LAST);
    dm_buf_add(out, trailers);
    dm_http_write_end(out);
    return dm_stream_put(&c->stream, out->ptr, out->len) != DM_EAGAIN;
}

static void response_through(struct dm_http_conn *c)
{
    c->writing = WRITE_DONE;
    if (c->framing == DM_HTTP_FRAMING_LENGTH && c->length_left > 0)
        c->is_closing = true; /* fewer bytes than announced: the client must see it */
    if (c->reading == READ_BODY && !c->is_ignoring)
        dm_http_conn_ignore_body(c);
    if (c->reading == READ_BODY && !dm_http_body_is_done(&c->body) && (c->is_closing || c->is_expecting)) {
        c->reading = READ_COMPLETE;
        c->is_closing = true;
    }
    maybe_done(c);
}

void dm_http_conn_end(struct dm_http_conn *c, struct dm_str trailers)
{
    if (put_end(c, trailers)) {
        response_through(c);
        return;
    }
    c->is_end_pending = true;
    c->end_trailers = dm_strdup(trailers);
}

static void end_pending(struct dm_http_conn *c)
{
    if (!put_end(c, dm_str_of(c->end_trailers)))
        return;
    c->is_end_pending = false;
    dm_free(c->end_trailers);
    c->end_trailers = NULL;
    response_through(c);
}

static void on_writable(struct dm_stream *stream)
{
    struct dm_http_conn *c = conn_of(stream);

    if (c->is_end_pending)
        end_pending(c);
    else if (c->has_request && c->writing == WRITE_BODY && c->server->handler->on_writable)
        c->server->handler->on_writable(c->user, c);
}

void dm_http_conn_reply(struct dm_http_conn *c, struct dm_http_message *m, struct dm_str body)
{
    m->framing = DM_HTTP_FRAMING_LENGTH;
    m->content_length = body.len;
    dm_http_conn_ignore_body(c);
    dm_http_conn_respond(c, m);
    if (body.len > 0 && has_body(c, m->status) && dm_stream_put(&c->stream, body.ptr, body.len) == 0)
        c->length_left = 0;
    dm_http_conn_end(c, DM_STR_NULL);
}

void dm_http_conn_abort(struct dm_http_conn *c)
{
    c->has_request = false;
    c->user = NULL;
    close_now(c);
}

void dm_http_conn_resume(struct dm_http_conn *c)
{
    if (!c->is_body_stalled)
        return;
    c->is_body_stalled = false;
    arm_body(c);
    dm_stream_resume(&c->stream);
}

void dm_http_conn_ignore_body(struct dm_http_conn *c)
{
    if (c->is_ignoring)
        return;
    c->is_ignoring = true;
    c->drop_left = DROP_MAX_BYTES;
    dm_http_conn_resume(c);
}

void dm_http_conn_limit_body(struct dm_http_conn *c, uint64_t max_bytes)
{
    c->body.max_bytes = max_bytes;
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void on_closed(struct dm_stream *stream)
{
    struct dm_http_conn *c = conn_of(stream);
    struct dm_http_server *server = c->server;

    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        server->conns = c->next;
    server->n_conns--;
    dm_timer_cancel(server->loop, &c->timer);
    dm_free(c->end_trailers);
    dm_freelist_give(&server->free_conns, c);
}

static void link_conn(struct dm_http_server *server, struct dm_http_conn *c)
{
    c->next = server->conns;
    if (c->next)
        c->next->prev = c;
    server->conns = c;
    server->n_conns++;
}

void dm_http_server_accept(struct dm_http_server *server, int fd, const struct dm_addr *peer)
{
    struct dm_http_conn *c;

    if (server->is_draining || server->n_conns >= server->settings.connections_max) {
        dm_loop_sys(server->loop)->ops->close(dm_loop_sys(server->loop), fd);
        return;
    }
    c = dm_freelist_take(&server->free_conns);
    memset(c, 0, sizeof(*c));
    c->server = server;
    c->peer = *peer;
    c->timer.on_due = on_due;
    if (dm_stream_open(&c->stream, server->loop, &server->type, fd) < 0) {
        dm_freelist_give(&server->free_conns, c);
        return;
    }
    link_conn(server, c);
    arm(c, server->settings.head_timeout_ms);
}

struct dm_http_server *dm_http_server_new(struct dm_loop *loop, const struct dm_http_server_settings *settings,
                                          const struct dm_http_handler *handler, void *arg)
{
    struct dm_http_server *server = dm_calloc(1, sizeof(*server));

    server->loop = loop;
    server->settings = *settings;
    server->handler = handler;
    server->arg = arg;
    server->type = (struct dm_stream_type){on_read, on_eof, on_writable, NULL, on_error, on_closed,
                                           DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
                                           (uint32_t)settings->write_cap_bytes};
    dm_freelist_init(&server->free_conns, sizeof(struct dm_http_conn), 4096);
    dm_buf_init(&server->out, HEAD_OUT_MAX);
    return server;
}

void dm_http_server_free(struct dm_http_server *server)
{
    if (!server)
        return;
    while (server->conns) {
        struct dm_http_conn *c = server->conns;
        c->has_request = false;
        close_now(c);
        dm_loop_turn(server->loop, 0);
    }
    dm_freelist_done(&server->free_conns);
    dm_buf_done(&server->out);
    dm_free(server);
}

void dm_http_server_drain(struct dm_http_server *server)
{
    server->is_draining = true;
    for (struct dm_http_conn *c = server->conns; c; c = c->next)
        if (c->reading == READ_IDLE && !c->has_request)
            close_after_answer(c);
}

size_t dm_http_server_connections(const struct dm_http_server *server)
{
    return server->n_conns;
}

void dm_http_conn_set_user(struct dm_http_conn *c, void *user)
{
    c->user = user;
}

void *dm_http_conn_user(const struct dm_http_conn *c)
{
    return c->user;
}

const struct dm_addr *dm_http_conn_peer(const struct dm_http_conn *c)
{
    return &c->peer;
}

struct dm_loop *dm_http_conn_loop(const struct dm_http_conn *c)
{
    return c->server->loop;
}

uint64_t dm_http_conn_bytes_in(const struct dm_http_conn *c)
{
    return c->stream.bytes_in - c->request_in;
}

uint64_t dm_http_conn_bytes_out(const struct dm_http_conn *c)
{
    return c->stream.bytes_out + dm_stream_unsent(&c->stream) - c->request_out;
}
