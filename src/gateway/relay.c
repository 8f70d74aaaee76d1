#include "gateway/relay.h"

#include <sys/socket.h>
#include <unistd.h>

#include "gateway/answer.h"
#include "gateway/cell_gate.h"
#include "gateway/cell_message.h"
#include "gateway/connection.h"
#include "gateway/exchange_int.h"
#include "gateway/forward.h"
#include "gateway/turn.h"
#include "gateway/worker.h"

/* --- to the cell -------------------------------------------------------------------------------------------------- */

static void describe_tls(const struct dm_exchange *ex, struct dm_cell_message *message)
{
    const struct dm_connection *connection = dm_http_conn_user(dm_http_request_conn(ex->caller));
    const struct dm_connection *certified = dm_connection_certificate(ex);

    message->is_tls = true;
    message->is_tls_1_3 = connection->is_tls_1_3;
    message->is_http2 = connection->is_http2;
    memcpy(message->client_policy, connection->client_policy, DM_DIGEST_BYTES);
    if (!certified)
        return;
    message->has_certificate = true;
    message->fingerprint = dm_str_of(certified->fingerprint);
    message->subject = dm_str_of(certified->subject);
}

/* Our end of a connection whose other one the cell has got, or negative. */
static int give_connection(const struct dm_exchange *ex, struct dm_live_tenant *tenant)
{
    struct dm_cell_message message = {.kind = DM_CELL_RELAYED, .peer = ex->peer};
    char text[DM_ADDR_TEXT_MAX];
    bool is_given;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return DM_EIO;
    message.listener = dm_str_n(text, dm_addr_format(&ex->listener->spec->addr, true, text));
    if (ex->listener->spec->is_tls)
        describe_tls(ex, &message);
    is_given = dm_cell_gate_give(tenant->cell, &message, fds[1]);
    close(fds[1]);
    if (is_given)
        return fds[0];
    close(fds[0]);
    return DM_EAGAIN;
}

static struct dm_http_call *open_call(struct dm_exchange *ex, struct dm_live_tenant *tenant, int fd)
{
    struct dm_http_peer_settings settings = {.fd = &fd,
                                             .is_http2 = dm_http_request_is_http2(ex->caller),
                                             .flow = &tenant->flow,
                                             .buffered = &tenant->counters->buffered_bytes};
    struct dm_http_timeouts none = {0}; /* the cell's own hold */
    struct dm_http_peer *peer;
    struct dm_http_call *call;

    settings.addr.ss.ss_family = AF_UNIX;
    settings.addr.len = sizeof(settings.addr.ss.ss_family);
    peer = dm_http_client_connect(ex->worker->relays, &settings, NULL);
    call = dm_http_peer_open(peer, &none);
    dm_http_peer_close(peer); /* behind this call */
    return call;
}

/* R1. What an upgrade is, and how the body is framed, the connections say anew. */
static enum dm_reason write_request(struct dm_exchange *ex, struct dm_http_message *ret)
{
    static const uint8_t of_connection[] = {DM_HTTP_FIELD_ID_HOST, DM_HTTP_FIELD_ID_CONTENT_LENGTH};
    struct dm_http_head *head = ex->head;
    struct dm_buf *out = dm_worker_scratch(ex->worker);

    for (size_t i = 0; i < DM_COUNT(of_connection); i++)
        if (head->first[of_connection[i]])
            dm_http_head_drop_from(head, dm_http_head_find(head, of_connection[i]));
    dm_http_write_fields(out, head, DM_HTTP_FIELD_HOP);
    if (out->failed || out->len + head->target.len + head->method_name.len > DM_FORWARD_HEAD_MAX)
        return DM_REASON_HEADER_TOO_LARGE;
    *ret = (struct dm_http_message){.method = ex->method,
                                    .host = head->authority,
                                    .target = head->target,
                                    .protocol = head->framing == DM_HTTP_FRAMING_NONE ? head->upgrade : DM_STR_NULL,
                                    .fields = dm_buf_str(out),
                                    .framing = (enum dm_http_framing)head->framing,
                                    .content_length = head->content_length};
    if (head->has_content_length)
        ret->framing = DM_HTTP_FRAMING_LENGTH;
    return DM_REASON_NONE;
}

static struct dm_str trailer_lines(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    struct dm_buf *out = dm_worker_scratch(ex->worker);

    if (!trailers)
        return DM_STR_NULL;
    dm_http_write_fields(out, trailers, DM_HTTP_FIELD_HOP);
    return out->failed ? DM_STR_NULL : dm_buf_str(out);
}

enum dm_reason dm_relay_begin(struct dm_exchange *ex, struct dm_live_tenant *tenant)
{
    struct dm_http_message message;
    enum dm_reason reason;
    int fd;

    if (tenant->n_relays >= tenant->held_max)
        return DM_REASON_TENANT_OVER_CAP;
    if ((reason = write_request(ex, &message)) != DM_REASON_NONE)
        return reason;
    if (dm_arena_str(&ex->arena, message.protocol, &ex->request.protocol) < 0)
        return DM_REASON_HEADER_TOO_LARGE;
    if ((fd = give_connection(ex, tenant)) < 0)
        return DM_REASON_CELL_UNAVAILABLE;
    ex->is_relay = true;
    ex->request.framing = message.framing;
    tenant->n_relays++;
    tenant->counters->relayed++;
    ex->call = open_call(ex, tenant, fd);
    dm_http_call_set_user(ex->call, ex);
    dm_http_call_send(ex->call, &message);
    if (ex->is_grpc)
        dm_http_request_allow_silence(ex->caller, 0);
    if (message.protocol.len > 0)
        return DM_REASON_NONE; /* the head is all of the request */
    if (message.framing == DM_HTTP_FRAMING_NONE || ex->has_request_ended)
        dm_http_call_end(ex->call, trailer_lines(ex, dm_turn_trailers(ex)));
    else
        dm_http_request_resume(ex->caller);
    return DM_REASON_NONE;
}

static bool is_tunnel(const struct dm_exchange *ex)
{
    return ex->is_responding && ex->status == 101;
}

/* The end of a request without a body was said with its head. */
void dm_relay_request_end(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    if (!ex->call)
        return;
    if (is_tunnel(ex))
        dm_http_call_end(ex->call, DM_STR_NULL);
    else if (ex->request.framing != DM_HTTP_FRAMING_NONE)
        dm_http_call_end(ex->call, trailer_lines(ex, trailers));
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void forget_call(struct dm_exchange *ex)
{
    ex->call = NULL;
    ex->tenant->n_relays--;
}

void dm_relay_drop_call(struct dm_exchange *ex)
{
    struct dm_http_call *call = ex->call;

    if (!call)
        return;
    forget_call(ex);
    dm_http_call_cancel(call);
}

void dm_relay_leave(struct dm_exchange *ex)
{
    struct dm_http_request *caller = ex->caller;

    dm_relay_drop_call(ex);
    if (caller) {
        dm_exchange_end_client(ex);
        dm_http_request_leave(caller, DM_STR_NULL);
    }
    dm_exchange_free_if_ended(ex);
}

/* R2: from here on it is ours. */
static void answer_unavailable(struct dm_exchange *ex)
{
    ex->is_relay = false;
    ex->tenant->counters->exchanges_begun++;
    dm_answer(ex, DM_REASON_CELL_UNAVAILABLE);
}

/* --- from the cell ------------------------------------------------------------------------------------------------ */

static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    struct dm_exchange *ex = user;
    struct dm_buf *fields;

    if (!ex->caller)
        return;
    fields = dm_worker_scratch(ex->worker);
    dm_http_write_fields(fields, head, DM_HTTP_FIELD_HOP);
    if (fields->len <= DM_FORWARD_HEAD_MAX)
        dm_http_request_inform(ex->caller, head->status, dm_buf_str(fields));
}

static struct dm_http_message read_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_buf *fields)
{
    struct dm_http_message message = {.status = head->status,
                                      .framing = (enum dm_http_framing)head->framing,
                                      .content_length = head->content_length,
                                      .protocol = ex->request.protocol,
                                      .may_have_trailers = head->version_major == 2};

    if (head->status == 426)
        message.protocol = dm_http_head_value(head, DM_HTTP_FIELD_ID_UPGRADE);
    if (head->has_content_length)
        message.framing = DM_HTTP_FRAMING_LENGTH;
    else if (message.framing == DM_HTTP_FRAMING_CLOSE)
        message.framing = DM_HTTP_FRAMING_CHUNKED;
    if (head->first[DM_HTTP_FIELD_ID_CONTENT_LENGTH])
        dm_http_head_drop_from(head, dm_http_head_find(head, DM_HTTP_FIELD_ID_CONTENT_LENGTH));
    dm_http_write_fields(fields, head, DM_HTTP_FIELD_HOP);
    message.fields = dm_buf_str(fields);
    return message;
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct dm_exchange *ex = user;
    struct dm_buf *fields = dm_worker_scratch(ex->worker);
    struct dm_http_message message = read_response(ex, head, fields);

    if (!ex->caller)
        return;
    if (fields->failed) {
        dm_relay_drop_call(ex);
        answer_unavailable(ex);
        return;
    }
    ex->status = head->status;
    ex->is_responding = true;
    if (head->status == 101)
        dm_http_request_tunnel(ex->caller, &message);
    else
        dm_http_request_respond(ex->caller, &message);
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    const struct dm_exchange *ex = user;

    return ex->caller ? dm_http_request_write(ex->caller, ptr, len) : len;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    struct dm_exchange *ex = user;

    if (ex->caller)
        dm_http_request_end(ex->caller, trailer_lines(ex, trailers));
}

static void on_writable(void *user, struct dm_http_call *call)
{
    const struct dm_exchange *ex = user;

    if (ex->caller)
        dm_http_request_resume(ex->caller);
}

static void on_done(void *user, struct dm_http_call *call)
{
    struct dm_exchange *ex = user;

    forget_call(ex);
    dm_exchange_free_if_ended(ex);
}

/* A stream that the cell reset is reset with its code. */
static void cut_off(struct dm_exchange *ex, struct dm_http_end end)
{
    struct dm_http_request *caller = ex->caller;
    bool has_code = end.why == DM_HTTP_ABORT_CANCELLED && end.error >= 0 && end.error < DM_HTTP2_CODE_COUNT;

    dm_exchange_end_client(ex);
    dm_http_request_abort_with(caller, has_code ? (enum dm_http2_code)end.error : DM_HTTP2_CODE_INTERNAL);
    dm_exchange_free_if_ended(ex);
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    struct dm_exchange *ex = user;

    forget_call(ex);
    if (!ex->caller)
        dm_exchange_free_if_ended(ex);
    else if (ex->is_responding)
        cut_off(ex, end);
    else if (end.why == DM_HTTP_ABORT_CANCELLED)
        cut_off(ex, end);
    else
        answer_unavailable(ex);
}

const struct dm_http_call_handler dm_relay_call_handler = {
    .on_inform = on_inform,
    .on_response = on_response,
    .on_body = on_body,
    .on_response_end = on_response_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
};

static void on_peer(void *owner, struct dm_http_peer *peer)
{
}

const struct dm_http_peer_handler dm_relay_peer_handler = {on_peer, on_peer};
