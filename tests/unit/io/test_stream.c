/* Streams over real sockets: what comes in, what goes out, and what it costs. Compiled twice: with WITH_TLS over TLS. */
#include "stream_rig.h"

static void bytes_come_in_and_an_idle_stream_owns_nothing(void **state)
{
    peer_sends("hello", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->n_seen, 5);
    assert_memory_equal(conn->seen, "hello", 5);
    assert_int_equal(conn->stream.bytes_in, 5);
    assert_null(conn->stream.kept);
    assert_null(conn->stream.head);
    assert_true(sizeof(struct dm_stream) <= 248);
}

static void an_unconsumed_rest_comes_again_with_what_follows(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("GET /", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->last_len, 5);
    assert_int_equal(dm_stream_unread(&conn->stream), 5);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(conn->n_reads, 1);

    conn->consume = 7;
    peer_sends(" HTTP", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->last_len, 10);
    assert_memory_equal(conn->seen, "GET / H", 7);
    assert_int_equal(dm_stream_unread(&conn->stream), 3);

    conn->consume = LONG_MAX;
    dm_stream_resume(&conn->stream);
    turn_until_quiet();
    assert_memory_equal(conn->seen, "GET / HTTP", 10);
    assert_null(conn->stream.kept);
}

static void a_rest_grows_up_to_its_maximum(void **state)
{
    char *bytes = pattern(8000);

    conn->consume = HOLD_ALL;
    for (int i = 1; i <= 8; i++) {
        peer_sends(bytes, 8000);
        turn_until_quiet();
        assert_int_equal(conn->last_len, 8000 * i);
    }
    peer_sends(bytes, 8000);
    turn_until_quiet();
    assert_int_equal(conn->last_len, 64 << 10);
    assert_int_equal(conn->error, DM_EBUDGET);
    assert_int_equal(conn->n_error, 1);
    dm_free(bytes);
}

static void paused_bytes_wait_and_the_end_too(void **state)
{
    conn->pauses = true;
    conn->consume = 2;
    peer_sends("abcd", 4);
    turn_until_quiet();
    peer_sends("ef", 2);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 1);
    assert_int_equal(conn->n_eof, 0);
    conn->pauses = false;
    conn->consume = LONG_MAX;
    dm_stream_resume(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 6);
    assert_memory_equal(conn->seen, "abcdef", 6);
    assert_int_equal(conn->n_eof, 1);
    assert_int_equal(conn->n_error, 0);
}

static void bytes_with_the_end_in_one_event(void **state)
{
    peer_sends("last words", 10);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 10);
    assert_int_equal(conn->n_eof, 1);
    /* Half-closed: we may still speak. */
    assert_int_equal(dm_stream_put(&conn->stream, "bye", 3), 0);
    dm_stream_shutdown(&conn->stream);
    assert_int_equal(dm_stream_write(&conn->stream, "x", 1), DM_ECLOSED);
    turn_until_quiet();
    char got[8];
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    assert_true(peer_sees_end());
}

static unsigned n_sends;

static ssize_t counting_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    n_sends++;
    return dm_sys_real()->ops->send(sys, fd, ptr, len);
}

static unsigned n_recvs;

static ssize_t counting_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    n_recvs++;
    return dm_sys_real()->ops->recv(sys, fd, ret, len);
}

static void a_message_costs_one_recv_and_one_send(void **state)
{
    char got[64];

    fake.ops.send = counting_send;
    fake.ops.recv = counting_recv;
    n_sends = n_recvs = 0;
    conn->echoes = true;
    for (int i = 1; i <= 5; i++) {
        peer_sends("ping ping", 9);
        assert_true(dm_loop_turn(loop, -1) > 0);
        assert_int_equal(peer_reads(got, sizeof(got)), 9);
        assert_int_equal(n_sends, i);
        assert_int_equal(n_recvs, i);
    }
}

static void small_writes_leave_together_at_the_end_of_the_turn(void **state)
{
    char got[64];

    fake.ops.send = counting_send;
    n_sends = 0;
    assert_int_equal(dm_stream_write(&conn->stream, "one ", 4), 4);
    assert_int_equal(dm_stream_put(&conn->stream, "two ", 4), 0);
    assert_int_equal(dm_stream_write(&conn->stream, "three", 5), 5);
    assert_int_equal(dm_stream_unsent(&conn->stream), 13);
    assert_int_equal(peer_reads(got, sizeof(got)), 0);
    dm_loop_turn(loop, 0);
    assert_int_equal(peer_reads(got, sizeof(got)), 13);
    assert_memory_equal(got, "one two three", 13);
    assert_int_equal(n_sends, 1);
    assert_int_equal(dm_stream_put(&conn->stream, "now", 3), 0);
    dm_stream_flush(&conn->stream);
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    assert_int_equal(conn->stream.bytes_out, 16);
}

static void a_large_slice_goes_with_its_head_in_order(void **state)
{
    char *body = pattern(60000), *got = dm_alloc(60004);

    assert_int_equal(dm_stream_put(&conn->stream, "head", 4), 0);
    assert_int_equal(dm_stream_write(&conn->stream, body, 60000), 60000);
    assert_int_equal(dm_stream_unsent(&conn->stream), 0);
    assert_int_equal(peer_reads(got, 60004), 60004);
    assert_memory_equal(got, "head", 4);
    assert_memory_equal(got + 4, body, 60000);
    dm_free(body);
    dm_free(got);
}

static void a_full_peer_pushes_back_and_then_lets_go(void **state)
{
    size_t total = 3 << 20, n_written = 0, n_got = 0;
    char *bytes = pattern(total), *got = dm_alloc(total);

    while (n_got < total) {
        ssize_t n = 0;
        while (n_written < total && (n = dm_stream_write(&conn->stream, bytes + n_written, total - n_written)) > 0)
            n_written += (size_t)n;
        assert_true(n > 0 || n == DM_EAGAIN || n_written == total);
        assert_true(dm_stream_unsent(&conn->stream) <= conn_type.write_max_bytes + (WITH_TLS ? 8 * 22 : 0));
        if (n == DM_EAGAIN)
            assert_int_equal(dm_stream_put(&conn->stream, "no", 2), DM_EAGAIN);
        unsigned before = conn->n_writable;
        n_got += peer_reads(got + n_got, total - n_got);
        while (n_got < total && conn->n_writable == before && n_written < total) {
            turn_until_quiet();
            n_got += peer_reads(got + n_got, total - n_got);
        }
        turn_until_quiet();
    }
    assert_memory_equal(got, bytes, total);
    assert_true(conn->n_writable > 2);
    assert_int_equal(conn->stream.bytes_out, total);
    assert_null(conn->stream.head);
    dm_free(bytes);
    dm_free(got);
}

/* Nothing waits in the kernel's way, so no readiness will tell. */
static void a_refusal_that_the_flush_undoes_is_taken_back(void **state)
{
    static struct dm_stream_type small;
    char bytes[4096] = {0};

    small = conn_type;
    small.write_max_bytes = sizeof(bytes);
    dm_stream_set_type(&conn->stream, &small);
    assert_int_equal(dm_stream_write(&conn->stream, bytes, 4000), 4000);
    assert_int_equal(dm_stream_write(&conn->stream, bytes, 4000), 96);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 1), DM_EAGAIN);
    assert_int_equal(dm_stream_room(&conn->stream), 0);
    turn_until_quiet();
    assert_int_equal(conn->n_writable, 1);
    assert_int_equal(dm_stream_room(&conn->stream), sizeof(bytes));
    /* All or nothing, but never stuck: one piece may pass the maximum. */
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), 0);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), 0);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), DM_EAGAIN);
    turn_until_quiet();
    assert_int_equal(conn->n_writable, 2);
    assert_int_equal(conn->stream.bytes_out, 4096 + 8000);
}

static size_t yield_once(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    if (c->n_reads == 0)
        dm_stream_resume(stream);
    c->consume = c->n_reads == 0 ? 1 : LONG_MAX;
    return conn_read(stream, ptr, len);
}

static void a_rest_asked_for_comes_before_the_end(void **state)
{
    static struct dm_stream_type yielding;

    yielding = conn_type;
    yielding.on_read = yield_once;
    dm_stream_set_type(&conn->stream, &yielding);
    peer_sends("abc", 3);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 2);
    assert_int_equal(conn->n_eof, 1);
    assert_int_equal(conn->n_seen_at_eof, 3);
}

#if !WITH_TLS
static size_t n_flood;

static ssize_t flooding_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    if (n_flood == 0)
        return -EAGAIN;
    len = DM_MIN(len, n_flood);
    n_flood -= len;
    memset(ret, 'f', len);
    return (ssize_t)len;
}

static void a_flood_is_bounded_per_turn(void **state)
{
    fake.ops.recv = flooding_recv;
    n_flood = 1000000;
    peer_sends("x", 1);
    for (size_t i = 1; i <= 3; i++) {
        assert_true(dm_loop_turn(loop, -1) > 0);
        assert_int_equal(conn->n_seen, i * (64 << 10));
    }
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 1000000);
    assert_int_equal(n_flood, 0);
}
#endif

static void steady_state_allocates_nothing(void **state)
{
#ifdef DM_DEBUG_ALLOC
    skip();
#endif
    char *big = pattern(40000), *got = dm_alloc(40000);
    uint64_t calls = 0;

    conn->echoes = true;
    for (int i = 0; i < 200; i++) {
        if (i == 20)
            calls = dm_mem_calls();
        conn->n_seen = 0;
        conn->consume = i % 2 ? 100 : LONG_MAX;
        peer_sends(big, i % 3 ? 3000 : 40000);
        turn_until_quiet();
        conn->consume = LONG_MAX;
        dm_stream_resume(&conn->stream);
        turn_until_quiet();
        assert_int_equal(peer_reads(got, 40000), i % 3 ? 3000 : 40000);
    }
    assert_int_equal(dm_mem_calls(), calls);
    dm_free(big);
    dm_free(got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_in_and_an_idle_stream_owns_nothing),
        TEST(an_unconsumed_rest_comes_again_with_what_follows),
        TEST(a_rest_grows_up_to_its_maximum),
        TEST(paused_bytes_wait_and_the_end_too),
        TEST(bytes_with_the_end_in_one_event),
        TEST(a_message_costs_one_recv_and_one_send),
        TEST(small_writes_leave_together_at_the_end_of_the_turn),
        TEST(a_large_slice_goes_with_its_head_in_order),
        TEST(a_full_peer_pushes_back_and_then_lets_go),
        TEST(a_refusal_that_the_flush_undoes_is_taken_back),
        TEST(a_rest_asked_for_comes_before_the_end),
        TEST(steady_state_allocates_nothing),
#if !WITH_TLS
        TEST(a_flood_is_bounded_per_turn),
#endif
    };

    return cmocka_run_group_tests_name("stream", tests, make_tls, free_tls);
}
