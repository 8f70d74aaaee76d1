/* Messages with optional descriptors between processes of one machine, over a Unix stream socket: a pair made before a
 * child starts, or a named socket. Embedded in its owner.
 *
 * A frame is length and type (u32 each, host order, high bit of the type: a descriptor comes along) and the payload. The
 * descriptor travels with the frame's first byte (SCM_RIGHTS), so it is there when the frame is. Large documents go as a
 * descriptor of a file or memfd, not as payload.
 *
 * C1. on_closed comes exactly once, from a task, as the last callback; the memory is the owner's again from there on.
 * C2. A frame above DM_CHANNEL_MESSAGE_MAX, or one that announces a descriptor and brings none, closes with DM_ECORRUPT.
 * C3. Messages sent are delivered whole and in order, or the channel closes.
 *
 * On the real system only. Threads: the loop's. */
#ifndef DM_IO_CHANNEL_H
#define DM_IO_CHANNEL_H

#include "io/loop.h"

#define DM_CHANNEL_MESSAGE_MAX (16u << 20)
enum { DM_CHANNEL_FDS_MAX = 8 };

struct dm_channel_frame;

struct dm_channel {
    struct dm_loop *loop;
    /* payload is borrowed for the call; fd (-1: none) is the callee's. type < 2^31. May close the channel. */
    void (*on_message)(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd);
    /* code: 0 closed by us, DM_ECLOSED by the peer, DM_ECORRUPT, or -errno. */
    void (*on_closed)(struct dm_channel *channel, int code);
    struct dm_watch watch;
    struct dm_task task;
    char *in;
    size_t in_len, in_cap;
    int fds[DM_CHANNEL_FDS_MAX]; /* received, not yet claimed by a frame */
    unsigned n_fds;
    struct dm_channel_frame *head, *tail;
    size_t queued_bytes, queue_max_bytes;
    int code;
    bool is_closing;
};

/* Two connected ends, close-on-exec and non-blocking. 0 or -errno. */
DM_MUST_USE int dm_channel_pair(int ret_fds[2]);
/* Set on_message and on_closed before. Takes over the connected descriptor (closed on failure). queue_max_bytes 0: 32 MiB.
 * 0 or -errno. */
DM_MUST_USE int dm_channel_open(struct dm_channel *channel, struct dm_loop *loop, int fd, size_t queue_max_bytes);
/* Connects to a named socket ("unix:" address). -ENOENT and -ECONNREFUSED: nobody listens there. */
DM_MUST_USE int dm_channel_connect(struct dm_channel *channel, struct dm_loop *loop, const struct dm_addr *addr,
                                   size_t queue_max_bytes);
/* payload is copied when it can't be sent at once. fd (-1: none) stays the caller's, who may close it on return.
 * DM_EBUDGET: too large or the queue is full; DM_ECLOSED; 0. */
DM_MUST_USE int dm_channel_send(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd);
/* Who is at the other end. 0 or -errno. */
DM_MUST_USE int dm_channel_peer(const struct dm_channel *channel, struct dm_peer_cred *ret);
/* Drops what is queued. on_closed comes later, with code 0. */
void dm_channel_close(struct dm_channel *channel);

#endif
