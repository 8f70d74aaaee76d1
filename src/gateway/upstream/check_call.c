/* One check of an endpoint: what is asked, and what its answer says. */
#include "gateway/upstream/checks.h"

#include "gateway/observe/counters.h"
#include "http/client.h"
#include "model/reason.h"

#define BODY_MAX (64u << 10) /* of an answer; what is more is not read */
#define FIELDS "User-Agent: daemun-health\r\n"
#define GRPC_FIELDS FIELDS "Content-Type: application/grpc\r\n"

static bool is_grpc(const struct dm_endpoint_check *check)
{
    return check->checks->settings.type == DM_HEALTH_GRPC;
}

/* --- the verdict -------------------------------------------------------------------------------------------------- */

static bool is_serving(const struct dm_endpoint_check *check)
{
    return check->status == 200 && check->has_status_ok && check->body_bytes == check->n_got &&
           dm_grpc_health_is_serving(dm_str_n(check->message, check->n_got));
}

static bool is_well(const struct dm_endpoint_check *check)
{
    const struct dm_check_settings *s = &check->checks->settings;

    return is_grpc(check) ? is_serving(check) : check->status >= s->status_min && check->status <= s->status_max;
}

static void end(struct dm_endpoint_check *check, enum dm_check_verdict verdict, const char *cause)
{
    dm_timer_cancel(check->checks->upstream->env.loop, &check->timer);
    dm_check_end(check, verdict, cause);
}

static void end_answered(struct dm_endpoint_check *check)
{
    bool well = is_well(check);

    end(check, well ? DM_CHECK_PASSED : DM_CHECK_FAILED, well ? "passed" : is_grpc(check) ? "not_serving" : "status");
}

static void cancel(struct dm_endpoint_check *check)
{
    struct dm_http_call *call = check->call;

    if (call) {
        check->call = NULL;
        dm_http_call_cancel(call);
    }
    dm_upstream_cancel(&check->wish);
}

static void on_timeout(struct dm_timer *timer)
{
    struct dm_endpoint_check *check = DM_CONTAINER_OF(timer, struct dm_endpoint_check, timer);

    cancel(check);
    end(check, DM_CHECK_FAILED, "timeout");
}

void dm_check_give_up(struct dm_endpoint_check *check)
{
    dm_timer_cancel(check->checks->upstream->env.loop, &check->timer);
    cancel(check);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void write_request(struct dm_endpoint_check *check)
{
    char bytes[DM_GRPC_HEALTH_MAX];
    size_t len = dm_grpc_health_write(bytes, dm_str_of(check->checks->service));

    check->n_sent += dm_http_call_write(check->call, bytes + check->n_sent, len - check->n_sent);
    if (check->n_sent == len)
        dm_http_call_end(check->call, DM_STR_NULL);
}

static void send_grpc(struct dm_endpoint_check *check)
{
    char bytes[DM_GRPC_HEALTH_MAX];
    struct dm_http_message message = {
        .method = DM_STR("POST"),
        .target = DM_STR(DM_GRPC_HEALTH_PATH),
        .host = dm_str_of(check->endpoint->authority),
        .fields = DM_STR(GRPC_FIELDS),
        .framing = DM_HTTP_FRAMING_LENGTH,
        .content_length = dm_grpc_health_write(bytes, dm_str_of(check->checks->service)),
    };

    dm_http_call_send(check->call, &message);
    write_request(check);
}

static void send_http(struct dm_endpoint_check *check)
{
    struct dm_http_message message = {
        .method = dm_str_of(dm_health_method_names[check->checks->settings.method]),
        .target = dm_str_of(check->checks->path),
        .host = dm_str_of(check->endpoint->authority),
        .fields = DM_STR(FIELDS),
        .is_closing = true,
    };

    dm_http_call_send(check->call, &message);
    dm_http_call_end(check->call, DM_STR_NULL);
}

static void on_call(struct dm_upstream_request *wish, struct dm_http_call *call, enum dm_reason reason)
{
    struct dm_endpoint_check *check = DM_CONTAINER_OF(wish, struct dm_endpoint_check, wish);

    if (!call) {
        end(check, reason == DM_REASON_BACKEND_UNRESOLVED ? DM_CHECK_FAILED : DM_CHECK_SAYS_NOTHING,
            dm_reason_info(reason)->code);
        return;
    }
    check->call = call;
    dm_http_call_set_user(call, check);
    if (is_grpc(check))
        send_grpc(check);
    else
        send_http(check);
}

static const struct dm_unit *current_grants(struct dm_upstream_request *wish)
{
    return DM_CONTAINER_OF(wish, struct dm_endpoint_check, wish)->checks->upstream->share->grants;
}

static bool find_certificate(struct dm_upstream_request *wish, struct dm_str name, struct dm_str *ret_chain,
                             char **ret_key, size_t *ret_key_len)
{
    struct dm_upstream_share *share = DM_CONTAINER_OF(wish, struct dm_endpoint_check, wish)->checks->upstream->share;

    return share->find_certificate && share->find_certificate(share, name, ret_chain, ret_key, ret_key_len);
}

void dm_check_ask(struct dm_endpoint_check *check)
{
    struct dm_upstream *u = check->checks->upstream;
    uint32_t timeout_ms = check->checks->settings.timeout_ms;

    check->status = 0;
    check->body_bytes = check->n_sent = check->n_got = 0;
    check->has_status_ok = false;
    check->timer.on_due = on_timeout;
    check->timer.task.flow = u->share->flow;
    dm_timer_arm(u->env.loop, &check->timer, timeout_ms);
    check->wish = (struct dm_upstream_request){.on_call = on_call,
                                               .grants = u->share->grants,
                                               .current_grants = current_grants,
                                               .find_certificate = find_certificate,
                                               .connect_ms = timeout_ms,
                                               .timeouts = {.response_ms = timeout_ms},
                                               .endpoint = (uint32_t)(check->endpoint - u->endpoints),
                                               .is_check = true};
    dm_upstream_get_at(check->endpoint, &check->wish);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static void note_grpc_status(struct dm_endpoint_check *check, const struct dm_http_head *head)
{
    const struct dm_http_field *field = head ? dm_http_head_find_name(head, DM_STR("grpc-status")) : NULL;

    if (field)
        check->has_status_ok = dm_str_eq(field->value, DM_STR("0"));
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct dm_endpoint_check *check = user;

    check->status = head->status;
    note_grpc_status(check, head);
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    struct dm_endpoint_check *check = user;
    size_t n = DM_MIN(len, sizeof(check->message) - check->n_got);

    memcpy(check->message + check->n_got, ptr, n);
    check->n_got += n;
    check->body_bytes += len;
    if (check->body_bytes > BODY_MAX) {
        cancel(check);
        end_answered(check);
    }
    return len;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    note_grpc_status(user, trailers);
}

static void on_writable(void *user, struct dm_http_call *call)
{
    struct dm_endpoint_check *check = user;

    if (is_grpc(check))
        write_request(check);
}

static void on_done(void *user, struct dm_http_call *call)
{
    struct dm_endpoint_check *check = user;

    check->call = NULL;
    end_answered(check);
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end why)
{
    struct dm_endpoint_check *check = user;

    check->call = NULL;
    end(check, why.why == DM_HTTP_ABORT_SHUTDOWN ? DM_CHECK_SAYS_NOTHING : DM_CHECK_FAILED,
        dm_http_abort_name(why.why));
}

const struct dm_http_call_handler dm_upstream_check_handler = {
    .on_response = on_response,
    .on_body = on_body,
    .on_response_end = on_response_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
};

/* Its connections are nobody's from the moment that they have their call. */
static void on_peer_event(void *owner, struct dm_http_peer *peer)
{
}

const struct dm_http_peer_handler dm_upstream_check_peer_handler = {on_peer_event, on_peer_event};
