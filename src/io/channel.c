#include "io/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/loop_int.h"

enum { READ_BYTES = 64 << 10, MESSAGES_PER_TURN = 64, DEFAULT_QUEUE_BYTES = 32 << 20 };

#define HAS_FD (UINT32_C(1) << 31)

struct frame_head {
    uint32_t len, type;
};

struct dm_channel_frame {
    struct dm_channel_frame *next;
    size_t sent, len; /* of head and payload */
    int fd;           /* -1: none, or sent already */
    char bytes[];
};

/* Ending */

static void drop_frame(struct dm_channel *channel)
{
    struct dm_channel_frame *frame = channel->head;

    if (!(channel->head = frame->next))
        channel->tail = NULL;
    channel->queued_bytes -= frame->len;
    if (frame->fd >= 0)
        close(frame->fd);
    dm_free(frame);
}

/* What was received stays until the task, for a callback that closes still reads it. */
static void end(struct dm_channel *channel, int code)
{
    if (channel->is_closing)
        return;
    channel->is_closing = true;
    channel->code = code;
    while (channel->head)
        drop_frame(channel);
    dm_watch_close(channel->loop, &channel->watch);
    dm_task_post(channel->loop, &channel->task);
}

static void release(struct dm_channel *channel)
{
    while (channel->n_fds > 0)
        close(channel->fds[--channel->n_fds]);
    dm_free(channel->in);
    channel->in = NULL;
    channel->on_closed(channel, channel->code);
}

void dm_channel_close(struct dm_channel *channel)
{
    end(channel, 0);
}

/* Receiving */

static void take_fds(struct dm_channel *channel, struct msghdr *msg)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= cmsg->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
            if (channel->n_fds < DM_CHANNEL_FDS_MAX)
                channel->fds[channel->n_fds++] = fd;
            else
                close(fd);
        }
    }
}

/* Returns what recvmsg does, -errno on failure. */
static ssize_t receive(struct dm_channel *channel)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DM_CHANNEL_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {channel->in + channel->in_len, channel->in_cap - channel->in_len};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n;

    do
        n = recvmsg(channel->watch.fd, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_fds(channel, &msg);
    channel->in_len += (size_t)n;
    return n;
}

static int claim_fd(struct dm_channel *channel)
{
    int fd;

    if (channel->n_fds == 0)
        return -1;
    fd = channel->fds[0];
    memmove(channel->fds, channel->fds + 1, --channel->n_fds * sizeof(int));
    return fd;
}

/* Hands out the frame at ptr; returns its length, 0 when it is not whole yet, or an error. */
static ssize_t hand_out(struct dm_channel *channel, const char *ptr, size_t len)
{
    struct frame_head head;
    int fd = -1;

    if (len < sizeof(head))
        return 0;
    memcpy(&head, ptr, sizeof(head));
    if (head.len > DM_CHANNEL_MESSAGE_MAX)
        return DM_ECORRUPT;
    if (len < sizeof(head) + head.len)
        return 0;
    if (head.type & HAS_FD && (fd = claim_fd(channel)) < 0)
        return DM_ECORRUPT;
    channel->on_message(channel, head.type & ~HAS_FD, dm_str_n(ptr + sizeof(head), head.len), fd);
    return (ssize_t)(sizeof(head) + head.len);
}

/* Hands out what is whole, at most *left frames, and moves the rest to the front. */
static void hand_out_all(struct dm_channel *channel, int *left)
{
    size_t at = 0;
    ssize_t n = 0;

    while (*left > 0 && !channel->is_closing && at < channel->in_len &&
           (n = hand_out(channel, channel->in + at, channel->in_len - at)) > 0) {
        at += (size_t)n;
        --*left;
    }
    if (n < 0)
        end(channel, (int)n);
    if (channel->is_closing)
        return;
    channel->in_len -= at;
    if (at > 0 && channel->in_len > 0)
        memmove(channel->in, channel->in + at, channel->in_len);
}

/* Room for the frame that has begun, or for a read. An idle channel owns no buffer. */
static void make_room(struct dm_channel *channel)
{
    struct frame_head head;
    size_t need = READ_BYTES;

    if (channel->in_len >= sizeof(head)) {
        memcpy(&head, channel->in, sizeof(head));
        need = DM_MAX(need, sizeof(head) + DM_MIN(head.len, DM_CHANNEL_MESSAGE_MAX));
    }
    if (channel->in_cap >= need && channel->in_cap > channel->in_len)
        return;
    channel->in_cap = DM_MAX(need, channel->in_len + READ_BYTES);
    channel->in = dm_realloc(channel->in, channel->in_cap);
}

static void drop_empty_buffer(struct dm_channel *channel)
{
    if (channel->is_closing || channel->in_len > 0)
        return;
    dm_free(channel->in);
    channel->in = NULL;
    channel->in_cap = 0;
}

/* Reads until nothing is there or enough was handed out; then a task goes on. */
static void read_some(struct dm_channel *channel)
{
    int left = MESSAGES_PER_TURN;
    ssize_t n;

    for (;;) {
        hand_out_all(channel, &left);
        if (channel->is_closing)
            return;
        if (left == 0) {
            dm_task_post(channel->loop, &channel->task);
            return;
        }
        make_room(channel);
        if ((n = receive(channel)) <= 0)
            break;
    }
    if (n == 0)
        end(channel, DM_ECLOSED);
    else if (n != -EAGAIN)
        end(channel, n == -ECONNRESET ? DM_ECLOSED : (int)n);
    drop_empty_buffer(channel);
}

/* Sending */

/* The descriptor goes with the frame's first byte; each frame is a call of its own, so that they arrive together. */
static ssize_t send_frame(struct dm_channel *channel, const char *ptr, size_t len, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(char *)ptr, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        control.align =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
    }
    do
        n = sendmsg(channel->watch.fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Without a copy, as much as goes. */
static ssize_t send_at_once(struct dm_channel *channel, struct frame_head head, struct dm_str payload)
{
    struct iovec iov[] = {{&head, sizeof(head)}, {(char *)payload.ptr, payload.len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = DM_COUNT(iov)};
    ssize_t n;

    do
        n = sendmsg(channel->watch.fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void fail_sending(struct dm_channel *channel, ssize_t code)
{
    end(channel, code == -EPIPE || code == -ECONNRESET ? DM_ECLOSED : (int)code);
}

static void send_some(struct dm_channel *channel)
{
    struct dm_channel_frame *frame;

    while ((frame = channel->head)) {
        ssize_t n = send_frame(channel, frame->bytes + frame->sent, frame->len - frame->sent, frame->fd);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            fail_sending(channel, n);
            return;
        }
        if (frame->fd >= 0)
            close(frame->fd);
        frame->fd = -1;
        if ((frame->sent += (size_t)n) == frame->len)
            drop_frame(channel);
    }
}

static struct dm_channel_frame *new_frame(struct frame_head head, struct dm_str payload, int fd)
{
    struct dm_channel_frame *frame = dm_alloc(sizeof(*frame) + sizeof(head) + payload.len);

    *frame = (struct dm_channel_frame){.len = sizeof(head) + payload.len, .fd = fd};
    memcpy(frame->bytes, &head, sizeof(head));
    if (payload.len > 0)
        memcpy(frame->bytes + sizeof(head), payload.ptr, payload.len);
    return frame;
}

static void enqueue(struct dm_channel *channel, struct dm_channel_frame *frame)
{
    channel->queued_bytes += frame->len;
    if (channel->tail) {
        channel->tail = channel->tail->next = frame;
        return;
    }
    channel->head = channel->tail = frame;
    send_some(channel);
}

int dm_channel_send(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct frame_head head = {.len = (uint32_t)payload.len, .type = fd >= 0 ? type | HAS_FD : type};
    struct dm_channel_frame *frame;
    ssize_t sent = 0;
    int own_fd = -1;

    if (channel->is_closing)
        return DM_ECLOSED;
    if (payload.len > DM_CHANNEL_MESSAGE_MAX || type & HAS_FD ||
        channel->queued_bytes + payload.len > channel->queue_max_bytes)
        return DM_EBUDGET;
    if (fd >= 0 && (own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return DM_EBUDGET;
    if (!channel->head && fd < 0) {
        sent = send_at_once(channel, head, payload);
        if (sent == (ssize_t)(sizeof(head) + payload.len))
            return 0;
        if (sent < 0 && sent != -EAGAIN) {
            fail_sending(channel, sent);
            return DM_ECLOSED;
        }
    }
    frame = new_frame(head, payload, own_fd);
    frame->sent = (size_t)DM_MAX(sent, (ssize_t)0);
    enqueue(channel, frame);
    return channel->is_closing ? DM_ECLOSED : 0;
}

/* Life */

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_channel *channel = DM_CONTAINER_OF(watch, struct dm_channel, watch);

    if (ready & DM_READY_IN)
        read_some(channel);
    if (ready & DM_READY_OUT && !channel->is_closing)
        send_some(channel);
}

static void run_task(struct dm_task *task)
{
    struct dm_channel *channel = DM_CONTAINER_OF(task, struct dm_channel, task);

    if (channel->is_closing)
        release(channel);
    else
        read_some(channel);
}

int dm_channel_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

int dm_channel_open(struct dm_channel *channel, struct dm_loop *loop, int fd, size_t queue_max_bytes)
{
    int rc;

    *channel = (struct dm_channel){
        .loop = loop,
        .on_message = channel->on_message,
        .on_closed = channel->on_closed,
        .task.run = run_task,
        .watch.fd = -1,
        .queue_max_bytes = queue_max_bytes ? queue_max_bytes : DEFAULT_QUEUE_BYTES,
    };
    if ((rc = dm_watch_add(loop, &channel->watch, fd, on_ready)) < 0)
        loop->sys->ops->close(loop->sys, fd);
    return rc;
}

int dm_channel_connect(struct dm_channel *channel, struct dm_loop *loop, const struct dm_addr *addr,
                       size_t queue_max_bytes)
{
    int fd = loop->sys->ops->connect(loop->sys, addr);

    return fd < 0 ? fd : dm_channel_open(channel, loop, fd, queue_max_bytes);
}

int dm_channel_peer(const struct dm_channel *channel, struct dm_peer_cred *ret)
{
    struct dm_sys *sys = channel->loop->sys;

    return sys->ops->peer_cred(sys, channel->watch.fd, ret);
}
