/* Streams, messages and frames that are none: each ends what it is part of with the right code, and is counted. Frames are written by
 * hand. */
#include "server_h2_guard.h"

/* --- streams ------------------------------------------------------------------------------------------------------ */

static void too_many_streams(void **state)
{
    for (int i = 0; i < 129; i++)
        send_request(END_STREAM | END_HEADERS);
    h2_run();
    assert_true(rig.is_ended);
    assert_int_equal(counters()->malformed_frames, 1);
    check_served();
}

/* Before the client can know the bound, streams above it are refused. */
static void too_many_streams_at_first(void **state)
{
    rig_connect();
    rig_settle();
    nghttp2_session_del(h2.session);
    h2_new_session(true);
    dm_buf_reset(&h2.seen);
    rig_send(PREFACE);
    send_frame(NGHTTP2_SETTINGS, 0, 0, "", 0);
    for (int i = 0; i < 130; i++)
        send_request(END_STREAM | END_HEADERS);
    rig_settle();
    assert_int_equal(counters()->refused_streams, 2);
}

/* --- bodies that are none ----------------------------------------------------------------------------------------- */

static void send_post(struct dm_str length)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, "POST");
    if (length.len > 0)
        add_field(&block, DM_STR("content-length"), length);
    send_frame(HEADERS, END_HEADERS, h2.next_id, block.ptr, block.len);
    dm_buf_done(&block);
    h2.next_id += 2;
}

static void send_trailer(const char *name, uint8_t flags)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_field(&block, dm_str_of(name), DM_STR("1"));
    send_frame(HEADERS, flags, h2.next_id - 2, block.ptr, block.len);
    dm_buf_done(&block);
}

/* H2.CL: RFC 9113 section 8.1.1. The beginning may be with the owner; it is never completed. */
static void bodies_of_another_length(void **state)
{
    rig.script.on_request_end = hello_at_end;
    send_post(DM_STR("3"));
    send_frame(NGHTTP2_DATA, 0, 1, "ab", 2);
    send_frame(NGHTTP2_DATA, END_STREAM, 1, "cd", 2);
    check_seen("X1:1");
    check_heard("R B2 A:malformed");
    send_post(DM_STR("3"));
    send_frame(NGHTTP2_DATA, END_STREAM, 3, "ab", 2);
    check_seen("X3:1");
    check_heard("R B2 A:malformed");
    send_post(DM_STR("3"));
    send_frame(NGHTTP2_DATA, 0, 5, "ab", 2);
    send_trailer("x", END_STREAM | END_HEADERS);
    check_seen("X5:1");
    check_heard("R B2 A:malformed");
    send_post(DM_STR("3"));
    send_frame(NGHTTP2_DATA, END_STREAM, 7, "abc", 3);
    check_seen("H7:200 E7");
    check_heard("R B3 E D");
    assert_int_equal(counters()->malformed_messages, 3);
}

static void trailers_that_are_none(void **state)
{
    rig.script.on_request_end = hello_at_end;
    send_post(DM_STR_NULL);
    send_trailer(":path", END_STREAM | END_HEADERS);
    check_seen("X1:1");
    send_post(DM_STR_NULL);
    send_trailer("X", END_STREAM | END_HEADERS);
    check_seen("X3:1");
    send_post(DM_STR_NULL);
    send_trailer("x", END_HEADERS);
    check_seen("X5:1");
    dm_buf_reset(&rig.heard);
    send_post(DM_STR_NULL);
    send_trailer("content-length", END_STREAM | END_HEADERS);
    check_seen("H7:400 E7");
    check_heard("R F:bad_trailer A:malformed");
    send_post(DM_STR_NULL);
    send_trailer("x", END_STREAM | END_HEADERS);
    check_seen("H9:200 E9");
    check_heard("R E D");
}

static void data_behind_the_end(void **state)
{
    send_request(END_STREAM | END_HEADERS);
    send_frame(NGHTTP2_DATA, 0, 1, "x", 1);
    h2_run();
    assert_true(h2.seen.len > 0 && h2.seen.ptr[0] != 'H');
    assert_true(has_heard("A:malformed"));
}

static void empty_continuations(void **state)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, "GET");
    for (int i = 0; i < 40 && !rig.is_ended; i++, h2.next_id += 2) {
        send_frame(HEADERS, END_STREAM, h2.next_id, block.ptr, block.len);
        for (int j = 0; j < 6; j++)
            send_frame(NGHTTP2_CONTINUATION, 0, h2.next_id, "", 0);
        send_frame(NGHTTP2_CONTINUATION, END_HEADERS, h2.next_id, "", 0);
    }
    dm_buf_done(&block);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->empty_frames, 1);
}

/* --- malformed frames --------------------------------------------------------------------------------------------- */

static void malformed_frames(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *payload;
        size_t len;
    } cases[] = {
        {NGHTTP2_DATA, 0, 0, "x", 1},                          /* on no stream */
        {NGHTTP2_DATA, 0, 5, "x", 1},                          /* on one that is idle */
        {NGHTTP2_HEADERS, 5, 2, "\x82", 1},                    /* even */
        {NGHTTP2_HEADERS, 5, 0, "\x82", 1},                    /**/
        {NGHTTP2_HEADERS, 5, 1, "\xff\xff\xff\xff\xff", 5},    /* HPACK */
        {NGHTTP2_HEADERS, 5, 1, "\xbf", 1},                    /* outside the table */
        {NGHTTP2_HEADERS, 13, 1, "\x7f\x82", 2},               /* padding longer than the frame */
        {NGHTTP2_SETTINGS, 0, 1, "", 0},                       /**/
        {NGHTTP2_SETTINGS, 0, 0, "abc", 3},                    /**/
        {NGHTTP2_SETTINGS, 1, 0, "abcdef", 6},                 /* ACK with a payload */
        {NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6},   /* window above 2^31-1 */
        {NGHTTP2_SETTINGS, 0, 0, "\0\5\0\0\0\1", 6},           /* frame size below 16384 */
        {NGHTTP2_PING, 0, 1, "12345678", 8},                   /**/
        {NGHTTP2_PING, 0, 0, "1234567", 7},                    /**/
        {NGHTTP2_GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0", 8},         /**/
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4},          /* by 0 */
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4},  /* beyond 2^31-1 */
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0", 3},            /**/
        {NGHTTP2_HEADERS, 37, 1, "\0\0\0\1\1\x82\x86\x84", 8}, /* on itself */
        {NGHTTP2_WINDOW_UPDATE, 0, 7, "\0\0\0\1", 4},          /* idle */
        {NGHTTP2_RST_STREAM, 0, 7, "\0\0\0\0", 4},             /* idle */
        {NGHTTP2_RST_STREAM, 0, 0, "\0\0\0\0", 4},             /**/
        {NGHTTP2_PUSH_PROMISE, 4, 1, "\0\0\0\2\x82", 5},       /* from a client */
        {NGHTTP2_CONTINUATION, 4, 1, "\x82", 1},               /* of nothing */
        {NGHTTP2_PRIORITY, 0, 0, "\0\0\0\0\1", 5},             /**/
        {NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0", 4},               /**/
        {NGHTTP2_PRIORITY, 0, 1, "\0\0\0\1\1", 5},             /* on itself */
    };
    uint64_t n = 0;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        h2_reconnect();
        dm_buf_reset(&h2.seen);
        send_frame(cases[i].type, cases[i].flags, cases[i].id, cases[i].payload, cases[i].len);
        h2_run();
        if (!rig.is_ended || h2.seen.len == 0 || h2.seen.ptr[0] != 'G' || counters()->malformed_frames != ++n)
            fail_msg("case %zu: %.*s, %ju counted", i, (int)h2.seen.len, h2.seen.ptr,
                     (uintmax_t)counters()->malformed_frames);
    }
    check_served();
}

static void a_bad_preface(void **state)
{
    rig_connect();
    rig_settle();
    rig_send(PREFACE "GET / HTTP/1.1\r\n\r\n");
    rig_settle();
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended);
    assert_int_equal(counters()->malformed_frames, 1);
    check_heard("");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guard_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(too_many_streams),         TEST(too_many_streams_at_first),
        TEST(bodies_of_another_length), TEST(trailers_that_are_none),
        TEST(data_behind_the_end),      TEST(empty_continuations),
        TEST(malformed_frames),         TEST(a_bad_preface),
    };

    return cmocka_run_group_tests_name("h2 malformed", tests, NULL, NULL);
}
