/* A supervised process: started, watched through a pidfd (or SIGCHLD where the kernel has none), started again when it ends.
 *
 *   idle --[start]--> running --[exits]--> waiting (back-off) --[timer]--> running
 *   idle --[adopt]--> running          running --[stop: SIGTERM, after stop_ms SIGKILL]--> stopping --[exits]--> idle
 *   waiting --[stop]--> idle
 *
 * P1. A child is not tied to its supervisor's life (no parent-death signal): it serves on when the supervisor dies.
 * P2. The wait doubles from backoff_min_ms to backoff_max_ms and is as at first after the process lived stable_ms.
 * P3. on_exit comes once for each end, from the loop.
 *
 * Embedded in its owner. On the real system only. Threads: the loop's. */
#ifndef DM_IO_PROCESS_H
#define DM_IO_PROCESS_H

#include "io/loop.h"

enum { DM_SPAWN_ARGS_MAX = 128, DM_SPAWN_FDS_MAX = 8 };

/* What the next start is made of; filled anew for each by on_spawn. Strings are borrowed until on_spawned. */
struct dm_spawn {
    const char *path;                        /* NULL: this program's own binary */
    const char *args[DM_SPAWN_ARGS_MAX + 1]; /* args[0] is the program's name; ends with NULL */
    struct {
        int fd, as_fd; /* fd is open as as_fd in the child; all other descriptors but 0, 1 and 2 are closed there */
    } fds[DM_SPAWN_FDS_MAX];
    size_t n_args, n_fds;
};
void dm_spawn_arg(struct dm_spawn *spawn, const char *arg);
void dm_spawn_fd(struct dm_spawn *spawn, int fd, int as_fd);

enum dm_process_state { DM_PROCESS_IDLE, DM_PROCESS_RUNNING, DM_PROCESS_WAITING, DM_PROCESS_STOPPING };

struct dm_process;

/* Borrowed, outlives its processes. */
struct dm_process_type {
    /* Fills spawn; a negative return gives up this start and counts as an early death. */
    int (*on_spawn)(struct dm_process *process, struct dm_spawn *spawn);
    /* After a start (pid > 0) or a failed one (pid < 0: -errno): the place to close the child's ends. May be NULL. */
    void (*on_spawned)(struct dm_process *process, pid_t pid);
    /* status as of waitpid(2); -1 of an adopted process that is no child of ours. When it returns, the next start is
     * planned if state is DM_PROCESS_WAITING; the owner may stop it here. State is DM_PROCESS_IDLE after a stop, and the
     * memory may be freed then. */
    void (*on_exit)(struct dm_process *process, int status);
    uint32_t backoff_min_ms, backoff_max_ms, stable_ms, stop_ms; /* 0: 100, 10000, 10000, 5000 */
    bool avoid_pidfd;                                            /* as on a kernel without */
};

struct dm_process {
    struct dm_loop *loop;
    const struct dm_process_type *type;
    enum dm_process_state state;
    pid_t pid; /* 0 when not running */
    unsigned n_starts, n_exits;
    uint32_t backoff_ms; /* the next wait */
    uint64_t started_ns;
    uint64_t kill_ns; /* stopping: when it is killed */
    bool is_adopted, is_restarting;
    struct dm_watch watch;   /* the pidfd */
    struct dm_timer timer;   /* back-off, kill, or looking whether an adopted one lives */
    struct dm_process *next; /* of those that SIGCHLD tells about */
};

void dm_process_init(struct dm_process *process, struct dm_loop *loop, const struct dm_process_type *type);
/* Starts it now; a failed start is tried again with back-off, and told by on_spawned. Only when idle. */
void dm_process_start(struct dm_process *process);
/* Supervises a process that lives already and is not our child. DM_ENOENT: there is none. When it ends, a child is started in
 * its place. Only when idle. */
DM_MUST_USE int dm_process_adopt(struct dm_process *process, pid_t pid);
/* Ends it for good; on_exit follows unless it is not running, when the state is idle on return. */
void dm_process_stop(struct dm_process *process);
/* Ends it with SIGTERM (SIGKILL after stop_ms) and starts it again without waiting. */
void dm_process_restart(struct dm_process *process);
/* 0 or -errno (-ESRCH when not running). */
int dm_process_signal(struct dm_process *process, int signo);
/* Leaves it running, unsupervised; idle on return. No callback comes. */
void dm_process_release(struct dm_process *process);

/* "exit 1", "signal 9 (Killed)", "gone" into ret, for messages. */
#define DM_PROCESS_STATUS_MAX 64
const char *dm_process_status_text(int status, char ret[DM_PROCESS_STATUS_MAX]);

#endif
