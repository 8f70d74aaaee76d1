/* What the files of the server share: a connection and its two half machines, reading and writing one request at a time.
 *
 * reading   IDLE --[first byte]--> HEAD --[head]--> BODY --[end]--> COMPLETE --[response through]--> IDLE
 *           COMPLETE --[response through, output queue full]--> HELD --[room]--> IDLE
 *           any --[last answer given]--> LEAVING --[all of it sent]--> CLOSED        any --[abort]--> CLOSED
 * writing   NONE --[respond]--> BODY --[end]--> DONE --[request complete]--> NONE
 *
 * C1. In COMPLETE and HELD nothing is parsed: bytes of the next request wait in the stream, which is paused.
 * C2. Between on_request and on_done/on_abort has_request is true, and only then handler callbacks with a user come.
 * C3. The timer is armed wherever the client is waited for; when it fires, on_due() looks at the state, so a state that waits
 *     for nobody need not cancel it.
 * C4. A request is given out only when there is room for output, and interim responses leave some: a response head is never
 *     refused by a full queue.
 * C5. A head is timed from its first byte. Bodies are timed by their pace (http/pace.h), each direction for itself. */
#ifndef DM_HTTP_SERVER_INT_H
#define DM_HTTP_SERVER_INT_H

#include "base/freelist.h"
#include "http/body.h"
#include "http/pace.h"
#include "http/server.h"
#include "http/writer.h"
#include "io/stream.h"

#define DM_HTTP_DROP_MAX_BYTES (64u << 10) /* of a request's body that nobody wants */

enum dm_http_reading { READ_IDLE, READ_HEAD, READ_BODY, READ_COMPLETE, READ_HELD, READ_LEAVING, READ_CLOSED };
enum dm_http_writing { WRITE_NONE, WRITE_BODY, WRITE_DONE };

/* What a protocol does with a request; as the functions of server.h. */
struct dm_http_request_ops {
    void (*inform)(struct dm_http_request *request, unsigned status, struct dm_str fields);
    void (*respond)(struct dm_http_request *request, const struct dm_http_message *message);
    size_t (*write)(struct dm_http_request *request, const char *ptr, size_t len);
    void (*end)(struct dm_http_request *request, struct dm_str trailers);
    void (*reply)(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body);
    void (*abort)(struct dm_http_request *request);
    void (*resume)(struct dm_http_request *request);
    void (*ignore_body)(struct dm_http_request *request);
    void (*limit_body)(struct dm_http_request *request, uint64_t max_bytes);
    uint64_t (*bytes_in)(const struct dm_http_request *request);
    uint64_t (*bytes_out)(const struct dm_http_request *request);
};

struct dm_http_request {
    const struct dm_http_request_ops *ops;
    struct dm_http_conn *conn;
    void *user;
};

struct dm_http_conn {
    struct dm_stream stream;
    struct dm_http_server *server;
    struct dm_http_conn *next, *prev;
    struct dm_http_request request; /* the one in hand */
    struct dm_timer timer;
    struct dm_addr peer;
    struct dm_http_body body;
    struct dm_http_writer writer;
    struct dm_http_pace in, out;
    size_t scan;                      /* of the head */
    uint64_t position;                /* in the stream: where the bytes begin that are not consumed */
    uint64_t request_in, request_out; /* in the stream: where this request and its response began */
    uint32_t drop_left;               /* bytes of a body that nobody wants */
    uint8_t reading, writing;
    bool has_request, is_http10, is_head_request, is_ignoring, is_expecting, has_eof;
    bool is_closing; /* after this response */
    bool is_in_read, is_body_stalled;
    bool is_sending; /* between requests, a client takes long over the last response */
};

struct dm_http_server {
    struct dm_loop *loop;
    struct dm_http_server_settings settings;
    const struct dm_http_handler *handler;
    void *arg;
    struct dm_http_conn *conns;
    struct dm_freelist free_conns;
    struct dm_stream_type type;
    struct dm_buf out; /* a head, or a chunk, while it is put together */
    size_t n_conns;
    bool is_draining;
    struct dm_http_head head; /* of the message being parsed */
};

static inline struct dm_http_conn *dm_http_conn_of(struct dm_stream *stream)
{
    return DM_CONTAINER_OF(stream, struct dm_http_conn, stream);
}

/* server.c */

/* 0: never. */
void dm_http_conn_arm(struct dm_http_conn *conn, uint32_t ms);
/* Until the next look at the pace. */
void dm_http_conn_arm_look(struct dm_http_conn *conn);
/* Who is waited for changed. */
void dm_http_conn_look(struct dm_http_conn *conn);
void dm_http_conn_close(struct dm_http_conn *conn);
/* The last answer is given: closes once it is sent. */
void dm_http_conn_leave(struct dm_http_conn *conn);
/* The request in hand fails, if there is one; the owner is told last. */
void dm_http_conn_fail(struct dm_http_conn *conn, struct dm_http_end end);
/* The same for one that the client is at fault for: it is answered so, unless a response has begun. */
void dm_http_conn_refuse(struct dm_http_conn *conn, struct dm_http_end end, unsigned status);

/* What the owner may do with a request in HTTP/1.1. */
extern const struct dm_http_request_ops dm_h1_request_ops;

/* server_read.c: of the stream */
size_t dm_http_conn_on_read(struct dm_stream *stream, const char *ptr, size_t len);
void dm_http_conn_on_eof(struct dm_stream *stream);
/* When both sides are through. */
void dm_http_conn_maybe_done(struct dm_http_conn *conn);
void dm_h1_request_resume(struct dm_http_request *request);
void dm_h1_request_ignore_body(struct dm_http_request *request);
void dm_h1_request_limit_body(struct dm_http_request *request, uint64_t max_bytes);

/* server_write.c */
void dm_http_conn_on_writable(struct dm_stream *stream);
void dm_h1_request_inform(struct dm_http_request *request, unsigned status, struct dm_str fields);
void dm_h1_request_respond(struct dm_http_request *request, const struct dm_http_message *message);
size_t dm_h1_request_write(struct dm_http_request *request, const char *ptr, size_t len);
void dm_h1_request_end(struct dm_http_request *request, struct dm_str trailers);
void dm_h1_request_reply(struct dm_http_request *request, struct dm_http_message *message, struct dm_str body);
void dm_h1_request_abort(struct dm_http_request *request);
/* Answers what is no request and leaves. */
void dm_http_conn_answer_fault(struct dm_http_conn *conn, struct dm_http_end end, unsigned status);

#endif
