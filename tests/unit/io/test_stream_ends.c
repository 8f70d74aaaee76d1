/* How streams end: by their owner, by the peer, from callbacks, in time. Compiled twice: with WITH_TLS over TLS. */
#include "stream_rig.h"

static void shutdown_waits_for_the_queue(void **state)
{
    size_t total = 1 << 20, n_got = 0, n_written;
    char *bytes = pattern(total), *got = dm_alloc(total);

    n_written = (size_t)dm_stream_write(&conn->stream, bytes, total);
    assert_true(n_written < total && dm_stream_unsent(&conn->stream) > 0);
    dm_stream_shutdown(&conn->stream);
    assert_false(conn->stream.has_shutdown);
    while (!conn->stream.has_shutdown) {
        n_got += peer_reads(got + n_got, total - n_got);
        turn_until_quiet();
    }
    n_got += peer_reads(got + n_got, total - n_got);
    assert_int_equal(n_got, n_written);
    assert_memory_equal(got, bytes, n_got);
    assert_true(peer_sees_end());
    dm_free(bytes);
    dm_free(got);
}

static void closing_in_on_read_ends_it(void **state)
{
    conn->closes = true;
    conn->consume = 1;
    peer_sends("xyz", 3);
    dm_loop_turn(loop, -1);
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 1);
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(dm_stream_write(&conn->stream, "x", 1), DM_ECLOSED);
}

static void closing_in_on_read_of_a_kept_rest(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("abc", 3);
    dm_loop_turn(loop, -1);
    conn->closes = true;
    conn->consume = LONG_MAX;
    peer_sends("def", 3);
    dm_loop_turn(loop, -1);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 6);
    assert_int_equal(conn->n_closed, 1);
}

static void close_sends_what_has_gathered(void **state)
{
    char got[16];

    assert_int_equal(dm_stream_put(&conn->stream, "bye", 3), 0);
    dm_stream_close(&conn->stream);
    assert_int_equal(conn->n_closed, 0);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
}

static void a_failed_write_is_told_after_the_last_words(void **state)
{
    peer_sends("refused", 7);
    close(peer_fd);
    peer_fd = -1;
    assert_int_equal(dm_stream_put(&conn->stream, "data", 4), 0);
    dm_stream_flush(&conn->stream);
    assert_int_equal(conn->n_error, 0);
    assert_int_equal(dm_stream_write(&conn->stream, "more", 4), DM_ECLOSED);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 7);
    assert_int_equal(conn->n_error, 1);
    assert_int_equal(conn->error, -EPIPE);
    assert_int_equal(conn->n_eof, 0);
    assert_int_equal(conn->n_closed, 1);
}

static void graceful_close_waits_for_the_peer(void **state)
{
    char got[16];

    assert_int_equal(dm_stream_put(&conn->stream, "400", 3), 0);
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    peer_sends("ignored", 7);
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 0);
    assert_int_equal(conn->n_closed, 0);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
}

static void graceful_close_has_an_end(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("kept", 4);
    turn_until_quiet();
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 0);
    fake_clock_advance_ms(&fake, 1001);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(conn->n_error, 0);
}

static void graceful_close_after_the_peers_end_is_immediate(void **state)
{
    char got[16];

    peer_ends();
    turn_until_quiet();
    assert_int_equal(dm_stream_put(&conn->stream, "done", 4), 0);
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(peer_reads(got, sizeof(got)), 4);
}

static void closing_in_on_writable_is_fine(void **state)
{
    size_t total = 2 << 20;
    char *bytes = pattern(total);

    conn->closes_in_writable = true;
    assert_true(dm_stream_write(&conn->stream, bytes, total) < (ssize_t)total);
    while (conn->n_writable == 0) {
        peer_reads(bytes, total);
        turn_until_quiet();
    }
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shutdown_waits_for_the_queue),
        TEST(closing_in_on_read_ends_it),
        TEST(closing_in_on_read_of_a_kept_rest),
        TEST(close_sends_what_has_gathered),
        TEST(a_failed_write_is_told_after_the_last_words),
        TEST(graceful_close_waits_for_the_peer),
        TEST(graceful_close_has_an_end),
        TEST(graceful_close_after_the_peers_end_is_immediate),
        TEST(closing_in_on_writable_is_fine),
    };

    return cmocka_run_group_tests_name("stream ends", tests, make_tls, free_tls);
}
