/* What a server counts of its connections, for its owner. Numbers only grow, but for `connections`. All are uint64_t and written by
 * the server alone, so that they may lie in memory that others read. */
#ifndef DM_HTTP_SERVER_STATS_H
#define DM_HTTP_SERVER_STATS_H

#include <stddef.h>

#include "http/message.h"

/* X(id, name): why a connection was not served */
#define DM_HTTP_REFUSALS(X)                                                                                            \
    X(CROWDED, "too_many_connections")                                                                                 \
    X(DRAINING, "draining")                                                                                            \
    X(PROXY_PROTOCOL, "proxy_protocol_bad")                                                                            \
    X(LOBBY_SOURCE, "lobby_source")                                                                                    \
    X(LOBBY_FULL, "lobby_full")                                                                                        \
    X(LOBBY_MADE_WAY, "lobby_made_way")

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

/* HTTP/2 connections that were ended, streams that were refused, by what the client did. */
#define DM_HTTP2_COUNTERS(X)                                                                                           \
    X(rapid_reset, "requests that their client reset at once")                                                         \
    X(made_you_reset, "streams that the client made us reset")                                                         \
    X(continuation_flood, "header blocks in too many pieces")                                                          \
    X(settings_flood, "SETTINGS")                                                                                      \
    X(ping_flood, "PING")                                                                                              \
    X(empty_frames, "frames that carry nothing")                                                                       \
    X(priority_flood, "PRIORITY")                                                                                      \
    X(header_bomb, "header blocks that unpack to far too much")                                                        \
    X(window_stall, "windows that are opened by crumbs")                                                               \
    X(malformed_frames, "frames against the protocol")                                                                 \
    X(malformed_messages, "streams that were reset: a message against the protocol")                                   \
    X(cancelled_streams, "requests that were not begun: what came with them reset them")                               \
    X(refused_streams, "streams that were refused: too many at a time")                                                \
    X(slow_streams, "streams that were reset: the client reads or sends too slowly")

struct dm_http2_counters {
#define DM_HTTP2_COUNTER_MEMBER(name, what) uint64_t name;
    DM_HTTP2_COUNTERS(DM_HTTP2_COUNTER_MEMBER)
#undef DM_HTTP2_COUNTER_MEMBER
    uint64_t goaways[DM_HTTP2_CODE_COUNT]; /* sent; a connection that drains counts twice */
    uint64_t resets[DM_HTTP2_CODE_COUNT];  /* RST_STREAM sent */
};
#define DM_HTTP2_COUNTER_COUNT (offsetof(struct dm_http2_counters, goaways) / sizeof(uint64_t))

struct dm_http_server_stats {
    uint64_t connections; /* open now */
    uint64_t accepted;
    uint64_t refused[DM_HTTP_REFUSAL_COUNT];
    uint64_t timeouts[DM_HTTP_TIMEOUT_COUNT];
    uint64_t faults[DM_HTTP_FAULT_COUNT]; /* requests that were none, by fault */
    struct dm_http2_counters http2;
};

/* Stable names. */
const char *dm_http_refusal_name(enum dm_http_refusal refusal);
const char *dm_http_timeout_name(enum dm_http_timeout timeout);
/* Of the i-th of DM_HTTP2_COUNTER_COUNT. */
const char *dm_http2_counter_name(size_t i);
const char *dm_http2_code_name(enum dm_http2_code code);

#endif
