/* The states of an exchange; each event is one function below.
 *
 *   state        is                                              ends by
 *   deciding     inside on_request                               forward, or answer
 *   waiting      admission, in a queue                           its turn; its deadline: answer
 *   connecting   wish.upstream set or inside on_call             on_call: a call, or answer
 *   forwarding   call set, is_responding false                   on_response; on_call_abort: another try, or answer
 *   relayed      is_relay: all of it is its tenant's cell's        as forwarding, responding, tunnel (relay.h)
 *   tunnel       tunnel set, is_responding: raw bytes both ways  as responding; each side ends its direction; its time is over
 *   responding   is_responding                                   on_response_end and on_call_done; on_call_abort: cut off,
 *                                                                or gRPC's status in trailers
 *   answered     is_answered: the gateway's own words            on_client_done
 *   ended        caller NULL; freed once call is NULL too
 *   any before answered ends by dm_exchange_expire() too: answer, or cut off
 *
 * E1. An exchange is freed when neither side has it: caller and call are NULL and no wish waits, nor it itself.
 * E2. It is counted and logged once, when the client's side ends.
 * E3. A request is sent again only if nothing of its body left and no byte of a response came: after a failed connect (to
 *     another address, or when the connect was begun for an earlier request), or when it was never begun (HTTP/2 says so; a kept
 *     connection of HTTP/1.1 that ends before it left), with any method, after a kept connection that broke, or was closed with
 *     408, only with an idempotent one (RFC 9110, 9.2.2 and 15.5.9). The beginning of a body that may have to be sent again is
 *     kept for that, and trailers with it. Each backend has a number of tries and a budget for them (upstream/retry_budget.h). */
#include "gateway/exchange_int.h"

#include "gateway/admission.h"
#include "gateway/answer.h"
#include "gateway/bandwidth.h"
#include "gateway/caps.h"
#include "gateway/connection.h"
#include "gateway/decide.h"
#include "gateway/entrance.h"
#include "gateway/forward.h"
#include "gateway/grpc.h"
#include "gateway/grpc_call.h"
#include "gateway/policy/filter.h"
#include "gateway/relay.h"
#include "gateway/tunnel.h"
#include "gateway/turn.h"
#include "gateway/worker.h"
#include "model/backend.h"

#define ARENA_BYTES (96u << 10)
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
void dm_exchange_free_if_ended(struct dm_exchange *ex)
{
    struct dm_worker *worker = ex->worker;

    if (ex->caller || ex->call || ex->wish.upstream)
        return;
    dm_turn_leave(ex);
    if (DM_UNLIKELY(ex->ticket.step == DM_BREAKER_TICKET_OUT))
        dm_upstream_drop(ex->upstream, &ex->ticket);
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

/* What a connection of many tenants brings is counted by its requests. */
static void count_behind_front(const struct dm_exchange *ex)
{
    if (dm_http_conn_user(dm_http_request_conn(ex->caller)))
        return;
    ex->tenant->counters->client.in += ex->bytes_in;
    ex->tenant->counters->client.out += ex->bytes_out;
}

static void count(const struct dm_exchange *ex)
{
    struct dm_tenant_counters *c = ex->tenant->counters;
    uint64_t us = served_ns(ex) / 1000;

    c->requests++;
    c->exchanges_ended++;
    dm_wait_queue_room(&ex->tenant->waiting);
    c->tunnels_ended += ex->tunnel != NULL;
    c->status[ex->status / 100 % 6]++;
    c->reasons[ex->reason]++;
    if (DM_UNLIKELY(!ex->is_direct))
        count_behind_front(ex);
    c->latency[dm_latency_bucket(us)]++;
    c->latency_us_sum += us;
    if (ex->answered_ns) {
        us = (ex->answered_ns - ex->sent_ns) / 1000;
        c->upstream_latency[dm_latency_bucket(us)]++;
        c->upstream_latency_us_sum += us;
    }
}

/* E2: the client's side is through. */
void dm_exchange_end_client(struct dm_exchange *ex)
{
    dm_filter_drop(ex);
    if (DM_UNLIKELY(ex->deadline != NULL))
        dm_grpc_call_end(ex);
    if (DM_UNLIKELY(ex->timeout != NULL))
        dm_exchange_end_timeout(ex);
    ex->bytes_in = dm_http_request_bytes_in(ex->caller);
    ex->bytes_out = dm_http_request_bytes_out(ex->caller);
    if (ex->tenant) {
        if (DM_LIKELY(!ex->is_relay))
            count(ex);
        if (DM_UNLIKELY(ex->tenant->bandwidth != NULL))
            dm_bandwidth_end(ex);
    }
    if (ex->worker->options->access_log && DM_LIKELY(!ex->is_relay))
        dm_access_log_write(&ex->worker->log, ex, dm_worker_wall_ns(ex->worker));
    ex->caller = NULL;
}

/* --- client events ------------------------------------------------------------------------------------------------ */

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
        if (ex->call && !dm_exchange_is_replaying(ex))
            dm_http_call_end(ex->call, lines);
    }
}

void dm_exchange_begin(struct dm_exchange *ex)
{
    if (DM_UNLIKELY(ex->backend->concurrency.limit != DM_CONCURRENCY_NONE) && !dm_admission_enter_backend(ex))
        return;
    if (DM_UNLIKELY(!dm_exchange_admit(ex))) {
        dm_answer(ex, ex->verdict.reason);
        return;
    }
    if (DM_UNLIKELY(ex->backend->retry.total_timeout_ms > 0))
        dm_exchange_begin_timeout(ex);
    dm_http_request_inform(ex->caller, 100, DM_STR_NULL); /* if it was asked for */
    dm_exchange_forward(ex);
}

void dm_exchange_decide(struct dm_exchange *ex)
{
    enum dm_reason reason = dm_decide(ex);

    if (reason != DM_REASON_NONE) {
        dm_answer(ex, reason);
    } else if (DM_UNLIKELY(ex->is_relay)) {
        ex->head = NULL;
        dm_turn_leave(ex);
    } else if (ex->is_preflight || ex->is_last) {
        dm_answer_preflight(ex);
    } else if (ex->is_redirect) {
        dm_answer_redirect(ex);
    } else {
        dm_exchange_set_hash(ex);
        if (DM_UNLIKELY(dm_turn_trailers(ex) != NULL))
            keep_trailers(ex, dm_turn_trailers(ex));
        ex->head = NULL;
        dm_turn_leave(ex);
        if (DM_UNLIKELY(ex->is_grpc))
            dm_grpc_call_begin(ex);
        if (DM_LIKELY(ex->admission == NULL))
            dm_exchange_begin(ex);
    }
}

static void on_request(void *arg, struct dm_http_request *caller, struct dm_http_head *head)
{
    struct dm_exchange *ex = exchange_new(arg, caller, head);

    dm_forward_identify(ex);
    set_request_id(ex);
    if (DM_LIKELY(ex->is_direct) || !dm_turn_wait(ex))
        dm_exchange_decide(ex);
}

/* What goes on of them is the version's to say, which may not be known yet. False: the request is refused. */
static bool note_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers)
{
    if (DM_LIKELY(ex->release != NULL)) {
        keep_trailers(ex, trailers);
    } else if (ex->turn && dm_turn_keep_trailers(ex, trailers) < 0) {
        dm_turn_leave(ex);
        dm_answer(ex, DM_REASON_HEADER_TOO_LARGE);
        return false;
    }
    return true;
}

static size_t on_request_body(void *user, struct dm_http_request *caller, const char *ptr, size_t len)
{
    struct dm_exchange *ex = user;
    size_t taken;

    if (!ex->call || dm_exchange_is_replaying(ex))
        return 0; /* go_on() resumes */
    taken = dm_bandwidth_to_backend(ex, ptr, len);
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
    if (DM_UNLIKELY(ex->is_relay)) {
        dm_relay_request_end(ex, trailers);
        return;
    }
    ex->has_request_ended = true;
    ex->request_ended_ns = dm_loop_now_ns(ex->worker->loop);
    if (DM_UNLIKELY(trailers) && !note_trailers(ex, trailers))
        return;
    if (ex->call && !dm_exchange_is_replaying(ex) && ex->request.framing != DM_HTTP_FRAMING_NONE)
        dm_http_call_end(ex->call, ex->request_trailers);
}

void dm_exchange_resume_response(struct dm_exchange *ex)
{
    if (DM_UNLIKELY(ex->filter != NULL) && !dm_filter_writable(ex->filter))
        return;
    if (ex->call)
        dm_http_call_resume(ex->call);
}

static void on_client_writable(void *user, struct dm_http_request *caller)
{
    dm_exchange_resume_response(user);
}

static void on_client_done(void *user, struct dm_http_request *caller)
{
    struct dm_exchange *ex = user;

    dm_exchange_end_client(ex);
    dm_exchange_free_if_ended(ex);
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
    dm_exchange_end_client(ex);
    dm_exchange_drop_call(ex);
    dm_exchange_free_if_ended(ex);
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
        dm_exchange_drop_call(
            ex); /* before anything else is sent: if the head is not gone yet, the backend sees nothing */
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
    .on_tunnel_due = dm_exchange_on_server_goes,
    .on_request_due = dm_exchange_on_request_due,
    .on_first_bytes = dm_connection_first_bytes,
    .on_source = dm_entrance_on_source,
    .on_broken = dm_connection_broken,
    .on_timeout = dm_connection_timeout,
    .on_stream_refused = dm_connection_stream_refused,
    .on_conn_end = dm_connection_end,
};
