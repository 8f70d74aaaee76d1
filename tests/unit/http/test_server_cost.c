/* What a server costs, on the kernel, where the only allocations are ours. */
#include "server_rig.h"

#define POST "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"

static void say_hello(const char *request)
{
    rig_send(request);
    rig_read(strlen(HELLO));
    assert_int_equal(rig.got.len, strlen(HELLO));
    dm_buf_reset(&rig.got);
    dm_buf_reset(&rig.heard);
    dm_buf_reset(&rig.body);
}

#ifndef DM_DEBUG_ALLOC
static void steady_state_allocates_nothing(void **state)
{
    uint64_t before = 0;

    rig.script.on_request_end = hello_at_end;
    for (int i = 0; i < 200; i++) {
        if (i == 100)
            before = dm_mem_calls();
        say_hello(i % 2 ? GET : POST);
    }
    assert_int_equal(dm_mem_calls(), before);
}

static void an_idle_connection_is_one_object(void **state)
{
    enum { N = 20 };
    int fds[N];
    uint64_t before;

    rig.script.on_request_end = hello_at_end;
    say_hello(GET);
    before = dm_mem_calls();
    for (int i = 0; i < N; i++) {
        fds[i] = rig.fd;
        rig.fd = -1;
        rig_connect();
        rig_send("GET / HT");
        rig_settle();
        say_hello("TP/1.1\r\nHost: a\r\n\r\n");
    }
    assert_int_equal(dm_http_server_connections(rig.server), N + 1);
    assert_int_equal(dm_mem_calls() - before, N + 1); /* and one buffer, which all of them used in turn */
    for (int i = 0; i < N; i++)
        rig.client->ops->close(rig.client, fds[i]);
}
#endif

static struct {
    unsigned n_recv, n_send;
} calls;

static ssize_t counted_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    calls.n_recv++;
    return dm_sys_real()->ops->recv(dm_sys_real(), fd, ret, len);
}

static ssize_t counted_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    calls.n_send++;
    return dm_sys_real()->ops->send(dm_sys_real(), fd, ptr, len);
}

static void one_recv_and_one_send_each(void **state)
{
    static struct dm_sys_ops ops;
    struct dm_sys counted = {&ops};

    rig_teardown(state);
    ops = *dm_sys_real()->ops;
    ops.recv = counted_recv;
    ops.send = counted_send;
    rig_clear();
    rig_start_on(NULL, &counted, dm_sys_real());
    rig.script.on_request_end = hello_at_end;
    say_hello(GET);
    memset(&calls, 0, sizeof(calls));
    for (int i = 0; i < 50; i++)
        say_hello(i % 2 ? GET : POST);
    assert_int_equal(calls.n_recv, 50);
    assert_int_equal(calls.n_send, 50);
    rig_send(GET GET GET);
    rig_read(3 * strlen(HELLO));
    assert_int_equal(calls.n_recv, 51);
    assert_int_equal(calls.n_send, 51);
    rig_stop();
    rig_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef DM_DEBUG_ALLOC
        KERNEL(steady_state_allocates_nothing),
        KERNEL(an_idle_connection_is_one_object),
#endif
        KERNEL(one_recv_and_one_send_each),
    };

    return cmocka_run_group_tests_name("http server cost", tests, NULL, NULL);
}
