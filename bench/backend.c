/* The bare backend: answers every request with the same 200 and keeps the connection alive.
 *
 *   dm_bench_backend BODY_BYTES        listens on a free port of 127.0.0.1 and prints "port N"
 *
 * One thread, level-triggered epoll. Pipelined requests are answered in one send of up to ANSWERS_PER_SEND answers.
 * A request head must fit BUFFER_SIZE; a body is skipped. A request for an upgrade to WebSocket is granted, and from then
 * on each short text message is sent back.
 */
#include "websocket.h"
#include "wire.h"

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

static const char SWITCHING[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: " DM_WEBSOCKET_ACCEPT "\r\n\r\n";

struct conn {
    bool is_tunnel;
    uint64_t skip; /* bytes of the current request's body still to come */
    size_t have;
    char buf[BUFFER_SIZE];
};

static char *answers; /* ANSWERS_PER_SEND copies of the answer, one after the other */
static size_t answer_len;
static struct conn *conns[FDS_MAX]; /* by descriptor */

static int make_answers(size_t body_len)
{
    char head[HEAD_MAX];
    int head_len = snprintf(head, sizeof(head),
                            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body_len);

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

static void on_listener(int poll_fd, int listen_fd)
{
    int fd;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

        if (fd >= FDS_MAX || (conns[fd] = malloc(sizeof(*conns[fd]))) == NULL)
            exit(1);
        conns[fd]->is_tunnel = false;
        conns[fd]->skip = 0;
        conns[fd]->have = 0;
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

/* Takes the requests whose heads are complete out of buf. Returns how many, or -1 for what is not a request. */
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
        taken++;
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

/* Answers the requests that came, or opens the tunnel that was asked for. Returns -1 when the connection is over. */
static int answer_requests(int fd, struct conn *conn)
{
    int due = take_requests(conn);

    while (due > 0) {
        int now = due < ANSWERS_PER_SEND ? due : ANSWERS_PER_SEND;
        due = dm_wire_send(fd, answers, answer_len * (size_t)now) < 0 ? -1 : due - now;
    }
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

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct epoll_event listener = {.events = EPOLLIN};
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listen_fd;
    uint16_t port;

    if (argc != 2) {
        fprintf(stderr, "usage: %s BODY_BYTES\n", argv[0]);
        return 2;
    }
    dm_wire_start();
    if (make_answers((size_t)dm_wire_number("BODY_BYTES", argv[1], BODY_MAX)) < 0 || poll_fd < 0 ||
        (listen_fd = dm_wire_listen(0, &port)) < 0)
        return 1;
    listener.data.fd = listen_fd;
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, listen_fd, &listener) < 0)
        return 1;
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poll_fd, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listen_fd)
                on_listener(poll_fd, listen_fd);
            else
                on_readable(events[i].data.fd);
        }
    }
}
