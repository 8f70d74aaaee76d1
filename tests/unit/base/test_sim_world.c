/* Several processes in one simulated world: how time moves, that a seed repeats a run, and that faults strike. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/sim_int.h"

static const uint64_t ms = 1000000, second = 1000000000;
static const unsigned always = 1000000;

enum { LISTENER_TAG = 1000, CONNS_MAX = 64, MESSAGE_BYTES = 20000 };

static struct dm_addr addr_of(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

/* --- an echo server: a loop as the real ones are, edge-triggered, which trusts that a short write means "full" --- */

struct echo_conn {
    int fd; /* -1: free */
    struct dm_buf out;
    bool is_eof, can_read, can_write;
};

struct echo_server {
    struct dm_sys *sys;
    int poll_fd, listener;
    struct echo_conn conns[CONNS_MAX];
    unsigned n_failed;
};

static void echo_init(struct echo_server *server, struct dm_sys *sys, const char *at)
{
    struct dm_addr addr = addr_of(at);

    *server = (struct echo_server){.sys = sys};
    server->poll_fd = sys->ops->poll_new(sys);
    server->listener = sys->ops->listen(sys, &addr, 8, false);
    assert_true(server->poll_fd >= 0 && server->listener >= 0);
    assert_int_equal(sys->ops->poll_add(sys, server->poll_fd, server->listener, LISTENER_TAG), 0);
    for (unsigned i = 0; i < CONNS_MAX; i++)
        server->conns[i].fd = -1;
}

static void echo_done(struct echo_server *server)
{
    for (unsigned i = 0; i < CONNS_MAX; i++)
        if (server->conns[i].fd >= 0)
            dm_buf_done(&server->conns[i].out);
}

static void echo_drop(struct echo_server *server, struct echo_conn *conn)
{
    server->sys->ops->close(server->sys, conn->fd);
    dm_buf_done(&conn->out);
    conn->fd = -1;
}

static void echo_accept(struct echo_server *server)
{
    int fd;

    while ((fd = server->sys->ops->accept(server->sys, server->listener, NULL)) >= 0) {
        unsigned i = 0;

        while (server->conns[i].fd >= 0)
            assert_true(++i < CONNS_MAX);
        server->conns[i] = (struct echo_conn){.fd = fd};
        dm_buf_init(&server->conns[i].out, 1 << 20);
        assert_int_equal(server->sys->ops->poll_add(server->sys, server->poll_fd, fd, i), 0);
    }
}

/* -errno when the connection is to be dropped. */
static int echo_pump(struct echo_server *server, struct echo_conn *conn)
{
    char bytes[3000];
    ssize_t n;

    while (conn->can_read && !conn->is_eof) {
        n = server->sys->ops->recv(server->sys, conn->fd, bytes, sizeof(bytes));
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        conn->is_eof = n == 0;
        /* Fewer than asked for: drained, the next arrival is an edge. */
        conn->can_read = n == (ssize_t)sizeof(bytes);
        if (n > 0)
            dm_buf_add_n(&conn->out, bytes, (size_t)n);
    }
    if (conn->can_write && conn->out.len > 0) {
        n = server->sys->ops->send(server->sys, conn->fd, conn->out.ptr, conn->out.len);
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        conn->can_write = n == (ssize_t)conn->out.len;
        if (n > 0)
            dm_buf_consume(&conn->out, (size_t)n);
    }
    return 0;
}

static void echo_turn(void *arg)
{
    struct echo_server *server = arg;
    struct dm_ready_event events[4];
    int n = server->sys->ops->poll_wait(server->sys, server->poll_fd, events, DM_COUNT(events), -1);

    for (int i = 0; i < n; i++) {
        if (events[i].tag == LISTENER_TAG) {
            echo_accept(server);
            continue;
        }
        struct echo_conn *conn = &server->conns[events[i].tag];
        conn->can_read |= (events[i].ready & DM_READY_IN) != 0;
        conn->can_write |= (events[i].ready & DM_READY_OUT) != 0;
        int rc = echo_pump(server, conn);
        server->n_failed += rc < 0;
        if (rc < 0 || ((events[i].ready & DM_READY_HUP) && !conn->can_read) || (conn->is_eof && conn->out.len == 0))
            echo_drop(server, conn);
    }
}

/* --- a client that sends a message and wants it back --- */

struct echo_client {
    struct dm_sys *sys;
    int poll_fd, fd;
    char message[MESSAGE_BYTES];
    size_t n_sent, n_back;
    int error;
    uint64_t done_ns;
};

static void client_init(struct echo_client *client, struct dm_sys *sys, const char *at)
{
    struct dm_addr addr = addr_of(at);

    *client = (struct echo_client){.sys = sys};
    sys->ops->random(sys, client->message, sizeof(client->message));
    client->poll_fd = sys->ops->poll_new(sys);
    client->fd = sys->ops->connect(sys, &addr);
    assert_true(client->poll_fd >= 0 && client->fd >= 0);
    assert_int_equal(sys->ops->poll_add(sys, client->poll_fd, client->fd, 0), 0);
}

static void client_read(struct echo_client *client)
{
    char bytes[1000];
    ssize_t n = 1;

    while (n > 0) {
        n = client->sys->ops->recv(client->sys, client->fd, bytes, sizeof(bytes));
        if (n < 0 && n != -EAGAIN)
            client->error = (int)n;
        if (n <= 0)
            return;
        assert_true(client->n_back + (size_t)n <= MESSAGE_BYTES);
        assert_memory_equal(client->message + client->n_back, bytes, n);
        client->n_back += (size_t)n;
    }
}

static void client_write(struct echo_client *client)
{
    ssize_t n = 1;

    while (n > 0 && client->n_sent < MESSAGE_BYTES) {
        n = client->sys->ops->send(client->sys, client->fd, client->message + client->n_sent,
                                   MESSAGE_BYTES - client->n_sent);
        if (n < 0 && n != -EAGAIN)
            client->error = (int)n;
        if (n > 0)
            client->n_sent += (size_t)n;
    }
}

static void client_turn(void *arg)
{
    struct echo_client *client = arg;
    struct dm_ready_event event;
    int n = client->sys->ops->poll_wait(client->sys, client->poll_fd, &event, 1, -1);

    if (n <= 0 || client->error || client->done_ns)
        return;
    if (event.ready & DM_READY_ERR)
        client->error = client->sys->ops->connect_error(client->sys, client->fd);
    if (!client->error && (event.ready & DM_READY_IN))
        client_read(client);
    if (!client->error && (event.ready & DM_READY_OUT))
        client_write(client);
    if (client->n_back == MESSAGE_BYTES)
        client->done_ns = client->sys->ops->mono_ns(client->sys);
}

/* --- the two together --- */

enum { N_CLIENTS = 6 };

struct town {
    struct dm_world *world;
    struct echo_server server;
    struct echo_client clients[N_CLIENTS];
};

static bool all_settled(void *arg)
{
    const struct town *town = arg;

    for (unsigned i = 0; i < N_CLIENTS; i++)
        if (!town->clients[i].done_ns && !town->clients[i].error)
            return false;
    return true;
}

static void town_init(struct town *town, uint64_t seed, const struct dm_sim_faults *faults)
{
    town->world = dm_world_new(seed, faults);
    echo_init(&town->server, dm_world_process(town->world), "10.1.1.1:80");
    dm_world_on_turn(town->server.sys, echo_turn, &town->server);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        client_init(&town->clients[i], dm_world_process(town->world), "10.1.1.1:80");
        dm_world_on_turn(town->clients[i].sys, client_turn, &town->clients[i]);
    }
}

static void town_done(struct town *town)
{
    echo_done(&town->server);
    dm_world_free(town->world);
}

struct outcome {
    uint64_t trace, now_ns;
    unsigned n_done, n_failed;
};

static struct outcome run_town(uint64_t seed, const struct dm_sim_faults *faults)
{
    static struct town town;
    struct outcome outcome = {0};

    town_init(&town, seed, faults);
    assert_true(dm_world_run(town.world, all_settled, &town, 100 * second));
    outcome.trace = dm_world_trace(town.world);
    outcome.now_ns = dm_world_now_ns(town.world);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        outcome.n_done += town.clients[i].done_ns > 0;
        outcome.n_failed += town.clients[i].error != 0;
    }
    town_done(&town);
    return outcome;
}

static const struct dm_sim_faults rough = {
    .short_io = 300000, .latency_ns_min = 50000, .latency_ns_max = 3000000, .socket_bytes = 3000};

static void all_echo(void **state)
{
    for (uint64_t seed = 0; seed < 25; seed++)
        assert_int_equal(run_town(seed, &rough).n_done, N_CLIENTS);
    assert_int_equal(run_town(1, NULL).n_done, N_CLIENTS);
}

static void same_seed_same_run(void **state)
{
    struct dm_sim_faults faults = rough;
    uint64_t traces[20];

    faults.reset = 2000;
    faults.connect_refused = 100000;
    for (uint64_t seed = 0; seed < DM_COUNT(traces); seed++) {
        struct outcome first = run_town(seed, &faults), again = run_town(seed, &faults);

        assert_int_equal(first.trace, again.trace);
        assert_int_equal(first.now_ns, again.now_ns);
        assert_int_equal(first.n_done, again.n_done);
        traces[seed] = first.trace;
        for (uint64_t other = 0; other < seed; other++)
            assert_int_not_equal(traces[seed], traces[other]);
    }
}

/* Over many seeds each fault strikes about as often as asked. */
static void faults_strike(void **state)
{
    struct dm_sim_faults resets = {.reset = 3000, .latency_ns_max = 1000, .socket_bytes = 3000};
    struct dm_sim_faults refusals = {.connect_refused = 500000};
    unsigned n_reset = 0, n_refused = 0, n_all = 0;

    for (uint64_t seed = 0; seed < 50; seed++) {
        n_reset += run_town(seed, &resets).n_failed;
        n_refused += run_town(seed, &refusals).n_failed;
        n_all += N_CLIENTS;
    }
    assert_true(n_reset > 0 && n_reset < n_all);
    assert_true(n_refused > n_all * 4 / 10 && n_refused < n_all * 6 / 10);
    assert_int_equal(run_town(1, &(struct dm_sim_faults){.connect_refused = always}).n_failed, N_CLIENTS);
}

static void short_io_strikes(void **state)
{
    struct dm_world *world = dm_world_new(5, &(struct dm_sim_faults){.short_io = 250000});
    struct dm_sys *sys = dm_world_process(world);
    struct dm_addr at = addr_of("unix:/s");
    char bytes[10] = {0};
    int listener = sys->ops->listen(sys, &at, 4, false), client = sys->ops->connect(sys, &at);
    int server = sys->ops->accept(sys, listener, NULL);
    unsigned n_short = 0;

    for (unsigned i = 0; i < 1000; i++) {
        ssize_t n = sys->ops->send(sys, client, bytes, sizeof(bytes));

        assert_true(n > 0);
        n_short += n < (ssize_t)sizeof(bytes);
        while ((n = sys->ops->recv(sys, server, bytes, sizeof(bytes))) > 0)
            ;
        assert_int_equal(n, -EAGAIN);
    }
    assert_true(n_short > 180 && n_short < 320);
    dm_world_free(world);
}

/* --- time --- */

static void time_waits_for_the_busy(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);
    struct dm_ready_event event;
    int poll_a = a->ops->poll_new(a), poll_b = b->ops->poll_new(b);
    uint64_t start = dm_world_now_ns(world);

    assert_int_equal(dm_world_step(world), DM_WORLD_QUIET);
    assert_int_equal(a->ops->poll_wait(a, poll_a, &event, 1, 0), 0);
    assert_int_equal(b->ops->poll_wait(b, poll_b, &event, 1, 30), 0);
    assert_int_equal(dm_world_step(world), DM_WORLD_BUSY); /* a has more to do */
    assert_int_equal(a->ops->poll_wait(a, poll_a, &event, 1, 70), 0);
    assert_int_equal(dm_world_step(world), DM_WORLD_MOVED);
    assert_int_equal(dm_world_now_ns(world), start + 30 * ms);
    assert_int_equal(dm_world_step(world), DM_WORLD_BUSY); /* b is due */
    assert_int_equal(b->ops->poll_wait(b, poll_b, &event, 1, -1), 0);
    assert_int_equal(dm_world_step(world), DM_WORLD_MOVED);
    assert_int_equal(a->ops->mono_ns(a), start + 70 * ms);
    assert_int_equal(a->ops->poll_wait(a, poll_a, &event, 1, -1), 0);
    assert_int_equal(dm_world_step(world), DM_WORLD_QUIET);

    dm_world_advance_ns(world, 5 * second);
    assert_int_equal(dm_world_now_ns(world), start + 70 * ms + 5 * second);
    uint64_t wall = a->ops->wall_ns(a), mono = a->ops->mono_ns(a);
    dm_world_shift_wall_ns(world, -(int64_t)second);
    assert_int_equal(a->ops->wall_ns(a), wall - second);
    assert_int_equal(a->ops->mono_ns(a), mono);
    dm_world_free(world);
}

static void latency_is_kept(void **state)
{
    struct dm_sim_faults faults = {.latency_ns_min = 3 * ms, .latency_ns_max = 3 * ms};
    struct dm_world *world = dm_world_new(1, &faults);
    struct dm_sys *sys = dm_world_process(world);
    struct dm_addr at = addr_of("10.1.1.1:80");
    char byte;
    int listener = sys->ops->listen(sys, &at, 4, false), client = sys->ops->connect(sys, &at), server;

    assert_int_equal(sys->ops->accept(sys, listener, NULL), -EAGAIN);
    dm_world_advance_ns(world, 3 * ms);
    server = sys->ops->accept(sys, listener, NULL);
    assert_true(server >= 0);
    assert_int_equal(sys->ops->send(sys, client, "x", 1), -EAGAIN); /* not known to stand yet */
    dm_world_advance_ns(world, 3 * ms);
    assert_int_equal(sys->ops->send(sys, client, "x", 1), 1);
    dm_world_advance_ns(world, 3 * ms - 1);
    assert_int_equal(sys->ops->recv(sys, server, &byte, 1), -EAGAIN);
    dm_world_advance_ns(world, 1);
    assert_int_equal(sys->ops->recv(sys, server, &byte, 1), 1);
    dm_world_free(world);
}

/* An exact address is called before a wildcard; several with reuse_port share the calls. */
static void calls_find_their_listener(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *sys = dm_world_process(world);
    struct dm_addr any = addr_of("0.0.0.0:80"), exact = addr_of("10.1.1.1:80"), other = addr_of("10.1.1.2:80");
    int on_any = sys->ops->listen(sys, &any, 64, true), on_exact[2];
    unsigned n[2] = {0};

    assert_int_equal(sys->ops->listen(sys, &exact, 64, false), -EADDRINUSE);
    on_exact[0] = sys->ops->listen(sys, &exact, 64, true);
    on_exact[1] = sys->ops->listen(sys, &exact, 64, true);
    for (unsigned i = 0; i < 40; i++)
        assert_true(sys->ops->connect(sys, &exact) >= 0);
    dm_world_advance_ns(world, 1);
    assert_int_equal(sys->ops->accept(sys, on_any, NULL), -EAGAIN);
    for (unsigned i = 0; i < 2; i++)
        while (sys->ops->accept(sys, on_exact[i], NULL) >= 0)
            n[i]++;
    assert_int_equal(n[0] + n[1], 40);
    assert_true(n[0] > 0 && n[1] > 0);
    assert_true(sys->ops->connect(sys, &other) >= 0);
    dm_world_advance_ns(world, 1);
    assert_true(sys->ops->accept(sys, on_any, NULL) >= 0);
    dm_world_free(world);
}

/* --- processes --- */

static bool never(void *arg)
{
    return false;
}

/* A process that always wants to be woken again. */
struct ticker {
    struct dm_sys *sys;
    int poll_fd;
    unsigned n_ticks;
};

static void tick(void *arg)
{
    struct ticker *ticker = arg;
    struct dm_ready_event event;

    ticker->n_ticks++;
    assert_int_equal(ticker->sys->ops->poll_wait(ticker->sys, ticker->poll_fd, &event, 1, 10), 0);
}

static void run_ends_at_its_limit(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct ticker ticker = {.sys = dm_world_process(world)};
    uint64_t start = dm_world_now_ns(world);

    ticker.poll_fd = ticker.sys->ops->poll_new(ticker.sys);
    dm_world_on_turn(ticker.sys, tick, &ticker);
    assert_false(dm_world_run(world, never, NULL, 100 * ms));
    assert_int_equal(dm_world_now_ns(world), start + 110 * ms);
    assert_int_equal(ticker.n_ticks, 11);
    dm_world_free(world);
}

static void killed_server_resets_or_ends(void **state)
{
    static struct town town;
    char byte;

    town_init(&town, 7, &rough);
    for (unsigned i = 0; i < 40; i++)
        dm_world_turn(town.world);
    dm_world_kill(town.world, town.server.sys);
    assert_int_equal(town.server.sys->ops->poll_new(town.server.sys), -ESRCH);
    assert_false(dm_world_run(town.world, never, NULL, 100 * second)); /* goes quiet */
    dm_world_set_faults(town.world, NULL);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        struct dm_sys *sys = town.clients[i].sys;

        assert_int_equal(town.clients[i].done_ns, 0);
        assert_true(town.clients[i].error != 0 || sys->ops->recv(sys, town.clients[i].fd, &byte, 1) == 0);
    }
    town_done(&town);
}

static void cut_delays_and_times_out(void **state)
{
    struct dm_world *world = dm_world_new(1, &(struct dm_sim_faults){.latency_ns_max = ms});
    struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);
    struct dm_addr at = addr_of("10.1.1.1:80");
    char bytes[8];
    int listener = a->ops->listen(a, &at, 4, false), client = b->ops->connect(b, &at), server, late;

    dm_world_advance_ns(world, 10 * ms);
    server = a->ops->accept(a, listener, NULL);
    assert_true(server >= 0);
    dm_world_cut(world, a, b, true);
    assert_int_equal(b->ops->send(b, client, "one", 3), 3);
    assert_int_equal(b->ops->send(b, client, "two", 3), 3);
    late = b->ops->connect(b, &at);
    dm_world_advance_ns(world, 100 * second);
    assert_int_equal(a->ops->recv(a, server, bytes, 8), -EAGAIN);
    assert_int_equal(b->ops->connect_error(b, late), -ETIMEDOUT);
    assert_int_equal(b->ops->send(b, client, "!!", 2), 2);
    dm_world_cut(world, a, b, false);
    dm_world_advance_ns(world, second);
    assert_int_equal(a->ops->recv(a, server, bytes, 8), 8);
    assert_memory_equal(bytes, "onetwo!!", 8);
    dm_world_free(world);
}

static void descriptors_run_out(void **state)
{
    struct dm_world *world = dm_world_new(1, &(struct dm_sim_faults){.max_fds = 2});
    struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);
    struct dm_addr at = addr_of("unix:/s");
    int listener = a->ops->listen(a, &at, 4, false), poll_fd = a->ops->poll_new(a);

    assert_true(listener >= 0 && poll_fd >= 0);
    assert_true(b->ops->connect(b, &at) >= 0);
    assert_int_equal(a->ops->accept(a, listener, NULL), -EMFILE);
    assert_int_equal(a->ops->close(a, poll_fd), 0);
    assert_int_equal(a->ops->accept(a, listener, NULL), poll_fd); /* still waiting; the lowest number */
    dm_world_free(world);
}

static void nth_call_fails_once(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *sys = dm_world_process(world);

    dm_world_fail_nth(sys, 2, ENOMEM);
    assert_true(sys->ops->poll_new(sys) >= 0);
    assert_false(dm_world_fail_reached(sys));
    assert_int_equal(sys->ops->poll_new(sys), -ENOMEM);
    assert_true(dm_world_fail_reached(sys));
    assert_true(sys->ops->poll_new(sys) >= 0);
    dm_world_free(world);
}

static void cred_is_settable(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);
    struct dm_addr at = addr_of("unix:/s");
    struct dm_peer_cred cred = {.uid = 7, .gid = 8, .pid = 9}, seen;
    int listener = a->ops->listen(a, &at, 4, false);

    dm_world_set_cred(b, &cred);
    assert_true(b->ops->connect(b, &at) >= 0);
    assert_int_equal(a->ops->peer_cred(a, a->ops->accept(a, listener, NULL), &seen), 0);
    assert_int_equal(seen.uid, 7);
    assert_int_equal(seen.gid, 8);
    assert_int_equal(seen.pid, 9);
    dm_world_free(world);
}

/* Each process has randomness of its own: what one draws changes nothing for another. */
static void randomness_is_per_process(void **state)
{
    uint8_t drawn[2][16], waste[100];

    for (unsigned i = 0; i < 2; i++) {
        struct dm_world *world = dm_world_new(11, NULL);
        struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);

        a->ops->random(a, waste, i * 50);
        b->ops->random(b, drawn[i], sizeof(drawn[i]));
        dm_world_free(world);
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof(drawn[0]));
}

/* Many short connections leave nothing behind. */
static void connections_are_reaped(void **state)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *a = dm_world_process(world), *b = dm_world_process(world);
    struct dm_addr at = addr_of("[fd00::1]:80");
    int listener = a->ops->listen(a, &at, 4, false);

    for (unsigned i = 0; i < 2000; i++) {
        int client = b->ops->connect(b, &at), server;

        dm_world_advance_ns(world, 1);
        server = a->ops->accept(a, listener, NULL);
        assert_int_equal(server, listener + 1);
        assert_int_equal(b->ops->send(b, client, "x", 1), 1);
        if (i % 2)
            dm_world_advance_ns(world, 1);
        a->ops->close(a, server);
        if (i % 3)
            dm_world_advance_ns(world, 1);
        b->ops->close(b, client);
    }
    dm_world_advance_ns(world, 1);
    assert_null(world->ends);
    assert_int_equal(world->events.count, 0);
    dm_world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_echo),
        cmocka_unit_test(same_seed_same_run),
        cmocka_unit_test(faults_strike),
        cmocka_unit_test(short_io_strikes),
        cmocka_unit_test(time_waits_for_the_busy),
        cmocka_unit_test(latency_is_kept),
        cmocka_unit_test(calls_find_their_listener),
        cmocka_unit_test(run_ends_at_its_limit),
        cmocka_unit_test(killed_server_resets_or_ends),
        cmocka_unit_test(cut_delays_and_times_out),
        cmocka_unit_test(descriptors_run_out),
        cmocka_unit_test(nth_call_fails_once),
        cmocka_unit_test(cred_is_settable),
        cmocka_unit_test(randomness_is_per_process),
        cmocka_unit_test(connections_are_reaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
