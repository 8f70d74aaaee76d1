/* Descriptors on their way to another process of the same machine, each with a message of what it is: a queue in the kernel between
 * those who give and those who take. All givers have the same one end, all takers the other, so whoever is free takes the next.
 *
 * Q1. The queue lives as long as one process has an end for taking: what is in it outlives each taker.
 * Q2. It holds what its maker allows it. Giving never waits: a queue that is full says so.
 * Q3. Nothing is read at the giving end; a taker can refuse and no more. What arrives without exactly one descriptor, or is longer than
 *     DM_HANDOVER_MESSAGE_MAX, is dropped and counted.
 *
 * On the real system only. Threads: the loop's. */
#ifndef DM_IO_HANDOVER_H
#define DM_IO_HANDOVER_H

#include "io/loop.h"

#define DM_HANDOVER_MESSAGE_MAX 4096

enum dm_handover_end { DM_HANDOVER_GIVING, DM_HANDOVER_TAKING };

/* The two ends, close-on-exec and non-blocking. queue_bytes: of kernel memory, about a kilobyte for each that waits. 0 or -errno. */
DM_MUST_USE int dm_handover_pair(size_t queue_bytes, int ret_fds[2]);
/* The descriptor stays the caller's, who may close it on return. 0; -EAGAIN: the queue is full; -EPIPE or -ECONNRESET: nobody has the
 * other end; -EMSGSIZE; or another -errno. */
DM_MUST_USE int dm_handover_give(int giving_fd, struct dm_str message, int fd);

/* An end for taking; embedded in its owner. */
struct dm_handover {
    struct dm_loop *loop;
    /* message is borrowed for the call; fd is the callee's. May close the end, not free it. */
    void (*on_taken)(struct dm_handover *handover, struct dm_str message, int fd);
    struct dm_watch watch;
    struct dm_task task;
    uint64_t n_taken, n_dropped;
    bool is_backlogged; /* there may be more in it */
    bool has_ended;     /* it is empty, and nobody can give any more */
};

/* Takes over the descriptor, which is closed on failure. 0 or -errno. */
DM_MUST_USE int dm_handover_open(struct dm_handover *handover, struct dm_loop *loop, int taking_fd,
                                 void (*on_taken)(struct dm_handover *, struct dm_str message, int fd));
/* The memory is the owner's again on return. Nothing when it is closed already. */
void dm_handover_close(struct dm_handover *handover);

#endif
