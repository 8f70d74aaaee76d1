#include "io/listener.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include "base/log.h"
#include "io/loop_int.h"

enum { ACCEPTS_PER_TURN = 32, REST_MS = 100 };

/* Trying again at once would fail alike; other errors are of one connection. */
static bool is_lasting(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM || error == -EINVAL ||
           error == -EBADF || error == -ENOTSOCK;
}

static void rest(struct dm_listener *listener, int error)
{
    if (listener->n_exhausted++ == 0)
        dm_log(DM_LOG_WARN, "accept_exhausted", "can't accept connections: %s", strerror(-error));
    dm_timer_arm(listener->loop, &listener->timer, REST_MS);
}

/* Returns false when there is nothing more to accept now. */
static bool accept_one(struct dm_listener *listener)
{
    struct dm_sys *sys = listener->loop->sys;
    struct dm_addr peer;
    int fd = sys->ops->accept(sys, listener->watch.fd, &peer);

    if (fd >= 0) {
        listener->n_accepted++;
        listener->on_accept(listener, fd, &peer);
        return true;
    }
    if (is_lasting(fd)) {
        rest(listener, fd);
        return false;
    }
    listener->is_backlogged = fd != -EAGAIN;
    listener->n_failed += fd != -EAGAIN;
    return listener->is_backlogged;
}

static void accept_some(struct dm_listener *listener)
{
    listener->is_backlogged = true;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (listener->is_paused || !accept_one(listener))
            return;
        if (listener->watch.fd < 0)
            return;
    }
    dm_task_post(listener->loop, &listener->task);
}

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_listener *listener = DM_CONTAINER_OF(watch, struct dm_listener, watch);

    listener->is_backlogged = true;
    if (!dm_timer_is_armed(&listener->timer))
        dm_task_post(listener->loop, &listener->task);
}

static void run_task(struct dm_task *task)
{
    accept_some(DM_CONTAINER_OF(task, struct dm_listener, task));
}

static void on_rested(struct dm_timer *timer)
{
    accept_some(DM_CONTAINER_OF(timer, struct dm_listener, timer));
}

int dm_listener_adopt(struct dm_listener *listener, struct dm_loop *loop, int fd,
                      void (*on_accept)(struct dm_listener *, int fd, const struct dm_addr *peer))
{
    int rc;

    *listener = (struct dm_listener){
        .loop = loop, .on_accept = on_accept, .task.run = run_task, .timer.on_due = on_rested, .watch.fd = -1};
    if ((rc = loop->sys->ops->local_addr(loop->sys, fd, &listener->addr)) < 0 ||
        (rc = dm_watch_add(loop, &listener->watch, fd, on_ready)) < 0)
        loop->sys->ops->close(loop->sys, fd);
    return rc;
}

static int fail_open(const struct dm_addr *addr, int error, struct dm_err *err)
{
    char text[DM_ADDR_TEXT_MAX];
    int code = dm_err_of_errno(error);

    dm_addr_format(addr, true, text);
    if (error == -EADDRINUSE && addr->ss.ss_family == AF_UNIX)
        return dm_fail(err, DM_EEXIST, "",
                       "can't listen on %s: another process listens there, or a file that is no socket is in its place",
                       text);
    if (error == -EADDRINUSE)
        code = DM_EEXIST;
    else if (error == -EACCES || error == -EPERM)
        code = DM_EPERM;
    return dm_fail(err, code, "", "can't listen on %s: %s", text, strerror(-error));
}

int dm_listener_open(struct dm_listener *listener, struct dm_loop *loop, const struct dm_addr *addr, int backlog,
                     bool reuse_port, void (*on_accept)(struct dm_listener *, int fd, const struct dm_addr *peer),
                     struct dm_err *err)
{
    int fd = loop->sys->ops->listen(loop->sys, addr, backlog, reuse_port), rc;

    if (fd < 0)
        return fail_open(addr, fd, err);
    if ((rc = dm_listener_adopt(listener, loop, fd, on_accept)) < 0)
        return fail_open(addr, rc, err);
    return 0;
}

void dm_listener_pause(struct dm_listener *listener)
{
    listener->is_paused = true;
}

void dm_listener_resume(struct dm_listener *listener)
{
    listener->is_paused = false;
    if (listener->is_backlogged && !dm_timer_is_armed(&listener->timer))
        dm_task_post(listener->loop, &listener->task);
}

/* While the socket lives, so that nobody has bound another one there. */
static void unlink_file(const struct dm_listener *listener)
{
    struct dm_sys *sys = listener->loop->sys;
    char text[DM_ADDR_TEXT_MAX];

    if (listener->addr.ss.ss_family != AF_UNIX)
        return;
    dm_addr_format(&listener->addr, true, text);
    (void)sys->ops->unlink(sys, text + sizeof("unix:") - 1);
}

/* Drops segments with SYN and without ACK; a filter of a TCP socket sees them from their TCP header on. */
void dm_listener_hush(int fd)
{
    enum { FLAGS_AT = 13, SYN = 0x02, ACK = 0x10, ALL = 0x7fffffff };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, ALL),
    };
    struct sock_fprog program = {DM_COUNT(code), code};

    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Other processes may have the socket, and then it stays in our poll set when our descriptor is closed. */
void dm_listener_close(struct dm_listener *listener)
{
    int fd = listener->watch.fd;

    if (fd < 0)
        return;
    if (listener->unlinks)
        unlink_file(listener);
    dm_task_cancel(listener->loop, &listener->task);
    dm_timer_cancel(listener->loop, &listener->timer);
    dm_watch_del(listener->loop, &listener->watch);
    listener->loop->sys->ops->close(listener->loop->sys, fd);
}
