#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/head.h"

static void requests_follow_one_another(void **state)
{
    static const char text[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\nGET /3";
    struct dm_http_head head;
    size_t scan = 0, at = 0;
    int rc;

    rc = dm_http_parse_request(text, sizeof(text) - 1, &scan, &dm_http_limits_default, &head);
    assert_true(rc > 0 && scan == 0 && dm_str_eq(head.path, DM_STR("/1")));
    at += (size_t)rc;
    rc = dm_http_parse_request(text + at, sizeof(text) - 1 - at, &scan, &dm_http_limits_default, &head);
    assert_true(rc > 0 && scan == 0 && dm_str_eq(head.path, DM_STR("/2")) && head.first[DM_HTTP_FIELD_ID_HOST] == 1);
    at += (size_t)rc;
    rc = dm_http_parse_request(text + at, sizeof(text) - 1 - at, &scan, &dm_http_limits_default, &head);
    assert_int_equal(rc, 0);
    assert_int_equal(scan, 6);
}

/* What was looked at is not looked at again: it may even change. */
static void a_head_in_pieces_is_scanned_once(void **state)
{
    char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 0123456789012345678901234567890123456789";
    struct dm_http_head head;
    size_t scan = 0, len = strlen(text);

    assert_int_equal(dm_http_parse_request(text, len - 8, &scan, &dm_http_limits_default, &head), 0);
    assert_int_equal(scan, len - 8);
    text[8] = '\n';
    assert_int_equal(dm_http_parse_request(text, len, &scan, &dm_http_limits_default, &head), 0);
    assert_int_equal(scan, len);
}

static void a_stray_byte_is_refused_at_once(void **state)
{
    static const struct {
        const char *text;
        int fault;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\n", DM_HTTP_BARE_LF},          {"GET / HTTP/1.1\r\nHost: a\rb", DM_HTTP_BARE_CR},
        {"GET / HTTP/1.1\r\nHost: a\001", DM_HTTP_BAD_BYTE},       {"GET / HTTP/1.1\r\nHost: a\177", DM_HTTP_BAD_BYTE},
        {"GET / HTTP/1.1\r\nX: yyyyyyyyyyyy\v", DM_HTTP_BAD_BYTE}, {"GET /\n", DM_HTTP_BARE_LF},
    };
    struct dm_http_head head;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        size_t scan = 0, len = strlen(cases[i].text);

        for (size_t n = 1; n < len; n++)
            assert_int_equal(dm_http_parse_request(cases[i].text, n, &scan, &dm_http_limits_default, &head), 0);
        assert_int_equal(dm_http_parse_request(cases[i].text, len, &scan, &dm_http_limits_default, &head),
                         -cases[i].fault);
        assert_int_equal(scan, 0);
    }
}

static void a_fault_tells_what_was_read_before(void **state)
{
    static const char text[] = "POST /a HTTP/1.1\r\nHost: a b\r\n\r\n";
    struct dm_http_head head;
    size_t scan = 0;

    assert_int_equal(dm_http_parse_request(text, sizeof(text) - 1, &scan, &dm_http_limits_default, &head),
                     -DM_HTTP_BAD_HOST);
    assert_true(dm_str_eq(head.method_name, DM_STR("POST")) && dm_str_eq(head.target, DM_STR("/a")));
    assert_int_equal(dm_http_parse_request("GET\001", 4, &scan, &dm_http_limits_default, &head), -DM_HTTP_BAD_BYTE);
    assert_int_equal(head.method_name.len + head.target.len, 0);
}

/* Every byte in every place of a head: accepted or refused, the same whole and cut, and never a control but HTAB. */
static void every_byte_in_every_place(void **state)
{
    static const char text[] = "PUT /a?b HTTP/1.1\r\nHost: h:1\r\nX-A: b c\r\n\r\n";
    char copy[sizeof(text)];
    struct dm_http_head head;

    for (size_t at = 0; at < sizeof(text) - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            size_t scan = 0, len = sizeof(text) - 1;
            int whole, cut = 0;

            memcpy(copy, text, sizeof(text));
            copy[at] = (char)byte;
            whole = dm_http_parse_request(copy, len, &scan, &dm_http_limits_default, &head);
            if (whole > 0 && byte != (uint8_t)text[at])
                assert_true((byte >= 0x20 && byte < 0x7F) || byte == '\t');
            for (size_t n = 1; cut == 0 && n <= len; n++)
                cut = dm_http_parse_request(copy, n, &scan, &dm_http_limits_default, &head);
            assert_int_equal(cut, whole);
        }
    }
}

static void trailers_are_parsed_as_fields_only(void **state)
{
    struct dm_http_head head;

    assert_int_equal(dm_http_parse_trailers("\r\nGET", 5, &dm_http_limits_default, &head), 2);
    assert_int_equal(head.field_count, 0);
    assert_int_equal(dm_http_parse_trailers("X-Sum: 1\r\n\r\n", 12, &dm_http_limits_default, &head), 12);
    assert_true(dm_str_eq(dm_http_head_find_name(&head, DM_STR("x-sum"))->value, DM_STR("1")));
    assert_int_equal(dm_http_parse_trailers("X-Sum: 1\r\n", 10, &dm_http_limits_default, &head), -DM_HTTP_BAD_TRAILER);
    assert_int_equal(dm_http_parse_trailers("Host: 1\r\n\r\n", 11, &dm_http_limits_default, &head),
                     -DM_HTTP_BAD_TRAILER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_follow_one_another),     cmocka_unit_test(a_head_in_pieces_is_scanned_once),
        cmocka_unit_test(a_stray_byte_is_refused_at_once), cmocka_unit_test(a_fault_tells_what_was_read_before),
        cmocka_unit_test(every_byte_in_every_place),       cmocka_unit_test(trailers_are_parsed_as_fields_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
