/* The load generator: HTTP/1.1 connections to one port of 127.0.0.1, one request outstanding on each.
 *
 *   dm_bench_load --to PORT --requests FILE [--connections N] [--seconds S] [--rate R | --each K | --once]
 *                 [--tls NAME [--resume]] [--tunnel] [--from PORTS] [--counters FILE]
 *
 * FILE holds request heads, one after the other; connection i sends the (i modulo count)-th, again and again.
 *
 * Closed loop (default): the next request leaves as soon as an answer is complete.
 * --rate R: request i is due at start + i/R whatever the answers do. It leaves on the first free connection, and its
 *     latency counts from when it was due, so a stall is charged to every request that it delayed (no coordinated
 *     omission). After S seconds nothing more falls due, and DRAIN_NS are given to what is still out.
 * --each K: every connection sends K requests (0: none) and stays open in silence until S seconds are over or SIGTERM.
 *     At most OPENING_MAX connections are busy at a time; "ready" is printed when all are silent.
 * --once: a closed loop of connections: each carries one request, is closed by this side, and makes place for another.
 * --tls NAME: over TLS 1.3 with this server name (channel.h says what is offered). With --resume each place keeps the
 *     newest session of its connections and offers it to the next one; the counts say how many were taken up.
 * --from PORTS: connection i comes from the i-th port of that file, one a line.
 * --tunnel: the requests ask for an upgrade to WebSocket. The answer is complete when the protocol was switched and one
 *     message has gone there and back; with --each 1 the tunnel then stays open.
 *
 * Counts are kept in the counters file while running (counts.h) and printed as one JSON line at the end. An answer is a
 * complete response of any status; failed is whatever else became of a request.
 *
 * State of a connection
 *   closed --open_conn--> connecting --writable--> handshaking --through--> free
 *   free --send--> waiting --whole answer--> free
 *   waiting --101, with --tunnel--> echoing --the message is back--> free
 *   any --end of stream, error--> closed, opened again at once when it was in use, at the next tick when it was
 *     refused or its handshake failed, never in the hold mode
 *
 * L1. due >= sent >= answered + failed; in the rate mode the difference at the end is reported as unfinished.
 * L2. A connection is in free_conns exactly when it is free and the mode is the rate mode.
 */
#include "answer.h"
#include "channel.h"
#include "generator.h"
#include "histogram.h"
#include "websocket.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_NS (2 * NS)
#define TICK_NS (10 * UINT64_C(1000000))
#define CONNECTIONS_MAX 65536
#define SECONDS_MAX 3600
#define RATE_MAX 1000000
#define OPENING_MAX 64
#define EVENTS_PER_TURN 256

enum mode { MODE_CLOSED, MODE_RATE, MODE_HOLD, MODE_ONCE };
enum state { STATE_CLOSED, STATE_CONNECTING, STATE_HANDSHAKING, STATE_FREE, STATE_WAITING, STATE_ECHOING };

struct conn {
    struct dm_channel channel;
    enum state state;
    uint32_t index;
    uint32_t left; /* requests still to send, in the hold mode */
    uint64_t due_ns;
    struct dm_answer answer;
};

static struct {
    enum mode mode;
    uint16_t port;
    uint32_t connections;
    uint64_t seconds;
    uint64_t rate;
    uint32_t each;
    bool is_resuming;
    bool is_tunnel;
    const char *tls_name;
    const char *requests_path;
    const char *ports_path;
    const char *counters_path;
} options = {.connections = 64, .seconds = 10};

static struct dm_counts *counts;
static struct dm_requests requests;
static struct conn *conns;
static uint32_t *free_conns;
static uint32_t free_count;
static uint32_t settled; /* in the hold mode: connections that fell silent, or never opened */
static uint32_t opened;  /* in the hold mode: connections that were started */
static uint32_t closed_count;
static uint64_t reopen_ns; /* when those closed are tried again */
static struct dm_histogram latencies;
static uint64_t start_ns, end_ns;
static uint64_t due, sent;
static int poll_fd;

static void open_conn(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = conn}};

    dm_answer_reset(&conn->answer);
    conn->state = STATE_CONNECTING;
    if (dm_channel_open(&conn->channel, options.port) < 0 ||
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, conn->channel.fd, &event) < 0) {
        fprintf(stderr, "cannot open connection %u: %s\n", (unsigned)conn->index, strerror(errno));
        exit(1);
    }
}

static void forget_free(const struct conn *conn)
{
    for (uint32_t i = 0; i < free_count; i++) {
        if (free_conns[i] == conn->index) {
            free_conns[i] = free_conns[--free_count];
            return;
        }
    }
}

/* A connection of the hold mode has nothing more to do; the next one may start. */
static void settle(void)
{
    settled++;
    if (opened < options.connections)
        open_conn(&conns[opened++]);
}

static bool is_established(enum state state)
{
    return state != STATE_CONNECTING && state != STATE_HANDSHAKING;
}

/* A place whose connection is gone gets another one: now, later, or never. */
static void replace_conn(struct conn *conn, enum state was)
{
    if (options.mode == MODE_HOLD) {
        if (was != STATE_FREE)
            settle();
    } else if (is_established(was)) {
        open_conn(conn);
    } else {
        closed_count++;
    }
}

/* The connection is gone, and with it a request when one was out and has_answer is false. */
static void lose_conn(struct conn *conn, bool has_answer)
{
    enum state state = conn->state;
    bool is_out = state == STATE_WAITING || state == STATE_ECHOING;

    dm_channel_close(&conn->channel, true);
    conn->state = STATE_CLOSED;
    if (is_established(state))
        counts->open--;
    else
        counts->unconnected++;
    if (is_out && !has_answer) {
        counts->failed++;
        counts->in_flight--;
    }
    if (state == STATE_FREE || has_answer)
        counts->reconnects++;
    if (state == STATE_FREE && options.mode == MODE_RATE)
        forget_free(conn);
    replace_conn(conn, state);
}

/* The connection has done its part and makes place for the next one. */
static void finish_conn(struct conn *conn)
{
    dm_channel_close(&conn->channel, false);
    counts->open--;
    open_conn(conn);
}

static void send_request(struct conn *conn)
{
    const struct dm_request *request = &requests.all[conn->index % requests.count];

    sent++;
    counts->in_flight++;
    conn->state = STATE_WAITING;
    if (dm_channel_write(&conn->channel, request->ptr, request->len) < 0)
        lose_conn(conn, false);
}

/* Sends what is due on the free connections. */
static void send_due(uint64_t now)
{
    uint64_t until = now < end_ns ? now : end_ns;

    due = until < start_ns ? 0 : (uint64_t)((double)(until - start_ns) * (double)options.rate / 1e9) + 1;
    while (sent < due && free_count > 0) {
        struct conn *conn = &conns[free_conns[--free_count]];
        conn->due_ns = start_ns + (uint64_t)((double)sent * 1e9 / (double)options.rate);
        send_request(conn);
    }
}

/* The connection can carry a request; what comes next depends on the mode. */
static void on_free(struct conn *conn)
{
    conn->state = STATE_FREE;
    if (options.mode == MODE_RATE) {
        free_conns[free_count++] = conn->index;
    } else if (options.mode != MODE_HOLD) {
        send_request(conn);
    } else if (conn->left > 0) {
        conn->left--;
        send_request(conn);
    } else {
        settle();
    }
}

static void on_answer(struct conn *conn)
{
    counts->answered++;
    counts->in_flight--;
    if (options.mode == MODE_RATE)
        dm_histogram_add(&latencies, dm_generator_now_ns() - conn->due_ns);
    if (options.mode == MODE_ONCE)
        finish_conn(conn);
    else if (conn->answer.is_closing)
        lose_conn(conn, true);
    else
        on_free(conn);
}

static void go_on_with_handshake(struct conn *conn)
{
    int rc = dm_channel_handshake(&conn->channel);

    if (rc < 0)
        lose_conn(conn, false);
    if (rc <= 0)
        return;
    counts->open++;
    if (options.tls_name != NULL) {
        counts->handshakes++;
        counts->resumed += conn->channel.is_resumed;
    }
    on_free(conn);
}

static void on_connected(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->channel.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0 ||
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, conn->channel.fd, &event) < 0) {
        lose_conn(conn, false);
        return;
    }
    conn->state = STATE_HANDSHAKING;
    go_on_with_handshake(conn);
}

static int take_echo(const struct dm_answer *answer)
{
    if (answer->have > sizeof(dm_websocket_echo) || memcmp(answer->buf, dm_websocket_echo, answer->have) != 0)
        return -1;
    return answer->have == sizeof(dm_websocket_echo);
}

/* Takes got new bytes of the answer that opens the tunnel, or of the message that comes back through it. */
static int take_tunnel(struct conn *conn, size_t got)
{
    struct dm_answer *answer = &conn->answer;
    struct dm_wire_head head;
    int rc;

    answer->have += got;
    if (conn->state == STATE_ECHOING)
        return take_echo(answer);
    if ((rc = dm_wire_head(answer->buf, answer->have, &head)) != 1)
        return answer->have == sizeof(answer->buf) ? -1 : rc;
    if (answer->have != head.head_len || memcmp(answer->buf, "HTTP/1.1 101", 12) != 0)
        return -1;
    answer->have = 0;
    conn->state = STATE_ECHOING;
    return dm_channel_write(&conn->channel, dm_websocket_hello, sizeof(dm_websocket_hello));
}

/* Takes got new bytes of an answer. Returns 1 when it is complete, 0 when more must come, -1 for what is no answer. */
static int take_bytes(struct conn *conn, size_t got)
{
    int rc;

    if (options.is_tunnel)
        return take_tunnel(conn, got);
    rc = dm_answer_take(&conn->answer, got);
    counts->non_2xx += rc == 1 && !conn->answer.is_success;
    return rc;
}

static void on_readable(struct conn *conn)
{
    bool has_more = true;

    while (has_more) {
        size_t size;
        char *space = dm_answer_space(&conn->answer, &size);
        ssize_t got = dm_channel_read(&conn->channel, space, size);
        int rc = got < 0 ? -1 : 0;

        if (got > 0)
            rc = conn->state == STATE_FREE ? -1 : take_bytes(conn, (size_t)got);
        if (rc < 0)
            lose_conn(conn, false);
        else if (rc > 0)
            on_answer(conn);
        has_more = got > 0 && rc >= 0 && dm_channel_has_more(&conn->channel);
    }
}

/* What is ready of a connection depends on its state. */
static void on_event(struct conn *conn)
{
    if (conn->state == STATE_CONNECTING)
        on_connected(conn);
    else if (conn->state == STATE_HANDSHAKING)
        go_on_with_handshake(conn);
    else if (conn->state != STATE_CLOSED)
        on_readable(conn);
}

static void reopen_closed(uint64_t now)
{
    closed_count = 0;
    reopen_ns = now + TICK_NS;
    for (uint32_t i = 0; i < options.connections; i++) {
        if (conns[i].state == STATE_CLOSED)
            open_conn(&conns[i]);
    }
}

static uint64_t wait_ns(uint64_t now)
{
    uint64_t until = options.mode == MODE_RATE ? end_ns + DRAIN_NS : end_ns;
    uint64_t next_due;

    if (closed_count > 0 && reopen_ns < until)
        until = reopen_ns;
    if (options.mode == MODE_RATE && free_count > 0 && now < end_ns) {
        next_due = start_ns + (uint64_t)((double)sent * 1e9 / (double)options.rate);
        if (next_due < until)
            until = next_due;
    }
    return until > now ? until - now : 0;
}

static bool is_over(uint64_t now)
{
    if (dm_generator_is_stopped && now < end_ns)
        end_ns = now;
    if (now < end_ns || options.mode != MODE_RATE)
        return now >= end_ns;
    return now >= end_ns + DRAIN_NS || counts->answered + counts->failed >= due;
}

static void run(void)
{
    struct epoll_event events[EVENTS_PER_TURN];
    bool was_ready = false;
    uint64_t now = start_ns;

    while (!is_over(now)) {
        uint64_t wait = wait_ns(now);
        struct timespec timeout = {.tv_sec = (time_t)(wait / NS), .tv_nsec = (long)(wait % NS)};
        int count = epoll_pwait2(poll_fd, events, EVENTS_PER_TURN, &timeout, NULL);

        for (int i = 0; i < count; i++)
            on_event(events[i].data.ptr);
        now = dm_generator_now_ns();
        if (options.mode == MODE_RATE)
            send_due(now);
        if (closed_count > 0 && now >= reopen_ns)
            reopen_closed(now);
        if (options.mode == MODE_HOLD && !was_ready && settled == options.connections) {
            was_ready = true;
            printf("ready\n");
            fflush(stdout);
        }
    }
}

static const struct option OPTIONS[] = {
    {"to", required_argument, NULL, 't'},
    {"requests", required_argument, NULL, 'q'},
    {"seconds", required_argument, NULL, 's'},
    {"connections", required_argument, NULL, 'n'},
    {"rate", required_argument, NULL, 'r'},
    {"each", required_argument, NULL, 'e'},
    {"once", no_argument, NULL, 'o'},
    {"tls", required_argument, NULL, 'T'},
    {"resume", no_argument, NULL, 'R'},
    {"tunnel", no_argument, NULL, 'u'},
    {"counters", required_argument, NULL, 'c'},
    {"from", required_argument, NULL, 'f'},
    {NULL, 0, NULL, 0},
};

static void read_option(int name)
{
    if (name == 't') {
        options.port = (uint16_t)dm_wire_number("--to", optarg, UINT16_MAX);
    } else if (name == 'q') {
        options.requests_path = optarg;
    } else if (name == 's') {
        options.seconds = dm_wire_number("--seconds", optarg, SECONDS_MAX);
    } else if (name == 'n') {
        options.connections = (uint32_t)dm_wire_number("--connections", optarg, CONNECTIONS_MAX);
    } else if (name == 'r') {
        options.mode = MODE_RATE;
        options.rate = dm_wire_number("--rate", optarg, RATE_MAX);
    } else if (name == 'e') {
        options.mode = MODE_HOLD;
        options.each = (uint32_t)dm_wire_number("--each", optarg, UINT32_MAX);
    } else if (name == 'o') {
        options.mode = MODE_ONCE;
    } else if (name == 'T') {
        options.tls_name = optarg;
    } else if (name == 'R') {
        options.is_resuming = true;
    } else if (name == 'u') {
        options.is_tunnel = true;
    } else if (name == 'f') {
        options.ports_path = optarg;
    } else if (name == 'c') {
        options.counters_path = optarg;
    } else {
        exit(2);
    }
}

/* A tunnel carries one exchange. */
static bool has_sound_options(void)
{
    if (options.port == 0 || options.requests_path == NULL || options.connections == 0)
        return false;
    if (options.is_tunnel && !(options.mode == MODE_ONCE || (options.mode == MODE_HOLD && options.each <= 1)))
        return false;
    return (options.mode != MODE_RATE || options.rate > 0) && (!options.is_resuming || options.tls_name != NULL);
}

static void read_options(int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
        read_option(name);
    if (has_sound_options())
        return;
    fprintf(stderr,
            "usage: %s --to PORT --requests FILE [--connections N] [--seconds S] [--rate R | --each K | --once] "
            "[--tls NAME [--resume]] [--tunnel] [--from PORTS] [--counters FILE]; --tunnel with --each 1 or --once\n",
            argv[0]);
    exit(2);
}

static int start_tls(void)
{
    if (options.tls_name == NULL)
        return 0;
    return dm_channel_use_tls(options.tls_name,
                              options.is_resuming ? DM_CHANNEL_SESSIONS_KEPT : DM_CHANNEL_SESSIONS_DROPPED);
}

static int start_conns(void)
{
    static uint16_t ports[CONNECTIONS_MAX];
    uint32_t now_many = options.connections;

    conns = calloc(options.connections, sizeof(*conns));
    free_conns = calloc(options.connections, sizeof(*free_conns));
    if (conns == NULL || free_conns == NULL ||
        dm_generator_read_ports(options.ports_path, ports, options.connections) < 0)
        return -1;
    if (options.mode == MODE_HOLD && now_many > OPENING_MAX)
        now_many = OPENING_MAX;
    for (uint32_t i = 0; i < options.connections; i++) {
        conns[i].index = i;
        conns[i].channel.from = ports[i];
        conns[i].left = options.each;
    }
    opened = now_many;
    for (uint32_t i = 0; i < now_many; i++)
        open_conn(&conns[i]);
    return 0;
}

static double latency_us(double share)
{
    return (double)dm_histogram_at(&latencies, share) / 1e3;
}

static void print_report(void)
{
    uint64_t finished = counts->answered + counts->failed;
    uint64_t unfinished = options.mode == MODE_RATE && due > finished ? due - finished : 0;

    printf("{");
    dm_counts_print(counts);
    printf(",\"unfinished\":%llu,\"seconds\":%.3f", (unsigned long long)unfinished,
           (double)(dm_generator_now_ns() - start_ns) / 1e9);
    if (options.mode == MODE_RATE)
        printf(",\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", latency_us(0.5),
               latency_us(0.9), latency_us(0.99), latency_us(0.999), latency_us(1));
    printf("}\n");
}

int main(int argc, char **argv)
{
    dm_wire_start();
    read_options(argc, argv);
    poll_fd = dm_generator_start(options.requests_path, &requests, options.counters_path, &counts);
    if (poll_fd < 0 || start_tls() < 0)
        return 1;
    start_ns = dm_generator_now_ns();
    end_ns = start_ns + options.seconds * NS;
    if (start_conns() < 0)
        return 1;
    run();
    print_report();
    return 0;
}
