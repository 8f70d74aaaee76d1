/* The simulated system: a seam implementation in which everything that could differ between two runs comes from a
 * seed.
 *
 * A world holds a clock, a network and a disk; each simulated process has its own struct dm_sys on it (own
 * descriptors, own stream of randomness). The same seed and the same calls give the same results, byte for byte;
 * dm_world_trace() tells two runs apart.
 *
 * CLOCK. Virtual. It moves only in dm_world_step(), dm_world_turn(), dm_world_run() and dm_world_advance_ns(), never
 * inside a call of the seam. Wall time is virtual time plus an offset.
 *
 * DRIVING. poll_wait never blocks: it returns what is ready, or, when nothing is, 0 at once, and the world notes when
 * the process wants to be woken (now + timeout_ms; never for -1; timeout 0 means that it has more to do now). A
 * process must therefore be a loop whose turn can be called from outside and ends in one poll_wait; `while
 * (poll_wait(...) == 0);` would spin for ever. Either the test calls the turns,
 *
 *     do {
 *         turn(a);
 *         turn(b);
 *     } while (dm_world_step(world) != DM_WORLD_QUIET && !done);
 *
 * or it registers them with dm_world_on_turn() and calls dm_world_run(), which takes the processes of each round in an
 * order drawn from the seed. A process is busy while its last poll_wait found something or had timeout 0, while a poll
 * set of it holds an unreported edge, or while its wake-up time has come; time stands still as long as one is busy. A
 * process that never called poll_wait (a test that reads and writes by hand) is never busy.
 *
 * NETWORK. One for all processes; any address can be listened on, loopback is shared. TCP segments arrive after a
 * latency drawn per segment, in order; a process's own address is 10.0.x.y. Unix sockets deliver at once, as the
 * kernel's do. A sender has socket_bytes of room, which come back when the peer reads. A full backlog makes TCP try
 * again after 1, 2, 4 s ... (ETIMEDOUT in the end) and Unix return -EAGAIN. Readiness has the edges of epoll, and a
 * read or write cut short by a fault is followed by the edge that a kernel would give.
 *
 * DISK. One for all processes; relative paths start at "/". What is written is seen at once by everybody and durable
 * only after fsync of the file; a name (create, rename, unlink, mkdir) is durable only after fsync of its directory,
 * as POSIX has it. A rename is atomic at all times. dm_world_kill() takes from the disk what the process left
 * undurable; where disk_torn_write strikes, a part of it stays: for contents some prefix, perhaps zeros behind it; for
 * names the first few changes. */
#ifndef DM_BASE_SIM_H
#define DM_BASE_SIM_H

#include "base/sys.h"

struct dm_world;

struct dm_sim_faults {
    /* Probabilities in parts per million, per call (disk_torn_write: also per file at a kill). */
    unsigned short_io;                       /* recv, send, read, write take fewer bytes than they could */
    unsigned reset;                          /* recv, send find the connection reset; so does the peer */
    unsigned connect_refused;                /* as if nobody listened */
    unsigned disk_error;                     /* disk calls return -EIO and do nothing */
    unsigned disk_torn_write;                /* write stores a part and returns -EIO */
    uint64_t latency_ns_min, latency_ns_max; /* of a segment on the network */
    size_t socket_bytes; /* room of a sender; 0: 64 KiB. Holds for connections made after it was set */
    unsigned max_fds;    /* descriptors per process, then -EMFILE; 0: no limit */
};

/* faults may be NULL: none, no latency. */
struct dm_world *dm_world_new(uint64_t seed, const struct dm_sim_faults *faults);
void dm_world_free(struct dm_world *world);
/* Faults may be changed while running. */
void dm_world_set_faults(struct dm_world *world, const struct dm_sim_faults *faults);

/* Whoever runs has worked for so long: ticks and nanoseconds of CPU time, while the clock stands. Each look at them is work too. */
void dm_world_work(struct dm_world *world, uint64_t ticks);

/* A process; freed with the world. Uid and gid 1000, pids from 1001 on. */
struct dm_sys *dm_world_process(struct dm_world *world);
/* What peers of this process's Unix sockets will see from now on. */
void dm_world_set_cred(struct dm_sys *process, const struct dm_peer_cred *cred);
/* The machine under the process fails: its descriptors close, files and names lose what it had not synced. Every later
 * call on it is -ESRCH. Start another process for its restart. */
void dm_world_kill(struct dm_world *world, struct dm_sys *process);
/* As kill -9 of the process alone: its descriptors close, the disk keeps everything. */
void dm_world_exit(struct dm_world *world, struct dm_sys *process);
/* While cut, no TCP segment passes between the two; what was sent arrives once the cut is mended; connects time out. */
void dm_world_cut(struct dm_world *world, struct dm_sys *a, struct dm_sys *b, bool is_cut);
/* The nth call from now (1: the next) of the process that can fail fails with -error and does nothing; 0: none. For
 * sweeps: raise nth until dm_world_fail_reached() is false at the end of the scenario. */
void dm_world_fail_nth(struct dm_sys *process, uint64_t nth, int error);
bool dm_world_fail_reached(const struct dm_sys *process);

uint64_t dm_world_now_ns(const struct dm_world *world);
/* Makes time pass, whoever is busy; delivers what arrives on the way. */
void dm_world_advance_ns(struct dm_world *world, uint64_t ns);
/* Wall time jumps, as when an administrator sets it. */
void dm_world_shift_wall_ns(struct dm_world *world, int64_t ns);

enum dm_world_step {
    DM_WORLD_QUIET, /* nobody is busy, nothing is on its way, nobody waits for a time: nothing will ever happen */
    DM_WORLD_BUSY,  /* somebody has to take a turn first; time stood still */
    DM_WORLD_MOVED, /* it is later now and something arrived or is due */
};
/* To the next arrival or wanted wake-up, unless somebody is busy. */
enum dm_world_step dm_world_step(struct dm_world *world);

/* turn(arg) runs what is ready in this process and ends in one poll_wait. */
void dm_world_on_turn(struct dm_sys *process, void (*turn)(void *arg), void *arg);
/* One turn of each live registered process, then dm_world_step. */
enum dm_world_step dm_world_turn(struct dm_world *world);
/* Turns until is_done(arg); false when the world went quiet or limit_ns of virtual time passed before that. */
bool dm_world_run(struct dm_world *world, bool (*is_done)(void *arg), void *arg, uint64_t limit_ns);

/* Digest of all calls so far with their results and times. */
uint64_t dm_world_trace(const struct dm_world *world);

#endif
