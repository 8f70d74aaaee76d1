/* What the client's files share: the part of a connection that all protocols have, and what a protocol does.
 *
 * P1. A connection is its owner's until on_end or dm_http_peer_close(), whichever is first.
 * P2. One that fails inside a function called by its owner is dead: what is to be told comes from the loop.
 * P3. The memory goes when neither owner nor call has the connection and its stream is closed, and never inside a call. */
#ifndef DM_HTTP_CLIENT_INT_H
#define DM_HTTP_CLIENT_INT_H

#include "base/buf.h"
#include "base/freelist.h"
#include "http/client.h"
#include "http/h2_memory.h"
#include "io/stream.h"
#include "io/tls.h"

#define DM_HTTP_HEAD_OUT_MAX (128u << 10)
#define DM_HTTP_INTERIM_MAX 32 /* responses before the final one of a call */

/* As the functions of client.h. */
struct dm_http_call_ops {
    void (*send)(struct dm_http_call *call, const struct dm_http_message *message);
    size_t (*write)(struct dm_http_call *call, const char *ptr, size_t len);
    void (*end)(struct dm_http_call *call, struct dm_str trailers);
    void (*resume)(struct dm_http_call *call);
    void (*leave)(struct dm_http_call *call, struct dm_str last); /* of a tunnel */
    void (*cancel)(struct dm_http_call *call);
    bool (*has_response)(const struct dm_http_call *call);
    uint64_t (*bytes_in)(const struct dm_http_call *call);
    uint64_t (*bytes_out)(const struct dm_http_call *call);
};

struct dm_http_call {
    const struct dm_http_call_ops *ops;
    struct dm_http_peer *peer;
    void *user;
    struct dm_http_timeouts timeouts;
    bool is_reused, is_http2;
    uint8_t n_interim;
};

struct dm_http_peer_ops {
    struct dm_http_call *(*open)(struct dm_http_peer *peer, const struct dm_http_timeouts *timeouts);
    bool (*has_room)(const struct dm_http_peer *peer);
    bool (*has_calls)(const struct dm_http_peer *peer);
    bool (*is_new)(const struct dm_http_peer *peer);
    uint32_t (*calls_max)(const struct dm_http_peer *peer); /* NULL: it never says */
    /* The owner has forgotten it. */
    void (*leave)(struct dm_http_peer *peer);
    /* Owner and calls are told of the end, with the stream closed. */
    void (*fail)(struct dm_http_peer *peer, struct dm_http_end end);
    void (*free)(struct dm_http_peer *peer);
};

struct dm_http_peer {
    struct dm_stream stream;
    const struct dm_http_peer_ops *ops;
    struct dm_http_client *client;
    void *owner;
    struct dm_timer timer;
    struct dm_task tell; /* P2 */
    struct dm_addr addr;
    struct dm_http_tls *tls;
    uint64_t *counter;
    struct dm_http_end end; /* why it is dead */
    bool is_owned, is_connected, is_dead;
    bool is_closed; /* by us */
    bool is_lingering;
    bool is_stream_closed;            /* and the stream is gone */
    struct dm_http_peer *next, *prev; /* while the rest of its output is sent after it was closed */
};

struct dm_http_tls {
    struct dm_tls_client *client;
    struct dm_tls_session session;
    uint32_t refs;
};

struct dm_http_client {
    struct dm_loop *loop;
    struct dm_http_client_settings settings;
    const struct dm_http_peer_handler *peer_handler;
    const struct dm_http_call_handler *handler;
    struct dm_freelist free_h1_peers;
    struct dm_stream_type h1_type;
    /* HTTP/2 */
    struct dm_stream_type h2_type;
    struct dm_h2_memory h2_memory;
    struct dm_freelist free_h2_peers, free_h2_calls, free_pieces, free_waiting;
    nghttp2_session_callbacks *h2_callbacks;
    nghttp2_option *h2_option;
    char *h2_text; /* of the header block being received */
    nghttp2_nv h2_fields[DM_HTTP_FIELDS_MAX + 32];
    struct dm_http_client_counters counters;
    struct dm_buf out;
    struct dm_http_peer *lingering;
    size_t n_open;            /* connections that are not closed by us */
    struct dm_http_head head; /* of the message being parsed */
};

static inline struct dm_http_peer *dm_http_peer_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_peer, stream);
}

static inline size_t dm_http_peer_unsent(const struct dm_http_peer *peer)
{
    return peer->is_closed ? 0 : dm_stream_unsent(&peer->stream);
}

/* client.c */

/* An interim response came. 0: it was passed on; a negative fault: it was one too many. */
DM_MUST_USE int dm_http_call_inform(struct dm_http_call *call, const struct dm_http_head *head);

/* Fills a zeroed connection and connects it. */
void dm_http_peer_start(struct dm_http_peer *peer, struct dm_http_client *client,
                        const struct dm_http_peer_settings *settings, const struct dm_stream_type *type, void *owner);
/* 0: never. */
void dm_http_peer_arm(struct dm_http_peer *peer, uint32_t ms);
/* Closes the stream; nothing more comes from it. */
void dm_http_peer_cut(struct dm_http_peer *peer);
/* The same, so that the backend can tell it from an end, which for some is but a half-close: a reset in clear text. It leaves no
 * address in TIME_WAIT either, of which there are but so many to one backend. */
void dm_http_peer_cut_short(struct dm_http_peer *peer);
/* The same of one without a call, with TLS's goodbye. */
void dm_http_peer_cut_idle(struct dm_http_peer *peer);
/* The same, once what was written is sent and the backend has closed too, at the latest after linger_ms. */
void dm_http_peer_cut_gracefully(struct dm_http_peer *peer, uint32_t linger_ms);
/* P2 */
void dm_http_peer_die(struct dm_http_peer *peer, struct dm_http_end end);
/* The owner hears on_end, if it still has the connection. */
void dm_http_peer_tell_end(struct dm_http_peer *peer);
/* The flow may go with the owner and the last call: from there on the connection, which may linger, is nobody's work. */
void dm_http_peer_leave_flow(struct dm_http_peer *peer);
/* P3, behind the last call of a connection that was cut. */
void dm_http_peer_free_later(struct dm_http_peer *peer);
/* What a failure of the stream, or its end (0), is for the calls. */
struct dm_http_end dm_http_peer_end_of(const struct dm_http_peer *peer, int code);
/* of the stream */
void dm_http_peer_on_closed(struct dm_stream *stream);

#endif
