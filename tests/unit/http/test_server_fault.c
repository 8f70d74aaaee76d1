/* Each system call of a server fails in its turn: everything that began ends, and the connections with it. */
#include "server_h2_rig.h"

static void any_system_call_may_fail_behind_a_proxy_header(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        rig_teardown(state);
        rig_setup_narrow(state);
        rig.is_proxied = true;
        rig.script.on_request = hello_at_once;
        rig_connect();
        dm_world_fail_nth(rig.sys, n, EIO);
        for (const char *p = "PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n" GET; *p; p += 9) {
            rig.client->ops->send(rig.client, rig.fd, p, strnlen(p, 9));
            rig_pass_ms(10);
            if (strlen(p) < 9)
                break;
        }
        rig_receive(1000);
        is_reached = dm_world_fail_reached(rig.sys);
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        assert_true(all_requests_ended());
    }
    assert_true(n > 5);
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        rig_teardown(state);
        rig_setup_narrow(state);
        rig.script.on_request_end = hello_at_end;
        dm_world_fail_nth(rig.sys, n, EIO);
        rig_send(GET "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
        for (int i = 0; i < 5; i++) {
            char block[10000] = {0};
            rig.client->ops->send(rig.client, rig.fd, block, sizeof(block));
            rig_pass_ms(100);
        }
        rig.script.on_request_end = NULL;
        rig.script.on_request = stream_chunked;
        rig.script.on_writable = stream_more;
        rig.left = 100000;
        rig.client->ops->send(rig.client, rig.fd, "GET / HTTP/1.0\r\n\r\n", 18);
        for (int i = 0; i < 30; i++) {
            rig_receive(10000);
            rig_pass_ms(1000);
        }
        is_reached = dm_world_fail_reached(rig.sys);
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        assert_true(all_requests_ended());
    }
    assert_true(n > 15);
}

/* Each in its turn: everything that began ends, and the connection with it. */
static void every_call_fails_once(void **state)
{
    static char block[5000];
    bool is_reached = true;
    uint64_t n = 1;

    for (; is_reached; n++) {
        h2_teardown(state);
        h2_setup(state);
        dm_world_fail_nth(rig.sys, n, EIO);
        rig.script.on_request_end = hello_at_end;
        h2_get();
        h2_post(block, sizeof(block));
        h2_run();
        rig.left = 100000;
        rig.script.on_request = stream_chunked;
        rig.script.on_writable = stream_more;
        rig.script.on_request_end = NULL;
        if (!rig.is_ended)
            h2_get();
        h2_run();
        is_reached = dm_world_fail_reached(rig.sys);
        rig.client->ops->close(rig.client, rig.fd);
        rig.fd = -1;
        rig_pass_ms(200000);
        assert_int_equal(dm_http_server_connections(rig.server), 0);
        assert_true(all_requests_ended());
    }
    assert_true(n > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup_narrow, rig_teardown)
#define TEST_H2(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_system_call_may_fail),
        TEST(any_system_call_may_fail_behind_a_proxy_header),
        TEST_H2(every_call_fails_once),
    };

    return cmocka_run_group_tests_name("http server fault", tests, NULL, NULL);
}
