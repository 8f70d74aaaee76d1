/* The client side of HTTP/1.1: one connection to a backend, used for one exchange at a time, kept for the next one when
 * both sides allow it. The mirror of server.h:
 *
 *     send     write*   end                          (by the owner)
 *     on_inform*  on_response  on_body*  on_response_end
 *     on_done or on_abort                            (last callback of this exchange)
 *
 * After on_done, dm_http_peer_is_reusable() tells whether the connection may be kept: an idle one calls on_idle_end when the
 * backend closes it. Inside on_done the owner keeps it, closes it, or sends the next request.
 *
 * C1. on_done may come from inside dm_http_peer_end() when that is called in on_response_end; no other callback comes from
 *     inside a call.
 * C2. Bytes behind a response, or before its request left, are no response: they end the connection, with ABORT_FAULT and
 *     fault 0 for an exchange in hand.
 * C3. Nothing is sent outside a message's framing: what exceeds Content-Length is dropped; a request that ends with fewer
 *     bytes ends our direction; one whose head is above 128 KiB is not sent (ABORT_FAULT, DM_HTTP_HEAD_TOO_LARGE).
 *
 * Threads: one loop. Memory: an idle connection owns no buffer. */
#ifndef DM_HTTP_CLIENT_H
#define DM_HTTP_CLIENT_H

#include "http/message.h"
#include "io/loop.h"
#include "base/sys.h"

struct dm_http_client; /* settings, handler and free lists shared by connections of one owner */
struct dm_http_peer;   /* one connection to a backend */

struct dm_http_client_settings {
    struct dm_http_limits limits;
    size_t write_cap_bytes;
};
extern const struct dm_http_client_settings dm_http_client_defaults;

/* Per connection, given at connect. */
struct dm_http_peer_timeouts {
    uint32_t connect_ms;  /* 0 as in the others: no limit but the system's */
    uint32_t response_ms; /* from the end of the request to the end of the response head */
    uint32_t
        idle_ms; /* inside a body, without a byte in either direction while the backend is waited for; found up to a
                             quarter, at most 10 s, late */
};

struct dm_http_peer_handler {
    /* An interim response (1xx other than 101). May be NULL. */
    void (*on_inform)(void *user, struct dm_http_peer *peer, const struct dm_http_head *head);
    /* The owner may drop and add fields during the call. */
    void (*on_response)(void *user, struct dm_http_peer *peer, struct dm_http_head *head);
    size_t (*on_body)(void *user, struct dm_http_peer *peer, const char *ptr, size_t len);
    void (*on_response_end)(void *user, struct dm_http_peer *peer, const struct dm_http_head *trailers);
    void (*on_writable)(void *user, struct dm_http_peer *peer);
    /* The exchange is through. */
    void (*on_done)(void *user, struct dm_http_peer *peer);
    /* The exchange failed; the connection is closed and freed after the call. */
    void (*on_abort)(void *user, struct dm_http_peer *peer, struct dm_http_end end);
    /* An idle, kept connection ended; it is freed after the call. */
    void (*on_idle_end)(void *idle_user, struct dm_http_peer *peer);
};

struct dm_http_client *dm_http_client_new(struct dm_loop *loop, const struct dm_http_client_settings *settings,
                                          const struct dm_http_peer_handler *handler);
/* All connections must be closed before. Turns the loop until they are gone: not from a callback. */
void dm_http_client_free(struct dm_http_client *client);

/* Starts to connect. A send before the connection stands is kept and goes out with it. A failure that the kernel reports at
 * once comes as on_abort from the loop, never from inside this call, and not before send. */
struct dm_http_peer *dm_http_client_connect(struct dm_http_client *client, const struct dm_addr *addr,
                                            const struct dm_http_peer_timeouts *timeouts);
/* The exchange that owns the connection now; callbacks get it. Set before send. */
void dm_http_peer_set_user(struct dm_http_peer *peer, void *user);
void *dm_http_peer_user(const struct dm_http_peer *peer);

void dm_http_peer_send(struct dm_http_peer *peer, const struct dm_http_message *message);
size_t dm_http_peer_write(struct dm_http_peer *peer, const char *ptr, size_t len);
void dm_http_peer_end(struct dm_http_peer *peer, struct dm_str trailers);
/* Presents body bytes again that on_body did not take. */
void dm_http_peer_resume(struct dm_http_peer *peer);
/* Did a byte of the response arrive? A request on a kept connection that failed before may be sent again elsewhere. */
bool dm_http_peer_has_response(const struct dm_http_peer *peer);
/* Was this connection used before this exchange? */
bool dm_http_peer_is_reused(const struct dm_http_peer *peer);
/* In on_done: may it be kept? */
bool dm_http_peer_is_reusable(const struct dm_http_peer *peer);
/* Gives the connection to a pool: from here on on_idle_end is what comes, with idle_user, at the latest after idle_ms. */
void dm_http_peer_keep(struct dm_http_peer *peer, void *idle_user, uint32_t idle_ms);
/* Out of the pool again; set_user and send follow. */
void dm_http_peer_take(struct dm_http_peer *peer, const struct dm_http_peer_timeouts *timeouts);
/* Closes now; no callback follows. Of a request in hand nothing more is sent. */
void dm_http_peer_close(struct dm_http_peer *peer);
/* Where it is connected to. */
const struct dm_addr *dm_http_peer_addr(const struct dm_http_peer *peer);
uint64_t dm_http_peer_bytes_in(const struct dm_http_peer *peer);
uint64_t dm_http_peer_bytes_out(const struct dm_http_peer *peer);

#endif
