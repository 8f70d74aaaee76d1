/* The seam to the outside: clock, randomness, sockets, readiness, disk. One real implementation (dm_sys_real) and one
 * simulated under a seed with faults (base/sim.h), in which several simulated processes can share one network and one
 * disk, and time moves only when nobody is ready.
 *
 * Every call returns >= 0 on success and -errno on failure, as the kernel would. Nothing here blocks except
 * disk calls (cold code) and poll_wait. Threads: the real one may be used from any thread; a simulation from one. */
#ifndef DM_BASE_SYS_H
#define DM_BASE_SYS_H

#include "base/err.h"
#include <sys/socket.h>
#include <sys/uio.h>

/* An IPv4, IPv6 or Unix socket address. */
struct dm_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* Who is at the other end of a Unix socket, as the kernel saw it when the connection was made. */
struct dm_peer_cred {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

/* HUP: the peer sends no more (it shut down its writing side or is gone); IN comes with it, so that reading finds the
 * end. ERR: the socket failed; IN and OUT come with it, so that the next call finds the error. */
enum dm_ready { DM_READY_IN = 1, DM_READY_OUT = 2, DM_READY_HUP = 4, DM_READY_ERR = 8 };

/* One readiness event: the 64-bit tag given at poll_add and the DM_READY_ bits. */
struct dm_ready_event {
    uint64_t tag;
    unsigned ready;
};

struct dm_sys;

struct dm_sys_ops {
    /* Clock. mono never goes back; wall is Unix time. Nanoseconds. */
    uint64_t (*mono_ns)(struct dm_sys *sys);
    uint64_t (*wall_ns)(struct dm_sys *sys);
    /* For what work costs. ticks: a fine counter of no fixed rate, cheap to read; cpu_ns: what this thread has run. */
    uint64_t (*ticks)(struct dm_sys *sys);
    uint64_t (*cpu_ns)(struct dm_sys *sys);
    void (*random)(struct dm_sys *sys, void *ret, size_t len);

    /* Stream sockets, always non-blocking and close-on-exec; TCP without Nagle's delay. A Unix socket file left behind
     * by a dead listener is replaced by listen, a live one is -EADDRINUSE; its mode is 0660. An IPv6 address takes no IPv4. */
    int (*listen)(struct dm_sys *sys, const struct dm_addr *addr, int backlog, bool reuse_port);
    int (*accept)(struct dm_sys *sys, int fd, struct dm_addr *ret_peer); /* ret_peer may be NULL */
    /* The new fd, ready for OUT when done; or -errno: a refusal shows here or, later, as ERR and in connect_error. */
    int (*connect)(struct dm_sys *sys, const struct dm_addr *addr);
    int (*connect_error)(struct dm_sys *sys, int fd); /* 0 or -errno of a finished connect (SO_ERROR) */
    ssize_t (*recv)(struct dm_sys *sys, int fd, void *ret, size_t len);
    ssize_t (*peek)(struct dm_sys *sys, int fd, void *ret, size_t len); /* as recv, which finds the bytes again */
    ssize_t (*send)(struct dm_sys *sys, int fd, const void *ptr, size_t len);
    ssize_t (*sendv)(struct dm_sys *sys, int fd, const struct iovec *iov, int n);
    int (*shutdown_write)(struct dm_sys *sys, int fd);
    /* The close that follows is a reset, and drops what the peer has not got. Means nothing to a Unix socket. */
    int (*reset_on_close)(struct dm_sys *sys, int fd);
    int (*local_addr)(struct dm_sys *sys, int fd, struct dm_addr *ret);
    int (*peer_cred)(struct dm_sys *sys, int fd, struct dm_peer_cred *ret); /* -EINVAL: not a connected Unix socket */
    /* Any descriptor made through the seam; never asked again, whatever it returns. */
    int (*close)(struct dm_sys *sys, int fd);

    /* Edge-triggered readiness, for IN and OUT alike: what is ready at poll_add is reported once; after that each
     * arrival and each return of room is. An event holds all bits that are true by then. close ends the registration.
     * poll_wait returns the number of events, 0 after timeout_ms (-1: never) or early when a signal came. */
    int (*poll_new)(struct dm_sys *sys);
    int (*poll_add)(struct dm_sys *sys, int poll_fd, int fd, uint64_t tag);
    int (*poll_del)(struct dm_sys *sys, int poll_fd, int fd);
    int (*poll_wait)(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms);

    /* Disk. Paths are NUL-terminated. flags and mode as open(2); close-on-exec is implied. A directory may be opened
     * with O_DIRECTORY to fsync it, and with O_PATH to see that it is there. read and write move the descriptor's own position. */
    int (*open)(struct dm_sys *sys, const char *path, int flags, unsigned mode);
    ssize_t (*read)(struct dm_sys *sys, int fd, void *ret, size_t len);
    ssize_t (*write)(struct dm_sys *sys, int fd, const void *ptr, size_t len);
    int (*fsync)(struct dm_sys *sys, int fd);
    int (*rename)(struct dm_sys *sys, const char *from, const char *to);
    int (*unlink)(struct dm_sys *sys, const char *path);
    int (*mkdir)(struct dm_sys *sys, const char *path, unsigned mode);
    /* Calls visit for each name in the directory but "." and ".."; a non-zero return stops and is returned. */
    int (*list)(struct dm_sys *sys, const char *path, int (*visit)(void *arg, const char *name), void *arg);
};

struct dm_sys {
    const struct dm_sys_ops *ops;
};

/* The kernel. Static storage, stateless. */
struct dm_sys *dm_sys_real(void);

/* Helpers on the seam. */

struct dm_buf;
/* The whole file into ret, which is initialised here and the caller's to end with dm_buf_done on success. DM_ENOENT;
 * DM_EBUDGET when it is larger than max_bytes; DM_EIO. */
DM_MUST_USE int dm_sys_read_file(struct dm_sys *sys, const char *path, size_t max_bytes, struct dm_buf *ret,
                                 struct dm_err *err);
/* Writes `<path>.tmp-<random>`, renames it to path: readers see the old or the new file, never a part. When is_durable,
 * file and directory are synced, and success means that it is on disk. A crash may leave the temporary file behind
 * (dm_sys_is_temp_name). */
DM_MUST_USE int dm_sys_write_file(struct dm_sys *sys, const char *path, struct dm_str bytes, unsigned mode,
                                  bool is_durable, struct dm_err *err);
/* The directory with all missing parents, each synced into its parent. 0 also when it is there already. Parents in which
 * nothing is made need not be readable. */
DM_MUST_USE int dm_sys_make_dirs(struct dm_sys *sys, const char *path, unsigned mode, struct dm_err *err);

/* Was this name made by dm_sys_write_file and left behind? For whoever lists or cleans a directory. */
bool dm_sys_is_temp_name(const char *name);

/* Numeric "127.0.0.1:80", "[::1]:80", "unix:/path" (port 0: any). DM_EINVAL otherwise; err may be NULL. */
DM_MUST_USE int dm_addr_parse(struct dm_str text, struct dm_addr *ret, struct dm_err *err);
/* Text form, NUL-terminated, in ret of at least DM_ADDR_TEXT_MAX bytes; returns the length. With the port it is what
 * dm_addr_parse reads; without, IPv6 stands without brackets. A Unix socket without a name is "unix:". */
#define DM_ADDR_TEXT_MAX 128
size_t dm_addr_format(const struct dm_addr *addr, bool with_port, char *ret);
/* Of a Unix socket; empty when it has none. Borrowed from addr. */
struct dm_str dm_addr_path(const struct dm_addr *addr);
/* 0 when it has none. */
uint16_t dm_addr_port(const struct dm_addr *addr);
bool dm_addr_eq(const struct dm_addr *a, const struct dm_addr *b);

#endif
