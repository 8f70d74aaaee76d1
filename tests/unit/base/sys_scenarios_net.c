/* Connections: making, using and losing them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sys_stage.h"

static int listen_on(struct stage *stage, const char *text, int backlog, struct dm_addr *ret_addr)
{
    struct dm_addr addr = stage_addr(text);
    int fd = stage->sys->ops->listen(stage->sys, &addr, backlog, false);

    assert_true(fd >= 0);
    *ret_addr = stage_local_addr(stage, fd);
    return fd;
}

static void echo_over(struct stage *stage, struct stage_pair *pair)
{
    struct iovec parts[] = {{.iov_base = (void *)"hel", .iov_len = 3}, {.iov_base = (void *)"lo", .iov_len = 2}};

    assert_int_equal(stage->sys->ops->accept(stage->sys, pair->listener, NULL), -EAGAIN);
    assert_int_equal(stage_recv(stage, pair->server), -EAGAIN);
    assert_int_equal(stage->sys->ops->sendv(stage->sys, pair->client, parts, 2), 5);
    stage_await(stage, SERVER, DM_READY_IN);
    stage_expect(stage, pair->server, SERVER, "hello");
    assert_int_equal(stage_recv(stage, pair->server), -EAGAIN);
    assert_int_equal(stage_send(stage, pair->server, "world"), 5);
    stage_await(stage, CLIENT, DM_READY_IN);
    stage_expect(stage, pair->client, CLIENT, "world");

    stage_close(stage, pair->server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(stage_recv(stage, pair->client), 0);
    assert_int_equal(stage_recv(stage, pair->client), 0);
    stage_close(stage, pair->client);
    stage_close(stage, pair->listener);
}

/* What is looked at stays, also behind the peer's end. */
static void peek(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);
    char bytes[8];

    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.server, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(stage_send(stage, pair.client, "hello"), 5);
    stage_await(stage, SERVER, DM_READY_IN);
    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.server, bytes, 2), 2);
    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.server, bytes, sizeof(bytes)), 5);
    assert_memory_equal(bytes, "hello", 5);
    stage->sys->ops->shutdown_write(stage->sys, pair.client);
    stage_await(stage, SERVER, DM_READY_HUP);
    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.server, bytes, sizeof(bytes)), 5);
    stage_expect(stage, pair.server, SERVER, "hello");
    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.server, bytes, sizeof(bytes)), 0);
    assert_int_equal(stage->sys->ops->peek(stage->sys, pair.listener, bytes, sizeof(bytes)), -ENOTCONN);
    stage_pair_close(stage, &pair);
}

static void tcp_echo(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    echo_over(stage, &pair);
}

static void unix_echo(struct stage *stage)
{
    struct stage_pair pair = stage_unix_pair(stage);

    echo_over(stage, &pair);
}

static void ipv6_echo(struct stage *stage)
{
    struct dm_addr addr = stage_addr("[::1]:0");
    int fd = stage->sys->ops->listen(stage->sys, &addr, 1, false);

    if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)
        return; /* a machine without IPv6 */
    stage_close(stage, fd);
    struct stage_pair pair = stage_pair_at(stage, &addr);
    echo_over(stage, &pair);
}

static void addresses(struct stage *stage)
{
    struct dm_addr at, peer, client_addr, server_addr;
    char text[DM_ADDR_TEXT_MAX];
    int listener = listen_on(stage, "127.0.0.1:0", 4, &at), client, server;

    assert_int_not_equal(dm_addr_port(&at), 0);
    stage_watch(stage, listener, LISTENER);
    client = stage_connect(stage, &at);
    stage_await(stage, LISTENER, DM_READY_IN);
    server = stage->sys->ops->accept(stage->sys, listener, &peer);
    assert_true(server >= 0);
    client_addr = stage_local_addr(stage, client);
    server_addr = stage_local_addr(stage, server);
    assert_true(dm_addr_eq(&peer, &client_addr));
    assert_true(dm_addr_eq(&server_addr, &at));
    dm_addr_format(&peer, false, text);
    assert_string_equal(text, "127.0.0.1");
    stage_close(stage, client);
    stage_close(stage, server);
    stage_close(stage, listener);
}

static void half_close(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    stage_send_all(stage, pair.client, CLIENT, "last words");
    assert_int_equal(stage->sys->ops->shutdown_write(stage->sys, pair.client), 0);
    assert_int_equal(stage_send(stage, pair.client, "more"), -EPIPE);
    stage_await(stage, SERVER, DM_READY_IN | DM_READY_HUP);
    stage_expect(stage, pair.server, SERVER, "last words");
    assert_int_equal(stage_recv(stage, pair.server), 0);
    stage_send_all(stage, pair.server, SERVER, "answer");
    stage_expect(stage, pair.client, CLIENT, "answer");
    assert_int_equal(stage_recv(stage, pair.client), -EAGAIN);
    stage_close(stage, pair.server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(stage_recv(stage, pair.client), 0);
    stage_close(stage, pair.client);
    stage_close(stage, pair.listener);
}

/* Closing with unread data resets: what had arrived can be read, then the error once, then the end. */
static void reset_over(struct stage *stage, struct stage_pair *pair)
{
    stage_send_all(stage, pair->server, SERVER, "before");
    stage_await(stage, CLIENT, DM_READY_IN);
    stage_send_all(stage, pair->client, CLIENT, "never read");
    stage_await(stage, SERVER, DM_READY_IN);
    stage_close(stage, pair->server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_OUT | DM_READY_HUP | DM_READY_ERR);
    stage_expect(stage, pair->client, CLIENT, "before");
    assert_int_equal(stage_recv(stage, pair->client), -ECONNRESET);
    assert_int_equal(stage_recv(stage, pair->client), 0);
    assert_int_equal(stage_send(stage, pair->client, "x"), -EPIPE);
    stage_close(stage, pair->client);
    stage_close(stage, pair->listener);
}

static void tcp_reset(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    reset_over(stage, &pair);
}

/* A close that was to be a reset is one, whatever was read. */
static void reset_on_close(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage), other = stage_unix_pair(stage);

    stage_send_all(stage, pair.server, SERVER, "before");
    stage_await(stage, CLIENT, DM_READY_IN);
    assert_int_equal(stage->sys->ops->reset_on_close(stage->sys, pair.server), 0);
    assert_int_equal(stage_recv(stage, pair.client), 6);
    stage_close(stage, pair.server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_OUT | DM_READY_HUP | DM_READY_ERR);
    assert_int_equal(stage_recv(stage, pair.client), -ECONNRESET);
    stage_close(stage, pair.client);
    stage_close(stage, pair.listener);

    assert_int_equal(stage->sys->ops->reset_on_close(stage->sys, other.server), 0);
    stage_close(stage, other.server);
    assert_int_equal(stage_recv(stage, other.client), 0);
    stage_close(stage, other.client);
    stage_close(stage, other.listener);
    assert_int_equal(stage->sys->ops->reset_on_close(stage->sys, 9999), -EBADF);
}

static void unix_reset(struct stage *stage)
{
    struct stage_pair pair = stage_unix_pair(stage);

    reset_over(stage, &pair);
}

/* Data sent to a closed TCP end come back as a reset; after the peer's end the reader still sees just that end. */
static void send_to_closed(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    stage_close(stage, pair.server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(stage_send(stage, pair.client, "x"), 1);
    stage_await(stage, CLIENT, DM_READY_ERR | DM_READY_HUP);
    assert_int_equal(stage_recv(stage, pair.client), 0);
    assert_int_equal(stage_send(stage, pair.client, "x"), -EPIPE);
    stage_close(stage, pair.client);
    stage_close(stage, pair.listener);
}

static void unix_peer_gone(struct stage *stage)
{
    struct stage_pair pair = stage_unix_pair(stage);

    stage_close(stage, pair.server);
    stage_await(stage, CLIENT, DM_READY_IN | DM_READY_OUT | DM_READY_HUP);
    assert_int_equal(stage_recv(stage, pair.client), 0);
    assert_int_equal(stage_send(stage, pair.client, "x"), -EPIPE);
    stage_close(stage, pair.client);
    stage_close(stage, pair.listener);
}

static void refused(struct stage *stage)
{
    struct dm_addr at;
    int fd = listen_on(stage, "127.0.0.1:0", 1, &at);

    stage_close(stage, fd);
    fd = stage->sys->ops->connect(stage->sys, &at);
    if (fd < 0) {
        assert_int_equal(fd, -ECONNREFUSED);
        return;
    }
    stage_watch(stage, fd, CLIENT);
    stage_await(stage, CLIENT, DM_READY_ERR | DM_READY_OUT);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, fd), -ECONNREFUSED);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, fd), 0);
    stage_close(stage, fd);
}

static void backlog(struct stage *stage)
{
    enum { N = 8 };
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 16, &at), clients[N], n_accepted = 0;

    for (unsigned i = 0; i < N; i++) {
        clients[i] = stage_connect(stage, &at);
        stage_watch(stage, clients[i], 10 + i);
    }
    for (unsigned i = 0; i < N; i++)
        stage_await(stage, 10 + i, DM_READY_OUT);
    stage_watch(stage, listener, LISTENER);
    stage_await(stage, LISTENER, DM_READY_IN);
    for (int fd; (fd = stage->sys->ops->accept(stage->sys, listener, NULL)) >= 0; n_accepted++)
        stage_close(stage, fd);
    assert_int_equal(n_accepted, N);
    for (unsigned i = 0; i < N; i++)
        stage_close(stage, clients[i]);
    stage_close(stage, listener);
}

/* Connections beyond a full backlog come through once there is room. */
static void backlog_overflow(struct stage *stage)
{
    enum { N = 4 };
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 1, &at), clients[N], n_accepted = 0;

    stage_watch(stage, listener, LISTENER);
    for (unsigned i = 0; i < N; i++) {
        clients[i] = stage_connect(stage, &at);
        stage_watch(stage, clients[i], 10 + i);
    }
    while (n_accepted < N) {
        int fd = stage->sys->ops->accept(stage->sys, listener, NULL);

        assert_true(fd >= 0 || fd == -EAGAIN);
        if (fd == -EAGAIN) {
            stage_await(stage, LISTENER, DM_READY_IN);
            continue;
        }
        n_accepted++;
        stage_close(stage, fd);
    }
    for (unsigned i = 0; i < N; i++)
        stage_close(stage, clients[i]);
    stage_close(stage, listener);
}

static void listener_close_resets(struct stage *stage)
{
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 4, &at), client = stage_connect(stage, &at);

    stage_watch(stage, client, CLIENT);
    stage_await(stage, CLIENT, DM_READY_OUT);
    stage_close(stage, listener);
    stage_await(stage, CLIENT, DM_READY_ERR | DM_READY_HUP);
    assert_int_equal(stage_recv(stage, client), -ECONNRESET);
    stage_close(stage, client);
}

static void address_in_use(struct stage *stage)
{
    struct dm_addr at;
    int first = listen_on(stage, "127.0.0.1:0", 4, &at), second;

    assert_int_equal(stage->sys->ops->listen(stage->sys, &at, 4, false), -EADDRINUSE);
    stage_close(stage, first);
    first = stage->sys->ops->listen(stage->sys, &at, 4, true);
    second = stage->sys->ops->listen(stage->sys, &at, 4, true);
    assert_true(first >= 0 && second >= 0);
    stage_close(stage, first);
    stage_close(stage, second);
}

static void unix_files(struct stage *stage)
{
    struct dm_addr at = stage_unix_addr(stage, "a.sock"), none = stage_unix_addr(stage, "none.sock");
    struct dm_sys *sys = stage->sys;
    char path[256];
    int fd = sys->ops->listen(sys, &at, 4, false);

    assert_true(fd >= 0);
    assert_int_equal(sys->ops->listen(sys, &at, 4, false), -EADDRINUSE);
    stage_close(stage, fd);
    assert_int_equal(sys->ops->connect(sys, &at), -ECONNREFUSED);
    assert_int_equal(sys->ops->connect(sys, &none), -ENOENT);
    fd = sys->ops->listen(sys, &at, 4, false);
    assert_true(fd >= 0);
    stage_close(stage, stage_connect(stage, &at));
    stage_close(stage, fd);

    /* A file that is no socket is nobody's to replace. */
    snprintf(path, sizeof(path), "%s/none.sock", stage->dir);
    assert_int_equal(dm_sys_write_file(sys, path, DM_STR("data"), 0600, false, NULL), 0);
    assert_int_equal(sys->ops->listen(sys, &none, 4, false), -EADDRINUSE);
    assert_int_equal(sys->ops->connect(sys, &none), -ECONNREFUSED);
}

static void unix_backlog(struct stage *stage)
{
    struct dm_addr at = stage_unix_addr(stage, "full.sock");
    int listener = stage->sys->ops->listen(stage->sys, &at, 1, false), a, b, server;

    assert_true(listener >= 0);
    a = stage_connect(stage, &at);
    b = stage_connect(stage, &at);
    assert_int_equal(stage->sys->ops->connect(stage->sys, &at), -EAGAIN);
    server = stage->sys->ops->accept(stage->sys, listener, NULL);
    assert_true(server >= 0);
    stage_close(stage, stage_connect(stage, &at));
    stage_close(stage, a);
    stage_close(stage, b);
    stage_close(stage, server);
    stage_close(stage, listener);
}

static void peer_cred(struct stage *stage)
{
    struct stage_pair pair = stage_unix_pair(stage);
    struct dm_peer_cred client_sees, server_sees;
    struct dm_sys *sys = stage->sys;

    assert_int_equal(sys->ops->peer_cred(sys, pair.client, &client_sees), 0);
    assert_int_equal(sys->ops->peer_cred(sys, pair.server, &server_sees), 0);
    assert_true(server_sees.pid > 0);
    assert_int_equal(client_sees.pid, server_sees.pid);
    assert_int_equal(client_sees.uid, server_sees.uid);
    assert_int_equal(client_sees.gid, server_sees.gid);
    stage_pair_close(stage, &pair);
    pair = stage_tcp_pair(stage);
    assert_int_equal(sys->ops->peer_cred(sys, pair.server, &server_sees), -EINVAL);
    stage_pair_close(stage, &pair);
}

static void wrong_descriptors(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    assert_int_equal(stage_recv(stage, pair.listener), -ENOTCONN);
    assert_int_equal(sys->ops->accept(sys, pair.client, NULL), -EINVAL);
    stage_pair_close(stage, &pair);
    assert_int_equal(stage_recv(stage, pair.client), -EBADF);
    assert_int_equal(sys->ops->close(sys, pair.client), -EBADF);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, pair.client, 1), -EBADF);
}

const struct scenario sys_net_scenarios[] = {
    {"tcp_echo", tcp_echo},
    {"peek", peek},
    {"unix_echo", unix_echo},
    {"ipv6_echo", ipv6_echo},
    {"addresses", addresses},
    {"half_close", half_close},
    {"tcp_reset", tcp_reset},
    {"unix_reset", unix_reset},
    {"reset_on_close", reset_on_close},
    {"send_to_closed", send_to_closed},
    {"unix_peer_gone", unix_peer_gone},
    {"refused", refused},
    {"backlog", backlog},
    {"backlog_overflow", backlog_overflow},
    {"listener_close_resets", listener_close_resets},
    {"address_in_use", address_in_use},
    {"unix_files", unix_files},
    {"unix_backlog", unix_backlog},
    {"peer_cred", peer_cred},
    {"wrong_descriptors", wrong_descriptors},
    {0},
};
