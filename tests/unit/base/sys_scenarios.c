#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sys_scenarios.h"

/* Only a test that has failed waits as long as this. */
enum { GIVE_UP_MS = 20000 };

enum { LISTENER, CLIENT, SERVER };

/* --- helpers --- */

static int collect(struct stage *stage, int timeout_ms)
{
    struct dm_ready_event events[8];
    int n = stage->sys->ops->poll_wait(stage->sys, stage->poll_fd, events, DM_COUNT(events), timeout_ms);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        assert_true(events[i].tag < STAGE_TAGS_MAX);
        assert_true(events[i].ready != 0);
        stage->seen[events[i].tag] |= events[i].ready;
    }
    return n;
}

static void wait_any(struct stage *stage)
{
    if (!stage->world) {
        assert_true(collect(stage, GIVE_UP_MS) > 0);
        return;
    }
    while (collect(stage, -1) == 0)
        assert_int_not_equal(dm_world_step(stage->world), DM_WORLD_QUIET);
}

/* Waits until all of the bits were reported for the tag, and takes them. */
static void await(struct stage *stage, unsigned tag, unsigned ready)
{
    while ((stage->seen[tag] & ready) != ready)
        wait_any(stage);
    stage->seen[tag] &= ~ready;
}

/* What is reported without waiting. */
static unsigned glance(struct stage *stage, unsigned tag)
{
    unsigned ready;

    while (collect(stage, 0) > 0)
        ;
    ready = stage->seen[tag];
    stage->seen[tag] = 0;
    return ready;
}

static void watch(struct stage *stage, int fd, unsigned tag)
{
    stage->seen[tag] = 0;
    assert_int_equal(stage->sys->ops->poll_add(stage->sys, stage->poll_fd, fd, tag), 0);
}

static void close_fd(struct stage *stage, int fd)
{
    assert_int_equal(stage->sys->ops->close(stage->sys, fd), 0);
}

static struct dm_addr addr_of(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

static struct dm_addr unix_addr(struct stage *stage, const char *name)
{
    char text[DM_ADDR_TEXT_MAX];

    snprintf(text, sizeof(text), "unix:%s/%s", stage->dir, name);
    return addr_of(text);
}

static struct dm_addr local_addr(struct stage *stage, int fd)
{
    struct dm_addr addr;

    assert_int_equal(stage->sys->ops->local_addr(stage->sys, fd, &addr), 0);
    return addr;
}

static int listen_on(struct stage *stage, const char *text, int backlog, struct dm_addr *ret_addr)
{
    struct dm_addr addr = addr_of(text);
    int fd = stage->sys->ops->listen(stage->sys, &addr, backlog, false);

    assert_true(fd >= 0);
    *ret_addr = local_addr(stage, fd);
    return fd;
}

static int connect_to(struct stage *stage, const struct dm_addr *addr)
{
    int fd = stage->sys->ops->connect(stage->sys, addr);

    assert_true(fd >= 0);
    return fd;
}

/* Both ends of a new connection, each watched under its tag, with the first readiness for OUT taken. */
struct pair {
    int listener, client, server;
};

static struct pair pair_at(struct stage *stage, const struct dm_addr *at)
{
    struct pair pair;
    struct dm_addr bound;

    pair.listener = stage->sys->ops->listen(stage->sys, at, 16, false);
    assert_true(pair.listener >= 0);
    bound = local_addr(stage, pair.listener);
    watch(stage, pair.listener, LISTENER);
    pair.client = connect_to(stage, &bound);
    watch(stage, pair.client, CLIENT);
    await(stage, CLIENT, DM_READY_OUT);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, pair.client), 0);
    await(stage, LISTENER, DM_READY_IN);
    pair.server = stage->sys->ops->accept(stage->sys, pair.listener, NULL);
    assert_true(pair.server >= 0);
    watch(stage, pair.server, SERVER);
    await(stage, SERVER, DM_READY_OUT);
    return pair;
}

static struct pair tcp_pair(struct stage *stage)
{
    struct dm_addr addr = addr_of("127.0.0.1:0");

    return pair_at(stage, &addr);
}

static struct pair unix_pair(struct stage *stage)
{
    struct dm_addr addr = unix_addr(stage, "pair.sock");

    return pair_at(stage, &addr);
}

static void pair_close(struct stage *stage, struct pair *pair)
{
    close_fd(stage, pair->client);
    close_fd(stage, pair->server);
    close_fd(stage, pair->listener);
}

static ssize_t send_str(struct stage *stage, int fd, const char *text)
{
    return stage->sys->ops->send(stage->sys, fd, text, strlen(text));
}

static ssize_t recv_some(struct stage *stage, int fd)
{
    char bytes[4096];

    return stage->sys->ops->recv(stage->sys, fd, bytes, sizeof(bytes));
}

/* Sends all, waiting for room under the tag. */
static void send_all(struct stage *stage, int fd, unsigned tag, const char *text)
{
    for (size_t len = strlen(text), at = 0; at < len;) {
        ssize_t n = stage->sys->ops->send(stage->sys, fd, text + at, len - at);

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            await(stage, tag, DM_READY_OUT);
        else
            at += (size_t)n;
    }
}

/* Reads exactly this text, waiting for it under the tag. */
static void expect_text(struct stage *stage, int fd, unsigned tag, const char *text)
{
    char bytes[256];
    size_t len = 0, want = strlen(text);

    assert_true(want < sizeof(bytes));
    while (len < want) {
        ssize_t n = stage->sys->ops->recv(stage->sys, fd, bytes + len, want - len);

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            await(stage, tag, DM_READY_IN);
        else
            len += (size_t)n;
    }
    assert_memory_equal(bytes, text, want);
}

/* --- connections --- */

static void echo_over(struct stage *stage, struct pair *pair)
{
    struct iovec parts[] = {{.iov_base = (void *)"hel", .iov_len = 3}, {.iov_base = (void *)"lo", .iov_len = 2}};

    assert_int_equal(stage->sys->ops->accept(stage->sys, pair->listener, NULL), -EAGAIN);
    assert_int_equal(recv_some(stage, pair->server), -EAGAIN);
    assert_int_equal(stage->sys->ops->sendv(stage->sys, pair->client, parts, 2), 5);
    await(stage, SERVER, DM_READY_IN);
    expect_text(stage, pair->server, SERVER, "hello");
    assert_int_equal(recv_some(stage, pair->server), -EAGAIN);
    assert_int_equal(send_str(stage, pair->server, "world"), 5);
    await(stage, CLIENT, DM_READY_IN);
    expect_text(stage, pair->client, CLIENT, "world");

    close_fd(stage, pair->server);
    await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(recv_some(stage, pair->client), 0);
    assert_int_equal(recv_some(stage, pair->client), 0);
    close_fd(stage, pair->client);
    close_fd(stage, pair->listener);
}

static void tcp_echo(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    echo_over(stage, &pair);
}

static void unix_echo(struct stage *stage)
{
    struct pair pair = unix_pair(stage);

    echo_over(stage, &pair);
}

static void ipv6_echo(struct stage *stage)
{
    struct dm_addr addr = addr_of("[::1]:0");
    int fd = stage->sys->ops->listen(stage->sys, &addr, 1, false);

    if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)
        return; /* a machine without IPv6 */
    close_fd(stage, fd);
    struct pair pair = pair_at(stage, &addr);
    echo_over(stage, &pair);
}

static void addresses(struct stage *stage)
{
    struct dm_addr at, peer, client_addr, server_addr;
    char text[DM_ADDR_TEXT_MAX];
    int listener = listen_on(stage, "127.0.0.1:0", 4, &at), client, server;

    assert_int_not_equal(dm_addr_port(&at), 0);
    watch(stage, listener, LISTENER);
    client = connect_to(stage, &at);
    await(stage, LISTENER, DM_READY_IN);
    server = stage->sys->ops->accept(stage->sys, listener, &peer);
    assert_true(server >= 0);
    client_addr = local_addr(stage, client);
    server_addr = local_addr(stage, server);
    assert_true(dm_addr_eq(&peer, &client_addr));
    assert_true(dm_addr_eq(&server_addr, &at));
    dm_addr_format(&peer, false, text);
    assert_string_equal(text, "127.0.0.1");
    close_fd(stage, client);
    close_fd(stage, server);
    close_fd(stage, listener);
}

static void half_close(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    send_all(stage, pair.client, CLIENT, "last words");
    assert_int_equal(stage->sys->ops->shutdown_write(stage->sys, pair.client), 0);
    assert_int_equal(send_str(stage, pair.client, "more"), -EPIPE);
    await(stage, SERVER, DM_READY_IN | DM_READY_HUP);
    expect_text(stage, pair.server, SERVER, "last words");
    assert_int_equal(recv_some(stage, pair.server), 0);
    send_all(stage, pair.server, SERVER, "answer");
    expect_text(stage, pair.client, CLIENT, "answer");
    assert_int_equal(recv_some(stage, pair.client), -EAGAIN);
    close_fd(stage, pair.server);
    await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(recv_some(stage, pair.client), 0);
    close_fd(stage, pair.client);
    close_fd(stage, pair.listener);
}

/* Closing with unread data resets: what had arrived can be read, then the error once, then the end. */
static void reset_over(struct stage *stage, struct pair *pair)
{
    send_all(stage, pair->server, SERVER, "before");
    await(stage, CLIENT, DM_READY_IN);
    send_all(stage, pair->client, CLIENT, "never read");
    await(stage, SERVER, DM_READY_IN);
    close_fd(stage, pair->server);
    await(stage, CLIENT, DM_READY_IN | DM_READY_OUT | DM_READY_HUP | DM_READY_ERR);
    expect_text(stage, pair->client, CLIENT, "before");
    assert_int_equal(recv_some(stage, pair->client), -ECONNRESET);
    assert_int_equal(recv_some(stage, pair->client), 0);
    assert_int_equal(send_str(stage, pair->client, "x"), -EPIPE);
    close_fd(stage, pair->client);
    close_fd(stage, pair->listener);
}

static void tcp_reset(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    reset_over(stage, &pair);
}

static void unix_reset(struct stage *stage)
{
    struct pair pair = unix_pair(stage);

    reset_over(stage, &pair);
}

/* Data sent to a closed TCP end come back as a reset; after the peer's end the reader still sees just that end. */
static void send_to_closed(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    close_fd(stage, pair.server);
    await(stage, CLIENT, DM_READY_IN | DM_READY_HUP);
    assert_int_equal(send_str(stage, pair.client, "x"), 1);
    await(stage, CLIENT, DM_READY_ERR | DM_READY_HUP);
    assert_int_equal(recv_some(stage, pair.client), 0);
    assert_int_equal(send_str(stage, pair.client, "x"), -EPIPE);
    close_fd(stage, pair.client);
    close_fd(stage, pair.listener);
}

static void unix_peer_gone(struct stage *stage)
{
    struct pair pair = unix_pair(stage);

    close_fd(stage, pair.server);
    await(stage, CLIENT, DM_READY_IN | DM_READY_OUT | DM_READY_HUP);
    assert_int_equal(recv_some(stage, pair.client), 0);
    assert_int_equal(send_str(stage, pair.client, "x"), -EPIPE);
    close_fd(stage, pair.client);
    close_fd(stage, pair.listener);
}

static void refused(struct stage *stage)
{
    struct dm_addr at;
    int fd = listen_on(stage, "127.0.0.1:0", 1, &at);

    close_fd(stage, fd);
    fd = stage->sys->ops->connect(stage->sys, &at);
    if (fd < 0) {
        assert_int_equal(fd, -ECONNREFUSED);
        return;
    }
    watch(stage, fd, CLIENT);
    await(stage, CLIENT, DM_READY_ERR | DM_READY_OUT);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, fd), -ECONNREFUSED);
    assert_int_equal(stage->sys->ops->connect_error(stage->sys, fd), 0);
    close_fd(stage, fd);
}

static void backlog(struct stage *stage)
{
    enum { N = 8 };
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 16, &at), clients[N], n_accepted = 0;

    for (unsigned i = 0; i < N; i++) {
        clients[i] = connect_to(stage, &at);
        watch(stage, clients[i], 10 + i);
    }
    for (unsigned i = 0; i < N; i++)
        await(stage, 10 + i, DM_READY_OUT);
    watch(stage, listener, LISTENER);
    await(stage, LISTENER, DM_READY_IN);
    for (int fd; (fd = stage->sys->ops->accept(stage->sys, listener, NULL)) >= 0; n_accepted++)
        close_fd(stage, fd);
    assert_int_equal(n_accepted, N);
    for (unsigned i = 0; i < N; i++)
        close_fd(stage, clients[i]);
    close_fd(stage, listener);
}

/* Connections beyond a full backlog come through once there is room. */
static void backlog_overflow(struct stage *stage)
{
    enum { N = 4 };
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 1, &at), clients[N], n_accepted = 0;

    watch(stage, listener, LISTENER);
    for (unsigned i = 0; i < N; i++) {
        clients[i] = connect_to(stage, &at);
        watch(stage, clients[i], 10 + i);
    }
    while (n_accepted < N) {
        int fd = stage->sys->ops->accept(stage->sys, listener, NULL);

        assert_true(fd >= 0 || fd == -EAGAIN);
        if (fd == -EAGAIN) {
            await(stage, LISTENER, DM_READY_IN);
            continue;
        }
        n_accepted++;
        close_fd(stage, fd);
    }
    for (unsigned i = 0; i < N; i++)
        close_fd(stage, clients[i]);
    close_fd(stage, listener);
}

static void listener_close_resets(struct stage *stage)
{
    struct dm_addr at;
    int listener = listen_on(stage, "127.0.0.1:0", 4, &at), client = connect_to(stage, &at);

    watch(stage, client, CLIENT);
    await(stage, CLIENT, DM_READY_OUT);
    close_fd(stage, listener);
    await(stage, CLIENT, DM_READY_ERR | DM_READY_HUP);
    assert_int_equal(recv_some(stage, client), -ECONNRESET);
    close_fd(stage, client);
}

static void address_in_use(struct stage *stage)
{
    struct dm_addr at;
    int first = listen_on(stage, "127.0.0.1:0", 4, &at), second;

    assert_int_equal(stage->sys->ops->listen(stage->sys, &at, 4, false), -EADDRINUSE);
    close_fd(stage, first);
    first = stage->sys->ops->listen(stage->sys, &at, 4, true);
    second = stage->sys->ops->listen(stage->sys, &at, 4, true);
    assert_true(first >= 0 && second >= 0);
    close_fd(stage, first);
    close_fd(stage, second);
}

static void unix_files(struct stage *stage)
{
    struct dm_addr at = unix_addr(stage, "a.sock"), none = unix_addr(stage, "none.sock");
    struct dm_sys *sys = stage->sys;
    char path[256];
    int fd = sys->ops->listen(sys, &at, 4, false);

    assert_true(fd >= 0);
    assert_int_equal(sys->ops->listen(sys, &at, 4, false), -EADDRINUSE);
    close_fd(stage, fd);
    assert_int_equal(sys->ops->connect(sys, &at), -ECONNREFUSED);
    assert_int_equal(sys->ops->connect(sys, &none), -ENOENT);
    fd = sys->ops->listen(sys, &at, 4, false);
    assert_true(fd >= 0);
    close_fd(stage, connect_to(stage, &at));
    close_fd(stage, fd);

    /* A file that is no socket is nobody's to replace. */
    snprintf(path, sizeof(path), "%s/none.sock", stage->dir);
    assert_int_equal(dm_sys_write_file(sys, path, DM_STR("data"), 0600, false, NULL), 0);
    assert_int_equal(sys->ops->listen(sys, &none, 4, false), -EADDRINUSE);
    assert_int_equal(sys->ops->connect(sys, &none), -ECONNREFUSED);
}

static void unix_backlog(struct stage *stage)
{
    struct dm_addr at = unix_addr(stage, "full.sock");
    int listener = stage->sys->ops->listen(stage->sys, &at, 1, false), a, b, server;

    assert_true(listener >= 0);
    a = connect_to(stage, &at);
    b = connect_to(stage, &at);
    assert_int_equal(stage->sys->ops->connect(stage->sys, &at), -EAGAIN);
    server = stage->sys->ops->accept(stage->sys, listener, NULL);
    assert_true(server >= 0);
    close_fd(stage, connect_to(stage, &at));
    close_fd(stage, a);
    close_fd(stage, b);
    close_fd(stage, server);
    close_fd(stage, listener);
}

static void peer_cred(struct stage *stage)
{
    struct pair pair = unix_pair(stage);
    struct dm_peer_cred client_sees, server_sees;
    struct dm_sys *sys = stage->sys;

    assert_int_equal(sys->ops->peer_cred(sys, pair.client, &client_sees), 0);
    assert_int_equal(sys->ops->peer_cred(sys, pair.server, &server_sees), 0);
    assert_true(server_sees.pid > 0);
    assert_int_equal(client_sees.pid, server_sees.pid);
    assert_int_equal(client_sees.uid, server_sees.uid);
    assert_int_equal(client_sees.gid, server_sees.gid);
    pair_close(stage, &pair);
    pair = tcp_pair(stage);
    assert_int_equal(sys->ops->peer_cred(sys, pair.server, &server_sees), -EINVAL);
    pair_close(stage, &pair);
}

static void wrong_descriptors(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    assert_int_equal(recv_some(stage, pair.listener), -ENOTCONN);
    assert_int_equal(sys->ops->accept(sys, pair.client, NULL), -EINVAL);
    pair_close(stage, &pair);
    assert_int_equal(recv_some(stage, pair.client), -EBADF);
    assert_int_equal(sys->ops->close(sys, pair.client), -EBADF);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, pair.client, 1), -EBADF);
}

/* --- readiness --- */

static void edges(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    send_all(stage, pair.client, CLIENT, "a");
    await(stage, SERVER, DM_READY_IN);
    assert_int_equal(glance(stage, SERVER) & DM_READY_IN, 0); /* unread, but no new edge */
    send_all(stage, pair.client, CLIENT, "b");
    await(stage, SERVER, DM_READY_IN);
    expect_text(stage, pair.server, SERVER, "ab");
    assert_int_equal(glance(stage, SERVER) & DM_READY_IN, 0);
    send_all(stage, pair.client, CLIENT, "c");
    await(stage, SERVER, DM_READY_IN);
    expect_text(stage, pair.server, SERVER, "c");
    pair_close(stage, &pair);
}

/* What is ready when the registration is made is reported, all bits in one event. */
static void ready_at_add(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    send_all(stage, pair.client, CLIENT, "early");
    await(stage, SERVER, DM_READY_IN);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, pair.server, 9), -EEXIST);
    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), 0);
    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), -ENOENT);
    watch(stage, pair.server, 9);
    assert_int_equal(glance(stage, 9), DM_READY_IN | DM_READY_OUT);
    assert_int_equal(glance(stage, 9), 0);
    pair_close(stage, &pair);
}

static void deleted_is_silent(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), 0);
    glance(stage, SERVER);
    send_all(stage, pair.client, CLIENT, "x");
    close_fd(stage, pair.client);
    watch(stage, pair.server, 9);
    await(stage, 9, DM_READY_HUP);
    assert_int_equal(stage->seen[SERVER], 0);
    close_fd(stage, pair.server);
    close_fd(stage, pair.listener);
}

/* A small batch takes turns: what did not fit comes with the next call. */
static void small_batches(struct stage *stage)
{
    enum { N = 5 };
    struct dm_addr at = unix_addr(stage, "batch.sock");
    struct dm_sys *sys = stage->sys;
    int listener = sys->ops->listen(sys, &at, 16, false), fds[N];
    struct dm_ready_event event;
    bool seen[N] = {false};

    assert_true(listener >= 0);
    for (unsigned i = 0; i < N; i++) {
        fds[i] = connect_to(stage, &at);
        watch(stage, fds[i], i);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sys->ops->poll_wait(sys, stage->poll_fd, &event, 1, 0), 1);
        assert_true(event.tag < N && !seen[event.tag]);
        seen[event.tag] = true;
    }
    assert_int_equal(sys->ops->poll_wait(sys, stage->poll_fd, &event, 1, 0), 0);
    for (unsigned i = 0; i < N; i++)
        close_fd(stage, fds[i]);
    close_fd(stage, listener);
}

static size_t fill(struct stage *stage, int fd)
{
    char bytes[8192];
    size_t total = 0;

    for (;;) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)((total + i) % 251);
        ssize_t n = stage->sys->ops->send(stage->sys, fd, bytes, sizeof(bytes));
        if (n == -EAGAIN)
            return total;
        assert_true(n > 0);
        total += (size_t)n;
    }
}

static void drain(struct stage *stage, int fd, size_t want)
{
    unsigned char bytes[8192];

    for (size_t total = 0; total < want;) {
        ssize_t n = stage->sys->ops->recv(stage->sys, fd, bytes, sizeof(bytes));

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            await(stage, SERVER, DM_READY_IN);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(bytes[i], (total + (size_t)i) % 251);
        total += n > 0 ? (size_t)n : 0;
    }
}

/* A sender that met EAGAIN gets an edge for OUT when the peer has drained, and the bytes arrive whole and in order. */
static void full_over(struct stage *stage, struct pair *pair)
{
    for (int round = 0; round < 2; round++) {
        size_t total = fill(stage, pair->client);

        assert_true(total > 0);
        stage->seen[CLIENT] = 0;
        drain(stage, pair->server, total);
        await(stage, CLIENT, DM_READY_OUT);
    }
    pair_close(stage, pair);
}

static void tcp_full(struct stage *stage)
{
    struct pair pair = tcp_pair(stage);

    full_over(stage, &pair);
}

static void unix_full(struct stage *stage)
{
    struct pair pair = unix_pair(stage);

    full_over(stage, &pair);
}

/* --- clock, randomness --- */

static void clock_and_random(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    uint8_t a[37] = {0}, b[37] = {0};
    uint64_t before = sys->ops->mono_ns(sys);

    assert_true(sys->ops->mono_ns(sys) >= before);
    assert_true(sys->ops->wall_ns(sys) > UINT64_C(1700000000) * 1000000000);
    sys->ops->random(sys, a, sizeof(a));
    sys->ops->random(sys, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

/* --- disk --- */

static const char *in_dir(struct stage *stage, const char *name)
{
    static char path[4][256];
    static unsigned next;

    next = (next + 1) % DM_COUNT(path);
    snprintf(path[next], sizeof(path[next]), "%s/%s", stage->dir, name);
    return path[next];
}

static void expect_file(struct stage *stage, const char *name, const char *text)
{
    struct dm_buf buf DM_CLEANUP(dm_buf_done) = {0};

    assert_int_equal(dm_sys_read_file(stage->sys, in_dir(stage, name), 4096, &buf, NULL), 0);
    assert_int_equal(buf.len, strlen(text));
    assert_memory_equal(buf.len > 0 ? buf.ptr : "", text, buf.len);
}

struct listing {
    char text[256];
    unsigned count;
};

static int note_name(void *arg, const char *name)
{
    struct listing *listing = arg;

    listing->count++;
    snprintf(listing->text + strlen(listing->text), sizeof(listing->text) - strlen(listing->text), "[%s]", name);
    return 0;
}

static int stop_at_first(void *arg, const char *name)
{
    ++*(int *)arg;
    return 42;
}

static void files(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    char bytes[16];
    int fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDWR | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(sys->ops->write(sys, fd, "abcdef", 6), 6);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), 0); /* at the end */
    assert_int_equal(sys->ops->fsync(sys, fd), 0);
    close_fd(stage, fd);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "f"), O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY, 0);
    assert_int_equal(sys->ops->write(sys, fd, "XY", 2), 2);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), -EBADF);
    close_fd(stage, fd);
    expect_file(stage, "f", "XYcdef");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY | O_APPEND, 0);
    assert_int_equal(sys->ops->write(sys, fd, "gh", 2), 2);
    close_fd(stage, fd);
    expect_file(stage, "f", "XYcdefgh");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_WRONLY | O_TRUNC, 0);
    close_fd(stage, fd);
    expect_file(stage, "f", "");
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDONLY, 0);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, fd, 1), -EPERM);
    assert_int_equal(sys->ops->write(sys, fd, "x", 1), -EBADF);
    close_fd(stage, fd);
}

static void names(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct listing listing = {0};
    int visits = 0;

    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "d"), 0700), 0);
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "d"), 0700), -EEXIST);
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "no/d"), 0700), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "no"), O_RDONLY, 0), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "no/f"), O_WRONLY | O_CREAT, 0600), -ENOENT);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "d"), O_WRONLY, 0), -EISDIR);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "d/a"), DM_STR("one"), 0600, false, NULL), 0);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "d/b"), DM_STR("two"), 0600, false, NULL), 0);
    assert_int_equal(sys->ops->open(sys, in_dir(stage, "d/a"), O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d/a"), in_dir(stage, "d/b")), 0);
    expect_file(stage, "d/b", "one");
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d/a"), in_dir(stage, "d/b")), -ENOENT);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d"), note_name, &listing), 0);
    assert_string_equal(listing.text, "[b]");
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d"), stop_at_first, &visits), 42);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "d/b"), note_name, &listing), -ENOTDIR);
    assert_int_equal(sys->ops->list(sys, in_dir(stage, "no"), note_name, &listing), -ENOENT);

    /* A directory moves with what is in it. */
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "d"), in_dir(stage, "e")), 0);
    expect_file(stage, "e/b", "one");
    assert_int_equal(sys->ops->rename(sys, in_dir(stage, "e"), in_dir(stage, "e/in")), -EINVAL);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e")), -EISDIR);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e/b")), 0);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "e/b")), -ENOENT);
}

/* An unlinked file lives as long as it is open. */
static void unlinked_open_file(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    char bytes[8];
    int fd;

    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "f"), DM_STR("kept"), 0600, false, NULL), 0);
    fd = sys->ops->open(sys, in_dir(stage, "f"), O_RDONLY, 0);
    assert_int_equal(sys->ops->unlink(sys, in_dir(stage, "f")), 0);
    assert_int_equal(sys->ops->read(sys, fd, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "kept", 4);
    close_fd(stage, fd);
}

static void whole_files(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct dm_buf buf = {0};
    struct dm_err err = {0};
    struct listing listing = {0};
    char big[40000];

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i % 127);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "w"), dm_str_n(big, sizeof(big)), 0640, true, NULL), 0);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "w"), sizeof(big), &buf, NULL), 0);
    assert_int_equal(buf.len, sizeof(big));
    assert_memory_equal(buf.ptr, big, sizeof(big));
    dm_buf_done(&buf);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "w"), sizeof(big) - 1, &buf, &err), DM_EBUDGET);
    assert_int_equal(dm_sys_read_file(sys, in_dir(stage, "none"), 10, &buf, &err), DM_ENOENT);
    assert_non_null(strstr(err.message, "none"));
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "w"), DM_STR("short"), 0640, true, NULL), 0);
    expect_file(stage, "w", "short");
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "no/w"), DM_STR("x"), 0640, true, &err), DM_ENOENT);

    /* Neither success nor failure leaves anything else behind. */
    assert_int_equal(sys->ops->mkdir(sys, in_dir(stage, "dir"), 0700), 0);
    assert_true(dm_sys_write_file(sys, in_dir(stage, "dir"), DM_STR("x"), 0640, true, &err) < 0);
    assert_int_equal(sys->ops->list(sys, stage->dir, note_name, &listing), 0);
    assert_int_equal(listing.count, 2);
}

static void made_dirs(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    struct dm_err err = {0};

    assert_int_equal(dm_sys_make_dirs(sys, in_dir(stage, "x/y//z/"), 0700, &err), 0);
    assert_int_equal(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z"), 0700, &err), 0);
    assert_int_equal(dm_sys_write_file(sys, in_dir(stage, "x/y/z/f"), DM_STR("deep"), 0600, true, NULL), 0);
    expect_file(stage, "x/y/z/f", "deep");
    assert_true(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z/f"), 0700, &err) < 0);
    assert_true(dm_sys_make_dirs(sys, in_dir(stage, "x/y/z/f/g"), 0700, &err) < 0);
}

const struct scenario sys_scenarios[] = {
    {"tcp_echo", tcp_echo},
    {"unix_echo", unix_echo},
    {"ipv6_echo", ipv6_echo},
    {"addresses", addresses},
    {"half_close", half_close},
    {"tcp_reset", tcp_reset},
    {"unix_reset", unix_reset},
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
    {"edges", edges},
    {"ready_at_add", ready_at_add},
    {"deleted_is_silent", deleted_is_silent},
    {"small_batches", small_batches},
    {"tcp_full", tcp_full},
    {"unix_full", unix_full},
    {"clock_and_random", clock_and_random},
    {"files", files},
    {"names", names},
    {"unlinked_open_file", unlinked_open_file},
    {"whole_files", whole_files},
    {"made_dirs", made_dirs},
};
const size_t sys_scenarios_count = DM_COUNT(sys_scenarios);

void sys_scenario_run(const struct scenario *scenario, struct dm_sys *sys, struct dm_world *world, const char *dir)
{
    struct stage stage = {.sys = sys, .world = world, .dir = dir};

    stage.poll_fd = sys->ops->poll_new(sys);
    assert_true(stage.poll_fd >= 0);
    scenario->run(&stage);
    assert_int_equal(sys->ops->close(sys, stage.poll_fd), 0);
}
