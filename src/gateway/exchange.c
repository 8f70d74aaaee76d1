/* The states of an exchange; each event is one function below.
 *
 *   state        is                                              ends by
 *   deciding     inside on_request                               forward, or answer
 *   connecting   wish.upstream set or inside on_call             on_call: a call, or answer
 *   forwarding   call set, is_responding false                   on_response; on_call_abort: another try, or answer
 *   tunnel       tunnel set, is_responding: raw bytes both ways  as responding; each side ends its direction; its time is over
 *   responding   is_responding                                   on_response_end and on_call_done; on_call_abort: cut off,
 *                                                                or gRPC's status in trailers
 *   answered     is_answered: the gateway's own words            on_client_done
 *   ended        caller NULL; freed once call is NULL too
 *   any before answered ends by dm_exchange_expire() too: answer, or cut off
 *
 * E1. An exchange is freed when neither side has it: caller and call are NULL and no wish waits.
 * E2. It is counted and logged once, when the client's side ends.
 * E3. A request is sent again only if nothing of its body left and no byte of a response came: after a failed connect, or when
 *     it was never begun (HTTP/2 says so; a kept connection of HTTP/1.1 that ends before it left), with any method, after a kept
 *     connection that broke, or was closed with 408, only with an idempotent one (RFC 9110, 9.2.2 and 15.5.9). The beginning of a
 *     body that may have to be sent again is kept for that, and trailers with it. */
#include "gateway/exchange.h"

#include "gateway/answer.h"
#include "gateway/caps.h"
#include "gateway/connection.h"
#include "gateway/decide.h"
#include "gateway/forward.h"
#include "gateway/grpc.h"
#include "gateway/grpc_call.h"
#include "gateway/policy/filter.h"
#include "gateway/policy/policy.h"
#include "gateway/tunnel.h"
#include "gateway/upgrade.h"
#include "gateway/worker.h"

#define ARENA_BYTES (96u << 10)
#define TRIES_MAX 3
#define REPLAY_MAX (16u << 10)

struct dm_buf *dm_exchange_scratch(struct dm_exchange *ex)
{
    return dm_worker_scratch(ex->worker);
}

const struct dm_ucredential *dm_exchange_find_credential(struct dm_exchange *ex, enum dm_credential_type type,
                                                         struct dm_str key)
{
    return dm_credential_cache_find(ex->worker->credentials, ex->applications, type, key);
}

struct dm_encoders *dm_exchange_encoders(struct dm_exchange *ex)
{
    return ex->worker->encoders;
}

bool dm_exchange_certificate(const struct dm_exchange *ex, struct dm_str *ret_fingerprint, struct dm_str *ret_subject)
{
    const struct dm_connection *connection = dm_connection_certificate(ex);

    if (!connection)
        return false;
    *ret_fingerprint = dm_str_of(connection->fingerprint);
    *ret_subject = dm_str_of(connection->subject);
    return true;
}

uint64_t dm_exchange_wall_s(const struct dm_exchange *ex)
{
    return dm_worker_wall_ns(ex->worker) / 1000000000;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static bool is_request_id(struct dm_str s)
{
    return s.len <= DM_REQUEST_ID_MAX && dm_http_field_name_is_valid(s);
}

/* A trusted front's id is kept, so that one id runs through. */
static void set_request_id(struct dm_exchange *ex)
{
    struct dm_str given = ex->is_direct ? DM_STR_NULL : dm_http_head_value(ex->head, DM_HTTP_FIELD_ID_X_REQUEST_ID);

    if (is_request_id(given) && dm_arena_str(&ex->arena, given, &ex->request_id) == 0)
        return;
    dm_worker_next_id(ex->worker, ex->own_id);
    ex->request_id = dm_str_n(ex->own_id, DM_REQUEST_ID_LEN);
}

static struct dm_exchange *exchange_new(const struct dm_worker_listener *listener, struct dm_http_request *caller,
                                        struct dm_http_head *head)
{
    struct dm_worker *worker = listener->worker;
    struct dm_exchange *ex = dm_freelist_take(&worker->exchanges);

    memset(ex, 0, sizeof(*ex));
    dm_arena_init(&ex->arena, &worker->chunks, ARENA_BYTES);
    ex->worker = worker;
    ex->listener = listener;
    ex->caller = caller;
    ex->head = head;
    ex->begun_ns = dm_loop_now_ns(worker->loop);
    worker->n_exchanges++;
    ex->is_grpc = head->first[DM_HTTP_FIELD_ID_CONTENT_TYPE] &&
                  dm_grpc_is(dm_http_head_value(head, DM_HTTP_FIELD_ID_CONTENT_TYPE));
    dm_http_request_set_user(caller, ex);
    return ex;
}

/* E1 */
static void free_if_ended(struct dm_exchange *ex)
{
    struct dm_worker *worker = ex->worker;

    if (ex->caller || ex->call || ex->wish.upstream)
        return;
    dm_upstream_unref(ex->upstream);
    dm_live_release_unref(ex->release);
    dm_unit_unref(ex->applications);
    dm_live_tenant_unref(ex->tenant);
    dm_tunnel_free(ex);
    dm_arena_done(&ex->arena);
    worker->n_exchanges--;
    dm_freelist_give(&worker->exchanges, ex);
}

/* A tunnel was served when it stood. */
static uint64_t served_ns(const struct dm_exchange *ex)
{
    return (DM_UNLIKELY(ex->tunnel != NULL) ? ex->answered_ns : dm_loop_now_ns(ex->worker->loop)) - ex->begun_ns;
}

static void count(const struct dm_exchange *ex)
{
    struct dm_tenant_counters *c = ex->tenant->counters;
    uint64_t us = served_ns(ex) / 1000;

    c->requests++;
    c->exchanges_ended++;
    c->tunnels_ended += ex->tunnel != NULL;
    c->status[ex->status / 100 % 6]++;
    c->reasons[ex->reason]++;
    c->bytes_in += ex->bytes_in;
    c->bytes_out += ex->bytes_out;
    c->latency[dm_latency_bucket(us)]++;
    c->latency_us_sum += us;
    if (ex->answered_ns) {
        us = (ex->answered_ns - ex->sent_ns) / 1000;
        c->upstream_latency[dm_latency_bucket(us)]++;
        c->upstream_latency_us_sum += us;
    }
}

/* E2: the client's side is through. */
static void end_client(struct dm_exchange *ex)
{
    dm_filter_drop(ex);
    if (DM_UNLIKELY(ex->deadline != NULL))
        dm_grpc_call_end(ex);
    ex->bytes_in = dm_http_request_bytes_in(ex->caller);
    ex->bytes_out = dm_http_request_bytes_out(ex->caller);
    if (ex->tenant)
        count(ex);
    if (ex->worker->options->access_log)
        dm_access_log_write(&ex->worker->log, ex, dm_worker_wall_ns(ex->worker));
    ex->caller = NULL;
}

static void count_upstream(struct dm_exchange *ex, const struct dm_http_call *call)
{
    ex->tenant->counters->upstream_bytes_in += dm_http_call_bytes_in(call);
    ex->tenant->counters->upstream_bytes_out += dm_http_call_bytes_out(call);
}

static void drop_call(struct dm_exchange *ex)
{
    if (ex->call && dm_http_call_has_response(ex->call))
        count_upstream(ex, ex->call);
    if (ex->call)
        dm_http_call_cancel(ex->call);
    ex->call = NULL;
    dm_upstream_cancel(&ex->wish);
}

/* In the middle of the response. */
static void cut_off(struct dm_exchange *ex, enum dm_reason reason, enum dm_http2_code code)
{
    struct dm_http_request *caller = ex->caller;

    ex->reason = (uint8_t)reason;
    end_client(ex);
    dm_http_request_abort_with(caller, code);
    free_if_ended(ex);
}

/* --- to the backend ----------------------------------------------------------------------------------------------- */

static const struct dm_unit *current_grants(struct dm_upstream_request *wish)
{
    return DM_CONTAINER_OF(wish, struct dm_exchange, wish)->tenant->grants;
}

static bool is_replaying(const struct dm_exchange *ex)
{
    return DM_UNLIKELY(ex->replay && ex->replayed < ex->body_sent);
}

/* Sends again what was taken of the body before; true when that is through. */
static bool replay(struct dm_exchange *ex)
{
    if (DM_LIKELY(!is_replaying(ex)))
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

static void on_call(struct dm_upstream_request *wish, struct dm_http_call *call, enum dm_reason reason)
{
    struct dm_exchange *ex = DM_CONTAINER_OF(wish, struct dm_exchange, wish);

    if (!call) {
        if (reason == DM_REASON_BACKEND_TLS)
            note_tls_failure(ex, wish->tls_reason);
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
            dm_http_call_is_http2(call) || (!dm_http_call_is_reused(call) && dm_upstream_targets(ex->upstream) > 1);
    ex->replayed = 0;
    if (replay(ex))
        go_on(ex);
}

/* Of the tenant's domains, as they are now. */
static bool find_certificate(struct dm_upstream_request *wish, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len)
{
    const struct dm_exchange *ex = DM_CONTAINER_OF(wish, struct dm_exchange, wish);
    const struct dm_live_domains *domains = ex->tenant->domains;
    const struct dm_ucertificate *certificate = domains ? dm_udomains_certificate(domains->unit, name) : NULL;
    struct dm_err err = {0};

    if (!certificate)
        return false;
    *ret_chain = dm_unit_str(domains->unit, certificate->chain);
    if (dm_live_certificate_key(domains->unit, certificate, ex->worker->vault, ret_key, ret_key_len, &err) == 0)
        return true;
    dm_log(DM_LOG_ERROR, "certificate_not_shown", "tenant %s: %s", ex->tenant->name.ptr, err.message);
    return false;
}

static void forward(struct dm_exchange *ex)
{
    uint32_t idle_ms = ex->is_grpc ? ex->backend->tunnel_idle_timeout_ms : ex->backend->idle_timeout_ms;

    ex->tries++;
    ex->wish.find_certificate = find_certificate;
    ex->wish.on_call = on_call;
    ex->wish.current_grants = current_grants;
    ex->wish.grants = ex->tenant->grants;
    ex->wish.connect_ms = ex->backend->connect_timeout_ms;
    ex->wish.timeouts = (struct dm_http_timeouts){.response_ms = ex->backend->response_timeout_ms,
                                                  .idle_ms = idle_ms,
                                                  .kept_ms = ex->backend->idle_timeout_ms,
                                                  .tunnel_idle_ms = ex->backend->tunnel_idle_timeout_ms,
                                                  .tunnel_total_ms = ex->backend->tunnel_total_ms};
    dm_upstream_get(ex->upstream, &ex->wish);
}

/* --- client events ------------------------------------------------------------------------------------------------ */

static void on_request(void *arg, struct dm_http_request *caller, struct dm_http_head *head)
{
    struct dm_exchange *ex = exchange_new(arg, caller, head);
    enum dm_reason reason;

    dm_forward_identify(ex);
    set_request_id(ex);
    reason = dm_decide(ex);
    if (reason != DM_REASON_NONE) {
        dm_answer(ex, reason);
    } else if (ex->is_preflight || ex->is_last) {
        dm_answer_preflight(ex);
    } else if (ex->is_redirect) {
        dm_answer_redirect(ex);
    } else {
        ex->head = NULL;
        dm_http_request_inform(caller, 100, DM_STR_NULL); /* if it was asked for */
        if (DM_UNLIKELY(ex->is_grpc))
            dm_grpc_call_begin(ex);
        forward(ex);
    }
}

/* E3 */
static void keep_for_replay(struct dm_exchange *ex, const char *ptr, size_t len)
{
    if (!ex->replay)
        ex->replay = dm_arena_alloc(&ex->arena, REPLAY_MAX);
    ex->may_replay = ex->replay && ex->body_sent + len <= REPLAY_MAX;
    if (ex->may_replay)
        memcpy(ex->replay + ex->body_sent, ptr, len);
}

static void keep_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    struct dm_str lines = dm_forward_trailers(ex, trailers, true);

    if (dm_arena_str(&ex->arena, lines, &ex->request_trailers) < 0) {
        ex->request_trailers = DM_STR_NULL;
        ex->may_replay = false;
        if (ex->call && !is_replaying(ex))
            dm_http_call_end(ex->call, lines);
    }
}

static size_t on_request_body(void *user, struct dm_http_request *caller, const char *ptr, size_t len)
{
    struct dm_exchange *ex = user;
    size_t taken;

    if (!ex->call || is_replaying(ex))
        return 0; /* go_on() resumes */
    taken = dm_http_call_write(ex->call, ptr, len);
    if (DM_UNLIKELY(ex->tunnel != NULL))
        dm_tunnel_passed(ex->tunnel, DM_TUNNEL_BACKEND, ptr, taken);
    else if (ex->may_replay)
        keep_for_replay(ex, ptr, taken);
    ex->body_sent += taken;
    ex->replayed = ex->body_sent;
    return taken;
}

static void on_request_end(void *user, struct dm_http_request *caller, const struct dm_http_head *trailers)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(ex->tunnel != NULL)) {
        if (ex->call)
            dm_http_call_end(ex->call, DM_STR_NULL);
        return;
    }
    ex->has_request_ended = true;
    if (DM_UNLIKELY(trailers))
        keep_trailers(ex, trailers);
    if (ex->call && !is_replaying(ex) && ex->request.framing != DM_HTTP_FRAMING_NONE)
        dm_http_call_end(ex->call, ex->request_trailers);
}

static void on_client_writable(void *user, struct dm_http_request *caller)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(ex->filter != NULL) && !dm_filter_writable(ex->filter))
        return;
    if (ex->call)
        dm_http_call_resume(ex->call);
}

static void on_client_done(void *user, struct dm_http_request *caller)
{
    struct dm_exchange *ex = user;

    end_client(ex);
    free_if_ended(ex);
}

/* What the gateway had said already stands, though nobody may have read it. */
static void set_abort_reason(struct dm_exchange *ex, struct dm_http_end end)
{
    if (ex->is_answered)
        return;
    if (ex->is_responding || !dm_answer_is_fault(end)) {
        ex->reason = end.why == DM_HTTP_ABORT_SHUTDOWN ? DM_REASON_DRAINING : DM_REASON_CLIENT_CLOSED;
        return;
    }
    ex->reason = (uint8_t)dm_answer_reason(end);
    ex->fault = (uint8_t)end.fault;
    ex->status = ex->is_grpc ? 200 : (unsigned)dm_reason_info((enum dm_reason)ex->reason)->status;
}

static void on_client_abort(void *user, struct dm_http_request *caller, struct dm_http_end end)
{
    struct dm_exchange *ex = user;

    set_abort_reason(ex, end);
    if (DM_UNLIKELY(end.why == DM_HTTP_ABORT_TOO_LARGE))
        dm_caps_count_too_large(ex);
    end_client(ex);
    drop_call(ex);
    free_if_ended(ex);
}

/* --- tunnels that the gateway ends -------------------------------------------------------------------------------- */

static void leave_client(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_http_request *caller = ex->caller;
    char buf[DM_WEBSOCKET_CLOSE_MAX];
    struct dm_str last = dm_tunnel_goodbye(ex, DM_TUNNEL_CLIENT, reason, buf);

    end_client(ex);
    dm_http_request_leave(caller, last);
}

static void leave_backend(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_http_call *call = ex->call;
    char buf[DM_WEBSOCKET_CLOSE_MAX];
    struct dm_str last = dm_tunnel_goodbye(ex, DM_TUNNEL_BACKEND, reason, buf);

    count_upstream(ex, call);
    ex->call = NULL;
    dm_http_call_leave(call, last);
}

static void end_tunnel(struct dm_exchange *ex, enum dm_reason reason)
{
    ex->reason = (uint8_t)reason;
    if (ex->caller)
        leave_client(ex, reason);
    if (ex->call)
        leave_backend(ex, reason);
    free_if_ended(ex);
}

/* Only when the server goes: the backend's limits hold for both sides, and are watched on its side. */
static void on_server_goes(void *user, struct dm_http_request *caller, enum dm_http_abort why)
{
    end_tunnel(user, DM_REASON_DRAINING);
}

static void on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why)
{
    end_tunnel(user, why == DM_HTTP_ABORT_IDLE ? DM_REASON_TUNNEL_IDLE : DM_REASON_TUNNEL_EXPIRED);
}

/* --- the gateway goes --------------------------------------------------------------------------------------------- */

/* What is answered, or responded to as a whole, is on its way. */
static void on_request_due(void *user, struct dm_http_request *caller)
{
    struct dm_exchange *ex = user;

    if (ex->is_answered || (ex->is_responding && !ex->call))
        return;
    drop_call(ex);
    if (!ex->is_responding)
        dm_answer(ex, DM_REASON_DRAINING);
    else if (ex->may_say_status)
        dm_answer_grpc_end(ex, DM_REASON_DRAINING);
    else
        cut_off(ex, DM_REASON_DRAINING, DM_HTTP2_CODE_INTERNAL);
}

/* --- requests that are none --------------------------------------------------------------------------------------- */

static void log_fault(struct dm_worker *worker, const struct dm_http_request *caller, struct dm_str id,
                      enum dm_reason reason, struct dm_http_end end)
{
    struct dm_addr peer;

    dm_http_request_peer(caller, &peer);
    dm_access_log_write_fault(&worker->log, &peer, id, reason, end.fault, dm_worker_wall_ns(worker));
}

static void on_fault(void *arg, struct dm_http_request *caller, struct dm_http_end end,
                     struct dm_http_message *ret_message, struct dm_str *ret_body)
{
    struct dm_worker *worker = ((const struct dm_worker_listener *)arg)->worker;
    struct dm_exchange *ex = dm_http_request_user(caller); /* of a request whose body is none or too slow */
    struct dm_buf *fields = dm_worker_scratch(worker);
    char own_id[DM_REQUEST_ID_LEN];
    struct dm_str id = ex ? ex->request_id : dm_str_n(own_id, sizeof(own_id));
    enum dm_reason reason;

    worker->counters->worker.faults += end.why != DM_HTTP_ABORT_CROWDED;
    if (ex)
        drop_call(ex); /* before anything else is sent: if the head is not gone yet, the backend sees nothing */
    else
        dm_worker_next_id(worker, own_id);
    dm_buf_reset(&worker->answer);
    if (ex && ex->is_grpc) {
        dm_answer_grpc_fault(ex, end, ret_message);
        return;
    }
    reason = dm_answer_fault(worker, end, id, fields, &worker->answer);
    if (worker->options->access_log && !ex)
        log_fault(worker, caller, id, reason, end);
    ret_message->status = (unsigned)dm_reason_info(reason)->status;
    ret_message->fields = dm_buf_str(fields);
    *ret_body = dm_buf_str(&worker->answer);
}

const struct dm_http_handler dm_exchange_handler = {
    .on_request = on_request,
    .on_body = on_request_body,
    .on_request_end = on_request_end,
    .on_writable = on_client_writable,
    .on_done = on_client_done,
    .on_abort = on_client_abort,
    .on_fault = on_fault,
    .on_tunnel_due = on_server_goes,
    .on_request_due = on_request_due,
    .on_first_bytes = dm_connection_first_bytes,
    .on_broken = dm_connection_broken,
    .on_timeout = dm_connection_timeout,
    .on_stream_refused = dm_connection_stream_refused,
    .on_conn_end = dm_connection_end,
};

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

/* Nothing of the response was passed on. */
static void refuse_response(struct dm_exchange *ex)
{
    dm_filter_drop(ex);
    drop_call(ex);
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
           ex->tries < TRIES_MAX && dm_http_method_is_idempotent(dm_http_method_of(ex->method));
}

static void try_anew(struct dm_exchange *ex)
{
    drop_call(ex);
    ex->tenant->counters->upstream_retries++;
    ex->wish.wants_fresh = true;
    forward(ex);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(head->status == 408) && is_for_the_idle(ex, call, head))
        try_anew(ex);
    else
        begin_response(ex, head);
}

static enum dm_http2_code code_of_end(const struct dm_exchange *ex, struct dm_http_end end)
{
    if (DM_UNLIKELY(ex->tunnel != NULL))
        return DM_HTTP2_CODE_CANCEL; /* RFC 8441 section 5 */
    return ex->is_grpc ? dm_grpc_code_of_end(end) : DM_HTTP2_CODE_INTERNAL;
}

/* The backend failed: the client is told, or cut off. */
static void end_badly(struct dm_exchange *ex, enum dm_reason reason, struct dm_http_end end)
{
    if (DM_UNLIKELY(ex->is_grpc))
        ex->grpc_status = (uint8_t)dm_grpc_status_of_end(end);
    if (!ex->is_responding)
        dm_answer(ex, reason);
    else if (ex->may_say_status)
        dm_answer_grpc_end(ex, DM_REASON_BACKEND_CLOSED);
    else
        cut_off(ex, DM_REASON_BACKEND_CLOSED, code_of_end(ex, end));
}

void dm_exchange_expire(struct dm_exchange *ex)
{
    drop_call(ex);
    if (!ex->is_responding)
        dm_answer(ex, DM_REASON_BACKEND_TIMEOUT);
    else if (ex->may_say_status && !ex->is_answered)
        dm_answer_grpc_end(ex, DM_REASON_BACKEND_TIMEOUT);
    else
        cut_off(ex, ex->is_answered ? (enum dm_reason)ex->reason : DM_REASON_BACKEND_TIMEOUT, DM_HTTP2_CODE_CANCEL);
}

static size_t on_response_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    struct dm_exchange *ex = user;
    size_t taken;

    if (DM_UNLIKELY(ex->filter != NULL))
        return dm_filter_body(ex->filter, ptr, len);
    if (!ex->caller)
        return len;
    taken = dm_http_request_write(ex->caller, ptr, len);
    if (DM_UNLIKELY(ex->tunnel != NULL))
        dm_tunnel_passed(ex->tunnel, DM_TUNNEL_CLIENT, ptr, taken);
    return taken;
}

/* The end comes when the client has taken what the filter holds. */
static void end_filtered(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    if (dm_filter_end(ex->filter, dm_forward_trailers(ex, trailers, false)) < 0)
        end_badly(ex, DM_REASON_BACKEND_BAD_RESPONSE, (struct dm_http_end){DM_HTTP_ABORT_FAULT, 0, 0});
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    struct dm_exchange *ex = user;

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

    count_upstream(ex, call);
    ex->call = NULL;
    free_if_ended(ex);
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
    if (ex->tries >= TRIES_MAX || dm_http_call_has_response(call))
        return false;
    if (end.why == DM_HTTP_ABORT_REFUSED)
        return ex->body_sent == 0 || ex->may_replay;
    if (!did_connect(end))
        return ex->tries < dm_upstream_targets(ex->upstream) && (ex->body_sent == 0 || ex->may_replay);
    return ex->body_sent == 0 && dm_http_call_is_reused(call) &&
           (end.why == DM_HTTP_ABORT_PEER_CLOSED || end.why == DM_HTTP_ABORT_PEER_RESET) &&
           dm_http_method_is_idempotent(dm_http_method_of(ex->method));
}

static void on_call_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    struct dm_exchange *ex = user;
    bool again = !ex->is_responding && may_try_again(ex, call, end), is_http2 = dm_http_call_is_http2(call);

    ex->call = NULL;
    if (DM_UNLIKELY(end.why == DM_HTTP_ABORT_TLS))
        note_tls_failure(ex, (unsigned)end.error);
    if (did_connect(end))
        count_upstream(ex, call);
    else
        dm_upstream_failed(ex->upstream, ex->wish.endpoint);
    if (!ex->caller) {
        free_if_ended(ex);
    } else if (again) {
        ex->tenant->counters->upstream_retries++;
        ex->wish.wants_fresh =
            !is_http2 || end.why != DM_HTTP_ABORT_REFUSED; /* which lowers what its connection is given */
        forward(ex);
    } else {
        ex->fault = (uint8_t)end.fault;
        end_badly(ex, reason_of(end), end);
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
    .on_tunnel_due = on_tunnel_due,
};
