/* A client with a scripted owner of its calls, and a backend's socket, in simulated time; what the backend says is
 * client_h1_rig.h's or client_h2_rig.h's. What the owner hears is one word each in `heard`, with "1:" before those of the second
 * call and so on: "I103" interim response, "R200" response, "B5" five bytes of body, "E" response end ("T" with trailers), "W"
 * writable (of HTTP/2), "D" done, "A:why" abort, "T:why" the time of a tunnel is over; of the connection "X", it ended while kept
 * (of HTTP/2: it takes no more calls). */
#ifndef DM_TESTS_UNIT_HTTP_CLIENT_RIG_H
#define DM_TESTS_UNIT_HTTP_CLIENT_RIG_H

#include "base/sim.h"
#include "http/client.h"
#include "words.h"

#define N_CALLS 120

struct rig {
    struct dm_world *world;
    struct dm_sys *sys, *backend_sys;
    struct dm_loop *loop;
    struct dm_http_client *client;
    struct dm_http_peer *peer; /* as its owner knows it */
    struct dm_http_call *calls[N_CALLS];
    struct dm_addr addr;
    struct dm_buf heard, body, got; /* by the owner; of the responses; by the backend */
    int listen_fd, fd;
    bool is_http2;
    bool is_kept;
    /* what the owner does */
    const struct dm_http_message *sends_at_room, *sends_at_end; /* on the first call; on the second. Once */
    bool cancels_at_response, cancels_at_body, cancels_at_end, ends_at_response_end, mutes_body;
    size_t takes;           /* of a slice of body */
    size_t left;            /* of a request that is streamed */
    struct dm_str trailers; /* behind it */
    const char *last;       /* what a tunnel whose time is over ends with; NULL: it is not left */
    /* what it saw */
    unsigned n_room;
    bool had_response, was_reused;
    uint64_t bytes_in, bytes_out;
};

extern struct rig rig;
extern const struct dm_http_timeouts timeouts;

void rig_start(bool is_http2);
void rig_stop(void);
/* In steps of at most a thousandth. */
void pass_ms(uint64_t ms);

/* --- the owner ---------------------------------------------------------------------------------------------------- */

/* In the place of the connection before, whose calls are cancelled. */
void connect_peer(void);
void close_peer(void);
void open_call(size_t i);
/* Opens and sends, to the end if there is neither a body nor a tunnel. */
void send_call(size_t i, const struct dm_http_message *m);
void cancel_call(size_t i);
/* Streams rig.left bytes, the rest of the first call's request. */
void stream_request(void);
#define check_heard(text) check_text(&rig.heard, (text), __FILE__, __LINE__)
/* How often a call was done or aborted. */
size_t count_ends(void);

/* --- the backend -------------------------------------------------------------------------------------------------- */

/* The latest connection, in the place of the one before. */
void accept_peer(void);
void close_fd(void);

#endif
