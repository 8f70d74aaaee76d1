/* What the files of HTTP/1.1's server side share: a connection and its two half machines, reading and writing one request at a
 * time.
 *
 * reading   IDLE --[first byte]--> HEAD --[head]--> BODY --[end]--> COMPLETE --[response through]--> IDLE
 *           COMPLETE --[response through, output queue full]--> HELD --[room]--> IDLE
 *           COMPLETE --[tunnel]--> TUNNEL --[client's half-close]--> COMPLETE        tunnel --[leave]--> LEAVING
 *           any --[last answer given]--> LEAVING --[all of it sent]--> CLOSED        any --[abort]--> CLOSED
 * writing   NONE --[respond, tunnel]--> BODY --[end]--> DONE --[request complete]--> NONE
 *
 * C1. In COMPLETE and HELD nothing is parsed: bytes of the next request wait in the stream, which is paused.
 * C2. Between on_request and on_done/on_abort has_request is true, and only then handler callbacks with a user come.
 * C3. The timer is armed wherever the client is waited for; when it fires, on_due() looks at the state, so a state that waits
 *     for nobody need not cancel it.
 * C4. A request is given out only when there is room for output, and interim responses leave some: a response head is never
 *     refused by a full queue.
 * C5. A head is timed from its first byte. Bodies are timed by their pace (http/pace.h), each direction for itself.
 * C6. A tunnel is the connection's last request.
 * C7. A client that ended its direction behind a whole request gets the response as long as it goes on: once all of it is sent, the
 *     owner may be silent for half_closed_timeout_ms. */
#ifndef DM_HTTP_H1_SERVER_INT_H
#define DM_HTTP_H1_SERVER_INT_H

#include "http/body.h"
#include "http/server_int.h"
#include "http/writer.h"

enum dm_http_reading {
    READ_IDLE,
    READ_HEAD,
    READ_BODY,
    READ_COMPLETE,
    READ_HELD,
    READ_TUNNEL,
    READ_LEAVING,
    READ_CLOSED,
};
enum dm_http_writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };

struct dm_h1_conn {
    struct dm_http_conn base;
    struct dm_http_request request; /* the one in hand */
    struct dm_http_body body;
    struct dm_http_writer writer;
    struct dm_http_pace in, out;      /* of a tunnel: in counts both directions */
    size_t scan;                      /* of the head */
    uint64_t position;                /* in the stream: where the bytes begin that are not consumed */
    uint64_t request_in, request_out; /* in the stream: where this request and its response began */
    uint64_t tunnel_due_ns;           /* 0: none */
    uint32_t drop_left;               /* bytes of a body that nobody wants */
    uint32_t body_timeout_ms,
        body_rate_bytes; /* of the latest request: as in the server's settings, or as its owner said */
    uint8_t reading, writing;
    bool has_request, is_http10, is_head_request, is_ignoring, is_expecting, has_eof;
    bool is_closing : 1; /* after this response */
    bool is_in_read : 1, is_body_stalled : 1;
    bool is_sending : 1; /* between requests, a client takes long over the last response */
    bool may_tunnel : 1, is_tunnel : 1;
};

static inline struct dm_h1_conn *dm_h1_conn_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_h1_conn, base.stream);
}

static inline struct dm_h1_conn *dm_h1_conn_of_request(const struct dm_http_request *request)
{
    return DM_CONTAINER_OF(request, struct dm_h1_conn, request);
}

/* h1_conn.c */

/* What streams of HTTP/1.1 do. */
void dm_h1_type_init(struct dm_stream_type *type, const struct dm_http_server_settings *settings);
/* Of a connection whose base is set, but for the stream. */
void dm_h1_conn_init(struct dm_h1_conn *conn);
/* Until the next look at the pace. */
void dm_h1_conn_arm_look(struct dm_h1_conn *conn);
/* The client has ended its direction, and its request was whole before. */
void dm_h1_conn_half_closed(struct dm_h1_conn *conn);
/* Until the next look at a tunnel, or its end. */
void dm_h1_conn_arm_tunnel(struct dm_h1_conn *conn);
/* Who is waited for changed. */
void dm_h1_conn_look(struct dm_h1_conn *conn);
void dm_h1_conn_close(struct dm_h1_conn *conn);
/* The same, so that the client sees that what it was being sent, if anything, is not whole. */
void dm_h1_conn_break(struct dm_h1_conn *conn);
/* The last answer is given: closes once it is sent. */
void dm_h1_conn_leave(struct dm_h1_conn *conn);
/* The request in hand fails, if there is one; the owner is told last. */
void dm_h1_conn_fail(struct dm_h1_conn *conn, struct dm_http_end end);
/* The same for one that the client is at fault for: it is answered so, unless a response has begun. */
void dm_h1_conn_refuse(struct dm_h1_conn *conn, struct dm_http_end end, unsigned status);

/* What the owner may do with a request in HTTP/1.1. */
extern const struct dm_http_request_ops dm_h1_request_ops;

/* h1_read.c: of the stream */
size_t dm_h1_conn_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_h1_conn_on_eof(struct dm_stream *stream);
/* The client ended its direction of a tunnel. */
void dm_h1_conn_end_tunnel(struct dm_h1_conn *conn);
/* When both sides are through. */
void dm_h1_conn_maybe_done(struct dm_h1_conn *conn);
void dm_h1_request_resume(struct dm_http_request *request);
void dm_h1_request_ignore_body(struct dm_http_request *request);
bool dm_h1_request_limit_body(struct dm_http_request *request, uint64_t max_bytes);

/* h1_write.c */
void dm_h1_conn_on_writable(struct dm_stream *stream);
void dm_h1_request_inform(struct dm_http_request *request, unsigned status, struct dm_str fields);
void dm_h1_request_respond(struct dm_http_request *request, const struct dm_http_message *message);
size_t dm_h1_request_write(struct dm_http_request *request, const char *ptr, size_t len);
void dm_h1_request_end(struct dm_http_request *request, struct dm_str trailers);
void dm_h1_request_reply(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body);
void dm_h1_request_tunnel(struct dm_http_request *request, const struct dm_http_message *message);
void dm_h1_request_leave(struct dm_http_request *request, struct dm_str last);
/* The code is HTTP/2's alone. */
void dm_h1_request_abort(struct dm_http_request *request, uint32_t code);
/* Answers what is no request and leaves. */
void dm_h1_conn_answer_fault(struct dm_h1_conn *conn, struct dm_http_end end, unsigned status);

#endif
