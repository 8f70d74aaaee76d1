/* Listening sockets: how many are accepted in a turn, what happens when the system gives none, pausing, addresses that are taken. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "fake_clock.h"
#include "io/listener.h"

#define TURNS_MAX 200

struct scene {
    struct fake_clock clock;
    struct dm_loop *loop;
    struct dm_listener listener;
    int clients[128];
    size_t n_clients, n_taken;
    int accept_error; /* in place of a connection */
    bool closes_at_first;
};

static struct scene *scene_of(struct dm_sys *sys)
{
    return DM_CONTAINER_OF(DM_CONTAINER_OF(sys, struct fake_clock, sys), struct scene, clock);
}

static int accept_or_fail(struct dm_sys *sys, int fd, struct dm_addr *ret_peer)
{
    struct scene *s = scene_of(sys);

    return s->accept_error ? s->accept_error : dm_sys_real()->ops->accept(sys, fd, ret_peer);
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct scene *s = DM_CONTAINER_OF(listener, struct scene, listener);

    assert_int_equal(peer->ss.ss_family, listener->addr.ss.ss_family);
    s->n_taken++;
    close(fd);
    if (s->closes_at_first)
        dm_listener_close(listener);
}

static struct dm_addr addr_of(const char *text)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    return addr;
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct dm_addr any = addr_of("127.0.0.1:0");

    fake_clock_init(&s->clock);
    s->clock.ops.accept = accept_or_fail;
    s->loop = dm_loop_new(&s->clock.sys);
    assert_non_null(s->loop);
    assert_int_equal(dm_listener_open(&s->listener, s->loop, &any, 128, false, on_accept, NULL), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    for (size_t i = 0; i < s->n_clients; i++)
        close(s->clients[i]);
    dm_listener_close(&s->listener);
    dm_listener_close(&s->listener);
    dm_loop_free(s->loop);
    free(s);
    return 0;
}

static void connect_some(struct scene *s, size_t n)
{
    struct dm_sys *sys = dm_sys_real();

    for (; n > 0; n--) {
        int fd = sys->ops->connect(sys, &s->listener.addr);
        assert_true(fd >= 0);
        s->clients[s->n_clients++] = fd;
    }
}

static void turn_until_taken(struct scene *s, size_t n)
{
    for (int i = 0; i < TURNS_MAX && s->n_taken < n; i++)
        assert_true(dm_loop_turn(s->loop, 100) >= 0);
    assert_int_equal(s->n_taken, n);
}

static void turn_some(struct scene *s)
{
    for (int i = 0; i < 5; i++)
        assert_true(dm_loop_turn(s->loop, 0) >= 0);
}

static void a_turn_takes_a_share(void **state)
{
    struct scene *s = *state;

    connect_some(s, 100);
    assert_true(dm_loop_turn(s->loop, 1000) >= 0);
    assert_in_range(s->n_taken, 1, 64); /* its event, and its task behind the others */
    turn_until_taken(s, 100);
    assert_int_equal(s->listener.n_accepted, 100);
}

static void without_descriptors_it_rests(void **state)
{
    struct scene *s = *state;

    s->accept_error = -EMFILE;
    connect_some(s, 2);
    assert_true(dm_loop_turn(s->loop, 1000) >= 0);
    assert_int_equal(s->listener.n_exhausted, 1);
    connect_some(s, 1);
    turn_some(s);
    assert_int_equal(s->listener.n_exhausted, 1);
    s->accept_error = 0;
    turn_some(s);
    assert_int_equal(s->n_taken, 0);
    fake_clock_advance_ms(&s->clock, 101);
    turn_until_taken(s, 3);
}

/* A connection that was gone before it was accepted says nothing about the next. */
static void a_lost_connection_is_passed_over(void **state)
{
    struct scene *s = *state;

    s->accept_error = -ECONNABORTED;
    connect_some(s, 1);
    assert_true(dm_loop_turn(s->loop, 1000) >= 0);
    assert_true(s->listener.n_failed > 0);
    assert_int_equal(s->listener.n_exhausted, 0);
    s->accept_error = 0;
    turn_until_taken(s, 1);
}

static void paused_it_takes_nothing(void **state)
{
    struct scene *s = *state;

    dm_listener_resume(&s->listener); /* nothing waits */
    dm_listener_pause(&s->listener);
    connect_some(s, 2);
    assert_true(dm_loop_turn(s->loop, 1000) >= 0);
    turn_some(s);
    assert_int_equal(s->n_taken, 0);
    dm_listener_resume(&s->listener);
    turn_until_taken(s, 2);
}

static void closed_while_it_accepts(void **state)
{
    struct scene *s = *state;

    s->closes_at_first = true;
    connect_some(s, 3);
    turn_until_taken(s, 1);
    turn_some(s);
    assert_int_equal(s->n_taken, 1);
}

static void refused(struct scene *s, const char *text, int code, const char *says)
{
    struct dm_addr addr = addr_of(text);
    struct dm_listener other;
    struct dm_err err = {0};

    assert_int_equal(dm_listener_open(&other, s->loop, &addr, 8, false, on_accept, &err), code);
    assert_non_null(strstr(err.message, says));
    assert_non_null(strstr(err.message, text));
}

static void what_is_taken_is_said(void **state)
{
    struct scene *s = *state;
    char taken[DM_ADDR_TEXT_MAX], dir[] = "/tmp/daemun-listener-XXXXXX", path[80], file[80];
    struct dm_listener other;
    struct dm_addr addr;

    dm_addr_format(&s->listener.addr, true, taken);
    refused(s, taken, DM_EEXIST, "can't listen on");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "unix:%s/s", dir);
    addr = addr_of(path);
    assert_int_equal(dm_listener_open(&other, s->loop, &addr, 8, false, on_accept, NULL), 0);
    refused(s, path, DM_EEXIST, "another process listens there");
    other.unlinks = true;
    dm_listener_close(&other);
    assert_int_equal(access(path + 5, F_OK), -1);
    snprintf(file, sizeof(file), "unix:%s/none/s", dir);
    refused(s, file, dm_err_of_errno(-ENOENT), "can't listen on");
    rmdir(dir);
}

/* Ports below 1024 are not everybody's; who may have them learns nothing here. */
static int refuse_listen(struct dm_sys *sys, const struct dm_addr *addr, int backlog, bool reuse_port)
{
    return -EACCES;
}

static void what_is_forbidden_is_said(void **state)
{
    struct scene *s = *state;

    s->clock.ops.listen = refuse_listen;
    refused(s, "127.0.0.1:80", DM_EPERM, "Permission denied");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_turn_takes_a_share),      TEST(without_descriptors_it_rests), TEST(a_lost_connection_is_passed_over),
        TEST(paused_it_takes_nothing),   TEST(closed_while_it_accepts),      TEST(what_is_taken_is_said),
        TEST(what_is_forbidden_is_said),
    };

    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
