/* The reading half of a connection: heads, bodies, and what comes between requests. */
#include "http/h1_server_int.h"

#define GATHERED_MAX_BYTES (64u << 10) /* more than that is certainly queued */

/* --- between requests --------------------------------------------------------------------------------------------- */

/* C4: with a full queue the next request waits. */
static void hold_or_idle(struct dm_h1_conn *c)
{
    size_t unsent = dm_stream_unsent(&c->base.stream);

    if (DM_UNLIKELY(dm_stream_room(&c->base.stream) == 0) && dm_stream_put(&c->base.stream, "", 1) == DM_EAGAIN) {
        c->reading = READ_HELD;
        c->is_sending = true;
        dm_h1_conn_arm_look(c);
        return;
    }
    if (DM_UNLIKELY(unsent > GATHERED_MAX_BYTES))
        dm_h1_conn_arm_look(c);
    else
        dm_http_conn_arm(&c->base, c->base.idle_timeout_ms);
    c->is_sending = unsent > GATHERED_MAX_BYTES;
    if (!c->is_in_read && dm_stream_unread(&c->base.stream) > 0)
        dm_stream_resume(&c->base.stream);
}

static void request_done(struct dm_h1_conn *c)
{
    void *user = c->request.user;

    c->has_request = c->is_tunnel = false;
    c->request.user = NULL;
    c->reading = READ_IDLE;
    c->writing = WRITE_NONE;
    c->base.server->handler->on_done(user, &c->request);
    if (c->reading != READ_IDLE)
        return;
    /* An answer that went out before the drain began said nothing of an end: the client may count on the next one. */
    if (c->is_closing || c->has_eof || c->base.server->has_drained)
        dm_h1_conn_leave(c);
    else
        hold_or_idle(c);
}

void dm_h1_conn_maybe_done(struct dm_h1_conn *c)
{
    if (c->has_request && c->writing == WRITE_DONE && c->reading == READ_COMPLETE)
        request_done(c);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* What came is no request, or its body is none. */
static void fail_reading(struct dm_h1_conn *c, int fault)
{
    struct dm_http_end end = {fault == DM_HTTP_BODY_TOO_LARGE ? DM_HTTP_ABORT_TOO_LARGE : DM_HTTP_ABORT_FAULT, fault,
                              0};

    c->base.server->stats->faults[fault]++;
    dm_h1_conn_refuse(c, end, dm_http_fault_status((enum dm_http_fault)fault));
}

/* The body is through: the owner hears of it unless it does not care, or is through itself. */
static void request_complete(struct dm_h1_conn *c, const struct dm_http_head *trailers)
{
    c->reading = READ_COMPLETE;
    if (!c->is_ignoring && c->base.server->handler->on_request_end)
        c->base.server->handler->on_request_end(c->request.user, &c->request, trailers);
    dm_h1_conn_maybe_done(c);
}

static void take_head(struct dm_h1_conn *c, const struct dm_http_head *head)
{
    const struct dm_http_server_settings *settings = &c->base.server->settings;

    c->is_head_request = head->method == DM_HTTP_METHOD_HEAD;
    c->is_http10 = head->version_minor == 0;
    c->is_closing = !head->keep_alive;
    c->is_expecting = head->expects_continue;
    c->is_ignoring = c->is_body_stalled = false;
    c->may_tunnel = head->upgrade.len > 0;
    c->writing = WRITE_NONE;
    c->body_timeout_ms = settings->body_timeout_ms;
    c->body_rate_bytes = settings->body_rate_bytes;
    dm_http_pace_reset(&c->in);
    dm_http_pace_reset(&c->out);
}

static void begin_request(struct dm_h1_conn *c, size_t head_bytes)
{
    struct dm_http_head *head = &c->base.server->head;
    uint64_t max = c->base.server->settings.body_bytes_max;
    int rc = dm_http_body_init(&c->body, head, &c->base.server->settings.limits, max ? max : UINT64_MAX);

    take_head(c, head);
    c->request_in = c->position;
    c->request_out = c->base.stream.bytes_out + dm_stream_unsent(&c->base.stream);
    c->position += head_bytes;
    if (rc < 0) {
        fail_reading(c, -rc);
        return;
    }
    c->has_request = true;
    c->reading = READ_BODY;
    if (!dm_http_body_is_done(&c->body)) {
        dm_h1_conn_look(c);
        dm_h1_conn_arm_look(c);
    }
    c->base.server->handler->on_request(c->base.server->arg, &c->request, head);
    if (c->reading == READ_BODY && dm_http_body_is_done(&c->body))
        request_complete(c, NULL);
}

/* Returns whether there is more to do with the rest. */
static bool read_head(struct dm_h1_conn *c, const char *ptr, size_t len)
{
    struct dm_http_server *server = c->base.server;
    int rc = dm_http_parse_request(ptr, len, &c->scan, &server->settings.limits, &server->head);

    if (rc <= 0)
        c->is_head_request = c->is_http10 = false; /* of the request before */
    if (rc == 0) {
        if (c->reading == READ_IDLE) {
            c->reading = READ_HEAD;
            dm_http_conn_arm(&c->base, c->base.head_timeout_ms);
        }
        return false;
    }
    if (rc < 0) {
        c->request_in = c->position;
        c->request_out = c->base.stream.bytes_out + dm_stream_unsent(&c->base.stream);
        fail_reading(c, -rc);
        return false;
    }
    begin_request(c, (size_t)rc);
    return true;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

/* More of an unwanted body came than is worth reading. */
static void refuse_rest(struct dm_h1_conn *c)
{
    c->is_closing = true;
    c->reading = READ_COMPLETE;
    dm_h1_conn_maybe_done(c);
}

/* Gives a slice to the owner, or to nobody; returns how much was taken. */
static size_t deliver(struct dm_h1_conn *c, struct dm_str data)
{
    size_t taken;

    if (!c->is_ignoring) {
        taken = c->base.server->handler->on_body(c->request.user, &c->request, data.ptr, data.len);
        return c->has_request && !c->is_ignoring ? taken : data.len;
    }
    if (data.len > c->drop_left)
        refuse_rest(c);
    else
        c->drop_left -= (uint32_t)data.len;
    return data.len;
}

/* What the owner did not take is fed to the decoder again later; returns how many bytes are consumed. */
static size_t stall(struct dm_h1_conn *c, const struct dm_http_body *before, const char *ptr, size_t len)
{
    uint64_t max_bytes = c->body.max_bytes;
    struct dm_str data;
    size_t consumed;

    c->body = *before;
    c->body.max_bytes = max_bytes;
    c->is_body_stalled = true;
    dm_h1_conn_look(c);
    dm_stream_pause(&c->base.stream);
    if (len == 0 || dm_http_body_feed(&c->body, dm_str_n(ptr, len), &consumed, &data) < 0)
        return 0;
    return consumed;
}

static void body_through(struct dm_h1_conn *c)
{
    struct dm_http_head *trailers = NULL;

    if (c->body.framing == DM_HTTP_FRAMING_CHUNKED && c->body.trailers.len > 2) {
        if (dm_http_parse_trailers(c->body.trailers.ptr, c->body.trailers.len, &c->base.server->settings.limits,
                                   &c->base.server->head) < 0) {
            fail_reading(c, DM_HTTP_BAD_TRAILER);
            return;
        }
        trailers = &c->base.server->head;
    }
    request_complete(c, trailers);
}

/* The client did not wait for 100. */
static void stop_expecting(struct dm_h1_conn *c)
{
    c->is_expecting = false;
    dm_h1_conn_look(c);
    dm_h1_conn_arm_look(c);
}

/* The decoder works on a copy, so that what the owner did not take can be fed again. */
static bool read_body(struct dm_h1_conn *c, const char *ptr, size_t len)
{
    struct dm_http_body before = c->body;
    struct dm_str data;
    size_t consumed, taken;
    int rc = dm_http_body_feed(&c->body, dm_str_n(ptr, len), &consumed, &data);

    if (rc < 0) {
        fail_reading(c, -rc);
        return false;
    }
    if (DM_UNLIKELY(c->is_expecting))
        stop_expecting(c);
    c->position += consumed;
    if (data.len > 0) {
        taken = deliver(c, data);
        if (c->reading != READ_BODY)
            return false;
        if (taken < data.len) {
            c->position -= consumed;
            c->position += stall(c, &before, ptr, (size_t)(data.ptr - ptr) + taken);
            return false;
        }
    }
    if (rc > 0)
        body_through(c);
    return consumed > 0 || rc > 0;
}

/* --- tunnels ------------------------------------------------------------------------------------------------------ */

/* Returns whether there may be more to do with the rest. */
static bool read_tunnel(struct dm_h1_conn *c, const char *ptr, size_t len)
{
    size_t taken = c->base.server->handler->on_body(c->request.user, &c->request, ptr, len);

    if (c->reading != READ_TUNNEL)
        return false;
    c->position += taken;
    if (taken == len)
        return true;
    c->is_body_stalled = true;
    dm_stream_pause(&c->base.stream);
    return false;
}

void dm_h1_conn_end_tunnel(struct dm_h1_conn *c)
{
    request_complete(c, NULL);
}

/* --- of the stream ------------------------------------------------------------------------------------------------ */

static bool may_parse(const struct dm_h1_conn *c)
{
    return c->reading == READ_IDLE || c->reading == READ_HEAD || c->reading == READ_BODY || c->reading == READ_TUNNEL;
}

static bool read_piece(struct dm_h1_conn *c, const char *ptr, size_t len)
{
    dm_stream_enter(&c->base.stream); /* behind a request that was another's work */
    if (c->reading == READ_BODY)
        return read_body(c, ptr, len);
    return DM_LIKELY(c->reading != READ_TUNNEL) ? read_head(c, ptr, len) : read_tunnel(c, ptr, len);
}

size_t dm_h1_conn_on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_h1_conn *c = dm_h1_conn_of(stream);
    uint64_t start = stream->bytes_in - len;
    bool more = true;
    size_t used;

    c->is_in_read = true;
    c->position = start;
    while (more && (used = (size_t)(c->position - start)) < len && may_parse(c))
        more = read_piece(c, ptr + used, len - used);
    c->is_in_read = false;
    if (c->reading == READ_CLOSED || c->reading == READ_LEAVING)
        return len;
    used = (size_t)(c->position - start);
    if (used < len && !may_parse(c))
        dm_stream_pause(stream);
    return used;
}

void dm_h1_conn_on_eof(struct dm_stream *stream)
{
    struct dm_h1_conn *c = dm_h1_conn_of(stream);

    c->has_eof = true;
    if (c->reading == READ_LEAVING) {
        if (dm_stream_unsent(stream) == 0)
            dm_h1_conn_close(c);
    } else if (!c->has_request && dm_stream_unsent(stream) == 0) {
        dm_h1_conn_close(c);
    } else if (!c->has_request) {
        dm_h1_conn_leave(c);
    } else if (c->reading == READ_TUNNEL) {
        dm_h1_conn_end_tunnel(c);
    } else if (c->reading == READ_BODY && !c->is_ignoring) {
        dm_h1_conn_fail(c, (struct dm_http_end){DM_HTTP_ABORT_PEER_CLOSED, 0, 0});
    } else if (c->reading == READ_BODY) {
        c->reading = READ_COMPLETE;
        dm_h1_conn_maybe_done(c);
    } else {
        dm_h1_conn_half_closed(c);
    }
}

/* --- by the owner ------------------------------------------------------------------------------------------------- */

void dm_h1_request_resume(struct dm_http_request *request)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    if (!c->is_body_stalled || (c->reading != READ_BODY && c->reading != READ_TUNNEL))
        return;
    c->is_body_stalled = false;
    if (c->is_tunnel) {
        dm_stream_resume(&c->base.stream);
        return;
    }
    dm_h1_conn_look(c);
    dm_h1_conn_arm_look(c);
    dm_stream_resume(&c->base.stream);
}

void dm_h1_request_ignore_body(struct dm_http_request *request)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    if (c->is_ignoring || !c->has_request)
        return;
    c->is_ignoring = true;
    c->drop_left = DM_HTTP_DROP_MAX_BYTES;
    dm_h1_request_resume(&c->request);
}

bool dm_h1_request_limit_body(struct dm_http_request *request, uint64_t max_bytes)
{
    struct dm_h1_conn *c = dm_h1_conn_of_request(request);

    c->body.max_bytes = max_bytes;
    return c->body.total <= max_bytes; /* of the chunk too whose data was not taken yet */
}
