/* One connection is two half machines, writing a request and reading its response:
 *
 * writing   NONE --[send]--> BODY --[end]--> DONE
 * reading   IDLE --[send]--> HEAD --[final head]--> BODY --[end]--> DONE        any --[fault, timeout]--> CLOSED
 * kept      after on_done, between keep and take: writing NONE, reading IDLE
 *
 * P1. has_exchange is true from send to on_done/on_abort; only then callbacks with the user come.
 * P2. A byte behind a response, on a kept connection, or before the first byte of a request has left is nobody's: it ends
 *     the connection, and the exchange that it would have answered (response smuggling).
 * P3. A response that is complete before its request ends the connection after it.
 * P4. The timer is armed wherever the backend is waited for; on_due() looks at the state and at the pace.
 * P5. A connection that fails while the owner has it between exchanges is dead: the next send, keep or close tells or frees.
 * P6. The memory goes when the owner has forgotten the connection and its stream is closed, and never inside a call. */
#include "http/client.h"
#include "base/freelist.h"
#include "base/mem.h"
#include "http/body.h"
#include "http/pace.h"
#include "http/serialize.h"
#include "http/writer.h"
#include "io/stream.h"

#define HEAD_OUT_MAX (128u << 10)
#define POLL_FAILURES_MAX 16 /* while the last connections close */

enum writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };
enum reading { READ_IDLE, READ_HEAD, READ_BODY, READ_DONE, READ_CLOSED };

struct dm_http_peer {
    struct dm_stream stream;
    struct dm_http_client *client;
    void *user;
    struct dm_timer timer;
    struct dm_task tell; /* of a dead connection: what the owner is to hear comes from the loop */
    struct dm_http_body body;
    struct dm_http_writer writer;
    struct dm_http_pace pace; /* both directions together */
    struct dm_http_peer_timeouts timeouts;
    struct dm_addr addr;
    struct dm_http_end end; /* why it is dead */
    size_t scan;
    uint64_t position;                  /* in the stream: where the bytes begin that are not consumed */
    uint64_t exchange_in, exchange_out; /* in the stream: where this exchange began */
    uint64_t head_due_ns;               /* when the response head is too late */
    uint32_t exchange;                  /* number of the exchange: an owner may begin the next one inside on_done */
    uint8_t writing, reading;
    uint8_t method; /* enum dm_http_method of the request in hand */
    bool has_exchange, is_kept, is_connected, is_reused, is_body_stalled;
    bool is_closing; /* not to be used again */
    bool is_dead, is_forgotten, is_stream_closed;
};

struct dm_http_client {
    struct dm_loop *loop;
    struct dm_http_client_settings settings;
    const struct dm_http_peer_handler *handler;
    struct dm_freelist free_peers;
    struct dm_stream_type type;
    struct dm_buf out;
    size_t n_owned;           /* connections that the owner has not forgotten */
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

static size_t unsent(const struct dm_http_peer *p)
{
    return p->is_dead ? 0 : dm_stream_unsent(&p->stream);
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void forget(struct dm_http_peer *p)
{
    p->has_exchange = p->is_kept = false;
    p->is_forgotten = true;
    p->client->n_owned--;
}

static void close_stream(struct dm_http_peer *p)
{
    p->reading = READ_CLOSED;
    dm_timer_cancel(p->client->loop, &p->timer);
    if (!p->is_stream_closed)
        dm_stream_close(&p->stream);
}

/* P5 */
static void die(struct dm_http_peer *p, struct dm_http_end end)
{
    p->is_dead = true;
    p->end = end;
    close_stream(p);
}

static void tell_end(struct dm_http_peer *p, struct dm_http_end end)
{
    const struct dm_http_peer_handler *handler = p->client->handler;
    bool has_exchange = p->has_exchange, is_kept = p->is_kept;
    void *user = p->user;

    forget(p);
    if (has_exchange)
        handler->on_abort(user, p, end);
    else if (is_kept && handler->on_idle_end)
        handler->on_idle_end(user, p);
}

static void fail(struct dm_http_peer *p, struct dm_http_end end)
{
    if (!p->has_exchange && !p->is_kept) {
        die(p, end);
        return;
    }
    close_stream(p);
    tell_end(p, end);
}

static void fail_reading(struct dm_http_peer *p, int fault)
{
    fail(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, fault, 0});
}

static void free_if_gone(struct dm_http_peer *p)
{
    struct dm_http_client *client = p->client;

    if (!p->is_forgotten || !p->is_stream_closed)
        return;
    dm_task_cancel(client->loop, &p->tell);
    dm_http_writer_done(&p->writer);
    dm_freelist_give(&client->free_peers, p);
}

static void on_tell(struct dm_task *task)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(task, struct dm_http_peer, tell);

    if (!p->is_forgotten && (p->has_exchange || p->is_kept))
        tell_end(p, p->end);
    free_if_gone(p);
}

static void on_closed(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    p->is_stream_closed = true;
    dm_timer_cancel(p->client->loop, &p->timer);
    free_if_gone(p);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static void arm(struct dm_http_peer *p, uint32_t ms)
{
    if (DM_LIKELY(ms > 0))
        dm_timer_arm(p->client->loop, &p->timer, ms);
    else
        dm_timer_cancel(p->client->loop, &p->timer);
}

static void arm_look(struct dm_http_peer *p)
{
    arm(p, dm_http_pace_period_ms(p->timeouts.idle_ms));
}

static bool awaits_head(const struct dm_http_peer *p)
{
    return p->reading == READ_HEAD && p->writing == WRITE_DONE;
}

static void look(struct dm_http_peer *p)
{
    bool is_reading = p->reading == READ_BODY && !p->is_body_stalled;

    dm_http_pace_look(&p->pace, p->stream.bytes_in + p->stream.bytes_out, is_reading || unsent(p) > 0,
                      dm_loop_now_ns(p->client->loop));
}

/* The request is sent from here on. */
static void begin_waiting_for_head(struct dm_http_peer *p)
{
    uint32_t period_ms = dm_http_pace_period_ms(p->timeouts.idle_ms), response_ms = p->timeouts.response_ms;

    p->head_due_ns = response_ms ? dm_loop_now_ns(p->client->loop) + response_ms * UINT64_C(1000000) : UINT64_MAX;
    arm(p, response_ms ? DM_MIN(response_ms, period_ms) : period_ms);
}

static void on_due_awaiting_head(struct dm_http_peer *p)
{
    uint64_t now_ns = dm_loop_now_ns(p->client->loop);

    if (p->head_due_ns == UINT64_MAX)
        return;
    if (now_ns >= p->head_due_ns)
        fail(p, (struct dm_http_end){DM_HTTP_ABORT_RESPONSE_TIMEOUT, 0, 0});
    else
        arm(p, (uint32_t)((p->head_due_ns - now_ns + 999999) / 1000000));
}

static void on_due_moving(struct dm_http_peer *p)
{
    look(p);
    if (dm_http_pace_judge(&p->pace, p->timeouts.idle_ms, 0) != DM_HTTP_PACE_FINE)
        fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (awaits_head(p))
        begin_waiting_for_head(p);
    else if (p->pace.is_waiting)
        arm_look(p);
}

static void on_due(struct dm_timer *timer)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(timer, struct dm_http_peer, timer);

    if (p->is_kept)
        fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    else if (p->has_exchange && awaits_head(p) && unsent(p) == 0)
        on_due_awaiting_head(p);
    else if (p->has_exchange)
        on_due_moving(p);
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
    uint32_t exchange = p->exchange;

    p->reading = READ_DONE;
    if (p->writing != WRITE_DONE)
        p->is_closing = true;
    if (p->client->handler->on_response_end)
        p->client->handler->on_response_end(p->user, p, trailers);
    if (!p->has_exchange || p->exchange != exchange)
        return;
    p->writing = WRITE_DONE; /* nobody wants the rest of the request */
    dm_http_writer_done(&p->writer);
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
    if (!dm_http_body_is_done(&p->body)) {
        look(p);
        arm_look(p);
    }
    p->client->handler->on_response(p->user, p, head);
    if (p->reading == READ_BODY && dm_http_body_is_done(&p->body))
        response_complete(p, NULL);
}

/* Returns whether there is more to do with the rest. */
static bool read_head(struct dm_http_peer *p, const char *ptr, size_t len)
{
    struct dm_http_client *client = p->client;
    int rc = dm_http_parse_response(ptr, len, &p->scan, &client->settings.limits, (enum dm_http_method)p->method,
                                    &client->head);

    if (rc == 0)
        return false;
    if (rc < 0 || client->head.status == 101) { /* nobody asked for an upgrade */
        fail_reading(p, rc < 0 ? -rc : DM_HTTP_BAD_STATUS);
        return false;
    }
    p->position += (size_t)rc;
    if (client->head.status >= 200)
        begin_response(p);
    else if (client->handler->on_inform)
        client->handler->on_inform(p->user, p, &client->head);
    return true;
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

/* What the owner did not take is fed to the decoder again later; returns how many bytes are consumed. */
static size_t stall(struct dm_http_peer *p, const struct dm_http_body *before, const char *ptr, size_t len)
{
    struct dm_str data;
    size_t consumed;

    p->body = *before;
    p->is_body_stalled = true;
    look(p);
    dm_stream_pause(&p->stream);
    if (len == 0 || dm_http_body_feed(&p->body, dm_str_n(ptr, len), &consumed, &data) < 0)
        return 0;
    return consumed;
}

static bool read_body(struct dm_http_peer *p, const char *ptr, size_t len)
{
    struct dm_http_body before = p->body;
    struct dm_str data;
    size_t consumed;
    int rc = dm_http_body_feed(&p->body, dm_str_n(ptr, len), &consumed, &data);

    if (rc < 0) {
        fail_reading(p, -rc);
        return false;
    }
    p->position += consumed;
    if (data.len > 0) {
        size_t taken = p->client->handler->on_body(p->user, p, data.ptr, data.len);
        if (p->reading != READ_BODY)
            return false;
        if (taken < data.len) {
            p->position -= consumed;
            p->position += stall(p, &before, ptr, (size_t)(data.ptr - ptr) + taken);
            return false;
        }
    }
    if (rc > 0)
        body_through(p);
    return consumed > 0;
}

static bool may_parse(const struct dm_http_peer *p, uint32_t exchange)
{
    return p->exchange == exchange && (p->reading == READ_HEAD || p->reading == READ_BODY);
}

/* P2 */
static bool is_expected(const struct dm_http_peer *p)
{
    return p->has_exchange && p->stream.bytes_out > p->exchange_out;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_http_peer *p = peer_of(stream);
    uint32_t exchange = p->exchange;
    uint64_t start = stream->bytes_in - len;
    bool more = is_expected(p);
    size_t used = 0;

    p->position = start;
    while (more && (used = (size_t)(p->position - start)) < len && may_parse(p, exchange))
        more = p->reading == READ_BODY ? read_body(p, ptr + used, len - used) : read_head(p, ptr + used, len - used);
    used = (size_t)(p->position - start);
    if (p->reading == READ_CLOSED)
        return len;
    if (used < len && (!may_parse(p, exchange) || !is_expected(p))) {
        fail_reading(p, 0);
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
        fail(p, (struct dm_http_end){DM_HTTP_ABORT_PEER_CLOSED, 0, 0});
}

static void on_connect(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    p->is_connected = true;
    if (!p->has_exchange)
        return;
    if (p->writing == WRITE_DONE)
        begin_waiting_for_head(p);
    else
        arm_look(p);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_http_peer *p = peer_of(stream);
    enum dm_http_abort why = DM_HTTP_ABORT_PEER_RESET;

    if (!p->is_connected)
        why = code == DM_ETIMEOUT ? DM_HTTP_ABORT_CONNECT_TIMEOUT : DM_HTTP_ABORT_CONNECT_FAILED;
    fail(p, (struct dm_http_end){why, 0, code});
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void begin_exchange(struct dm_http_peer *p, const struct dm_http_message *m)
{
    p->exchange++;
    p->has_exchange = true;
    p->is_kept = p->is_body_stalled = false;
    p->exchange_in = p->stream.bytes_in;
    p->exchange_out = p->stream.bytes_out + unsent(p);
    p->method = (uint8_t)dm_http_method_of(m->method);
    p->writer.framing = (uint8_t)m->framing;
    p->writer.length_left = m->content_length;
    p->writing = WRITE_BODY;
    p->reading = READ_HEAD;
    p->scan = 0;
    p->is_closing = p->is_closing || m->is_closing;
    dm_http_pace_reset(&p->pace);
}

static void write_head(struct dm_buf *out, const struct dm_http_message *m)
{
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
}

void dm_http_peer_send(struct dm_http_peer *p, const struct dm_http_message *m)
{
    struct dm_buf *out = &p->client->out;

    begin_exchange(p, m);
    write_head(out, m);
    if (DM_UNLIKELY(out->failed) && !p->is_dead) /* nothing of it may go out */
        die(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE, 0});
    if (DM_UNLIKELY(p->is_dead)) {
        p->reading = READ_CLOSED;
        dm_task_post(p->client->loop, &p->tell);
        return;
    }
    if (dm_stream_put(&p->stream, out->ptr, out->len) < 0)
        p->is_closing = true; /* the stream has failed and will say so */
    if (p->is_connected)
        arm_look(p);
}

size_t dm_http_peer_write(struct dm_http_peer *p, const char *ptr, size_t len)
{
    size_t taken;

    if (p->writing != WRITE_BODY || p->is_dead)
        return len;
    taken = dm_http_writer_put(&p->writer, &p->stream, &p->client->out, ptr, len);
    if (DM_UNLIKELY(!dm_timer_is_armed(&p->timer)) && p->is_connected)
        arm_look(p);
    return taken;
}

static void request_through(struct dm_http_peer *p)
{
    p->writing = WRITE_DONE;
    if (dm_http_writer_is_short(&p->writer)) { /* the backend must see it */
        p->is_closing = true;
        dm_stream_shutdown(&p->stream);
    }
    if (p->is_connected && p->reading == READ_HEAD)
        begin_waiting_for_head(p);
    exchange_done(p);
}

void dm_http_peer_end(struct dm_http_peer *p, struct dm_str trailers)
{
    if (p->writing != WRITE_BODY || p->writer.is_ending || p->is_dead)
        return;
    if (dm_http_writer_end(&p->writer, &p->stream, &p->client->out, trailers))
        request_through(p);
}

static void on_writable(struct dm_stream *stream)
{
    struct dm_http_peer *p = peer_of(stream);

    if (!p->has_exchange || p->writing != WRITE_BODY)
        return;
    if (!p->writer.is_ending) {
        if (p->client->handler->on_writable)
            p->client->handler->on_writable(p->user, p);
    } else if (dm_http_writer_retry(&p->writer, stream, &p->client->out)) {
        request_through(p);
    }
}

void dm_http_peer_resume(struct dm_http_peer *p)
{
    if (!p->is_body_stalled || p->reading != READ_BODY)
        return;
    p->is_body_stalled = false;
    look(p);
    arm_look(p);
    dm_stream_resume(&p->stream);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_addr *addr,
                                            const struct dm_http_peer_timeouts *timeouts)
{
    struct dm_http_peer *p = dm_freelist_take(&client->free_peers);
    int rc;

    memset(p, 0, sizeof(*p));
    p->client = client;
    p->timeouts = *timeouts;
    p->addr = *addr;
    p->timer.on_due = on_due;
    p->tell.run = on_tell;
    client->n_owned++;
    if ((rc = dm_stream_connect(&p->stream, client->loop, &client->type, addr, timeouts->connect_ms)) < 0) {
        p->is_stream_closed = true;
        die(p, (struct dm_http_end){DM_HTTP_ABORT_CONNECT_FAILED, 0, rc});
    }
    return p;
}

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *handler)
{
    struct dm_http_client *client = dm_calloc(1, sizeof(*client));

    client->loop = loop;
    client->settings = *settings;
    client->handler = handler;
    client->type = (struct dm_stream_type){
        .on_read = on_read,
        .on_eof = on_eof,
        .on_writable = on_writable,
        .on_connect = on_connect,
        .on_error = on_error,
        .on_closed = on_closed,
        .read_max_bytes = DM_MAX(settings->limits.head_bytes, settings->limits.trailer_bytes) + 4096,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    dm_freelist_init(&client->free_peers, sizeof(struct dm_http_peer), 4096);
    dm_buf_init(&client->out, HEAD_OUT_MAX);
    return client;
}

void dm_http_client_free(struct dm_http_client *client)
{
    unsigned n_failed = 0;

    if (!client)
        return;
    while (client->free_peers.n_used > client->n_owned && n_failed < POLL_FAILURES_MAX)
        n_failed += dm_loop_turn(client->loop, 0) < 0;
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
    return !p->is_closing && !p->is_dead && p->reading == READ_DONE && p->position == p->stream.bytes_in &&
           dm_stream_is_open(&p->stream) && dm_stream_unsent(&p->stream) == 0;
}

void dm_http_peer_keep(struct dm_http_peer *p, void *idle_user, uint32_t idle_ms)
{
    p->is_kept = true;
    p->user = idle_user;
    if (DM_UNLIKELY(p->is_dead)) {
        dm_task_post(p->client->loop, &p->tell);
        return;
    }
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
    if (p->is_forgotten)
        return;
    forget(p);
    close_stream(p);
    if (p->is_stream_closed)
        dm_task_post(p->client->loop, &p->tell); /* P6 */
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
    uint64_t sent = p->stream.bytes_out + unsent(p);

    return sent > p->exchange_out ? sent - p->exchange_out : 0;
}
