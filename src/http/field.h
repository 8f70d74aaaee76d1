/* One field line of a head or trailer section, and the fields this project acts on. */
#ifndef DM_HTTP_FIELD_H
#define DM_HTTP_FIELD_H

#include "base/str.h"

enum dm_http_field_flag {
    DM_HTTP_FIELD_HOP = 1, /* connection-specific (RFC 9110 section 7.6.1), or named in Connection: never forwarded */
    DM_HTTP_FIELD_NO_TRAILER = 2, /* refused in a trailer section (section 6.5.1) */
    DM_HTTP_FIELD_FOLDED = 4,   /* in the name stands what CGI-like interfaces take for '-': '_', and other marks too */
    DM_HTTP_FIELD_OBS_TEXT = 8, /* bytes 0x80-0xFF in the value, only where the limits allow them */
    DM_HTTP_FIELD_DROPPED = 16, /* taken out by the owner of the head: as if it were not there */
    DM_HTTP_FIELD_WIRE = 32,    /* stands in the received bytes as exactly "name: value CR LF" */
    DM_HTTP_FIELD_ONCE = 64, /* a second line in the head of a request is refused: servers differ in which one counts */
};

/* X(ID, name, flags), by length: the lookup relies on it. Of one length, what comes in most messages stands first. */
#define DM_HTTP_FIELDS(X)                                                                                              \
    X(TE, "te", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                                          \
    X(AGE, "age", DM_HTTP_FIELD_NO_TRAILER)                                                                            \
    X(VIA, "via", DM_HTTP_FIELD_NO_TRAILER)                                                                            \
    X(HOST, "host", DM_HTTP_FIELD_NO_TRAILER)                                                                          \
    X(DATE, "date", DM_HTTP_FIELD_NO_TRAILER)                                                                          \
    X(ETAG, "etag", 0)                                                                                                 \
    X(LINK, "link", 0)                                                                                                 \
    X(VARY, "vary", DM_HTTP_FIELD_NO_TRAILER)                                                                          \
    X(ALLOW, "allow", DM_HTTP_FIELD_NO_TRAILER)                                                                        \
    X(RANGE, "range", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                                                   \
    X(ACCEPT, "accept", DM_HTTP_FIELD_NO_TRAILER)                                                                      \
    X(COOKIE, "cookie", DM_HTTP_FIELD_NO_TRAILER)                                                                      \
    X(EXPECT, "expect", DM_HTTP_FIELD_NO_TRAILER)                                                                      \
    X(ORIGIN, "origin", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                                                 \
    X(PRAGMA, "pragma", DM_HTTP_FIELD_NO_TRAILER)                                                                      \
    X(SERVER, "server", 0)                                                                                             \
    X(ALT_SVC, "alt-svc", 0)                                                                                           \
    X(EXPIRES, "expires", 0)                                                                                           \
    X(REFERER, "referer", DM_HTTP_FIELD_ONCE)                                                                          \
    X(TRAILER, "trailer", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                                \
    X(UPGRADE, "upgrade", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                                \
    X(IF_MATCH, "if-match", DM_HTTP_FIELD_NO_TRAILER)                                                                  \
    X(IF_RANGE, "if-range", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                                             \
    X(LOCATION, "location", DM_HTTP_FIELD_NO_TRAILER)                                                                  \
    X(FORWARDED, "forwarded", DM_HTTP_FIELD_NO_TRAILER)                                                                \
    X(X_REAL_IP, "x-real-ip", DM_HTTP_FIELD_NO_TRAILER)                                                                \
    X(USER_AGENT, "user-agent", DM_HTTP_FIELD_ONCE)                                                                    \
    X(CONNECTION, "connection", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                          \
    X(KEEP_ALIVE, "keep-alive", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                          \
    X(SET_COOKIE, "set-cookie", DM_HTTP_FIELD_NO_TRAILER)                                                              \
    X(TRACESTATE, "tracestate", 0)                                                                                     \
    X(RETRY_AFTER, "retry-after", DM_HTTP_FIELD_NO_TRAILER)                                                            \
    X(TRACEPARENT, "traceparent", 0)                                                                                   \
    X(CONTENT_TYPE, "content-type", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                                     \
    X(X_REQUEST_ID, "x-request-id", DM_HTTP_FIELD_NO_TRAILER)                                                          \
    X(AUTHORIZATION, "authorization", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                                   \
    X(CACHE_CONTROL, "cache-control", DM_HTTP_FIELD_NO_TRAILER)                                                        \
    X(ACCEPT_RANGES, "accept-ranges", 0)                                                                               \
    X(CONTENT_RANGE, "content-range", DM_HTTP_FIELD_NO_TRAILER)                                                        \
    X(IF_NONE_MATCH, "if-none-match", DM_HTTP_FIELD_NO_TRAILER)                                                        \
    X(LAST_MODIFIED, "last-modified", 0)                                                                               \
    X(CONTENT_LENGTH, "content-length", DM_HTTP_FIELD_NO_TRAILER)                                                      \
    X(HTTP2_SETTINGS, "http2-settings", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                                  \
    X(ACCEPT_ENCODING, "accept-encoding", 0)                                                                           \
    X(ACCEPT_LANGUAGE, "accept-language", 0)                                                                           \
    X(X_FORWARDED_FOR, "x-forwarded-for", DM_HTTP_FIELD_NO_TRAILER)                                                    \
    X(CONTENT_ENCODING, "content-encoding", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(CONTENT_LANGUAGE, "content-language", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(CONTENT_LOCATION, "content-location", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(PROXY_CONNECTION, "proxy-connection", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                              \
    X(WWW_AUTHENTICATE, "www-authenticate", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(X_FORWARDED_HOST, "x-forwarded-host", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(X_FORWARDED_PORT, "x-forwarded-port", DM_HTTP_FIELD_NO_TRAILER)                                                  \
    X(IF_MODIFIED_SINCE, "if-modified-since", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                           \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                           \
    X(TRANSFER_ENCODING, "transfer-encoding", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                            \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", DM_HTTP_FIELD_NO_TRAILER)                                                \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                          \
    X(X_FORWARDED_PREFIX, "x-forwarded-prefix", DM_HTTP_FIELD_NO_TRAILER)                                              \
    X(CONTENT_DISPOSITION, "content-disposition", DM_HTTP_FIELD_NO_TRAILER)                                            \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", DM_HTTP_FIELD_NO_TRAILER | DM_HTTP_FIELD_ONCE)                       \
    X(PROXY_AUTHORIZATION, "proxy-authorization", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)                        \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept", DM_HTTP_FIELD_NO_TRAILER)                                          \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version", DM_HTTP_FIELD_NO_TRAILER)                                        \
    X(ACCESS_CONTROL_MAX_AGE, "access-control-max-age", DM_HTTP_FIELD_NO_TRAILER)                                      \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol", DM_HTTP_FIELD_NO_TRAILER)                                      \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions", DM_HTTP_FIELD_NO_TRAILER)                                  \
    X(PROXY_AUTHENTICATION_INFO, "proxy-authentication-info", DM_HTTP_FIELD_HOP | DM_HTTP_FIELD_NO_TRAILER)            \
    X(STRICT_TRANSPORT_SECURITY, "strict-transport-security", DM_HTTP_FIELD_NO_TRAILER)                                \
    X(ACCESS_CONTROL_ALLOW_ORIGIN, "access-control-allow-origin", DM_HTTP_FIELD_NO_TRAILER)                            \
    X(ACCESS_CONTROL_ALLOW_HEADERS, "access-control-allow-headers", DM_HTTP_FIELD_NO_TRAILER)                          \
    X(ACCESS_CONTROL_ALLOW_METHODS, "access-control-allow-methods", DM_HTTP_FIELD_NO_TRAILER)                          \
    X(ACCESS_CONTROL_EXPOSE_HEADERS, "access-control-expose-headers", DM_HTTP_FIELD_NO_TRAILER)                        \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method", DM_HTTP_FIELD_NO_TRAILER)                        \
    X(ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers", DM_HTTP_FIELD_NO_TRAILER)                      \
    X(ACCESS_CONTROL_ALLOW_CREDENTIALS, "access-control-allow-credentials", DM_HTTP_FIELD_NO_TRAILER)

enum dm_http_field_id {
    DM_HTTP_FIELD_ID_OTHER = 0,
#define DM_HTTP_FIELD_ENUM(id, name, flags) DM_HTTP_FIELD_ID_##id,
    DM_HTTP_FIELDS(DM_HTTP_FIELD_ENUM)
#undef DM_HTTP_FIELD_ENUM
        DM_HTTP_FIELD_ID_COUNT
};

struct dm_http_field {
    struct dm_str name, value; /* name as received; value without surrounding white space */
    uint8_t id;                /* enum dm_http_field_id */
    uint8_t flags;             /* enum dm_http_field_flag */
};

/* The id of a field name (a token, RFC 9110 section 5.6.2), letters in any case. */
enum dm_http_field_id dm_http_field_id_of(struct dm_str name);
/* Lower case, static storage; "" for DM_HTTP_FIELD_ID_OTHER. */
struct dm_str dm_http_field_name(enum dm_http_field_id id);
/* DM_HTTP_FIELD_HOP, _NO_TRAILER and _ONCE as far as they follow from the id alone. */
uint8_t dm_http_field_flags_of(enum dm_http_field_id id);

static inline bool dm_http_field_is_hop(const struct dm_http_field *field)
{
    return (field->flags & DM_HTTP_FIELD_HOP) != 0;
}

/* May this stand as a field name / as a field value? What is written from configuration is checked with these: a
 * name is a token, a value holds visible ASCII with spaces and tabs inside, not around it. */
bool dm_http_field_name_is_valid(struct dm_str name);
bool dm_http_field_value_is_valid(struct dm_str value);
/* Would DM_HTTP_FIELD_FOLDED be set? */
bool dm_http_field_name_is_folded(struct dm_str name);
/* Are two names the same to a receiver that folds them, in any case? */
bool dm_http_field_names_fold_alike(struct dm_str a, struct dm_str b);

/* Walks a comma-separated list (RFC 9110 section 5.6.1): trimmed, non-empty elements; commas in quoted strings do
 * not cut. *rest starts as the value; false at the end. */
bool dm_http_list_next(struct dm_str *rest, struct dm_str *ret_element);
/* Is the token among the elements of the list, in any case? */
bool dm_http_list_has(struct dm_str list, struct dm_str token);

#endif
