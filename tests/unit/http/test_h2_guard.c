/* What a client may not do to an HTTP/2 connection: each abuse ends it with GOAWAY, is counted under its name, and aborts what is
 * in hand; a busy client that is none of these is left alone. Frames are written by hand. */
#include "test_h2_rig.h"

enum { ENHANCE_YOUR_CALM = 11, PROTOCOL_ERROR = 1 };

static uint32_t next_id;

static int setup(void **state)
{
    memset(&rig, 0, sizeof(rig));
    memset(&h2, 0, sizeof(h2));
    rig.settings = dm_http_server_defaults;
    h2_start();
    h2.is_quiet = true;
    next_id = 1;
    return 0;
}

static int teardown(void **state)
{
    h2_end();
    return 0;
}

static const struct dm_http2_counters *counters(void)
{
    return dm_http_server_http2_counters(rig.server);
}

/* The block of a GET. */
static void add_request(struct dm_buf *out, const char *method)
{
    add_field(out, DM_STR(":method"), dm_str_of(method));
    add_field(out, DM_STR(":scheme"), DM_STR("http"));
    add_field(out, DM_STR(":path"), DM_STR("/"));
    add_field(out, DM_STR(":authority"), DM_STR("a"));
}

static uint32_t send_request(uint8_t flags)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_request(&block, flags & END_STREAM ? "GET" : "POST");
    send_frame(HEADERS, flags, next_id, block.ptr, block.len);
    dm_buf_done(&block);
    next_id += 2;
    return next_id - 2;
}

static void send_u32(uint8_t type, uint8_t flags, uint32_t id, uint32_t value)
{
    const uint8_t payload[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

    send_frame(type, flags, id, payload, sizeof(payload));
}

/* The last word seen is this GOAWAY, and the connection is over. */
static void check_ended_with(int code)
{
    char word[16];
    struct dm_buf text;

    h2_run();
    dm_buf_init_fixed(&text, word, sizeof(word));
    dm_buf_printf(&text, "G%d", code);
    if (!dm_str_ends(dm_buf_str(&h2.seen), dm_buf_str(&text)))
        check_text(&h2.seen, "(ends with GOAWAY)", __FILE__, __LINE__);
    assert_true(rig.is_ended);
    rig_pass_ms(3000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
}

/* Another client is served as ever. */
static void check_served(void)
{
    dm_buf_reset(&h2.seen);
    dm_buf_reset(&rig.heard);
    rig.script = (struct script){.on_request_end = hello_at_end};
    h2_reconnect();
    h2_get();
    check_seen("H1:200 E1");
    check_heard("R E D");
}

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
    for (int i = 0; i < 200 && !rig.is_ended; i++, next_id += 2)
        send_frame(HEADERS, END_STREAM | END_HEADERS, next_id, block.ptr, block.len);
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
    send_frame(HEADERS, END_STREAM | END_HEADERS, next_id, block.ptr, block.len);
    next_id += 2;
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

/* --- windows ------------------------------------------------------------------------------------------------------ */

static void restart_with_window(uint32_t bytes)
{
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, bytes};

    rig_connect();
    rig_settle();
    nghttp2_session_del(h2.session);
    h2_new_session(true);
    nghttp2_submit_settings(h2.session, 0, &entry, 1);
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

/* The owner's own pauses do not count. */
static size_t take_nothing(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    return 0;
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
    send_frame(HEADERS, END_HEADERS, next_id, block.ptr, block.len);
    dm_buf_done(&block);
    next_id += 2;
}

static void send_trailer(const char *name, uint8_t flags)
{
    struct dm_buf block;

    dm_buf_init(&block, 4096);
    add_field(&block, dm_str_of(name), DM_STR("1"));
    send_frame(HEADERS, flags, next_id - 2, block.ptr, block.len);
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
    for (int i = 0; i < 40 && !rig.is_ended; i++, next_id += 2) {
        send_frame(HEADERS, END_STREAM, next_id, block.ptr, block.len);
        for (int j = 0; j < 6; j++)
            send_frame(NGHTTP2_CONTINUATION, 0, next_id, "", 0);
        send_frame(NGHTTP2_CONTINUATION, END_HEADERS, next_id, "", 0);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rapid_reset),
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
        TEST(windows_opened_by_crumbs),
        TEST(window_update_flood),
        TEST(a_window_that_stays_closed),
        TEST(a_client_that_reads_nothing),
        TEST(an_answer_that_is_not_fetched),
        TEST(a_body_that_stops_coming),
        TEST(many_bodies_that_stop_coming),
        TEST(a_talk_may_be_silent),
        TEST(a_talk_whose_client_does_not_read),
        TEST(a_body_that_waits_for_the_owner),
        TEST(a_block_that_stops_coming),
        TEST(a_block_byte_by_byte_is_timed_from_its_first),
        TEST(too_many_streams),
        TEST(too_many_streams_at_first),
        TEST(bodies_of_another_length),
        TEST(trailers_that_are_none),
        TEST(data_behind_the_end),
        TEST(empty_continuations),
        TEST(malformed_frames),
        TEST(a_bad_preface),
    };

    return cmocka_run_group_tests_name("h2_guard", tests, NULL, NULL);
}
