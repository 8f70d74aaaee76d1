/* One of the two processes that `daemun serve` supervises. It runs in a session of its own, so that neither the
 * terminal's Ctrl-C nor its hang-up reaches it past the supervisor. */
#ifndef DM_CLI_CHILD_H
#define DM_CLI_CHILD_H

#include "base/buf.h"
#include "base/vec.h"
#include "io/process.h"

#define DM_CHILD_PATH_MAX 1024
#define DM_CHILD_ARGS_MAX 48
#define DM_CHILD_ARG_MAX 4096 /* bytes of each */

struct dm_child {
    struct dm_process process;
    const char *name; /* "daemun-gateway" */
    char program[DM_CHILD_PATH_MAX];
    char lock[DM_CHILD_PATH_MAX];
    DM_VEC(char *) args; /* behind the program's name */
    bool is_ready;       /* it answered since this start */
    bool was_ready;      /* it did so at least once */
    void (*on_exit)(struct dm_child *child, int status);
};

/* stop_ms: how long it may take to end politely; at most 60 s. */
void dm_child_init(struct dm_child *child, const char *name, const struct dm_process_type *type, struct dm_loop *loop);
void dm_child_done(struct dm_child *child);
void dm_child_arg(struct dm_child *child, const char *fmt, ...) DM_PRINTF(2, 3);

/* The callbacks that a type for children has. */
int dm_child_on_spawn(struct dm_process *process, struct dm_spawn *spawn);
void dm_child_on_exit(struct dm_process *process, int status);

/* Where the program lies: beside this one, in ../libexec/daemun, or in PATH. DM_ENOENT. */
DM_MUST_USE int dm_child_find(struct dm_child *child, const char *path_env, struct dm_err *err);

/* Adopts the process that holds the lock: 1, or 0 when there is none. Its options become the child's, so that it keeps
 * them when it is started again. DM_EAGAIN when somebody is just starting it. */
DM_MUST_USE int dm_child_adopt(struct dm_child *child, struct dm_err *err);

/* The value of an option ("--listen") among the arguments, of its n-th time from 0, into ret; false when it is not there, and
 * ret is untouched. */
bool dm_child_option(const struct dm_child *child, const char *name, size_t n, char *ret, size_t max);

/* The first argument of this program when it is to become a child: a new session, then the program behind it. Does not
 * return unless that fails. */
#define DM_CHILD_EXEC "--exec-in-own-session"
int dm_child_exec(char **args);

#endif
