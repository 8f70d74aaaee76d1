/* A peer:   NEW --[HELLO]--> UP --[frame that does not decode, idle, eof, error]--> CLOSING --[on_closed]--> freed
 *
 * P1. on_hello comes once, then others, then on_gone once; no callback for a peer that never said HELLO.
 * P2. What was received and is not a whole frame lies in `in`, which exists only meanwhile. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/link/server.h"
#include "control/link/usage.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/listener.h"
#include "io/stream.h"

#define IDLE_TIMEOUT_MS 30000
#define PING_DIVISOR 3 /* pings per idle timeout */
#define BACKLOG 64

enum peer_state { PEER_NEW, PEER_UP, PEER_CLOSING };

struct dm_link_server {
    struct dm_loop *loop;
    struct dm_link_settings settings;
    const struct dm_link_handler *handler;
    void *arg;
    struct dm_listener listener;
    struct dm_link_peer *peers;
    struct dm_link_usage_sink usage;
    char *path;
    bool is_closing;
};

struct dm_link_peer {
    struct dm_stream stream;
    struct dm_link_server *server;
    struct dm_link_peer *next;
    struct dm_timer timer; /* pings, and looks whether anything came */
    struct dm_buf in;
    void *user;
    enum peer_state state;
    unsigned silent; /* timer periods without a byte */
    char gateway[DM_LINK_ID_MAX + 1];
};

static const struct dm_stream_type stream_type;

static uint32_t period_ms(const struct dm_link_server *server)
{
    uint32_t idle_ms = server->settings.idle_timeout_ms;

    return (idle_ms > 0 ? idle_ms : IDLE_TIMEOUT_MS) / PING_DIVISOR;
}

/* --- peers -------------------------------------------------------------------------------------------------------- */

static void unlink_peer(struct dm_link_peer *peer)
{
    struct dm_link_peer **at = &peer->server->peers;

    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
}

static void close_peer(struct dm_link_peer *peer, const char *why)
{
    bool was_up = peer->state == PEER_UP;

    if (peer->state == PEER_CLOSING)
        return;
    peer->state = PEER_CLOSING;
    dm_timer_cancel(peer->server->loop, &peer->timer);
    dm_log(DM_LOG_INFO, "link_closed", "gateway '%s': %s", peer->gateway, why);
    if (was_up)
        peer->server->handler->on_gone(peer->server->arg, peer);
    dm_stream_close(&peer->stream);
}

static void free_server(struct dm_link_server *server)
{
    dm_free(server->path);
    dm_free(server);
}

static void on_closed(struct dm_stream *stream)
{
    struct dm_link_peer *peer = DM_CONTAINER_OF(stream, struct dm_link_peer, stream);
    struct dm_link_server *server = peer->server;

    unlink_peer(peer);
    dm_buf_done(&peer->in);
    dm_free(peer);
    if (server->is_closing && server->peers == NULL)
        free_server(server);
}

int dm_link_send(struct dm_link_peer *peer, const struct dm_link_message *message)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf frame = {0};

    if (peer->state == PEER_CLOSING)
        return DM_ECLOSED;
    dm_buf_init(&frame, DM_LINK_PAYLOAD_MAX + DM_LINK_HEAD_BYTES);
    dm_link_encode(message, &frame);
    return dm_stream_put(&peer->stream, frame.ptr, frame.len);
}

static void send_or_close(struct dm_link_peer *peer, const struct dm_link_message *message)
{
    if (dm_link_send(peer, message) == DM_ECLOSED)
        close_peer(peer, "the stream is closed");
}

static void on_timer(struct dm_timer *timer)
{
    struct dm_link_peer *peer = DM_CONTAINER_OF(timer, struct dm_link_peer, timer);
    struct dm_link_message ping = {.type = DM_LINK_PING, .number = dm_loop_now_ns(peer->server->loop)};

    if (++peer->silent > PING_DIVISOR || peer->state == PEER_NEW) {
        close_peer(peer, peer->state == PEER_NEW ? "it never said hello" : "it has been silent for too long");
        return;
    }
    dm_timer_arm(peer->server->loop, timer, period_ms(peer->server));
    send_or_close(peer, &ping);
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static void replace_former(struct dm_link_peer *peer)
{
    struct dm_link_peer *other, *next;

    for (other = peer->server->peers; other != NULL; other = next) {
        next = other->next;
        if (other != peer && other->state == PEER_UP && strcmp(other->gateway, peer->gateway) == 0)
            close_peer(other, "it connected again");
    }
}

static void on_hello(struct dm_link_peer *peer, const struct dm_link_hello *hello)
{
    struct dm_link_server *server = peer->server;
    struct dm_link_message welcome = {.type = DM_LINK_WELCOME};

    if (peer->state != PEER_NEW || hello->version != DM_LINK_VERSION) {
        close_peer(peer, peer->state != PEER_NEW ? "it said hello twice" : "it speaks another version of the link");
        return;
    }
    snprintf(peer->gateway, sizeof(peer->gateway), "%.*s", DM_STR_ARG(hello->gateway));
    replace_former(peer);
    peer->state = PEER_UP;
    welcome.welcome = (struct dm_link_welcome){
        .version = DM_LINK_VERSION,
        .cluster = server->settings.cluster,
        .key_id = dm_document_key_id(server->settings.public_key),
    };
    memcpy(welcome.welcome.public_key, server->settings.public_key, DM_SIGN_PUBLIC_BYTES);
    dm_log(DM_LOG_INFO, "link_up", "gateway '%s' %.*s holds %zu units", peer->gateway,
           DM_STR_ARG(hello->program_version), hello->n_held);
    send_or_close(peer, &welcome);
    if (peer->state == PEER_UP)
        server->handler->on_hello(server->arg, peer, hello);
}

static void on_message(struct dm_link_peer *peer, const struct dm_link_message *message)
{
    struct dm_link_server *server = peer->server;
    struct dm_link_message pong = {.type = DM_LINK_PONG, .number = message->number};

    if (peer->state == PEER_NEW && message->type != DM_LINK_HELLO) {
        close_peer(peer, "its first frame is not hello");
        return;
    }
    switch (message->type) {
    case DM_LINK_HELLO: on_hello(peer, &message->hello); break;
    case DM_LINK_ACK: server->handler->on_ack(server->arg, peer, &message->ack); break;
    case DM_LINK_USAGE: dm_link_usage_take(&server->usage, dm_str_of(peer->gateway), &message->usage); break;
    case DM_LINK_CIRCUIT: server->handler->on_circuit(server->arg, peer, &message->circuit); break;
    case DM_LINK_PING: send_or_close(peer, &pong); break;
    case DM_LINK_PONG: break;
    default: close_peer(peer, "it sent what only a controller sends"); break;
    }
}

/* The frames in `bytes`; returns how many bytes they are. */
static size_t take_frames(struct dm_link_peer *peer, struct dm_str bytes)
{
    size_t taken = 0;

    while (peer->state != PEER_CLOSING) {
        struct dm_link_message message;
        struct dm_arena arena;
        ssize_t len;

        dm_arena_init(&arena, NULL, DM_LINK_ARENA_BYTES);
        len = dm_link_decode(dm_str_skip(bytes, taken), &arena, &message, NULL);
        if (len > 0)
            on_message(peer, &message);
        else if (len < 0)
            close_peer(peer, "it sent a frame that does not decode");
        dm_arena_done(&arena);
        if (len <= 0)
            break;
        taken += (size_t)len;
    }
    return taken;
}

/* A frame may be larger than what a stream keeps: bytes that are not a whole frame are gathered here. */
static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_link_peer *peer = DM_CONTAINER_OF(stream, struct dm_link_peer, stream);
    size_t taken;

    peer->silent = 0;
    if (peer->in.len == 0) {
        taken = take_frames(peer, dm_str_n(ptr, len));
        if (taken < len)
            dm_buf_add_n(&peer->in, ptr + taken, len - taken);
        return len;
    }
    dm_buf_add_n(&peer->in, ptr, len);
    if (peer->in.failed) {
        close_peer(peer, "it sent a frame that is too large");
        return len;
    }
    dm_buf_consume(&peer->in, take_frames(peer, dm_buf_str(&peer->in)));
    if (peer->in.len == 0) {
        dm_buf_done(&peer->in);
        dm_buf_init(&peer->in, DM_LINK_PAYLOAD_MAX + DM_LINK_HEAD_BYTES);
    }
    return len;
}

static void on_eof(struct dm_stream *stream)
{
    close_peer(DM_CONTAINER_OF(stream, struct dm_link_peer, stream), "it closed the connection");
}

static void on_error(struct dm_stream *stream, int code)
{
    struct dm_link_peer *peer = DM_CONTAINER_OF(stream, struct dm_link_peer, stream);

    if (peer->state == PEER_CLOSING)
        dm_stream_close(stream);
    else
        close_peer(peer, "the connection failed");
}

static void on_writable(struct dm_stream *stream)
{
    struct dm_link_peer *peer = DM_CONTAINER_OF(stream, struct dm_link_peer, stream);

    if (peer->state == PEER_UP)
        peer->server->handler->on_room(peer->server->arg, peer);
}

static const struct dm_stream_type stream_type = {
    .on_read = on_read,
    .on_eof = on_eof,
    .on_writable = on_writable,
    .on_error = on_error,
    .on_closed = on_closed,
    .write_max_bytes = 1u << 20,
};

static void on_usage_stored(struct dm_link_usage_sink *sink, struct dm_str gateway, uint64_t batch)
{
    struct dm_link_server *server = DM_CONTAINER_OF(sink, struct dm_link_server, usage);
    struct dm_link_message used = {.type = DM_LINK_USED, .number = batch};
    struct dm_link_peer *peer;

    for (peer = server->peers; peer != NULL; peer = peer->next)
        if (peer->state == PEER_UP && dm_str_eq(dm_str_of(peer->gateway), gateway)) {
            send_or_close(peer, &used);
            return;
        }
}

void dm_link_usage_counts(const struct dm_link_server *server, uint64_t *ret_items, uint64_t *ret_failed)
{
    *ret_items = atomic_load(&server->usage.n_items);
    *ret_failed = atomic_load(&server->usage.n_failed);
}

/* --- accepting ---------------------------------------------------------------------------------------------------- */

static bool is_allowed(const struct dm_link_server *server, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    if (cred.uid == geteuid() || (server->settings.uid != (uid_t)-1 && cred.uid == server->settings.uid))
        return true;
    dm_log(DM_LOG_WARN, "link_refused", "a process of user id %u may not be a gateway", (unsigned)cred.uid);
    return false;
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *address)
{
    struct dm_link_server *server = DM_CONTAINER_OF(listener, struct dm_link_server, listener);
    struct dm_link_peer *peer;

    if (!is_allowed(server, fd)) {
        close(fd);
        return;
    }
    peer = dm_calloc(1, sizeof(*peer));
    peer->server = server;
    peer->timer.on_due = on_timer;
    dm_buf_init(&peer->in, DM_LINK_PAYLOAD_MAX + DM_LINK_HEAD_BYTES);
    if (dm_stream_open(&peer->stream, server->loop, &stream_type, fd) < 0) {
        dm_free(peer);
        return;
    }
    peer->next = server->peers;
    server->peers = peer;
    dm_timer_arm(server->loop, &peer->timer, period_ms(server));
}

int dm_link_server_open(struct dm_loop *loop, const struct dm_link_settings *settings,
                        const struct dm_link_handler *handler, void *arg, struct dm_link_server **ret,
                        struct dm_err *err)
{
    struct dm_link_server *server;
    struct dm_addr addr;
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    int rc;

    if (snprintf(text, sizeof(text), "unix:%s", settings->path) >= (int)sizeof(text))
        return dm_fail(err, DM_EINVAL, "",
                       "the path of the link socket '%s' is too long: choose a shorter data directory", settings->path);
    if ((rc = dm_addr_parse(dm_str_of(text), &addr, err)) < 0)
        return rc;
    server = dm_calloc(1, sizeof(*server));
    *server = (struct dm_link_server){.loop = loop, .settings = *settings, .handler = handler, .arg = arg};
    server->usage.pool = settings->pool;
    server->usage.store = settings->store;
    server->usage.on_stored = on_usage_stored;
    if ((rc = dm_listener_open(&server->listener, loop, &addr, BACKLOG, false, on_accept, err)) < 0) {
        dm_free(server);
        return rc;
    }
    chmod(settings->path, settings->uid == (uid_t)-1 ? 0600 : 0666);
    server->path = dm_strdup(dm_str_of(settings->path));
    *ret = server;
    return 0;
}

void dm_link_server_close(struct dm_link_server *server)
{
    struct dm_link_peer *peer, *next;

    if (server == NULL)
        return;
    dm_listener_close(&server->listener);
    unlink(server->path);
    server->is_closing = true;
    if (server->peers == NULL) {
        free_server(server);
        return;
    }
    for (peer = server->peers; peer != NULL; peer = next) {
        next = peer->next;
        close_peer(peer, "the controller is stopping");
    }
}

void dm_link_peer_set_user(struct dm_link_peer *peer, void *user)
{
    peer->user = user;
}

void *dm_link_peer_user(const struct dm_link_peer *peer)
{
    return peer->user;
}

struct dm_str dm_link_peer_gateway(const struct dm_link_peer *peer)
{
    return dm_str_of(peer->gateway);
}
