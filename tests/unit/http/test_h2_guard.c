/* What a client may not do to an HTTP/2 connection: each abuse ends it with GOAWAY, is counted under its name, and aborts what is
 * in hand; a busy client that is none of these is left alone. Frames are written by hand. */
#include "server_h2_guard.h"

/* --- floods ------------------------------------------------------------------------------------------------------- */

static void rapid_reset(void **state)
{
    for (int i = 0; i < 300 && !rig.is_ended; i++) {
        uint32_t id = send_request(END_STREAM | END_HEADERS);
        send_u32(NGHTTP2_RST_STREAM, 0, id, NGHTTP2_CANCEL);
    }
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->rapid_reset, 1);
    check_served();
}

static void cancel(uint32_t id)
{
    send_u32(NGHTTP2_RST_STREAM, 0, id, NGHTTP2_CANCEL);
}

/* Q9. The owner hears of the request between them alone; the others are counted all the same. */
static void requests_that_are_reset_at_once(void **state)
{
    uint32_t id;

    rig.script.on_request_end = hello_at_end;
    cancel(send_request(END_STREAM | END_HEADERS));
    id = send_request(END_HEADERS); /* with a body, and with trailers */
    send_frame(NGHTTP2_DATA, 0, id, "hello", 5);
    send_frame(HEADERS, END_STREAM | END_HEADERS, id, "", 0);
    send_request(END_STREAM | END_HEADERS);
    cancel(id);
    rig_settle();
    h2_take();
    check_heard("R E D");
    check_text(&h2.seen, "H5:200 E5", __FILE__, __LINE__);
    assert_int_equal(counters()->cancelled_streams, 2);
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        cancel(send_request(END_STREAM | END_HEADERS));
    check_ended_with(ENHANCE_YOUR_CALM);
    check_heard("");
    assert_int_equal(counters()->rapid_reset, 1);
}

/* As many as may be open, which are more than are read at a time, however far their numbers lie apart. */
static void requests_that_are_reset_behind_one_another(void **state)
{
    uint32_t ids[100];

    for (size_t i = 0; i < DM_COUNT(ids); i++) {
        ids[i] = send_request(END_STREAM | END_HEADERS);
        h2.next_id += 1000;
    }
    for (size_t i = DM_COUNT(ids); i > 0; i--)
        cancel(ids[i - 1]);
    rig_settle();
    check_heard("");
    assert_int_equal(counters()->cancelled_streams, DM_COUNT(ids));
    assert_true(rig_is_open());
}

/* A block that is under way when the read ends, in pieces, and padded. */
static void requests_in_pieces_that_are_reset(void **state)
{
    struct dm_buf block, out;

    dm_buf_init(&block, 4096);
    dm_buf_init(&out, 4096);
    add_request(&block, "GET");
    add_frame(&out, HEADERS, END_STREAM, 1, block.ptr, block.len - 10);
    h2.is_manual = true;
    rig_send_n(out.ptr, out.len);
    rig_settle();
    send_frame(NGHTTP2_CONTINUATION, END_HEADERS, 1, block.ptr + block.len - 10, 10);
    cancel(1);
    dm_buf_reset(&out);
    dm_buf_add_char(&out, 7);
    dm_buf_add_n(&out, block.ptr, block.len);
    dm_buf_add_n(&out, "\0\0\0\0\0\0\0", 7);
    send_frame(HEADERS, END_STREAM | END_HEADERS | NGHTTP2_FLAG_PADDED, 3, out.ptr, out.len);
    cancel(3);
    rig_settle();
    check_heard("");
    assert_int_equal(counters()->cancelled_streams, 2);
    dm_buf_done(&block);
    dm_buf_done(&out);
}

/* A reset that is not whole may never be. */
static void a_reset_that_is_not_whole(void **state)
{
    struct dm_buf out;
    uint32_t id = send_request(END_STREAM | END_HEADERS);

    dm_buf_init(&out, 100);
    add_frame(&out, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\x08", 4);
    rig_send_n(out.ptr, out.len - 1);
    rig_settle();
    check_heard("R E");
    rig_send_n(out.ptr + out.len - 1, 1);
    rig_settle();
    check_heard("A:cancelled");
    assert_int_equal(counters()->cancelled_streams, 0);
    dm_buf_done(&out);
}

/* A client that cancels now and then, and lets most of its requests go through, is none. */
static void cancels_among_requests(void **state)
{
    rig.script.on_request_end = hello_at_end;
    for (int i = 0; i < 1000; i++) {
        send_request(END_STREAM | END_HEADERS);
        rig_settle();
        h2_take();
        if (i % 2 == 0) {
            rig.script.on_request_end = NULL;
            send_u32(NGHTTP2_RST_STREAM, 0, send_request(END_STREAM | END_HEADERS), NGHTTP2_CANCEL);
            rig_settle();
            rig.script.on_request_end = hello_at_end;
        }
    }
    h2_take();
    assert_false(rig.is_ended);
    assert_int_equal(counters()->rapid_reset, 0);
}

static void respond_without_end(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message m = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    dm_http_request_respond(request, &m);
}

/* A stream of messages has no other end than the client's. */
static void cancels_of_what_is_being_answered(void **state)
{
    rig.script.on_request = respond_without_end;
    for (int i = 0; i < 1000; i++) {
        uint32_t id = send_request(END_STREAM | END_HEADERS);
        rig_settle();
        send_u32(NGHTTP2_RST_STREAM, 0, id, NGHTTP2_CANCEL);
        h2_take();
    }
    rig_settle();
    h2_take();
    assert_false(rig.is_ended);
    assert_int_equal(counters()->rapid_reset, 0);
}

/* A client whose deadlines pass while the owner has no answer. */
static void cancels_of_what_waited_in_vain(void **state)
{
    for (int i = 0; i < 20; i++) {
        uint32_t ids[50];
        for (size_t j = 0; j < DM_COUNT(ids); j++)
            ids[j] = send_request(END_STREAM | END_HEADERS);
        rig_pass_ms(260);
        for (size_t j = 0; j < DM_COUNT(ids); j++)
            send_u32(NGHTTP2_RST_STREAM, 0, ids[j], NGHTTP2_CANCEL);
        rig_settle();
        h2_take();
    }
    assert_false(rig.is_ended);
    assert_int_equal(counters()->rapid_reset, 0);
}

static void made_you_reset_by_overflow(void **state)
{
    for (int i = 0; i < 200 && !rig.is_ended; i++)
        send_u32(NGHTTP2_WINDOW_UPDATE, 0, send_request(END_STREAM | END_HEADERS), 0x7fffffff);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->made_you_reset, 1);
}

static void made_you_reset_by_malformed_requests(void **state)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, "GET");
    add_field(&block, DM_STR("Upper"), DM_STR("x"));
    for (int i = 0; i < 200 && !rig.is_ended; i++, h2.next_id += 2)
        send_frame(HEADERS, END_STREAM | END_HEADERS, h2.next_id, block.ptr, block.len);
    dm_buf_done(&block);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->made_you_reset, 1);
    assert_true(counters()->malformed_messages > 50);
    check_served();
}

static void continuation_flood(void **state)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, "GET");
    send_frame(HEADERS, END_STREAM, 1, block.ptr, block.len);
    dm_buf_reset(&block);
    add_field(&block, DM_STR("x"), DM_STR("y"));
    for (int i = 0; i < 20 && !rig.is_ended; i++)
        send_frame(NGHTTP2_CONTINUATION, 0, 1, block.ptr, block.len);
    dm_buf_done(&block);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->continuation_flood, 1);
    check_heard("");
    check_served();
}

static void blocks_in_some_pieces_are_fine(void **state)
{
    struct dm_buf block;

    rig.script.on_request_end = hello_at_end;
    dm_buf_init(&block, 4096);
    add_request(&block, "GET");
    send_frame(HEADERS, END_STREAM, 1, block.ptr, 5);
    rig_settle();
    for (size_t i = 0; i < 7; i++) {
        send_frame(NGHTTP2_CONTINUATION, 0, 1, block.ptr + 5 + i, 1);
        rig_settle();
    }
    send_frame(NGHTTP2_CONTINUATION, END_HEADERS, 1, block.ptr + 12, block.len - 12);
    dm_buf_done(&block);
    rig_settle();
    check_heard("R E D");
}

static void settings_flood(void **state)
{
    for (int i = 0; i < 200 && !rig.is_ended; i++)
        send_frame(NGHTTP2_SETTINGS, 0, 0, "", 0);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->settings_flood, 1);
    check_served();
}

static void ping_flood(void **state)
{
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        send_frame(NGHTTP2_PING, 0, 0, "12345678", 8);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->ping_flood, 1);
    check_served();
}

/* gRPC measures with a PING for each round of data. */
static void pings_with_data_are_fine(void **state)
{
    char data[1000] = {0};

    send_request(END_HEADERS);
    for (int i = 0; i < 500; i++) {
        send_frame(NGHTTP2_PING, 0, 0, "12345678", 8);
        send_frame(NGHTTP2_DATA, 0, 1, data, sizeof(data));
        h2_take();
        rig_settle();
    }
    assert_false(rig.is_ended);
    assert_int_equal(counters()->ping_flood, 0);
}

static void empty_data_frames(void **state)
{
    send_request(END_HEADERS);
    rig_settle();
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        send_frame(NGHTTP2_DATA, 0, 1, "", 0);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->empty_frames, 1);
    check_heard("R A:flood");
    check_served();
}

/* nghttp2 drops them without a word. */
static void empty_data_frames_on_a_reset_stream(void **state)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, "POST");
    add_field(&block, DM_STR("Upper"), DM_STR("x"));
    send_frame(HEADERS, END_HEADERS, 1, block.ptr, block.len);
    dm_buf_done(&block);
    rig_settle();
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        send_frame(NGHTTP2_DATA, 0, 1, "", 0);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->empty_frames, 1);
}

/* All padding (RFC 9113 section 6.1). */
static void padded_empty_data_frames(void **state)
{
    send_request(END_HEADERS);
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        send_frame(NGHTTP2_DATA, 8, 1, "\3\0\0\0", 4);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->empty_frames, 1);
}

static void unknown_frames(void **state)
{
    for (int i = 0; i < 300 && !rig.is_ended; i++)
        send_frame(0x42, 0, 0, "x", 1);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->empty_frames, 1);
    check_served();
}

static void priority_flood(void **state)
{
    for (uint32_t i = 0; i < 400 && !rig.is_ended; i++)
        send_frame(NGHTTP2_PRIORITY, 0, 3 + 2 * i, "\0\0\0\0\20", 5);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->priority_flood, 1);
    check_served();
}

/* --- header bombs ------------------------------------------------------------------------------------------------- */

/* One entry of the table, named again and again: a byte each on the wire. */
static void send_bomb(size_t n)
{
    struct dm_buf block;
    char value[3000];
    const size_t len = sizeof(value);

    memset(value, 'v', len);
    dm_buf_init(&block, 1 << 20);
    add_request(&block, "GET");
    dm_buf_add_n(&block, "\x40\4bomb\x7f", 7);
    dm_buf_add_char(&block, (char)(0x80 | ((len - 127) & 0x7f)));
    dm_buf_add_char(&block, (char)((len - 127) >> 7));
    dm_buf_add_n(&block, value, len);
    for (size_t i = 0; i < n; i++)
        dm_buf_add_char(&block, (char)(0x80 | 62));
    send_frame(HEADERS, END_STREAM | END_HEADERS, h2.next_id, block.ptr, block.len);
    h2.next_id += 2;
    dm_buf_done(&block);
}

static void heads_that_are_too_large_are_answered(void **state)
{
    send_bomb(12);
    rig_settle();
    check_heard("F:head_too_large");
    send_bomb(1);
    rig_settle();
    check_heard("R E");
    assert_int_equal(counters()->header_bomb, 0);
}

static void header_bomb(void **state)
{
    send_bomb(8000);
    check_ended_with(ENHANCE_YOUR_CALM);
    assert_int_equal(counters()->header_bomb, 1);
    check_heard("");
    check_served();
}

static void too_many_fields_are_answered(void **state)
{
    struct dm_buf block;

    dm_buf_init(&block, 1 << 16);
    add_request(&block, "GET");
    for (int i = 0; i < 101; i++)
        add_field(&block, DM_STR("x"), DM_STR("y"));
    send_frame(HEADERS, END_STREAM | END_HEADERS, 1, block.ptr, block.len);
    dm_buf_done(&block);
    rig_settle();
    check_heard("F:too_many_fields");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guard_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rapid_reset),
        TEST(requests_that_are_reset_at_once),
        TEST(requests_that_are_reset_behind_one_another),
        TEST(requests_in_pieces_that_are_reset),
        TEST(a_reset_that_is_not_whole),
        TEST(cancels_among_requests),
        TEST(cancels_of_what_is_being_answered),
        TEST(cancels_of_what_waited_in_vain),
        TEST(made_you_reset_by_overflow),
        TEST(made_you_reset_by_malformed_requests),
        TEST(continuation_flood),
        TEST(blocks_in_some_pieces_are_fine),
        TEST(settings_flood),
        TEST(ping_flood),
        TEST(pings_with_data_are_fine),
        TEST(empty_data_frames),
        TEST(empty_data_frames_on_a_reset_stream),
        TEST(padded_empty_data_frames),
        TEST(unknown_frames),
        TEST(priority_flood),
        TEST(heads_that_are_too_large_are_answered),
        TEST(header_bomb),
        TEST(too_many_fields_are_answered),
    };

    return cmocka_run_group_tests_name("h2 guard", tests, NULL, NULL);
}
