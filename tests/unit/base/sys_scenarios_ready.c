/* Readiness, clock and randomness. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sys_stage.h"

static void edges(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    stage_send_all(stage, pair.client, CLIENT, "a");
    stage_await(stage, SERVER, DM_READY_IN);
    assert_int_equal(stage_glance(stage, SERVER) & DM_READY_IN, 0); /* unread, but no new edge */
    stage_send_all(stage, pair.client, CLIENT, "b");
    stage_await(stage, SERVER, DM_READY_IN);
    stage_expect(stage, pair.server, SERVER, "ab");
    assert_int_equal(stage_glance(stage, SERVER) & DM_READY_IN, 0);
    stage_send_all(stage, pair.client, CLIENT, "c");
    stage_await(stage, SERVER, DM_READY_IN);
    stage_expect(stage, pair.server, SERVER, "c");
    stage_pair_close(stage, &pair);
}

/* What is ready when the registration is made is reported, all bits in one event. */
static void ready_at_add(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    stage_send_all(stage, pair.client, CLIENT, "early");
    stage_await(stage, SERVER, DM_READY_IN);
    assert_int_equal(sys->ops->poll_add(sys, stage->poll_fd, pair.server, 9), -EEXIST);
    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), 0);
    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), -ENOENT);
    stage_watch(stage, pair.server, 9);
    assert_int_equal(stage_glance(stage, 9), DM_READY_IN | DM_READY_OUT);
    assert_int_equal(stage_glance(stage, 9), 0);
    stage_pair_close(stage, &pair);
}

static void deleted_is_silent(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);
    struct dm_sys *sys = stage->sys;

    assert_int_equal(sys->ops->poll_del(sys, stage->poll_fd, pair.server), 0);
    stage_glance(stage, SERVER);
    stage_send_all(stage, pair.client, CLIENT, "x");
    stage_close(stage, pair.client);
    stage_watch(stage, pair.server, 9);
    stage_await(stage, 9, DM_READY_HUP);
    assert_int_equal(stage->seen[SERVER], 0);
    stage_close(stage, pair.server);
    stage_close(stage, pair.listener);
}

/* A small batch takes turns: what did not fit comes with the next call. */
static void small_batches(struct stage *stage)
{
    enum { N = 5 };
    struct dm_addr at = stage_unix_addr(stage, "batch.sock");
    struct dm_sys *sys = stage->sys;
    int listener = sys->ops->listen(sys, &at, 16, false), fds[N];
    struct dm_ready_event event;
    bool seen[N] = {false};

    assert_true(listener >= 0);
    for (unsigned i = 0; i < N; i++) {
        fds[i] = stage_connect(stage, &at);
        stage_watch(stage, fds[i], i);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sys->ops->poll_wait(sys, stage->poll_fd, &event, 1, 0), 1);
        assert_true(event.tag < N && !seen[event.tag]);
        seen[event.tag] = true;
    }
    assert_int_equal(sys->ops->poll_wait(sys, stage->poll_fd, &event, 1, 0), 0);
    for (unsigned i = 0; i < N; i++)
        stage_close(stage, fds[i]);
    stage_close(stage, listener);
}

static size_t fill(struct stage *stage, int fd)
{
    char bytes[8192];
    size_t total = 0;

    for (;;) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)((total + i) % 251);
        ssize_t n = stage->sys->ops->send(stage->sys, fd, bytes, sizeof(bytes));
        if (n == -EAGAIN)
            return total;
        assert_true(n > 0);
        total += (size_t)n;
    }
}

static void drain(struct stage *stage, int fd, size_t want)
{
    unsigned char bytes[8192];

    for (size_t total = 0; total < want;) {
        ssize_t n = stage->sys->ops->recv(stage->sys, fd, bytes, sizeof(bytes));

        assert_true(n > 0 || n == -EAGAIN);
        if (n == -EAGAIN)
            stage_await(stage, SERVER, DM_READY_IN);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(bytes[i], (total + (size_t)i) % 251);
        total += n > 0 ? (size_t)n : 0;
    }
}

/* A sender that met EAGAIN gets an edge for OUT when the peer has drained, and the bytes arrive whole and in order. */
static void full_over(struct stage *stage, struct stage_pair *pair)
{
    for (int round = 0; round < 2; round++) {
        size_t total = fill(stage, pair->client);

        assert_true(total > 0);
        stage->seen[CLIENT] = 0;
        drain(stage, pair->server, total);
        stage_await(stage, CLIENT, DM_READY_OUT);
    }
    stage_pair_close(stage, pair);
}

static void tcp_full(struct stage *stage)
{
    struct stage_pair pair = stage_tcp_pair(stage);

    full_over(stage, &pair);
}

static void unix_full(struct stage *stage)
{
    struct stage_pair pair = stage_unix_pair(stage);

    full_over(stage, &pair);
}

/* --- clock, randomness --- */

static void clock_and_random(struct stage *stage)
{
    struct dm_sys *sys = stage->sys;
    uint8_t a[37] = {0}, b[37] = {0};
    uint64_t before = sys->ops->mono_ns(sys);

    assert_true(sys->ops->mono_ns(sys) >= before);
    assert_true(sys->ops->wall_ns(sys) > UINT64_C(1700000000) * 1000000000);
    sys->ops->random(sys, a, sizeof(a));
    sys->ops->random(sys, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

const struct scenario sys_ready_scenarios[] = {
    {"edges", edges},
    {"ready_at_add", ready_at_add},
    {"deleted_is_silent", deleted_is_silent},
    {"small_batches", small_batches},
    {"tcp_full", tcp_full},
    {"unix_full", unix_full},
    {"clock_and_random", clock_and_random},
    {0},
};
