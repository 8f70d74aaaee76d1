#include "gateway/grpc_call.h"

#include "gateway/grpc.h"
#include "gateway/worker.h"
#include "model/backend.h"

#define TIMEOUT DM_STR("grpc-timeout")
#define STATUS DM_STR("grpc-status")
#define TIMEOUT_LINE_MAX 32
#define GRACE_NS UINT64_C(100000000) /* G2 */
#define WAIT_MAX_MS 3600000u         /* a longer deadline is waited for in parts */

struct dm_grpc_deadline {
    struct dm_timer timer;
    struct dm_exchange *ex;
    uint64_t due_ns;
    char *line;        /* behind the request's fields: room for the one that says what is left */
    size_t fields_len; /* without it */
};

static uint64_t left_ns(const struct dm_grpc_deadline *deadline)
{
    uint64_t now_ns = dm_loop_now_ns(deadline->ex->worker->loop);

    return deadline->due_ns > now_ns ? deadline->due_ns - now_ns : 0;
}

/* Until the gateway ends it, or has said that it is over and cuts it off. */
static uint64_t wait_ns(const struct dm_grpc_deadline *deadline)
{
    const struct dm_exchange *ex = deadline->ex;
    uint64_t now_ns = dm_loop_now_ns(ex->worker->loop);
    uint64_t end_ns = deadline->due_ns + (ex->is_responding ? GRACE_NS : 0) + (ex->is_answered ? GRACE_NS : 0);

    return end_ns > now_ns ? end_ns - now_ns : 0;
}

static void arm(struct dm_grpc_deadline *deadline)
{
    uint64_t ms = (wait_ns(deadline) + 999999) / 1000000;

    dm_timer_arm(deadline->ex->worker->loop, &deadline->timer, (uint32_t)DM_MIN(ms, (uint64_t)WAIT_MAX_MS));
}

static void on_due(struct dm_timer *timer)
{
    struct dm_grpc_deadline *deadline = DM_CONTAINER_OF(timer, struct dm_grpc_deadline, timer);

    if (wait_ns(deadline) > 0)
        arm(deadline);
    else if (deadline->ex->is_responding || !deadline->ex->is_answered)
        dm_exchange_expire(deadline->ex);
}

static enum dm_reason keep_deadline(struct dm_exchange *ex, uint64_t ns)
{
    struct dm_grpc_deadline *deadline = dm_arena_alloc(&ex->arena, sizeof(*deadline));

    if (!deadline)
        return DM_REASON_HEADER_TOO_LARGE;
    memset(deadline, 0, sizeof(*deadline));
    deadline->timer.on_due = on_due;
    deadline->timer.task.flow = &ex->tenant->flow;
    deadline->ex = ex;
    deadline->due_ns = ex->begun_ns + DM_MIN(ns, UINT64_MAX / 2);
    ex->deadline = deadline;
    return left_ns(deadline) > 0 ? DM_REASON_NONE : DM_REASON_BACKEND_TIMEOUT;
}

enum dm_reason dm_grpc_call_request(struct dm_exchange *ex)
{
    struct dm_http_field *field = dm_http_head_find_name(ex->head, TIMEOUT);
    uint64_t ns;

    if (dm_http_request_is_http2(ex->caller) && ex->backend->protocol != DM_BACKEND_HTTP2)
        return DM_REASON_BACKEND_NOT_GRPC;
    if (!field)
        return DM_REASON_NONE;
    if (dm_http_head_find_next(ex->head, field) || dm_grpc_timeout_read(field->value, &ns) < 0) {
        ex->fault = DM_HTTP_BAD_FIELD_VALUE;
        return DM_REASON_BAD_REQUEST;
    }
    dm_http_head_drop_from(ex->head, field);
    return keep_deadline(ex, ns);
}

int dm_grpc_call_keep_fields(struct dm_exchange *ex, struct dm_str fields, struct dm_str *ret)
{
    char *copy = dm_arena_alloc(&ex->arena, fields.len + TIMEOUT_LINE_MAX);

    if (!copy)
        return DM_EBUDGET;
    memcpy(copy, fields.ptr, fields.len);
    *ret = dm_str_n(copy, fields.len);
    ex->deadline->line = copy + fields.len;
    ex->deadline->fields_len = fields.len;
    return 0;
}

void dm_grpc_call_begin(struct dm_exchange *ex)
{
    dm_http_request_allow_silence(ex->caller, ex->backend->tunnel_idle_timeout_ms);
    if (ex->deadline)
        arm(ex->deadline);
}

void dm_grpc_call_send(struct dm_exchange *ex)
{
    struct dm_grpc_deadline *deadline = ex->deadline;
    struct dm_buf line;

    dm_buf_init_fixed(&line, deadline->line, TIMEOUT_LINE_MAX);
    dm_buf_add_lit(&line, "grpc-timeout: ");
    dm_grpc_timeout_write(&line, left_ns(deadline));
    dm_buf_add_lit(&line, "\r\n");
    ex->request.fields.len = deadline->fields_len + line.len;
}

/* One with a length, or that is no gRPC, has no room for a status behind it. */
void dm_grpc_call_response(struct dm_exchange *ex, const struct dm_http_head *head)
{
    ex->may_say_status = dm_http_request_is_http2(ex->caller) && !head->has_content_length &&
                         dm_grpc_is(dm_http_head_value(head, DM_HTTP_FIELD_ID_CONTENT_TYPE));
}

unsigned dm_grpc_call_end_status(const struct dm_http_head *trailers)
{
    const struct dm_http_field *field = trailers ? dm_http_head_find_name(trailers, STATUS) : NULL;

    return field ? dm_grpc_status_as_http(field->value) : 0;
}

unsigned dm_grpc_call_status(const struct dm_http_head *head)
{
    unsigned status = head->status == 200 ? dm_grpc_call_end_status(head) : 0;

    return status ? status : head->status;
}

void dm_grpc_call_wait(struct dm_exchange *ex)
{
    arm(ex->deadline);
}

void dm_grpc_call_end(struct dm_exchange *ex)
{
    dm_timer_cancel(ex->worker->loop, &ex->deadline->timer);
}
