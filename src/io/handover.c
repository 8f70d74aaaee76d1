#include "io/handover.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TAKES_PER_TURN = 8, FDS_MAX = 4 };

int dm_handover_pair(size_t queue_bytes, int ret_fds[2])
{
    int bytes = (int)DM_MIN(queue_bytes, (size_t)INT32_MAX / 2);

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) < 0)
        return -errno;
    if (setsockopt(ret_fds[DM_HANDOVER_GIVING], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0)
        return 0;
    bytes = -errno;
    close(ret_fds[0]);
    close(ret_fds[1]);
    return bytes;
}

/* --- giving ------------------------------------------------------------------------------------------------------- */

int dm_handover_give(int giving_fd, struct dm_str message, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(char *)(uintptr_t)message.ptr, message.len};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n;

    if (message.len == 0 || message.len > DM_HANDOVER_MESSAGE_MAX)
        return -EMSGSIZE;
    control.align =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
    do
        n = sendmsg(giving_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* --- taking ------------------------------------------------------------------------------------------------------- */

/* All descriptors that came along; how many. */
static int take_fds(struct msghdr *msg, int ret[FDS_MAX])
{
    int n = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= cmsg->cmsg_len - CMSG_LEN(0) && n < FDS_MAX; at += sizeof(int))
            memcpy(&ret[n++], CMSG_DATA(cmsg) + at, sizeof(int));
    }
    return n;
}

static void drop(struct dm_handover *handover, const int *fds, int n_fds)
{
    handover->n_dropped++;
    while (n_fds > 0)
        close(fds[--n_fds]);
}

/* False when there is nothing more to take now. */
static bool take_one(struct dm_handover *handover)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    char message[DM_HANDOVER_MESSAGE_MAX];
    struct iovec iov = {message, sizeof(message)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int fds[FDS_MAX], n_fds;
    ssize_t n;

    do
        n = recvmsg(handover->watch.fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n <= 0) {
        handover->is_backlogged = false;
        handover->has_ended = n == 0 || errno != EAGAIN;
        return false;
    }
    n_fds = take_fds(&msg, fds);
    if (n_fds != 1 || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        drop(handover, fds, n_fds);
        return true;
    }
    handover->n_taken++;
    handover->on_taken(handover, dm_str_n(message, (size_t)n), fds[0]);
    return handover->watch.fd >= 0;
}

/* Few at a time: another taker may be free for the rest. */
static void take_some(struct dm_handover *handover)
{
    handover->is_backlogged = true;
    for (int i = 0; i < TAKES_PER_TURN; i++)
        if (!take_one(handover))
            return;
    dm_task_post(handover->loop, &handover->task);
}

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_handover *handover = DM_CONTAINER_OF(watch, struct dm_handover, watch);

    handover->is_backlogged = true;
    dm_task_post(handover->loop, &handover->task);
}

static void run_task(struct dm_task *task)
{
    take_some(DM_CONTAINER_OF(task, struct dm_handover, task));
}

int dm_handover_open(struct dm_handover *handover, struct dm_loop *loop, int taking_fd,
                     void (*on_taken)(struct dm_handover *, struct dm_str message, int fd))
{
    int rc;

    *handover = (struct dm_handover){
        .loop = loop, .on_taken = on_taken, .watch.fd = -1, .task.run = run_task, .is_backlogged = true};
    if ((rc = dm_watch_add(loop, &handover->watch, taking_fd, on_ready)) < 0)
        close(taking_fd);
    else
        dm_task_post(loop, &handover->task);
    return rc;
}

/* Other processes may have the end too: it leaves our poll set by name. */
void dm_handover_close(struct dm_handover *handover)
{
    int fd = handover->watch.fd;

    if (fd < 0)
        return;
    dm_task_cancel(handover->loop, &handover->task);
    dm_watch_del(handover->loop, &handover->watch);
    close(fd);
}
