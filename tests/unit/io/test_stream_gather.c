/* Output of many streams that gathers in one scratch buffer: each peer gets its own bytes, whole and in order, however the
 * writes were interleaved, and whoever closes or fails meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_clock.h"
#include "io/stream.h"

enum { N_CONNS = 40, ROUNDS = 30000, LARGE_MAX = 40000 };

struct conn {
    struct dm_stream stream;
    int peer;
    uint8_t key;
    size_t n_written, n_read;
    unsigned n_error, n_closed;
};

static struct fake_clock fake;
static struct dm_loop *loop;
static struct conn *conns;
static char *bytes, *got; /* LARGE_MAX each */
static uint64_t seed;
static unsigned n_sends;

static ssize_t counting_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    n_sends++;
    return dm_sys_real()->ops->send(sys, fd, ptr, len);
}

static uint64_t draw(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    return len;
}

static void on_error(struct dm_stream *stream, int code)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_error++;
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_closed++;
}

static const struct dm_stream_type type = {
    .on_read = on_read,
    .on_error = on_error,
    .on_closed = on_closed,
    .write_max_bytes = 1 << 20,
};

static void open_conn(struct conn *c)
{
    static uint8_t key;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *c = (struct conn){.peer = fds[1], .key = ++key};
    assert_int_equal(dm_stream_open(&c->stream, loop, &type, fds[0]), 0);
}

static int setup(void **state)
{
    fake_clock_init(&fake);
    fake.ops.send = counting_send;
    loop = dm_loop_new(&fake.sys);
    conns = dm_calloc(N_CONNS, sizeof(*conns));
    bytes = dm_alloc(LARGE_MAX);
    got = dm_alloc(LARGE_MAX);
    seed = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < N_CONNS; i++)
        open_conn(&conns[i]);
    while (dm_loop_turn(loop, 0) > 0)
        ;
    n_sends = 0;
    return 0;
}

static void close_conn(struct conn *c)
{
    dm_stream_close(&c->stream);
    while (c->n_closed == 0)
        assert_true(dm_loop_turn(loop, 0) >= 0);
    if (c->peer >= 0)
        close(c->peer);
}

static int teardown(void **state)
{
    for (size_t i = 0; i < N_CONNS; i++)
        close_conn(&conns[i]);
    dm_loop_free(loop);
    dm_free(conns);
    dm_free(bytes);
    dm_free(got);
    return 0;
}

static char byte_at(const struct conn *c, size_t i)
{
    return (char)(c->key * 89 + i * 31 + (i >> 8) * 7);
}

static void writes(struct conn *c, size_t len)
{
    ssize_t n;

    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(c, c->n_written + i);
    n = dm_stream_write(&c->stream, bytes, len);
    assert_true(n > 0 || n == DM_EAGAIN);
    c->n_written += (size_t)DM_MAX(n, 0);
}

/* What there is now is what comes next. */
static void peer_reads(struct conn *c)
{
    ssize_t n;

    while ((n = recv(c->peer, got, LARGE_MAX, 0)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (got[i] != byte_at(c, c->n_read + (size_t)i))
                fail_msg("byte %zu of stream %d is another's", c->n_read + (size_t)i, c->key);
        c->n_read += (size_t)n;
    }
}

static void peer_gets_all(struct conn *c)
{
    for (unsigned n = 0; c->n_read < c->n_written && n < 10000; n++) {
        dm_loop_turn(loop, 0);
        peer_reads(c);
    }
    assert_int_equal(c->n_read, c->n_written);
}

static void one_send_for_each_stream(void **state)
{
    for (size_t i = 0; i < 5; i++) {
        writes(&conns[i], 100);
        writes(&conns[i], 50);
    }
    assert_int_equal(n_sends, 0);
    assert_int_equal(dm_stream_unsent(&conns[3].stream), 150);
    dm_loop_turn(loop, 0);
    assert_int_equal(n_sends, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(dm_stream_unsent(&conns[i].stream), 0);
        peer_reads(&conns[i]);
        assert_int_equal(conns[i].n_read, 150);
    }
}

/* A bound on who waits for whom: nobody's output waits for that of many others. */
static void many_outputs_are_not_all_held_back(void **state)
{
    for (size_t i = 0; i < N_CONNS; i++)
        writes(&conns[i], 10);
    assert_true(n_sends > 0);
    assert_int_equal(dm_stream_unsent(&conns[0].stream), 0);
    assert_int_equal(dm_stream_unsent(&conns[N_CONNS - 1].stream), 10);
}

static void a_stream_that_returns_keeps_its_order(void **state)
{
    writes(&conns[0], 10);
    writes(&conns[1], 10);
    writes(&conns[0], 10);
    writes(&conns[0], LARGE_MAX);
    writes(&conns[1], LARGE_MAX);
    writes(&conns[0], 10);
    peer_gets_all(&conns[0]);
    peer_gets_all(&conns[1]);
}

static void one_that_fails_or_closes_takes_nothing_along(void **state)
{
    writes(&conns[0], 10);
    writes(&conns[1], 10);
    writes(&conns[2], 10);
    writes(&conns[3], 10);
    close(conns[1].peer);
    conns[1].peer = -1;
    dm_stream_close(&conns[2].stream);
    peer_gets_all(&conns[0]);
    peer_gets_all(&conns[2]);
    peer_gets_all(&conns[3]);
    while (conns[1].n_closed == 0)
        dm_loop_turn(loop, 0);
    assert_int_equal(conns[1].n_error, 1);
    assert_int_equal(conns[2].n_closed, 1);
}

static const struct dm_stream_type small_type = {
    .on_read = on_read,
    .on_error = on_error,
    .on_closed = on_closed,
    .write_max_bytes = 100,
};

/* What is refused leaves nothing behind. */
static void a_write_without_room_gathers_nothing(void **state)
{
    struct conn *c = dm_calloc(1, sizeof(*c));
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&c->stream, loop, &small_type, fds[0]), 0);
    assert_int_equal(dm_stream_write(&c->stream, "x", 1), 1);
    assert_int_equal(dm_stream_put(&c->stream, bytes, 99), 0);
    writes(&conns[0], 10);
    assert_int_equal(dm_stream_write(&c->stream, bytes, 10), DM_EAGAIN);
    dm_stream_close(&c->stream);
    while (c->n_closed == 0)
        dm_loop_turn(loop, 0);
    dm_free(c);
    dm_loop_turn(loop, 0);
    assert_int_equal(n_sends, 2);
    close(fds[1]);
}

static void takes_back(struct conn *c, uint64_t position)
{
    assert_true(dm_stream_take_back(&c->stream, position));
    assert_int_equal(dm_stream_unsent(&c->stream), 0);
    c->n_written = position;
}

/* Of one among others, of what is queued behind a full socket nothing when some of it has left. */
static void what_has_not_left_is_taken_back(void **state)
{
    struct conn *c = &conns[1];

    writes(&conns[0], 10);
    writes(c, 10);
    writes(&conns[2], 10);
    takes_back(c, 0);
    takes_back(&conns[2], 0);
    writes(&conns[0], 10); /* where the last one was */
    writes(c, 10);
    writes(&conns[2], 10);
    takes_back(c, 0);
    writes(&conns[2], LARGE_MAX); /* behind a hole */
    dm_loop_turn(loop, 0);
    assert_int_equal(conns[0].stream.bytes_out, 20);
    writes(c, 20);
    dm_loop_turn(loop, 0);
    assert_false(dm_stream_take_back(&c->stream, 0));
    writes(c, 30);
    assert_false(dm_stream_take_back(&c->stream, 10));
    takes_back(c, 20);
    writes(c, 5);
    peer_gets_all(c);
    assert_int_equal(c->n_read, 25);
    while (dm_stream_unsent(&c->stream) == 0)
        writes(c, LARGE_MAX);
    assert_false(dm_stream_take_back(&c->stream, 25));
    peer_gets_all(c);
    dm_stream_shutdown(&c->stream);
    assert_false(dm_stream_take_back(&c->stream, c->stream.bytes_out));
    peer_gets_all(&conns[0]);
    peer_gets_all(&conns[2]);
}

static size_t any_length(void)
{
    switch (draw(8)) {
    case 0: return 1 + draw(LARGE_MAX - 1);
    case 1: return (16 << 10) - 2 + draw(4);
    default: return 1 + draw(600);
    }
}

static void act(struct conn *c)
{
    switch (draw(16)) {
    case 0: dm_stream_flush(&c->stream); break;
    case 1: peer_reads(c); break;
    case 2: dm_loop_turn(loop, 0); break;
    case 3:
        if (draw(8) == 0) {
            peer_gets_all(c);
            close_conn(c);
            open_conn(c);
        }
        break;
    case 4:
        if (draw(8) == 0) { /* gathered bytes go with the close, queued ones are dropped */
            peer_gets_all(c);
            writes(c, 100);
            dm_stream_close(&c->stream);
            peer_reads(c);
            assert_int_equal(c->n_read, c->n_written);
            close_conn(c);
            open_conn(c);
        }
        break;
    case 5:
        if (dm_stream_take_back(&c->stream, c->stream.bytes_out))
            c->n_written = c->stream.bytes_out;
        break;
    default: writes(c, any_length());
    }
}

static void random_writes_arrive_whole_and_in_order(void **state)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        act(&conns[draw(N_CONNS)]);
    for (size_t i = 0; i < N_CONNS; i++)
        peer_gets_all(&conns[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(one_send_for_each_stream),
        TEST(many_outputs_are_not_all_held_back),
        TEST(a_stream_that_returns_keeps_its_order),
        TEST(one_that_fails_or_closes_takes_nothing_along),
        TEST(a_write_without_room_gathers_nothing),
        TEST(what_has_not_left_is_taken_back),
        TEST(random_writes_arrive_whole_and_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
