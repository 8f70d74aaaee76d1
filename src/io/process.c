#include "io/process.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/loop_int.h"
#include "io/signals.h"
#include "io/spawn_int.h"

enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 10000, STABLE_MS = 10000, STOP_MS = 5000, LOOK_MS = 100 };

#define NS_PER_MS UINT64_C(1000000)

static void exited(struct dm_process *process, int status);

/* SIGCHLD, where there is no pidfd */

struct dm_reaper {
    struct dm_signals signals;
    struct dm_process *processes;
};

static void on_sigchld(struct dm_signals *signals, int signo)
{
    struct dm_reaper *reaper = DM_CONTAINER_OF(signals, struct dm_reaper, signals);
    struct dm_process *process = reaper->processes;
    int status;

    /* One signal may stand for several ends, and a callback may change the list: from the start after each. */
    while (process) {
        if (waitpid(process->pid, &status, WNOHANG) != process->pid) {
            process = process->next;
            continue;
        }
        exited(process, status);
        process = reaper->processes;
    }
}

static void free_reaper(struct dm_loop *loop)
{
    dm_signals_close(&loop->reaper->signals);
    dm_free(loop->reaper);
    loop->reaper = NULL;
}

static void watch_by_signal(struct dm_process *process)
{
    static const int sigchld = SIGCHLD;
    struct dm_loop *loop = process->loop;

    if (!loop->reaper) {
        loop->reaper = dm_calloc(1, sizeof(*loop->reaper));
        loop->reaper_free = free_reaper;
        if (dm_signals_open(&loop->reaper->signals, loop, &sigchld, 1, on_sigchld) < 0)
            abort();
    }
    process->next = loop->reaper->processes;
    loop->reaper->processes = process;
    /* It may have ended before the signal was blocked. */
    kill(getpid(), SIGCHLD);
}

static void unwatch_signal(struct dm_process *process)
{
    struct dm_reaper *reaper = process->loop->reaper;

    for (struct dm_process **at = reaper ? &reaper->processes : NULL; at && *at; at = &(*at)->next)
        if (*at == process) {
            *at = process->next;
            return;
        }
}

/* Watching */

static void on_pidfd(struct dm_watch *watch, unsigned ready)
{
    struct dm_process *process = DM_CONTAINER_OF(watch, struct dm_process, watch);
    int status = -1;

    /* An adopted one is a child all the same when it was one of what this process was before an exec. */
    if (waitpid(process->pid, &status, WNOHANG) == 0)
        return;
    exited(process, status);
}

static int open_pidfd(const struct dm_process *process)
{
    return process->type->avoid_pidfd ? -ENOSYS : (int)syscall(SYS_pidfd_open, process->pid, 0);
}

static bool watch_by_pidfd(struct dm_process *process)
{
    int fd = open_pidfd(process);

    if (fd < 0)
        return false;
    if (dm_watch_add(process->loop, &process->watch, fd, on_pidfd) == 0)
        return true;
    close(fd);
    return false;
}

static void watch(struct dm_process *process)
{
    if (watch_by_pidfd(process))
        return;
    if (process->is_adopted)
        dm_timer_arm(process->loop, &process->timer, LOOK_MS);
    else
        watch_by_signal(process);
}

static void unwatch(struct dm_process *process)
{
    dm_watch_close(process->loop, &process->watch);
    unwatch_signal(process);
    dm_timer_cancel(process->loop, &process->timer);
}

/* Starting */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static void wait_to_start(struct dm_process *process)
{
    uint32_t max_ms = or_default(process->type->backoff_max_ms, BACKOFF_MAX_MS);

    process->state = DM_PROCESS_WAITING;
    dm_timer_arm(process->loop, &process->timer, process->backoff_ms);
    process->backoff_ms = process->backoff_ms > max_ms / 2 ? max_ms : process->backoff_ms * 2;
}

static void start(struct dm_process *process)
{
    struct dm_spawn spawn = {0};
    pid_t pid = process->type->on_spawn(process, &spawn);

    if (pid >= 0)
        pid = dm_spawn_run(&spawn);
    if (pid > 0) {
        process->pid = pid;
        process->n_starts++;
        process->is_adopted = false;
        process->started_ns = process->loop->now_ns;
        process->state = DM_PROCESS_RUNNING;
        watch(process);
    } else {
        wait_to_start(process);
    }
    if (process->type->on_spawned)
        process->type->on_spawned(process, pid);
}

static void reset_backoff(struct dm_process *process)
{
    process->backoff_ms = or_default(process->type->backoff_min_ms, BACKOFF_MIN_MS);
}

static void exited(struct dm_process *process, int status)
{
    uint64_t stable_ns = or_default(process->type->stable_ms, STABLE_MS) * NS_PER_MS;
    bool is_stopping = process->state == DM_PROCESS_STOPPING;

    unwatch(process);
    process->pid = 0;
    process->n_exits++;
    if (process->loop->now_ns - process->started_ns >= stable_ns)
        reset_backoff(process);
    if (!is_stopping) {
        wait_to_start(process);
    } else if (process->is_restarting) {
        process->is_restarting = false;
        process->state = DM_PROCESS_WAITING;
        dm_timer_arm(process->loop, &process->timer, 0);
    } else {
        process->state = DM_PROCESS_IDLE;
    }
    process->type->on_exit(process, status);
}

/* Ending */

int dm_process_signal(struct dm_process *process, int signo)
{
    if (process->pid <= 0)
        return -ESRCH;
    if (process->watch.fd >= 0)
        return syscall(SYS_pidfd_send_signal, process->watch.fd, signo, NULL, 0) < 0 ? -errno : 0;
    return kill(process->pid, signo) < 0 ? -errno : 0;
}

/* Only an adopted process without pidfd has to be looked after. */
static bool is_gone(const struct dm_process *process, int *ret_status)
{
    if (!process->is_adopted || process->watch.fd >= 0)
        return false;
    return waitpid(process->pid, ret_status, WNOHANG) == process->pid || (kill(process->pid, 0) < 0 && errno == ESRCH);
}

static void look_after(struct dm_process *process)
{
    uint64_t now_ns = process->loop->now_ns;
    int status = -1;

    if (is_gone(process, &status)) {
        exited(process, status);
        return;
    }
    if (process->state == DM_PROCESS_STOPPING && now_ns >= process->kill_ns)
        dm_process_signal(process, SIGKILL);
    if (process->is_adopted && process->watch.fd < 0)
        dm_timer_arm(process->loop, &process->timer, LOOK_MS);
}

static void on_timer(struct dm_timer *timer)
{
    struct dm_process *process = DM_CONTAINER_OF(timer, struct dm_process, timer);

    if (process->state == DM_PROCESS_WAITING)
        start(process);
    else
        look_after(process);
}

static void terminate(struct dm_process *process)
{
    uint32_t stop_ms = or_default(process->type->stop_ms, STOP_MS);

    process->state = DM_PROCESS_STOPPING;
    process->kill_ns = process->loop->now_ns + stop_ms * NS_PER_MS;
    dm_process_signal(process, SIGTERM);
    if (!process->is_adopted || process->watch.fd >= 0)
        dm_timer_arm(process->loop, &process->timer, stop_ms);
}

void dm_process_stop(struct dm_process *process)
{
    process->is_restarting = false;
    if (process->state == DM_PROCESS_RUNNING) {
        terminate(process);
    } else if (process->state == DM_PROCESS_WAITING) {
        dm_timer_cancel(process->loop, &process->timer);
        process->state = DM_PROCESS_IDLE;
    }
}

void dm_process_restart(struct dm_process *process)
{
    if (process->state == DM_PROCESS_WAITING)
        dm_timer_arm(process->loop, &process->timer, 0);
    if (process->state != DM_PROCESS_RUNNING)
        return;
    process->is_restarting = true;
    terminate(process);
}

void dm_process_release(struct dm_process *process)
{
    unwatch(process);
    process->pid = 0;
    process->state = DM_PROCESS_IDLE;
}

/* Beginning */

void dm_process_init(struct dm_process *process, struct dm_loop *loop, const struct dm_process_type *type)
{
    *process = (struct dm_process){.loop = loop, .type = type, .watch.fd = -1, .timer.on_due = on_timer};
    reset_backoff(process);
}

void dm_process_start(struct dm_process *process)
{
    assert(process->state == DM_PROCESS_IDLE);
    reset_backoff(process);
    start(process);
}

int dm_process_adopt(struct dm_process *process, pid_t pid)
{
    assert(process->state == DM_PROCESS_IDLE);
    if (pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH))
        return DM_ENOENT;
    process->pid = pid;
    process->is_adopted = true;
    process->started_ns = process->loop->now_ns;
    process->state = DM_PROCESS_RUNNING;
    watch(process);
    return 0;
}

const char *dm_process_status_text(int status, char ret[DM_PROCESS_STATUS_MAX])
{
    if (status == -1)
        snprintf(ret, DM_PROCESS_STATUS_MAX, "gone");
    else if (WIFSIGNALED(status))
        snprintf(ret, DM_PROCESS_STATUS_MAX, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(ret, DM_PROCESS_STATUS_MAX, "exit %d", WEXITSTATUS(status));
    return ret;
}
