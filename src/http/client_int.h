/* What the files of the client share. One connection is two half machines, writing a request and reading its response:
 *
 * writing   NONE --[send]--> BODY --[end]--> DONE
 * reading   IDLE --[send]--> HEAD --[final head]--> BODY --[end]--> DONE        any --[fault, timeout]--> CLOSED
 * kept      after on_done, between keep and take: writing NONE, reading IDLE
 *
 * P1. has_exchange is true from send to on_done/on_abort; only then callbacks with the user come.
 * P2. A byte behind a response, on a kept connection, or before the first byte of a request has left is nobody's: it ends
 *     the connection, and the exchange that it would have answered (response smuggling).
 * P3. A response that is complete before its request ends the connection after it.
 * P4. The timer is armed wherever the backend is waited for; on_due() looks at the state and at the pace.
 * P5. A connection that fails while the owner has it between exchanges is dead: the next send, keep or close tells or frees.
 * P6. The memory goes when the owner has forgotten the connection and its stream is closed, and never inside a call. */
#ifndef DM_HTTP_CLIENT_INT_H
#define DM_HTTP_CLIENT_INT_H

#include "base/freelist.h"
#include "http/body.h"
#include "http/client.h"
#include "http/pace.h"
#include "http/writer.h"
#include "io/stream.h"

enum dm_http_peer_writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };
enum dm_http_peer_reading { READ_IDLE, READ_HEAD, READ_BODY, READ_DONE, READ_CLOSED };

struct dm_http_peer {
    struct dm_stream stream;
    struct dm_http_client *client;
    void *user;
    struct dm_timer timer;
    struct dm_task tell; /* of a dead connection: what the owner is to hear comes from the loop */
    struct dm_http_body body;
    struct dm_http_writer writer;
    struct dm_http_pace pace; /* both directions together */
    struct dm_http_peer_timeouts timeouts;
    struct dm_addr addr;
    struct dm_http_end end; /* why it is dead */
    size_t scan;
    uint64_t position;                  /* in the stream: where the bytes begin that are not consumed */
    uint64_t exchange_in, exchange_out; /* in the stream: where this exchange began */
    uint64_t head_due_ns;               /* when the response head is too late */
    uint32_t exchange;                  /* number of the exchange: an owner may begin the next one inside on_done */
    uint8_t writing, reading;
    uint8_t method; /* enum dm_http_method of the request in hand */
    bool has_exchange, is_kept, is_connected, is_reused, is_body_stalled;
    bool is_closing; /* not to be used again */
    bool is_dead, is_forgotten, is_stream_closed;
};

struct dm_http_client {
    struct dm_loop *loop;
    struct dm_http_client_settings settings;
    const struct dm_http_peer_handler *handler;
    struct dm_freelist free_peers;
    struct dm_stream_type type;
    struct dm_buf out;
    size_t n_owned;           /* connections that the owner has not forgotten */
    struct dm_http_head head; /* of the message being parsed */
};

static inline struct dm_http_peer *dm_http_peer_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_peer, stream);
}

static inline size_t dm_http_peer_unsent(const struct dm_http_peer *peer)
{
    return peer->is_dead ? 0 : dm_stream_unsent(&peer->stream);
}

/* client.c */

/* The exchange, or the idle connection, is over, and the owner hears of it; in neither, the connection is dead (P5). */
void dm_http_peer_fail(struct dm_http_peer *peer, struct dm_http_end end);
/* P5 */
void dm_http_peer_die(struct dm_http_peer *peer, struct dm_http_end end);
/* Who is waited for changed. */
void dm_http_peer_look(struct dm_http_peer *peer);
/* Until the next look at the pace. */
void dm_http_peer_arm_look(struct dm_http_peer *peer);
/* The request is sent from here on. */
void dm_http_peer_await_head(struct dm_http_peer *peer);

/* client_read.c */

/* When both sides are through. */
void dm_http_peer_maybe_done(struct dm_http_peer *peer);
size_t dm_http_peer_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_http_peer_on_eof(struct dm_stream *stream);

/* client_write.c */
void dm_http_peer_on_writable(struct dm_stream *stream);

#endif
