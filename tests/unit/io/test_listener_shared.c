/* A listening socket that more than one process has: what one of them does must not harm the others, nor who knocks. Two
 * loops and two descriptors of one socket stand for the processes. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/listener.h"

enum { WAIT_MS = 30000, CLIENTS = 40 };

struct side {
    struct dm_listener listener;
    struct dm_loop *loop;
    int accepted[2 * CLIENTS];
    unsigned n;
};

static struct side sides[2];
static int clients[2 * CLIENTS];
static unsigned n_clients;
static struct sockaddr_in addr;

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct side *side = DM_CONTAINER_OF(listener, struct side, listener);

    side->accepted[side->n++] = fd;
}

static int setup(void **state)
{
    struct dm_addr any;
    socklen_t len = sizeof(addr);
    int fd;

    memset(sides, 0, sizeof(sides));
    n_clients = 0;
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &any, NULL), 0);
    fd = dm_sys_real()->ops->listen(dm_sys_real(), &any, 2 * CLIENTS, true);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    for (int i = 0; i < 2; i++) {
        sides[i].loop = dm_loop_new(dm_sys_real());
        assert_int_equal(dm_listener_adopt(&sides[i].listener, sides[i].loop, i == 0 ? fd : dup(fd), on_accept), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < 2; i++) {
        dm_listener_close(&sides[i].listener);
        dm_loop_free(sides[i].loop);
        while (sides[i].n > 0)
            close(sides[i].accepted[--sides[i].n]);
    }
    while (n_clients > 0)
        close(clients[--n_clients]);
    return 0;
}

static int begin_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EINPROGRESS);
    clients[n_clients++] = fd;
    return fd;
}

/* 0 or the error of the connection. */
static int end_connect(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(int);
    int error = -1;

    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    return error;
}

static void connect_many(void)
{
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(end_connect(begin_connect()), 0);
}

static void turn_until(struct side *side, unsigned n)
{
    while (side->n < n)
        assert_true(dm_loop_turn(side->loop, WAIT_MS) >= 0);
}

static void who_closes_leaves_the_queue_to_the_other(void **state)
{
    connect_many();
    dm_listener_close(&sides[0].listener);
    turn_until(&sides[1], CLIENTS);
    connect_many();
    turn_until(&sides[1], 2 * CLIENTS);
    dm_loop_turn(sides[0].loop, 0);
    assert_int_equal(sides[0].n, 0);
    assert_int_equal(dm_loop_stats(sides[0].loop)->stale_events, 0);
}

static void who_closed_can_have_it_again(void **state)
{
    int fd = sides[0].listener.watch.fd, again;

    dm_listener_close(&sides[0].listener);
    again = dup(sides[1].listener.watch.fd);
    assert_int_equal(again, fd); /* the same number of the same socket */
    assert_int_equal(dm_listener_adopt(&sides[0].listener, sides[0].loop, again, on_accept), 0);
    connect_many();
    turn_until(&sides[0], CLIENTS);
}

/* Without hushing, the late one would be let in and reset. It tries again after a second, when nobody listens any more. */
static void hushed_socket_lets_in_who_has_knocked_and_nobody_else(void **state)
{
    int late;

    connect_many();
    dm_listener_hush(sides[1].listener.watch.fd);
    late = begin_connect();
    turn_until(&sides[0], CLIENTS);
    dm_loop_turn(sides[0].loop, 0);
    dm_loop_turn(sides[0].loop, 0);
    assert_int_equal(sides[0].n, CLIENTS);
    assert_false(sides[0].listener.is_backlogged);
    for (int i = 0; i < 2; i++)
        dm_listener_close(&sides[i].listener);
    assert_int_equal(end_connect(late), ECONNREFUSED);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(write(clients[i], "x", 1), 1);
    for (int i = 0; i < CLIENTS; i++) {
        char c;
        assert_int_equal(fcntl(sides[0].accepted[i], F_SETFL, 0), 0);
        assert_int_equal(read(sides[0].accepted[i], &c, 1), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_closes_leaves_the_queue_to_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(who_closed_can_have_it_again, setup, teardown),
        cmocka_unit_test_setup_teardown(hushed_socket_lets_in_who_has_knocked_and_nobody_else, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
