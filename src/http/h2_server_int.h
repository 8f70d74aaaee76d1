/* What the files of HTTP/2's server side share: a connection, which is an nghttp2 session without I/O, and its streams, each with
 * one request.
 *
 * request    BODY --[END_STREAM, all taken]--> COMPLETE
 *            BODY --[head of a tunnel request]--> OFFERED --[tunnel]--> BODY       (what comes in OFFERED is kept)
 *            a tunnel --[leave]--> no request; both directions end, or the stream is reset after a while
 * response   NONE --[respond, tunnel, reply]--> BODY --[end]--> ENDING --[END_STREAM is out]--> DONE
 * connection OPEN --[drain]--> NOTICED --[PING answered, or drain_idle_ms]--> FINAL --[no streams]--> closed
 *            any --[abuse, fault, idle]--> GOAWAY, closed                any --[socket]--> closed
 *
 * Everything below is called from one of three places: from the loop (on_read, timers, the task), which calls nghttp2, which calls
 * back (h2_read.c); from the owner, inside one of those callbacks or at any other time (h2_write.c).
 *
 * Q1. nghttp2 is never entered while it is at work: is_busy is set around its calls, and what the owner does meanwhile is only
 *     submitted. It goes out when nghttp2 has returned.
 * Q2. Owners are told from inside nghttp2 of heads and bodies alone. Ends (on_done, on_abort) and room (on_writable) wait in lists
 *     until nghttp2 has returned: run_lists(). One exception: on_done of the request that dm_http_request_end() or _reply() is
 *     called for.
 * Q3. A stream is freed when nghttp2 has closed it and its owner was told. has_request is true from on_request to on_done/on_abort.
 * Q4. Body bytes that the owner does not take are kept, and their credit is not given back: at most a stream's window of one
 *     stream, at most the connection's window of all.
 * Q5. Response bytes are nobody's but the caller's: they go out during write(), as far as windows and the stream's room let
 *     them, or are not taken. Only replies and trailers are copied, when they have to wait.
 * Q6. A header block is put together in the server's scratch memory. One that waits for more bytes is moved out at the end of the
 *     read, and is timed from there.
 * Q7. One read gives out DM_H2_READ_WORK (h2_scan.h) at most; the rest of the bytes waits its turn. With a full output queue nothing is read.
 * Q8. Of streams that are over nothing is kept but the highest that we reset: up to there the client may not have known, and what it
 *     sends is dropped. Beyond, it had ended them itself.
 * Q9. A request that is reset by bytes which are there already is not begun: its owner never knows of it. */
#ifndef DM_HTTP_H2_SERVER_INT_H
#define DM_HTTP_H2_SERVER_INT_H

#include <nghttp2/nghttp2.h>

#include "http/h2_fields.h"
#include "http/h2_guard.h"
#include "http/h2_memory.h"
#include "http/h2_scan.h"
#include "http/server_int.h"

enum {
    DM_H2_NV_MAX = 2 * DM_HTTP_FIELDS_MAX,
    DM_H2_PIECE_BYTES = 16 << 10,
    DM_H2_NAMES_BYTES = 128 << 10, /* of lines whose names are lowered: as many as HTTP/1.1 takes */
};

enum dm_h2_reading { H2_READ_BODY, H2_READ_OFFERED, H2_READ_COMPLETE };
enum dm_h2_writing { H2_WRITE_NONE, H2_WRITE_BODY, H2_WRITE_ENDING, H2_WRITE_DONE };
enum dm_h2_drain { H2_OPEN, H2_NOTICED, H2_FINAL };

/* Body bytes that wait for the owner. */
struct dm_h2_piece {
    struct dm_h2_piece *next;
    uint32_t start, end; /* of what is not taken in data */
    char data[DM_H2_PIECE_BYTES - 16];
};

struct dm_h2_stream;
struct dm_h2_link {
    struct dm_h2_link *next, *prev; /* next is NULL: in no list */
};

struct dm_h2_stream {
    struct dm_http_request request;
    struct dm_h2_link link; /* of the connection's streams */
    struct dm_h2_link todo; /* Q2 */
    int32_t id;
    uint8_t reading, writing;
    uint8_t why; /* enum dm_http_abort: what the owner is to be told; 0: done */
    uint8_t fault;
    bool has_request, is_gone; /* Q3 */
    bool is_ending_told;       /* the end waits to be told: for the owner's calls it is over */
    bool has_end;              /* END_STREAM came */
    bool is_ignoring, is_expecting, is_head_request, is_resumed;
    bool may_tunnel, is_tunnel;
    bool may_be_silent; /* for silence_ms, both sides together */
    bool has_length;    /* the response's: ends with length_left 0 */
    bool has_open_end;  /* not before the owner ends it, though it has a length: trailers may follow */
    bool is_bodiless;   /* the response's head ends it */
    bool end_out;       /* END_STREAM is out */
    bool is_offered;    /* nghttp2 knows of the response's body */
    bool is_presenting; /* is not freed meanwhile */
    bool is_deferred;   /* nghttp2 waits for us */
    bool wants_writable;
    bool needs_room;                  /* deferred because the queue is full */
    bool is_owned, is_trailers_owned; /* our own copies */
    struct dm_h2_piece *first, *last;
    struct dm_h2_parked *late; /* trailers that came behind kept bytes */
    uint32_t kept_bytes;
    uint32_t silence_ms;
    uint64_t body_left; /* of Content-Length; UINT64_MAX without */
    uint64_t body_in, body_max;
    uint32_t body_timeout_ms, body_rate_bytes; /* as in the server's settings, or as the owner said */
    const char *out;                           /* what is to be sent now; Q5 */
    size_t out_len, out_at;
    struct dm_str trailers; /* behind out */
    uint64_t length_left;
    uint64_t bytes_in, bytes_out;
    uint64_t begun_ns, tunnel_due_ns;
    struct dm_http_pace in, out_pace;
};

struct dm_h2_conn {
    struct dm_http_conn base;
    nghttp2_session *session;
    struct dm_h2_link streams, ended, writable; /* rings */
    struct dm_task task;                        /* run_lists, after the owner's calls */
    struct dm_h2_guard guard;
    struct dm_h2_parked *parked;
    struct dm_h2_stream *block_stream;
    uint64_t block_due_ns, drain_due_ns, idle_since_ns;
    uint64_t armed_ns;       /* when the timer fires */
    struct dm_http_pace out; /* of the queue, whatever stream it is of */
    uint32_t n_streams, block_bytes, work;
    uint32_t body_timeout_ms; /* the shortest of any request; 0: none */
    uint32_t scan_left;       /* of a payload, or the preface */
    uint8_t scan_head[13], scan_have;
    uint8_t n_continuations, drain;
    uint8_t end_why;              /* enum dm_http_abort: the connection is to end; 0: not */
    uint8_t last_type;            /* of the latest frame */
    uint32_t end_code;            /* of GOAWAY */
    uint32_t newest_id, reset_id; /* Q8 */
    uint32_t cancelled_id;        /* by the latest RST_STREAM that came */
    uint32_t gap_from, gap_to;    /* the latest identifiers that were left out lie between these */
    uint32_t initial_max;         /* the largest initial window that SETTINGS being received may set (h2_read.c) */
    bool is_telling : 1;          /* from run_lists: on_done waits */
    bool has_block : 1;           /* Q6: a header block is under way, in the shared memory or parked */
    bool is_busy : 1, is_closed : 1, is_held : 1;
    bool has_blamed : 1; /* the end is counted */
    bool has_failed : 1; /* nghttp2 found a fault of the connection and has said GOAWAY: streams don't go on */
    bool is_parting : 1; /* the client has said GOAWAY */
};

/* A block that waits, with its head and text. */
struct dm_h2_parked {
    struct dm_h2_block block;
    struct dm_http_head head;
    char text[];
};

struct dm_h2_shared {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct dm_h2_memory memory;
    struct dm_freelist streams, pieces, parked;
    struct dm_stream_type type;
    struct dm_h2_block block; /* Q6: the one that is being put together, in server->head */
    char *text;               /* its text */
    struct dm_h2_openings openings;
    char names[DM_H2_NAMES_BYTES];
    nghttp2_nv nv[DM_H2_NV_MAX];
};

static inline struct dm_h2_conn *dm_h2_conn_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_h2_conn, base.stream);
}

static inline struct dm_h2_stream *dm_h2_stream_of(const struct dm_http_request *request)
{
    return DM_CONTAINER_OF(request, struct dm_h2_stream, request);
}

static inline struct dm_h2_conn *dm_h2_conn_of_stream(const struct dm_h2_stream *s)
{
    return (struct dm_h2_conn *)s->request.conn;
}

/* May the owner do anything with it? */
static inline bool dm_h2_stream_is_open(const struct dm_h2_stream *s)
{
    return s->has_request && !s->is_ending_told && !dm_h2_conn_of_stream(s)->is_closed;
}

static inline struct dm_h2_shared *dm_h2_shared_of(const struct dm_h2_conn *c)
{
    return c->base.server->h2;
}

static inline struct dm_http2_counters *dm_h2_counters_of(const struct dm_h2_conn *c)
{
    return &c->base.server->stats->http2;
}

static inline bool dm_h2_is_ring_empty(const struct dm_h2_link *ring)
{
    return ring->next == ring;
}

static inline void dm_h2_ring_add(struct dm_h2_link *ring, struct dm_h2_link *link)
{
    link->next = ring;
    link->prev = ring->prev;
    ring->prev->next = link;
    ring->prev = link;
}

static inline void dm_h2_ring_del(struct dm_h2_link *link)
{
    if (!link->next)
        return;
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = NULL;
}

/* h2_shared.c: what a server's connections share */
struct dm_h2_shared *dm_h2_shared_new(const struct dm_http_server_settings *settings);
void dm_h2_shared_free(struct dm_h2_shared *shared);
const struct dm_stream_type *dm_h2_type(const struct dm_http_server *server);

/* h2_conn.c: the life of a connection */

/* The first bytes of an accepted connection are HTTP/2's; none was consumed. */
void dm_h2_conn_init(struct dm_h2_conn *conn);
/* The connection is at its end for this abuse, once nghttp2 has returned. */
void dm_h2_conn_blame(struct dm_h2_conn *conn, enum dm_h2_abuse abuse);
/* The same for a frame against the protocol. */
void dm_h2_conn_end(struct dm_h2_conn *conn, uint32_t code);
/* The client is told to begin nothing more (GOAWAY); the connection closes behind what is in hand. */
void dm_h2_conn_part(struct dm_h2_conn *conn);
/* A request may be silent for so long: looks are as frequent as that asks for. */
void dm_h2_conn_heed_timeout(struct dm_h2_conn *conn, uint32_t body_timeout_ms);
/* Spends; blames when the budget is used up. */
void dm_h2_conn_spend(struct dm_h2_conn *conn, enum dm_h2_abuse abuse, unsigned n);
/* Lets nghttp2 send, and the owner know what that changed, now or (inside the owner's calls) in a task. */
void dm_h2_conn_send(struct dm_h2_conn *conn);
void dm_h2_conn_run_later(struct dm_h2_conn *conn);
/* Streams must move from now on. */
void dm_h2_conn_look(struct dm_h2_conn *conn);
/* The last stream is gone: idle from now on, or through. */
void dm_h2_conn_rest(struct dm_h2_conn *conn);
/* The client answered a PING. */
void dm_h2_conn_on_pong(struct dm_h2_conn *conn, const uint8_t opaque[8]);
/* Also ends the connection if that is due. From the loop only. */
void dm_h2_conn_settle(struct dm_h2_conn *conn);
size_t dm_h2_conn_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_h2_conn_on_eof(struct dm_stream *stream);
void dm_h2_conn_on_error(struct dm_stream *stream, int code);
void dm_h2_conn_on_writable(struct dm_stream *stream);

/* h2_stream.c: the life of a stream */
struct dm_h2_stream *dm_h2_stream_new(struct dm_h2_conn *conn, int32_t id);
/* nghttp2 has closed it. */
void dm_h2_stream_gone(struct dm_h2_stream *s, uint32_t code);
/* The connection has ended: so has the stream, whatever it was at. */
void dm_h2_stream_abandon(struct dm_h2_stream *s, enum dm_http_abort why);
/* Frees if Q3 lets. */
void dm_h2_stream_maybe_free(struct dm_h2_stream *s);
/* Is the owner to hear that it is done? Then it waits in the list of ends. */
void dm_h2_stream_maybe_done(struct dm_h2_stream *s);
/* The same as request->ops->resume. */
void dm_h2_stream_resume(struct dm_h2_stream *s);
/* Tells the owner the end that waits. */
void dm_h2_stream_tell_end(struct dm_h2_stream *s);
/* Resets, with the owner told later; it is at fault, or too slow. */
void dm_h2_stream_fail(struct dm_h2_stream *s, enum dm_http_abort why, int fault, uint32_t code);
/* The same, with an answer if there can be one. */
void dm_h2_stream_refuse(struct dm_h2_stream *s, struct dm_http_end end, unsigned status);
/* Who is waited for may have changed. */
void dm_h2_stream_look(struct dm_h2_stream *s);
/* The time of a tunnel is over: its owner leaves it, or it fails. With is_busy set, so that it is not freed meanwhile. */
void dm_h2_stream_end_tunnel(struct dm_h2_stream *s, enum dm_http_abort why);
/* The server goes: the owner ends it. With is_busy set. */
void dm_h2_stream_go(struct dm_h2_stream *s);
/* Too slow? Then it fails. */
void dm_h2_stream_judge(struct dm_h2_stream *s);
/* Body bytes that just came: to the owner, to nobody, or kept. */
void dm_h2_stream_deliver(struct dm_h2_stream *s, const char *ptr, size_t len);
/* END_STREAM came; trailers (NULL: none) are borrowed, and stand in `block`. */
void dm_h2_stream_deliver_end(struct dm_h2_stream *s, struct dm_h2_block *block);
/* Gives what is kept to the owner, and the end behind it. */
void dm_h2_stream_present(struct dm_h2_stream *s);
void dm_h2_stream_drop_kept(struct dm_h2_stream *s);

/* h2_read.c: what nghttp2 calls for what came */
void dm_h2_read_callbacks(nghttp2_session_callbacks *callbacks);
/* We reset it, or nghttp2 did. */
void dm_h2_note_reset(struct dm_h2_conn *conn, int32_t id);
/* Q8 */
void dm_h2_guard_closed(struct dm_h2_conn *conn, uint32_t id);
/* Q6 */
void dm_h2_block_park(struct dm_h2_conn *conn);
void dm_h2_block_unpark(struct dm_h2_conn *conn);

/* h2_write.c: what the owner does, and what nghttp2 calls for what is sent */
extern const struct dm_http_request_ops dm_h2_request_ops;
void dm_h2_write_callbacks(nghttp2_session_callbacks *callbacks);
/* Answers a stream without an owner: whole. */
void dm_h2_stream_answer(struct dm_h2_stream *s, const struct dm_http_message *message, struct dm_str body);
/* There is room in the stream's queue again. */
void dm_h2_stream_has_room(struct dm_h2_stream *s);
void dm_h2_stream_drop_out(struct dm_h2_stream *s);

#endif
