/* What the files of the server share: what connections of both protocols have. h1_server_int.h and h2_server_int.h add theirs.
 *
 * accepted --[first bytes: choose]--> HTTP/1.1 (struct dm_h1_conn)
 *                                 \-> HTTP/2   (struct dm_h2_conn)
 *
 * A connection is an HTTP/1.1 one until its first bytes say otherwise, in memory that fits both. */
#ifndef DM_HTTP_SERVER_INT_H
#define DM_HTTP_SERVER_INT_H

#include "base/buf.h"
#include "base/freelist.h"
#include "http/pace.h"
#include "http/server.h"
#include "io/stream.h"

#define DM_HTTP_DROP_MAX_BYTES (64u << 10) /* of a request's body that nobody wants */
#define DM_HTTP_LINGER_MS 2000             /* for the client to read our last answer */

/* What a protocol does with a request; as the functions of server.h. */
struct dm_http_request_ops {
    void (*inform)(struct dm_http_request *request, unsigned status, struct dm_str fields);
    void (*respond)(struct dm_http_request *request, const struct dm_http_message *message);
    size_t (*write)(struct dm_http_request *request, const char *ptr, size_t len);
    void (*end)(struct dm_http_request *request, struct dm_str trailers);
    void (*reply)(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body);
    void (*tunnel)(struct dm_http_request *request, const struct dm_http_message *message);
    void (*leave)(struct dm_http_request *request, struct dm_str last); /* of a tunnel */
    void (*abort)(struct dm_http_request *request, uint32_t code);
    void (*allow_silence)(struct dm_http_request *request, uint32_t idle_ms); /* NULL: of HTTP/1.1 */
    void (*resume)(struct dm_http_request *request);
    void (*ignore_body)(struct dm_http_request *request);
    bool (*limit_body)(struct dm_http_request *request, uint64_t max_bytes);
    void (*set_pace)(struct dm_http_request *request, uint32_t body_timeout_ms, uint32_t body_rate_bytes);
    uint64_t (*bytes_in)(const struct dm_http_request *request);
    uint64_t (*bytes_out)(const struct dm_http_request *request);
    uint32_t (*stream_id)(const struct dm_http_request *request); /* NULL: of HTTP/1.1 */
};

struct dm_http_request {
    const struct dm_http_request_ops *ops;
    struct dm_http_conn *conn;
    void *user;
};

/* What a protocol does with a connection. */
struct dm_http_conn_ops {
    /* Every request in hand fails; the owner is told last. */
    void (*fail)(struct dm_http_conn *conn, struct dm_http_end end);
    /* The server drains. */
    void (*drain)(struct dm_http_conn *conn);
    /* Closes if nothing is in hand. */
    void (*drain_end)(struct dm_http_conn *conn);
    void (*end_requests)(struct dm_http_conn *conn);
    /* The stream is closed: what the connection owns goes. */
    void (*done)(struct dm_http_conn *conn);
    /* The timeouts are others now; streams_max is lower now. NULL: of HTTP/1.1. */
    void (*heed_timeouts)(struct dm_http_conn *conn);
    void (*limit_streams)(struct dm_http_conn *conn);
};

/* An address of IPv6. Of a Unix socket's, its family is all that is kept. */
#define DM_HTTP_PEER_BYTES 28

/* The first member of either protocol's. */
struct dm_http_conn {
    struct dm_stream stream;
    struct dm_http_server *server;
    const struct dm_http_conn_ops *ops;
    struct dm_http_conn *next, *prev;
    void *user, *entry; /* the owner's */
    struct dm_timer timer;
    uint32_t head_timeout_ms, idle_timeout_ms, streams_max; /* as in the server's settings, or as the owner said */
    uint8_t peer[DM_HTTP_PEER_BYTES]; /* the beginning of its socket address, which is all there is of it */
    uint8_t peer_bytes;
    uint8_t n_looks; /* that did not say enough */
    bool is_surplus; /* above connections_max: only told so */
    bool is_unnamed; /* its PROXY header has not come */
};

struct dm_h2_shared;

struct dm_http_server {
    struct dm_loop *loop;
    struct dm_http_server_settings settings;
    const struct dm_http_handler *handler;
    void *arg;
    struct dm_http_conn *conns;
    struct dm_freelist free_conns;
    struct dm_stream_type first_type; /* until the protocol is known */
    struct dm_stream_type type;       /* HTTP/1.1 */
    struct dm_stream_type surplus_type;
    struct dm_http_server_stats *stats, own_stats;
    size_t n_surplus;
    struct dm_buf out; /* a head, or a chunk, while it is put together */
    size_t n_conns;
    dm_http_look_cb look; /* NULL: nobody looks */
    bool is_draining, has_drained;
    struct dm_h2_shared *h2;  /* NULL without HTTP/2 */
    struct dm_http_head head; /* of the message being parsed */
};

static inline struct dm_http_conn *dm_http_conn_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_conn, stream);
}

/* When it fires, the protocol's timer callback looks at the state. 0: never. */
static inline void dm_http_conn_arm(struct dm_http_conn *conn, uint32_t ms)
{
    if (DM_LIKELY(ms > 0))
        dm_timer_arm(conn->server->loop, &conn->timer, ms);
    else
        dm_timer_cancel(conn->server->loop, &conn->timer);
}

/* The stream failed: the owner hears of it, then what is in hand fails. */
void dm_http_conn_broken(struct dm_http_conn *conn, int code);
/* The client was too slow. */
void dm_http_conn_count_timeout(struct dm_http_conn *conn, enum dm_http_timeout what);
/* The stream is closed. */
void dm_http_conn_on_closed(struct dm_stream *stream);

#endif
