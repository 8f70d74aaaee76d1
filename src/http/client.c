/* The life of connections, whatever they speak: connected, owned, closed. */
#include "http/client_int.h"
#include "http/h1_client_int.h"
#include "http/h2_client_int.h"

#include <errno.h>

#include "base/mem.h"

#define POLL_FAILURES_MAX 16 /* while the last connections close */

const struct dm_http_client_settings dm_http_client_defaults = {
    .limits = {64u << 10, 8u << 10, 128, 8u << 10, 4u << 10, true},
    .write_cap_bytes = 256u << 10,
};

/* --- ending ------------------------------------------------------------------------------------------------------- */

void dm_http_peer_arm(struct dm_http_peer *p, uint32_t ms)
{
    if (DM_LIKELY(ms > 0))
        dm_timer_arm(p->client->loop, &p->timer, ms);
    else
        dm_timer_cancel(p->client->loop, &p->timer);
}

static void leave_flow(struct dm_http_peer *p)
{
    dm_timer_set_flow(p->client->loop, &p->timer, NULL);
    if (!p->is_stream_closed)
        dm_stream_set_flow(&p->stream, NULL);
}

/* Neither owner nor calls vouch for the flow any more. */
void dm_http_peer_leave_flow(struct dm_http_peer *p)
{
    if (!p->is_owned && !p->ops->has_calls(p))
        leave_flow(p);
}

static bool mark_closed(struct dm_http_peer *p)
{
    if (p->is_closed)
        return false;
    p->is_closed = true;
    dm_stream_set_account(&p->stream, NULL);
    dm_stream_set_traffic(&p->stream, NULL);
    leave_flow(p);
    if (p->counter)
        (*p->counter)--;
    p->client->n_open--;
    dm_timer_cancel(p->client->loop, &p->timer);
    return true;
}

void dm_http_peer_cut(struct dm_http_peer *p)
{
    if (mark_closed(p) && !p->is_stream_closed)
        dm_stream_abort(&p->stream);
}

void dm_http_peer_cut_short(struct dm_http_peer *p)
{
    if (mark_closed(p) && !p->is_stream_closed)
        dm_stream_reset(&p->stream);
}

void dm_http_peer_cut_idle(struct dm_http_peer *p)
{
    if (mark_closed(p) && !p->is_stream_closed)
        dm_stream_close(&p->stream);
}

void dm_http_peer_cut_gracefully(struct dm_http_peer *p, uint32_t linger_ms)
{
    struct dm_http_client *client = p->client;

    if (!mark_closed(p))
        return;
    p->is_lingering = true;
    p->next = client->lingering;
    if (p->next)
        p->next->prev = p;
    client->lingering = p;
    dm_stream_close_gracefully(&p->stream, linger_ms);
}

static void end_linger(struct dm_http_peer *p)
{
    if (p->next)
        p->next->prev = p->prev;
    if (p->prev)
        p->prev->next = p->next;
    else
        p->client->lingering = p->next;
    p->is_lingering = false;
}

void dm_http_peer_die(struct dm_http_peer *p, struct dm_http_end end)
{
    if (p->is_dead)
        return;
    p->is_dead = true;
    p->end = end;
    dm_http_peer_cut(p);
    dm_task_post(p->client->loop, &p->tell);
}

void dm_http_peer_tell_end(struct dm_http_peer *p)
{
    if (!p->is_owned)
        return;
    p->is_owned = false;
    dm_http_peer_leave_flow(p);
    p->client->peer_handler->on_end(p->owner, p);
}

static void free_if_gone(struct dm_http_peer *p)
{
    if (p->is_owned || !p->is_stream_closed || p->ops->has_calls(p))
        return;
    dm_task_cancel(p->client->loop, &p->tell);
    dm_http_tls_unref(p->tls);
    p->ops->free(p);
}

void dm_http_peer_free_later(struct dm_http_peer *p)
{
    if (p->is_stream_closed)
        dm_task_post(p->client->loop, &p->tell);
}

static void on_tell(struct dm_task *task)
{
    struct dm_http_peer *p = DM_CONTAINER_OF(task, struct dm_http_peer, tell);

    if (p->is_dead)
        p->ops->fail(p, p->end);
    free_if_gone(p);
}

void dm_http_peer_on_closed(struct dm_stream *stream)
{
    struct dm_http_peer *p = dm_http_peer_of(stream);

    p->is_stream_closed = true;
    if (p->is_lingering)
        end_linger(p);
    free_if_gone(p);
}

/* It was reached, and did not agree on TLS: said so, or hung up. */
static bool is_of_handshake(const struct dm_http_peer *p, int code)
{
    if (p->is_connected)
        return code == DM_ETLS && dm_tls_was_refused(&p->stream);
    return code == DM_ETLS || (p->tls && (code == 0 || code == DM_ECLOSED || code == -ECONNRESET || code == -EPIPE));
}

static struct dm_http_end end_of_tls(const struct dm_http_peer *p)
{
    unsigned failure = dm_tls_failure(&p->stream);

    return (struct dm_http_end){DM_HTTP_ABORT_TLS, 0, (int)(failure ? failure : DM_TLS_REASON_TRUNCATED)};
}

struct dm_http_end dm_http_peer_end_of(const struct dm_http_peer *p, int code)
{
    enum dm_http_abort why = DM_HTTP_ABORT_PEER_RESET;

    if (is_of_handshake(p, code))
        return end_of_tls(p);
    if (code == 0)
        why = DM_HTTP_ABORT_PEER_CLOSED;
    else if (!p->is_connected)
        why = code == DM_ETIMEOUT ? DM_HTTP_ABORT_CONNECT_TIMEOUT : DM_HTTP_ABORT_CONNECT_FAILED;
    return (struct dm_http_end){why, 0, code};
}

/* --- connections -------------------------------------------------------------------------------------------------- */

void dm_http_peer_start(struct dm_http_peer *p, struct dm_http_client *client,
                        const struct dm_http_peer_settings *settings, const struct dm_stream_type *type, void *owner)
{
    int rc;

    p->client = client;
    p->owner = owner;
    p->is_owned = true;
    p->addr = settings->addr;
    p->tls = settings->tls ? dm_http_tls_ref(settings->tls) : NULL;
    p->tell.run = on_tell;
    p->counter = settings->counter;
    if (p->counter)
        (*p->counter)++;
    client->n_open++;
    rc = settings->fd ? dm_stream_connect_fd(&p->stream, client->loop, type, *settings->fd, settings->connect_ms)
                      : dm_stream_connect(&p->stream, client->loop, type, &p->addr, settings->connect_ms);
    if (rc < 0) {
        p->is_stream_closed = true;
        dm_http_peer_die(p, (struct dm_http_end){DM_HTTP_ABORT_CONNECT_FAILED, 0, rc});
        return;
    }
    dm_stream_set_flow(&p->stream, settings->flow);
    dm_timer_set_flow(client->loop, &p->timer, settings->flow);
    dm_stream_set_account(&p->stream, settings->buffered);
    dm_stream_set_traffic(&p->stream, settings->traffic);
    if (p->tls)
        dm_tls_connect(&p->stream, p->tls->client, &p->tls->session);
}

struct dm_http_tls *dm_http_tls_new(struct dm_tls_client *client)
{
    struct dm_http_tls *tls = dm_calloc(1, sizeof(*tls));

    tls->client = dm_tls_client_ref(client);
    tls->refs = 1;
    return tls;
}

struct dm_http_tls *dm_http_tls_ref(struct dm_http_tls *tls)
{
    tls->refs++;
    return tls;
}

void dm_http_tls_unref(struct dm_http_tls *tls)
{
    if (!tls || --tls->refs > 0)
        return;
    dm_tls_session_done(&tls->session);
    dm_tls_client_unref(tls->client);
    dm_free(tls);
}

struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                            void *owner)
{
    return settings->is_http2 ? dm_h2_peer_connect(client, settings, owner)
                              : dm_h1_peer_connect(client, settings, owner);
}

struct dm_http_call *dm_http_peer_open(struct dm_http_peer *p, const struct dm_http_timeouts *timeouts)
{
    return p->ops->open(p, timeouts);
}

bool dm_http_peer_has_room(const struct dm_http_peer *p)
{
    return p->ops->has_room(p);
}

bool dm_http_peer_has_calls(const struct dm_http_peer *p)
{
    return p->ops->has_calls(p);
}

bool dm_http_peer_is_connected(const struct dm_http_peer *p)
{
    return p->is_connected;
}

bool dm_http_peer_is_new(const struct dm_http_peer *p)
{
    return p->ops->is_new(p);
}

uint32_t dm_http_peer_calls_max(const struct dm_http_peer *p)
{
    return p->ops->calls_max ? p->ops->calls_max(p) : 0;
}

void dm_http_peer_close(struct dm_http_peer *p)
{
    if (!p->is_owned)
        return;
    p->is_owned = false;
    dm_http_peer_leave_flow(p);
    p->ops->leave(p);
}

const struct dm_addr *dm_http_peer_addr(const struct dm_http_peer *p)
{
    return &p->addr;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

int dm_http_call_inform(struct dm_http_call *call, const struct dm_http_head *head)
{
    const struct dm_http_call_handler *handler = call->peer->client->handler;

    if (call->n_interim == DM_HTTP_INTERIM_MAX)
        return -DM_HTTP_TOO_MANY_INTERIM;
    call->n_interim++;
    if (handler->on_inform)
        handler->on_inform(call->user, call, head);
    return 0;
}

void dm_http_call_set_user(struct dm_http_call *call, void *user)
{
    call->user = user;
}

void dm_http_call_send(struct dm_http_call *call, const struct dm_http_message *message)
{
    call->ops->send(call, message);
}

size_t dm_http_call_write(struct dm_http_call *call, const char *ptr, size_t len)
{
    return call->ops->write(call, ptr, len);
}

void dm_http_call_end(struct dm_http_call *call, struct dm_str trailers)
{
    call->ops->end(call, trailers);
}

void dm_http_call_resume(struct dm_http_call *call)
{
    call->ops->resume(call);
}

void dm_http_call_leave(struct dm_http_call *call, struct dm_str last)
{
    call->ops->leave(call, last);
}

void dm_http_call_cancel(struct dm_http_call *call)
{
    call->ops->cancel(call);
}

bool dm_http_call_has_response(const struct dm_http_call *call)
{
    return call->ops->has_response(call);
}

bool dm_http_call_is_reused(const struct dm_http_call *call)
{
    return call->is_reused;
}

bool dm_http_call_is_connected(const struct dm_http_call *call)
{
    return call->peer->is_connected;
}

bool dm_http_call_is_http2(const struct dm_http_call *call)
{
    return call->is_http2;
}

uint64_t dm_http_call_bytes_in(const struct dm_http_call *call)
{
    return call->ops->bytes_in(call);
}

uint64_t dm_http_call_bytes_out(const struct dm_http_call *call)
{
    return call->ops->bytes_out(call);
}

const struct dm_http_client_counters *dm_http_client_counters(const struct dm_http_client *client)
{
    return &client->counters;
}

/* --- the client --------------------------------------------------------------------------------------------------- */

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *peer_handler,
                                          const struct dm_http_call_handler *call_handler)
{
    struct dm_http_client *client = dm_calloc(1, sizeof(*client));

    client->loop = loop;
    client->settings = *settings;
    client->peer_handler = peer_handler;
    client->handler = call_handler;
    dm_buf_init(&client->out, DM_HTTP_HEAD_OUT_MAX);
    dm_h1_client_init(client);
    dm_h2_client_init(client);
    return client;
}

void dm_http_client_free(struct dm_http_client *client)
{
    unsigned n_failed = 0;

    if (!client)
        return;
    for (struct dm_http_peer *p = client->lingering; p; p = p->next)
        dm_stream_close(&p->stream);
    while (client->free_h1_peers.n_used + dm_h2_client_used(client) > client->n_open && n_failed < POLL_FAILURES_MAX)
        n_failed += dm_loop_turn(client->loop, 0) < 0;
    dm_h1_client_done(client);
    dm_h2_client_done(client);
    dm_buf_done(&client->out);
    dm_free(client);
}
