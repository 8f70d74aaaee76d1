/* The client side: connections to backends (peers), and exchanges on them (calls). The mirror of server.h.
 *
 * A peer belongs to a pool, which connects it, opens calls on it and is told when there is room for another one and when the
 * connection takes none any more. A call belongs to whoever speaks on it:
 *
 *     send     write*   end                          (by the owner)
 *     on_inform*  on_response  on_body*  on_response_end
 *     on_done or on_abort                            (last callback of this call; it is gone after it)
 *
 * A connection of HTTP/1.1 has one call at a time and is kept for the next when both sides allow it; one of HTTP/2 has up to a
 * hundred. A call that the backend says it never began ends with ABORT_REFUSED, and may be sent again whatever its method.
 *
 * A message with a protocol asks for a tunnel (RFC 9110 section 7.8) and has no body. When the backend agrees, on_response
 * comes with status 101 (HTTP/2: RFC 8441), and from there on write and on_body carry raw bytes; end and on_response_end are the half-closes,
 * on_done comes when both are through. What is written before waits (write takes nothing). Any other status is a response as
 * always. A tunnel whose time is over (on_tunnel_due) ends with dm_http_call_leave(), so that its owner can say goodbye in the
 * tunnel's own protocol.
 *
 * C1. on_done may come from inside dm_http_call_end() when that is called in on_response_end, or in a tunnel behind it; no other
 *     callback of a call comes from inside one of its functions.
 * C2. Bytes behind a response, or before its request left, are no response: they end the connection, with ABORT_FAULT and
 *     fault 0 for a call in hand, or with ABORT_REFUSED for one on a kept connection of whose request nothing has left.
 * C3. Nothing is sent outside a message's framing: what exceeds Content-Length is dropped; a request that ends with fewer
 *     bytes ends our direction; one whose head is above 128 KiB is not sent (ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE).
 *     So does an interim response (1xx) behind 32 others (DM_HTTP_TOO_MANY_INTERIM); in HTTP/2 it resets the call's stream.
 * C4. The pool hears of a connection behind the call that ended on it, and of one that failed before the calls do: inside
 *     on_abort no further call is opened on it by mistake.
 *
 * Threads: one loop. Memory: an idle connection owns no buffer. */
#ifndef DM_HTTP_CLIENT_H
#define DM_HTTP_CLIENT_H

#include "http/message.h"
#include "io/loop.h"
#include "base/sys.h"

struct dm_tls_client;
struct dm_http_client; /* settings, handlers and free lists shared by connections of one owner */
struct dm_http_peer;   /* one connection to a backend */
struct dm_http_call;   /* one exchange on it */

struct dm_http_client_settings {
    struct dm_http_limits limits;
    size_t write_cap_bytes;
};
extern const struct dm_http_client_settings dm_http_client_defaults;

/* TLS to one endpoint: how it is made, and the newest session. Counted, also by each connection. */
struct dm_http_tls;
struct dm_http_tls *dm_http_tls_new(struct dm_tls_client *client); /* takes a reference of its own */
struct dm_http_tls *dm_http_tls_ref(struct dm_http_tls *tls);
/* NULL is fine. */
void dm_http_tls_unref(struct dm_http_tls *tls);

struct dm_http_peer_settings {
    struct dm_addr addr;
    uint32_t connect_ms;               /* 0: no limit but the system's; with the TLS handshake */
    bool is_http2;                     /* with prior knowledge; with TLS the backend must agree to "h2" (ALPN) */
    struct dm_http_tls *tls;           /* NULL: clear text */
    struct dm_flow *flow;              /* whose work it is while its owner or a call has it; NULL: of whoever runs */
    uint64_t *counter, *buffered;      /* where it and its buffers are counted until it is closed; NULL: nowhere */
    struct dm_stream_traffic *traffic; /* and what its socket gives and takes */
    uint32_t calls_max; /* of HTTP/2: what the backend takes at a time, as far as is known before it says so; 0: not */
    const int *fd;      /* connected already, to addr, and the client's from here on; NULL: it connects */
};

/* Of one call; 0: no limit. */
struct dm_http_timeouts {
    uint32_t response_ms; /* from the end of the request to the end of the response head */
    uint32_t idle_ms;     /* inside a body, without a byte in either direction while the backend is waited for; found up
                             to a quarter, at most 10 s, late */
    uint32_t kept_ms;     /* the connection, behind this call, without another one */
    uint32_t tunnel_idle_ms;  /* a tunnel without a byte in either direction (ABORT_IDLE); found up to a quarter late */
    uint32_t tunnel_total_ms; /* a tunnel, however busy (ABORT_SHUTDOWN) */
};

/* What a call's owner hears. */
struct dm_http_call_handler {
    /* An interim response (1xx other than 101). May be NULL. */
    void (*on_inform)(void *user, struct dm_http_call *call, const struct dm_http_head *head);
    /* The owner may drop and add fields during the call. */
    void (*on_response)(void *user, struct dm_http_call *call, struct dm_http_head *head);
    size_t (*on_body)(void *user, struct dm_http_call *call, const char *ptr, size_t len);
    void (*on_response_end)(void *user, struct dm_http_call *call, const struct dm_http_head *trailers);
    void (*on_writable)(void *user, struct dm_http_call *call);
    /* The call is through. */
    void (*on_done)(void *user, struct dm_http_call *call);
    /* The call failed. */
    void (*on_abort)(void *user, struct dm_http_call *call, struct dm_http_end end);
    /* A tunnel's time is over: IDLE, or SHUTDOWN (tunnel_total_ms). The owner calls dm_http_call_leave() now, or on_abort follows.
     * NULL: on_abort alone. */
    void (*on_tunnel_due)(void *user, struct dm_http_call *call, enum dm_http_abort why);
};

/* What a connection's owner hears; both may come from inside dm_http_call_cancel(). */
struct dm_http_peer_handler {
    /* A call is through, and dm_http_peer_open() works again. */
    void (*on_room)(void *owner, struct dm_http_peer *peer);
    /* No call can be opened on it any more, and the owner forgets it. Calls in hand may go on. */
    void (*on_end)(void *owner, struct dm_http_peer *peer);
};

/* What backends of HTTP/2 did that ended connections or streams. Only grows. */
struct dm_http_client_counters {
    uint64_t floods;       /* connections ended: frames that bring nothing */
    uint64_t header_bombs; /* connections ended: header blocks that unpack to far too much */
    uint64_t malformed;    /* connections ended or streams reset: against the protocol */
    uint64_t silent;       /* connections ended: no answer to a PING */
    uint64_t going;        /* GOAWAY */
    uint64_t refused;      /* streams that were not begun */
};

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *peer_handler,
                                          const struct dm_http_call_handler *call_handler);
/* All connections must be closed and all calls ended before. Turns the loop until they are gone: not from a callback. */
void dm_http_client_free(struct dm_http_client *client);
const struct dm_http_client_counters *dm_http_client_counters(const struct dm_http_client *client);

/* Starts to connect. A failure that the kernel reports at once comes from the loop, never from inside this function. */
struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                            void *owner);
/* Begins a call, also before the connection stands; set_user and send follow before the loop turns. NULL: no room. */
struct dm_http_call *dm_http_peer_open(struct dm_http_peer *peer, const struct dm_http_timeouts *timeouts);
/* Would open work? */
bool dm_http_peer_has_room(const struct dm_http_peer *peer);
/* The owner forgets it, nothing more is told to it. Closes now, or behind the last call in hand. */
void dm_http_peer_close(struct dm_http_peer *peer);
/* Are calls in hand? */
bool dm_http_peer_has_calls(const struct dm_http_peer *peer);
/* Does it stand? */
bool dm_http_peer_is_connected(const struct dm_http_peer *peer);
/* Has nothing come of it yet that proves it? Calls on such a one are not opened on a connection that went stale. */
bool dm_http_peer_is_new(const struct dm_http_peer *peer);
/* How many calls at a time the backend has said that it takes on it; 0: not said (yet). */
uint32_t dm_http_peer_calls_max(const struct dm_http_peer *peer);
/* Where it is connected to. */
const struct dm_addr *dm_http_peer_addr(const struct dm_http_peer *peer);

/* Callbacks get it. */
void dm_http_call_set_user(struct dm_http_call *call, void *user);
void dm_http_call_send(struct dm_http_call *call, const struct dm_http_message *message);
/* Returns how many bytes were taken: all, or on_writable comes. */
size_t dm_http_call_write(struct dm_http_call *call, const char *ptr, size_t len);
void dm_http_call_end(struct dm_http_call *call, struct dm_str trailers);
/* Presents body bytes again that on_body did not take. */
void dm_http_call_resume(struct dm_http_call *call);
/* Ends a tunnel from our side: what was written is sent, and `last` behind it if there is room for all of it, then nothing; what the
 * backend still sends is read and dropped for a while. No callback follows. */
void dm_http_call_leave(struct dm_http_call *call, struct dm_str last);
/* Nobody wants it any more; no callback of the call follows. Of its request nothing more is sent. A connection of HTTP/1.1 that has sent
 * some of it is reset (on TLS: ends without close_notify); otherwise it is kept for the next call, also while it is being made. */
void dm_http_call_cancel(struct dm_http_call *call);
/* Did a byte of the response arrive? A request on a kept connection that failed before may be sent again elsewhere. */
bool dm_http_call_has_response(const struct dm_http_call *call);
/* Was the connection made for a call before? One of HTTP/2: and has it stood since before this one? */
bool dm_http_call_is_reused(const struct dm_http_call *call);
bool dm_http_call_is_connected(const struct dm_http_call *call);
bool dm_http_call_is_http2(const struct dm_http_call *call);
/* On the wire, of this call; also in on_done and on_abort. */
uint64_t dm_http_call_bytes_in(const struct dm_http_call *call);
uint64_t dm_http_call_bytes_out(const struct dm_http_call *call);

#endif
