/* A connection of HTTP/1.1: two half machines, writing a request and reading its response, for one call at a time.
 *
 * writing   NONE --[send]--> BODY --[end]--> DONE
 * reading   IDLE --[open]--> HEAD --[final head]--> BODY --[end]--> DONE        any --[fault, timeout, cancel]--> CLOSED
 *           HEAD --[cancel, nothing has left]--> IDLE
 * kept      between calls, also while it is being made: writing NONE, reading IDLE
 * tunnel    HEAD, writing DONE --[101]--> both TUNNEL --[half-close]--> DONE
 *
 * P1. has_call is true from open to on_done/on_abort; only then callbacks with the user come.
 * P2. A byte behind a response, on a kept connection, or before the first byte of a request has left is nobody's: it ends
 *     the connection, and the call that it would have answered (response smuggling); on a kept connection as one that was not begun.
 * P3. A response that is complete before its request ends the connection after it.
 * P4. Trailers of a request end the connection after it: there are servers that take them for fields of the next one (aiohttp 3.8).
 * P5. The timer is armed wherever the backend is waited for; on_due() looks at the state and at the pace.
 * P6. A call that is cancelled before anything of its request has left costs no connection: the request is taken back, also while
 *     the connection is being made, and the next call begins where this one did. */
#ifndef DM_HTTP_H1_CLIENT_INT_H
#define DM_HTTP_H1_CLIENT_INT_H

#include "http/body.h"
#include "http/client_int.h"
#include "http/pace.h"
#include "http/writer.h"

enum dm_h1_peer_writing { WRITE_NONE, WRITE_BODY, WRITE_TUNNEL, WRITE_DONE };
enum dm_h1_peer_reading { READ_IDLE, READ_HEAD, READ_BODY, READ_TUNNEL, READ_DONE, READ_CLOSED };

struct dm_h1_peer {
    struct dm_http_peer base;
    struct dm_http_call call; /* the one in hand, or the last one */
    struct dm_http_body body;
    struct dm_http_writer writer;
    struct dm_http_pace pace; /* both directions together */
    size_t scan;
    uint64_t position;          /* in the stream: where the bytes begin that are not consumed */
    uint64_t call_in, call_out; /* in the stream: where this call began */
    uint64_t head_due_ns;       /* when the response head is too late */
    uint64_t tunnel_due_ns;     /* when it has lived long enough */
    char *protocol;             /* that was asked for; heap or NULL */
    uint32_t n_calls;           /* number of the call: the next one may begin inside on_done */
    uint8_t writing, reading;
    uint8_t method; /* enum dm_http_method of the request in hand */
    bool has_call, is_body_stalled;
    bool is_closing, is_last_call;            /* not to be used again; if anything of this call leaves */
    bool has_waiting_output, has_ended_early; /* before the tunnel stood */
};

static inline struct dm_h1_peer *dm_h1_peer_of(struct dm_http_peer *peer)
{
    return DM_CONTAINER_OF(peer, struct dm_h1_peer, base);
}

static inline struct dm_h1_peer *dm_h1_peer_of_stream(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_h1_peer, base.stream);
}

static inline struct dm_h1_peer *dm_h1_peer_of_call(struct dm_http_call *call)
{
    return DM_CONTAINER_OF(call, struct dm_h1_peer, call);
}

/* h1_client.c */

void dm_h1_client_init(struct dm_http_client *client);
void dm_h1_client_done(struct dm_http_client *client);
struct dm_http_peer *dm_h1_peer_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                        void *owner);
/* The connection is over; its owner and the call in hand hear of it. */
void dm_h1_peer_fail(struct dm_h1_peer *peer, struct dm_http_end end);
/* The call is through: the connection is kept or closed. */
void dm_h1_peer_done(struct dm_h1_peer *peer);
/* Who is waited for changed. */
void dm_h1_peer_look(struct dm_h1_peer *peer);
/* Until the next look at the pace. */
void dm_h1_peer_arm_look(struct dm_h1_peer *peer);
/* The request is sent from here on. */
void dm_h1_peer_await_head(struct dm_h1_peer *peer);

/* h1_client_read.c */

/* When both sides are through. */
void dm_h1_peer_maybe_done(struct dm_h1_peer *peer);
size_t dm_h1_peer_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_h1_peer_on_eof(struct dm_stream *stream);
void dm_h1_call_resume(struct dm_http_call *call);

/* h1_client_tunnel.c */

/* Is this 101 what was asked for? Then the tunnel has begun, and the owner knows. */
bool dm_h1_tunnel_begin(struct dm_h1_peer *peer, struct dm_http_head *head);
/* Returns whether all was taken. */
bool dm_h1_tunnel_read(struct dm_h1_peer *peer, const char *ptr, size_t len);
void dm_h1_tunnel_on_eof(struct dm_h1_peer *peer);
size_t dm_h1_tunnel_write(struct dm_h1_peer *peer, const char *ptr, size_t len);
void dm_h1_tunnel_end(struct dm_h1_peer *peer);
void dm_h1_tunnel_on_due(struct dm_h1_peer *peer);
void dm_h1_tunnel_leave(struct dm_h1_peer *peer, struct dm_str last);
/* Behind its call. */
void dm_h1_tunnel_close(struct dm_h1_peer *peer);

/* h1_client_write.c */

void dm_h1_peer_on_writable(struct dm_stream *stream);
void dm_h1_call_send(struct dm_http_call *call, const struct dm_http_message *message);
size_t dm_h1_call_write(struct dm_http_call *call, const char *ptr, size_t len);
void dm_h1_call_end(struct dm_http_call *call, struct dm_str trailers);

#endif
