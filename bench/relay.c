/* The bare relay: the least work with which a program that uses sockets the ordinary way can be a proxy, and so the
 * unit in which the others are measured.
 *
 *   dm_bench_relay UPSTREAM_PORT        listens on a free port of 127.0.0.1 and prints "port N"
 *
 * One thread, one level-triggered epoll set in which every socket stays registered for reading. A client connection
 * owns one upstream connection, opened with it and kept alive with it. For each message, in either direction: recv,
 * find its end (empty line + Content-Length), send. Nothing is parsed beyond that, checked, counted or rewritten.
 *
 * R1. A message is forwarded whole, in one send; one that exceeds BUFFER_SIZE ends both connections.
 * R2. A side is freed only after the turn in which its socket closed, since its twin's event may still be in the batch.
 * R3. All sockets share one buffer; a side keeps bytes of its own only between the parts of a message.
 */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 16384
#define EVENTS_PER_TURN 256

struct pair;

/* One socket of a pair; part holds what came of a message whose end is still missing, NULL most of the time. */
struct side {
    struct pair *pair;
    struct side *peer;
    int fd;
    size_t part_len;
    char *part;
};

struct pair {
    struct side client;
    struct side upstream;
    struct pair *next_dead;
    bool is_dead;
};

static int poll_fd;
static struct pair *dead_pairs;
static char buffer[BUFFER_SIZE];

static int watch(int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = data}};

    return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void close_pair(struct pair *pair)
{
    if (pair->is_dead)
        return;
    pair->is_dead = true;
    close(pair->client.fd);
    close(pair->upstream.fd);
    pair->next_dead = dead_pairs;
    dead_pairs = pair;
}

static void free_dead_pairs(void)
{
    while (dead_pairs != NULL) {
        struct pair *pair = dead_pairs;
        dead_pairs = pair->next_dead;
        free(pair->client.part);
        free(pair->upstream.part);
        free(pair);
    }
}

static void open_pair(int client_fd, uint16_t upstream_port)
{
    int upstream_fd = dm_wire_connect(upstream_port);
    struct pair *pair = calloc(1, sizeof(*pair));

    if (upstream_fd < 0 || pair == NULL) {
        fprintf(stderr, "cannot reach the upstream\n");
        exit(1);
    }
    pair->client.pair = pair->upstream.pair = pair;
    pair->client.peer = &pair->upstream;
    pair->upstream.peer = &pair->client;
    pair->client.fd = client_fd;
    pair->upstream.fd = upstream_fd;
    if (watch(client_fd, &pair->client) < 0 || watch(upstream_fd, &pair->upstream) < 0)
        close_pair(pair);
}

static void on_listener(int listen_fd, uint16_t upstream_port)
{
    int fd;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        open_pair(fd, upstream_port);
}

/* Keeps the len bytes in the buffer until the rest of their message comes. */
static int keep_part(struct side *side, size_t len)
{
    if (len == BUFFER_SIZE || (side->part = malloc(len)) == NULL)
        return -1;
    memcpy(side->part, buffer, len);
    side->part_len = len;
    return 0;
}

/* Puts what was kept back at the buffer's start. Returns its length. */
static size_t take_part(struct side *side)
{
    size_t len = side->part_len;

    memcpy(buffer, side->part, len);
    free(side->part);
    side->part = NULL;
    side->part_len = 0;
    return len;
}

/* Forwards the len bytes in the buffer when they are a whole message. Returns -1 when the pair cannot go on. */
static int forward(struct side *side, size_t len)
{
    struct dm_wire_head head;
    int rc = dm_wire_head(buffer, len, &head);

    if (rc < 0)
        return -1;
    if (rc == 0 || len < head.head_len + head.body_len)
        return keep_part(side, len);
    return dm_wire_send(side->peer->fd, buffer, len);
}

static void on_readable(struct side *side)
{
    size_t have = 0;
    ssize_t got;

    if (side->pair->is_dead)
        return;
    if (side->part != NULL)
        have = take_part(side);
    got = recv(side->fd, buffer + have, BUFFER_SIZE - have, 0);
    if (got <= 0 || forward(side, have + (size_t)got) < 0)
        close_pair(side->pair);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_PER_TURN];
    uint16_t upstream_port, port;
    int listen_fd;

    if (argc != 2) {
        fprintf(stderr, "usage: %s UPSTREAM_PORT\n", argv[0]);
        return 2;
    }
    dm_wire_start();
    upstream_port = (uint16_t)dm_wire_number("UPSTREAM_PORT", argv[1], UINT16_MAX);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if ((listen_fd = dm_wire_listen(0, &port)) < 0 || poll_fd < 0 || watch(listen_fd, NULL) < 0)
        return 1;
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poll_fd, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                on_listener(listen_fd, upstream_port);
            else
                on_readable(events[i].data.ptr);
        }
        free_dead_pairs();
    }
}
