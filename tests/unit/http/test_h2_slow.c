/* Clients of HTTP/2 that are slow: windows opened by crumbs or not at all, bodies and blocks that stop coming. Frames are written by hand. */
#include "server_h2_guard.h"

/* --- windows ------------------------------------------------------------------------------------------------------ */

static void restart_with_window(uint32_t bytes)
{
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, bytes};

    rig_connect();
    rig_settle();
    h2_renew(&entry, 1);
    h2_run();
}

static void windows_opened_by_crumbs(void **state)
{
    restart_with_window(1);
    rig.left = 100000;
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    send_request(END_STREAM | END_HEADERS);
    for (int i = 0; i < 3000 && !rig.is_ended; i++) {
        send_u32(NGHTTP2_WINDOW_UPDATE, 0, 1, 1);
        if (i % 50 == 0)
            rig_settle();
        rig_receive(SIZE_MAX);
    }
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->window_stall, 1);
    check_served();
}

static void window_update_flood(void **state)
{
    for (int i = 0; i < 5000 && !rig.is_ended; i++)
        send_u32(NGHTTP2_WINDOW_UPDATE, 0, 0, 1);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->window_stall, 1);
}

/* A response that the client opens no window for. */
static void a_window_that_stays_closed(void **state)
{
    restart_with_window(0);
    rig.left = 100000;
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    send_request(END_STREAM | END_HEADERS);
    rig_settle();
    rig_pass_ms(29000);
    check_heard("R E");
    rig_pass_ms(11000);
    check_heard("A:idle_timeout");
    assert_int_equal(counters()->slow_streams, 1);
    h2_take();
    assert_int_equal(dm_http_server_connections(rig.server), 1);
}

/* With windows wide open, nothing leaves: resets would not either. */
static void a_client_that_reads_nothing(void **state)
{
    restart_with_window(0x7fffffff);
    send_u32(NGHTTP2_WINDOW_UPDATE, 0, 0, 0x70000000);
    rig_settle();
    rig.left = 100 << 20;
    rig.script.on_request = stream_length;
    rig.script.on_writable = stream_more;
    send_request(END_STREAM | END_HEADERS);
    rig_settle();
    rig_pass_ms(29000);
    assert_false(has_heard("A:"));
    rig_pass_ms(15000);
    assert_true(has_heard("A:idle_timeout"));
    assert_int_equal(dm_http_server_connections(rig.server), 0);
    assert_int_equal(dm_http_server_stats(rig.server)->timeouts[DM_HTTP_TIMEOUT_READER], 1);
}

/* A reply that nobody fetches holds no stream for ever either. */
static void an_answer_that_is_not_fetched(void **state)
{
    restart_with_window(0);
    rig.script.on_request_end = hello_at_end;
    send_request(END_STREAM | END_HEADERS);
    rig_pass_ms(41000);
    check_heard("R E A:idle_timeout");
    assert_int_equal(counters()->slow_streams, 1);
}

/* --- slowness ----------------------------------------------------------------------------------------------------- */

static void a_body_that_stops_coming(void **state)
{
    send_request(END_HEADERS);
    send_frame(NGHTTP2_DATA, 0, 1, "abc", 3);
    rig_pass_ms(29000);
    check_heard("R B3");
    rig_pass_ms(11000);
    check_heard("F:idle_timeout A:idle_timeout");
    h2_take();
    assert_non_null(memmem(h2.seen.ptr, h2.seen.len, "H1:408", 6));
    assert_false(rig.is_ended);
}

static void allow_silence(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    dm_http_request_allow_silence(request, 600000);
}

static void a_talk_may_be_silent(void **state)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    rig.script.on_request = allow_silence;
    send_request(END_HEADERS);
    send_frame(NGHTTP2_DATA, 0, 1, "abc", 3);
    rig_pass_ms(590000);
    dm_http_request_respond(rig.request, &m); /* the other direction counts too */
    rig_pass_ms(590000);
    send_frame(NGHTTP2_DATA, 0, 1, "abc", 3);
    rig_settle();
    check_heard("R B3 B3");
    rig_pass_ms(590000);
    check_heard("");
    rig_pass_ms(20000);
    check_heard("A:idle_timeout");
    h2_take();
    assert_non_null(memmem(h2.seen.ptr, h2.seen.len, "X1:8", 4));
    assert_int_equal(counters()->slow_streams, 1);
}

/* Who does not read is none that is silent. */
static void a_talk_whose_client_does_not_read(void **state)
{
    restart_with_window(0);
    rig.left = 100000;
    rig.script.on_request = allow_silence;
    send_request(END_HEADERS);
    rig_settle();
    begin_stream(&rig, rig.request, DM_HTTP_FRAMING_CHUNKED);
    rig_pass_ms(41000);
    check_heard("R A:idle_timeout");
}

static void many_bodies_that_stop_coming(void **state)
{
    for (int i = 0; i < 5; i++)
        send_request(END_HEADERS);
    rig_pass_ms(41000);
    check_heard("R R R R R F:idle_timeout F:idle_timeout F:idle_timeout F:idle_timeout F:idle_timeout A:idle_timeout "
                "A:idle_timeout A:idle_timeout A:idle_timeout A:idle_timeout");
    h2_take();
    assert_non_null(memmem(h2.seen.ptr, h2.seen.len, "H9:408", 6));
    assert_int_equal(counters()->slow_streams, 5);
}

static void a_body_that_waits_for_the_owner(void **state)
{
    rig.script.on_body = take_nothing;
    send_request(END_HEADERS);
    send_frame(NGHTTP2_DATA, 0, 1, "abc", 3);
    rig_pass_ms(60000);
    check_heard("R B0");
    assert_false(rig.is_ended);
}

static void a_block_that_stops_coming(void **state)
{
    send_frame(HEADERS, END_STREAM, 1, "\x82", 1);
    rig_pass_ms(9900);
    assert_int_equal(dm_http_server_connections(rig.server), 1);
    rig_pass_ms(200);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->slow_streams, 1);
    assert_int_equal(counters()->malformed_frames, 0);
}

static void a_block_byte_by_byte_is_timed_from_its_first(void **state)
{
    static const char block[] = "\0\0\100\1\5\0\0\0\1\x82\x86\x84\x41";

    for (size_t i = 0; i < sizeof(block) - 1; i++) {
        rig_send_n(block + i, 1);
        rig_pass_ms(500);
    }
    for (int i = 0; i < 14 && !rig.is_ended; i++) {
        rig_receive(SIZE_MAX);
        if (!rig.is_ended)
            rig_send_n("a", 1);
        rig_pass_ms(1000);
    }
    rig_pass_ms(3000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guard_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(windows_opened_by_crumbs),          TEST(window_update_flood),
        TEST(a_window_that_stays_closed),        TEST(a_client_that_reads_nothing),
        TEST(an_answer_that_is_not_fetched),     TEST(a_body_that_stops_coming),
        TEST(many_bodies_that_stop_coming),      TEST(a_talk_may_be_silent),
        TEST(a_talk_whose_client_does_not_read), TEST(a_body_that_waits_for_the_owner),
        TEST(a_block_that_stops_coming),         TEST(a_block_byte_by_byte_is_timed_from_its_first),
    };

    return cmocka_run_group_tests_name("h2 slow", tests, NULL, NULL);
}
