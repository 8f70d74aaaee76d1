/* The owner's side of a request, whatever protocol it came by. */
#include "http/server_int.h"

void dm_http_request_set_user(struct dm_http_request *request, void *user)
{
    request->user = user;
}

void *dm_http_request_user(const struct dm_http_request *request)
{
    return request->user;
}

void dm_http_request_peer(const struct dm_http_request *request, struct dm_addr *ret)
{
    dm_http_conn_peer(request->conn, ret);
}

struct dm_loop *dm_http_request_loop(const struct dm_http_request *request)
{
    return request->conn->server->loop;
}

struct dm_http_conn *dm_http_request_conn(const struct dm_http_request *request)
{
    return request->conn;
}

bool dm_http_request_is_http2(const struct dm_http_request *request)
{
    return request->ops->stream_id != NULL;
}

uint32_t dm_http_request_stream_id(const struct dm_http_request *request)
{
    return request->ops->stream_id ? request->ops->stream_id(request) : 0;
}

void dm_http_request_inform(struct dm_http_request *request, unsigned status, struct dm_str fields)
{
    request->ops->inform(request, status, fields);
}

void dm_http_request_respond(struct dm_http_request *request, const struct dm_http_message *message)
{
    request->ops->respond(request, message);
}

size_t dm_http_request_write(struct dm_http_request *request, const char *ptr, size_t len)
{
    return request->ops->write(request, ptr, len);
}

void dm_http_request_end(struct dm_http_request *request, struct dm_str trailers)
{
    request->ops->end(request, trailers);
}

void dm_http_request_reply(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body)
{
    request->ops->reply(request, message, body);
}

void dm_http_request_tunnel(struct dm_http_request *request, const struct dm_http_message *message)
{
    request->ops->tunnel(request, message);
}

void dm_http_request_leave(struct dm_http_request *request, struct dm_str last)
{
    request->ops->leave(request, last);
}

void dm_http_request_abort(struct dm_http_request *request)
{
    request->ops->abort(request, DM_HTTP2_CODE_INTERNAL);
}

void dm_http_request_abort_with(struct dm_http_request *request, enum dm_http2_code code)
{
    request->ops->abort(request, (uint32_t)code);
}

void dm_http_request_allow_silence(struct dm_http_request *request, uint32_t idle_ms)
{
    if (request->ops->allow_silence)
        request->ops->allow_silence(request, idle_ms);
}

void dm_http_request_resume(struct dm_http_request *request)
{
    request->ops->resume(request);
}

void dm_http_request_ignore_body(struct dm_http_request *request)
{
    request->ops->ignore_body(request);
}

bool dm_http_request_limit_body(struct dm_http_request *request, uint64_t max_bytes)
{
    return request->ops->limit_body(request, max_bytes);
}

void dm_http_request_set_pace(struct dm_http_request *request, uint32_t body_timeout_ms, uint32_t body_rate_bytes)
{
    request->ops->set_pace(request, body_timeout_ms, body_rate_bytes);
}

uint64_t dm_http_request_bytes_in(const struct dm_http_request *request)
{
    return request->ops->bytes_in(request);
}

uint64_t dm_http_request_bytes_out(const struct dm_http_request *request)
{
    return request->ops->bytes_out(request);
}
