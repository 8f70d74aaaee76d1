/* The life of HTTP/2 connections: begun, read, sent, timed, drained, ended. */
#include "http/h2_server_int.h"

#define NS_PER_MS UINT64_C(1000000)

static const uint8_t drain_ping[8] = "drainin";

static struct dm_loop *loop_of(const struct dm_h2_conn *c)
{
    return c->base.server->loop;
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

void dm_h2_conn_blame(struct dm_h2_conn *c, enum dm_h2_abuse abuse)
{
    if (c->end_why != 0)
        return;
    c->end_why = DM_HTTP_ABORT_FLOOD;
    c->end_code = NGHTTP2_ENHANCE_YOUR_CALM;
    c->has_blamed = true;
    dm_h2_guard_count(dm_h2_counters_of(c), abuse);
}

void dm_h2_conn_spend(struct dm_h2_conn *c, enum dm_h2_abuse abuse, unsigned n)
{
    if (DM_UNLIKELY(!dm_h2_guard_spend(&c->guard, abuse, n)))
        dm_h2_conn_blame(c, abuse);
}

static void end_for(struct dm_h2_conn *c, enum dm_http_abort why, uint32_t code)
{
    if (c->end_why != 0)
        return;
    c->end_why = (uint8_t)why;
    c->end_code = code;
}

void dm_h2_conn_end(struct dm_h2_conn *c, uint32_t code)
{
    end_for(c, DM_HTTP_ABORT_FAULT, code);
}

/* Every stream goes; owners that know one are told. */
static void drop_streams(struct dm_h2_conn *c, enum dm_http_abort why)
{
    while (!dm_h2_is_ring_empty(&c->streams)) {
        struct dm_h2_stream *s = DM_CONTAINER_OF(c->streams.next, struct dm_h2_stream, link);
        bool has_request = s->has_request;
        dm_h2_stream_abandon(s, why); /* frees one without an owner */
        if (has_request)
            dm_h2_stream_tell_end(s);
    }
}

static void fail(struct dm_http_conn *conn, struct dm_http_end end)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;

    c->is_closed = true;
    dm_timer_cancel(loop_of(c), &c->base.timer);
    dm_task_cancel(loop_of(c), &c->task);
    dm_stream_close(&c->base.stream);
    drop_streams(c, end.why);
}

static void put_frames(struct dm_h2_conn *c);

/* Says goodbye, and is through. */
static void leave(struct dm_h2_conn *c, enum dm_http_abort why)
{
    if (c->is_closed)
        return;
    put_frames(c);
    c->is_closed = true;
    dm_timer_cancel(loop_of(c), &c->base.timer);
    dm_task_cancel(loop_of(c), &c->task);
    dm_stream_flush(&c->base.stream);
    dm_stream_close_gracefully(&c->base.stream, DM_HTTP_LINGER_MS);
    drop_streams(c, why);
}

static void leave_with(struct dm_h2_conn *c, enum dm_http_abort why, uint32_t code)
{
    (void)nghttp2_session_terminate_session(c->session, code);
    leave(c, why);
}

static void done(struct dm_http_conn *conn)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;

    dm_task_cancel(loop_of(c), &c->task);
    if (c->parked)
        dm_freelist_give(&dm_h2_shared_of(c)->parked, c->parked);
    nghttp2_session_del(c->session);
}

void dm_h2_conn_on_error(struct dm_stream *stream, int code)
{
    fail(dm_http_conn_of(stream), (struct dm_http_end){DM_HTTP_ABORT_PEER_RESET, 0, code});
}

/* A client that says nothing more can't answer pings nor open windows: nothing that is in hand would arrive for sure. */
void dm_h2_conn_on_eof(struct dm_stream *stream)
{
    struct dm_h2_conn *c = dm_h2_conn_of(stream);

    leave(c, DM_HTTP_ABORT_PEER_CLOSED);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void look_at_queue(struct dm_h2_conn *c)
{
    dm_http_pace_look(&c->out, c->base.stream.bytes_out, dm_stream_unsent(&c->base.stream) > 0,
                      dm_loop_now_ns(loop_of(c)));
}

/* What does not fit is refused, with the promise of on_writable. */
static void await_room(struct dm_h2_conn *c)
{
    int rc = dm_stream_put(&c->base.stream, "", 1);

    (void)rc;
    look_at_queue(c);
}

/* Q1, Q5: until nghttp2 has nothing more, or the queue is full. */
static void put_frames(struct dm_h2_conn *c)
{
    const uint8_t *ptr;
    ssize_t n = 0;

    if (c->is_closed)
        return;
    c->is_busy = true;
    while (dm_stream_room(&c->base.stream) > 0 && (n = nghttp2_session_mem_send(c->session, &ptr)) > 0)
        if (dm_stream_put(&c->base.stream, ptr, (size_t)n) < 0)
            break; /* the stream has failed and will say so */
    c->is_busy = false;
    if (n < 0)
        end_for(c, DM_HTTP_ABORT_FAULT, NGHTTP2_INTERNAL_ERROR);
    if (DM_UNLIKELY(dm_stream_room(&c->base.stream) == 0))
        await_room(c);
}

void dm_h2_conn_run_later(struct dm_h2_conn *c)
{
    if (c->is_closed)
        return;
    if (!dm_task_is_posted(&c->task))
        c->task.flow = c->base.stream.task.flow;
    dm_task_post(loop_of(c), &c->task);
}

void dm_h2_conn_send(struct dm_h2_conn *c)
{
    if (c->is_busy || c->is_closed)
        return;
    put_frames(c);
    if (DM_UNLIKELY(!dm_h2_is_ring_empty(&c->ended) || !dm_h2_is_ring_empty(&c->writable) || c->end_why != 0))
        dm_h2_conn_run_later(c);
}

/* --- what waited -------------------------------------------------------------------------------------------------- */

static void tell_ended(struct dm_h2_conn *c)
{
    while (!dm_h2_is_ring_empty(&c->ended))
        dm_h2_stream_tell_end(DM_CONTAINER_OF(c->ended.next, struct dm_h2_stream, todo));
}

static void serve(struct dm_h2_stream *s)
{
    const struct dm_http_handler *handler = s->request.conn->server->handler;

    if (s->is_resumed) {
        if (s->wants_writable)
            dm_h2_ring_add(&dm_h2_conn_of_stream(s)->writable, &s->todo); /* next time */
        dm_h2_stream_present(s);
    } else if (s->wants_writable && dm_h2_stream_is_open(s) && s->writing == H2_WRITE_BODY) {
        s->wants_writable = false;
        dm_h2_stream_look(s);
        if (handler->on_writable)
            handler->on_writable(s->request.user, &s->request);
    }
}

/* Each once: one that can't go on stands in the list again for the next time. */
static void tell_writable(struct dm_h2_conn *c)
{
    struct dm_h2_link now = {&now, &now};

    while (!dm_h2_is_ring_empty(&c->writable)) {
        struct dm_h2_link *link = c->writable.next;
        dm_h2_ring_del(link);
        dm_h2_ring_add(&now, link);
    }
    c->is_telling = true;
    while (!dm_h2_is_ring_empty(&now)) {
        struct dm_h2_link *link = now.next;
        dm_h2_ring_del(link);
        serve(DM_CONTAINER_OF(link, struct dm_h2_stream, todo));
    }
    c->is_telling = false;
}

static bool is_through(const struct dm_h2_conn *c)
{
    return c->n_streams == 0 && (c->drain == H2_FINAL || c->is_parting);
}

void dm_h2_conn_rest(struct dm_h2_conn *c)
{
    c->idle_since_ns = dm_loop_now_ns(loop_of(c));
    if (is_through(c))
        dm_h2_conn_run_later(c);
}

void dm_h2_conn_settle(struct dm_h2_conn *c)
{
    if (c->is_closed)
        return;
    if (DM_UNLIKELY(c->end_why != 0)) {
        leave_with(c, (enum dm_http_abort)c->end_why, c->end_code);
        return;
    }
    put_frames(c);
    tell_ended(c);
    if (!c->is_closed)
        tell_writable(c);
    if (!c->is_closed)
        put_frames(c);
    if (c->is_closed)
        return;
    if (!dm_h2_is_ring_empty(&c->ended) || !dm_h2_is_ring_empty(&c->writable) || c->end_why != 0)
        dm_h2_conn_run_later(c);
    else if (DM_UNLIKELY(is_through(c)))
        leave(c, DM_HTTP_ABORT_SHUTDOWN);
    else if (DM_UNLIKELY(c->has_failed))
        leave(c, DM_HTTP_ABORT_FAULT);
}

static void run_task(struct dm_task *task)
{
    dm_h2_conn_settle(DM_CONTAINER_OF(task, struct dm_h2_conn, task));
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static uint32_t until_ms(uint64_t due_ns, uint64_t now_ns)
{
    return due_ns > now_ns ? (uint32_t)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 1;
}

/* What is waited for: a block that came in part, the end of a notice, streams that must move, a next stream. The timer is set to
 * no later than the earliest of these, and looks. */
static uint32_t wait_ms(const struct dm_h2_conn *c, uint64_t now_ns)
{
    uint64_t due_ns = UINT64_MAX;

    if (c->n_streams > 0)
        due_ns = now_ns + dm_http_pace_period_ms(c->body_timeout_ms) * NS_PER_MS;
    else if (c->base.idle_timeout_ms > 0)
        due_ns = c->idle_since_ns + c->base.idle_timeout_ms * NS_PER_MS;
    if (c->parked && c->block_due_ns > 0)
        due_ns = DM_MIN(due_ns, c->block_due_ns);
    if (c->drain == H2_NOTICED)
        due_ns = DM_MIN(due_ns, c->drain_due_ns);
    return due_ns == UINT64_MAX ? 0 : until_ms(due_ns, now_ns);
}

static void arm(struct dm_h2_conn *c)
{
    uint64_t now_ns = dm_loop_now_ns(loop_of(c));
    uint32_t ms = wait_ms(c, now_ns);

    dm_http_conn_arm(&c->base, ms);
    c->armed_ns = ms > 0 ? now_ns + ms * NS_PER_MS : UINT64_MAX;
}

void dm_h2_conn_look(struct dm_h2_conn *c)
{
    uint64_t now_ns = dm_loop_now_ns(loop_of(c));

    if (c->armed_ns > now_ns + dm_http_pace_period_ms(c->body_timeout_ms) * NS_PER_MS)
        arm(c);
}

void dm_h2_conn_heed_timeout(struct dm_h2_conn *c, uint32_t body_timeout_ms)
{
    if (body_timeout_ms == 0 || (c->body_timeout_ms > 0 && body_timeout_ms >= c->body_timeout_ms))
        return;
    c->body_timeout_ms = body_timeout_ms;
    dm_h2_conn_look(c);
}

static void finish_notice(struct dm_h2_conn *c)
{
    c->drain = H2_FINAL;
    (void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

void dm_h2_conn_part(struct dm_h2_conn *c)
{
    if (c->is_closed || c->drain == H2_FINAL)
        return;
    finish_notice(c);
    dm_h2_conn_run_later(c);
}

static void judge_streams(struct dm_h2_conn *c)
{
    struct dm_h2_link *link, *next;

    c->is_busy = true; /* nothing is sent, so that no stream goes, meanwhile */
    for (link = c->streams.next; link != &c->streams; link = next) {
        next = link->next;
        dm_h2_stream_judge(DM_CONTAINER_OF(link, struct dm_h2_stream, link));
    }
    c->is_busy = false;
}

static bool is_idle_too_long(const struct dm_h2_conn *c, uint64_t now_ns)
{
    uint32_t ms = c->base.idle_timeout_ms;

    return c->n_streams == 0 && !c->parked && ms > 0 && now_ns >= c->idle_since_ns + ms * NS_PER_MS;
}

/* A tunnel may rest for longer than other streams. 0: for ever. */
static uint32_t reader_timeout_ms(const struct dm_h2_conn *c)
{
    const struct dm_http_server_settings *settings = &c->base.server->settings;

    for (struct dm_h2_link *link = c->streams.next; link != &c->streams; link = link->next)
        if (!DM_CONTAINER_OF(link, struct dm_h2_stream, link)->is_tunnel)
            return settings->body_timeout_ms;
    return settings->tunnel_idle_timeout_ms;
}

/* The client takes nothing of what waits for it: not even a reset would go out. */
static bool is_stuck(struct dm_h2_conn *c)
{
    look_at_queue(c);
    return c->n_streams > 0 && dm_http_pace_judge(&c->out, reader_timeout_ms(c), 0) != DM_HTTP_PACE_FINE;
}

static void on_due(struct dm_timer *timer)
{
    struct dm_h2_conn *c = DM_CONTAINER_OF(timer, struct dm_h2_conn, base.timer);
    uint64_t now_ns = dm_loop_now_ns(loop_of(c));

    if (DM_UNLIKELY(is_stuck(c))) {
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_READER);
        fail(&c->base, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
        return;
    }
    if (c->parked && c->block_due_ns > 0 && now_ns >= c->block_due_ns) {
        dm_h2_counters_of(c)->slow_streams++;
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_HEAD);
        c->has_blamed = true;
        end_for(c, DM_HTTP_ABORT_HEAD_TIMEOUT, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (c->drain == H2_NOTICED && now_ns >= c->drain_due_ns) {
        finish_notice(c);
    } else if (is_idle_too_long(c, now_ns)) {
        dm_http_conn_count_timeout(&c->base, DM_HTTP_TIMEOUT_IDLE);
        end_for(c, DM_HTTP_ABORT_IDLE, NGHTTP2_NO_ERROR);
    }
    judge_streams(c);
    dm_h2_conn_settle(c);
    if (!c->is_closed)
        arm(c);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* What nghttp2 can't go on after. */
static void read_failed(struct dm_h2_conn *c, int rc)
{
    if (rc == NGHTTP2_ERR_FLOODED)
        dm_h2_conn_blame(c, c->last_type == NGHTTP2_SETTINGS ? DM_H2_SETTINGS_FLOOD : DM_H2_PING_FLOOD);
    else if (rc == NGHTTP2_ERR_TOO_MANY_SETTINGS)
        dm_h2_conn_blame(c, DM_H2_SETTINGS_FLOOD);
    else
        end_for(c, DM_HTTP_ABORT_FAULT, NGHTTP2_PROTOCOL_ERROR);
}

/* Q7. Returns how many bytes were read. */
static size_t feed(struct dm_h2_conn *c, const char *ptr, size_t len)
{
    size_t share = dm_h2_scan(c, ptr, len);
    ssize_t n;

    if (DM_UNLIKELY(c->end_why != 0))
        return len;
    c->is_busy = true;
    n = nghttp2_session_mem_recv(c->session, (const uint8_t *)ptr, share);
    c->is_busy = false;
    if (DM_LIKELY(n >= 0))
        return (size_t)n;
    if (c->end_why == 0)
        read_failed(c, (int)n);
    return len;
}

size_t dm_h2_conn_on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_h2_conn *c = dm_h2_conn_of(stream);
    size_t used;

    if (DM_UNLIKELY(dm_stream_room(stream) == 0)) {
        c->is_held = true;
        await_room(c);
        dm_stream_pause(stream);
        return 0;
    }
    dm_h2_guard_refill(&c->guard, dm_loop_now_ns(loop_of(c)));
    if (DM_UNLIKELY(c->parked != NULL))
        dm_h2_block_unpark(c);
    used = feed(c, ptr, len);
    if (DM_UNLIKELY(c->has_block))
        dm_h2_block_park(c);
    dm_h2_conn_settle(c);
    if (c->is_closed)
        return len;
    if (used < len)
        dm_stream_resume(stream);
    if (DM_UNLIKELY(c->parked != NULL))
        arm(c);
    else if (c->n_streams > 0)
        dm_h2_conn_look(c);
    return used;
}

void dm_h2_conn_on_writable(struct dm_stream *stream)
{
    struct dm_h2_conn *c = dm_h2_conn_of(stream);

    for (struct dm_h2_link *link = c->streams.next; link != &c->streams; link = link->next)
        dm_h2_stream_has_room(DM_CONTAINER_OF(link, struct dm_h2_stream, link));
    if (c->is_held) {
        c->is_held = false;
        dm_stream_resume(stream);
    }
    dm_h2_conn_settle(c);
}

/* --- draining ----------------------------------------------------------------------------------------------------- */

/* RFC 9113 section 6.8: streams that the client began before it knew are served. It knows when it has answered a PING, or after as
 * long as clients between requests have. nghttp2 sends no PING on a connection without streams, which waits the whole time. */
static void drain(struct dm_http_conn *conn)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;

    if (c->is_closed || c->drain != H2_OPEN)
        return;
    c->drain = H2_NOTICED;
    c->drain_due_ns = dm_loop_now_ns(loop_of(c)) + conn->server->settings.drain_idle_ms * NS_PER_MS;
    (void)nghttp2_submit_shutdown_notice(c->session);
    (void)nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, drain_ping);
    dm_h2_conn_run_later(c);
    arm(c);
}

static void drain_end(struct dm_http_conn *conn)
{
    dm_h2_conn_part((struct dm_h2_conn *)conn);
}

static void end_requests(struct dm_http_conn *conn)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;
    struct dm_h2_link *link, *next;

    if (c->is_closed)
        return;
    c->is_busy = true; /* as in judge_streams() */
    for (link = c->streams.next; link != &c->streams; link = next) {
        next = link->next;
        dm_h2_stream_go(DM_CONTAINER_OF(link, struct dm_h2_stream, link));
    }
    c->is_busy = false;
    put_frames(c);
    dm_h2_conn_run_later(c);
}

void dm_h2_conn_on_pong(struct dm_h2_conn *c, const uint8_t opaque[8])
{
    if (c->drain == H2_NOTICED && memcmp(opaque, drain_ping, sizeof(drain_ping)) == 0)
        finish_notice(c);
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

/* The timer may be set to a later time than a shorter idle time ends at. */
static void heed_timeouts(struct dm_http_conn *conn)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;
    uint64_t due_ns = dm_loop_now_ns(loop_of(c)) + conn->idle_timeout_ms * NS_PER_MS;

    if (conn->idle_timeout_ms == 0 || c->armed_ns <= due_ns)
        return;
    dm_http_conn_arm(conn, conn->idle_timeout_ms);
    c->armed_ns = due_ns;
}

static void limit_streams(struct dm_http_conn *conn)
{
    struct dm_h2_conn *c = (struct dm_h2_conn *)conn;
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->streams_max};

    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &entry, 1) < 0)
        end_for(c, DM_HTTP_ABORT_FAULT, NGHTTP2_INTERNAL_ERROR);
    dm_h2_conn_run_later(c);
}

static const struct dm_http_conn_ops conn_ops = {fail, drain,         drain_end,    end_requests,
                                                 done, heed_timeouts, limit_streams};

static void submit_settings(struct dm_h2_conn *c)
{
    const struct dm_http_server_settings *settings = &c->base.server->settings;
    const struct dm_http2_settings *h2 = &settings->http2;
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->base.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h2->stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings->limits.head_bytes},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, h2->header_table_bytes},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, h2->frame_max_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };

    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, entries, DM_COUNT(entries)) < 0 ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)h2->connection_window_bytes) <
            0)
        end_for(c, DM_HTTP_ABORT_FAULT, NGHTTP2_INTERNAL_ERROR);
}

void dm_h2_conn_init(struct dm_h2_conn *c)
{
    struct dm_h2_shared *shared = dm_h2_shared_of(c);

    dm_timer_cancel(loop_of(c), &c->base.timer);
    memset((char *)c + sizeof(c->base), 0, sizeof(*c) - sizeof(c->base));
    c->base.ops = &conn_ops;
    c->base.timer.on_due = on_due;
    c->task.run = run_task;
    c->scan_left = NGHTTP2_CLIENT_MAGIC_LEN;
    c->body_timeout_ms = c->base.server->settings.body_timeout_ms;
    c->streams = (struct dm_h2_link){&c->streams, &c->streams};
    c->ended = (struct dm_h2_link){&c->ended, &c->ended};
    c->writable = (struct dm_h2_link){&c->writable, &c->writable};
    c->idle_since_ns = dm_loop_now_ns(loop_of(c));
    dm_h2_guard_init(&c->guard, c->idle_since_ns);
    if (nghttp2_session_server_new3(&c->session, shared->callbacks, c, shared->option, &shared->memory.mem) < 0)
        abort(); /* only for want of memory, which ends the process already */
    submit_settings(c);
    arm(c);
}
