/* A worker in this process, without keeper or controller: units are compiled from JSON bodies given by the test, traffic goes
 * over loopback sockets on the worker's own loop. For unit, wire and allocation tests of the gateway. */
#ifndef DM_TESTS_RIG_H
#define DM_TESTS_RIG_H

#include "gateway/worker.h"
#include "http/body.h"
#include "io/listener.h"
#include "io/stream.h"
#include "io/tls.h"

struct rig_origin;

struct rig {
    struct dm_sys sys; /* the kernel's, but for the clocks */
    struct dm_sys_ops sys_ops;
    uint64_t mono_shift_ns, held_ns; /* held_ns: 0, or when the clock was held */
    int64_t wall_shift_ns;
    struct dm_worker worker;
    struct dm_gateway_options options;
    struct dm_counters_page *counters;
    struct dm_listener door;
    struct dm_addr addr; /* where the worker listens */
    char dir[64];
    uint64_t next_sequence;
    bool may_be_old; /* rig_apply may give a unit that the worker drops */
};

void rig_init(struct rig *rig);
void rig_done(struct rig *rig);
/* Compiles the body (JSON, as in ARCHITECTURE.md) for the tenant and makes it live. Fails the test when it is refused. */
void rig_apply(struct rig *rig, const char *tenant, uint64_t tenant_id, enum dm_unit_kind kind, const char *body);
/* The keyed digest that rig_applications writes for a key, as hex into ret[65]. The digest key is 32 bytes of 0x11. */
void rig_digest(const char *key, char ret[65]);
/* Turns the loop until done(arg) or a bound of turns that fails the test. */
void rig_run_until(struct rig *rig, bool (*done)(void *arg), void *arg);

/* A client or origin socket driven by the rig's loop: what is written is sent, what comes is gathered. */
struct rig_socket {
    struct dm_stream stream;
    struct dm_buf received;
    size_t n_received; /* also after `received` was reset */
    bool has_eof, is_closed, is_failed;
    void *user;
    /* origins: the request being read */
    struct dm_http_body body;
    size_t parsed, scan;
    char asked[128];            /* "METHOD TARGET" */
    bool is_in_body, is_tunnel; /* tunnel: behind an answer with 101 */
};
/* The stream of a backend of its own kind; these are its type's on_eof, on_error and on_closed. */
struct rig_link {
    struct dm_stream stream;
    bool is_closed;
};
void rig_link_eof(struct dm_stream *stream);
void rig_link_error(struct dm_stream *stream, int code);
void rig_link_closed(struct dm_stream *stream);
/* Closes it, if need be, and turns until it is. */
void rig_link_close(struct rig *rig, struct rig_link *link);
/* Listens for backends' streams. */
void rig_listen(struct rig *rig, struct dm_listener *listener, struct dm_str addr,
                void (*on_peer)(struct dm_listener *listener, int fd, const struct dm_addr *peer));
/* Turns the loop as long as there is something to do at once. */
void rig_settle(struct rig *rig);
/* From here on no time goes by but with rig_pass(), however slow the machine is. */
void rig_hold_clock(struct rig *rig);
/* So much time goes by, in steps of at most step_ms between which the loop turns as long as there is something to do at once. */
void rig_pass(struct rig *rig, uint32_t ms, uint32_t step_ms);
/* How often the text stands in s. */
size_t rig_count(struct dm_str s, const char *text);
/* Turns until the socket has got the text so many times, or its end (fails the test). */
void rig_expect(struct rig *rig, struct rig_socket *socket, const char *text, size_t times);
/* Turns until the other side has ended the connection. */
void rig_expect_end(struct rig *rig, struct rig_socket *socket);
/* Connects to the worker. */
struct rig_socket *rig_connect(struct rig *rig);
void rig_send(struct rig_socket *socket, struct dm_str bytes);
void rig_close(struct rig *rig, struct rig_socket *socket);

/* A backend that records what it gets, reads it with the codec and answers each whole request with `answer`. */
struct rig_origin {
    struct rig *rig;
    struct dm_listener listener;
    struct dm_tls_acceptor *tls; /* NULL: clear text */
    struct rig_socket *sockets[512];
    size_t n_sockets;
    struct dm_str answer;                 /* empty: none */
    struct dm_str next_answer;            /* to a target with /next; empty: as the others */
    struct dm_str answer_once;            /* to the next request alone; empty: as the others */
    struct dm_buf requests;               /* "METHOD TARGET BYTES", or "METHOD TARGET early", of each, as lines */
    struct dm_buf received;               /* of all connections, in order of arrival */
    size_t n_accepted, n_requests, n_bad; /* bad: what was no request; the connection is closed */
    size_t n_resumed;                     /* requests on a TLS session that was there before */
    bool answers_early;                   /* on the head alone */
    bool closes;                          /* after each answer */
    bool cuts;                            /* closes instead of answering */
};
void rig_origin_init(struct rig *rig, struct rig_origin *origin, struct dm_str answer);
/* At an address, in place of a free port. */
void rig_origin_init_at(struct rig *rig, struct rig_origin *origin, struct dm_str addr, struct dm_str answer);
void rig_origin_done(struct rig_origin *origin);
uint16_t rig_origin_port(const struct rig_origin *origin);
/* Forgets what was received, here and on its sockets; counts stay. */
void rig_origin_reset(struct rig_origin *origin);

#endif
