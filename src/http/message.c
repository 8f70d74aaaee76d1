#include "http/message.h"

const char *dm_http_abort_name(enum dm_http_abort why)
{
    static const char *const names[] = {
        [DM_HTTP_ABORT_PEER_CLOSED] = "peer_closed",
        [DM_HTTP_ABORT_PEER_RESET] = "peer_reset",
        [DM_HTTP_ABORT_IDLE] = "idle_timeout",
        [DM_HTTP_ABORT_HEAD_TIMEOUT] = "head_timeout",
        [DM_HTTP_ABORT_BODY_RATE] = "body_too_slow",
        [DM_HTTP_ABORT_CONNECT_FAILED] = "connect_failed",
        [DM_HTTP_ABORT_CONNECT_TIMEOUT] = "connect_timeout",
        [DM_HTTP_ABORT_RESPONSE_TIMEOUT] = "response_timeout",
        [DM_HTTP_ABORT_FAULT] = "malformed",
        [DM_HTTP_ABORT_TOO_LARGE] = "too_large",
        [DM_HTTP_ABORT_SHUTDOWN] = "shutdown",
        [DM_HTTP_ABORT_CROWDED] = "too_many_connections",
        [DM_HTTP_ABORT_CANCELLED] = "cancelled",
        [DM_HTTP_ABORT_REFUSED] = "refused",
        [DM_HTTP_ABORT_TLS] = "tls_failed",
        [DM_HTTP_ABORT_FLOOD] = "flood",
    };

    return why > 0 && (size_t)why < DM_COUNT(names) && names[why] ? names[why] : "unknown";
}
