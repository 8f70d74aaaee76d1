#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "http/serialize.h"

static void parse(const char *text, struct dm_http_head *ret)
{
    size_t scan = 0;

    assert_int_equal(dm_http_parse_request(text, strlen(text), &scan, &dm_http_limits_default, ret), strlen(text));
}

static void assert_text(const struct dm_buf *buf, const char *want)
{
    assert_false(buf->failed);
    if (!dm_str_eq(dm_buf_str(buf), dm_str_of(want)))
        fail_msg("wrote '%.*s'", DM_STR_ARG(dm_buf_str(buf)));
}

static void lines_are_written(void **state)
{
    char memory[512];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, memory, sizeof(memory));
    dm_http_write_request_line(&buf, DM_STR("GET"), DM_STR("/a?b"));
    dm_http_write_status_line(&buf, 404, DM_STR_NULL);
    dm_http_write_status_line(&buf, 404, DM_STR("Gone Fishing"));
    dm_http_write_status_line(&buf, 299, DM_STR_NULL);
    dm_http_write_field(&buf, DM_STR("A"), DM_STR(""));
    dm_http_write_field_u64(&buf, DM_STR("Content-Length"), UINT64_MAX);
    dm_http_write_end(&buf);
    assert_text(&buf, "GET /a?b HTTP/1.1\r\nHTTP/1.1 404 Not Found\r\nHTTP/1.1 404 Gone Fishing\r\nHTTP/1.1 299 \r\n"
                      "A: \r\nContent-Length: 18446744073709551615\r\n\r\n");
}

static void hop_by_hop_and_dropped_fields_are_left_out(void **state)
{
    struct dm_http_head head;
    char memory[512];
    struct dm_buf buf;

    parse(
        "GET / HTTP/1.1\r\nHost: a\r\nX-1: 1\r\nConnection: X-H\r\nX-2: 2\r\nX-H: h\r\nX-3:3\r\nX-4: 4 \r\nX-5: \t5\r\n"
        "X-6: 6\r\nX-7: 7\r\nUpgrade: x\r\nX-8:\r\nX-9: \r\n\r\n",
        &head);
    assert_int_equal(dm_http_head_drop(&head, DM_STR("X-6")), 1);
    assert_non_null(dm_http_head_add(&head, DM_STR("Via"), DM_STR("1.1 gate")));
    dm_buf_init_fixed(&buf, memory, sizeof(memory));
    dm_http_write_fields(&buf, &head, DM_HTTP_FIELD_HOP);
    assert_text(&buf, "Host: a\r\nX-1: 1\r\nX-2: 2\r\nX-3: 3\r\nX-4: 4\r\nX-5: 5\r\nX-7: 7\r\nX-8: \r\nX-9: \r\n"
                      "Via: 1.1 gate\r\n");
}

static void a_head_that_does_not_fit_fails(void **state)
{
    struct dm_http_head head;
    char memory[20];
    struct dm_buf buf;

    parse("GET / HTTP/1.1\r\nHost: a\r\nX-1: 1\r\nX-2: 2\r\n\r\n", &head);
    dm_buf_init_fixed(&buf, memory, sizeof(memory));
    dm_http_write_fields(&buf, &head, 0);
    assert_true(buf.failed);
}

static void every_assigned_class_has_reasons(void **state)
{
    static const unsigned known[] = {100, 101, 103, 200, 204, 304, 400, 403, 404, 413,
                                     414, 417, 421, 429, 431, 501, 502, 503, 504, 505};

    for (size_t i = 0; i < DM_COUNT(known); i++)
        assert_true(dm_http_status_reason(known[i]).len > 0);
    assert_int_equal(dm_http_status_reason(299).len, 0);
    assert_int_equal(dm_http_status_reason(0).len, 0);
}

/* Against the C library, over leap years and centuries. */
static void dates_are_those_of_the_calendar(void **state)
{
    for (int64_t at = 0; at < (int64_t)8000 * 365 * 86400; at += 86400 * 5 + 12345) {
        char want[64], text[DM_HTTP_DATE_LEN + 1] = {0};
        time_t when = (time_t)at;
        struct tm tm;

        gmtime_r(&when, &tm);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        dm_http_date_write(at, text);
        assert_string_equal(text, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_written),
        cmocka_unit_test(hop_by_hop_and_dropped_fields_are_left_out),
        cmocka_unit_test(a_head_that_does_not_fit_fails),
        cmocka_unit_test(every_assigned_class_has_reasons),
        cmocka_unit_test(dates_are_those_of_the_calendar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
