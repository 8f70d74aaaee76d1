/* What a server counts of its connections, for its owner. Numbers only grow, but for `connections`. All are uint64_t and written by
 * the server alone, so that they may lie in memory that others read. */
#ifndef DM_HTTP_SERVER_STATS_H
#define DM_HTTP_SERVER_STATS_H

#include "http/fault.h"

/* X(id, name): why a connection was not served */
#define DM_HTTP_REFUSALS(X)                                                                                            \
    X(CROWDED, "too_many_connections")                                                                                 \
    X(DRAINING, "draining")                                                                                            \
    X(PROXY_PROTOCOL, "proxy_protocol_bad")

/* X(id, name): what a connection was ended for when it did not come in time */
#define DM_HTTP_TIMEOUTS(X)                                                                                            \
    X(HEAD, "head")                                                                                                    \
    X(IDLE, "idle")                                                                                                    \
    X(BODY, "body")                                                                                                    \
    X(READER, "reader")

enum dm_http_refusal {
#define DM_HTTP_REFUSAL_ENUM(id, name) DM_HTTP_REFUSED_##id,
    DM_HTTP_REFUSALS(DM_HTTP_REFUSAL_ENUM)
#undef DM_HTTP_REFUSAL_ENUM
        DM_HTTP_REFUSAL_COUNT
};

enum dm_http_timeout {
#define DM_HTTP_TIMEOUT_ENUM(id, name) DM_HTTP_TIMEOUT_##id,
    DM_HTTP_TIMEOUTS(DM_HTTP_TIMEOUT_ENUM)
#undef DM_HTTP_TIMEOUT_ENUM
        DM_HTTP_TIMEOUT_COUNT
};

struct dm_http_server_stats {
    uint64_t connections; /* open now */
    uint64_t accepted;
    uint64_t refused[DM_HTTP_REFUSAL_COUNT];
    uint64_t timeouts[DM_HTTP_TIMEOUT_COUNT];
    uint64_t faults[DM_HTTP_FAULT_COUNT]; /* requests that were none, by fault */
};

/* Stable names. */
const char *dm_http_refusal_name(enum dm_http_refusal refusal);
const char *dm_http_timeout_name(enum dm_http_timeout timeout);

#endif
