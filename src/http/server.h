/* The server side of HTTP: connections that read requests and write responses over io/stream. HTTP/1.1 with keep-alive,
 * pipelining (one request at a time is given out; the next waits unread) and 100-continue; HTTP/2 (RFC 9113) with many requests
 * at a time on one connection; both with back-pressure and time limits. The owner need not know which it is.
 *
 * The owner gives a handler; the connection calls it. Everything passed in a callback is borrowed for the call. The
 * order for one request is
 *
 *     on_request  on_body*  on_request_end          (reading)
 *     respond     write*    end                     (writing, by the owner, from any callback, at any time after on_request)
 *     on_done                                        (both sides are through; the connection goes on or closes itself)
 *
 * on_abort may come at any point after on_request instead of on_done, and is the last callback for that request.
 * Inside on_done and on_abort the owner forgets the request; the connection is the server's and frees itself.
 *
 * A request with head->upgrade (HTTP/1.1 Upgrade; HTTP/2 extended CONNECT, RFC 8441) may become a tunnel: after on_request_end
 *
 *     tunnel      write*    end                     (in place of respond: 101 or 200, then raw bytes; end is our half-close)
 *                 on_body*  on_request_end          (the client's bytes, and its half-close)
 *     on_done                                        (both are through)
 *
 * or leave, at any time: the tunnel ends politely, and nothing more is heard of it. A tunnel that must end is told of so
 * (on_tunnel_due), that its owner can say goodbye in the tunnel's own protocol.
 *
 * What the client sent before belongs to the tunnel if there is one; otherwise it is the next request, or (HTTP/2) dropped.
 *
 * S1. on_done may come from inside dm_http_request_end() and dm_http_request_reply(); no other callback comes from inside a call.
 * S2. A response that is through before its request: a rest of the request up to 64 KiB is read and dropped; with a larger
 *     one, a chunked one, or one that the client holds back (Expect), the connection closes. It also closes, after on_done,
 *     when a rest does not come in time. In HTTP/2 the client is told to stop with RST_STREAM(NO_ERROR) instead.
 * S3. Nothing is sent outside a message's framing: what exceeds Content-Length is dropped, a response with fewer bytes closes
 *     the connection (HTTP/2: resets the stream), and a head above 128 KiB is answered as 500 without a body.
 * S4. Before the connection closes after its last answer, all of that answer is sent, as long as the client reads it.
 * S5. An HTTP/2 client that abuses the connection (http/h2_guard.h) loses it: GOAWAY, and on_abort(FLOOD) for what is in hand.
 *
 * Output of a connection is bounded by write_cap_bytes and one piece (64 KiB), or one dm_http_request_reply(): with a full queue
 * no further request is given out.
 *
 * Threads: all of one server on one loop. Memory: an idle HTTP/1.1 connection owns no buffer; an HTTP/2 connection holds its
 * compression tables, and of bodies that the owner does not take at most its window. */
#ifndef DM_HTTP_SERVER_H
#define DM_HTTP_SERVER_H

#include "http/message.h"
#include "http/server_stats.h"
#include "io/loop.h"
#include "base/sys.h"

struct dm_http_conn;
struct dm_http_server;
struct dm_stream;
struct dm_stream_traffic;
struct dm_tls_acceptor;
struct dm_http_request; /* one request on a client connection, and its response */

/* What a client speaks on a connection. */
enum dm_http_protocol {
    DM_HTTP_PROTOCOL_ANY, /* what the first bytes say: the HTTP/2 preface, or else HTTP/1.1 */
    DM_HTTP_PROTOCOL_1,
    DM_HTTP_PROTOCOL_2,
};

struct dm_http2_settings {
    uint32_t streams_max;             /* in hand at a time, on one connection */
    uint32_t stream_window_bytes;     /* of a request's body that may be on its way, or wait for the owner */
    uint32_t connection_window_bytes; /* the same of all bodies together */
    uint32_t header_table_bytes;      /* of HPACK, each direction */
    uint32_t frame_max_bytes;         /* 16384 … 2^24 - 1 */
};

struct dm_http_server_settings {
    struct dm_http_limits limits;
    uint64_t body_bytes_max;  /* 0 = no limit: on_request decides with dm_http_request_limit_body */
    uint32_t head_timeout_ms; /* from the first byte of a head to its end */
    uint32_t idle_timeout_ms; /* between requests */
    /* Without a byte of body arriving or leaving while the client is waited for. While the response moves, the request may
     * rest. Found up to a quarter, at most 10 s, late. */
    uint32_t body_timeout_ms;
    /* Per second and direction, on average over the time in which the client is waited for, after its first 10 s; 0 = off.
     * The owner's own pauses (body not taken, nothing to send) do not count. */
    uint32_t body_rate_bytes;
    /* A client that ended its direction may have gone, or wait for the rest (RFC 9112 section 9.6 lets it). It is taken for gone when
     * the owner gives nothing to send for so long; 0 = never. HTTP/1.1; in HTTP/2 it has gone at once. */
    uint32_t half_closed_timeout_ms;
    size_t write_cap_bytes; /* unsent response bytes kept before write stops taking */
    size_t connections_max; /* the first request of a few more is answered with 503, the others are closed */
    struct dm_http_server_stats *stats; /* borrowed; counted on from what is there. NULL: the server's own */
    bool allows_http2;                  /* by prior knowledge and where on_first_bytes says so */
    uint32_t
        tunnel_idle_timeout_ms; /* without a byte in either direction; 0 = off; found up to a quarter, at most 10 s, late */
    uint32_t tunnel_timeout_ms; /* in all; 0 = off */
    uint32_t drain_idle_ms;     /* how long a connection between requests lives on after dm_http_server_drain() */
    struct dm_http2_settings http2;
    struct dm_tls_acceptor *tls; /* borrowed; NULL: clear text */
    struct dm_flow *flow; /* whose work connections are until dm_http_conn_set_flow(); borrowed; NULL: nobody's */
};
extern const struct dm_http_server_settings dm_http_server_defaults;

/* Before anything of a connection is read (io/look.h): ptr is what came first. */
enum dm_http_look {
    DM_HTTP_LOOK_MORE,  /* it does not say enough yet */
    DM_HTTP_LOOK_SERVE, /* here */
    DM_HTTP_LOOK_GONE,  /* the owner has given dm_http_conn_fd() to another process */
};
typedef enum dm_http_look (*dm_http_look_cb)(void *arg, struct dm_http_conn *conn, const char *ptr, size_t len);

struct dm_http_handler {
    /* A whole, valid head. `head` and what it points at are gone after the call; the owner may drop and add fields
     * meanwhile. It remembers the request with dm_http_request_set_user(). */
    void (*on_request)(void *arg, struct dm_http_request *request, struct dm_http_head *head);
    /* Body bytes, framing removed. Returns how many were taken; fewer than len pauses reading until
     * dm_http_request_resume(), which presents the rest again. */
    size_t (*on_body)(void *user, struct dm_http_request *request, const char *ptr, size_t len);
    /* The request is complete. trailers (may be NULL) holds fields only. */
    void (*on_request_end)(void *user, struct dm_http_request *request, const struct dm_http_head *trailers);
    /* After a write that was not taken whole: there is room again. */
    void (*on_writable)(void *user, struct dm_http_request *request);
    void (*on_done)(void *user, struct dm_http_request *request);
    void (*on_abort)(void *user, struct dm_http_request *request, struct dm_http_end end);
    /* A tunnel's time is over: IDLE, or SHUTDOWN (its longest life, or dm_http_server_end_requests()). The owner calls
     * dm_http_request_leave() now, or on_abort follows. NULL: on_abort alone. */
    void (*on_tunnel_due)(void *user, struct dm_http_request *request, enum dm_http_abort why);
    /* The server goes, and with it a request in hand that is no tunnel (dm_http_server_end_requests()). The owner answers it, ends its
     * response or aborts it now; what it leaves gets on_abort(SHUTDOWN) in the end. May be NULL. */
    void (*on_request_due)(void *user, struct dm_http_request *request);
    /* A request that is no request, or whose body is none or comes too slowly. Returns status (0: the fault's), fields and body
     * of the answer in ret, borrowed until the next callback; the connection sends it and closes. With a body at fault
     * dm_http_request_user() is still the request's; on_abort follows. NULL: an empty answer. */
    void (*on_fault)(void *arg, struct dm_http_request *request, struct dm_http_end end,
                     struct dm_http_message *ret_message, struct dm_str *ret_body);
    /* The first bytes of a connection are there (of TLS: its handshake is over). NULL: ANY. HTTP/2 is refused (ANY, 2) unless
     * settings.allows_http2. */
    enum dm_http_protocol (*on_first_bytes)(void *arg, struct dm_http_conn *conn);
    /* Its PROXY header named a source, which is its peer from here on. Negative: it is not served, and fails with this code. May be
     * NULL. */
    int (*on_source)(void *arg, struct dm_http_conn *conn);
    /* It failed: what the stream's on_error said; of DM_ETLS dm_tls_reason() of its stream says more. Before on_abort. May be NULL. */
    void (*on_broken)(void *arg, struct dm_http_conn *conn, int error);
    /* A request of it, or the connection itself, is ended because its client was too slow. May be NULL. */
    void (*on_timeout)(void *arg, struct dm_http_conn *conn, enum dm_http_timeout what);
    /* HTTP/2: a stream above the bound of the connection was refused. May be NULL. */
    void (*on_stream_refused)(void *arg, struct dm_http_conn *conn);
    /* The connection is gone, after everything else of it. May be NULL. */
    void (*on_conn_end)(void *arg, struct dm_http_conn *conn);
};

/* The handler and arg are borrowed and outlive the server. */
struct dm_http_server *dm_http_server_new(struct dm_loop *loop, const struct dm_http_server_settings *settings,
                                          const struct dm_http_handler *handler, void *arg);
/* Closes what is left at once, with on_abort(SHUTDOWN) for each request in hand. Turns the loop: not from a callback. */
void dm_http_server_free(struct dm_http_server *server);
/* Takes over an accepted descriptor. The connection, until on_conn_end, which does not come from within; NULL: it is not served. */
struct dm_http_conn *dm_http_server_accept(struct dm_http_server *server, int fd, const struct dm_addr *peer);
/* The same for one that must begin with a PROXY header (io/proxy_protocol.h), whose source becomes the requests' peer; without one it
 * is closed. The head's time covers it. */
void dm_http_server_accept_proxied(struct dm_http_server *server, int fd, const struct dm_addr *peer);
/* Closes a descriptor that its owner will not have served, and counts why. */
void dm_http_server_turn_away(struct dm_http_server *server, int fd, enum dm_http_refusal refusal);
/* The count alone. */
void dm_http_server_count_refusal(struct dm_http_server *server, enum dm_http_refusal refusal);
/* The same for one whose TLS, if the server has any, somebody else speaks: its bytes are in clear. NULL: it was turned away. */
struct dm_http_conn *dm_http_server_accept_clear(struct dm_http_server *server, int fd, const struct dm_addr *peer);
/* From here on the owner is shown what comes first on each connection; NULL: no more. What it can't tell after a while is served. */
void dm_http_server_set_look(struct dm_http_server *server, dm_http_look_cb look);
/* Connections end politely: the next answer on HTTP/1.1 says Connection: close, an HTTP/2 client is told to begin nothing new
 * (GOAWAY, twice), and what is in hand goes through. A connection between requests closes after settings.drain_idle_ms. No
 * connection is accepted any more. */
void dm_http_server_drain(struct dm_http_server *server);
/* Those between requests close now. What is still in hand goes on until dm_http_server_free(). */
void dm_http_server_drain_end(struct dm_http_server *server);
/* What is in hand ends now, with what the owners have to say (on_tunnel_due, on_request_due). dm_http_server_free() does the same,
 * but does not wait until clients have read it: call this some turns before. */
void dm_http_server_end_requests(struct dm_http_server *server);
size_t dm_http_server_connections(const struct dm_http_server *server);
const struct dm_http_server_stats *dm_http_server_stats(const struct dm_http_server *server);
const struct dm_http2_counters *dm_http_server_http2_counters(const struct dm_http_server *server);

/* What the owner keeps about a connection. */
void dm_http_conn_set_user(struct dm_http_conn *conn, void *user);
void *dm_http_conn_user(const struct dm_http_conn *conn);
/* A second thing, of how it came in. */
void dm_http_conn_set_entry(struct dm_http_conn *conn, void *entry);
void *dm_http_conn_entry(const struct dm_http_conn *conn);
/* Ends it at once, without an answer, and counts why; what is in hand gets on_abort(CROWDED). Not from its own callbacks. */
void dm_http_conn_turn_away(struct dm_http_conn *conn, enum dm_http_refusal refusal);
/* A Unix socket comes without its name. */
void dm_http_conn_peer(const struct dm_http_conn *conn, struct dm_addr *ret);
/* For dm_http_look_cb. */
int dm_http_conn_fd(const struct dm_http_conn *conn);
const struct dm_stream *dm_http_conn_stream(const struct dm_http_conn *conn);
/* Counts its buffers there, until it is gone (on_conn_end). */
void dm_http_conn_set_account(struct dm_http_conn *conn, uint64_t *buffered);
/* And what its socket gives and takes there, from its first byte on. */
void dm_http_conn_set_traffic(struct dm_http_conn *conn, struct dm_stream_traffic *traffic);
/* Whose work it is from here on, the rest of the callback included; NULL: the server's flow's. The flow outlives the connection, or is
 * taken away before. */
void dm_http_conn_set_flow(struct dm_http_conn *conn, struct dm_flow *flow);
/* The connection whose stream it is; for callbacks of TLS. */
struct dm_http_conn *dm_http_conn_of_stream(struct dm_stream *stream);
/* The arg of the handler, of the connection's server. */
void *dm_http_conn_arg(const struct dm_http_conn *conn);
/* In place of the server's, from the next time on that the client is waited for. 0: no bound. */
void dm_http_conn_set_timeouts(struct dm_http_conn *conn, uint32_t head_timeout_ms, uint32_t idle_timeout_ms);
/* Lowers how many requests may be in hand at a time on HTTP/2; at least 1. The client is told, and what it begins above that is
 * refused (REFUSED_STREAM). */
void dm_http_conn_limit_streams(struct dm_http_conn *conn, uint32_t max);

void dm_http_request_set_user(struct dm_http_request *request, void *user);
void *dm_http_request_user(const struct dm_http_request *request);
void dm_http_request_peer(const struct dm_http_request *request, struct dm_addr *ret);
struct dm_loop *dm_http_request_loop(const struct dm_http_request *request);
struct dm_http_conn *dm_http_request_conn(const struct dm_http_request *request);
bool dm_http_request_is_http2(const struct dm_http_request *request);
/* Of HTTP/2; 0 in HTTP/1.1. */
uint32_t dm_http_request_stream_id(const struct dm_http_request *request);

/* A 1xx response other than 101 (103, or 100 to let the client send what it announced with Expect). Left out for HTTP/1.0,
 * after respond, and when the client does not read. */
void dm_http_request_inform(struct dm_http_request *request, unsigned status, struct dm_str fields);
/* The response head. With HEAD, 204 and 304 the body is left out whatever is written. */
void dm_http_request_respond(struct dm_http_request *request, const struct dm_http_message *message);
/* Body bytes; returns how many were taken (all, or on_writable comes). Nothing is borrowed after the call. */
size_t dm_http_request_write(struct dm_http_request *request, const char *ptr, size_t len);
/* The response is complete; trailer lines (CR LF ended) go out when it is chunked. */
void dm_http_request_end(struct dm_http_request *request, struct dm_str trailers);
/* Head, whole body and end at once, with Content-Length; what is left of the request is dropped. For bodies made in memory:
 * they are queued whole, above write_cap_bytes too. */
void dm_http_request_reply(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body);
/* Opens the tunnel that the request asks for: 101 or 200 with the fields of the message (its status and framing are not read;
 * Upgrade and Connection are written from head->upgrade). After on_request_end, in place of respond, for a request whose head has
 * an upgrade. */
void dm_http_request_tunnel(struct dm_http_request *request, const struct dm_http_message *message);
/* Ends a tunnel from our side: what was written is sent, and `last` behind it if there is room for all of it, then nothing; what the
 * client still sends is read and dropped for a while. No callback follows. */
void dm_http_request_leave(struct dm_http_request *request, struct dm_str last);
/* The response can't be completed: the connection is cut (HTTP/2: the stream is reset), so that the client sees it. One that only
 * the end of the connection would delimit (HTTP/1.0 without Content-Length), or a tunnel, ends with a reset, on TLS without
 * close_notify. No callback follows. */
void dm_http_request_abort(struct dm_http_request *request);
/* The same, with the code that a client of HTTP/2 is told. */
void dm_http_request_abort_with(struct dm_http_request *request, enum dm_http2_code code);
/* Client and owner talk in turns of their own, and may both be silent for long (a stream of messages). In place of body_timeout_ms
 * and body_rate_bytes, for what the client sends: idle_ms without a byte in either direction while its end is awaited; 0 = off.
 * Found as late as body_timeout_ms is. Who does not read is judged as ever. In HTTP/1.1, which has no such talk, nothing changes. */
void dm_http_request_allow_silence(struct dm_http_request *request, uint32_t idle_ms);
/* Presents body bytes again that on_body did not take. */
void dm_http_request_resume(struct dm_http_request *request);
/* The rest of the request's body is not wanted (S2): on_body and on_request_end come no more. Before respond. */
void dm_http_request_ignore_body(struct dm_http_request *request);
/* Lowers or raises the bound of this request's body; passing it aborts with TOO_LARGE. False: more has come already. */
DM_MUST_USE bool dm_http_request_limit_body(struct dm_http_request *request, uint64_t max_bytes);
/* body_timeout_ms and body_rate_bytes of this request and its response, in place of the server's. */
void dm_http_request_set_pace(struct dm_http_request *request, uint32_t body_timeout_ms, uint32_t body_rate_bytes);
/* Bytes of this request and response on the wire so far, of pipelined ones each its own. */
uint64_t dm_http_request_bytes_in(const struct dm_http_request *request);
uint64_t dm_http_request_bytes_out(const struct dm_http_request *request);

#endif
