/* HTTP/2 to a backend: how calls and connections end, by whoever and whatever. */
#include "client_h2_rig.h"

/* --- messages that are none --------------------------------------------------------------------------------------- */

static void malformed_responses(void **state)
{
    static const struct {
        const char *method, *head, *data, *trailers, *heard;
        bool ends;
    } cases[] = {
        {"GET", "content-length: 0\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 20\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 600\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 101\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 200\n:status: 200\n", NULL, NULL, "A:malformed", false},
        {"GET", ":status: 200\n:path: /\n", NULL, NULL, "A:malformed", false},
        {"GET", "x: y\n:status: 200\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "X: y\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x y: z\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x: y\r\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "x:  y\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "connection: close\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "transfer-encoding: chunked\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "upgrade: x\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "content-length: 1\ncontent-length: 1\n", NULL, NULL, "A:malformed", false},
        {"GET", OK "content-length: -1\n", NULL, NULL, "A:malformed", false},
        {"GET", OK2, "okk", NULL, "R200 A:malformed", false},
        {"GET", OK2, "o", NULL, "R200 B1 A:malformed", true},
        {"GET", OK2, NULL, NULL, "A:malformed", true},
        {"GET", ":status: 103\n", NULL, NULL, "A:malformed", true},
        {"GET", ":status: 103\n", "a", NULL, "I103 A:malformed", false},
        {"GET", ":status: 204\n", "a", NULL, "R204 A:malformed", false},
        {"GET", ":status: 304\ncontent-length: 5\n", NULL, NULL, "R304 E D", true},
        {"HEAD", OK "content-length: 5\n", NULL, NULL, "R200 E D", true},
        {"HEAD", OK "content-length: 5\n", "hello", NULL, "R200 A:malformed", false},
        {"GET", OK, "a", ":status: 200\n", "R200 B1 A:malformed", true},
        {"GET", OK, "a", "content-length: 3\n", "R200 B1 A:malformed", true},
        {"GET", OK, "a", "x: y\n", "R200 B1 A:malformed", false},
        {"GET", NULL, "a", NULL, "X A:malformed", false},
        {"GET", NULL, "", NULL, "X A:malformed", true},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_http_message m = get;
        bool is_last = !cases[i].data && !cases[i].trailers;
        m.method = dm_str_of(cases[i].method);
        begin(&m);
        if (cases[i].head)
            send_head(1, is_last && cases[i].ends ? END : 0, cases[i].head);
        if (cases[i].data)
            send_data(1, !cases[i].trailers && cases[i].ends ? END : 0, cases[i].data);
        if (cases[i].trailers)
            send_head(1, cases[i].ends ? END : 0, cases[i].trailers);
        pass_ms(2);
        check_heard(cases[i].heard);
        if (!cases[i].head)
            continue;
        assert_non_null(rig.peer); /* it was that stream's fault only */
        receive();
        if (strstr(cases[i].heard, "malformed"))
            assert_non_null(strstr((dm_buf_add_char(&rig.got, 0), rig.got.ptr), "R1:1"));
        dm_buf_reset(&rig.got);
        send_call(1, &get);
        answer_ok(3);
        check_heard("1:R200 1:B2 1:E 1:D");
    }
    assert_true(dm_http_client_counters(rig.client)->malformed >= 20);
}

static void resets(void **state)
{
    static const struct {
        uint32_t code;
        const char *heard;
    } cases[] = {{NGHTTP2_NO_ERROR, "A:peer_closed"},       {NGHTTP2_CANCEL, "A:cancelled"},
                 {NGHTTP2_INTERNAL_ERROR, "A:cancelled"},   {NGHTTP2_REFUSED_STREAM, "A:refused"},
                 {NGHTTP2_PROTOCOL_ERROR, "A:malformed"},   {NGHTTP2_ENHANCE_YOUR_CALM, "A:cancelled"},
                 {NGHTTP2_HTTP_1_1_REQUIRED, "A:cancelled"}};

    for (size_t i = 0; i < DM_COUNT(cases); i++)
        for (int is_late = 0; is_late < 2; is_late++) {
            begin(&get);
            if (is_late)
                send_head(1, 0, OK);
            send_u32(RST_STREAM, 1, cases[i].code);
            if (is_late) {
                assert_memory_equal(rig.heard.ptr, "R200 ", 5);
                dm_buf_consume(&rig.heard, 5);
            }
            check_heard(cases[i].heard);
            assert_int_equal(rig.had_response, is_late);
            assert_non_null(rig.peer);
        }
    assert_int_equal(dm_http_client_counters(rig.client)->refused, 2);
}

static void an_early_response_ends_the_request(void **state)
{
    begin(&post);
    dm_http_call_write(rig.calls[0], "abc", 3);
    answer_ok(1);
    check_heard("R200 B2 E D");
    check_got("D1:3 R1:8");
    begin(&post);
    send_head(1, END, OK);
    send_u32(RST_STREAM, 1, NGHTTP2_NO_ERROR);
    check_heard("R200 E D");
    send_call(0, &get);
    answer_ok(3);
    check_heard("R200 B2 E D");
}

/* --- whose connection --------------------------------------------------------------------------------------------- */

static void calls_may_be_dropped(void **state)
{
    begin(&get);
    cancel_call(0);
    check_got("R1:8");
    answer_ok(1); /* was on its way */
    check_heard("");
    rig.cancels_at_response = true;
    send_call(0, &get);
    answer_ok(3);
    check_heard("R200");
    check_got("H3+ R3:8");
    rig.cancels_at_response = false;
    rig.cancels_at_body = true;
    send_call(0, &get);
    answer_ok(5);
    check_heard("R200 B2");
    check_got("H5+ R5:8");
    rig.cancels_at_body = false;
    rig.sends_at_end = &get;
    send_call(0, &get);
    pass_ms(2);
    answer_ok(7);
    answer_ok(9);
    check_heard("R200 B2 E D 1:R200 1:B2 1:E 1:D");
    open_call(0); /* and not sent */
    cancel_call(0);
    assert_true(dm_http_peer_has_room(rig.peer));
}

static void the_backends_limit_holds(void **state)
{
    begin(&get);
    send_setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
    assert_true(dm_http_peer_has_room(rig.peer));
    send_call(1, &get);
    assert_false(dm_http_peer_has_room(rig.peer));
    rig.n_room = 0;
    answer_ok(1);
    assert_int_equal(rig.n_room, 1);
    check_heard("R200 B2 E D");
    /* what it refuses though it said it would take it is its limit for a while */
    send_setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
    for (size_t i = 2; i < 8; i++)
        send_call(i, &get);
    pass_ms(2);
    for (uint32_t id = 9; id <= 15; id += 2)
        send_u32(RST_STREAM, id, NGHTTP2_REFUSED_STREAM);
    check_heard("4:A:refused 5:A:refused 6:A:refused 7:A:refused");
    assert_false(rig.had_response);
    assert_false(dm_http_peer_has_room(rig.peer));
    for (uint32_t id = 3; id <= 7; id += 2)
        answer_ok(id);
    assert_true(dm_http_peer_has_room(rig.peer));
}

static void going_away(void **state)
{
    begin(&get);
    send_call(1, &get);
    send_call(2, &post);
    pass_ms(2);
    send_goaway(INT32_MAX, NGHTTP2_NO_ERROR); /* a notice */
    check_heard("X");
    send_goaway(3, NGHTTP2_NO_ERROR);
    check_heard("2:A:refused");
    assert_false(rig.had_response);
    receive();
    dm_buf_reset(&rig.got);
    answer_ok(1);
    answer_ok(3);
    check_heard("R200 B2 E D 1:R200 1:B2 1:E 1:D");
    check_got("G0 FIN");
    assert_int_equal(dm_http_client_counters(rig.client)->going, 1);
}

static void left_with_calls(void **state)
{
    begin(&get);
    dm_http_peer_close(rig.peer);
    assert_false(dm_http_peer_has_room(rig.peer));
    rig.peer = NULL;
    answer_ok(1);
    check_heard("R200 B2 E D");
    check_got("G0 FIN");
    begin(&get);
    answer_ok(1);
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
    check_got("G0 FIN");
    connect_peer();
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
}

static void kept_connections_end(void **state)
{
    begin(&get);
    answer_ok(1);
    pass_ms(19000);
    check_heard("R200 B2 E D");
    pass_ms(1100);
    check_heard("X");
    check_got("G0 FIN");
    begin(&get);
    answer_ok(1);
    close_backend();
    pass_ms(2);
    check_heard("R200 B2 E D X");
}

static void broken_connections(void **state)
{
    begin(&get);
    answer_ok(1);
    send_call(0, &get);
    pass_ms(2);
    receive();
    close_backend();
    pass_ms(2);
    check_heard("R200 B2 E D X A:peer_closed");
    assert_true(rig.was_reused && !rig.had_response);
    /* it never stood */
    rig.backend_sys->ops->close(rig.backend_sys, rig.listen_fd);
    connect_peer();
    send_call(0, &get);
    send_call(1, &upgrade);
    pass_ms(10);
    check_heard("X 1:A:connect_failed A:connect_failed");
    dm_world_fail_nth(rig.sys, 1, ENETUNREACH);
    connect_peer();
    send_call(0, &get);
    send_call(1, &post);
    dm_http_call_write(rig.calls[1], "x", 1);
    check_heard("");
    pass_ms(1);
    check_heard("X 1:A:connect_failed A:connect_failed");
}

static void no_http2_at_all(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "\0\0\0\0\0\0\0\0\0",
                                          "SSH-2.0-OpenSSH_9.2\r\n"};

    for (size_t i = 0; i < DM_COUNT(answers); i++) {
        connect_peer();
        send_call(0, &get);
        accept_backend();
        send_bytes(answers[i], i == 1 ? 9 : strlen(answers[i]));
        check_heard("X A:malformed");
        assert_false(rig.had_response);
    }
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void a_response_takes_too_long(void **state)
{
    begin(&get);
    answer_ok(1);
    check_heard("R200 B2 E D");
    send_call(0, &get);
    pass_ms(2000);
    send_call(1, &get);
    pass_ms(2900);
    check_heard("");
    pass_ms(200);
    check_heard("A:response_timeout");
    check_got("H3+ H5+ P R3:8"); /* is anybody there? */
    assert_false(dm_http_peer_has_room(rig.peer));
    send_frame(PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    assert_true(dm_http_peer_has_room(rig.peer));
    answer_ok(5);
    check_heard("1:R200 1:B2 1:E 1:D");
    send_call(0, &get);
    pass_ms(3000);
    send_call(1, &get);
    pass_ms(2100);
    check_heard("A:response_timeout");
    pass_ms(2900);
    check_heard("1:A:response_timeout");
    pass_ms(2100);
    check_heard("X");
    assert_int_equal(dm_http_client_counters(rig.client)->silent, 1);
}

static void bodies_take_too_long(void **state)
{
    begin(&get);
    send_head(1, 0, OK);
    for (int i = 0; i < 5; i++) {
        pass_ms(7000);
        send_data(1, 0, "b");
    }
    check_heard("R200 B1 B1 B1 B1 B1");
    pass_ms(7800);
    check_heard("");
    pass_ms(2300);
    check_heard("A:idle_timeout");
    check_got("R1:8");
    /* the owner that rests is not blamed, the backend that takes nothing is */
    begin(&post);
    pass_ms(100000);
    check_heard("");
    rig.left = 100000;
    stream_request();
    pass_ms(7000);
    check_heard("");
    pass_ms(5000);
    check_heard("A:idle_timeout");
    assert_non_null(rig.peer);
}

static void connecting_takes_too_long(void **state)
{
    dm_world_cut(rig.world, rig.sys, rig.backend_sys, true);
    connect_peer();
    send_call(0, &get);
    send_call(1, &get);
    pass_ms(900);
    check_heard("");
    pass_ms(200);
    check_heard("X 1:A:connect_timeout A:connect_timeout");
}

/* --- bad backends ------------------------------------------------------------------------------------------------- */

static void send_times(size_t n, unsigned type, unsigned flags, uint32_t id, const void *ptr, size_t len)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 24);
    for (size_t i = 0; i < n; i++)
        add_frame(&out, type, flags, id, ptr, len);
    for (size_t at = 0; at < out.len && rig.calls[0]; at += 4000)
        send_bytes(out.ptr + at, DM_MIN(out.len - at, (size_t)4000));
    dm_buf_done(&out);
}

static void floods(void **state)
{
    static const struct {
        unsigned type, flags;
        uint32_t id;
        size_t len;
    } cases[] = {{PING, 0, 0, 8}, {PING, ACK, 0, 8},        {SETTINGS, 0, 0, 0},
                 {DATA, 0, 1, 0}, {PRIORITY, 0, 5, 5},      {WINDOW_UPDATE, 0, 0, 4},
                 {99, 0, 0, 4},   {WINDOW_UPDATE, 0, 1, 4}, {RST_STREAM, 0, 3, 4}};
    static const char payload[8] = {0, 0, 0, 1};

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        uint64_t before = dm_http_client_counters(rig.client)->floods;
        begin(&get);
        send_head(1, 0, OK);
        if (cases[i].id == 3) {
            send_call(1, &get);
            cancel_call(1);
            pass_ms(2);
        }
        send_times(20000, cases[i].type, cases[i].flags, cases[i].id, payload, cases[i].len);
        pass_ms(10);
        check_heard("R200 X A:flood");
        receive();
        dm_buf_add_char(&rig.got, 0);
        assert_non_null(strstr(rig.got.ptr, "G11")); /* ENHANCE_YOUR_CALM */
        dm_buf_reset(&rig.got);
        assert_int_equal(dm_http_client_counters(rig.client)->floods, before + 1);
    }
}

/* What a busy backend does beside its answers is no flood. */
static void an_honest_backend_is_no_flood(void **state)
{
    begin(&get);
    send_head(1, 0, OK);
    rig.mutes_body = true;
    for (int i = 0; i < 5000; i++) {
        send_frame(PING, 0, 0, "12345678", 8);
        send_data(1, 0, "some bytes");
        if (i % 100 == 0) {
            receive();
            dm_buf_reset(&rig.got);
        }
    }
    check_heard("R200");
    send_data(1, END, "");
    check_heard("E D");
}

static void header_bombs(void **state)
{
    static char value[4000];
    struct dm_buf block;

    memset(value, 'x', sizeof(value));
    dm_buf_init(&block, 1 << 20);
    begin(&get);
    /* one field of 4000 bytes into the table, and then a reference a byte */
    add_fields(&block, ":status: 200\n");
    dm_buf_add_n(&block, "\x40\x01z\x7f\xa1\x1e", 6);
    dm_buf_add_n(&block, value, sizeof(value));
    for (int i = 0; i < 10000; i++)
        dm_buf_add_char(&block, (char)0xbe);
    send_frame(HEADERS, END_HEADERS, 1, block.ptr, block.len);
    check_heard("X A:flood");
    assert_int_equal(dm_http_client_counters(rig.client)->header_bombs, 1);
    /* too many CONTINUATION frames */
    begin(&get);
    dm_buf_reset(&block);
    add_fields(&block, ":status: 200\n");
    send_frame(HEADERS, 0, 1, block.ptr, block.len);
    send_times(2000, CONTINUATION, 0, 1, NULL, 0);
    check_heard("X A:flood");
    /* a head above the limit is one call's fault */
    begin(&get);
    dm_buf_reset(&block);
    add_fields(&block, ":status: 200\n");
    for (int i = 0; i < 200; i++)
        add_fields(&block, "x: y\n");
    send_frame(HEADERS, END_HEADERS, 1, block.ptr, block.len);
    check_heard("A:malformed");
    assert_non_null(rig.peer);
    dm_buf_done(&block);
}

static void against_the_protocol(void **state)
{
    static char block[20000];
    uint8_t value[4];
    static const struct {
        unsigned type, flags;
        uint32_t id, value;
        size_t len; /* of block; 0: value */
        const char *heard;
    } cases[] = {
        {WINDOW_UPDATE, 0, 0, 0, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 1, 0, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 0, INT32_MAX, 0, "X A:malformed"},
        {WINDOW_UPDATE, 0, 1, INT32_MAX, 0, "A:malformed"},
        {WINDOW_UPDATE, 0, 2, 1, 0, "X A:malformed"},
        {RST_STREAM, 0, 0, 1, 0, "X A:malformed"},
        {RST_STREAM, 0, 9, 1, 0, "X A:malformed"},
        {HEADERS, END_HEADERS, 2, 0, 1, "X A:malformed"},
        {HEADERS, END_HEADERS, 9, 0, 1, "X A:malformed"},
        {DATA, 0, 0, 0, 1, "X A:malformed"},
        {DATA, 0, 1, 0, 16385, "X A:malformed"},
        {PUSH_PROMISE, END_HEADERS, 1, 2, 0, "X A:malformed"},
        {CONTINUATION, END_HEADERS, 1, 0, 1, "X A:malformed"},
        {SETTINGS, 0, 0, 0, 5, "X A:malformed"},
        {PING, 0, 1, 0, 8, "X A:malformed"},
        {PING, 0, 0, 0, 7, "X A:malformed"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        begin(&get);
        if (cases[i].len > 0)
            send_frame(cases[i].type, cases[i].flags, cases[i].id, block, cases[i].len);
        else
            send_frame(cases[i].type, cases[i].flags, cases[i].id, (put_u32(value, cases[i].value), value), 4);
        pass_ms(2);
        check_heard(cases[i].heard);
    }
    begin(&get);
    send_setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UINT32_MAX);
    check_heard("X A:malformed");
    /* more than the window of a stream that rests */
    begin(&get);
    send_head(1, 0, OK);
    rig.takes = 0;
    for (int i = 0; i < 5; i++)
        send_frame(DATA, 0, 1, block, 16000);
    pass_ms(2);
    dm_buf_consume(&rig.heard, 8);
    assert_true(rig.heard.len > 0);
    assert_null(rig.calls[0]);
    dm_buf_reset(&rig.heard);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(malformed_responses),
        TEST(resets),
        TEST(an_early_response_ends_the_request),
        TEST(calls_may_be_dropped),
        TEST(the_backends_limit_holds),
        TEST(going_away),
        TEST(left_with_calls),
        TEST(kept_connections_end),
        TEST(broken_connections),
        TEST(no_http2_at_all),
        TEST(a_response_takes_too_long),
        TEST(bodies_take_too_long),
        TEST(connecting_takes_too_long),
        TEST(floods),
        TEST(an_honest_backend_is_no_flood),
        TEST(header_bombs),
        TEST(against_the_protocol),
    };

    return cmocka_run_group_tests_name("http/2 client, ends", tests, NULL, NULL);
}
