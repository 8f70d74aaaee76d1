#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/channel.h"
#include "io/listener.h"

struct end {
    struct dm_channel channel;
    unsigned n_messages, n_closed, n_fds;
    uint32_t last_type;
    uint64_t sum; /* of all payload bytes */
    size_t last_len, n_bytes;
    char last[64];
    int last_fd, code;
    bool closes;
};

static struct dm_loop *loop;
static struct end a, b;

static void on_message(struct dm_channel *channel, uint32_t type, struct dm_str payload, int fd)
{
    struct end *end = DM_CONTAINER_OF(channel, struct end, channel);

    assert_int_equal(end->n_closed, 0);
    end->n_messages++;
    end->last_type = type;
    end->last_len = payload.len;
    end->n_bytes += payload.len;
    memcpy(end->last, payload.ptr, DM_MIN(payload.len, sizeof(end->last)));
    for (size_t i = 0; i < payload.len; i++)
        end->sum += (uint8_t)payload.ptr[i];
    if (fd >= 0) {
        end->n_fds++;
        if (end->last_fd >= 0)
            close(end->last_fd);
        end->last_fd = fd;
    }
    if (end->closes)
        dm_channel_close(channel);
}

static void on_closed(struct dm_channel *channel, int code)
{
    struct end *end = DM_CONTAINER_OF(channel, struct end, channel);

    end->n_closed++;
    end->code = code;
}

static void open_end(struct end *end, int fd, size_t queue_max)
{
    *end = (struct end){.channel = {.on_message = on_message, .on_closed = on_closed}, .last_fd = -1};
    assert_int_equal(dm_channel_open(&end->channel, loop, fd, queue_max), 0);
}

static int setup(void **state)
{
    int fds[2];

    loop = dm_loop_new(dm_sys_real());
    assert_int_equal(dm_channel_pair(fds), 0);
    open_end(&a, fds[0], 1 << 20);
    open_end(&b, fds[1], 0);
    return 0;
}

static void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static int teardown(void **state)
{
    dm_channel_close(&a.channel);
    dm_channel_close(&b.channel);
    turn_until_quiet();
    assert_int_equal(a.n_closed, 1);
    assert_int_equal(b.n_closed, 1);
    if (b.last_fd >= 0)
        close(b.last_fd);
    dm_loop_free(loop);
    return 0;
}

static void messages_arrive_whole_and_in_order(void **state)
{
    assert_int_equal(dm_channel_send(&a.channel, 7, DM_STR("first"), -1), 0);
    turn_until_quiet();
    assert_int_equal(b.last_type, 7);
    assert_int_equal(b.last_len, 5);
    assert_memory_equal(b.last, "first", 5);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(dm_channel_send(&a.channel, 8, dm_str_n(text, (size_t)n), -1), 0);
        assert_int_equal(dm_channel_send(&b.channel, 9, DM_STR_NULL, -1), 0);
    }
    turn_until_quiet();
    assert_int_equal(b.n_messages, 1001);
    assert_memory_equal(b.last, "999", 3);
    assert_int_equal(a.n_messages, 1000);
    assert_int_equal(a.last_len, 0);
    assert_null(b.channel.in);
}

static void a_large_message_and_the_limits(void **state)
{
    size_t len = DM_CHANNEL_MESSAGE_MAX;
    char *big = dm_alloc(len + 1);

    memset(big, 1, len + 1);
    assert_int_equal(dm_channel_send(&b.channel, 1, dm_str_n(big, len), -1), 0);
    assert_int_equal(dm_channel_send(&b.channel, 2, dm_str_n(big, len + 1), -1), DM_EBUDGET);
    while (a.n_messages == 0)
        assert_true(dm_loop_turn(loop, 5000) > 0);
    assert_int_equal(a.last_len, len);
    assert_int_equal(a.sum, len);
    dm_free(big);
}

static void a_full_queue_refuses(void **state)
{
    char *piece = dm_calloc(1, 100000);
    unsigned n = 0;
    int rc;

    while ((rc = dm_channel_send(&a.channel, 1, dm_str_n(piece, 100000), -1)) == 0)
        n++;
    assert_int_equal(rc, DM_EBUDGET);
    assert_true(n >= 10);
    assert_true(a.channel.queued_bytes <= 1 << 20);
    turn_until_quiet();
    assert_int_equal(b.n_messages, n);
    assert_int_equal(a.channel.queued_bytes, 0);
    assert_int_equal(dm_channel_send(&a.channel, 1, DM_STR("again"), -1), 0);
    turn_until_quiet();
    assert_int_equal(b.n_messages, n + 1);
    dm_free(piece);
}

/* Descriptors among other messages, the socket full in between: each arrives with its own message. */
static void descriptors_arrive_with_their_message(void **state)
{
    char *piece = dm_calloc(1, 50000), text[32];
    struct stat sent, got;
    int fds[2];

    for (int i = 0; i < 12; i++) {
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(fstat(fds[0], &sent), 0);
        assert_int_equal(dm_channel_send(&a.channel, 1, dm_str_n(piece, 50000), -1), 0);
        assert_int_equal(dm_channel_send(&a.channel, 2, dm_str_n(piece, 20000), fds[0]), 0);
        assert_int_equal(dm_channel_send(&a.channel, 3, DM_STR("x"), fds[0]), 0);
        assert_int_equal(close(fds[0]), 0);
        turn_until_quiet();
        assert_int_equal(b.n_messages, 3 * (i + 1));
        assert_int_equal(b.n_fds, 2 * (i + 1));
        assert_int_equal(fstat(b.last_fd, &got), 0);
        assert_int_equal(got.st_ino, sent.st_ino);
        assert_int_equal(write(fds[1], "through", 7), 7);
        assert_int_equal(read(b.last_fd, text, sizeof(text)), 7);
        assert_true(fcntl(b.last_fd, F_GETFD) & FD_CLOEXEC);
        close(fds[1]);
    }
    dm_free(piece);
}

static void many_queued_descriptors_stay_in_order(void **state)
{
    char *piece = dm_calloc(1, 30000);
    struct stat sent, got;
    int fds[2];

    for (int i = 0; i < 30; i++) {
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(fstat(fds[0], &sent), 0);
        assert_int_equal(dm_channel_send(&a.channel, 2, dm_str_n(piece, 30000), fds[0]), 0);
        close(fds[0]);
        close(fds[1]);
    }
    turn_until_quiet();
    assert_int_equal(b.n_fds, 30);
    assert_int_equal(fstat(b.last_fd, &got), 0);
    assert_int_equal(got.st_ino, sent.st_ino);
    dm_free(piece);
}

static void the_end_of_the_peer_is_told_after_its_messages(void **state)
{
    assert_int_equal(dm_channel_send(&a.channel, 1, DM_STR("last"), -1), 0);
    dm_channel_close(&a.channel);
    assert_int_equal(dm_channel_send(&a.channel, 1, DM_STR("too late"), -1), DM_ECLOSED);
    turn_until_quiet();
    assert_int_equal(b.n_messages, 1);
    assert_int_equal(b.code, DM_ECLOSED);
    assert_int_equal(a.code, 0);
}

static void closing_in_on_message_ends_it(void **state)
{
    b.closes = true;
    assert_int_equal(dm_channel_send(&a.channel, 1, DM_STR("one"), -1), 0);
    assert_int_equal(dm_channel_send(&a.channel, 1, DM_STR("two"), -1), 0);
    turn_until_quiet();
    assert_int_equal(b.n_messages, 1);
    assert_int_equal(b.code, 0);
    assert_int_equal(a.code, DM_ECLOSED);
}

static void garbage_closes(void **state)
{
    uint32_t too_long[2] = {DM_CHANNEL_MESSAGE_MAX + 1, 1}, no_fd[2] = {0, 1 | UINT32_C(1) << 31};
    int fds[2];

    dm_channel_close(&b.channel);
    turn_until_quiet();
    assert_int_equal(dm_channel_pair(fds), 0);
    open_end(&b, fds[1], 0);
    assert_int_equal(send(fds[0], too_long, sizeof(too_long), 0), sizeof(too_long));
    turn_until_quiet();
    assert_int_equal(b.code, DM_ECORRUPT);
    close(fds[0]);

    assert_int_equal(dm_channel_pair(fds), 0);
    open_end(&b, fds[1], 0);
    assert_int_equal(send(fds[0], no_fd, sizeof(no_fd), 0), sizeof(no_fd));
    turn_until_quiet();
    assert_int_equal(b.code, DM_ECORRUPT);
    assert_int_equal(b.n_messages, 0);
    close(fds[0]);
}

static struct end served;

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    open_end(&served, fd, 0);
}

static void a_named_socket(void **state)
{
    char dir[] = "/tmp/dm-channel-XXXXXX", text[64];
    struct dm_peer_cred cred;
    struct dm_listener listener;
    struct end client = {.channel = {.on_message = on_message, .on_closed = on_closed}, .last_fd = -1};
    struct dm_addr addr;

    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof(text), "unix:%s/keeper.sock", dir);
    assert_int_equal(dm_addr_parse(dm_str_of(text), &addr, NULL), 0);
    assert_int_equal(dm_channel_connect(&client.channel, loop, &addr, 0), -ENOENT);
    assert_int_equal(dm_listener_open(&listener, loop, &addr, 8, false, on_accept, NULL), 0);
    assert_int_equal(dm_channel_connect(&client.channel, loop, &addr, 0), 0);
    assert_int_equal(dm_channel_send(&client.channel, 5, DM_STR("worker 0"), -1), 0);
    turn_until_quiet();
    assert_int_equal(served.last_type, 5);
    assert_memory_equal(served.last, "worker 0", 8);
    assert_int_equal(dm_channel_peer(&served.channel, &cred), 0);
    assert_int_equal(cred.pid, getpid());
    assert_int_equal(cred.uid, getuid());
    dm_channel_close(&client.channel);
    turn_until_quiet();
    assert_int_equal(served.code, DM_ECLOSED);
    dm_listener_close(&listener);
    unlink(text + 5);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(messages_arrive_whole_and_in_order),
        TEST(a_large_message_and_the_limits),
        TEST(a_full_queue_refuses),
        TEST(descriptors_arrive_with_their_message),
        TEST(many_queued_descriptors_stay_in_order),
        TEST(the_end_of_the_peer_is_told_after_its_messages),
        TEST(closing_in_on_message_ends_it),
        TEST(garbage_closes),
        TEST(a_named_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
