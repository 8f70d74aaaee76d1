#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "io/process.h"
#include "io/spawn_int.h"

enum { HIGH_FD = 64 };

void dm_spawn_arg(struct dm_spawn *spawn, const char *arg)
{
    assert(spawn->n_args < DM_SPAWN_ARGS_MAX);
    spawn->args[spawn->n_args++] = arg;
}

void dm_spawn_fd(struct dm_spawn *spawn, int fd, int as_fd)
{
    assert(spawn->n_fds < DM_SPAWN_FDS_MAX && as_fd < HIGH_FD);
    spawn->fds[spawn->n_fds].fd = fd;
    spawn->fds[spawn->n_fds++].as_fd = as_fd;
}

/* Copies above all numbers wanted in the child, so that no dup2 there overwrites what a later one needs. */
static int raise_fds(const struct dm_spawn *spawn, int *ret)
{
    for (size_t i = 0; i < spawn->n_fds; i++)
        if ((ret[i] = fcntl(spawn->fds[i].fd, F_DUPFD_CLOEXEC, HIGH_FD)) < 0) {
            int rc = -errno;
            while (i > 0)
                close(ret[--i]);
            return rc;
        }
    return 0;
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct dm_spawn *spawn, const int *raised)
{
    int above = STDERR_FILENO, rc;

    for (size_t i = 0; i < spawn->n_fds; i++) {
        above = DM_MAX(above, spawn->fds[i].as_fd);
        if ((rc = posix_spawn_file_actions_adddup2(actions, raised[i], spawn->fds[i].as_fd)) != 0)
            return rc;
    }
    /* Those below that were not given are close-on-exec. */
    return posix_spawn_file_actions_addclosefrom_np(actions, above + 1);
}

/* The child begins with no signal blocked and none ignored. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn_with(const struct dm_spawn *spawn, const int *raised, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    if ((rc = add_actions(&actions, spawn, raised)) == 0 && (rc = set_attributes(&attr)) == 0)
        rc = posix_spawn(ret, spawn->path ? spawn->path : "/proc/self/exe", &actions, &attr, (char **)spawn->args,
                         environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

pid_t dm_spawn_run(const struct dm_spawn *spawn)
{
    int raised[DM_SPAWN_FDS_MAX], rc;
    pid_t pid;

    assert(spawn->n_args > 0);
    if ((rc = raise_fds(spawn, raised)) < 0)
        return rc;
    rc = spawn_with(spawn, raised, &pid);
    for (size_t i = 0; i < spawn->n_fds; i++)
        close(raised[i]);
    return rc < 0 ? rc : pid;
}
