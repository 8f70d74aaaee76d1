/* Requests that their client cancels: what that costs a backend, and who is served by what it leaves. */
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "pki/pki.h"
#include "wire/proxy/frames.h"

#define CALLER ":scheme: http | :authority: orders.test | :path: / | x-api-key: good"
#define AT_ONCE 28

/* A connection of HTTP/2. */
static struct rig_socket *begin(struct stage *s)
{
    struct rig_socket *socket = rig_connect(&s->rig);
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    dm_buf_init(&out, 1000);
    dm_buf_add_lit(&out, FRAMES_PREFACE);
    frames_write_settings(false, &out);
    rig_send(socket, dm_buf_str(&out));
    rig_settle(&s->rig);
    return socket;
}

/* Lines of frames, in one piece. */
static void add(struct dm_buf *out, const char *line, uint32_t stream)
{
    assert_true(frames_write(dm_str_of(line), stream, out));
}

static void say(struct stage *s, struct rig_socket *socket, const char *const *lines, uint32_t stream)
{
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    dm_buf_init(&out, 10000);
    for (; *lines; lines++)
        add(&out, *lines, stream);
    rig_send(socket, dm_buf_str(&out));
    rig_settle(&s->rig);
}

static const char get_line[] = "headers $ end :method: GET | " CALLER;
static const char reset_line[] = "frame 3 0 $ \\x00\\x00\\x00\\x08";
static const char *const get[] = {get_line, NULL};
static const char *const get_and_reset[] = {get_line, reset_line};
static const char *const get_and_overflow[] = {get_line, "frame 8 0 $ \\x7f\\xff\\xff\\xff"};
static const char *const reset[] = {reset_line, NULL};
static const char *const post[] = {"headers $ :method: POST | " CALLER " | content-length: 5", "data $ end hello",
                                   NULL};

/* The two lines for each of so many streams, at once: no more than are read in a turn. */
static void send_many(struct stage *s, struct rig_socket *socket, const char *const lines[2])
{
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    dm_buf_init(&out, 1 << 20);
    for (uint32_t i = 0; i < AT_ONCE; i++)
        for (size_t k = 0; k < 2; k++)
            add(&out, lines[k], 2 * i + 1);
    rig_send(socket, dm_buf_str(&out));
    rig_settle(&s->rig);
}

/* The backend has seen nothing but what was asked for at last, once a round. */
static void check_seen(struct stage *s, unsigned n_requests, uint64_t n_connects)
{
    rig_settle(&s->rig);
    assert_int_equal(stage_counters(s)->upstream_connects, n_connects);
    assert_int_equal(stage_counters(s)->upstream_connections, n_connects);
    assert_int_equal(s->origin.n_accepted, n_connects);
    assert_int_equal(s->origin.n_requests, n_requests);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "GET"), n_requests);
    assert_int_equal(s->rig.worker.n_exchanges, 0);
}

static void test_resets_at_once_begin_nothing(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &usual);
    for (unsigned round = 1; round <= 3; round++) {
        c = begin(s);
        send_many(s, c, get_and_reset);
        assert_int_equal(stage_counters(s)->upstream_connects, round > 1);
        say(s, c, get, 1001);
        rig_expect(&s->rig, c, "hello", 1);
        rig_close(&s->rig, c);
        check_seen(s, round, 1);
    }
    assert_int_equal(stage_counters(s)->requests, 3);
}

/* Resets that are our own are not known before. They cost connections, which those that follow use. */
static void test_resets_that_it_makes_us_send_reach_no_backend(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;
    uint64_t connects = 0;

    stage_apply(s, &usual);
    for (unsigned round = 1; round <= 3; round++) {
        c = begin(s);
        send_many(s, c, get_and_overflow);
        if (round == 1)
            connects = stage_counters(s)->upstream_connects;
        say(s, c, get, 1001);
        rig_expect(&s->rig, c, "hello", 1);
        rig_close(&s->rig, c);
        check_seen(s, round, connects);
    }
    assert_int_equal(connects, AT_ONCE);
}

/* A request goes by a connection that stands rather than by one that is being made. */
static void test_connections_that_stand_come_first(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;
    struct dm_buf out DM_CLEANUP(dm_buf_done);

    stage_apply(s, &usual);
    c = begin(s);
    say(s, c, get, 1);
    dm_buf_init(&out, 1 << 20);
    for (uint32_t i = 1; i <= AT_ONCE; i++)
        for (size_t k = 0; k < 2; k++)
            add(&out, get_and_overflow[k], 2 * i + 1);
    for (int i = 0; i < 4; i++)
        add(&out, "frame 6 0 0 12345678", 0); /* the end of what is read in a turn */
    add(&out, get_line, 1001);
    rig_send(c, dm_buf_str(&out));
    rig_expect(&s->rig, c, "hello", 2);
    rig_settle(&s->rig);
    assert_int_equal(s->origin.n_accepted, AT_ONCE);
    for (size_t i = 0; i < s->origin.n_accepted; i++)
        assert_int_equal(s->origin.sockets[i]->n_received > 0, i == 0);
    rig_close(&s->rig, c);
}

/* Behind TLS, where requests wait for the handshake. */
static struct dm_tls_profile *choose(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    (void)stream;
    (void)server_name;
    return arg;
}

static void test_backends_behind_tls(void **state)
{
    struct pki_identity *identity = pki_make(&(struct pki_spec){.subject = "backend"}, NULL);
    struct dm_tls_profile_settings settings = {
        .chain_pem = identity->chain_pem, .key_pem = identity->key_pem, .min_version = DM_TLS_1_2};
    struct dm_tls_acceptor *acceptor;
    struct dm_tls_profile *profile;
    struct stage *s = *state;
    struct rig_socket *c;

    assert_int_equal(dm_tls_profile_new(&settings, &profile, NULL), 0);
    acceptor = s->origin.tls = dm_tls_acceptor_new(choose, profile);
    stage_apply(s, &(struct stage_release){.backend = ",\"tls\":{\"verify\":false}"});
    for (unsigned round = 1; round <= 3; round++) {
        c = begin(s);
        send_many(s, c, get_and_overflow);
        say(s, c, get, 1001);
        rig_expect(&s->rig, c, "hello", 1);
        rig_close(&s->rig, c);
        check_seen(s, round, AT_ONCE);
    }
    stage_teardown(state);
    dm_tls_acceptor_free(acceptor);
    dm_tls_profile_unref(profile);
    pki_free(identity);
    assert_int_equal(stage_setup(state), 0);
}

/* What has left is nobody's any more, and the backend can tell. */
static void test_a_reset_behind_the_request_is_a_reset(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;

    stage_apply(s, &usual);
    s->origin.answer = DM_STR_NULL;
    c = begin(s);
    say(s, c, get, 1);
    assert_int_equal(s->origin.n_requests, 1);
    say(s, c, reset, 1);
    rig_expect_end(&s->rig, s->origin.sockets[0]);
    assert_true(s->origin.sockets[0]->is_failed);
    s->origin.answer = DM_STR(STAGE_OK);
    say(s, c, get, 3);
    rig_expect(&s->rig, c, "hello", 1);
    assert_int_equal(s->origin.n_accepted, 2);
    rig_close(&s->rig, c);
}

/* --- a backend that does not answer to connections ---------------------------------------------------------------- */

struct silent {
    int listener, fillers[2]; /* which are all that it has room for */
    uint16_t port;
};

static void silent_init(struct silent *silent)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    silent->listener = dm_sys_real()->ops->listen(dm_sys_real(), &addr, 0, false);
    assert_true(silent->listener >= 0);
    assert_int_equal(dm_sys_real()->ops->local_addr(dm_sys_real(), silent->listener, &addr), 0);
    silent->port = dm_addr_port(&addr);
    for (size_t i = 0; i < DM_COUNT(silent->fillers); i++)
        silent->fillers[i] = dm_sys_real()->ops->connect(dm_sys_real(), &addr);
}

static void silent_done(struct silent *silent)
{
    for (size_t i = 0; i < DM_COUNT(silent->fillers); i++)
        dm_sys_real()->ops->close(dm_sys_real(), silent->fillers[i]);
    dm_sys_real()->ops->close(dm_sys_real(), silent->listener);
}

/* Of a backend with one endpoint or, if other is not 0, with two. */
static void apply(struct stage *s, unsigned port, unsigned other)
{
    char endpoints[200];

    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", port);
    if (other)
        snprintf(endpoints + strlen(endpoints), sizeof(endpoints) - strlen(endpoints),
                 ",{\"host\":\"127.0.0.1\",\"port\":%u}", other);
    stage_apply(s, &(struct stage_release){.endpoints = endpoints, .backend = ",\"connect_timeout_ms\":100"});
}

/* A call that begins on a connection which is being made since another call has the whole time to connect. */
static void test_a_connection_that_fails_for_the_next(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;
    struct silent silent;

    silent_init(&silent);
    apply(s, silent.port, 0);
    c = begin(s);
    say(s, c, get, 1);
    say(s, c, reset, 1);
    say(s, c, get, 3);
    assert_int_equal(stage_counters(s)->upstream_connects, 1);
    rig_expect(&s->rig, c, "backend_timeout", 1);
    assert_int_equal(stage_counters(s)->upstream_connects, 2);
    assert_int_equal(stage_counters(s)->upstream_failures, 2);
    rig_close(&s->rig, c);
    silent_done(&silent);
}

/* The same with a body, of which nothing has left: to where it is answered. */
static void test_a_body_for_a_connection_that_fails(void **state)
{
    struct stage *s = *state;
    struct rig_socket *c;
    struct silent silent;

    silent_init(&silent);
    apply(s, silent.port, rig_origin_port(&s->origin));
    c = begin(s);
    say(s, c, get, 1);
    say(s, c, reset, 1);
    say(s, c, get, 3);
    rig_expect(&s->rig, c, "hello", 1);
    say(s, c, post, 5);
    rig_expect(&s->rig, c, "hello", 2);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.received), "\r\n\r\nhello"), 1);
    assert_int_equal(stage_counters(s)->upstream_connects, 3);
    assert_int_equal(stage_counters(s)->upstream_retries, 1);
    rig_close(&s->rig, c);
    silent_done(&silent);
}

/* A connection that nobody wants any more is not kept. */
static void test_a_backend_that_is_gone_meanwhile(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    struct rig_socket *c;
    struct silent silent;

    silent_init(&silent);
    apply(s, silent.port, 0);
    c = begin(s);
    say(s, c, get, 1);
    assert_int_equal(stage_counters(s)->upstream_connections, 1);
    stage_release(s, &usual);
    say(s, c, reset, 1);
    assert_int_equal(stage_counters(s)->upstream_connections, 0);
    say(s, c, get, 3);
    rig_expect(&s->rig, c, "hello", 1);
    rig_close(&s->rig, c);
    silent_done(&silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)
        TEST(test_resets_at_once_begin_nothing),          TEST(test_resets_that_it_makes_us_send_reach_no_backend),
        TEST(test_connections_that_stand_come_first),     TEST(test_backends_behind_tls),
        TEST(test_a_reset_behind_the_request_is_a_reset), TEST(test_a_connection_that_fails_for_the_next),
        TEST(test_a_body_for_a_connection_that_fails),    TEST(test_a_backend_that_is_gone_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
