/* A server whose connections begin with a PROXY header. */
#include "server_rig.h"

static void reply_peer(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200};
    char text[DM_ADDR_TEXT_MAX];
    struct dm_addr peer;

    dm_http_request_peer(request, &peer);
    dm_addr_format(&peer, false, text);
    dm_http_request_reply(request, &m, dm_str_of(text));
}

static void connect_proxied(void)
{
    rig.is_proxied = true;
    rig.script.on_request = reply_peer;
    rig_connect();
}

static void a_proxy_header_names_the_peer(void **state)
{
    static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x02\x30\x39\x01\xbb" GET;

    connect_proxied();
    rig_send("PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n" GET);
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n192.0.2.7");
    assert_int_equal(rig.bytes_in, strlen(GET));
    rig_send(GET);
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n192.0.2.7");
    connect_proxied();
    for (size_t i = 0; i < sizeof(v2) - 1; i++) {
        rig_send_n(v2 + i, 1);
        rig_settle();
    }
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n192.0.2.7");
    connect_proxied();
    rig_send("PROXY UNKNOWN\r\n" GET);
    check_got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n127.0.0.1");
}

static void check_refused_header(const char *bytes, bool is_ended, uint64_t n)
{
    connect_proxied();
    rig_send(bytes);
    rig_settle();
    if (is_ended)
        rig.client->ops->shutdown_write(rig.client, rig.fd);
    rig_read_all();
    assert_int_equal(rig.got.len, 0);
    check_heard("");
    assert_int_equal(dm_http_server_stats(rig.server)->refused[DM_HTTP_REFUSED_PROXY_PROTOCOL], n);
}

static void without_a_proxy_header_it_is_closed(void **state)
{
    check_refused_header(GET, false, 1);
    check_refused_header("PROXY TCP4 192.0.2.7 198.51.100.2 12345 65536\r\n" GET, false, 2);
    check_refused_header("PROXY TCP4 192.0.2.7", true, 3);
    check_refused_header("", true, 3);
    rig.is_proxied = false;
    rig_connect();
    rig_send("PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n" GET);
    rig_read_all();
    assert_true(has_got("HTTP/1.1 400"));
    check_heard("F:bad_version");
    assert_int_equal(dm_http_server_stats(rig.server)->faults[DM_HTTP_BAD_VERSION], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_proxy_header_names_the_peer),
        BOTH(without_a_proxy_header_it_is_closed),
    };

    return cmocka_run_group_tests_name("http server proxied", tests, NULL, NULL);
}
