/* How exchanges end that don't end by themselves: backends that fail, deadlines, limits of tunnels, a gateway that goes. */
#include "gateway/exchange_int.h"

#include "gateway/answer.h"
#include "gateway/grpc.h"
#include "gateway/grpc_call.h"
#include "gateway/relay.h"
#include "gateway/tunnel.h"

/* --- exchanges that fail ------------------------------------------------------------------------------------------ */

void dm_exchange_cut_off(struct dm_exchange *ex, enum dm_reason reason, enum dm_http2_code code)
{
    struct dm_http_request *caller = ex->caller;

    ex->reason = (uint8_t)reason;
    dm_exchange_end_client(ex);
    dm_http_request_abort_with(caller, code);
    dm_exchange_free_if_ended(ex);
}

static enum dm_http2_code code_of_end(const struct dm_exchange *ex, struct dm_http_end end)
{
    if (DM_UNLIKELY(ex->tunnel != NULL))
        return DM_HTTP2_CODE_CANCEL; /* RFC 8441 section 5 */
    return ex->is_grpc ? dm_grpc_code_of_end(end) : DM_HTTP2_CODE_INTERNAL;
}

void dm_exchange_fail(struct dm_exchange *ex, enum dm_reason reason, struct dm_http_end end)
{
    if (DM_UNLIKELY(ex->is_grpc))
        ex->grpc_status = (uint8_t)dm_grpc_status_of_end(end);
    if (!ex->is_responding)
        dm_answer(ex, reason);
    else if (ex->may_say_status)
        dm_answer_grpc_end(ex, DM_REASON_BACKEND_CLOSED);
    else
        dm_exchange_cut_off(ex, DM_REASON_BACKEND_CLOSED, code_of_end(ex, end));
}

void dm_exchange_expire(struct dm_exchange *ex)
{
    dm_exchange_drop_call(ex);
    if (!ex->is_responding)
        dm_answer(ex, DM_REASON_BACKEND_TIMEOUT);
    else if (ex->may_say_status && !ex->is_answered)
        dm_answer_grpc_end(ex, DM_REASON_BACKEND_TIMEOUT);
    else
        dm_exchange_cut_off(ex, ex->is_answered ? (enum dm_reason)ex->reason : DM_REASON_BACKEND_TIMEOUT,
                            DM_HTTP2_CODE_CANCEL);
}

/* --- tunnels that the gateway ends -------------------------------------------------------------------------------- */

static void leave_client(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_http_request *caller = ex->caller;
    char buf[DM_WEBSOCKET_CLOSE_MAX];
    struct dm_str last = dm_tunnel_goodbye(ex, DM_TUNNEL_CLIENT, reason, buf);

    dm_exchange_end_client(ex);
    dm_http_request_leave(caller, last);
}

static void leave_backend(struct dm_exchange *ex, enum dm_reason reason)
{
    struct dm_http_call *call = ex->call;
    char buf[DM_WEBSOCKET_CLOSE_MAX];
    struct dm_str last = dm_tunnel_goodbye(ex, DM_TUNNEL_BACKEND, reason, buf);

    ex->call = NULL;
    dm_upstream_left(ex->upstream, &ex->wish);
    dm_http_call_leave(call, last);
}

static void end_tunnel(struct dm_exchange *ex, enum dm_reason reason)
{
    ex->reason = (uint8_t)reason;
    if (ex->caller)
        leave_client(ex, reason);
    if (ex->call)
        leave_backend(ex, reason);
    dm_exchange_free_if_ended(ex);
}

/* Only when the server goes: the backend's limits hold for both sides, and are watched on its side. */
void dm_exchange_on_server_goes(void *user, struct dm_http_request *caller, enum dm_http_abort why)
{
    struct dm_exchange *ex = user;

    if (DM_UNLIKELY(ex->is_relay))
        dm_relay_leave(ex);
    else
        end_tunnel(ex, DM_REASON_DRAINING);
}

void dm_exchange_on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why)
{
    end_tunnel(user, why == DM_HTTP_ABORT_IDLE ? DM_REASON_TUNNEL_IDLE : DM_REASON_TUNNEL_EXPIRED);
}

/* --- the gateway goes --------------------------------------------------------------------------------------------- */

/* What is answered, or responded to as a whole, is on its way. */
void dm_exchange_on_request_due(void *user, struct dm_http_request *caller)
{
    struct dm_exchange *ex = user;

    if (ex->is_answered || (ex->is_responding && !ex->call))
        return;
    dm_exchange_drop_call(ex);
    if (!ex->is_responding)
        dm_answer(ex, DM_REASON_DRAINING);
    else if (ex->may_say_status)
        dm_answer_grpc_end(ex, DM_REASON_DRAINING);
    else
        dm_exchange_cut_off(ex, DM_REASON_DRAINING, DM_HTTP2_CODE_INTERNAL);
}
