/* A tenant's bandwidth: what waits, what goes on, and that nothing is gathered or lost meanwhile. The clock that the buckets see stands,
 * and is moved by the test. */
#include "caps_rig.h"

#define RATE 1024         /* bytes a second, the least there is */
#define HELD (64u << 10)  /* what may come at once */
#define BODY (256u << 10) /* longer than sockets and buffers would hide */
#define UPLOAD "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Content-Length: 262144\r\n\r\n"
#define DOWNLOAD "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n"
#define CHUNKED "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\n\r\n40000\r\n"

static uint64_t wall_ns; /* where the clock stands */
static char body[BODY];

static int setup(void **state)
{
    if (stage_setup(state) < 0)
        return -1;
    wall_ns = UINT64_C(1800000000) * 1000000000;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)('a' + i % 23);
    return 0;
}

/* Until nothing has moved for some looks of the queue. */
static void settle(struct stage *s, const size_t *moved)
{
    size_t before = *moved;

    for (int still = 0; still < 40; still++) {
        s->rig.worker.wall_offset_ns = wall_ns - dm_loop_now_ns(s->rig.worker.loop);
        assert_true(dm_loop_turn(s->rig.worker.loop, 5) >= 0);
        if (*moved != before)
            still = 0;
        before = *moved;
    }
}

static void pass_seconds(struct stage *s, uint64_t n, const size_t *moved)
{
    wall_ns += n * 1000000000;
    settle(s, moved);
}

/* At most what the bucket had and gets; and all of that but for what the last pieces of `n` exchanges do not fill. */
static void check_moved(size_t moved, size_t most, size_t n)
{
    assert_true(moved <= most + 8 * RATE); /* the clock goes on within a turn, and a busy machine makes it long */
    assert_true(moved + n * 2048 >= most);
}

static struct rig_socket *upload(struct stage *s, const char *head)
{
    struct rig_socket *socket = rig_connect(&s->rig);

    rig_send(socket, dm_str_of(head));
    rig_send(socket, dm_str_n(body, BODY));
    return socket;
}

/* In the middle, so that the worker sees it whatever it has not read. */
static void cut(struct stage *s, struct rig_socket *socket)
{
    dm_stream_reset(&socket->stream);
    leave(s, socket);
}

/* --- directions --------------------------------------------------------------------------------------------------- */

static void test_uploads(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;
    const size_t *got = &s->origin.received.len;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    socket = upload(s, UPLOAD);
    settle(s, got);
    check_moved(*got, HELD, 1);
    assert_int_equal(stage_counters(s)->bandwidth_waits[0] > 0, true);
    pass_seconds(s, 20, got);
    check_moved(*got, HELD + 20 * RATE, 1);
    assert_true(stage_counters(s)->buffered_bytes < 256u << 10);
    assert_int_equal(socket->received.len, 0);
    for (int i = 0; i < 5; i++)
        pass_seconds(s, 60, got);
    rig_expect(&s->rig, socket, "hello", 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.requests), "POST / 262144\n"), 1);
    assert_memory_equal(s->origin.received.ptr + s->origin.received.len - BODY, body, BODY);
    leave(s, socket);
}

static void test_chunked_uploads(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;
    const size_t *got = &s->origin.received.len;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    socket = upload(s, CHUNKED);
    rig_send(socket, DM_STR("\r\n0\r\n\r\n"));
    settle(s, got);
    for (int i = 0; i < 6; i++)
        pass_seconds(s, 60, got);
    rig_expect(&s->rig, socket, "hello", 1);
    assert_int_equal(rig_count(dm_buf_str(&s->origin.requests), "POST / 262144\n"), 1);
    leave(s, socket);
}

static void test_downloads(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket = rig_connect(&s->rig);
    struct dm_buf answer;

    dm_buf_init(&answer, 1u << 20);
    dm_buf_add_lit(&answer, DOWNLOAD);
    dm_buf_add_n(&answer, body, BODY);
    s->origin.answer = dm_buf_str(&answer);
    apply_caps(s, "\"bandwidth_out_bytes\":1024");
    rig_send(socket, DM_STR(GET));
    settle(s, &socket->n_received);
    check_moved(socket->n_received, HELD, 1);
    pass_seconds(s, 20, &socket->n_received);
    check_moved(socket->n_received, HELD + 20 * RATE, 1);
    assert_true(stage_counters(s)->buffered_bytes < 256u << 10);
    for (int i = 0; i < 5; i++)
        pass_seconds(s, 60, &socket->n_received);
    assert_true(socket->received.len > BODY);
    assert_memory_equal(socket->received.ptr + socket->received.len - BODY, body, BODY);
    assert_true(stage_counters(s)->bandwidth_waits[1] > 0);
    leave(s, socket);
    dm_buf_done(&answer);
}

/* --- shared ------------------------------------------------------------------------------------------------------- */

static bool are_two(void *arg)
{
    return ((struct rig_origin *)arg)->n_accepted == 2;
}

/* One begins when the other has waited for long: from there on they have the same. */
static void test_exchanges_share_in_turns(void **state)
{
    struct stage *s = *state;
    struct rig_socket *first, *second;
    size_t before, behind;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    first = upload(s, UPLOAD);
    settle(s, &s->origin.received.len);
    second = upload(s, UPLOAD);
    rig_run_until(&s->rig, are_two, &s->origin);
    settle(s, &s->origin.received.len);
    before = s->origin.sockets[0]->n_received;
    behind = s->origin.sockets[1]->n_received;
    pass_seconds(s, 40, &s->origin.received.len);
    before = s->origin.sockets[0]->n_received - before;
    behind = s->origin.sockets[1]->n_received - behind;
    assert_true(before > 0 && behind > 0);
    assert_true(before < behind + 8192 && behind < before + 8192);
    check_moved(before + behind, 40 * RATE, 2);
    cut(s, first);
    cut(s, second);
}

/* What was no body is paid for by the next one. */
static void test_heads_count(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;
    size_t n_heads = 0, before;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    s->rig.worker.wall_offset_ns = wall_ns - dm_loop_now_ns(s->rig.worker.loop);
    socket = stage_ask(s, GET, OK);
    while (n_heads * (sizeof(GET) - 1) < HELD / 2) {
        ask(s, socket, GET, OK);
        n_heads++;
    }
    leave(s, socket);
    before = s->origin.received.len;
    socket = upload(s, UPLOAD);
    settle(s, &s->origin.received.len);
    check_moved(s->origin.received.len - before, HELD - (n_heads + 1) * (sizeof(GET) - 1), 2);
    cut(s, socket);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void test_no_bound_any_more(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    socket = upload(s, UPLOAD);
    settle(s, &s->origin.received.len);
    assert_true(s->origin.received.len < BODY / 2);
    apply_grants(s, "");
    rig_expect(&s->rig, socket, "hello", 1);
    leave(s, socket);
    socket = upload(s, UPLOAD);
    rig_expect(&s->rig, socket, "hello", 1);
    leave(s, socket);
}

static void test_the_other_direction_is_not_bound(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;

    apply_caps(s, "\"bandwidth_out_bytes\":1024");
    socket = upload(s, UPLOAD);
    rig_expect(&s->rig, socket, "hello", 1);
    leave(s, socket);
}

static bool has_none(void *arg)
{
    return ((struct stage *)arg)->rig.worker.n_exchanges == 0;
}

/* Who goes while it waits leaves nothing behind, and its turn is the next one's. */
static void test_clients_that_go(void **state)
{
    struct stage *s = *state;
    struct rig_socket *first, *second;
    size_t before;

    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    first = upload(s, UPLOAD);
    settle(s, &s->origin.received.len);
    second = upload(s, UPLOAD);
    rig_run_until(&s->rig, are_two, &s->origin);
    settle(s, &s->origin.received.len);
    cut(s, first);
    before = s->origin.received.len;
    pass_seconds(s, 20, &s->origin.received.len);
    check_moved(s->origin.received.len - before, 20 * RATE, 2);
    cut(s, second);
    rig_run_until(&s->rig, has_none, s);
}

/* A backend that answers before it has read all: the answer is through, and what waits is dropped as ever. */
static void test_early_answers(void **state)
{
    struct stage *s = *state;
    struct rig_socket *socket;

    s->origin.answers_early = true;
    apply_caps(s, "\"bandwidth_in_bytes\":1024");
    socket = upload(s, UPLOAD);
    rig_expect(&s->rig, socket, "hello", 1);
    rig_expect_end(&s->rig, socket);
    rig_run_until(&s->rig, has_none, s);
    leave(s, socket);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, stage_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_uploads),
        TEST(test_chunked_uploads),
        TEST(test_downloads),
        TEST(test_exchanges_share_in_turns),
        TEST(test_heads_count),
        TEST(test_no_bound_any_more),
        TEST(test_the_other_direction_is_not_bound),
        TEST(test_clients_that_go),
        TEST(test_early_answers),
    };

    return cmocka_run_group_tests_name("gateway bandwidth", tests, NULL, NULL);
}
