#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/handover.h"

enum { QUEUE_BYTES = 64 << 10, MANY = 1000 };

struct taker {
    struct dm_handover handover;
    unsigned n;
    int last_fd; /* -1: none */
    size_t last_len;
    char last[DM_HANDOVER_MESSAGE_MAX];
    bool closes;
};

static struct dm_loop *loop;
static struct taker one, two;
static int fds[2];

static void on_taken(struct dm_handover *handover, struct dm_str message, int fd)
{
    struct taker *taker = DM_CONTAINER_OF(handover, struct taker, handover);

    taker->n++;
    taker->last_len = message.len;
    memcpy(taker->last, message.ptr, message.len);
    if (taker->last_fd >= 0)
        close(taker->last_fd);
    taker->last_fd = fd;
    if (taker->closes)
        dm_handover_close(handover);
}

static void open_taker(struct taker *taker)
{
    int fd = fcntl(fds[DM_HANDOVER_TAKING], F_DUPFD_CLOEXEC, 3);

    *taker = (struct taker){.last_fd = -1};
    assert_int_equal(dm_handover_open(&taker->handover, loop, fd, on_taken), 0);
}

static void close_taker(struct taker *taker)
{
    if (taker->last_fd >= 0)
        close(taker->last_fd);
    taker->last_fd = -1;
    dm_handover_close(&taker->handover);
    dm_handover_close(&taker->handover);
}

static void settle(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static int setup(void **state)
{
    loop = dm_loop_new(dm_sys_real());
    assert_int_equal(dm_handover_pair(QUEUE_BYTES, fds), 0);
    one = two = (struct taker){.last_fd = -1, .handover.watch.fd = -1};
    return 0;
}

static int teardown(void **state)
{
    close_taker(&one);
    close_taker(&two);
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    dm_loop_free(loop);
    return 0;
}

/* One end of a pair that says "hi" to whoever has it. */
static int greeting(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[0], "hi", 2), 2);
    close(pair[0]);
    return pair[1];
}

static int give(struct dm_str message)
{
    int fd = greeting(), rc = dm_handover_give(fds[DM_HANDOVER_GIVING], message, fd);

    close(fd);
    return rc;
}

static void hands_over_descriptors_with_their_messages(void **state)
{
    char bytes[8] = "";

    open_taker(&one);
    assert_int_equal(give(DM_STR("for you")), 0);
    settle();
    assert_int_equal(one.n, 1);
    assert_memory_equal(one.last, "for you", 7);
    assert_int_equal(one.last_len, 7);
    assert_int_equal(read(one.last_fd, bytes, sizeof(bytes)), 2);
    assert_memory_equal(bytes, "hi", 2);
    assert_true(fcntl(one.last_fd, F_GETFD) & FD_CLOEXEC);
    assert_false(one.handover.is_backlogged);
}

static void keeps_what_waits_for_the_next_taker(void **state)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(give(DM_STR("waits")), 0);
    open_taker(&one);
    one.closes = true;
    settle();
    assert_int_equal(one.n, 1);
    open_taker(&two);
    settle();
    assert_int_equal(two.n, 2);
}

/* Each message reaches exactly one. */
static void shares_among_takers(void **state)
{
    unsigned given = 0;

    open_taker(&one);
    open_taker(&two);
    for (int i = 0; i < 30; i++)
        given += give(DM_STR("x")) == 0;
    settle();
    assert_int_equal(given, 30);
    assert_int_equal(one.n + two.n, given);
}

static void says_when_it_is_full(void **state)
{
    unsigned given = 0;
    int rc = 0;

    while (given < MANY && (rc = give(DM_STR("x"))) == 0)
        given++;
    assert_int_equal(rc, -EAGAIN);
    assert_in_range(given, 16, QUEUE_BYTES / 256);
    open_taker(&one);
    settle();
    assert_int_equal(one.n, given);
    assert_int_equal(give(DM_STR("x")), 0);
}

static void says_when_nobody_takes_any_more(void **state)
{
    close(fds[DM_HANDOVER_TAKING]);
    fds[DM_HANDOVER_TAKING] = -1;
    assert_int_equal(give(DM_STR("x")), -EPIPE);
}

static void ends_behind_what_was_given(void **state)
{
    assert_int_equal(give(DM_STR("last")), 0);
    close(fds[DM_HANDOVER_GIVING]);
    fds[DM_HANDOVER_GIVING] = -1;
    open_taker(&one);
    settle();
    assert_int_equal(one.n, 1);
    assert_true(one.handover.has_ended);
}

static void send_raw(const char *ptr, size_t len, const int *pass, size_t n_pass)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(char *)(uintptr_t)ptr, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_pass > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n_pass * sizeof(int));
        control.align = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(n_pass * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), pass, n_pass * sizeof(int));
    }
    assert_int_equal(sendmsg(fds[DM_HANDOVER_GIVING], &msg, 0), len);
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Q3 */
static void drops_what_is_not_one_descriptor_with_a_message(void **state)
{
    static char large[DM_HANDOVER_MESSAGE_MAX + 1];
    int pass[8], before;

    open_taker(&one);
    for (size_t i = 0; i < DM_COUNT(pass); i++)
        pass[i] = greeting();
    before = count_fds();
    send_raw("none", 4, NULL, 0);
    send_raw("two", 3, pass, 2);
    send_raw("many", 4, pass, DM_COUNT(pass));
    send_raw(large, sizeof(large), pass, 1);
    settle();
    assert_int_equal(one.n, 0);
    assert_int_equal(one.handover.n_dropped, 4);
    assert_int_equal(count_fds(), before);
    send_raw("good", 4, pass, 1);
    settle();
    assert_int_equal(one.n, 1);
    for (size_t i = 0; i < DM_COUNT(pass); i++)
        close(pass[i]);
    assert_int_equal(dm_handover_give(fds[0], dm_str_n(large, sizeof(large)), fds[0]), -EMSGSIZE);
    assert_int_equal(dm_handover_give(fds[0], DM_STR(""), fds[0]), -EMSGSIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hands_over_descriptors_with_their_messages),
        TEST(keeps_what_waits_for_the_next_taker),
        TEST(shares_among_takers),
        TEST(says_when_it_is_full),
        TEST(says_when_nobody_takes_any_more),
        TEST(ends_behind_what_was_given),
        TEST(drops_what_is_not_one_descriptor_with_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
