/* The server side of HTTP/1.1: connections that read requests and write responses over io/stream, with keep-alive,
 * pipelining (one request at a time is given out; the next waits unread), 100-continue, back-pressure and time limits.
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
 * S1. on_done may come from inside dm_http_request_end() and dm_http_request_reply(); no other callback comes from inside a call.
 * S2. A response that is through before its request: a rest of the request up to 64 KiB is read and dropped; with a larger
 *     one, a chunked one, or one that the client holds back (Expect), the connection closes. It also closes, after on_done,
 *     when a rest does not come in time.
 * S3. Nothing is sent outside a message's framing: what exceeds Content-Length is dropped, a response with fewer bytes closes
 *     the connection, and a head above 128 KiB is answered as 500 without a body.
 * S4. Before the connection closes after its last answer, all of that answer is sent, as long as the client reads it.
 *
 * Output of a connection is bounded by write_cap_bytes and one piece (64 KiB), or one dm_http_request_reply(): with a full queue
 * no further request is given out.
 *
 * Threads: all of one server on one loop. Memory: an idle connection owns no buffer. */
#ifndef DM_HTTP_SERVER_H
#define DM_HTTP_SERVER_H

#include "http/message.h"
#include "io/loop.h"
#include "base/sys.h"

struct dm_http_server;
struct dm_http_request; /* one request on a client connection, and its response */

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
    size_t write_cap_bytes; /* unsent response bytes kept before write stops taking */
    size_t connections_max;
};
extern const struct dm_http_server_settings dm_http_server_defaults;

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
    /* A request that is no request, or whose body is none or comes too slowly. Returns status (0: the fault's), fields and body
     * of the answer in ret, borrowed until the next callback; the connection sends it and closes. With a body at fault
     * dm_http_request_user() is still the request's; on_abort follows. NULL: an empty answer. */
    void (*on_fault)(void *arg, struct dm_http_request *request, struct dm_http_end end,
                     struct dm_http_message *ret_message, struct dm_str *ret_body);
};

/* The handler and arg are borrowed and outlive the server. */
struct dm_http_server *dm_http_server_new(struct dm_loop *loop, const struct dm_http_server_settings *settings,
                                          const struct dm_http_handler *handler, void *arg);
/* Closes what is left at once, with on_abort(SHUTDOWN) for each request in hand. Turns the loop: not from a callback. */
void dm_http_server_free(struct dm_http_server *server);
/* Takes over an accepted descriptor. */
void dm_http_server_accept(struct dm_http_server *server, int fd, const struct dm_addr *peer);
/* Idle connections close now, the others after the request in hand, which is answered with Connection: close. */
void dm_http_server_drain(struct dm_http_server *server);
size_t dm_http_server_connections(const struct dm_http_server *server);

void dm_http_request_set_user(struct dm_http_request *request, void *user);
void *dm_http_request_user(const struct dm_http_request *request);
const struct dm_addr *dm_http_request_peer(const struct dm_http_request *request);
struct dm_loop *dm_http_request_loop(const struct dm_http_request *request);

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
/* The response can't be completed: the connection is cut, so that the client sees it (but a client of HTTP/1.0 that got a
 * response without Content-Length takes it for the end). No callback follows. */
void dm_http_request_abort(struct dm_http_request *request);
/* Presents body bytes again that on_body did not take. */
void dm_http_request_resume(struct dm_http_request *request);
/* The rest of the request's body is not wanted (S2): on_body and on_request_end come no more. Before respond. */
void dm_http_request_ignore_body(struct dm_http_request *request);
/* Lowers or raises the bound of this request's body; passing it aborts with TOO_LARGE. */
void dm_http_request_limit_body(struct dm_http_request *request, uint64_t max_bytes);
/* Bytes of this request and response on the wire so far, of pipelined ones each its own. */
uint64_t dm_http_request_bytes_in(const struct dm_http_request *request);
uint64_t dm_http_request_bytes_out(const struct dm_http_request *request);

#endif
