/* Where WebSocket's frames end: examples, every cut, random frames against a naive list of their ends; the close frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mix.h"
#include "http/websocket.h"

#define BYTES(text) text, sizeof(text) - 1

static void test_where_a_close_frame_may_stand(void **state)
{
    static const struct {
        const char *ptr;
        size_t len;
        bool may_close, is_lost;
    } cases[] = {
        {BYTES(""), true, false},
        {BYTES("\x81"), false, false},
        {BYTES("\x81\x05Hello"), true, false},
        {BYTES("\x81\x05Hell"), false, false},
        {BYTES("\x01\x03Hel"), true, false}, /* inside a message, between its frames */
        {BYTES("\x01\x03Hel\x89\x00"), true, false},
        {BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), true, false},
        {BYTES("\x81\x85\x37\xfa\x21"), false, false},
        {BYTES("\x81\x80\x37\xfa\x21\x3d"), true, false},
        {BYTES("\x82\x7e\x00\x03"
               "abc"),
         true, false}, /* longer than it need be is no fault of ours */
        {BYTES("\x82\x7e\x00"), false, false},
        {BYTES("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x02"
               "ab"),
         true, false},
        {BYTES("\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00"), false, false},
        {BYTES("\xc1\x02xx"), true, false}, /* permessage-deflate */
        {BYTES("\x8b\x00"), true, false},   /* a control frame of a later age */
        {BYTES("\x88\x02\x03\xe8"), false, false},
        {BYTES("\x88\x00"), false, false},
        {BYTES("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), false, true},
        {BYTES("\x89\x7e\x00\x80"), false, true},
        {BYTES("\x09\x00"), false, true},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].len; cut++) {
            struct dm_websocket_walk walk = {0};
            dm_websocket_walk_on(&walk, cases[i].ptr, cut);
            dm_websocket_walk_on(&walk, cases[i].ptr + cut, cases[i].len - cut);
            assert_int_equal(dm_websocket_walk_may_close(&walk), cases[i].may_close);
            assert_int_equal(walk.is_lost, cases[i].is_lost);
        }
    }
}

static uint64_t below(uint64_t n)
{
    static uint64_t count;

    return dm_mix64(++count) % n;
}

/* A frame with a length that is said in one of the three ways, masked or not. */
static void add_frame(struct dm_buf *buf)
{
    static const uint8_t opcodes[] = {0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0xc1, 0x89, 0x8a};
    uint8_t first = opcodes[below(DM_COUNT(opcodes))];
    bool is_control = (first & 8) != 0, is_masked = below(2);
    unsigned way = is_control ? 0 : (unsigned)below(3);
    size_t len = (size_t)below(way == 0 ? 126 : 3000);

    dm_buf_add_char(buf, (char)first);
    dm_buf_add_char(buf, (char)((is_masked ? 0x80 : 0) | (way == 0 ? len : way == 1 ? 126 : 127)));
    for (int shift = way == 0 ? -8 : way == 1 ? 8 : 56; shift >= 0; shift -= 8)
        dm_buf_add_char(buf, (char)((uint64_t)len >> shift));
    for (size_t i = 0; i < len + (is_masked ? 4 : 0); i++)
        dm_buf_add_char(buf, (char)below(256));
}

static void test_random_frames(void **state)
{
    struct dm_buf buf;

    dm_buf_init(&buf, 1 << 20);
    for (int round = 0; round < 200; round++) {
        struct dm_websocket_walk walk = {0}, whole = {0};
        bool ends[1 << 16] = {true};
        size_t at = 0;
        dm_buf_reset(&buf);
        while (buf.len < 30000) {
            add_frame(&buf);
            ends[buf.len] = true;
        }
        while (at < buf.len) {
            size_t n = DM_MIN(buf.len - at, (size_t)below(round % 2 ? 5000 : 4) + 1);
            dm_websocket_walk_on(&walk, buf.ptr + at, n);
            at += n;
            assert_int_equal(dm_websocket_walk_may_close(&walk), ends[at]);
        }
        dm_websocket_walk_on(&whole, buf.ptr, buf.len);
        assert_true(dm_websocket_walk_may_close(&whole));
    }
    dm_buf_done(&buf);
}

static void check_close(struct dm_str text, const uint8_t *mask, size_t expected_len)
{
    char frame[DM_WEBSOCKET_CLOSE_MAX];
    size_t len = dm_websocket_close(DM_WEBSOCKET_GOING_AWAY, text, mask, frame);
    const char *payload = frame + 2 + (mask ? 4 : 0);
    struct dm_websocket_walk walk = {0};

    assert_int_equal(len, expected_len);
    assert_int_equal((uint8_t)frame[0], 0x88);
    assert_int_equal((uint8_t)frame[1] & 0x80, mask ? 0x80 : 0);
    for (size_t i = 0; mask && i < len - 6; i++)
        frame[6 + i] = (char)(frame[6 + i] ^ mask[i % 4]);
    assert_memory_equal(payload, "\x03\xe9", 2);
    if (len > 8)
        assert_memory_equal(payload + 2, text.ptr, text.len);
    dm_websocket_walk_on(&walk, frame, len);
    assert_true(walk.has_closed && walk.left == 0 && walk.head_at == 0 && !walk.is_lost);
}

static void test_close_frames(void **state)
{
    static const uint8_t mask[4] = {1, 2, 3, 255};
    static const char text[200] = "all of it";

    check_close(DM_STR_NULL, NULL, 4);
    check_close(DM_STR("tunnel_idle"), NULL, 15);
    check_close(DM_STR("tunnel_idle"), mask, 19);
    check_close(dm_str_n(text, 123), mask, DM_WEBSOCKET_CLOSE_MAX);
    check_close(dm_str_n(text, 124), NULL, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_a_close_frame_may_stand),
        cmocka_unit_test(test_random_frames),
        cmocka_unit_test(test_close_frames),
    };

    return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
