/* A server with a scripted owner, and a client that sends and receives raw bytes by hand, on the simulated system or the
 * kernel. What the owner hears is one word each in `heard`: "R" request, "B5" five bytes of body, "E" request end, "W"
 * writable, "D" done, "A:why" abort, "F:fault" a request that is none, "T:why" the time of a tunnel is over, "Q" that of a
 * request. */
#ifndef DM_TESTS_UNIT_HTTP_SERVER_RIG_H
#define DM_TESTS_UNIT_HTTP_SERVER_RIG_H

#include "base/sim.h"
#include "http/server.h"
#include "io/listener.h"
#include "words.h"

struct rig;

/* What the owner does; NULL: only takes note. */
struct script {
    void (*on_request)(struct rig *rig, struct dm_http_request *request, struct dm_http_head *head);
    size_t (*on_body)(struct rig *rig, struct dm_http_request *request, const char *ptr, size_t len);
    void (*on_request_end)(struct rig *rig, struct dm_http_request *request, const struct dm_http_head *trailers);
    void (*on_writable)(struct rig *rig, struct dm_http_request *request);
    void (*on_done)(struct rig *rig, struct dm_http_request *request);
    void (*on_abort)(struct rig *rig, struct dm_http_request *request);
    void (*on_tunnel_due)(struct rig *rig, struct dm_http_request *request);
    void (*on_request_due)(struct rig *rig, struct dm_http_request *request);
};

struct rig {
    struct dm_world *world; /* NULL: the kernel */
    struct dm_sys *sys;     /* of the server */
    struct dm_sys *client;
    struct dm_loop *loop;
    struct dm_listener listener;
    struct dm_http_server *server;
    struct dm_http_server_settings settings;
    struct script script;
    struct dm_http_request *request; /* of the latest request */
    struct dm_buf heard, got;        /* by the owner; by the client */
    struct dm_buf body;              /* of the requests */
    uint64_t left;                   /* of a response that the script streams */
    uint64_t bytes_in, bytes_out;
    unsigned timeouts[DM_HTTP_TIMEOUT_COUNT], n_refused; /* that the owner heard of; streams */
    int fd;
    bool is_ended; /* for the client: the server closed */
    bool is_reset;
    bool is_proxied; /* connections begin with a PROXY header */
};

extern struct rig rig;
extern const struct dm_http_handler rig_handler; /* takes notes and follows rig.script */

#define hear(...) words_add(&rig.heard, __VA_ARGS__)

/* --- the world ---------------------------------------------------------------------------------------------------- */

/* Empty, with the default settings, for a scene that sets some before it starts. */
void rig_clear(void);
/* The server with rig.settings and rig.script, and one connected client. The world becomes the rig's; NULL: the kernel. */
void rig_start(struct dm_world *world);
void rig_start_on(struct dm_world *world, struct dm_sys *sys, struct dm_sys *client);
/* In simulated time, with sockets that take 20,000 bytes and a server that queues 60,000. */
void rig_start_narrow(void);
void rig_stop(void);

/* Fixtures of cmocka. The first: simulated, or on the kernel if *state is not NULL. */
int rig_setup(void **state);
int rig_setup_narrow(void **state);
int rig_teardown(void **state);

/* Entries of a list of tests: on the kernel, and in both. */
#define KERNEL(name)                                                                                                   \
    {                                                                                                                  \
#name " (kernel)", name, rig_setup, rig_teardown, (void *)"real"                                               \
    }
#define BOTH(name) {#name, name, rig_setup, rig_teardown, NULL}, KERNEL(name)

/* A server with rig.settings as they are now, in the place of the one before, whose connections end. */
void rig_renew_server(void);
/* A new connection in the place of the client's. */
void rig_connect(void);
bool rig_is_open(void); /* the server has just one connection */

/* Receives at most max bytes of what is there. */
void rig_receive(size_t max);
/* One step of everything; false: nothing will happen by itself. */
bool rig_step(void);
/* In virtual time, in steps of at most a thousandth; the client does not read. */
void rig_pass_ms(uint64_t ms);
/* What was sent arrives, and what is in hand goes through. */
void rig_settle(void);
void rig_send_n(const char *ptr, size_t len);
void rig_send(const char *text);
/* Reads until as much came, or the server closed. */
void rig_read(size_t len);
void rig_read_all(void);

/* --- what came ---------------------------------------------------------------------------------------------------- */

/* Both empty what they look at; the second lets no more time pass. */
#define check_got(text) (rig_read(strlen(text)), check_text(&rig.got, (text), __FILE__, __LINE__))
#define check_got_now(text) (rig_receive(SIZE_MAX), check_text(&rig.got, (text), __FILE__, __LINE__))
#define check_heard(text) check_text(&rig.heard, (text), __FILE__, __LINE__)

bool has_heard(const char *text);
bool has_got(const char *text);
/* The latest request was done. */
void check_done(void);
/* The server has closed, with nothing before it and no reset; the second lets no more time pass. */
void check_ended(void);
void check_ended_now(void);
/* A request with a body was sent, which may not come at less than 100 bytes a second: it is cut in time, and not before. */
void check_slow_body_is_cut(void);
/* Every request that began was done or aborted. */
bool all_requests_ended(void);

/* --- scripts ------------------------------------------------------------------------------------------------------ */

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define HELLO_CLOSE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define TIMED_OUT "HTTP/1.1 408 Request Timeout\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"

void reply_hello(struct rig *r, struct dm_http_request *request);
/* on_request */
void hello_at_once(struct rig *r, struct dm_http_request *request, struct dm_http_head *head);
/* on_request_end */
void hello_at_end(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers);
/* on_writable: streams rig.left bytes 'x' */
void stream_more(struct rig *r, struct dm_http_request *request);
void begin_stream(struct rig *r, struct dm_http_request *request, enum dm_http_framing framing);
/* on_request: begin such a stream */
void stream_length(struct rig *r, struct dm_http_request *request, struct dm_http_head *head);
void stream_chunked(struct rig *r, struct dm_http_request *request, struct dm_http_head *head);
/* on_body */
size_t take_nothing(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len);

#endif
