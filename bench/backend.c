/* The bare backend: answers every request with the same 200 and keeps the connection alive.
 *
 *   dm_bench_backend BODY_BYTES [DELAY_MS]   listens on a free port of 127.0.0.1 and prints "port N"
 *
 * One thread, level-triggered epoll. Pipelined requests are answered in one send of up to ANSWERS_PER_SEND answers.
 * A request head must fit BUFFER_SIZE; a body is read and dropped before the answer. A request for an upgrade to WebSocket is granted, and from then
 * on each short text message is sent back.
 *
 * With DELAY_MS an answer leaves that long after its request came: the backend that hangs. A body above BODY_MAX is sent as
 * fast as it is taken, and requests wait meanwhile: the backend of what is big.
 *
 * B1. A conn that owes bytes is watched for writing and for nothing else.
 * B2. Waiting answers stand in the order of their times, since all wait equally long; each names its conn by descriptor and
 *     serial, so that a conn that is gone is not answered through the next one with its descriptor.
 */
#include "generator.h"
#include "websocket.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 16384
#define BODY_MAX 65536
#define HEAD_MAX 256
#define ANSWERS_PER_SEND 16
#define EVENTS_PER_TURN 256
#define FDS_MAX 65536
#define WAITING_MAX 65536
#define BODY_BIG_MAX UINT64_C(1000000000)
#define DELAY_MAX 60000
#define CHUNK_SIZE 65536

static const char SWITCHING[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: " DM_WEBSOCKET_ACCEPT "\r\n\r\n";

struct conn {
    bool is_tunnel;
    bool is_asked; /* a request's head has come, its body maybe not yet */
    uint64_t serial;
    uint64_t skip; /* bytes of the current request's body still to come */
    uint64_t owed; /* bytes of a big body still to be sent */
    size_t have;
    char buf[BUFFER_SIZE];
};

/* Answers that wait for their time. */
struct waiting {
    uint64_t due_ns;
    uint64_t serial;
    int fd;
    int answers;
};

static char *answers; /* ANSWERS_PER_SEND copies of the answer, one after the other */
static size_t answer_len;
static size_t big_head_len; /* of an answer whose body is big; then `answers` is that head alone */
static uint64_t big_body_len;
static uint64_t delay_ns;
static uint64_t serials;
static struct conn *conns[FDS_MAX]; /* by descriptor */
static struct waiting waiting[WAITING_MAX];
static uint64_t waiting_first, waiting_end; /* places modulo WAITING_MAX */
static int poll_fd;

static int write_head(char head[HEAD_MAX], uint64_t body_len)
{
    return snprintf(head, HEAD_MAX, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
                    (unsigned long long)body_len);
}

static int make_big_answer(uint64_t body_len)
{
    answers = malloc(HEAD_MAX);
    if (answers == NULL)
        return -1;
    big_head_len = (size_t)write_head(answers, body_len);
    big_body_len = body_len;
    return 0;
}

static int make_answers(size_t body_len)
{
    char head[HEAD_MAX];
    int head_len = write_head(head, body_len);

    answer_len = (size_t)head_len + body_len;
    answers = malloc(answer_len * ANSWERS_PER_SEND);
    if (answers == NULL)
        return -1;
    memset(answers, 'x', answer_len * ANSWERS_PER_SEND);
    for (size_t i = 0; i < ANSWERS_PER_SEND; i++)
        memcpy(answers + i * answer_len, head, (size_t)head_len);
    return 0;
}

static void close_conn(int fd)
{
    close(fd);
    free(conns[fd]);
    conns[fd] = NULL;
}

static void on_listener(int listen_fd)
{
    int fd;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

        if (big_body_len > 0)
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){DM_WIRE_BIG_BUFFER}, sizeof(int));
        if (fd >= FDS_MAX || (conns[fd] = malloc(sizeof(*conns[fd]))) == NULL)
            exit(1);
        memset(conns[fd], 0, offsetof(struct conn, buf));
        conns[fd]->serial = ++serials;
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            close_conn(fd);
    }
}

static void drop_bytes(struct conn *conn, size_t len)
{
    conn->have -= len;
    if (conn->have > 0 && len > 0)
        memmove(conn->buf, conn->buf + len, conn->have);
}

static bool has_key(const char *head, size_t len)
{
    return memmem(head, len, ": " DM_WEBSOCKET_KEY "\r\n", sizeof(DM_WEBSOCKET_KEY) + 3) != NULL;
}

/* Takes what has come of requests out of buf. Returns how many are complete with their bodies, or -1 for what is not a request. */
static int take_requests(struct conn *conn)
{
    struct dm_wire_head head;
    size_t at = 0;
    int taken = 0;
    int rc = 0;

    for (;;) {
        size_t skipped = conn->have - at;
        if (skipped > conn->skip)
            skipped = (size_t)conn->skip;
        at += skipped;
        conn->skip -= skipped;
        if (conn->skip == 0 && conn->is_asked) {
            conn->is_asked = false;
            taken++;
        }
        if (at == conn->have || (rc = dm_wire_head(conn->buf + at, conn->have - at, &head)) != 1)
            break;
        if (head.is_upgrade) {
            conn->is_tunnel = has_key(conn->buf + at, head.head_len);
            at += head.head_len;
            rc = conn->is_tunnel && taken == 0 ? 0 : -1;
            break;
        }
        at += head.head_len;
        conn->skip = head.body_len;
        conn->is_asked = true;
    }
    drop_bytes(conn, at);
    return rc < 0 || conn->have == BUFFER_SIZE ? -1 : taken;
}

/* Sends back what messages have come. Returns -1 when the tunnel cannot go on. */
static int echo(int fd, struct conn *conn)
{
    char frame[DM_WEBSOCKET_FRAME_MAX];
    size_t frame_len;
    ssize_t taken;

    while ((taken = dm_websocket_answer(conn->buf, conn->have, frame, &frame_len)) > 0) {
        drop_bytes(conn, (size_t)taken);
        if (dm_wire_send(fd, frame, frame_len) < 0)
            return -1;
    }
    return (int)taken;
}

static int watch(int fd, uint32_t what)
{
    struct epoll_event event = {.events = what, .data = {.fd = fd}};

    return epoll_ctl(poll_fd, EPOLL_CTL_MOD, fd, &event);
}

/* Sends of a big body what is taken. Returns -1 when the connection is over. */
static int pay(int fd, struct conn *conn)
{
    static const char chunk[CHUNK_SIZE];

    while (conn->owed > 0) {
        ssize_t sent = send(fd, chunk, conn->owed < CHUNK_SIZE ? (size_t)conn->owed : CHUNK_SIZE, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? watch(fd, EPOLLOUT) : -1;
        conn->owed -= (uint64_t)sent;
    }
    return watch(fd, EPOLLIN);
}

/* Begins a big answer. Whoever asks for several at once gets none. */
static int begin_big(int fd, struct conn *conn, int due)
{
    if (due != 1 || dm_wire_send(fd, answers, big_head_len) < 0)
        return -1;
    conn->owed = big_body_len;
    return pay(fd, conn);
}

/* Sends so many answers. Returns -1 when the connection is over. */
static int send_answers(int fd, struct conn *conn, int due)
{
    if (big_head_len > 0 && due > 0)
        return begin_big(fd, conn, due);
    while (due > 0) {
        int now = due < ANSWERS_PER_SEND ? due : ANSWERS_PER_SEND;
        due = dm_wire_send(fd, answers, answer_len * (size_t)now) < 0 ? -1 : due - now;
    }
    return due;
}

static int put_off(int fd, const struct conn *conn, int due)
{
    if (waiting_end - waiting_first == WAITING_MAX)
        return -1;
    waiting[waiting_end++ % WAITING_MAX] = (struct waiting){
        .due_ns = dm_generator_now_ns() + delay_ns,
        .serial = conn->serial,
        .fd = fd,
        .answers = due,
    };
    return 0;
}

/* Answers the requests that came, or opens the tunnel that was asked for. Returns -1 when the connection is over. */
static int answer_requests(int fd, struct conn *conn)
{
    int due = take_requests(conn);

    if (due > 0 && delay_ns > 0)
        due = put_off(fd, conn, due);
    else
        due = due > 0 ? send_answers(fd, conn, due) : due;
    if (due < 0 || !conn->is_tunnel)
        return due;
    return dm_wire_send(fd, SWITCHING, sizeof(SWITCHING) - 1) < 0 ? -1 : echo(fd, conn);
}

static void on_readable(int fd)
{
    struct conn *conn = conns[fd];
    ssize_t got = recv(fd, conn->buf + conn->have, BUFFER_SIZE - conn->have, 0);
    int rc = -1;

    if (got > 0) {
        conn->have += (size_t)got;
        rc = conn->is_tunnel ? echo(fd, conn) : answer_requests(fd, conn);
    }
    if (rc < 0)
        close_conn(fd);
}

static void on_conn(int fd, uint32_t what)
{
    if (conns[fd]->owed == 0)
        on_readable(fd);
    else if ((what & (EPOLLERR | EPOLLHUP)) != 0 || pay(fd, conns[fd]) < 0)
        close_conn(fd);
}

/* Sends the answers whose time has come. */
static void answer_waiting(uint64_t now)
{
    while (waiting_first != waiting_end && waiting[waiting_first % WAITING_MAX].due_ns <= now) {
        const struct waiting *one = &waiting[waiting_first++ % WAITING_MAX];
        struct conn *conn = conns[one->fd];
        if (conn != NULL && conn->serial == one->serial && send_answers(one->fd, conn, one->answers) < 0)
            close_conn(one->fd);
    }
}

/* Waits for events, until the time of the first answer at the latest. */
static int wait_for(struct epoll_event events[EVENTS_PER_TURN])
{
    uint64_t due, now;
    struct timespec timeout;

    if (waiting_first == waiting_end)
        return epoll_wait(poll_fd, events, EVENTS_PER_TURN, -1);
    due = waiting[waiting_first % WAITING_MAX].due_ns;
    now = dm_generator_now_ns();
    due = due > now ? due - now : 0;
    timeout = (struct timespec){.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
    return epoll_pwait2(poll_fd, events, EVENTS_PER_TURN, &timeout, NULL);
}

static void read_arguments(int argc, char **argv)
{
    uint64_t body_len;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s BODY_BYTES [DELAY_MS]\n", argv[0]);
        exit(2);
    }
    body_len = dm_wire_number("BODY_BYTES", argv[1], BODY_BIG_MAX);
    if ((body_len > BODY_MAX ? make_big_answer(body_len) : make_answers((size_t)body_len)) < 0)
        exit(1);
    if (argc == 3)
        delay_ns = dm_wire_number("DELAY_MS", argv[2], DELAY_MAX) * (NS / 1000);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct epoll_event listener = {.events = EPOLLIN};
    int listen_fd;
    uint16_t port;

    dm_wire_start();
    read_arguments(argc, argv);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd < 0 || (listen_fd = dm_wire_listen(0, &port)) < 0)
        return 1;
    listener.data.fd = listen_fd;
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, listen_fd, &listener) < 0)
        return 1;
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    for (;;) {
        int count = wait_for(events);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listen_fd)
                on_listener(listen_fd);
            else
                on_conn(events[i].data.fd, events[i].events);
        }
        if (delay_ns > 0)
            answer_waiting(dm_generator_now_ns());
    }
}
