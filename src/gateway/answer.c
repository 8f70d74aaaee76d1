#include "gateway/answer.h"

#include "base/jsonw.h"
#include "gateway/grpc.h"
#include "gateway/grpc_call.h"
#include "gateway/policy/policy.h"
#include "gateway/worker.h"
#include "model/backend.h"

static bool falls_back(const struct dm_ufallback *fallback, enum dm_reason reason)
{
    switch (reason) {
    case DM_REASON_CIRCUIT_OPEN: return fallback->on >> DM_FALLBACK_CIRCUIT_OPEN & 1;
    case DM_REASON_BACKEND_UNREACHABLE:
    case DM_REASON_BACKEND_UNRESOLVED:
    case DM_REASON_BACKEND_TLS: return fallback->on >> DM_FALLBACK_UNREACHABLE & 1;
    case DM_REASON_BACKEND_TIMEOUT: return fallback->on >> DM_FALLBACK_TIMEOUT & 1;
    default: return false;
    }
}

/* What the backend would have said, which is counted; or NULL. */
static const struct dm_uerror *fallback(const struct dm_exchange *ex, enum dm_reason reason)
{
    const struct dm_ufallback *fallback;

    if (!ex->backend || ex->backend->fallback == 0)
        return NULL;
    fallback = DM_UNIT_GET(ex->release->unit, dm_ufallback, ex->backend->fallback);
    if (!falls_back(fallback, reason))
        return NULL;
    ex->tenant->counters->fallback_answers++;
    return &fallback->answer;
}

static const struct dm_uerror *wording(const struct dm_exchange *ex, enum dm_reason reason)
{
    const struct dm_uerror *errors, *of_backend = fallback(ex, reason);

    if (of_backend || !ex->version)
        return of_backend;
    errors = dm_unit_at(ex->release->unit, ex->version->errors);
    for (uint32_t i = 0; i < ex->version->n_errors; i++)
        if (errors[i].reason == reason)
            return &errors[i];
    return NULL;
}

static void write_problem(struct dm_buf *body, unsigned status, const struct dm_reason_info *info, struct dm_str detail,
                          struct dm_str request_id)
{
    struct dm_jsonw w;

    dm_jsonw_init(&w, body);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "type", "about:blank");
    dm_jsonw_member_cstr(&w, "title", info->title);
    dm_jsonw_member_u64(&w, "status", status);
    dm_jsonw_member_cstr(&w, "detail", info->detail);
    dm_jsonw_member_cstr(&w, "reason", info->code);
    if (detail.len > 0)
        dm_jsonw_member_str(&w, "fault", detail);
    if (request_id.len > 0)
        dm_jsonw_member_str(&w, "request_id", request_id);
    dm_jsonw_end_object(&w);
    dm_buf_add_char(body, '\n');
}

static void write_common(struct dm_worker *worker, struct dm_buf *fields, struct dm_str content_type,
                         const char *reason, struct dm_str request_id)
{
    dm_http_write_field(fields, DM_STR("Date"), dm_worker_date(worker));
    if (content_type.len > 0)
        dm_http_write_field(fields, DM_STR("Content-Type"), content_type);
    dm_http_write_field(fields, DM_STR("Daemun-Reason"), dm_str_of(reason));
    if (request_id.len > 0)
        dm_http_write_field(fields, DM_STR("X-Request-Id"), request_id);
    dm_buf_add_lit(fields, "Cache-Control: no-store\r\n");
}

/* What belongs on every answer for this exchange, whatever it says. */
static void write_own(const struct dm_exchange *ex, struct dm_buf *fields)
{
    if (ex->hsts.len > 0)
        dm_http_write_field(fields, DM_STR("Strict-Transport-Security"), ex->hsts);
    dm_policies_answer(ex, fields);
}

static bool takes_basic(const struct dm_exchange *ex)
{
    const struct dm_upolicy *policies;

    if (!ex->version)
        return false;
    policies = dm_unit_at(ex->release->unit, ex->version->policies);
    for (uint32_t i = 0; i < ex->version->n_policies; i++)
        if (policies[i].type == DM_UPOLICY_API_KEY)
            return DM_UNIT_GET(ex->release->unit, dm_uapi_key, policies[i].config)->in_basic;
    return false;
}

/* RFC 9110, 11.6.1: a 401 names a way to authenticate. */
static void write_challenge(const struct dm_exchange *ex, struct dm_buf *fields)
{
    dm_buf_add_lit(fields, "WWW-Authenticate: ");
    dm_buf_add(fields, takes_basic(ex) ? DM_STR("Basic") : DM_STR("ApiKey"));
    dm_buf_add_lit(fields, " realm=\"");
    dm_buf_add(fields, dm_unit_str(ex->release->unit, ex->product->name));
    dm_buf_add_lit(fields, "\"\r\n");
}

static void write_fields(struct dm_exchange *ex, enum dm_reason reason, unsigned status, struct dm_str content_type,
                         struct dm_buf *fields)
{
    write_common(ex->worker, fields, content_type, dm_reason_info(reason)->code, ex->request_id);
    if (status == 401 && ex->product)
        write_challenge(ex, fields);
    if (ex->verdict.reason != DM_REASON_NONE && ex->verdict.retry_after_s > 0 && status >= 400)
        dm_http_write_field_u64(fields, DM_STR("Retry-After"), ex->verdict.retry_after_s);
    else if (status == 503)
        dm_buf_add_lit(fields, "Retry-After: 1\r\n");
    write_own(ex, fields);
}

/* What is malformed is not followed, but on HTTP/2 it ends with its stream. */
static bool is_last(const struct dm_exchange *ex, enum dm_reason reason)
{
    return reason == DM_REASON_TOO_MANY_CONNECTIONS ||
           (reason == DM_REASON_BAD_REQUEST && !dm_http_request_is_http2(ex->caller));
}

/* The sentence of the reason, with the fault where the caller made it. */
static void write_grpc_status(const struct dm_exchange *ex, enum dm_reason reason, struct dm_buf *fields)
{
    const struct dm_reason_info *info = dm_reason_info(reason);
    enum dm_grpc_status status = ex->grpc_status ? (enum dm_grpc_status)ex->grpc_status : dm_grpc_status_of(reason);
    char text[256];
    struct dm_buf detail;

    dm_buf_init_fixed(&detail, text, sizeof(text));
    dm_buf_add(&detail, dm_str_of(info->detail));
    if (ex->fault && info->who == DM_WHO_CALLER)
        dm_buf_printf(&detail, " (%s)", dm_http_fault_name((enum dm_http_fault)ex->fault));
    dm_grpc_write_status(fields, status, dm_buf_str(&detail));
}

static void write_grpc(const struct dm_exchange *ex, enum dm_reason reason, struct dm_buf *fields)
{
    write_common(ex->worker, fields, DM_STR("application/grpc"), dm_reason_info(reason)->code, ex->request_id);
    write_grpc_status(ex, reason, fields);
}

/* A caller of gRPC reads fields only: the status stands there, and the exchange is a success of HTTP's. */
static void answer_grpc(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_buf *fields = dm_worker_scratch(ex->worker);
    struct dm_http_message message = {.status = 200, .is_closing = is_last(ex, reason)};

    write_grpc(ex, reason, fields);
    if (ex->verdict.reason != DM_REASON_NONE && ex->verdict.retry_after_s > 0)
        dm_http_write_field_u64(fields, DM_STR("grpc-retry-pushback-ms"), 1000 * (uint64_t)ex->verdict.retry_after_s);
    write_own(ex, fields);
    message.fields = dm_buf_str(fields);
    ex->status = message.status;
    dm_http_request_reply(ex->caller, &message, DM_STR_NULL);
}

void dm_answer_grpc_end(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_buf *fields = dm_worker_scratch(ex->worker);

    ex->reason = (uint8_t)reason;
    ex->is_answered = true;
    if (ex->deadline)
        dm_grpc_call_wait(ex);
    write_grpc_status(ex, reason, fields);
    dm_http_write_field(fields, DM_STR("daemun-reason"), dm_str_of(dm_reason_info(reason)->code));
    dm_http_request_end(ex->caller, dm_buf_str(fields));
}

void dm_answer_grpc_fault(struct dm_exchange *ex, struct dm_http_end end, struct dm_http_message *ret)
{
    struct dm_buf *fields = dm_worker_scratch(ex->worker);

    ex->fault = (uint8_t)end.fault;
    write_grpc(ex, dm_answer_reason(end), fields);
    ret->status = 200;
    ret->fields = dm_buf_str(fields);
}

void dm_answer(struct dm_exchange *ex, enum dm_reason reason)
{
    const struct dm_reason_info *info = dm_reason_info(reason);
    const struct dm_uerror *worded = ex->is_grpc ? NULL : wording(ex, reason);
    struct dm_buf *fields = dm_worker_scratch(ex->worker), *body = &ex->worker->answer;
    struct dm_http_message message = {.status = worded && worded->status ? worded->status : (unsigned)info->status};
    struct dm_str content_type = DM_STR("application/problem+json");
    /* What is wrong with a backend's answer is for the log alone. */
    bool names_fault = ex->fault && info->who == DM_WHO_CALLER;
    struct dm_str fault = names_fault ? dm_str_of(dm_http_fault_name((enum dm_http_fault)ex->fault)) : DM_STR_NULL;

    ex->reason = (uint8_t)reason;
    ex->is_answered = true;
    if (ex->is_grpc) {
        answer_grpc(ex, reason);
        return;
    }
    message.is_closing = is_last(ex, reason);
    dm_buf_reset(body);
    if (worded && worded->has_body) {
        dm_buf_add(body, dm_unit_str(ex->release->unit, worded->body));
        content_type = dm_unit_str(ex->release->unit, worded->content_type);
    } else {
        write_problem(body, message.status, info, fault, ex->request_id);
    }
    write_fields(ex, reason, message.status, content_type, fields);
    ex->status = message.status;
    message.fields = dm_buf_str(fields);
    dm_http_request_reply(ex->caller, &message, dm_buf_str(body));
}

void dm_answer_redirect(struct dm_exchange *ex)
{
    const struct dm_http_head *head = ex->head;
    struct dm_buf *fields = dm_worker_scratch(ex->worker);
    struct dm_http_message message = {.status = 301};

    if (head->method != DM_HTTP_METHOD_GET && head->method != DM_HTTP_METHOD_HEAD)
        message.status = 308;
    dm_http_write_field(fields, DM_STR("Date"), dm_worker_date(ex->worker));
    dm_buf_add_lit(fields, "Location: https://");
    dm_buf_add(fields, head->host.name);
    dm_buf_add(fields, ex->path);
    if (head->has_query)
        dm_buf_add_char(fields, '?');
    dm_buf_add(fields, head->query);
    dm_buf_add_lit(fields, "\r\n");
    dm_http_write_field(fields, DM_STR("X-Request-Id"), ex->request_id);
    ex->status = message.status;
    ex->is_answered = true;
    message.fields = dm_buf_str(fields);
    dm_http_request_reply(ex->caller, &message, DM_STR_NULL);
}

void dm_answer_preflight(struct dm_exchange *ex)
{
    struct dm_buf *fields = dm_worker_scratch(ex->worker);
    struct dm_http_message message = {.status = 204};

    dm_http_write_field(fields, DM_STR("Date"), dm_worker_date(ex->worker));
    dm_http_write_field(fields, DM_STR("X-Request-Id"), ex->request_id);
    write_own(ex, fields);
    ex->status = 204;
    ex->is_answered = true;
    message.fields = dm_buf_str(fields);
    dm_http_request_reply(ex->caller, &message, DM_STR_NULL);
}

static bool is_too_slow(struct dm_http_end end)
{
    return end.why == DM_HTTP_ABORT_HEAD_TIMEOUT || end.why == DM_HTTP_ABORT_IDLE || end.why == DM_HTTP_ABORT_BODY_RATE;
}

enum dm_reason dm_answer_reason(struct dm_http_end end)
{
    if (is_too_slow(end))
        return DM_REASON_REQUEST_TIMEOUT;
    if (end.why == DM_HTTP_ABORT_CROWDED)
        return DM_REASON_TOO_MANY_CONNECTIONS;
    switch (dm_http_fault_status((enum dm_http_fault)end.fault)) {
    case 413: return DM_REASON_BODY_TOO_LARGE;
    case 414: return DM_REASON_URI_TOO_LONG;
    case 417: return DM_REASON_EXPECTATION_FAILED;
    case 431: return DM_REASON_HEADER_TOO_LARGE;
    case 505: return DM_REASON_HTTP_VERSION;
    }
    return DM_REASON_BAD_REQUEST;
}

bool dm_answer_is_fault(struct dm_http_end end)
{
    return end.why == DM_HTTP_ABORT_FAULT || end.why == DM_HTTP_ABORT_TOO_LARGE || is_too_slow(end);
}

enum dm_reason dm_answer_fault(struct dm_worker *worker, struct dm_http_end end, struct dm_str request_id,
                               struct dm_buf *fields, struct dm_buf *body)
{
    enum dm_reason reason = dm_answer_reason(end);
    const struct dm_reason_info *info = dm_reason_info(reason);
    struct dm_str fault = end.fault ? dm_str_of(dm_http_fault_name((enum dm_http_fault)end.fault)) : DM_STR_NULL;

    write_problem(body, (unsigned)info->status, info, fault, request_id);
    write_common(worker, fields, DM_STR("application/problem+json"), info->code, request_id);
    if (info->status == 503)
        dm_buf_add_lit(fields, "Retry-After: 1\r\n");
    return reason;
}
