/* Clients that do not read, or slowly: what is queued for them is bounded, and so is their time. */
#include "server_rig.h"

static size_t in_flight(void)
{
    return rig.request ? (size_t)dm_http_request_bytes_out(rig.request) : 0;
}

static void a_client_that_stops_reading_is_bounded_and_ends(void **state)
{
    static void (*const streams[])(struct rig *, struct dm_http_request *, struct dm_http_head *) = {stream_length,
                                                                                                     stream_chunked};

    for (size_t i = 0; i < DM_COUNT(streams); i++) {
        rig_connect();
        rig.script.on_request = streams[i];
        rig.script.on_writable = stream_more;
        rig.left = 10000000;
        rig_send(GET);
        rig_pass_ms(25000);
        assert_true(rig_is_open());
        assert_in_range(in_flight(), 60000, 60000 + 20000 + 20000 + 17000);
        rig_pass_ms(20000);
        assert_false(rig_is_open());
        check_heard("R E A:idle_timeout");
    }
}

static void a_client_that_reads_slowly_is_served(void **state)
{
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 400000;
    rig_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    while (!rig.is_ended) {
        rig_receive(4000);
        rig_pass_ms(5000);
    }
    assert_false(rig.is_reset);
    assert_int_equal(rig.got.len,
                     strlen("HTTP/1.1 200 OK\r\nContent-Length: 400000\r\nConnection: close\r\n\r\n") + 400000);
}

static void a_client_below_the_rate_is_cut(void **state)
{
    rig.settings.body_rate_bytes = 5000;
    rig_renew_server();
    rig_connect();
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    rig.left = 400000;
    rig_send(GET);
    for (int i = 0; i < 12 && !rig.is_ended; i++) {
        rig_receive(2000);
        rig_pass_ms(5000);
    }
    assert_false(rig_is_open());
    assert_true(has_heard("A:body_too_slow"));
}

/* The last answers are sent as long as the client reads, and no longer. */
static void a_last_answer_waits_for_its_reader(void **state)
{
    char *body = dm_calloc(1, 300000);
    struct dm_http_message m = {.status = 200, .is_closing = true};

    for (int stops = 0; stops < 2; stops++) {
        rig_connect();
        rig_send(GET);
        rig_pass_ms(10);
        dm_http_request_reply(rig.request, &m, dm_str_n(body, 300000));
        check_heard("R E D");
        for (int i = 0; i < 20; i++) {
            rig_pass_ms(3000);
            rig_receive(5000);
        }
        assert_true(rig_is_open());
        if (!stops) {
            while (!rig.is_ended) {
                rig_receive(20000);
                rig_pass_ms(3000);
            }
            assert_int_equal(rig.got.len,
                             300000 + strlen("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nConnection: close\r\n\r\n"));
            rig.client->ops->close(rig.client, rig.fd);
            rig.fd = -1;
            rig_pass_ms(5000);
        } else {
            rig_pass_ms(50000);
        }
        assert_false(rig_is_open());
    }
    dm_free(body);
}

/* A kept connection whose response is not read yet. */
static void an_answer_between_requests_waits_for_its_reader(void **state)
{
    char *body = dm_calloc(1, 300000);
    struct dm_http_message m = {.status = 200};

    rig_send(GET);
    rig_pass_ms(10);
    dm_http_request_reply(rig.request, &m, dm_str_n(body, 300000));
    for (int i = 0; i < 30; i++) {
        rig_pass_ms(15000);
        rig_receive(9000);
    }
    assert_true(rig_is_open());
    rig_read(300000);
    rig_pass_ms(5000);
    assert_true(rig_is_open());
    dm_buf_reset(&rig.got);
    rig.script.on_request = hello_at_once;
    rig_send(GET);
    rig_read(strlen(HELLO));
    dm_free(body);
}

static void reply_large(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char body[50000];
    struct dm_http_message m = {.status = 200};

    memset(body, 'l', sizeof(body));
    dm_http_request_reply(request, &m, dm_str_n(body, sizeof(body)));
}

#define LARGE_LEN (strlen("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n") + 50000)

static void pipelining_without_reading_is_bounded(void **state)
{
    unsigned n = 0;

    rig.script.on_request = reply_large;
    for (int i = 0; i < 40; i++)
        rig_send(GET);
    rig_pass_ms(1000);
    for (size_t i = 0; i < rig.heard.len; i++)
        n += rig.heard.ptr[i] == 'R';
    assert_in_range(n, 2, 4);
    rig_read(40 * LARGE_LEN);
    for (size_t i = 0; i < 40; i++)
        assert_memory_equal(rig.got.ptr + i * LARGE_LEN, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nlll", 44);
    assert_int_equal(rig.got.len, 40 * LARGE_LEN);
}

static void a_pipelining_client_that_stops_reading_ends(void **state)
{
    rig.script.on_request = reply_large;
    for (int i = 0; i < 40; i++)
        rig_send(GET);
    rig_pass_ms(41000);
    assert_false(rig_is_open());
    assert_ptr_equal(rig.request, NULL);
}

static size_t body_len;

static void reply_as_long(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char body[90000];
    struct dm_http_message m = {.status = 200};

    memset(body, 'l', sizeof(body));
    dm_http_request_reply(request, &m, dm_str_n(body, body_len));
}

/* The head of a reply takes the last room of the queue, or nearly. */
static void a_reply_is_never_half_queued(void **state)
{
    rig.script.on_request = reply_as_long;
    for (body_len = 79800; body_len < 80100; body_len += 10) {
        rig_connect();
        rig_pass_ms(2);
        rig_send(GET GET);
        rig_pass_ms(2);
        rig_read(2 * (body_len + strlen("HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n")));
        assert_false(rig.is_ended);
        check_done();
    }
}

static void inform_and_fail_to_read(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    static char field[9000];
    struct dm_http_message m = {.status = 200};

    memset(field, 'f', sizeof(field));
    memcpy(field, "X: ", 3);
    memcpy(field + sizeof(field) - 2, "\r\n", 2);
    for (int i = 0; i < 100; i++)
        dm_http_request_inform(request, 103, dm_str_n(field, sizeof(field)));
    dm_http_request_reply(request, &m, DM_STR("hello"));
}

static void interim_responses_leave_room_for_the_last(void **state)
{
    rig.script.on_request = inform_and_fail_to_read;
    rig_send(GET);
    rig_pass_ms(100);
    rig_read(50000);
    rig_pass_ms(100);
    rig_receive(SIZE_MAX);
    assert_true(rig.got.len < 100 * 9000);
    assert_memory_equal(rig.got.ptr + rig.got.len - strlen(HELLO), HELLO, strlen(HELLO));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup_narrow, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_that_stops_reading_is_bounded_and_ends),
        TEST(a_client_that_reads_slowly_is_served),
        TEST(a_client_below_the_rate_is_cut),
        TEST(a_last_answer_waits_for_its_reader),
        TEST(an_answer_between_requests_waits_for_its_reader),
        TEST(pipelining_without_reading_is_bounded),
        TEST(a_pipelining_client_that_stops_reading_ends),
        TEST(a_reply_is_never_half_queued),
        TEST(interim_responses_leave_room_for_the_last),
    };

    return cmocka_run_group_tests_name("http server reader", tests, NULL, NULL);
}
