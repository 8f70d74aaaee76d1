#include "http/server_stats.h"

static const char *const refusal_names[] = {
#define REFUSAL_NAME(id, name) [DM_HTTP_REFUSED_##id] = name,
    DM_HTTP_REFUSALS(REFUSAL_NAME)
#undef REFUSAL_NAME
};

static const char *const timeout_names[] = {
#define TIMEOUT_NAME(id, name) [DM_HTTP_TIMEOUT_##id] = name,
    DM_HTTP_TIMEOUTS(TIMEOUT_NAME)
#undef TIMEOUT_NAME
};

static const char *const http2_names[] = {
#define HTTP2_NAME(name, what) #name,
    DM_HTTP2_COUNTERS(HTTP2_NAME)
#undef HTTP2_NAME
};

static const char *const code_names[] = {
#define CODE_NAME(id, name) [DM_HTTP2_CODE_##id] = name,
    DM_HTTP2_CODES(CODE_NAME)
#undef CODE_NAME
};

const char *dm_http_refusal_name(enum dm_http_refusal refusal)
{
    return refusal_names[refusal];
}

const char *dm_http_timeout_name(enum dm_http_timeout timeout)
{
    return timeout_names[timeout];
}

const char *dm_http2_counter_name(size_t i)
{
    return http2_names[i];
}

const char *dm_http2_code_name(enum dm_http2_code code)
{
    return code_names[code];
}
