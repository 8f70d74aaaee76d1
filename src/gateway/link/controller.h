/* The gateway's end of the stream to the controller (model/link.h): dials, says HELLO, hands frames up in order, keeps the
 * connection alive, dials again with back-off and jitter when it is lost.
 *
 *   idle --[start, back-off over]--> dialling --[connected: HELLO]--> greeting --[WELCOME accepted]--> up
 *   dialling, greeting, up --[lost, silent, refused]--> idle
 *
 * C1. The peer's uid is checked before a byte is sent.
 * C2. Frames come up only after a WELCOME that the handler accepted (L1 of the protocol).
 * C3. A connection on which nothing came for silence_ms, PINGs notwithstanding, is lost.
 *
 * Threads: the loop's. */
#ifndef DM_GATEWAY_LINK_CONTROLLER_H
#define DM_GATEWAY_LINK_CONTROLLER_H

#include "base/arena.h"
#include "base/buf.h"
#include "io/stream.h"
#include "model/link.h"

struct dm_controller;

struct dm_controller_handler {
    /* Fills what HELLO says (version is filled already); strings and list are borrowed until the next turn. */
    void (*on_hello)(void *arg, struct dm_link_hello *hello);
    /* Negative: the controller is not accepted; the connection ends and err is logged. */
    int (*on_welcome)(void *arg, const struct dm_link_welcome *welcome, struct dm_err *err);
    /* It is up: from here on dm_controller_send sends. */
    void (*on_up)(void *arg);
    /* UNIT, GONE, SYNCED, TENANT_KEY, HOLD, USED. Borrowed for the call. May pause. */
    void (*on_message)(void *arg, const struct dm_link_message *message);
    /* It was up and is no more. */
    void (*on_lost)(void *arg);
};

struct dm_controller_settings {
    struct dm_addr addr;
    uid_t uid;                                                                /* of the peer; root is fine too */
    uint32_t backoff_min_ms, backoff_max_ms, connect_ms, ping_ms, silence_ms; /* 0: 50, 5000, 5000, 5000, 15000 */
};

enum dm_controller_state { DM_CONTROLLER_IDLE, DM_CONTROLLER_DIALLING, DM_CONTROLLER_GREETING, DM_CONTROLLER_UP };

/* Embedded in its owner, who reads state, last_ns and the counts. */
struct dm_controller {
    enum dm_controller_state state;
    uint64_t last_ns; /* loop time of the last byte received; 0: never */
    uint64_t n_connects, n_lost, n_frames;
    bool has_stream; /* the stream's on_closed is still to come */
    bool is_paused, is_stopped;
    bool is_held; /* the stream is paused */
    struct dm_loop *loop;
    const struct dm_controller_handler *handler;
    void *arg;
    struct dm_controller_settings settings;
    struct dm_stream stream;
    struct dm_buf in, out;
    struct dm_arena arena;
    struct dm_timer timer; /* back-off when idle, ping otherwise */
    struct dm_task task;   /* frames that waited while paused */
    uint32_t backoff_ms;
    const char *last_failure; /* logged once for a run of the same */
};

/* Starts to dial at once. handler is borrowed. */
void dm_controller_start(struct dm_controller *controller, struct dm_loop *loop,
                         const struct dm_controller_settings *settings, const struct dm_controller_handler *handler,
                         void *arg);
/* Ends it for good; no callback comes. The loop runs another turn before the memory goes when has_stream. */
void dm_controller_stop(struct dm_controller *controller);
/* Nothing when it is not up. A peer that takes nothing any more is given up. */
void dm_controller_send(struct dm_controller *controller, const struct dm_link_message *message);
/* Says HELLO anew over a new connection, so that the controller sends what is not held any more. Nothing when it is not up. */
void dm_controller_redial(struct dm_controller *controller);
/* No message comes up until resumed; what was received waits. */
void dm_controller_pause(struct dm_controller *controller);
void dm_controller_resume(struct dm_controller *controller);

static inline bool dm_controller_is_up(const struct dm_controller *controller)
{
    return controller->state == DM_CONTROLLER_UP;
}

#endif
