#include "gateway/entrance.h"

#include <errno.h>

#include "base/mem.h"
#include "gateway/lobby.h"
#include "io/stream.h"

#define PART_OF_CONNECTIONS 4 /* of the listener's, that the lobby may have */
#define ROOM_MIN 64

/* Small listeners are bounded by their connections alone. */
static uint32_t room_of(const struct dm_listener_limits *limits)
{
    return (uint32_t)DM_MAX(limits->connections / PART_OF_CONNECTIONS, DM_MIN(limits->connections, ROOM_MIN));
}

void dm_entrance_init(struct dm_worker_listener *listener, struct dm_sys *sys)
{
    const struct dm_listener_limits *limits = &listener->spec->limits;
    struct dm_lobby_settings settings = {.source_max = (uint32_t)limits->lobby_connections,
                                         .max = room_of(limits),
                                         .ipv4_bits = (uint8_t)limits->lobby_ipv4_bits,
                                         .ipv6_bits = (uint8_t)limits->lobby_ipv6_bits};
    uint8_t seed[16];

    if (limits->lobby_connections == 0)
        return;
    sys->ops->random(sys, seed, sizeof(seed));
    listener->lobby = dm_lobby_new(&settings, seed);
}

void dm_entrance_done(struct dm_worker_listener *listener)
{
    dm_lobby_free(listener->lobby);
    listener->lobby = NULL;
}

static void count(const struct dm_worker_listener *listener)
{
    listener->counters->lobby_connections = dm_lobby_count(listener->lobby);
    listener->counters->lobby_sources = dm_lobby_sources(listener->lobby);
}

static bool is_front(const struct dm_worker_listener *listener, const struct dm_addr *from)
{
    return dm_listener_sources_hold(&listener->spec->trusted_fronts, from);
}

/* NULL: there is no room, for the reason in *ret_why. */
static struct dm_lobby_guest *enter(const struct dm_worker_listener *listener, const struct dm_addr *from,
                                    enum dm_http_refusal *ret_why)
{
    struct dm_lobby_guest *guest = NULL;
    struct dm_http_conn *gone;
    void *who;

    switch (dm_lobby_enter(listener->lobby, from, &guest, &who)) {
    case DM_LOBBY_SOURCE_HAS_MANY: *ret_why = DM_HTTP_REFUSED_LOBBY_SOURCE; return NULL;
    case DM_LOBBY_FULL: *ret_why = DM_HTTP_REFUSED_LOBBY_FULL; return NULL;
    case DM_LOBBY_ENTERED: break;
    }
    if ((gone = who)) {
        dm_http_conn_set_entry(gone, NULL);
        dm_http_conn_turn_away(gone, DM_HTTP_REFUSED_LOBBY_MADE_WAY);
    }
    count(listener);
    return guest;
}

/* Until it is a tenant's, which takes over what came in clear text: that is the lobby's only if none does (I3). */
static void charge_to_lobby(const struct dm_worker_listener *listener, struct dm_http_conn *conn)
{
    struct dm_worker_counters *counters = &listener->worker->counters->worker;

    dm_http_conn_set_account(conn, &counters->lobby_buffered_bytes);
    if (listener->spec->is_tls)
        dm_http_conn_set_traffic(conn, &counters->lobby);
}

static void settle_in(struct dm_lobby_guest *guest, struct dm_http_conn *conn)
{
    dm_lobby_set_who(guest, conn);
    dm_http_conn_set_entry(conn, guest);
}

static void accept_guest(const struct dm_worker_listener *listener, int fd, const struct dm_addr *peer)
{
    enum dm_http_refusal why = DM_HTTP_REFUSED_LOBBY_FULL;
    struct dm_lobby_guest *guest = enter(listener, peer, &why);
    struct dm_http_conn *conn;

    if (!guest) {
        dm_http_server_turn_away(listener->server, fd, why);
    } else if ((conn = dm_http_server_accept(listener->server, fd, peer))) {
        settle_in(guest, conn);
        charge_to_lobby(listener, conn);
    } else {
        dm_lobby_leave(listener->lobby, guest);
        count(listener);
    }
}

void dm_entrance_accept(const struct dm_worker_listener *listener, int fd, const struct dm_addr *peer)
{
    struct dm_http_conn *conn;

    if (dm_listener_sources_hold(&listener->spec->proxy_protocol, peer))
        dm_http_server_accept_proxied(listener->server, fd, peer);
    else if (is_front(listener, peer))
        (void)dm_http_server_accept(listener->server, fd, peer);
    else if (listener->lobby)
        accept_guest(listener, fd, peer);
    else if ((conn = dm_http_server_accept(listener->server, fd, peer)))
        charge_to_lobby(listener, conn);
}

int dm_entrance_on_source(void *arg, struct dm_http_conn *conn)
{
    const struct dm_worker_listener *listener = arg;
    enum dm_http_refusal why = DM_HTTP_REFUSED_LOBBY_FULL;
    struct dm_lobby_guest *guest;
    struct dm_addr source;

    dm_http_conn_peer(conn, &source);
    if (is_front(listener, &source))
        return 0;
    charge_to_lobby(listener, conn);
    if (!listener->lobby)
        return 0;
    if (!(guest = enter(listener, &source, &why))) {
        dm_http_server_count_refusal(listener->server, why);
        return -ECONNABORTED;
    }
    settle_in(guest, conn);
    return 0;
}

void dm_entrance_leave(const struct dm_worker_listener *listener, struct dm_http_conn *conn)
{
    struct dm_lobby_guest *guest = dm_http_conn_entry(conn);

    if (!guest)
        return;
    dm_http_conn_set_entry(conn, NULL);
    dm_lobby_leave(listener->lobby, guest);
    count(listener);
}

void dm_entrance_end(const struct dm_worker_listener *listener, struct dm_http_conn *conn)
{
    const struct dm_stream *stream = dm_http_conn_stream(conn);
    struct dm_stream_traffic *lobby = &listener->worker->counters->worker.lobby;
    struct dm_addr peer;

    dm_entrance_leave(listener, conn);
    dm_http_conn_peer(conn, &peer);
    if (listener->spec->is_tls || is_front(listener, &peer))
        return;
    lobby->in += stream->bytes_in;
    lobby->out += stream->bytes_out;
}
