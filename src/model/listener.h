/* Listeners: an address of a gateway and what holds for the connections that come in there, as words of one option of
 * daemun-gateway and `daemun serve`:
 *
 *     ADDRESS [tls] [http2=on|off] [proxy-protocol=SOURCES] [trusted-fronts=SOURCES] [LIMIT=NUMBER ...]
 *
 * ADDRESS is 192.0.2.1:80, [2001:db8::1]:80, unix:/path, or *:80, which is short for the two listeners 0.0.0.0:80 and [::]:80: an
 * address of IPv6 takes no IPv4. SOURCES are blocks of addresses with commas between; `unix:` is whoever comes by a Unix
 * socket. Every limit is an option of its own too, and so are trusted fronts: what holds where a listener says nothing. */
#ifndef DM_MODEL_LISTENER_H
#define DM_MODEL_LISTENER_H

#include "base/sys.h"
#include "model/cidr.h"

#define DM_LISTENERS_MAX 16
#define DM_LISTENER_TEXT_MAX 2048 /* of one option */

#define DM_LISTENER_MS_MAX 3600000
#define DM_LISTENER_RATE_MAX 1073741824
#define DM_LISTENER_BYTES_MAX 9223372036854775807

/* X(member, word, least, most, default, what it is, what happens beyond it). Where the least is 0, 0 is no limit. */
#define DM_LISTENER_LIMITS(X)                                                                                          \
    X(connections, "connections", 1, 1000000, 32768, "Connections open at a time, in each worker process",             \
      "503 `too_many_connections`, or closed at once where there are many of them")                                    \
    X(lobby_connections, "lobby-connections", 0, 1000000, 1024,                                                        \
      "Connections of one source that have named no team yet, in each worker process; of all sources together a "      \
      "quarter of `connections`, where the largest sources make way for others. Trusted fronts do not count",          \
      "closed at once, before TLS")                                                                                    \
    X(lobby_ipv4_bits, "lobby-ipv4-bits", 8, 32, 32, "Bits of an IPv4 address that make a source", "")                 \
    X(lobby_ipv6_bits, "lobby-ipv6-bits", 16, 128, 64, "Bits of an IPv6 address that make a source", "")               \
    X(header_bytes, "header-bytes", 1024, 65536, 32768, "Bytes of a request's head: its first line and all fields",    \
      "431 `header_too_large`")                                                                                        \
    X(headers, "headers", 8, 128, 100, "Header fields of a request", "431 `header_too_large`")                         \
    X(url_bytes, "url-bytes", 64, 65536, 8192, "Bytes of a request's target: path and query", "414 `uri_too_long`")    \
    X(body_max, "body-max", 0, DM_LISTENER_BYTES_MAX, 0, "Bytes of a request's body", "413 `body_too_large`")          \
    X(streams, "streams", 1, 1000, 128, "HTTP/2 streams open at a time on a connection",                               \
      "the stream is refused: `REFUSED_STREAM`")                                                                       \
    X(head_timeout_ms, "head-timeout-ms", 0, DM_LISTENER_MS_MAX, 10000,                                                \
      "Time for the head of a request, and for what comes before the first one", "408 `request_timeout`")              \
    X(idle_timeout_ms, "idle-timeout-ms", 0, DM_LISTENER_MS_MAX, 75000, "Time between the requests of a connection",   \
      "closed")                                                                                                        \
    X(body_timeout_ms, "body-timeout-ms", 0, DM_LISTENER_MS_MAX, 30000,                                                \
      "Time without a byte of a body, in either direction, while the client is waited for",                            \
      "408 `request_timeout`, or cut off where a response has begun")                                                  \
    X(body_rate, "body-rate", 0, DM_LISTENER_RATE_MAX, 256,                                                            \
      "Least bytes a second of a body, in each direction for itself, on average after 10 s",                           \
      "408 `request_timeout`, or cut off where a response has begun")                                                  \
    X(half_closed_timeout_ms, "half-closed-timeout-ms", 0, DM_LISTENER_MS_MAX, 5000,                                   \
      "Time without a byte of the response after an HTTP/1.1 client has ended its side of the connection",             \
      "`client_closed`: the client is taken for gone")

struct dm_listener_limits {
#define DM_LISTENER_LIMIT_MEMBER(member, word, min, max, def, doc, beyond) uint64_t member;
    DM_LISTENER_LIMITS(DM_LISTENER_LIMIT_MEMBER)
#undef DM_LISTENER_LIMIT_MEMBER
};

struct dm_listener_limit {
    const char *word;
    size_t at; /* of a uint64_t in struct dm_listener_limits */
    uint64_t min, max, def;
    const char *doc, *beyond;
};
#define DM_LISTENER_LIMIT_COUNT (sizeof(struct dm_listener_limits) / sizeof(uint64_t))
extern const struct dm_listener_limit dm_listener_limits[DM_LISTENER_LIMIT_COUNT];

/* Where connections come from. */
struct dm_listener_sources {
    struct dm_cidr blocks[DM_CIDR_LIST_MAX];
    size_t n;
    bool has_unix;
};

struct dm_listener_spec {
    struct dm_addr addr;
    char name[DM_ADDR_TEXT_MAX]; /* the address as text: in metrics and logs */
    bool is_optional;            /* the IPv6 half of "*": a machine may have none */
    bool is_tls, has_http2;
    struct dm_listener_sources proxy_protocol; /* who must begin with a PROXY header; nobody else is believed */
    struct dm_listener_sources trusted_fronts; /* whose Forwarded and X-Forwarded-* count */
    struct dm_listener_limits limits;
    uint32_t given; /* bits of what was said: dm_listener_fill() keeps it */
};

/* A listener without an address that has all defaults. */
void dm_listener_defaults(struct dm_listener_spec *ret);

/* Appends to the *n in specs what the text says: one listener, or the two of "*". What it does not say is as
 * dm_listener_defaults() has it. DM_EINVAL; err names the word, what was expected and what was found. */
DM_MUST_USE int dm_listener_parse(struct dm_str text, struct dm_listener_spec specs[DM_LISTENERS_MAX], size_t *n,
                                  struct dm_err *err);
/* What was not said of the listener becomes as in `defaults`: limits and trusted fronts. */
void dm_listener_fill(struct dm_listener_spec *spec, const struct dm_listener_spec *defaults);

/* "10.0.0.0/8, unix:": added to ret. DM_EINVAL, and ret is as it was; err names the block at fault. */
DM_MUST_USE int dm_listener_parse_sources(struct dm_str text, struct dm_listener_sources *ret, struct dm_err *err);
bool dm_listener_sources_hold(const struct dm_listener_sources *sources, const struct dm_addr *addr);

/* Sets the limit of this word. DM_ENOENT: there is none; DM_EINVAL: err says what was expected. */
DM_MUST_USE int dm_listener_limit_read(struct dm_listener_limits *limits, struct dm_str word, struct dm_str value,
                                       struct dm_err *err);
uint64_t dm_listener_limit_get(const struct dm_listener_limits *limits, size_t i);

#endif
