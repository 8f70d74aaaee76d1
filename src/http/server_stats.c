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

const char *dm_http_refusal_name(enum dm_http_refusal refusal)
{
    return refusal_names[refusal];
}

const char *dm_http_timeout_name(enum dm_http_timeout timeout)
{
    return timeout_names[timeout];
}
