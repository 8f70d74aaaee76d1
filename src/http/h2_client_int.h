/* A connection of HTTP/2 to a backend (RFC 9113): an nghttp2 session and the calls on its streams.
 *
 * reading   HEAD --[final head]--> BODY --[END_STREAM]--> ENDED --[all taken]--> DONE
 * writing   NONE --[send]--> BODY --[end]--> ENDED        NONE --[send of a tunnel before SETTINGS]--> HELD --[SETTINGS]--> BODY
 * A call is over with on_done, on_abort or cancel; what nghttp2 still knows of its stream belongs to nobody.
 *
 * H1. Inside nghttp2 (is_in_session) frames are only submitted; they leave when it has returned.
 * H2. Between enter and leave no call's memory is given back: whoever called its owner looks at is_over after.
 * H3. Nothing of a request's body is kept: a slice goes into frames inside dm_http_call_write(), as far as windows and the
 *     stream have room. Of a response what its owner does not take is kept, at most a stream's window; the window of the
 *     connection opens with arrival, so that one call that rests holds up no other.
 * H4. A frame that costs us work and brings nothing takes credit, one that brings something gives it; without credit the
 *     connection ends. A header block that unpacks to far more than a head may have ends it too.
 * H5. nghttp2's own checks of messages are off: heads and trailers are read by h2_fields, lengths are held here.
 * H6. A connection from which nothing came while a call waited in vain takes no calls until it has answered a PING. */
#ifndef DM_HTTP_H2_CLIENT_INT_H
#define DM_HTTP_H2_CLIENT_INT_H

#include "http/client_int.h"
#include "http/h2_fields.h"
#include "http/h2_memory.h"
#include "http/pace.h"

enum { DM_H2_LIMIT_NONE = 1 << 30, DM_H2_LINGER_MS = 1000 /* for the backend to end its direction */ };

enum dm_h2_call_reading { H2_READ_HEAD, H2_READ_BODY, H2_READ_ENDED, H2_READ_DONE };
enum dm_h2_call_writing { H2_WRITE_NONE, H2_WRITE_HELD, H2_WRITE_BODY, H2_WRITE_ENDED };

/* Of a response's body, not taken yet. */
struct dm_h2_piece {
    struct dm_h2_piece *next;
    uint32_t start, end;
    char data[4080];
};

/* A header block that its connection was cut in the middle of, or trailers whose body is not taken yet. */
struct dm_h2_waiting {
    struct dm_http_head head;
    char text[];
};

struct dm_h2_call {
    struct dm_http_call base;
    struct dm_h2_call *next, *prev;
    struct dm_timer timer;
    struct dm_task wake; /* on_writable, a body that is presented again, an end that comes from the loop */
    struct dm_http_pace pace;
    struct dm_http_end end; /* that wake tells */
    struct dm_h2_piece *kept, *last_kept;
    struct dm_h2_waiting *trailers_in;
    char *trailers;  /* of the request; heap or NULL */
    char *held;      /* a tunnel's request before SETTINGS; heap or NULL */
    const char *out; /* inside write: what frames are made of */
    size_t out_len;
    uint64_t in_left, out_left; /* of Content-Length */
    uint64_t bytes_in, bytes_out;
    uint64_t peer_bytes_in; /* of the connection, when the request was through */
    uint64_t due_ns;        /* of the response head, or a tunnel's end */
    int32_t stream_id;
    uint8_t reading, writing, method;
    uint8_t in_framing, out_framing;
    bool is_over, has_end, has_response, is_eof_sent, wants_writable, is_stalled;
    bool is_upgrading, is_tunnel, has_ended_early; /* the last: before the tunnel stood */
};

struct dm_h2_peer {
    struct dm_http_peer base;
    nghttp2_session *session;
    struct dm_h2_call *calls, *gone, *left; /* left: tunnels whose stream the backend may still end */
    struct dm_h2_block block;               /* being received, of block_call */
    struct dm_h2_call *block_call;
    struct dm_h2_waiting *block_memory;
    uint32_t n_calls,
        limit; /* limit: what the backend was seen to take, when it refused more, or is known for before it says */
    uint32_t kept_ms;
    int32_t credit;        /* H4 */
    uint64_t credit_ns;    /* when time last gave some */
    uint32_t payload_left; /* of the frame that is being received, as the walk over the bytes sees it */
    uint8_t frame_head[9], frame_head_len;
    uint32_t n_continuations;
    uint32_t depth; /* H2 */
    bool is_in_session, is_reading, wants_flush, wants_close, has_block;
    bool has_settings, is_going, is_suspect;
    struct dm_http_end end; /* why a callback has stopped the session */
};

static inline struct dm_h2_peer *dm_h2_peer_of(struct dm_http_peer *peer)
{
    return DM_CONTAINER_OF(peer, struct dm_h2_peer, base);
}

static inline struct dm_h2_peer *dm_h2_peer_of_stream(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_h2_peer, base.stream);
}

static inline struct dm_h2_call *dm_h2_call_of(struct dm_http_call *call)
{
    return DM_CONTAINER_OF(call, struct dm_h2_call, base);
}

static inline struct dm_h2_peer *dm_h2_call_peer(const struct dm_h2_call *call)
{
    return DM_CONTAINER_OF(call->base.peer, struct dm_h2_peer, base);
}

/* h2_client.c */

void dm_h2_client_init(struct dm_http_client *client);
void dm_h2_client_done(struct dm_http_client *client);
size_t dm_h2_client_used(const struct dm_http_client *client);
struct dm_http_peer *dm_h2_peer_connect(struct dm_http_client *client, const struct dm_http_peer_settings *settings,
                                        void *owner);
/* H2 */
void dm_h2_peer_enter(struct dm_h2_peer *peer);
void dm_h2_peer_leave(struct dm_h2_peer *peer);
void dm_h2_peer_fail(struct dm_h2_peer *peer, struct dm_http_end end);
/* There may be room again, or nothing left to stay for. */
void dm_h2_peer_settle(struct dm_h2_peer *peer);
/* The backend wants no more calls. */
void dm_h2_peer_go(struct dm_h2_peer *peer);
/* H6; trust: something came. */
void dm_h2_peer_probe(struct dm_h2_peer *peer);
void dm_h2_peer_trust(struct dm_h2_peer *peer);
struct dm_h2_call *dm_h2_peer_find(const struct dm_h2_peer *peer, int32_t stream_id);

/* h2_client_call.c */

/* There must be room for it. */
struct dm_http_call *dm_h2_call_open(struct dm_h2_peer *peer, const struct dm_http_timeouts *timeouts);
void dm_h2_call_free(struct dm_h2_call *call);
/* Of the response all is there, and of the request nothing left to send: only the owner is waited for. */
static inline bool dm_h2_call_is_whole(const struct dm_h2_call *call)
{
    return call->reading == H2_READ_ENDED && (!call->is_tunnel || call->writing == H2_WRITE_ENDED);
}
/* Both sides are through. */
void dm_h2_call_done(struct dm_h2_call *call);
/* The stream is reset with the code (unless it is closed: NO_ERROR), and the owner told. */
void dm_h2_call_abort(struct dm_h2_call *call, uint32_t code, struct dm_http_end end);
/* The same, told from the loop. */
void dm_h2_call_abort_later(struct dm_h2_call *call, struct dm_http_end end);
/* Who is waited for changed. */
void dm_h2_call_look(struct dm_h2_call *call);
/* As it stands now. */
void dm_h2_call_arm(struct dm_h2_call *call);
void dm_h2_call_await_head(struct dm_h2_call *call);
void dm_h2_call_begin_tunnel(struct dm_h2_call *call);
/* Time begins to count. */
void dm_h2_call_on_connected(struct dm_h2_call *call);

/* h2_client_read.c */

/* What nghttp2 is given for what it reads. */
void dm_h2_client_set_read_callbacks(nghttp2_session_callbacks *callbacks);
size_t dm_h2_peer_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_h2_call_resume(struct dm_http_call *base);
/* From the loop. */
void dm_h2_call_present(struct dm_h2_call *call);
void dm_h2_call_drop_kept(struct dm_h2_call *call);

/* h2_client_write.c */

void dm_h2_client_set_write_callbacks(nghttp2_session_callbacks *callbacks);
void dm_h2_peer_flush(struct dm_h2_peer *peer);
void dm_h2_peer_on_writable(struct dm_stream *stream);
void dm_h2_call_send(struct dm_http_call *base, const struct dm_http_message *m);
/* SETTINGS have come. */
void dm_h2_call_send_held(struct dm_h2_call *call);
size_t dm_h2_call_write(struct dm_http_call *base, const char *ptr, size_t len);
void dm_h2_call_end(struct dm_http_call *base, struct dm_str trailers);
/* Ends a tunnel's direction behind these bytes, of which nothing is kept: is_eof_sent says whether the windows let all of it out. */
void dm_h2_call_end_with(struct dm_h2_call *call, struct dm_str last);

#endif
