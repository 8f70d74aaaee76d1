/* Who takes up a gateway by being slow or big: many connections of one client to one port of 127.0.0.1.
 *
 *   dm_bench_slow --to PORT --requests FILE --kind KIND [--connections N] [--seconds S] [--counters FILE]
 *
 * FILE holds one request head. KIND is what each connection does with it:
 *   head      the head without its end, and then a byte of another field each TICK_NS: a head that never ends
 *   body      the head, which announces a body, and a byte of that each TICK_NS
 *   reader    the head, and of the answer READ_SIZE bytes each TICK_NS, into the smallest receive buffer there is
 *   upload    the head, the announced body as fast as it is taken, its answer, and again
 *   download  the head, its answer as fast as it comes, and again
 * A connection that ends is opened again at the next tick, as is one that was answered before its time. Until S seconds are
 * over or SIGTERM. Prints the counts (counts.h) as one JSON line, with seconds and bytes: what went over the connections in both
 * directions.
 *
 * State of a connection
 *   closed --tick--> connecting --writable--> open --end of stream, error, untimely answer--> closed
 *
 * S1. Watched for writing only while it connects or has bytes of an upload to send, for reading only where the kind reads at
 *     once. */
#include "generator.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_NS (100 * UINT64_C(1000000))
#define CONNECTIONS_MAX 65536
#define SECONDS_MAX 3600
#define CHUNK_SIZE 65536
#define READ_SIZE 64
#define EVENTS_PER_TURN 256

enum kind { KIND_HEAD, KIND_BODY, KIND_READER, KIND_UPLOAD, KIND_DOWNLOAD, KIND_COUNT };
enum state { STATE_CLOSED, STATE_CONNECTING, STATE_OPEN };

static const char *const KIND_NAMES[KIND_COUNT] = {"head", "body", "reader", "upload", "download"};

struct conn {
    int fd;
    enum state state;
    bool in_answer;
    uint64_t body_left;   /* of the request, still to be sent */
    uint64_t answer_left; /* still to be read, once in_answer */
    uint32_t dripped;
};

static struct {
    uint16_t port;
    uint32_t connections;
    uint64_t seconds;
    enum kind kind;
    const char *requests_path;
    const char *counters_path;
} options = {.connections = 100, .seconds = 10, .kind = KIND_COUNT};

static struct dm_counts *counts;
static struct dm_requests requests;
static struct dm_wire_head head;
static struct conn *conns;
static uint64_t bytes;
static int poll_fd;
static char chunk[CHUNK_SIZE];

static int watch(struct conn *conn, int how, uint32_t what)
{
    struct epoll_event event = {.events = what, .data = {.ptr = conn}};

    return epoll_ctl(poll_fd, how, conn->fd, &event);
}

static void open_conn(struct conn *conn)
{
    int least = 1, big = DM_WIRE_BIG_BUFFER;

    *conn = (struct conn){.fd = dm_wire_connect(options.port), .state = STATE_CONNECTING};
    if (conn->fd < 0 || watch(conn, EPOLL_CTL_ADD, EPOLLOUT) < 0) {
        fprintf(stderr, "cannot open a connection: %s\n", strerror(errno));
        exit(1);
    }
    if (options.kind == KIND_READER)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    if (options.kind == KIND_UPLOAD)
        setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    if (options.kind == KIND_DOWNLOAD)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
}

static void close_conn(struct conn *conn)
{
    if (conn->state == STATE_OPEN) {
        counts->open--;
        counts->reconnects++;
    } else {
        counts->unconnected++;
    }
    close(conn->fd);
    conn->state = STATE_CLOSED;
}

/* Sends of the body what is taken. Returns -1 when the connection is over. */
static int push_body(struct conn *conn)
{
    while (conn->body_left > 0) {
        ssize_t sent =
            send(conn->fd, chunk, conn->body_left < CHUNK_SIZE ? (size_t)conn->body_left : CHUNK_SIZE, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? watch(conn, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT) : -1;
        conn->body_left -= (uint64_t)sent;
        bytes += (uint64_t)sent;
    }
    return watch(conn, EPOLL_CTL_MOD, EPOLLIN);
}

/* The head, as far as the kind sends it at once, and what follows at once. */
static int begin(struct conn *conn)
{
    const struct dm_request *request = &requests.all[0];
    size_t len = options.kind == KIND_HEAD ? request->len - 2 : request->len;

    conn->in_answer = false;
    conn->body_left = head.body_len;
    counts->in_flight++;
    bytes += len;
    if (dm_wire_send(conn->fd, request->ptr, len) < 0)
        return -1;
    if (options.kind == KIND_UPLOAD)
        return push_body(conn);
    return watch(conn, EPOLL_CTL_MOD, options.kind == KIND_READER ? 0 : EPOLLIN);
}

static int on_connected(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0)
        return -1;
    conn->state = STATE_OPEN;
    counts->open++;
    return begin(conn);
}

/* An answer's first bytes. Its head comes in one piece, or the connection is given up. */
static int begin_answer(struct conn *conn, const char *buf, size_t got)
{
    struct dm_wire_head answer;

    counts->answered++;
    counts->in_flight--;
    if (got < 12 || buf[9] != '2')
        counts->non_2xx++;
    if (options.kind == KIND_READER && got >= 12 && buf[9] == '2') {
        conn->in_answer = true;
        conn->answer_left = UINT64_MAX; /* too long for its end to be seen */
        return 0;
    }
    if (conn->body_left > 0 || options.kind == KIND_HEAD || dm_wire_head(buf, got, &answer) != 1 || buf[9] != '2' ||
        answer.is_close)
        return -1;
    conn->in_answer = true;
    conn->answer_left = answer.head_len + answer.body_len;
    return 0;
}

static int take(struct conn *conn, const char *buf, size_t got)
{
    bytes += got;
    if (!conn->in_answer && begin_answer(conn, buf, got) < 0)
        return -1;
    if (got > conn->answer_left)
        return -1;
    conn->answer_left -= got;
    return conn->answer_left == 0 ? begin(conn) : 0;
}

static int read_some(struct conn *conn, size_t size)
{
    static char buf[CHUNK_SIZE];
    ssize_t got = recv(conn->fd, buf, size, 0);

    if (got < 0 && errno == EAGAIN)
        return 0;
    return got <= 0 ? -1 : take(conn, buf, (size_t)got);
}

static void on_event(struct conn *conn, uint32_t what)
{
    int rc = 0;

    if (conn->state == STATE_CONNECTING)
        rc = on_connected(conn);
    else if ((what & (EPOLLERR | EPOLLHUP)) != 0)
        rc = -1;
    else if ((what & EPOLLIN) != 0)
        rc = read_some(conn, CHUNK_SIZE);
    else if ((what & EPOLLOUT) != 0)
        rc = push_body(conn);
    if (rc < 0)
        close_conn(conn);
}

static int drip(struct conn *conn)
{
    static const char field[] = "X-Slow: 1\r\n";
    char byte = options.kind == KIND_HEAD ? field[conn->dripped++ % (sizeof(field) - 1)] : 'x';

    if (options.kind == KIND_BODY && conn->body_left-- == 0)
        return -1;
    bytes++;
    return dm_wire_send(conn->fd, &byte, 1);
}

static void on_tick(struct conn *conn)
{
    int rc = 0;

    if (conn->state == STATE_CLOSED) {
        open_conn(conn);
        return;
    }
    if (conn->state != STATE_OPEN)
        return;
    if (options.kind == KIND_HEAD || options.kind == KIND_BODY)
        rc = drip(conn);
    else if (options.kind == KIND_READER)
        rc = read_some(conn, READ_SIZE);
    if (rc < 0)
        close_conn(conn);
}

/* The connections take their turns one after the other, spread over the tick. */
static void run(uint64_t now)
{
    struct epoll_event events[EVENTS_PER_TURN];
    uint64_t end = now + options.seconds * NS;
    uint64_t step = TICK_NS / options.connections + 1;
    uint64_t due = now;
    uint32_t next = 0;

    while (now < end && !dm_generator_is_stopped) {
        uint64_t wait = due > now ? due - now : 0;
        struct timespec timeout = {.tv_nsec = (long)wait};
        int count = epoll_pwait2(poll_fd, events, EVENTS_PER_TURN, &timeout, NULL);

        for (int i = 0; i < count; i++)
            on_event(events[i].data.ptr, events[i].events);
        now = dm_generator_now_ns();
        for (uint32_t i = 0; i < options.connections && due <= now; i++, due += step)
            on_tick(&conns[next++ % options.connections]);
        if (due <= now)
            due = now;
    }
}

static const struct option OPTIONS[] = {
    {"to", required_argument, NULL, 't'},
    {"requests", required_argument, NULL, 'q'},
    {"kind", required_argument, NULL, 'k'},
    {"seconds", required_argument, NULL, 's'},
    {"connections", required_argument, NULL, 'n'},
    {"counters", required_argument, NULL, 'c'},
    {NULL, 0, NULL, 0},
};

static enum kind kind_of(const char *name)
{
    int kind = 0;

    while (kind < KIND_COUNT && strcmp(KIND_NAMES[kind], name) != 0)
        kind++;
    return (enum kind)kind;
}

static void read_option(int name)
{
    if (name == 't')
        options.port = (uint16_t)dm_wire_number("--to", optarg, UINT16_MAX);
    else if (name == 'q')
        options.requests_path = optarg;
    else if (name == 'k')
        options.kind = kind_of(optarg);
    else if (name == 's')
        options.seconds = dm_wire_number("--seconds", optarg, SECONDS_MAX);
    else if (name == 'n')
        options.connections = (uint32_t)dm_wire_number("--connections", optarg, CONNECTIONS_MAX);
    else if (name == 'c')
        options.counters_path = optarg;
    else
        exit(2);
}

static void read_options(int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
        read_option(name);
    if (options.port != 0 && options.requests_path != NULL && options.kind != KIND_COUNT && options.connections > 0)
        return;
    fprintf(
        stderr,
        "usage: %s --to PORT --requests FILE --kind head|body|reader|upload|download [--connections N] [--seconds S] "
        "[--counters FILE]\n",
        argv[0]);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t start_ns;

    dm_wire_start();
    read_options(argc, argv);
    poll_fd = dm_generator_start(options.requests_path, &requests, options.counters_path, &counts);
    conns = calloc(options.connections, sizeof(*conns));
    if (poll_fd < 0 || conns == NULL || dm_wire_head(requests.all[0].ptr, requests.all[0].len, &head) != 1)
        return 1;
    start_ns = dm_generator_now_ns();
    run(start_ns);
    printf("{");
    dm_counts_print(counts);
    printf(",\"seconds\":%.3f,\"bytes\":%llu}\n", (double)(dm_generator_now_ns() - start_ns) / 1e9,
           (unsigned long long)bytes);
    return 0;
}
