/* The load generator for HTTP/2 in clear text, with prior knowledge: a closed loop of streams to one port of 127.0.0.1.
 *
 *   dm_bench_load_h2 --to PORT --requests FILE [--connections N] [--streams M] [--seconds S] [--counters FILE]
 *
 * FILE holds HTTP/1.1 request heads, one after the other; all streams of connection i ask for the (i modulo count)-th. M
 * streams are always open on each connection: the end of one opens the next. Frames that become ready in one turn leave
 * in one send. Windows are as large as they get, so that no WINDOW_UPDATE is needed.
 *
 * Counts are kept in the counters file while running (counts.h) and printed as one JSON line at the end. failed counts
 * streams that ended without a whole answer: reset, or lost with their connection.
 *
 * H1. M streams are open on each connection whenever the program waits. A peer whose SETTINGS allow fewer is told so and
 *     lost, since the requests would wait in here.
 * H2. A connection that the peer ends, or leaves with GOAWAY, is not opened again: it ends the program with status 1 after
 *     the report.
 */
#include "generator.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define STREAMS_MAX 1024
#define SECONDS_MAX 3600
#define FIELDS_MAX 16
#define NAME_MAX_BYTES 64
#define OUT_SIZE (1 << 16)
#define IN_SIZE (1 << 16)
#define WINDOW ((1 << 30) - 1)
#define EVENTS_PER_TURN 64

/* A request as nghttp2 takes it; the bytes are those of the requests file, the names in lower case beside it. */
struct fields {
    size_t count;
    nghttp2_nv all[FIELDS_MAX];
    char names[FIELDS_MAX][NAME_MAX_BYTES];
};

struct conn {
    int fd;
    uint32_t index;
    uint32_t streams; /* open now */
    bool is_lost;
    nghttp2_session *session;
    struct fields fields;
};

static struct {
    uint16_t port;
    uint32_t connections;
    uint32_t streams;
    uint64_t seconds;
    const char *requests_path;
    const char *counters_path;
} options = {.connections = 4, .streams = 32, .seconds = 10};

static struct dm_counts *counts;
static struct dm_requests requests;
static struct conn *conns;
static uint64_t start_ns, end_ns;
static bool has_lost;
static int poll_fd;

/* --- requests --- */

static void add_field(struct fields *fields, const char *name, size_t name_len, const char *value, size_t value_len)
{
    char *copy = fields->names[fields->count];
    nghttp2_nv *nv = &fields->all[fields->count];

    if (fields->count == FIELDS_MAX || name_len > NAME_MAX_BYTES) {
        fprintf(stderr, "a request has more than %d fields, or a name of more than %d bytes\n", FIELDS_MAX,
                NAME_MAX_BYTES);
        exit(1);
    }
    for (size_t i = 0; i < name_len; i++)
        copy[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
    *nv = (nghttp2_nv){.name = (uint8_t *)copy, .namelen = name_len, .valuelen = value_len};
    nv->value = (uint8_t *)(uintptr_t)value;
    nv->flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    fields->count++;
}

static const char *find(const char *at, char c)
{
    const char *found = strchr(at, c);

    if (found != NULL)
        return found;
    fprintf(stderr, "%s: not a request head: no '%c'\n", options.requests_path, c);
    exit(1);
}

/* Takes the fields of a head apart; Host becomes :authority. */
static void read_fields(struct fields *fields, const struct dm_request *request)
{
    const char *end = request->ptr + request->len - 2;
    const char *target = find(request->ptr, ' ') + 1;
    const char *line = find(target, '\n') + 1;

    add_field(fields, ":method", 7, request->ptr, (size_t)(target - 1 - request->ptr));
    add_field(fields, ":scheme", 7, "http", 4);
    add_field(fields, ":path", 5, target, (size_t)(find(target, ' ') - target));
    add_field(fields, ":authority", 10, "", 0);
    while (line < end) {
        const char *colon = find(line, ':');
        const char *value = colon + 1 + (colon[1] == ' ');
        const char *next = find(line, '\n') + 1;
        size_t value_len = (size_t)(next - 2 - value);

        if (colon - line == 4 && strncasecmp(line, "host", 4) == 0) {
            fields->all[3].value = (uint8_t *)(uintptr_t)value;
            fields->all[3].valuelen = value_len;
        } else {
            add_field(fields, line, (size_t)(colon - line), value, value_len);
        }
        line = next;
    }
}

static int open_stream(struct conn *conn)
{
    if (nghttp2_submit_request(conn->session, NULL, conn->fields.all, conn->fields.count, NULL, NULL) < 0)
        return -1;
    conn->streams++;
    counts->in_flight++;
    return 0;
}

/* --- answers --- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    (void)session;
    (void)frame;
    (void)flags;
    (void)arg;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && (value_len != 3 || value[0] != '2'))
        counts->non_2xx++;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *conn = arg;
    uint32_t allowed = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    if (frame->hd.type == NGHTTP2_GOAWAY)
        conn->is_lost = true;
    if (frame->hd.type == NGHTTP2_SETTINGS && allowed < options.streams) {
        fprintf(stderr, "the peer allows only %u streams a connection\n", (unsigned)allowed);
        conn->is_lost = true;
    }
    return 0;
}

static int on_stream_end(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
    struct conn *conn = arg;

    (void)session;
    (void)id;
    conn->streams--;
    counts->in_flight--;
    if (error_code == NGHTTP2_NO_ERROR)
        counts->answered++;
    else
        counts->failed++;
    return conn->is_lost || open_stream(conn) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* --- connections --- */

static void lose_conn(struct conn *conn)
{
    counts->failed += conn->streams;
    counts->in_flight -= conn->streams;
    counts->reconnects++;
    counts->open--;
    conn->streams = 0;
    close(conn->fd);
    conn->fd = -1;
    has_lost = true;
}

/* Sends what frames are ready, together. */
static int send_frames(struct conn *conn)
{
    static char out[OUT_SIZE];
    size_t len = 0;
    const uint8_t *frames;
    ssize_t got;

    while ((got = nghttp2_session_mem_send(conn->session, &frames)) > 0) {
        if ((size_t)got > sizeof(out) - len) {
            if (dm_wire_send(conn->fd, out, len) < 0 || (size_t)got > sizeof(out))
                return -1;
            len = 0;
        }
        memcpy(out + len, frames, (size_t)got);
        len += (size_t)got;
    }
    if (got < 0 || (len > 0 && dm_wire_send(conn->fd, out, len) < 0))
        return -1;
    return 0;
}

static int take_frames(struct conn *conn)
{
    static uint8_t in[IN_SIZE];
    ssize_t got = recv(conn->fd, in, sizeof(in), 0);

    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0 || nghttp2_session_mem_recv(conn->session, in, (size_t)got) != got)
        return -1;
    return conn->is_lost ? -1 : send_frames(conn);
}

static void on_readable(struct conn *conn)
{
    if (take_frames(conn) < 0)
        lose_conn(conn);
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_end);
    return callbacks;
}

static int start_session(struct conn *conn, const nghttp2_session_callbacks *callbacks)
{
    static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                                      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};

    if (nghttp2_session_client_new(&conn->session, callbacks, conn) != 0 ||
        nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, WINDOW) != 0)
        return -1;
    for (uint32_t i = 0; i < options.streams; i++) {
        if (open_stream(conn) < 0)
            return -1;
    }
    return 0;
}

/* Connects and waits until that is through; loopback needs no time for it. */
static int connect_now(void)
{
    int fd = dm_wire_connect(options.port);
    struct epoll_event event = {.events = EPOLLOUT};
    int error = -1;
    socklen_t len = sizeof(error);
    int wait_fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0 || wait_fd < 0 || epoll_ctl(wait_fd, EPOLL_CTL_ADD, fd, &event) < 0 ||
        epoll_wait(wait_fd, &event, 1, -1) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
        error != 0) {
        fprintf(stderr, "cannot connect to port %u\n", (unsigned)options.port);
        exit(1);
    }
    close(wait_fd);
    return fd;
}

static int start_conn(struct conn *conn, const nghttp2_session_callbacks *callbacks)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};

    read_fields(&conn->fields, &requests.all[conn->index % requests.count]);
    conn->fd = connect_now();
    counts->open++;
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0 || start_session(conn, callbacks) < 0)
        return -1;
    return send_frames(conn);
}

static int start_conns(void)
{
    nghttp2_session_callbacks *callbacks = make_callbacks();
    int rc = 0;

    conns = calloc(options.connections, sizeof(*conns));
    if (conns == NULL || callbacks == NULL)
        return -1;
    for (uint32_t i = 0; i < options.connections && rc == 0; i++) {
        conns[i].index = i;
        rc = start_conn(&conns[i], callbacks);
    }
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

/* --- the program --- */

static void run(void)
{
    struct epoll_event events[EVENTS_PER_TURN];

    for (uint64_t now = start_ns; now < end_ns && !dm_generator_is_stopped && !has_lost; now = dm_generator_now_ns()) {
        int count = epoll_wait(poll_fd, events, EVENTS_PER_TURN, (int)((end_ns - now) / 1000000) + 1);

        for (int i = 0; i < count; i++)
            on_readable(events[i].data.ptr);
    }
}

static const struct option OPTIONS[] = {
    {"to", required_argument, NULL, 't'},
    {"requests", required_argument, NULL, 'q'},
    {"seconds", required_argument, NULL, 's'},
    {"connections", required_argument, NULL, 'n'},
    {"streams", required_argument, NULL, 'm'},
    {"counters", required_argument, NULL, 'c'},
    {NULL, 0, NULL, 0},
};

static void read_options(int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (name == 't')
            options.port = (uint16_t)dm_wire_number("--to", optarg, UINT16_MAX);
        else if (name == 'q')
            options.requests_path = optarg;
        else if (name == 's')
            options.seconds = dm_wire_number("--seconds", optarg, SECONDS_MAX);
        else if (name == 'n')
            options.connections = (uint32_t)dm_wire_number("--connections", optarg, CONNECTIONS_MAX);
        else if (name == 'm')
            options.streams = (uint32_t)dm_wire_number("--streams", optarg, STREAMS_MAX);
        else if (name == 'c')
            options.counters_path = optarg;
        else
            exit(2);
    }
    if (options.port != 0 && options.requests_path != NULL && options.connections > 0 && options.streams > 0)
        return;
    fprintf(stderr,
            "usage: %s --to PORT --requests FILE [--connections N] [--streams M] [--seconds S] [--counters FILE]\n",
            argv[0]);
    exit(2);
}

static void print_report(void)
{
    printf("{");
    dm_counts_print(counts);
    printf(",\"seconds\":%.3f}\n", (double)(dm_generator_now_ns() - start_ns) / 1e9);
}

int main(int argc, char **argv)
{
    dm_wire_start();
    read_options(argc, argv);
    poll_fd = dm_generator_start(options.requests_path, &requests, options.counters_path, &counts);
    if (poll_fd < 0)
        return 1;
    start_ns = dm_generator_now_ns();
    end_ns = start_ns + options.seconds * NS;
    if (start_conns() < 0)
        return 1;
    run();
    print_report();
    return has_lost ? 1 : 0;
}
