/* Who must not suffer from others: clients that ask at a constant rate, whatever the answers do.
 *
 *   dm_bench_victim --to PORT --requests FILE --rate R [--connections N] [--seconds S] [--late MS] [--tls NAME] [--once]
 *                   [--from PORTS] [--counters FILE]
 *
 * FILE holds one request head for each client, one after the other, and each client has N connections of its own. Request k
 * is client (k modulo count)'s and due at start + k/R. It leaves on the client's first free connection, and its latency
 * counts from when it was due, so a stall is charged to every request that it delayed (no coordinated omission).
 *
 * The clock starts when each connection has had an answer that does not count, at the latest after WARM_NS. With --once a
 * request has a connection of its own instead, made when it is due and closed by this side after the answer (with --tls NAME
 * a full handshake of TLS 1.3 each); then there is nothing to warm, and N connections at a time are the most.
 * With --from the connections come from the ports in that file, one a line: connection i is the (i modulo count)-th client's.
 * After S seconds nothing more falls due, and MS milliseconds are given to what is still out.
 *
 * Prints one JSON line at the end. asked = answered + refused + failed + late: an answer of 2xx in time; another status;
 * a connection that broke or was refused; an answer that took longer than MS, or none. latency_us is of what was answered,
 * and of what was late (what never came with its age at the end). delay_us is the part of it that is this program's own: from
 * when a request was due to when it was written, of those that found a free connection. by_client has what each was answered.
 *
 * It is meant to run at a real-time priority, or its own wait for the processor is what it measures.
 *
 * State of a connection
 *   closed --open_conn--> connecting --writable--> handshaking --through--> free, or waiting when a request is on it (once)
 *   free --send--> waiting --whole answer--> free; closed with --once
 *   any --end of stream, error--> closed; opened again at once when it was in use, at the next tick when it was refused;
 *     with --once for the next request
 *
 * V1. fallen >= sent >= answered + refused + failed + late; what is missing at the end is late.
 * V2. A connection is in its client's list exactly when it can take a request: free, with --once closed.
 */
#include "answer.h"
#include "channel.h"
#include "generator.h"
#include "histogram.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define WARM_NS NS
#define TICK_NS (10 * UINT64_C(1000000))
#define MS_NS UINT64_C(1000000)
#define CONNECTIONS_MAX 64
#define SECONDS_MAX 3600
#define RATE_MAX 1000000
#define LATE_MAX 60000
#define EVENTS_PER_TURN 256

enum state { STATE_CLOSED, STATE_CONNECTING, STATE_HANDSHAKING, STATE_FREE, STATE_WAITING };

struct client;

struct conn {
    struct client *client;
    struct dm_channel channel;
    enum state state;
    bool is_asking; /* a request that counts is on it */
    uint64_t due_ns;
    struct dm_answer answer;
};

struct client {
    uint64_t fallen; /* due so far */
    uint64_t sent;
    uint64_t answered;
    uint32_t ready_count;
    struct conn *ready[CONNECTIONS_MAX];
};

static struct {
    uint16_t port;
    uint32_t connections;
    uint64_t seconds;
    uint64_t rate;
    uint64_t late_ms;
    bool is_once;
    const char *tls_name;
    const char *requests_path;
    const char *ports_path;
    const char *counters_path;
} options = {.connections = 4, .seconds = 10, .late_ms = 2000};

static struct dm_counts *counts;
static struct dm_requests requests;
static struct client *clients;
static struct conn *conns;
static uint32_t conn_count;
static uint32_t closed_count;
static uint64_t reopen_ns; /* when those closed are tried again */
static bool is_warming;
static uint32_t warm_count;
static uint64_t start_ns, end_ns;
static uint64_t fallen, refused, failed, late, timely;
static struct dm_histogram latencies, delays;
static int poll_fd;

static uint64_t due_of(uint64_t number)
{
    return start_ns + (uint64_t)((double)number * 1e9 / (double)options.rate);
}

static uint32_t index_of(const struct client *client)
{
    return (uint32_t)(client - clients);
}

static void open_conn(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = conn}};

    dm_answer_reset(&conn->answer);
    conn->state = STATE_CONNECTING;
    if (dm_channel_open(&conn->channel, options.port) < 0 ||
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, conn->channel.fd, &event) < 0) {
        fprintf(stderr, "cannot open a connection: %s\n", strerror(errno));
        exit(1);
    }
}

static void offer(struct conn *conn)
{
    struct client *client = conn->client;

    client->ready[client->ready_count++] = conn;
}

static void withdraw(const struct conn *conn)
{
    struct client *client = conn->client;

    for (uint32_t i = 0; i < client->ready_count; i++) {
        if (client->ready[i] == conn) {
            client->ready[i] = client->ready[--client->ready_count];
            return;
        }
    }
}

static void serve(struct client *client, bool is_in_time);

/* A place whose connection is gone gets another one: for the next request, now, or at the next tick. */
static void replace_conn(struct conn *conn, bool was_established)
{
    conn->state = STATE_CLOSED;
    if (options.is_once) {
        offer(conn);
        serve(conn->client, false);
    } else if (was_established) {
        open_conn(conn);
    } else {
        closed_count++;
    }
}

/* The connection is gone, and with it the request that was on it. */
static void lose_conn(struct conn *conn)
{
    bool was_established = conn->state == STATE_FREE || conn->state == STATE_WAITING;

    dm_channel_close(&conn->channel, true);
    if (conn->state == STATE_FREE) {
        withdraw(conn);
        counts->reconnects++;
    }
    if (was_established)
        counts->open--;
    else
        counts->unconnected++;
    if (conn->is_asking) {
        conn->is_asking = false;
        failed++;
        counts->failed++;
        counts->in_flight--;
    }
    replace_conn(conn, was_established);
}

static void write_request(struct conn *conn)
{
    const struct dm_request *request = &requests.all[index_of(conn->client)];

    conn->state = STATE_WAITING;
    if (dm_channel_write(&conn->channel, request->ptr, request->len) < 0)
        lose_conn(conn);
}

/* The client's next request, on this connection. With --once its time until it is written is the server's, too. */
static void ask(struct client *client, struct conn *conn, bool is_in_time)
{
    conn->due_ns = due_of(index_of(client) + client->sent++ * requests.count);
    conn->is_asking = true;
    counts->in_flight++;
    if (is_in_time)
        dm_histogram_add(&delays, dm_generator_now_ns() - conn->due_ns);
    if (options.is_once)
        open_conn(conn);
    else
        write_request(conn);
}

/* What is due of the client leaves on its free connections. */
static void serve(struct client *client, bool is_in_time)
{
    while (client->sent < client->fallen && client->ready_count > 0)
        ask(client, client->ready[--client->ready_count], is_in_time);
}

static void fall_due(uint64_t now)
{
    while (due_of(fallen) <= now && due_of(fallen) < end_ns) {
        struct client *client = &clients[fallen++ % requests.count];
        bool is_in_time = client->sent == client->fallen;

        client->fallen++;
        serve(client, is_in_time);
    }
}

static void start_clock(uint64_t now)
{
    is_warming = false;
    start_ns = now;
    end_ns = now + options.seconds * NS;
}

static void on_free(struct conn *conn)
{
    conn->state = STATE_FREE;
    if (is_warming) {
        write_request(conn);
        return;
    }
    offer(conn);
    serve(conn->client, false);
}

static void count_answer(struct conn *conn)
{
    uint64_t ns = dm_generator_now_ns() - conn->due_ns;

    conn->is_asking = false;
    counts->answered++;
    counts->in_flight--;
    if (!conn->answer.is_success) {
        refused++;
        counts->non_2xx++;
        return;
    }
    dm_histogram_add(&latencies, ns);
    if (ns > options.late_ms * MS_NS) {
        late++;
    } else {
        timely++;
        conn->client->answered++;
    }
}

/* An answer to a request that does not count. The connection waits for the clock. */
static void on_warm(struct conn *conn)
{
    conn->state = STATE_FREE;
    offer(conn);
    warm_count++;
}

static void on_answer(struct conn *conn)
{
    bool was_asking = conn->is_asking;

    if (was_asking)
        count_answer(conn);
    if (options.is_once || conn->answer.is_closing) {
        dm_channel_close(&conn->channel, false);
        counts->open--;
        replace_conn(conn, true);
    } else if (!was_asking && is_warming) {
        on_warm(conn);
    } else {
        on_free(conn);
    }
}

static void go_on_with_handshake(struct conn *conn)
{
    int rc = dm_channel_handshake(&conn->channel);

    if (rc < 0)
        lose_conn(conn);
    if (rc <= 0)
        return;
    counts->open++;
    counts->handshakes += options.tls_name != NULL;
    if (conn->is_asking)
        write_request(conn);
    else
        on_free(conn);
}

static void on_connected(struct conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->channel.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0 ||
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, conn->channel.fd, &event) < 0) {
        lose_conn(conn);
        return;
    }
    conn->state = STATE_HANDSHAKING;
    go_on_with_handshake(conn);
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
            rc = conn->state == STATE_FREE ? -1 : dm_answer_take(&conn->answer, (size_t)got);
        if (rc < 0)
            lose_conn(conn);
        else if (rc > 0)
            on_answer(conn);
        has_more = got > 0 && rc == 0 && dm_channel_has_more(&conn->channel);
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
    for (uint32_t i = 0; i < conn_count; i++) {
        if (conns[i].state == STATE_CLOSED)
            open_conn(&conns[i]);
    }
}

/* When something must be done even if nothing comes. */
static uint64_t next_ns(void)
{
    uint64_t next = is_warming ? start_ns + WARM_NS : end_ns + options.late_ms * MS_NS;

    if (!is_warming && due_of(fallen) < end_ns)
        next = due_of(fallen);
    return closed_count > 0 && reopen_ns < next ? reopen_ns : next;
}

static bool is_over(uint64_t now)
{
    if (is_warming)
        return dm_generator_is_stopped;
    if (dm_generator_is_stopped && now < end_ns)
        end_ns = now;
    return now >= end_ns && (now >= end_ns + options.late_ms * MS_NS || timely + refused + failed + late >= fallen);
}

static void run(void)
{
    struct epoll_event events[EVENTS_PER_TURN];
    uint64_t now = start_ns;

    while (!is_over(now)) {
        uint64_t next = next_ns();
        uint64_t wait = next > now ? next - now : 0;
        struct timespec timeout = {.tv_sec = (time_t)(wait / NS), .tv_nsec = (long)(wait % NS)};
        int count = epoll_pwait2(poll_fd, events, EVENTS_PER_TURN, &timeout, NULL);

        for (int i = 0; i < count; i++)
            on_event(events[i].data.ptr);
        now = dm_generator_now_ns();
        if (is_warming && (warm_count == conn_count || now >= start_ns + WARM_NS))
            start_clock(now);
        if (!is_warming)
            fall_due(now);
        if (closed_count > 0 && now >= reopen_ns)
            reopen_closed(now);
    }
}

/* What is due and has no answer yet is late, and at least as old as it is now. */
static void count_missing(void)
{
    uint64_t now = dm_generator_now_ns();

    for (uint32_t i = 0; i < conn_count; i++) {
        if (conns[i].is_asking) {
            dm_histogram_add(&latencies, now - conns[i].due_ns);
            late++;
        }
    }
    for (uint32_t i = 0; i < requests.count; i++) {
        for (; clients[i].sent < clients[i].fallen; clients[i].sent++) {
            dm_histogram_add(&latencies, now - due_of(i + clients[i].sent * requests.count));
            late++;
        }
    }
}

static const struct option OPTIONS[] = {
    {"to", required_argument, NULL, 't'},
    {"requests", required_argument, NULL, 'q'},
    {"rate", required_argument, NULL, 'r'},
    {"connections", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'},
    {"late", required_argument, NULL, 'l'},
    {"tls", required_argument, NULL, 'T'},
    {"once", no_argument, NULL, 'o'},
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
    } else if (name == 'r') {
        options.rate = dm_wire_number("--rate", optarg, RATE_MAX);
    } else if (name == 'n') {
        options.connections = (uint32_t)dm_wire_number("--connections", optarg, CONNECTIONS_MAX);
    } else if (name == 's') {
        options.seconds = dm_wire_number("--seconds", optarg, SECONDS_MAX);
    } else if (name == 'l') {
        options.late_ms = dm_wire_number("--late", optarg, LATE_MAX);
    } else if (name == 'T') {
        options.tls_name = optarg;
    } else if (name == 'o') {
        options.is_once = true;
    } else if (name == 'f') {
        options.ports_path = optarg;
    } else if (name == 'c') {
        options.counters_path = optarg;
    } else {
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
        read_option(name);
    if (options.port != 0 && options.requests_path != NULL && options.rate > 0 && options.connections > 0)
        return;
    fprintf(stderr,
            "usage: %s --to PORT --requests FILE --rate R [--connections N] [--seconds S] [--late MS] [--tls NAME] "
            "[--once] [--from PORTS] [--counters FILE]\n",
            argv[0]);
    exit(2);
}

static int start_conns(void)
{
    static uint16_t ports[CONNECTIONS_MAX * DM_REQUESTS_MAX];

    conn_count = options.connections * requests.count;
    clients = calloc(requests.count, sizeof(*clients));
    conns = calloc(conn_count, sizeof(*conns));
    if (clients == NULL || conns == NULL || dm_generator_read_ports(options.ports_path, ports, conn_count) < 0)
        return -1;
    for (uint32_t i = 0; i < conn_count; i++) {
        conns[i].client = &clients[i % requests.count];
        conns[i].channel.from = ports[i];
        if (options.is_once)
            offer(&conns[i]);
        else
            open_conn(&conns[i]);
    }
    return 0;
}

static void print_times(const char *name, const struct dm_histogram *histogram)
{
    printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name,
           (double)dm_histogram_at(histogram, 0.5) / 1e3, (double)dm_histogram_at(histogram, 0.9) / 1e3,
           (double)dm_histogram_at(histogram, 0.99) / 1e3, (double)histogram->max_ns / 1e3);
}

static void print_report(void)
{
    printf("{\"asked\":%llu,\"answered\":%llu,\"refused\":%llu,\"failed\":%llu,\"late\":%llu",
           (unsigned long long)fallen, (unsigned long long)timely, (unsigned long long)refused,
           (unsigned long long)failed, (unsigned long long)late);
    printf(",\"handshakes\":%llu,\"reconnects\":%llu,\"unconnected\":%llu", (unsigned long long)counts->handshakes,
           (unsigned long long)counts->reconnects, (unsigned long long)counts->unconnected);
    print_times("latency_us", &latencies);
    print_times("delay_us", &delays);
    printf(",\"by_client\":[");
    for (uint32_t i = 0; i < requests.count; i++)
        printf("%s%llu", i == 0 ? "" : ",", (unsigned long long)clients[i].answered);
    printf("]}\n");
}

int main(int argc, char **argv)
{
    dm_wire_start();
    read_options(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1UL);
    poll_fd = dm_generator_start(options.requests_path, &requests, options.counters_path, &counts);
    if (poll_fd < 0 ||
        (options.tls_name != NULL && dm_channel_use_tls(options.tls_name, DM_CHANNEL_SESSIONS_DROPPED) < 0))
        return 1;
    start_ns = dm_generator_now_ns();
    is_warming = !options.is_once;
    if (options.is_once)
        start_clock(start_ns);
    if (start_conns() < 0)
        return 1;
    run();
    count_missing();
    print_report();
    return 0;
}
