/* What the files of the simulation share. sim.c: world, clock, processes, descriptors. sim_poll.c: readiness.
 * sim_net.c: connections and what travels between their ends. sim_socket.c: listening and connecting. sim_stream.c:
 * reading and writing. sim_disk.c: names, contents and what of them a crash leaves. sim_file.c: the disk calls. */
#ifndef DM_BASE_SIM_INT_H
#define DM_BASE_SIM_INT_H

#include <errno.h>

#include "base/buf.h"
#include "base/sim.h"
#include "base/vec.h"

#define SIM_NEVER UINT64_MAX

enum { SIM_FIRST_FD = 3, SIM_PPM = 1000000 };

struct dm_sim_end;
struct dm_sim_file;
struct dm_sim_inode;
struct dm_sim_listener;
struct dm_sim_poll;
struct dm_sim_process;
struct dm_sim_watch;

/* SplitMix64 (Steele, Lea, Flood 2014). */
struct dm_sim_rng {
    uint64_t state;
};
uint64_t dm_sim_rng_next(struct dm_sim_rng *rng);
/* Stateless mixing of one word. */
uint64_t dm_sim_mix(uint64_t x);

/* 0 .. bound-1 from the world's stream; bound > 0. */
uint64_t dm_sim_draw(struct dm_world *world, uint64_t bound);
/* True once in SIM_PPM / ppm calls; draws nothing when ppm is 0. */
bool dm_sim_chance(struct dm_world *world, unsigned ppm);
/* 1 .. len, len unless the short_io fault strikes. */
size_t dm_sim_shorten(struct dm_world *world, size_t len);

/* Something that can be ready and has at most one descriptor. First member of what embeds it. */
struct dm_sim_source {
    unsigned (*ready)(struct dm_sim_source *source); /* the DM_READY_ bits that are true now */
    DM_VEC(struct dm_sim_watch *) watches;
};
/* An edge: every poll set that watches the source looks at it again. */
void dm_sim_source_wake(struct dm_sim_source *source);
/* Ends all registrations. */
void dm_sim_source_done(struct dm_sim_source *source);

enum dm_sim_fd_kind { SIM_FREE, SIM_LISTENER, SIM_END, SIM_POLL, SIM_FILE };

struct dm_sim_fd {
    enum dm_sim_fd_kind kind;
    union {
        struct dm_sim_listener *listener;
        struct dm_sim_end *end;
        struct dm_sim_poll *poll;
        struct dm_sim_file *file;
    };
};

struct dm_sim_process {
    struct dm_sys sys;
    struct dm_world *world;
    unsigned index;
    struct dm_peer_cred cred;
    struct dm_sim_rng rng;
    DM_VEC(struct dm_sim_fd) fds; /* by descriptor - SIM_FIRST_FD */
    DM_VEC(unsigned) cuts;        /* indexes of the processes it is cut off from */
    bool is_dead;
    bool has_more;    /* the last poll_wait found something or had timeout 0 */
    uint64_t wake_ns; /* SIM_NEVER: waits for no time */
    uint64_t calls, fail_at;
    int fail_error;
    void (*turn)(void *arg);
    void *turn_arg;
};

enum dm_sim_event_kind { SIM_EVENT_SYN, SIM_EVENT_SEGMENT };

/* Ordered by (at_ns, seq). */
struct dm_sim_event {
    uint64_t at_ns, seq;
    enum dm_sim_event_kind kind;
    struct dm_sim_end *end;
};

struct dm_sim_name {
    char *path;
    struct dm_sim_inode *inode;
};

struct dm_sim_names {
    struct dm_sim_name *items;
    size_t count, cap;
};

enum dm_sim_change_kind { SIM_LINK, SIM_UNLINK, SIM_RENAME };

/* A change of names that is not durable yet. */
struct dm_sim_change {
    enum dm_sim_change_kind kind;
    char *path, *to; /* to: of a rename */
    struct dm_sim_inode *inode;
    struct dm_sim_process *by;
};

struct dm_sim_disk {
    struct dm_sim_names live, durable;
    DM_VEC(struct dm_sim_change) pending; /* oldest first */
};

struct dm_world {
    uint64_t now_ns, ticks;
    int64_t wall_offset_ns;
    uint64_t trace;
    struct dm_sim_rng rng;
    struct dm_sim_faults faults;
    DM_VEC(struct dm_sim_process *) processes;
    DM_VEC(struct dm_sim_event) events; /* a binary heap */
    uint64_t next_seq;
    struct dm_sim_end *ends; /* all of them */
    DM_VEC(struct dm_sim_listener *) listeners;
    uint16_t next_port;
    struct dm_sim_disk disk;
};

static inline struct dm_sim_process *dm_sim_process_of(struct dm_sys *sys)
{
    return DM_CONTAINER_OF(sys, struct dm_sim_process, sys);
}

/* At the head of every call that can fail: 0, or the error that it must return at once. */
int dm_sim_enter(struct dm_sim_process *p);
/* At the end of every call: takes it into the trace and returns rc. */
ssize_t dm_sim_trace(struct dm_sim_process *p, const char *call, int fd, ssize_t rc);

/* The descriptor if it is open and of that kind, or NULL. Valid until the next descriptor is made. */
struct dm_sim_fd *dm_sim_fd_get(struct dm_sim_process *p, int fd, enum dm_sim_fd_kind kind);
/* -EMFILE when there may be no more. */
int dm_sim_fd_room(const struct dm_sim_process *p);
/* The lowest free number for it; the caller asked for room before. */
int dm_sim_fd_put(struct dm_sim_process *p, struct dm_sim_fd what);

void dm_sim_event_post(struct dm_world *world, uint64_t at_ns, enum dm_sim_event_kind kind, struct dm_sim_end *end);

/* sim_poll.c */
int dm_sim_poll_new(struct dm_sys *sys);
int dm_sim_poll_add(struct dm_sys *sys, int poll_fd, int fd, uint64_t tag);
int dm_sim_poll_del(struct dm_sys *sys, int poll_fd, int fd);
int dm_sim_poll_wait(struct dm_sys *sys, int poll_fd, struct dm_ready_event *ret, int max, int timeout_ms);
void dm_sim_poll_free(struct dm_sim_poll *poll);
/* Is there an edge that the next poll_wait would report? */
bool dm_sim_poll_has_edge(const struct dm_sim_poll *poll);

/* sim_net.c */
enum dm_sim_segment_kind {
    SIM_SEGMENT_OPEN,    /* the connection stands */
    SIM_SEGMENT_REFUSED, /* it will not */
    SIM_SEGMENT_DATA,
    SIM_SEGMENT_ROOM,  /* the peer took len bytes */
    SIM_SEGMENT_FIN,   /* the peer writes no more */
    SIM_SEGMENT_GONE,  /* the peer of a Unix socket closed: it neither writes nor reads */
    SIM_SEGMENT_RESET, /* the connection is dead */
    SIM_SEGMENT_WAKE,  /* look again; from an end to itself */
};

struct dm_sim_segment {
    struct dm_sim_segment *next;
    enum dm_sim_segment_kind kind;
    uint64_t at_ns;
    size_t len;
    char bytes[];
};

enum dm_sim_end_state { SIM_END_CONNECTING, SIM_END_OPEN, SIM_END_DEAD };

/* One end of a connection.
 *
 * E1. `unread` is what this end sent and the peer is not known to have read; it never exceeds `room_bytes`.
 * E2. Inbound segments are delivered in order; the head has exactly one event in the world's heap.
 * E3. An end is freed together with its peer, when both are closed and nothing is on its way to either. */
struct dm_sim_end {
    struct dm_sim_source source;
    struct dm_world *world;
    struct dm_sim_process *process;
    struct dm_sim_end *peer, *next, *prev;
    struct dm_addr local, remote;
    struct dm_peer_cred peer_cred;
    enum dm_sim_end_state state;
    bool is_closed;   /* no descriptor and in no backlog */
    bool is_shut;     /* we write no more */
    bool is_eof;      /* the peer writes no more */
    bool is_broken;   /* the peer reads no more */
    bool is_to_reset; /* by its close */
    bool wants_room;  /* an edge is owed when there is room again */
    int error;        /* positive, reported once */
    size_t unread, room_bytes;
    struct dm_buf arrived;
    struct dm_sim_segment *inbound, **inbound_tail;
    unsigned n_events, n_tries;
};

struct dm_sim_end *dm_sim_end_new(struct dm_sim_process *p, const struct dm_addr *local, const struct dm_addr *remote);
void dm_sim_end_free(struct dm_sim_end *end);
/* Makes the two the ends of one connection. */
void dm_sim_end_join(struct dm_sim_end *client, struct dm_sim_end *server);
/* Sends to the end; Unix sockets get it at once. len counts for data (bytes given) and room. */
void dm_sim_end_post(struct dm_sim_end *to, enum dm_sim_segment_kind kind, const void *bytes, size_t len);
/* Look again, later. */
void dm_sim_end_wake_later(struct dm_sim_end *end);
/* Both ends find a reset connection. */
void dm_sim_end_reset(struct dm_sim_end *end);
void dm_sim_end_fail(struct dm_sim_end *end, int error);
/* Its descriptor is gone. May free the end. */
void dm_sim_end_close(struct dm_sim_end *end);
/* Frees end and peer when E3 allows it. */
void dm_sim_end_reap(struct dm_sim_end *end);
/* Room enough to be ready for OUT. */
bool dm_sim_end_is_writable(const struct dm_sim_end *end);
void dm_sim_segment_arrive(struct dm_sim_end *end);
void dm_sim_syn_post(struct dm_sim_end *client, uint64_t delay_ns);
bool dm_sim_is_cut(const struct dm_sim_process *a, const struct dm_sim_process *b);
uint64_t dm_sim_latency_ns(struct dm_world *world);

/* sim_socket.c */
struct dm_sim_listener {
    struct dm_sim_source source;
    struct dm_sim_process *process;
    struct dm_addr addr;
    struct dm_peer_cred cred;
    struct dm_sim_inode *inode; /* of a Unix socket */
    size_t backlog;
    bool reuse_port;
    DM_VEC(struct dm_sim_end *) waiting; /* oldest first */
};

int dm_sim_listen(struct dm_sys *sys, const struct dm_addr *addr, int backlog, bool reuse_port);
int dm_sim_accept(struct dm_sys *sys, int fd, struct dm_addr *ret_peer);
int dm_sim_connect(struct dm_sys *sys, const struct dm_addr *addr);
int dm_sim_connect_error(struct dm_sys *sys, int fd);
int dm_sim_local_addr(struct dm_sys *sys, int fd, struct dm_addr *ret);
int dm_sim_peer_cred(struct dm_sys *sys, int fd, struct dm_peer_cred *ret);
void dm_sim_listener_close(struct dm_sim_listener *listener);
/* A connection request reaches the address of its other end. */
void dm_sim_syn_arrive(struct dm_sim_end *client);

/* sim_stream.c */
ssize_t dm_sim_recv(struct dm_sys *sys, int fd, void *ret, size_t len);
ssize_t dm_sim_peek(struct dm_sys *sys, int fd, void *ret, size_t len);
ssize_t dm_sim_send(struct dm_sys *sys, int fd, const void *ptr, size_t len);
ssize_t dm_sim_sendv(struct dm_sys *sys, int fd, const struct iovec *iov, int n);
int dm_sim_shutdown_write(struct dm_sys *sys, int fd);
int dm_sim_reset_on_close(struct dm_sys *sys, int fd);

/* sim_disk.c */
enum dm_sim_inode_kind { SIM_INODE_FILE, SIM_INODE_DIR, SIM_INODE_SOCKET };

struct dm_sim_inode {
    enum dm_sim_inode_kind kind;
    unsigned refs;
    struct dm_buf live, durable;
    struct dm_sim_process *writer; /* of what is not durable; NULL: live equals durable */
};

void dm_sim_disk_init(struct dm_sim_disk *disk);
void dm_sim_disk_done(struct dm_sim_disk *disk);
struct dm_sim_inode *dm_sim_inode_new(enum dm_sim_inode_kind kind);
struct dm_sim_inode *dm_sim_inode_ref(struct dm_sim_inode *inode);
void dm_sim_inode_unref(struct dm_sim_inode *inode);
/* Absolute, without ".", "..", empty segments; heap. */
char *dm_sim_path_of(const char *path);
/* The live inode of a normal path, borrowed, or NULL. */
struct dm_sim_inode *dm_sim_disk_find(const struct dm_sim_disk *disk, const char *path);
/* 0, -ENOENT, -ENOTDIR: can a name be made there? */
int dm_sim_disk_check_parent(const struct dm_sim_disk *disk, const char *path);
/* Is there a name in this directory? Names are visited in the order they were made. */
bool dm_sim_disk_is_child(const char *dir, const char *path);
/* Changes the live names and remembers the change as not durable. Takes no reference of the caller's. */
void dm_sim_disk_change(struct dm_sim_process *by, enum dm_sim_change_kind kind, const char *path, const char *to,
                        struct dm_sim_inode *inode);
void dm_sim_disk_sync_file(struct dm_sim_inode *inode);
void dm_sim_disk_sync_dir(struct dm_sim_disk *disk, const char *dir);
/* What the process had not made durable goes, but for what tears. */
void dm_sim_disk_crash(struct dm_sim_process *p);

/* sim_file.c */
struct dm_sim_file {
    struct dm_sim_inode *inode;
    char *path;
    size_t pos;
    int flags;
};

int dm_sim_open(struct dm_sys *sys, const char *path, int flags, unsigned mode);
ssize_t dm_sim_read(struct dm_sys *sys, int fd, void *ret, size_t len);
ssize_t dm_sim_write(struct dm_sys *sys, int fd, const void *ptr, size_t len);
int dm_sim_fsync(struct dm_sys *sys, int fd);
int dm_sim_rename(struct dm_sys *sys, const char *from, const char *to);
int dm_sim_unlink(struct dm_sys *sys, const char *path);
int dm_sim_mkdir(struct dm_sys *sys, const char *path, unsigned mode);
int dm_sim_list(struct dm_sys *sys, const char *path, int (*visit)(void *arg, const char *name), void *arg);
void dm_sim_file_free(struct dm_sim_file *file);

#endif
