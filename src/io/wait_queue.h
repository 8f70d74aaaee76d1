/* A queue of those that wait for room: first in, first out, each with a deadline.
 *
 *   waiter     is                            ends by
 *   out        queue NULL                    add, put_back
 *   waiting    in the queue                  its turn: on_turn; its deadline: on_expired; leave
 *
 * W1. Turns come in the order of adding. Only the first is asked whether there is room for it; the others are behind it.
 * W2. A waiter that was added behind another has no earlier deadline than that one.
 * W3. Callbacks come from the loop, never from within a call of this interface, with the waiter out already; they may add, put back
 *     and leave, also others. Between hold and release the queue may not end.
 * W4. At most DM_WAIT_TURNS get their turn, or are told that their time is over, in one task; it is the work of the queue's flow.
 *
 * Room is told of (dm_wait_queue_room), and looked for every DM_WAIT_LOOK_MS while somebody waits, since some of it comes from other
 * processes. A queue in which nobody waits has no timer and costs its memory alone. Threads: the loop's. */
#ifndef DM_IO_WAIT_QUEUE_H
#define DM_IO_WAIT_QUEUE_H

#include "io/loop.h"

#define DM_WAIT_TURNS 16
#define DM_WAIT_LOOK_MS 10

struct dm_flow;
struct dm_wait_queue;

/* Embedded in who waits, whose memory stays as long as it is in. Zeroed is out. */
struct dm_waiter {
    struct dm_waiter *next, *prev;
    struct dm_wait_queue *queue; /* NULL: out */
    uint64_t since_ns, due_ns;   /* loop time; kept when it is out, for put_back */
};

struct dm_wait_handler {
    void (*hold)(struct dm_wait_queue *queue); /* turns are given from here on; both may be NULL */
    void (*release)(struct dm_wait_queue *queue);
    bool (*has_room)(struct dm_wait_queue *queue, const struct dm_waiter *first);
    void (*on_turn)(struct dm_wait_queue *queue, struct dm_waiter *waiter);
    void (*on_expired)(struct dm_wait_queue *queue, struct dm_waiter *waiter);
};

struct dm_wait_queue {
    struct dm_waiter *first, *last;
    size_t n;
    struct dm_loop *loop; /* borrowed */
    const struct dm_wait_handler *handler;
    struct dm_timer timer;
    struct dm_task task;
};

/* flow: whose work it is to give turns; NULL: the platform's. */
void dm_wait_queue_init(struct dm_wait_queue *queue, struct dm_loop *loop, const struct dm_wait_handler *handler,
                        struct dm_flow *flow);
/* Nobody waits any more. */
void dm_wait_queue_done(struct dm_wait_queue *queue);
/* At the end. */
void dm_wait_queue_add(struct dm_wait_queue *queue, struct dm_waiter *waiter, uint32_t wait_ms);
/* To the front, with the deadline that it had: it had its turn, and could not use it. */
void dm_wait_queue_put_back(struct dm_wait_queue *queue, struct dm_waiter *waiter);
/* Nothing when it is out. */
void dm_wait_queue_leave(struct dm_waiter *waiter);
/* Looks for room, in a task. */
void dm_wait_queue_look(struct dm_wait_queue *queue);

/* There may be room. */
static inline void dm_wait_queue_room(struct dm_wait_queue *queue)
{
    if (DM_UNLIKELY(queue->first != NULL))
        dm_wait_queue_look(queue);
}

#endif
