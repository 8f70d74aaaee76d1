#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/body.h"
#include "http/chunk.h"

static void start(struct dm_http_body *body, enum dm_http_framing framing, uint64_t length)
{
    struct dm_http_head head = {.framing = (uint8_t)framing, .content_length = length};

    assert_int_equal(dm_http_body_init(body, &head, &dm_http_limits_default, UINT64_MAX), 0);
}

static void no_body_is_complete_at_once(void **state)
{
    struct dm_http_body body;
    struct dm_str data;
    size_t consumed;

    start(&body, DM_HTTP_FRAMING_NONE, 0);
    assert_true(dm_http_body_is_done(&body));
    assert_int_equal(dm_http_body_feed(&body, DM_STR("GET /"), &consumed, &data), 1);
    assert_int_equal(consumed + data.len, 0);
    start(&body, DM_HTTP_FRAMING_LENGTH, 0);
    assert_true(dm_http_body_is_done(&body));
}

static void slices_point_into_the_input(void **state)
{
    struct dm_str in = DM_STR("5\r\nhello\r\n3;x\r\nabc\r\n0\r\n\r\nGET"), data;
    struct dm_http_body body;
    size_t consumed;

    start(&body, DM_HTTP_FRAMING_CHUNKED, 0);
    assert_int_equal(dm_http_body_feed(&body, in, &consumed, &data), 0);
    assert_int_equal(consumed, 8);
    assert_ptr_equal(data.ptr, in.ptr + 3);
    assert_int_equal(data.len, 5);
    in = dm_str_skip(in, consumed);
    assert_int_equal(dm_http_body_feed(&body, in, &consumed, &data), 0);
    assert_ptr_equal(data.ptr, in.ptr + 7);
    assert_int_equal(data.len, 3);
    in = dm_str_skip(in, consumed);
    assert_int_equal(dm_http_body_feed(&body, in, &consumed, &data), 1);
    assert_int_equal(data.len, 0);
    assert_true(dm_str_eq(body.trailers, DM_STR("\r\n")));
    assert_true(dm_str_eq(dm_str_skip(in, consumed), DM_STR("GET")));
    assert_int_equal(body.total, 8);
    assert_int_equal(dm_http_body_end(&body), 0);
}

static void trailers_are_consumed_as_a_whole(void **state)
{
    struct dm_str in = DM_STR("0\r\nX-Sum: 1\r\n\r\n"), data;
    struct dm_http_body body;
    size_t consumed;

    start(&body, DM_HTTP_FRAMING_CHUNKED, 0);
    assert_int_equal(dm_http_body_feed(&body, dm_str_n(in.ptr, 8), &consumed, &data), 0);
    assert_int_equal(consumed, 3);
    in = dm_str_skip(in, consumed);
    assert_int_equal(dm_http_body_feed(&body, dm_str_n(in.ptr, 10), &consumed, &data), 0);
    assert_int_equal(consumed, 0);
    assert_int_equal(dm_http_body_end(&body), -DM_HTTP_BODY_CUT);
    assert_int_equal(dm_http_body_feed(&body, in, &consumed, &data), 1);
    assert_int_equal(consumed, in.len);
    assert_true(dm_str_eq(body.trailers, in));
}

static void the_bound_may_change_on_the_way(void **state)
{
    struct dm_http_body body;
    struct dm_str data;
    size_t consumed;

    start(&body, DM_HTTP_FRAMING_CHUNKED, 0);
    assert_int_equal(dm_http_body_feed(&body, DM_STR("5\r\nhello\r\n"), &consumed, &data), 0);
    body.max_bytes = 3;
    assert_int_equal(dm_http_body_feed(&body, DM_STR("\r\n1\r\n"), &consumed, &data), -DM_HTTP_BODY_TOO_LARGE);
    start(&body, DM_HTTP_FRAMING_CLOSE, 0);
    body.max_bytes = 4;
    assert_int_equal(dm_http_body_feed(&body, DM_STR("1234"), &consumed, &data), 0);
    assert_int_equal(dm_http_body_feed(&body, DM_STR("5"), &consumed, &data), -DM_HTTP_BODY_TOO_LARGE);
    start(&body, DM_HTTP_FRAMING_LENGTH, 10);
    body.max_bytes = 4;
    assert_int_equal(dm_http_body_feed(&body, DM_STR("1"), &consumed, &data), -DM_HTTP_BODY_TOO_LARGE);
}

static void only_a_body_until_close_may_end_anywhere(void **state)
{
    struct dm_http_body body;

    start(&body, DM_HTTP_FRAMING_CLOSE, 0);
    assert_int_equal(dm_http_body_end(&body), 0);
    assert_true(dm_http_body_is_done(&body));
    start(&body, DM_HTTP_FRAMING_LENGTH, 1);
    assert_int_equal(dm_http_body_end(&body), -DM_HTTP_BODY_CUT);
    start(&body, DM_HTTP_FRAMING_CHUNKED, 0);
    assert_int_equal(dm_http_body_end(&body), -DM_HTTP_BODY_CUT);
}

static void chunk_heads_are_decoded_again(void **state)
{
    for (unsigned bit = 0; bit < 63; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t size = ((uint64_t)1 << bit) + (uint64_t)off;
            char text[DM_HTTP_CHUNK_HEAD_MAX];
            struct dm_http_body body;
            struct dm_str data;
            size_t consumed, len;

            if (size == 0)
                continue;
            len = dm_http_chunk_head(size, text);
            assert_true(len <= sizeof(text));
            start(&body, DM_HTTP_FRAMING_CHUNKED, 0);
            assert_int_equal(dm_http_body_feed(&body, dm_str_n(text, len), &consumed, &data), 0);
            assert_int_equal(consumed, len);
            assert_true(body.left == size && body.total == size);
        }
    }
    assert_int_equal(dm_http_chunk_head(UINT64_MAX, (char[DM_HTTP_CHUNK_HEAD_MAX]){0}), DM_HTTP_CHUNK_HEAD_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_body_is_complete_at_once),      cmocka_unit_test(slices_point_into_the_input),
        cmocka_unit_test(trailers_are_consumed_as_a_whole), cmocka_unit_test(the_bound_may_change_on_the_way),
        cmocka_unit_test(chunk_heads_are_decoded_again),    cmocka_unit_test(only_a_body_until_close_may_end_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
