/* Streams on the simulated network, under many seeds: an echo server and clients in two processes, with short reads and
 * writes, latencies, small socket buffers, pauses and partial consumption drawn from the seed. Every byte comes back, or,
 * where connections are reset, every stream ends; a world that goes quiet before is a lost edge.
 *
 * Compiled twice: the second program (WITH_TLS) does the same over TLS. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sim.h"
#include "io/listener.h"
#include "io/stream.h"
#include "io/tls.h"
#include "pki/pki.h"

#ifndef WITH_TLS
#define WITH_TLS 0
#endif

enum { N_CLIENTS = 6, MAX_BYTES = 400000, N_SEEDS = 60 };

struct peer {
    struct dm_loop *loop;
    struct dm_sys *sys;
};

struct client {
    struct dm_stream stream;
    struct dm_timer timer;
    size_t total, n_sent, n_got;
    unsigned n_eof, n_error, n_closed;
    uint8_t key;
};

struct served {
    struct dm_stream stream;
    struct served *next;
    bool is_closed;
};

static struct dm_world *world;
static struct peer server, clients_process;
static struct client clients[N_CLIENTS];
static struct served *all_served;
static struct dm_listener listener;
static uint64_t seed;
static bool has_resets;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static char byte_at(const struct client *client, size_t i)
{
    return (char)(client->key + i * 131 + (i >> 10));
}

/* TLS, when this is the program that has it */

static struct dm_tls_profile *profile;
static struct dm_tls_acceptor *acceptor;
static struct dm_tls_client *tls_client;
static struct dm_tls_session session;

static struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    assert_true(dm_str_eq(server_name, DM_STR("echo.example")));
    return profile;
}

static int make_tls(void **state)
{
    struct pki_identity *root = pki_make(&(struct pki_spec){.subject = "Root", .is_ca = true}, NULL);
    struct pki_identity *leaf = pki_make(&(struct pki_spec){.subject = "Echo", .names = "DNS:echo.example"}, root);
    struct dm_tls_profile_settings served = {.chain_pem = leaf->chain_pem, .key_pem = leaf->key_pem};
    struct dm_tls_client_settings calling = {.server_name = DM_STR("echo.example")};

    assert_int_equal(dm_tls_profile_new(&served, &profile, NULL), 0);
    assert_int_equal(dm_tls_trust_new(root->certificate_pem, &calling.trust, NULL), 0);
    assert_int_equal(dm_tls_client_new(&calling, &tls_client, NULL), 0);
    acceptor = dm_tls_acceptor_new(select_profile, NULL);
    dm_tls_trust_unref(calling.trust);
    pki_free(leaf);
    pki_free(root);
    return 0;
}

static int free_tls(void **state)
{
    dm_tls_session_done(&session);
    dm_tls_client_unref(tls_client);
    dm_tls_acceptor_free(acceptor);
    dm_tls_profile_unref(profile);
    return 0;
}

/* The server */

static size_t echo(struct dm_stream *stream, const char *ptr, size_t len)
{
    size_t wanted = draw() % 4 == 0 ? 1 + draw() % len : len;
    ssize_t n = dm_stream_write(stream, ptr, wanted);

    if (n < 0)
        n = 0;
    if ((size_t)n < wanted)
        dm_stream_pause(stream);
    else if (wanted < len)
        dm_stream_resume(stream);
    return (size_t)n;
}

static void echo_more(struct dm_stream *stream)
{
    dm_stream_resume(stream);
}

static void echo_end(struct dm_stream *stream)
{
    assert_int_equal(dm_stream_unread(stream), 0);
    dm_stream_close_gracefully(stream, 60000);
}

static void close_failed(struct dm_stream *stream, int code)
{
    assert_true(has_resets);
    dm_stream_close(stream);
}

static void served_closed(struct dm_stream *stream)
{
    struct served *served = DM_CONTAINER_OF(stream, struct served, stream);

    assert_false(served->is_closed);
    served->is_closed = true;
}

static const struct dm_stream_type served_type = {
    .on_read = echo,
    .on_writable = echo_more,
    .on_eof = echo_end,
    .on_error = close_failed,
    .on_closed = served_closed,
    .read_max_bytes = 20000,
    .write_max_bytes = 30000,
};

static void on_accept(struct dm_listener *l, int fd, const struct dm_addr *peer)
{
    struct served *served = dm_calloc(1, sizeof(*served));

    served->next = all_served;
    all_served = served;
    if (dm_stream_open(&served->stream, server.loop, &served_type, fd) < 0)
        served->is_closed = true;
    else if (WITH_TLS)
        dm_tls_serve(&served->stream, acceptor);
}

/* The clients */

static void pump(struct client *client)
{
    char piece[30000];

    while (client->n_sent < client->total) {
        size_t len = 1 + draw() % sizeof(piece);
        len = DM_MIN(len, client->total - client->n_sent);
        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(client, client->n_sent + i);
        ssize_t n = dm_stream_write(&client->stream, piece, len);
        if (n < 0)
            return;
        client->n_sent += (size_t)n;
        if (draw() % 8 == 0)
            dm_stream_flush(&client->stream);
    }
    dm_stream_shutdown(&client->stream);
}

static void client_writable(struct dm_stream *stream)
{
    pump(DM_CONTAINER_OF(stream, struct client, stream));
}

static size_t client_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct client *client = DM_CONTAINER_OF(stream, struct client, stream);
    size_t n = draw() % 3 == 0 ? draw() % (len + 1) : len;

    for (size_t i = 0; i < n; i++)
        assert_int_equal(ptr[i], byte_at(client, client->n_got + i));
    client->n_got += n;
    if (n < len || draw() % 5 == 0) {
        dm_stream_pause(stream);
        dm_timer_arm(clients_process.loop, &client->timer, (uint32_t)(draw() % 20));
    }
    return n;
}

static void client_timer(struct dm_timer *timer)
{
    dm_stream_resume(&DM_CONTAINER_OF(timer, struct client, timer)->stream);
}

static void client_eof(struct dm_stream *stream)
{
    struct client *client = DM_CONTAINER_OF(stream, struct client, stream);

    client->n_eof++;
    dm_stream_close(stream);
}

static void client_error(struct dm_stream *stream, int code)
{
    DM_CONTAINER_OF(stream, struct client, stream)->n_error++;
    assert_true(has_resets);
    dm_stream_close(stream);
}

static void client_closed(struct dm_stream *stream)
{
    struct client *client = DM_CONTAINER_OF(stream, struct client, stream);

    client->n_closed++;
    dm_timer_cancel(clients_process.loop, &client->timer);
}

static const struct dm_stream_type client_type = {
    .on_read = client_read,
    .on_writable = client_writable,
    .on_eof = client_eof,
    .on_error = client_error,
    .on_closed = client_closed,
    .write_max_bytes = 50000,
};

/* The world */

static void turn(void *arg)
{
    dm_loop_turn(((struct peer *)arg)->loop, -1);
}

static void start_process(struct peer *peer)
{
    peer->sys = dm_world_process(world);
    peer->loop = dm_loop_new(peer->sys);
    dm_world_on_turn(peer->sys, turn, peer);
}

static bool all_ended(void *arg)
{
    for (int i = 0; i < N_CLIENTS; i++)
        if (clients[i].n_closed == 0)
            return false;
    for (struct served *served = all_served; served; served = served->next)
        if (!served->is_closed)
            return false;
    return true;
}

static void start_client(struct client *client)
{
    *client = (struct client){.total = draw() % MAX_BYTES, .key = (uint8_t)draw(), .timer.on_due = client_timer};
    if (dm_stream_connect(&client->stream, clients_process.loop, &client_type, &listener.addr, 600000) < 0) {
        assert_true(has_resets);
        client->n_closed = 1;
        return;
    }
    if (WITH_TLS)
        dm_tls_connect(&client->stream, tls_client, &session);
    pump(client);
}

static void start_world(uint64_t s, const struct dm_sim_faults *faults)
{
    struct dm_addr addr;

    seed = s * 0x9e3779b97f4a7c15u;
    world = dm_world_new(s, faults);
    start_process(&server);
    start_process(&clients_process);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:80"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&listener, server.loop, &addr, 16, false, on_accept, NULL), 0);
}

static void end_world(void)
{
    dm_listener_close(&listener);
    dm_loop_free(clients_process.loop);
    dm_loop_free(server.loop);
    while (all_served) {
        struct served *next = all_served->next;
        dm_free(all_served);
        all_served = next;
    }
    dm_world_free(world);
}

static uint64_t play(uint64_t s, const struct dm_sim_faults *faults)
{
    uint64_t trace;

    dm_tls_session_done(&session);
    start_world(s, faults);
    for (int i = 0; i < N_CLIENTS; i++)
        start_client(&clients[i]);
    if (!dm_world_run(world, all_ended, NULL, UINT64_C(3600) * 1000000000))
        fail_msg("seed %llu: the world went quiet or on for ever", (unsigned long long)s);
    trace = dm_world_trace(world);
    end_world();
    return trace;
}

static void every_byte_comes_back(void **state)
{
    has_resets = false;
    for (uint64_t s = 1; s <= N_SEEDS; s++) {
        struct dm_sim_faults faults = {.short_io = s % 3 ? 150000 : 0,
                                       .latency_ns_max = s % 2 ? 3000000 : 0,
                                       .socket_bytes = s % 5 ? 3000 * (s % 7 + 1) : 0};
        play(s, &faults);
        for (int i = 0; i < N_CLIENTS; i++) {
            assert_int_equal(clients[i].n_got, clients[i].total);
            assert_int_equal(clients[i].n_eof, 1);
            assert_int_equal(clients[i].n_closed, 1);
        }
    }
}

static void every_stream_ends_when_connections_are_reset(void **state)
{
    struct dm_sim_faults faults = {
        .short_io = 100000, .reset = 5000, .connect_refused = 50000, .latency_ns_max = 2000000, .socket_bytes = 9000};
    unsigned n_errors = 0;

    has_resets = true;
    for (uint64_t s = 1; s <= N_SEEDS; s++) {
        play(s, &faults);
        for (int i = 0; i < N_CLIENTS; i++) {
            assert_int_equal(clients[i].n_closed, 1);
            assert_true(clients[i].n_eof + clients[i].n_error <= 1);
            n_errors += clients[i].n_error;
        }
    }
    assert_true(n_errors > N_SEEDS / 2);
}

#if !WITH_TLS
static void the_same_seed_runs_the_same_way(void **state)
{
    struct dm_sim_faults faults = {.short_io = 100000, .reset = 1000, .latency_ns_max = 2000000};

    has_resets = true;
    assert_true(play(77, &faults) == play(77, &faults));
    assert_true(play(77, &faults) != play(78, &faults));
}
#endif

/* The n-th call of a process fails, for n = 1, 2, …, until the scenario runs through untouched. */
static void sweep_failures(struct peer *victim)
{
    unsigned n_swept = 0;

    has_resets = true;
    for (bool is_reached = true; is_reached; n_swept++) {
        struct dm_sim_faults faults = {.socket_bytes = 20000};
        start_world(5, &faults);
        dm_world_fail_nth(victim->sys, n_swept + 1, EIO);
        for (int i = 0; i < 2; i++) {
            start_client(&clients[i]);
            clients[i].total = DM_MIN(clients[i].total, 60000u);
        }
        for (int i = 2; i < N_CLIENTS; i++)
            clients[i].n_closed = 1;
        if (!dm_world_run(world, all_ended, NULL, UINT64_C(3600) * 1000000000))
            fail_msg("call %u of the process fails: the world went quiet or on for ever", n_swept + 1);
        is_reached = dm_world_fail_reached(victim->sys);
        end_world();
    }
    assert_true(n_swept > 20);
}

static void every_failing_call_of_the_server_ends_well(void **state)
{
    sweep_failures(&server);
}

static void every_failing_call_of_a_client_ends_well(void **state)
{
    sweep_failures(&clients_process);
}

static void a_listener_out_of_descriptors_rests_and_goes_on(void **state)
{
    struct dm_sim_faults faults = {.max_fds = 5};
    struct peer more;
    uint64_t before_ns;

    /* Room for three connections beside poll set and listener; the fourth client is in a process of its own. */
    has_resets = false;
    start_world(1, &faults);
    start_process(&more);
    for (int i = 0; i < 3; i++)
        start_client(&clients[i]);
    struct client *late = dm_calloc(1, sizeof(*late));
    late->timer.on_due = client_timer;
    assert_int_equal(dm_stream_connect(&late->stream, more.loop, &client_type, &listener.addr, 0), 0);
    if (WITH_TLS)
        dm_tls_connect(&late->stream, tls_client, NULL);
    while (listener.n_exhausted == 0)
        dm_world_turn(world);
    before_ns = dm_world_now_ns(world);
    assert_int_equal(listener.n_accepted, 3);
    dm_stream_shutdown(&late->stream);
    while (late->n_closed == 0)
        assert_int_not_equal(dm_world_turn(world), DM_WORLD_QUIET);
    assert_int_equal(listener.n_accepted, 4);
    assert_true(dm_world_now_ns(world) - before_ns >= 100000000);
    dm_free(late);
    dm_loop_free(more.loop);
    end_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(every_stream_ends_when_connections_are_reset),
#if !WITH_TLS /* whose randomness is not the seed's */
        cmocka_unit_test(the_same_seed_runs_the_same_way),
#endif
        cmocka_unit_test(every_failing_call_of_the_server_ends_well),
        cmocka_unit_test(every_failing_call_of_a_client_ends_well),
        cmocka_unit_test(a_listener_out_of_descriptors_rests_and_goes_on),
    };

    return cmocka_run_group_tests(tests, make_tls, free_tls);
}
