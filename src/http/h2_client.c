/* The life of HTTP/2 connections to backends: opened, watched, ended. */
#include "http/h2_client_int.h"

#include <stdlib.h>

#include "base/mem.h"

enum {
    CALLS_MAX = 100,
    STREAM_ID_LAST = 1 << 30, /* then another connection */
    CONNECTION_WINDOW = 1 << 20,
    CREDIT_MAX = 1000,
    PROBE_MS = 5000,
    SETTINGS_MAX = 32,
    ACKS_MAX = 100,
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void reap(struct dm_h2_peer *p)
{
    struct dm_h2_call *call;

    while ((call = p->gone)) {
        p->gone = call->next;
        dm_h2_call_free(call);
    }
}

void dm_h2_peer_enter(struct dm_h2_peer *p)
{
    p->depth++;
}

/* With the protocol's goodbye. */
static void close_politely(struct dm_h2_peer *p)
{
    p->wants_close = false;
    if (p->base.is_closed)
        return;
    p->is_going = true;
    if (!p->base.is_connected) {
        dm_http_peer_cut(&p->base);
        return;
    }
    (void)nghttp2_session_terminate_session(p->session, NGHTTP2_NO_ERROR);
    dm_h2_peer_flush(p);
    if (!p->base.is_closed)
        dm_http_peer_cut_gracefully(&p->base, DM_H2_LINGER_MS);
}

void dm_h2_peer_leave(struct dm_h2_peer *p)
{
    if (--p->depth > 0)
        return;
    reap(p);
    if (p->wants_flush)
        dm_h2_peer_flush(p);
    if (p->wants_close)
        close_politely(p);
}

/* --- ends of connections ------------------------------------------------------------------------------------------ */

/* A response that is there as a whole is still taken. */
static struct dm_h2_call *first_unfinished(const struct dm_h2_peer *p)
{
    struct dm_h2_call *call = p->calls;

    while (call && dm_h2_call_is_whole(call))
        call = call->next;
    return call;
}

void dm_h2_peer_fail(struct dm_h2_peer *p, struct dm_http_end end)
{
    struct dm_h2_call *call;

    dm_h2_peer_enter(p);
    p->is_going = true;
    dm_http_peer_cut(&p->base);
    dm_http_peer_tell_end(&p->base);
    while ((call = first_unfinished(p)))
        dm_h2_call_abort(call, NGHTTP2_NO_ERROR, end);
    dm_h2_peer_leave(p);
}

static void fail(struct dm_http_peer *peer, struct dm_http_end end)
{
    dm_h2_peer_fail(dm_h2_peer_of(peer), end);
}

void dm_h2_peer_go(struct dm_h2_peer *p)
{
    p->is_going = true;
    dm_http_peer_tell_end(&p->base);
}

static bool has_room(const struct dm_http_peer *peer)
{
    const struct dm_h2_peer *p = DM_CONTAINER_OF(peer, const struct dm_h2_peer, base);
    uint32_t max = nghttp2_session_get_remote_settings(p->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    max = DM_MIN(max, p->limit);
    return !p->is_going && !p->is_suspect && (!p->base.is_closed || p->base.is_dead) &&
           p->n_calls < DM_MIN(max, (uint32_t)CALLS_MAX) &&
           nghttp2_session_get_next_stream_id(p->session) < STREAM_ID_LAST;
}

void dm_h2_peer_settle(struct dm_h2_peer *p)
{
    if (p->base.is_closed) {
        if (p->n_calls == 0)
            dm_http_peer_free_later(&p->base);
        return;
    }
    if (nghttp2_session_get_next_stream_id(p->session) >= STREAM_ID_LAST)
        dm_h2_peer_go(p);
    if (p->n_calls == 0 && !p->base.is_owned)
        p->wants_close = true;
    else if (p->n_calls == 0 && !p->is_suspect)
        dm_http_peer_arm(&p->base, p->kept_ms);
    if (p->base.is_owned && has_room(&p->base))
        p->base.client->peer_handler->on_room(p->base.owner, &p->base);
}

static void leave(struct dm_http_peer *peer)
{
    struct dm_h2_peer *p = dm_h2_peer_of(peer);

    dm_h2_peer_enter(p);
    p->is_going = true;
    p->wants_close = p->n_calls == 0;
    dm_h2_peer_leave(p);
    if (p->n_calls == 0)
        dm_http_peer_free_later(peer);
}

static void free_peer(struct dm_http_peer *peer)
{
    struct dm_h2_peer *p = dm_h2_peer_of(peer);
    struct dm_h2_call *call;

    reap(p);
    while ((call = p->left)) {
        p->left = call->next;
        dm_timer_cancel(peer->client->loop, &call->timer);
        dm_h2_call_free(call);
    }
    nghttp2_session_del(p->session);
    if (p->block_memory)
        dm_freelist_give(&peer->client->free_waiting, p->block_memory);
    dm_freelist_give(&peer->client->free_h2_peers, p);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

/* H6 */
void dm_h2_peer_probe(struct dm_h2_peer *p)
{
    if (p->is_suspect || p->is_going)
        return;
    p->is_suspect = true;
    (void)nghttp2_submit_ping(p->session, NGHTTP2_FLAG_NONE, NULL);
    p->wants_flush = true;
    dm_http_peer_arm(&p->base, PROBE_MS);
}

void dm_h2_peer_trust(struct dm_h2_peer *p)
{
    if (!p->is_suspect)
        return;
    p->is_suspect = false;
    dm_timer_cancel(p->base.client->loop, &p->base.timer);
    dm_h2_peer_settle(p);
}

/* Nobody called for long, or a PING was not answered. */
static void on_due(struct dm_timer *timer)
{
    struct dm_h2_peer *p = DM_CONTAINER_OF(timer, struct dm_h2_peer, base.timer);

    if (p->is_suspect) {
        p->base.client->counters.silent++;
        dm_h2_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_IDLE, 0, 0});
    } else if (p->n_calls == 0) {
        dm_h2_peer_enter(p);
        dm_h2_peer_go(p);
        p->wants_close = true;
        dm_h2_peer_leave(p);
    }
}

/* --- of the stream ------------------------------------------------------------------------------------------------ */

static bool has_agreed(const struct dm_stream *stream)
{
    struct dm_tls_info info;

    return dm_tls_info(stream, &info) && dm_str_eq(info.alpn, DM_STR("h2"));
}

static void on_connect(struct dm_stream *stream)
{
    struct dm_h2_peer *p = dm_h2_peer_of_stream(stream);

    if (p->base.tls && !has_agreed(stream)) {
        dm_h2_peer_fail(p, (struct dm_http_end){DM_HTTP_ABORT_TLS, 0, DM_TLS_REASON_NO_APPLICATION_PROTOCOL});
        return;
    }
    p->base.is_connected = true;
    dm_h2_peer_flush(p);
    for (struct dm_h2_call *call = p->calls; call; call = call->next)
        dm_h2_call_on_connected(call);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_h2_peer *p = dm_h2_peer_of_stream(stream);

    dm_h2_peer_fail(p, dm_http_peer_end_of(&p->base, code));
}

static void on_eof(struct dm_stream *stream)
{
    struct dm_h2_peer *p = dm_h2_peer_of_stream(stream);

    dm_h2_peer_fail(p, dm_http_peer_end_of(&p->base, 0));
}

/* --- its calls ---------------------------------------------------------------------------------------------------- */

static struct dm_http_call *open_call(struct dm_http_peer *peer, const struct dm_http_timeouts *timeouts)
{
    return has_room(peer) ? dm_h2_call_open(dm_h2_peer_of(peer), timeouts) : NULL;
}

static bool has_calls(const struct dm_http_peer *peer)
{
    return DM_CONTAINER_OF(peer, const struct dm_h2_peer, base)->n_calls > 0;
}

static bool is_new(const struct dm_http_peer *peer)
{
    return !DM_CONTAINER_OF(peer, const struct dm_h2_peer, base)->has_settings;
}

static uint32_t calls_max(const struct dm_http_peer *peer)
{
    const struct dm_h2_peer *p = DM_CONTAINER_OF(peer, const struct dm_h2_peer, base);

    return p->has_settings ? nghttp2_session_get_remote_settings(p->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
                           : 0;
}

struct dm_h2_call *dm_h2_peer_find(const struct dm_h2_peer *p, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(p->session, stream_id);
}

static const struct dm_http_peer_ops peer_ops = {
    .open = open_call,
    .has_room = has_room,
    .has_calls = has_calls,
    .is_new = is_new,
    .calls_max = calls_max,
    .leave = leave,
    .fail = fail,
    .free = free_peer,
};

/* --- connections -------------------------------------------------------------------------------------------------- */

static void start_session(struct dm_h2_peer *p)
{
    struct dm_http_client *client = p->base.client;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, client->settings.limits.head_bytes},
    };

    if (nghttp2_session_client_new3(&p->session, client->h2_callbacks, p, client->h2_option, &client->h2_memory.mem) !=
            0 ||
        nghttp2_submit_settings(p->session, NGHTTP2_FLAG_NONE, settings, DM_COUNT(settings)) != 0 ||
        nghttp2_session_set_local_window_size(p->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
        abort(); /* out of memory only, and that does not return (base/mem.h) */
}

struct dm_http_peer *dm_h2_peer_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                        void *owner)
{
    struct dm_h2_peer *p = dm_freelist_take(&client->free_h2_peers);

    memset(p, 0, sizeof(*p));
    p->base.client = client;
    p->base.ops = &peer_ops;
    p->base.timer.on_due = on_due;
    p->limit = settings->calls_max > 0 ? settings->calls_max : DM_H2_LIMIT_NONE;
    p->credit = CREDIT_MAX;
    p->credit_ns = dm_loop_now_ns(client->loop);
    start_session(p);
    dm_http_peer_start(&p->base, client, settings, &client->h2_type, owner);
    return &p->base;
}

static void init_callbacks(struct dm_http_client *client)
{
    if (nghttp2_session_callbacks_new(&client->h2_callbacks) != 0 || nghttp2_option_new(&client->h2_option) != 0)
        abort(); /* out of memory */
    dm_h2_client_set_read_callbacks(client->h2_callbacks);
    dm_h2_client_set_write_callbacks(client->h2_callbacks);
    nghttp2_option_set_no_auto_window_update(client->h2_option, 1);
    nghttp2_option_set_no_http_messaging(client->h2_option, 1);
    nghttp2_option_set_max_outbound_ack(client->h2_option, ACKS_MAX);
    nghttp2_option_set_max_settings(client->h2_option, SETTINGS_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(client->h2_option, CALLS_MAX);
    /* It counts a frame whose head is cut several times as several: counted by the walk instead. */
    nghttp2_option_set_max_continuations(client->h2_option, SIZE_MAX);
    nghttp2_option_set_no_closed_streams(client->h2_option, 1);
}

void dm_h2_client_init(struct dm_http_client *client)
{
    const struct dm_http_client_settings *settings = &client->settings;
    size_t text_bytes = dm_h2_block_text_bytes(&settings->limits);

    client->h2_type = (struct dm_stream_type){
        .on_read = dm_h2_peer_on_read,
        .on_eof = on_eof,
        .on_writable = dm_h2_peer_on_writable,
        .on_connect = on_connect,
        .on_error = on_error,
        .on_closed = dm_http_peer_on_closed,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    dm_h2_memory_init(&client->h2_memory);
    dm_freelist_init(&client->free_h2_peers, sizeof(struct dm_h2_peer), 256);
    dm_freelist_init(&client->free_h2_calls, sizeof(struct dm_h2_call), 4096);
    dm_freelist_init(&client->free_pieces, sizeof(struct dm_h2_piece), 1024);
    dm_freelist_init(&client->free_waiting, sizeof(struct dm_h2_waiting) + text_bytes, 8);
    client->h2_text = dm_alloc(text_bytes);
    init_callbacks(client);
}

size_t dm_h2_client_used(const struct dm_http_client *client)
{
    return client->free_h2_peers.n_used;
}

void dm_h2_client_done(struct dm_http_client *client)
{
    nghttp2_session_callbacks_del(client->h2_callbacks);
    nghttp2_option_del(client->h2_option);
    dm_free(client->h2_text);
    dm_freelist_done(&client->free_waiting);
    dm_freelist_done(&client->free_pieces);
    dm_freelist_done(&client->free_h2_calls);
    dm_freelist_done(&client->free_h2_peers);
    dm_h2_memory_done(&client->h2_memory);
}
