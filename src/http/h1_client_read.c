/* The reading half of a connection: heads and bodies of responses. */
#include "http/h1_client_int.h"

#include <assert.h>

static void fail_reading(struct dm_h1_peer *p, int fault)
{
    dm_h1_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_FAULT, fault, 0});
}

void dm_h1_peer_maybe_done(struct dm_h1_peer *p)
{
    if (p->has_call && p->writing == WRITE_DONE && p->reading == READ_DONE)
        dm_h1_peer_done(p);
}

static void response_complete(struct dm_h1_peer *p, const struct dm_http_head *trailers)
{
    uint32_t n_calls = p->n_calls;

    p->reading = READ_DONE;
    if (p->writing != WRITE_DONE)
        p->is_closing = true;
    if (p->base.client->handler->on_response_end)
        p->base.client->handler->on_response_end(p->call.user, &p->call, trailers);
    if (!p->has_call || p->n_calls != n_calls)
        return;
    p->writing = WRITE_DONE; /* nobody wants the rest of the request */
    dm_http_writer_done(&p->writer);
    dm_h1_peer_maybe_done(p);
}

static void begin_response(struct dm_h1_peer *p)
{
    struct dm_http_head *head = &p->base.client->head;
    int rc = dm_http_body_init(&p->body, head, &p->base.client->settings.limits, UINT64_MAX);

    assert(rc == 0); /* nothing is above that */
    p->scan = 0;
    p->reading = READ_BODY;
    p->is_closing = p->is_closing || !head->keep_alive || head->framing == DM_HTTP_FRAMING_CLOSE;
    if (!dm_http_body_is_done(&p->body)) {
        dm_h1_peer_look(p);
        dm_h1_peer_arm_look(p);
    }
    p->base.client->handler->on_response(p->call.user, &p->call, head);
    if (p->reading == READ_BODY && dm_http_body_is_done(&p->body))
        response_complete(p, NULL);
}

static bool switch_protocol(struct dm_h1_peer *p)
{
    if (dm_h1_tunnel_begin(p, &p->base.client->head))
        return true;
    fail_reading(p, DM_HTTP_BAD_STATUS); /* nobody asked for it */
    return false;
}

/* Returns whether there is more to do with the rest. */
static bool read_head(struct dm_h1_peer *p, const char *ptr, size_t len)
{
    struct dm_http_client *client = p->base.client;
    int rc = dm_http_parse_response(ptr, len, &p->scan, &client->settings.limits, (enum dm_http_method)p->method,
                                    &client->head);

    if (rc == 0)
        return false;
    if (rc < 0) {
        fail_reading(p, -rc);
        return false;
    }
    p->position += (size_t)rc;
    if (DM_UNLIKELY(client->head.status == 101))
        return switch_protocol(p);
    if (DM_LIKELY(client->head.status >= 200))
        begin_response(p);
    else if ((rc = dm_http_call_inform(&p->call, &client->head)) < 0)
        fail_reading(p, -rc);
    return true;
}

static void body_through(struct dm_h1_peer *p)
{
    struct dm_http_head *trailers = NULL;

    if (p->body.framing == DM_HTTP_FRAMING_CHUNKED && p->body.trailers.len > 2) {
        if (dm_http_parse_trailers(p->body.trailers.ptr, p->body.trailers.len, &p->base.client->settings.limits,
                                   &p->base.client->head) < 0) {
            fail_reading(p, DM_HTTP_BAD_TRAILER);
            return;
        }
        trailers = &p->base.client->head;
    }
    response_complete(p, trailers);
}

/* What the owner did not take is fed to the decoder again later; returns how many bytes are consumed. */
static size_t stall(struct dm_h1_peer *p, const struct dm_http_body *before, const char *ptr, size_t len)
{
    struct dm_str data;
    size_t consumed;

    p->body = *before;
    p->is_body_stalled = true;
    dm_h1_peer_look(p);
    dm_stream_pause(&p->base.stream);
    if (len == 0 || dm_http_body_feed(&p->body, dm_str_n(ptr, len), &consumed, &data) < 0)
        return 0;
    return consumed;
}

static bool read_body(struct dm_h1_peer *p, const char *ptr, size_t len)
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
        size_t taken = p->base.client->handler->on_body(p->call.user, &p->call, data.ptr, data.len);
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

static bool may_parse(const struct dm_h1_peer *p, uint32_t n_calls)
{
    return p->n_calls == n_calls && (p->reading == READ_HEAD || p->reading == READ_BODY || p->reading == READ_TUNNEL);
}

/* P2 */
static bool is_expected(const struct dm_h1_peer *p)
{
    return p->has_call && p->base.stream.bytes_out > p->call_out;
}

static bool read_some(struct dm_h1_peer *p, const char *ptr, size_t len)
{
    if (p->reading == READ_BODY)
        return read_body(p, ptr, len);
    if (DM_LIKELY(p->reading == READ_HEAD))
        return read_head(p, ptr, len);
    return dm_h1_tunnel_read(p, ptr, len);
}

/* P2. A call whose request has not left, on a connection that was kept, can begin anew on another one. */
static void fail_unasked(struct dm_h1_peer *p)
{
    if (!p->has_call || !p->call.is_reused || p->base.stream.bytes_out > p->call_out) {
        fail_reading(p, 0);
        return;
    }
    p->call_in = p->base.stream.bytes_in;
    dm_h1_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_REFUSED, 0, 0});
}

size_t dm_h1_peer_on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_h1_peer *p = dm_h1_peer_of_stream(stream);
    uint32_t n_calls = p->n_calls;
    uint64_t start = stream->bytes_in - len;
    bool more = is_expected(p);
    size_t used = 0;

    p->position = start;
    while (more && (used = (size_t)(p->position - start)) < len && may_parse(p, n_calls))
        more = read_some(p, ptr + used, len - used);
    used = (size_t)(p->position - start);
    if (p->base.is_closed)
        return len;
    if (used < len && (!may_parse(p, n_calls) || !is_expected(p))) {
        fail_unasked(p);
        return len;
    }
    return used;
}

void dm_h1_peer_on_eof(struct dm_stream *stream)
{
    struct dm_h1_peer *p = dm_h1_peer_of_stream(stream);

    if (p->has_call && p->reading == READ_TUNNEL) {
        dm_h1_tunnel_on_eof(p);
        return;
    }
    if (p->has_call && p->reading == READ_BODY && dm_http_body_end(&p->body) == 0) {
        p->is_closing = true;
        response_complete(p, NULL);
        return;
    }
    if (p->reading != READ_CLOSED)
        dm_h1_peer_fail(p, dm_http_peer_end_of(&p->base, 0));
}

void dm_h1_call_resume(struct dm_http_call *call)
{
    struct dm_h1_peer *p = dm_h1_peer_of_call(call);

    if (!p->is_body_stalled || (p->reading != READ_BODY && p->reading != READ_TUNNEL))
        return;
    p->is_body_stalled = false;
    if (p->reading == READ_BODY) {
        dm_h1_peer_look(p);
        dm_h1_peer_arm_look(p);
    }
    dm_stream_resume(&p->base.stream);
}
