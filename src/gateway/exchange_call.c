/* An exchange's call to its backend: made, tried again, and what comes of it. */
#include "gateway/exchange_int.h"

#include "base/crypto.h"
#include "gateway/admission.h"
#include "gateway/answer.h"
#include "gateway/bandwidth.h"
#include "gateway/forward.h"
#include "gateway/grpc_call.h"
#include "gateway/policy/filter.h"
#include "gateway/policy/policy.h"
#include "gateway/relay.h"
#include "gateway/tunnel.h"
#include "gateway/turn.h"
#include "gateway/upgrade.h"
#include "gateway/worker.h"
#include "model/backend.h"

static void cancel_call(struct dm_exchange *ex)
{
    if (ex->call) {
        dm_http_call_cancel(ex->call);
        dm_upstream_left(ex->upstream, &ex->wish);
    }
    ex->call = NULL;
    dm_upstream_cancel(&ex->wish);
    if (DM_UNLIKELY(ex->admission != NULL))
        dm_admission_leave(ex);
    dm_turn_leave(ex);
}

void dm_exchange_drop_call(struct dm_exchange *ex)
{
    if (DM_UNLIKELY(ex->is_relay)) {
        dm_relay_drop_call(ex);
        return;
    }
    cancel_call(ex);
    if (ex->upstream)
        dm_upstream_drop(ex->upstream, &ex->ticket);
}

/* --- what comes of it, for the backend's circuit ------------------------------------------------------------------ */

/* What it has in common with the requests that go to the same endpoint. */
static struct dm_str hash_key(const struct dm_exchange *ex, char address[DM_ADDR_TEXT_MAX])
{
    const struct dm_ubalance *balance = &ex->backend->balance;
    const struct dm_http_field *field;

    if (balance->hash_by == DM_BALANCE_BY_APPLICATION && ex->application)
        return dm_unit_str(ex->applications, ex->application->name);
    if (balance->hash_by == DM_BALANCE_BY_HEADER) {
        field = dm_http_head_find_name(ex->head, dm_unit_str(ex->release->unit, balance->header));
        if (field)
            return field->value;
    }
    return dm_str_n(address, dm_addr_format(ex->client, false, address));
}

/* The same in all workers. Who chooses its own endpoint chooses among its own. */
void dm_exchange_set_hash(struct dm_exchange *ex)
{
    uint8_t key[16] = {0};
    char address[DM_ADDR_TEXT_MAX];

    if (DM_LIKELY(ex->backend->balance.method != DM_BALANCE_HASH))
        return;
    memcpy(key, &ex->backend->id, sizeof(ex->backend->id));
    ex->wish.hash = dm_siphash(key, hash_key(ex, address));
}

bool dm_exchange_admit(struct dm_exchange *ex)
{
    uint64_t retry_s;

    if (DM_LIKELY(dm_upstream_admit(ex->upstream, &ex->ticket, &retry_s)))
        return true;
    ex->verdict = (struct dm_limit_verdict){.reason = DM_REASON_CIRCUIT_OPEN, .retry_after_s = retry_s};
    return false;
}

/* There will be no call. A name without an address is no connection; all else is not the backend's doing. */
static void note_no_call(struct dm_exchange *ex, enum dm_reason reason)
{
    if (reason == DM_REASON_BACKEND_UNRESOLVED)
        dm_upstream_broken(ex->upstream, &ex->ticket, ex->wish.endpoint, 0);
    else
        dm_upstream_drop(ex->upstream, &ex->ticket);
}

/* How fast a caller sends is not the backend's doing. */
static void note_answer(struct dm_exchange *ex, const struct dm_http_head *head)
{
    unsigned status = DM_UNLIKELY(ex->is_grpc) ? dm_grpc_call_status(head) : head->status;
    bool is_early = ex->request.framing != DM_HTTP_FRAMING_NONE && !ex->has_request_ended;
    uint64_t asked_ns = DM_MAX(ex->sent_ns, ex->request_ended_ns);

    dm_upstream_answered(ex->upstream, &ex->ticket, ex->wish.endpoint, status,
                         is_early ? 0 : ex->answered_ns - asked_ns);
}

static void note_end(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    dm_upstream_ended(ex->upstream, &ex->ticket, ex->wish.endpoint, dm_grpc_call_end_status(trailers), ex->answered_ns);
}

/* Nothing left: it is about the request (http/client.h, C3). */
static bool is_unsent(const struct dm_http_call *call, struct dm_http_end end)
{
    return end.why == DM_HTTP_ABORT_FAULT && dm_http_call_bytes_out(call) == 0;
}

static void note_abort(struct dm_exchange *ex, const struct dm_http_call *call, struct dm_http_end end)
{
    if (!ex->caller || ex->tunnel || end.why == DM_HTTP_ABORT_SHUTDOWN || is_unsent(call, end))
        dm_upstream_drop(ex->upstream, &ex->ticket);
    else
        dm_upstream_broken(ex->upstream, &ex->ticket, ex->wish.endpoint, ex->answered_ns);
}

/* --- the time for all tries --------------------------------------------------------------------------------------- */

struct dm_exchange_timeout {
    struct dm_timer timer;
    struct dm_exchange *ex;
};

/* Is the backend waited for? Not by a request that waits for room, nor when its caller has not sent all of it. */
static bool is_backends_turn(const struct dm_exchange *ex)
{
    return (ex->call || ex->wish.upstream) && (ex->request.framing == DM_HTTP_FRAMING_NONE || ex->has_request_ended);
}

static void on_timeout(struct dm_timer *timer)
{
    struct dm_exchange *ex = DM_CONTAINER_OF(timer, struct dm_exchange_timeout, timer)->ex;
    bool was_queued = ex->admission && dm_admission_is_waiting(ex), was_backends = is_backends_turn(ex);

    if (ex->is_answered || ex->is_responding)
        return;
    cancel_call(ex);
    if (was_backends)
        dm_upstream_broken(ex->upstream, &ex->ticket, ex->wish.endpoint, 0);
    else
        dm_upstream_drop(ex->upstream, &ex->ticket);
    dm_answer(ex, was_queued ? DM_REASON_TENANT_OVER_CAP : DM_REASON_BACKEND_TIMEOUT);
}

/* Without room for it in the exchange's arena each try has its own time still. */
void dm_exchange_begin_timeout(struct dm_exchange *ex)
{
    struct dm_exchange_timeout *timeout = dm_arena_alloc(&ex->arena, sizeof(*timeout));

    if (!timeout)
        return;
    memset(timeout, 0, sizeof(*timeout));
    timeout->timer.on_due = on_timeout;
    timeout->timer.task.flow = &ex->tenant->flow;
    timeout->ex = ex;
    ex->timeout = timeout;
    dm_timer_arm(ex->worker->loop, &timeout->timer, ex->backend->retry.total_timeout_ms);
}

void dm_exchange_end_timeout(struct dm_exchange *ex)
{
    dm_timer_cancel(ex->worker->loop, &ex->timeout->timer);
}

/* --- to the backend ----------------------------------------------------------------------------------------------- */

static const struct dm_unit *current_grants(struct dm_upstream_request *wish)
{
    return DM_CONTAINER_OF(wish, struct dm_exchange, wish)->tenant->grants;
}

bool dm_exchange_is_replaying(const struct dm_exchange *ex)
{
    return DM_UNLIKELY(ex->replay && ex->replayed < ex->body_sent);
}

/* Sends again what was taken of the body before; true when that is through. */
static bool replay(struct dm_exchange *ex)
{
    if (DM_LIKELY(!dm_exchange_is_replaying(ex)))
        return true;
    ex->replayed += dm_http_call_write(ex->call, ex->replay + ex->replayed, ex->body_sent - ex->replayed);
    return ex->replayed == ex->body_sent;
}

static void go_on(struct dm_exchange *ex)
{
    if (DM_UNLIKELY(ex->request.protocol.len > 0)) {
        if (ex->tunnel)
            dm_http_request_resume(ex->caller);
        return; /* the head is all of the request */
    }
    if (ex->has_request_ended || ex->request.framing == DM_HTTP_FRAMING_NONE)
        dm_http_call_end(ex->call, ex->request_trailers);
    else
        dm_http_request_resume(ex->caller);
}

static void note_tls_failure(struct dm_exchange *ex, unsigned failure)
{
    ex->tls_failure = (uint16_t)failure;
    ex->tenant->counters->upstream_tls_failures[dm_tls_failure_reason(failure)]++;
}

/* To another address, or to the same when the connection was made for another call: it had less than the whole time left. */
static bool may_connect_again(const struct dm_exchange *ex, const struct dm_http_call *call)
{
    return ex->tries < dm_upstream_targets(ex->upstream) || dm_http_call_is_reused(call);
}

static void on_call(struct dm_upstream_request *wish, struct dm_http_call *call, enum dm_reason reason)
{
    struct dm_exchange *ex = DM_CONTAINER_OF(wish, struct dm_exchange, wish);

    if (!call && reason == DM_REASON_TENANT_OVER_CAP && dm_admission_wait_for_connection(ex))
        return;
    if (DM_UNLIKELY(ex->admission != NULL))
        dm_admission_leave(ex);
    if (!call) {
        if (reason == DM_REASON_BACKEND_TLS)
            note_tls_failure(ex, wish->tls_reason);
        note_no_call(ex, reason);
        dm_answer(ex, reason);
        return;
    }
    ex->call = call;
    ex->sent_ns = dm_loop_now_ns(ex->worker->loop);
    ex->request.host = dm_upstream_authority(ex->upstream, wish->endpoint);
    if (DM_UNLIKELY(ex->deadline != NULL))
        dm_grpc_call_send(ex);
    dm_http_call_set_user(call, ex);
    dm_http_call_send(call, &ex->request);
    if (ex->body_sent == 0)
        ex->may_replay =
            dm_http_call_is_http2(call) || (!dm_http_call_is_connected(call) && may_connect_again(ex, call));
    ex->replayed = 0;
    if (replay(ex))
        go_on(ex);
}

static bool find_certificate(struct dm_upstream_request *wish, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len)
{
    const struct dm_exchange *ex = DM_CONTAINER_OF(wish, struct dm_exchange, wish);

    return dm_live_tenant_find_certificate(ex->tenant, name, ret_chain, ret_key, ret_key_len);
}

void dm_exchange_call(struct dm_exchange *ex)
{
    ex->wish.grants = ex->tenant->grants;
    dm_upstream_get(ex->upstream, &ex->wish);
}

void dm_exchange_forward(struct dm_exchange *ex)
{
    uint32_t idle_ms = ex->is_grpc ? ex->backend->tunnel_idle_timeout_ms : ex->backend->idle_timeout_ms;

    ex->tries++;
    ex->wish.find_certificate = find_certificate;
    ex->wish.on_call = on_call;
    ex->wish.current_grants = current_grants;
    ex->wish.connect_ms = ex->backend->connect_timeout_ms;
    ex->wish.timeouts = (struct dm_http_timeouts){.response_ms = ex->backend->response_timeout_ms,
                                                  .idle_ms = idle_ms,
                                                  .kept_ms = ex->backend->idle_timeout_ms,
                                                  .tunnel_idle_ms = ex->backend->tunnel_idle_timeout_ms,
                                                  .tunnel_total_ms = ex->backend->tunnel_total_ms};
    if (DM_UNLIKELY(ex->tenant->share.waiting.first != NULL) && dm_admission_is_behind(ex))
        on_call(&ex->wish, NULL, DM_REASON_TENANT_OVER_CAP);
    else
        dm_exchange_call(ex);
}

/* --- backend events ----------------------------------------------------------------------------------------------- */

/* 103 and the like go through; 100 was the gateway's to say. */
static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    struct dm_exchange *ex = user;
    struct dm_buf *fields;

    if (head->status == 100 || !ex->caller)
        return;
    fields = dm_worker_scratch(ex->worker);
    dm_http_write_fields(fields, head, DM_HTTP_FIELD_HOP);
    if (fields->len <= DM_FORWARD_HEAD_MAX)
        dm_http_request_inform(ex->caller, head->status, dm_buf_str(fields));
}

/* Nothing of the response was passed on: it is a failure of the backend. */
static void refuse_response(struct dm_exchange *ex)
{
    dm_filter_drop(ex);
    cancel_call(ex);
    dm_upstream_broken(ex->upstream, &ex->ticket, ex->wish.endpoint, 0);
    dm_answer(ex, DM_REASON_BACKEND_BAD_RESPONSE);
}

static void begin_tunnel(struct dm_exchange *ex, const struct dm_http_message *message)
{
    dm_http_request_tunnel(ex->caller, message);
    dm_tunnel_begin(ex);
}

static void begin_response(struct dm_exchange *ex, struct dm_http_head *head)
{
    struct dm_buf *fields = dm_worker_scratch(ex->worker);
    struct dm_http_message message = {
        .status = head->status, .framing = (enum dm_http_framing)head->framing, .protocol = ex->request.protocol};

    ex->answered_ns = dm_loop_now_ns(ex->worker->loop);
    if (DM_UNLIKELY(ex->timeout != NULL))
        dm_exchange_end_timeout(ex);
    message.content_length = head->content_length;
    message.may_have_trailers = head->version_major == 2;
    if (DM_UNLIKELY(head->status == 426))
        message.protocol = dm_http_head_value(head, DM_HTTP_FIELD_ID_UPGRADE);
    if (head->has_content_length)
        message.framing = DM_HTTP_FRAMING_LENGTH; /* with HEAD and 304 it says what a GET would get */
    else if (message.framing == DM_HTTP_FRAMING_CLOSE)
        message.framing = DM_HTTP_FRAMING_CHUNKED;
    if (DM_UNLIKELY(head->status == 205))
        message.framing = DM_HTTP_FRAMING_NONE; /* RFC 9110, 15.3.6; some clients look for no content here */
    if ((DM_UNLIKELY(ex->request.protocol.len > 0) && dm_upgrade_response(ex, head) < 0) ||
        dm_policies_response(ex, head) < 0 ||
        (DM_UNLIKELY(ex->compression != NULL) && dm_compression_response(ex, head, &message) < 0) ||
        dm_forward_response(ex, head, fields) < 0) {
        refuse_response(ex);
        return;
    }
    note_answer(ex, head);
    ex->status = head->status;
    ex->is_responding = true;
    if (DM_UNLIKELY(ex->is_grpc))
        dm_grpc_call_response(ex, head);
    message.fields = dm_buf_str(fields);
    if (DM_UNLIKELY(head->status == 101))
        begin_tunnel(ex, &message);
    else
        dm_http_request_respond(ex->caller, &message);
}

/* A server may say 408 to a connection that has been idle for too long: it crossed this request, and is no answer to it (E3). */
static bool is_for_the_idle(const struct dm_exchange *ex, const struct dm_http_call *call,
                            const struct dm_http_head *head)
{
    return !head->keep_alive && !dm_http_call_is_http2(call) && dm_http_call_is_reused(call) && ex->body_sent == 0 &&
           ex->tries < ex->backend->retry.tries && dm_http_method_is_idempotent(dm_http_method_of(ex->method));
}

static void try_anew(struct dm_exchange *ex)
{
    cancel_call(ex);
    ex->tenant->counters->upstream_retries++;
    ex->wish.wants_fresh = true;
    dm_exchange_forward(ex);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(head->status == 408) && is_for_the_idle(ex, call, head))
        try_anew(ex);
    else
        begin_response(ex, head);
}

size_t dm_exchange_write(struct dm_exchange *ex, const char *ptr, size_t len)
{
    return dm_bandwidth_to_client(ex, ptr, len);
}

static size_t on_response_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    struct dm_exchange *ex = user;
    size_t taken;

    if (DM_UNLIKELY(ex->filter != NULL))
        return dm_filter_body(ex->filter, ptr, len);
    if (!ex->caller)
        return len;
    taken = dm_bandwidth_to_client(ex, ptr, len);
    if (DM_UNLIKELY(ex->tunnel != NULL))
        dm_tunnel_passed(ex->tunnel, DM_TUNNEL_CLIENT, ptr, taken);
    return taken;
}

/* The end comes when the client has taken what the filter holds. */
static void end_filtered(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    if (dm_filter_end(ex->filter, dm_forward_trailers(ex, trailers, false)) < 0)
        dm_exchange_fail(ex, DM_REASON_BACKEND_BAD_RESPONSE, (struct dm_http_end){DM_HTTP_ABORT_FAULT, 0, 0});
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(ex->is_grpc))
        note_end(ex, trailers);
    if (DM_UNLIKELY(ex->filter != NULL))
        end_filtered(ex, trailers);
    else if (ex->caller)
        dm_http_request_end(ex->caller, dm_forward_trailers(ex, trailers, false));
}

static void on_call_writable(void *user, struct dm_http_call *call)
{
    struct dm_exchange *ex = user;

    if (ex->caller && replay(ex))
        go_on(ex);
}

static void on_call_done(void *user, struct dm_http_call *call)
{
    struct dm_exchange *ex = user;

    dm_upstream_whole(ex->upstream, &ex->ticket, ex->wish.endpoint);
    dm_upstream_left(ex->upstream, &ex->wish);
    ex->call = NULL;
    dm_exchange_free_if_ended(ex);
}

static enum dm_reason reason_of(struct dm_http_end end)
{
    switch (end.why) {
    case DM_HTTP_ABORT_CONNECT_FAILED: return DM_REASON_BACKEND_UNREACHABLE;
    case DM_HTTP_ABORT_TLS: return DM_REASON_BACKEND_TLS;
    case DM_HTTP_ABORT_CONNECT_TIMEOUT:
    case DM_HTTP_ABORT_RESPONSE_TIMEOUT:
    case DM_HTTP_ABORT_IDLE: return DM_REASON_BACKEND_TIMEOUT;
    default: return DM_REASON_BACKEND_BAD_RESPONSE;
    }
}

static bool did_connect(struct dm_http_end end)
{
    return end.why != DM_HTTP_ABORT_CONNECT_FAILED && end.why != DM_HTTP_ABORT_CONNECT_TIMEOUT &&
           end.why != DM_HTTP_ABORT_TLS;
}

/* E3 */
static bool may_try_again(const struct dm_exchange *ex, const struct dm_http_call *call, struct dm_http_end end)
{
    if (ex->tries >= ex->backend->retry.tries || dm_http_call_has_response(call))
        return false;
    if (end.why == DM_HTTP_ABORT_REFUSED)
        return ex->body_sent == 0 || ex->may_replay;
    if (!did_connect(end))
        return may_connect_again(ex, call) && (ex->body_sent == 0 || ex->may_replay);
    return ex->body_sent == 0 && dm_http_call_is_reused(call) &&
           (end.why == DM_HTTP_ABORT_PEER_CLOSED || end.why == DM_HTTP_ABORT_PEER_RESET) &&
           dm_http_method_is_idempotent(dm_http_method_of(ex->method));
}

/* What was never begun costs nothing. */
static bool will_try_again(struct dm_exchange *ex, const struct dm_http_call *call, struct dm_http_end end)
{
    return ex->caller && !ex->is_responding && may_try_again(ex, call, end) &&
           (end.why == DM_HTTP_ABORT_REFUSED || dm_upstream_take_retry(ex->upstream));
}

static void on_call_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    struct dm_exchange *ex = user;
    bool again = will_try_again(ex, call, end), is_http2 = dm_http_call_is_http2(call);

    ex->call = NULL;
    dm_upstream_left(ex->upstream, &ex->wish);
    if (DM_UNLIKELY(end.why == DM_HTTP_ABORT_TLS))
        note_tls_failure(ex, (unsigned)end.error);
    if (!did_connect(end))
        dm_upstream_endpoint_failed(ex->upstream, ex->wish.endpoint, DM_OUTLIER_HARD);
    if (!again)
        note_abort(ex, call, end);
    if (!ex->caller) {
        dm_exchange_free_if_ended(ex);
    } else if (again) {
        ex->tenant->counters->upstream_retries++;
        ex->wish.wants_fresh =
            !is_http2 || end.why != DM_HTTP_ABORT_REFUSED; /* which lowers what its connection is given */
        dm_exchange_forward(ex);
    } else {
        ex->fault = (uint8_t)end.fault;
        dm_exchange_fail(ex, reason_of(end), end);
    }
}

const struct dm_http_call_handler dm_exchange_call_handler = {
    .on_inform = on_inform,
    .on_response = on_response,
    .on_body = on_response_body,
    .on_response_end = on_response_end,
    .on_writable = on_call_writable,
    .on_done = on_call_done,
    .on_abort = on_call_abort,
    .on_tunnel_due = dm_exchange_on_tunnel_due,
};
