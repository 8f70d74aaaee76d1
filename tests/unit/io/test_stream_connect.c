/* Connecting over TCP, both ends on one loop: what is told, and when. */
#include "stream_rig.h"

#include "io/listener.h"

static struct dm_listener listener;
static struct conn *accepted;

static void on_accept(struct dm_listener *l, int fd, const struct dm_addr *from)
{
    assert_int_equal(from->ss.ss_family, AF_INET);
    accepted = conn_new();
    accepted->echoes = true;
    assert_int_equal(dm_stream_open(&accepted->stream, loop, &conn_type, fd), 0);
}

static void listen_on_loopback(void)
{
    struct dm_addr addr;
    struct dm_err err = {0};

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, &err), 0);
    assert_int_equal(dm_listener_open(&listener, loop, &addr, 16, true, on_accept, &err), 0);
    assert_int_not_equal(dm_addr_port(&listener.addr), 0);
    accepted = NULL;
}

static void close_accepted(void)
{
    dm_stream_close(&accepted->stream);
    turn_until_quiet();
    assert_int_equal(accepted->n_closed, 1);
    dm_free(accepted);
}

static void what_is_written_while_connecting_is_sent_then(void **state)
{
    struct conn *client = conn_new();

    listen_on_loopback();
    assert_int_equal(dm_stream_connect(&client->stream, loop, &conn_type, &listener.addr, 1000), 0);
    assert_int_equal(dm_stream_put(&client->stream, "early", 5), 0);
    while (client->n_seen < 5)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(client->n_connect, 1);
    assert_memory_equal(client->seen, "early", 5);
    assert_false(dm_timer_is_armed(&client->stream.timer));
    dm_stream_close(&client->stream);
    while (accepted->n_eof == 0)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(client->n_closed, 1);
    close_accepted();
    dm_listener_close(&listener);
    dm_free(client);
}

static void a_refused_connect_is_told(void **state)
{
    struct conn *client = conn_new();
    struct dm_addr addr;
    int rc;

    listen_on_loopback();
    addr = listener.addr;
    dm_listener_close(&listener);
    rc = dm_stream_connect(&client->stream, loop, &conn_type, &addr, 1000);
    if (rc == 0) {
        while (client->n_closed == 0)
            assert_true(dm_loop_turn(loop, 5000) >= 0);
        rc = client->error;
        assert_int_equal(client->n_error, 1);
    }
    assert_int_equal(rc, -ECONNREFUSED);
    assert_int_equal(client->n_connect, 0);
    dm_free(client);
}

/* A listener whose queue is full does not answer. */
static void a_connect_that_takes_too_long_is_told(void **state)
{
    struct conn *clients = dm_calloc(4, sizeof(*clients));
    struct dm_sys *sys = dm_loop_sys(loop);
    struct dm_addr addr;
    int fd;

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    fd = sys->ops->listen(sys, &addr, 0, false);
    assert_true(fd >= 0);
    assert_int_equal(sys->ops->local_addr(sys, fd, &addr), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dm_stream_connect(&clients[i].stream, loop, &conn_type, &addr, 300), 0);
    turn_until_quiet();
    assert_int_equal(clients[3].n_connect, 0);
    fake_clock_advance_ms(&fake, 301);
    turn_until_quiet();
    assert_int_equal(clients[3].error, DM_ETIMEOUT);
    assert_int_equal(clients[3].n_closed, 1);
    for (int i = 0; i < 3; i++)
        dm_stream_close(&clients[i].stream);
    turn_until_quiet();
    sys->ops->close(sys, fd);
    dm_free(clients);
}

static void a_reset_is_told_even_while_paused(void **state)
{
    struct linger abort_close = {.l_onoff = 1, .l_linger = 0};
    struct dm_sys *sys = dm_loop_sys(loop);
    int fd;

    listen_on_loopback();
    fd = sys->ops->connect(sys, &listener.addr);
    while (!accepted)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    dm_stream_pause(&accepted->stream);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_close, sizeof(abort_close)), 0);
    sys->ops->close(sys, fd);
    while (accepted->n_closed == 0)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(accepted->error, -ECONNRESET);
    dm_free(accepted);
    dm_listener_close(&listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_while_connecting_is_sent_then),
        TEST(a_refused_connect_is_told),
        TEST(a_connect_that_takes_too_long_is_told),
        TEST(a_reset_is_told_even_while_paused),
    };

    return cmocka_run_group_tests_name("stream connect", tests, make_tls, free_tls);
}
