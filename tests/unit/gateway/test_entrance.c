/* Connections that come in: into the lobby, out of it, and turned away at its door. */
#include "gateway/entrance.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET STAGE_GET("/", STAGE_KEY)
#define HEADER "PROXY TCP4 %s 198.51.100.2 12345 443\r\n"

/* The stage with a lobby of so many a source and, by its connections, in all. */
static struct stage *stage_with_lobby(void **state, uint64_t source_max, uint64_t connections)
{
    struct stage *s = *state;
    struct dm_worker_listener *listener = &s->rig.worker.listeners[0];
    static const struct stage_release none = {0};

    s->rig.options.listen[0].limits.lobby_connections = source_max;
    s->rig.options.listen[0].limits.connections = connections;
    dm_entrance_done(listener);
    dm_entrance_init(listener, dm_sys_real());
    stage_apply(s, &none);
    return s;
}

static struct dm_listener_counters *listener_counters(const struct stage *s)
{
    return &s->rig.counters->listeners[0];
}

static uint64_t refused(const struct stage *s, enum dm_http_refusal why)
{
    return listener_counters(s)->stats.refused[why];
}

/* The client's end of a connection that comes from there. */
static int arrive(struct stage *s, const char *from)
{
    struct dm_addr peer;
    int fds[2];

    assert_int_equal(dm_addr_parse(dm_str_of(from), &peer, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    dm_worker_listener_accept(&s->rig.worker.listeners[0], fds[0], &peer);
    rig_settle(&s->rig);
    return fds[1];
}

static void say(struct stage *s, int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    rig_settle(&s->rig);
}

static bool is_ended(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

static void check_answer(int fd, const char *text)
{
    char got[4096] = "";

    assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
    assert_non_null(strstr(got, text));
}

static void hang_up(struct stage *s, int fd)
{
    close(fd);
    rig_settle(&s->rig);
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static void a_source_is_turned_away_above_its_number(void **state)
{
    struct stage *s = stage_with_lobby(state, 2, 1000);
    int a = arrive(s, "192.0.2.1:1"), b = arrive(s, "192.0.2.1:2"), c = arrive(s, "192.0.2.1:3"),
        d = arrive(s, "192.0.2.2:1");

    assert_true(is_ended(c));
    assert_false(is_ended(a) || is_ended(b) || is_ended(d));
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_SOURCE), 1);
    assert_int_equal(listener_counters(s)->lobby_connections, 3);
    assert_int_equal(listener_counters(s)->lobby_sources, 2);
    hang_up(s, a);
    assert_int_equal(listener_counters(s)->lobby_connections, 2);
    a = arrive(s, "192.0.2.1:4");
    assert_false(is_ended(a));
    hang_up(s, a);
    hang_up(s, b);
    hang_up(s, c);
    hang_up(s, d);
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
    assert_int_equal(listener_counters(s)->lobby_sources, 0);
}

/* What names a tenant is in the lobby no more; what names nobody's host stays. */
static void a_tenants_connection_leaves_the_lobby(void **state)
{
    struct stage *s = stage_with_lobby(state, 1, 1000);
    struct rig_socket *socket;
    int a = arrive(s, "192.0.2.1:1"), b;

    say(s, a, "GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
    check_answer(a, "host_unknown");
    assert_int_equal(listener_counters(s)->lobby_connections, 1);
    b = arrive(s, "192.0.2.1:2");
    assert_true(is_ended(b));
    hang_up(s, b);
    say(s, a, STAGE_GET("/", ""));
    check_answer(a, "auth_missing");
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
    assert_int_equal(s->rig.counters->tenants[1].connections, 1);
    b = arrive(s, "192.0.2.1:3");
    assert_false(is_ended(b));
    hang_up(s, a);
    hang_up(s, b);
    socket = stage_ask(s, GET, "hello");
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
    rig_close(&s->rig, socket);
}

static void zero_is_no_lobby(void **state)
{
    struct stage *s = stage_with_lobby(state, 0, 8);
    int fds[8];

    for (size_t i = 0; i < DM_COUNT(fds); i++)
        fds[i] = arrive(s, "192.0.2.1:1");
    for (size_t i = 0; i < DM_COUNT(fds); i++) {
        assert_false(is_ended(fds[i]));
        hang_up(s, fds[i]);
    }
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_SOURCE), 0);
}

/* --- fronts ------------------------------------------------------------------------------------------------------- */

static void a_trusted_front_is_not_in_it(void **state)
{
    struct stage *s = stage_with_lobby(state, 1, 1000);
    int fds[4];

    assert_int_equal(dm_listener_parse_sources(DM_STR("192.0.2.0/24"), &s->rig.options.listen[0].trusted_fronts, NULL),
                     0);
    for (size_t i = 0; i < DM_COUNT(fds); i++)
        fds[i] = arrive(s, "192.0.2.1:1");
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
    for (size_t i = 0; i < DM_COUNT(fds); i++) {
        assert_false(is_ended(fds[i]));
        hang_up(s, fds[i]);
    }
}

static void announce(struct stage *s, int fd, const char *source)
{
    char text[128];

    snprintf(text, sizeof(text), HEADER, source);
    say(s, fd, text);
}

static void the_source_of_a_proxy_header_counts(void **state)
{
    struct stage *s = stage_with_lobby(state, 1, 1000);
    int fds[4];

    assert_int_equal(dm_listener_parse_sources(DM_STR("192.0.2.0/24"), &s->rig.options.listen[0].proxy_protocol, NULL),
                     0);
    for (size_t i = 0; i < DM_COUNT(fds); i++)
        fds[i] = arrive(s, "192.0.2.1:1");
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
    announce(s, fds[0], "203.0.113.7");
    announce(s, fds[1], "203.0.113.7");
    announce(s, fds[2], "203.0.113.8");
    say(s, fds[3], "PROXY UNKNOWN\r\n");
    assert_false(is_ended(fds[0]) || is_ended(fds[2]) || is_ended(fds[3]));
    assert_true(is_ended(fds[1]));
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_SOURCE), 1);
    assert_int_equal(refused(s, DM_HTTP_REFUSED_PROXY_PROTOCOL), 0);
    assert_int_equal(listener_counters(s)->lobby_connections, 2);
    say(s, fds[0], GET);
    assert_int_equal(listener_counters(s)->lobby_connections, 1);
    for (size_t i = 0; i < DM_COUNT(fds); i++)
        hang_up(s, fds[i]);
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
}

/* --- a full lobby ------------------------------------------------------------------------------------------------- */

static void a_full_lobby_takes_from_the_largest_source(void **state)
{
    struct stage *s = stage_with_lobby(state, 1000, 256); /* 64 in all */
    int flood[64], more, few, named;

    for (size_t i = 0; i < DM_COUNT(flood); i++)
        flood[i] = arrive(s, "192.0.2.1:1");
    more = arrive(s, "192.0.2.1:1");
    assert_true(is_ended(more));
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_FULL), 1);
    few = arrive(s, "203.0.113.7:1");
    assert_false(is_ended(few));
    assert_true(is_ended(flood[0]));
    assert_false(is_ended(flood[1]));
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_MADE_WAY), 1);
    named = arrive(s, "203.0.113.8:1");
    say(s, named, STAGE_GET("/", ""));
    check_answer(named, "auth_missing");
    say(s, few, STAGE_GET("/", ""));
    check_answer(few, "auth_missing");
    assert_int_equal(listener_counters(s)->lobby_connections, 62);
    for (size_t i = 0; i < DM_COUNT(flood); i++)
        hang_up(s, flood[i]);
    hang_up(s, more);
    hang_up(s, few);
    hang_up(s, named);
    assert_int_equal(listener_counters(s)->lobby_connections, 0);
}

/* One that makes way while it is answered: nothing of it is left behind. */
static void who_makes_way_may_have_a_request_in_hand(void **state)
{
    struct stage *s = stage_with_lobby(state, 1000, 256);
    int flood[64], few;

    for (size_t i = 0; i < DM_COUNT(flood); i++)
        flood[i] = arrive(s, "192.0.2.1:1");
    say(s, flood[0], "POST / HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: 5\r\n\r\nab");
    few = arrive(s, "203.0.113.7:1");
    assert_int_equal(refused(s, DM_HTTP_REFUSED_LOBBY_MADE_WAY), 1);
    check_answer(flood[0], "host_unknown");
    assert_true(is_ended(flood[0]));
    assert_int_equal(s->rig.worker.n_exchanges, 0);
    for (size_t i = 0; i < DM_COUNT(flood); i++)
        hang_up(s, flood[i]);
    hang_up(s, few);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_source_is_turned_away_above_its_number),
        TEST(a_tenants_connection_leaves_the_lobby),
        TEST(zero_is_no_lobby),
        TEST(a_trusted_front_is_not_in_it),
        TEST(the_source_of_a_proxy_header_counts),
        TEST(a_full_lobby_takes_from_the_largest_source),
        TEST(who_makes_way_may_have_a_request_in_hand),
    };

    return cmocka_run_group_tests_name("gateway entrance", tests, NULL, NULL);
}
