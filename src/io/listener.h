/* A listening socket. Accepts at most 32 connections in a turn and requeues itself. When the process is out of descriptors
 * or the system out of memory, it rests for 100 ms and counts. Embedded in its owner. Threads: the loop's. */
#ifndef DM_IO_LISTENER_H
#define DM_IO_LISTENER_H

#include "io/loop.h"

struct dm_listener {
    struct dm_loop *loop;
    /* fd is the callee's from here on; peer is borrowed. May close the listener, not free it. */
    void (*on_accept)(struct dm_listener *listener, int fd, const struct dm_addr *peer);
    struct dm_addr addr; /* where it listens, with the real port */
    struct dm_watch watch;
    struct dm_task task;
    struct dm_timer timer;
    uint64_t n_accepted, n_exhausted, n_failed;
    bool is_paused, is_backlogged;
    bool unlinks; /* set by the owner: the file of a Unix socket goes when the listener is closed */
};

/* Binds and listens. DM_EEXIST: the address is in use; DM_EPERM; DM_EIO; err says which and why. */
DM_MUST_USE int dm_listener_open(struct dm_listener *listener, struct dm_loop *loop, const struct dm_addr *addr,
                                 int backlog, bool reuse_port,
                                 void (*on_accept)(struct dm_listener *, int fd, const struct dm_addr *peer),
                                 struct dm_err *err);
/* Takes over a descriptor that listens already (inherited); it is closed on failure. 0 or -errno. */
DM_MUST_USE int dm_listener_adopt(struct dm_listener *listener, struct dm_loop *loop, int fd,
                                  void (*on_accept)(struct dm_listener *, int fd, const struct dm_addr *peer));
/* New connections wait in the kernel's queue meanwhile. */
void dm_listener_pause(struct dm_listener *listener);
void dm_listener_resume(struct dm_listener *listener);
/* No TCP handshake begins at the listening descriptor any more; those that have begun end well and can be accepted. So who
 * accepts until there is nothing more and then closes resets nobody. Clients that come later try again in a second, when
 * another socket may listen there. For all descriptors of the socket, and for good. Without effect where the system refuses. */
void dm_listener_hush(int fd);
/* The memory is the owner's again on return. Nothing when it is closed already. */
void dm_listener_close(struct dm_listener *listener);

#endif
