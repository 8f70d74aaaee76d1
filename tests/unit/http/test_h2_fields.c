/* Header blocks become heads, or are refused, as a table; heads become lines that mean the same in HTTP/1.1; lines become fields;
 * and the memory that nghttp2 lives in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "http/h2_fields.h"
#include "http/h2_memory.h"
#include "http/serialize.h"

static struct dm_http_limits limits;
static struct dm_http_head head;
static char *text;

static int setup(void **state)
{
    limits = dm_http_limits_default;
    text = dm_alloc(dm_h2_block_text_bytes(&limits));
    return 0;
}

static int teardown(void **state)
{
    dm_free(text);
    return 0;
}

/* Fields stand as "name|value;name|value": what may not stand in text is written \r, \n, \0. */
static struct dm_str unescape(struct dm_str s, char *at)
{
    char *start = at;

    for (size_t i = 0; i < s.len; i++) {
        bool is_escape = s.ptr[i] == '\\' && i + 1 < s.len;
        char c = is_escape ? s.ptr[++i] : s.ptr[i];
        *at++ = !is_escape ? c
                : c == 'r' ? '\r'
                : c == 'n' ? '\n'
                : c == '0' ? '\0'
                : c == 't' ? '\t'
                : c == 's' ? ' '
                           : c;
    }
    return dm_str_n(start, (size_t)(at - start));
}

static int feed(struct dm_h2_block *block, enum dm_h2_block_kind kind, const char *fields, bool is_end)
{
    struct dm_str rest = dm_str_of(fields), field;
    char buf[4096];

    dm_h2_block_init(block, kind, &limits, &head, text);
    while (rest.len > 0 && dm_str_cut(&rest, ';', &field)) {
        size_t bar = dm_str_find(field, '|');
        struct dm_str name = unescape(dm_str_n(field.ptr, bar), buf);
        struct dm_str value = unescape(dm_str_skip(field, bar + 1), buf + name.len);
        dm_h2_block_add(block, name, value);
    }
    return dm_h2_block_end(block, is_end, DM_HTTP_METHOD_GET);
}

/* --- requests that are refused ------------------------------------------------------------------------------------ */

#define GET ":method|GET;:scheme|http;:path|/;:authority|a"
#define POST ":method|POST;:scheme|http;:path|/;:authority|a"
#define M true
#define A false /* may be answered */

static const struct {
    const char *fields, *fault;
    bool is_malformed, is_end;
} refused[] = {
    /* RFC 9113 section 8.3: pseudo-fields */
    {":scheme|http;:path|/;:authority|a", "bad_pseudo_field", M, true},
    {":method|GET;:path|/;:authority|a", "bad_pseudo_field", M, true},
    {":method|GET;:scheme|http;:authority|a", "bad_pseudo_field", M, true},
    {GET ";:method|GET", "bad_pseudo_field", M, true},
    {GET ";:path|/", "bad_pseudo_field", M, true},
    {GET ";:scheme|http", "bad_pseudo_field", M, true},
    {GET ";:authority|a", "bad_pseudo_field", M, true},
    {GET ";:status|200", "bad_pseudo_field", M, true},
    {GET ";:new|1", "bad_pseudo_field", M, true},
    {GET ";:|1", "bad_pseudo_field", M, true},
    {":method|GET;:scheme|http;:path|/;x|1;:authority|a", "bad_pseudo_field", M, true},
    {":Method|GET;:scheme|http;:path|/;:authority|a", "bad_pseudo_field", M, true},
    {":method|GET;:scheme|http;:path|;:authority|a", "bad_target", M, true},
    {":method|GET;:scheme|http;:path|*;:authority|a", "bad_target", M, true},
    {":method|GET;:scheme|http;:path|a;:authority|a", "bad_target", M, true},
    {":method|GET;:scheme|http;:path|http://a/;:authority|a", "bad_target", M, true},
    {":method|post;:scheme|http;:path|/;:authority|a", "bad_method", A, true},
    {":method|;:scheme|http;:path|/;:authority|a", "bad_method", M, true},
    {":method|G T;:scheme|http;:path|/;:authority|a", "bad_method", M, true},
    {":method|GET / HTTP/1.1\\r\\nx: y;:scheme|http;:path|/;:authority|a", "bad_field_value", M, true},
    {":method|GET;:scheme|ftp;:path|/;:authority|a", "bad_target", A, true},
    {":method|GET;:scheme|http;:path|/a#b;:authority|a", "target_fragment", A, true},
    {":method|GET;:scheme|http;:path|/a b;:authority|a", "bad_target", A, true},
    {":method|GET;:scheme|http;:path|/a HTTP/1.1\\r\\nHost: b;:authority|a", "bad_field_value", M, true},
    {":method|GET;:scheme|http;:path|/a\\tb;:authority|a", "bad_target", A, true},
    {":method|GET;:scheme|http;:path|/\\0;:authority|a", "bad_field_value", M, true},
    {":method|GET;:scheme|http;:path|/\\\\;:authority|a", "bad_target", A, true},
    {":method|GET;:scheme|http\\r\\nx: y;:path|/;:authority|a", "bad_field_value", M, true},
    /* authorities */
    {":method|GET;:scheme|http;:path|/", "no_host", A, true},
    {":method|GET;:scheme|http;:path|/;:authority|", "bad_host", A, true},
    {":method|GET;:scheme|http;:path|/;:authority|a:0", "bad_host", A, true},
    {":method|GET;:scheme|http;:path|/;:authority|a/b", "bad_host", A, true},
    {":method|GET;:scheme|http;:path|/;:authority|u@a", "target_userinfo", M, true},
    {":method|GET;:scheme|http;:path|/;:authority|a\\r\\nx: y", "bad_host", M, true},
    {GET ";host|b", "host_mismatch", M, true},
    {GET ";host|a:81", "host_mismatch", M, true},
    {GET ";host|", "bad_host", A, true},
    {GET ";host|a;host|a", "duplicate_host", A, true},
    {":method|GET;:scheme|http;:path|/;host|a;host|b", "duplicate_host", A, true},
    {GET ";authorization|a;authorization|a", "duplicate_field", A, true},
    /* section 8.2.1: names and values */
    {GET ";X|1", "bad_field_name", M, true},
    {GET ";xY|1", "bad_field_name", M, true},
    {GET ";|1", "empty_field_name", M, true},
    {GET ";x y|1", "bad_field_name", M, true},
    {GET ";x:y|1", "bad_field_name", M, true},
    {GET ";x: y\\r\\nz|1", "bad_field_name", M, true},
    {GET ";x\\0|1", "bad_field_name", M, true},
    {GET ";x\\t|1", "bad_field_name", M, true},
    {GET ";x\x80|1", "bad_field_name", M, true},
    {GET ";x|a\\r\\nb: c", "bad_field_value", M, true},
    {GET ";x|a\\nb", "bad_field_value", M, true},
    {GET ";x|a\\rb", "bad_field_value", M, true},
    {GET ";x|a\\0b", "bad_field_value", M, true},
    {GET ";x|\\sa", "bad_field_value", M, true},
    {GET ";x|a\\s", "bad_field_value", M, true},
    {GET ";x|\\ta", "bad_field_value", M, true},
    {GET ";x|a\\t", "bad_field_value", M, true},
    {GET ";x|\x7f", "bad_field_value", M, true},
    {GET ";x|\x01", "bad_field_value", M, true},
    {GET ";x|\xc3\xa4", "bad_field_value", M, true},
    /* section 8.2.2: what belongs to a connection (H2.TE and its kin) */
    {POST ";transfer-encoding|chunked", "connection_field", M, false},
    {POST ";transfer-encoding|identity", "connection_field", M, false},
    {POST ";transfer-encoding|chunked;content-length|3", "connection_field", M, false},
    {GET ";connection|close", "connection_field", M, true},
    {GET ";connection|x", "connection_field", M, true},
    {GET ";keep-alive|1", "connection_field", M, true},
    {GET ";proxy-connection|keep-alive", "connection_field", M, true},
    {GET ";upgrade|websocket", "connection_field", M, true},
    {GET ";te|gzip", "connection_field", M, true},
    {GET ";te|trailers, gzip", "connection_field", M, true},
    /* section 8.1.1: lengths (H2.CL) */
    {POST ";content-length|3", "body_length", M, true},
    {POST ";content-length|3;content-length|3", "duplicate_content_length", M, false},
    {POST ";content-length|3;content-length|4", "duplicate_content_length", M, false},
    {POST ";content-length|+3", "bad_content_length", M, false},
    {POST ";content-length|-3", "bad_content_length", M, false},
    {POST ";content-length|0x3", "bad_content_length", M, false},
    {POST ";content-length|3, 3", "bad_content_length", M, false},
    {POST ";content-length|", "bad_content_length", M, false},
    {POST ";content-length|18446744073709551616", "bad_content_length", M, false},
    {POST ";expect|x", "bad_expect", A, false},
    /* CONNECT */
    {":method|CONNECT;:authority|a:443", "connect_refused", A, false},
    {GET ";:protocol|websocket", "bad_pseudo_field", M, false},
    {":method|CONNECT;:protocol|websocket;:authority|a", "bad_pseudo_field", M, false},
    {":method|CONNECT;:protocol|;:scheme|http;:path|/;:authority|a", "bad_pseudo_field", M, false},
    {":method|CONNECT;:protocol|a b;:scheme|http;:path|/;:authority|a", "bad_pseudo_field", M, false},
    {":method|CONNECT;:protocol|websocket;:scheme|http;:path|/;:authority|a;content-length|3", "body_not_allowed", M,
     false},
};

static void requests_that_are_refused(void **state)
{
    for (size_t i = 0; i < DM_COUNT(refused); i++) {
        struct dm_h2_block block;
        int rc = feed(&block, DM_H2_REQUEST, refused[i].fields, refused[i].is_end);
        const char *fault = dm_http_fault_name((enum dm_http_fault) - rc);
        if (rc >= 0 || strcmp(fault, refused[i].fault) != 0 || block.is_malformed != refused[i].is_malformed)
            fail_msg("%s: %s, %s", refused[i].fields, fault, block.is_malformed ? "malformed" : "answered");
    }
}

/* --- requests that are accepted ----------------------------------------------------------------------------------- */

static void check_lines(const char *expected)
{
    struct dm_buf out;

    dm_buf_init(&out, 1 << 16);
    dm_http_write_fields(&out, &head, DM_HTTP_FIELD_HOP);
    dm_buf_add_char(&out, 0);
    assert_string_equal(out.ptr, expected);
    dm_buf_done(&out);
}

static const struct {
    const char *fields;
    bool is_end;
    const char *method, *path, *host, *lines;
    enum dm_http_framing framing;
} accepted[] = {
    {GET, true, "GET", "/", "a", "host: a\r\n", DM_HTTP_FRAMING_NONE},
    {":method|GET;:scheme|https;:path|/x?y=1;:authority|A.B.:443;host|a.b", true, "GET", "/x", "a.b", "host: a.b\r\n",
     DM_HTTP_FRAMING_NONE},
    {":method|GET;:scheme|http;:path|/;host|Ab", true, "GET", "/", "ab", "host: Ab\r\n", DM_HTTP_FRAMING_NONE},
    {":method|OPTIONS;:scheme|http;:path|*;:authority|a", true, "OPTIONS", "*", "a", "host: a\r\n",
     DM_HTTP_FRAMING_NONE},
    {GET ";x|1;y|2  3;empty|", true, "GET", "/", "a", "x: 1\r\ny: 2  3\r\nempty: \r\nhost: a\r\n",
     DM_HTTP_FRAMING_NONE},
    {GET ";te|trailers;x|1", true, "GET", "/", "a", "x: 1\r\nhost: a\r\n", DM_HTTP_FRAMING_NONE},
    {GET ";cookie|a=1;x|1;cookie|b=2;cookie|c=3", true, "GET", "/", "a", "cookie: a=1; b=2; c=3\r\nx: 1\r\nhost: a\r\n",
     DM_HTTP_FRAMING_NONE},
    {POST ";content-length|3", false, "POST", "/", "a", "content-length: 3\r\nhost: a\r\n", DM_HTTP_FRAMING_LENGTH},
    {POST ";content-length|0", true, "POST", "/", "a", "content-length: 0\r\nhost: a\r\n", DM_HTTP_FRAMING_LENGTH},
    {POST, false, "POST", "/", "a", "host: a\r\n", DM_HTTP_FRAMING_CHUNKED},
    {":method|X-OWN;:scheme|http;:path|/;:authority|a", true, "X-OWN", "/", "a", "host: a\r\n", DM_HTTP_FRAMING_NONE},
    {":method|CONNECT;:protocol|websocket;:scheme|https;:path|/c;:authority|a;sec-websocket-version|13", false, "GET",
     "/c", "a", "sec-websocket-version: 13\r\nhost: a\r\n", DM_HTTP_FRAMING_NONE},
};

static void requests_that_are_accepted(void **state)
{
    for (size_t i = 0; i < DM_COUNT(accepted); i++) {
        struct dm_h2_block block;
        int rc = feed(&block, DM_H2_REQUEST, accepted[i].fields, accepted[i].is_end);
        if (rc < 0)
            fail_msg("%s: %s", accepted[i].fields, dm_http_fault_name((enum dm_http_fault) - rc));
        assert_true(dm_str_eq(head.method_name, dm_str_of(accepted[i].method)));
        assert_true(dm_str_eq(head.path, dm_str_of(accepted[i].path)));
        assert_true(dm_str_eq(head.host.name, dm_str_of(accepted[i].host)));
        assert_int_equal(head.framing, accepted[i].framing);
        assert_int_equal(head.version_major, 2);
        assert_true(head.is_request && head.keep_alive);
        check_lines(accepted[i].lines);
    }
    assert_true(dm_str_eq(head.upgrade, DM_STR("websocket")));
    assert_int_equal(head.method, DM_HTTP_METHOD_GET);
}

static void text_outside_ascii_where_it_is_allowed(void **state)
{
    struct dm_h2_block block;

    limits.allows_obs_text = true;
    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";x|\xc3\xa4", true), 0);
    assert_true(head.fields[0].flags & DM_HTTP_FIELD_OBS_TEXT);
    assert_int_equal(feed(&block, DM_H2_REQUEST, ":method|GET;:scheme|http;:path|/\xc3;:authority|a", true),
                     -DM_HTTP_BAD_FIELD_VALUE);
}

static void folded_names_are_flagged(void **state)
{
    struct dm_h2_block block;

    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";x_y|1;x.y|1;x-y|1;expect|100-continue", false), 0);
    assert_true(head.fields[0].flags & DM_HTTP_FIELD_FOLDED);
    assert_true(head.fields[1].flags & DM_HTTP_FIELD_FOLDED);
    assert_false(head.fields[2].flags & DM_HTTP_FIELD_FOLDED);
    assert_true(head.expects_continue);
}

/* The first fault counts, whatever follows. */
static void the_first_fault_counts(void **state)
{
    struct dm_h2_block block;

    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";X|1;x|\\n;:path|/", true), -DM_HTTP_BAD_FIELD_NAME);
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void bounds(void **state)
{
    struct dm_h2_block block;
    char value[400];

    memset(value, 'v', sizeof(value));
    limits.head_bytes = 1000;
    for (int over = 0; over < 2; over++) {
        dm_h2_block_init(&block, DM_H2_REQUEST, &limits, &head, text);
        dm_h2_block_add(&block, DM_STR(":method"), DM_STR("GET"));  /* 14 */
        dm_h2_block_add(&block, DM_STR(":scheme"), DM_STR("http")); /* 15 */
        dm_h2_block_add(&block, DM_STR(":path"), DM_STR("/"));      /* 10 */
        dm_h2_block_add(&block, DM_STR(":authority"), DM_STR("a")); /* 15 */
        dm_h2_block_add(&block, DM_STR("x"), dm_str_n(value, 400)); /* 405 */
        dm_h2_block_add(&block, DM_STR("cookie"), dm_str_n(value, 200));
        dm_h2_block_add(&block, DM_STR("cookie"), dm_str_n(value, 321u + (unsigned)over));
        assert_int_equal(dm_h2_block_end(&block, true, DM_HTTP_METHOD_OTHER), over ? -DM_HTTP_HEAD_TOO_LARGE : 0);
        assert_int_equal(block.unpacked_bytes, 1000 + over);
    }
    assert_false(block.is_malformed);
    limits = dm_http_limits_default;
    limits.fields = 2;
    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";x|1;y|2", true), 0);
    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";x|1;y|2;z|3", true), -DM_HTTP_TOO_MANY_FIELDS);
    assert_int_equal(feed(&block, DM_H2_REQUEST, GET ";x|1;cookie|a;cookie|b;cookie|c", true), 0);
    limits.url_bytes = 3;
    assert_int_equal(feed(&block, DM_H2_REQUEST, ":method|GET;:scheme|http;:path|/ab;:authority|a", true), 0);
    assert_int_equal(feed(&block, DM_H2_REQUEST, ":method|GET;:scheme|http;:path|/abc;:authority|a", true),
                     -DM_HTTP_URL_TOO_LONG);
}

/* --- moved -------------------------------------------------------------------------------------------------------- */

static void blocks_move_in_the_middle(void **state)
{
    struct dm_http_head other;
    struct dm_h2_block block;
    char *moved = dm_alloc(dm_h2_block_text_bytes(&limits));

    dm_h2_block_init(&block, DM_H2_REQUEST, &limits, &head, text);
    dm_h2_block_add(&block, DM_STR(":method"), DM_STR("POST"));
    dm_h2_block_add(&block, DM_STR(":scheme"), DM_STR("http"));
    dm_h2_block_add(&block, DM_STR(":path"), DM_STR("/p?q"));
    dm_h2_block_add(&block, DM_STR(":authority"), DM_STR("A"));
    dm_h2_block_add(&block, DM_STR("cookie"), DM_STR("a=1"));
    dm_h2_block_add(&block, DM_STR("x"), DM_STR("1"));
    dm_h2_block_move(&block, &other, moved);
    memset(text, 'z', dm_h2_block_text_bytes(&limits));
    memset(&head, 'z', sizeof(head));
    dm_h2_block_move(&block, &head, text);
    memset(moved, 'z', dm_h2_block_text_bytes(&limits));
    dm_free(moved);
    dm_h2_block_add(&block, DM_STR("cookie"), DM_STR("b=2"));
    assert_int_equal(dm_h2_block_end(&block, false, DM_HTTP_METHOD_OTHER), 0);
    check_lines("cookie: a=1; b=2\r\nx: 1\r\nhost: A\r\n");
    assert_true(dm_str_eq(head.query, DM_STR("q")));
    assert_true(dm_str_eq(head.host.name, DM_STR("a")));
}

/* --- responses and trailers --------------------------------------------------------------------------------------- */

static const struct {
    const char *fields;
    bool is_end;
    int rc;
    enum dm_http_framing framing;
} responses[] = {
    {":status|200", false, 0, DM_HTTP_FRAMING_CHUNKED},
    {":status|200", true, 0, DM_HTTP_FRAMING_LENGTH},
    {":status|200;content-length|3", false, 0, DM_HTTP_FRAMING_LENGTH},
    {":status|200;content-length|3", true, -DM_HTTP_BODY_LENGTH, 0},
    {":status|204", true, 0, DM_HTTP_FRAMING_NONE},
    {":status|304;content-length|3", true, 0, DM_HTTP_FRAMING_NONE},
    {":status|103;link|x", false, 0, DM_HTTP_FRAMING_NONE},
    {":status|103", true, -DM_HTTP_BODY_NOT_ALLOWED, 0},
    {":status|204;content-length|3", true, -DM_HTTP_BODY_NOT_ALLOWED, 0},
    {":status|101", false, -DM_HTTP_BAD_STATUS, 0},
    {":status|20", false, -DM_HTTP_BAD_STATUS, 0},
    {":status|2000", false, -DM_HTTP_BAD_STATUS, 0},
    {":status|2x0", false, -DM_HTTP_BAD_STATUS, 0},
    {":status|600", false, -DM_HTTP_BAD_STATUS, 0},
    {":status|;x|1", false, -DM_HTTP_BAD_STATUS, 0},
    {"x|1", false, -DM_HTTP_BAD_PSEUDO_FIELD, 0},
    {":status|200;:status|200", false, -DM_HTTP_BAD_PSEUDO_FIELD, 0},
    {":status|200;:method|GET", false, -DM_HTTP_BAD_PSEUDO_FIELD, 0},
    {":status|200;transfer-encoding|chunked", false, -DM_HTTP_CONNECTION_FIELD, 0},
    {":status|200;x|a\\r\\nb: c", false, -DM_HTTP_BAD_FIELD_VALUE, 0},
};

static void all_responses(void **state)
{
    for (size_t i = 0; i < DM_COUNT(responses); i++) {
        struct dm_h2_block block;
        int rc = feed(&block, DM_H2_RESPONSE, responses[i].fields, responses[i].is_end);
        if (rc != responses[i].rc || (rc == 0 && head.framing != responses[i].framing))
            fail_msg("%s: %s, framing %d", responses[i].fields, dm_http_fault_name((enum dm_http_fault) - rc),
                     head.framing);
    }
}

static void all_trailers(void **state)
{
    struct dm_h2_block block;

    assert_int_equal(feed(&block, DM_H2_TRAILERS, "grpc-status|0;x|1", true), 0);
    check_lines("grpc-status: 0\r\nx: 1\r\n");
    assert_int_equal(feed(&block, DM_H2_TRAILERS, "x|1", false), -DM_HTTP_BAD_TRAILER);
    assert_true(block.is_malformed);
    assert_int_equal(feed(&block, DM_H2_TRAILERS, ":path|/", true), -DM_HTTP_BAD_PSEUDO_FIELD);
    assert_int_equal(feed(&block, DM_H2_TRAILERS, "content-length|3", true), -DM_HTTP_BAD_TRAILER);
    assert_int_equal(feed(&block, DM_H2_TRAILERS, "host|a", true), -DM_HTTP_BAD_TRAILER);
    assert_int_equal(feed(&block, DM_H2_TRAILERS, "transfer-encoding|chunked", true), -DM_HTTP_CONNECTION_FIELD);
    limits.trailer_bytes = 10;
    assert_int_equal(feed(&block, DM_H2_TRAILERS, "x|123456789", true), -DM_HTTP_TRAILER_TOO_LARGE);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void lines_become_fields(void **state)
{
    const struct dm_str lines = DM_STR("Content-Type: text/plain\r\nConnection: x\r\nKeep-Alive: 1\r\nX-Empty:\r\n"
                                       "Transfer-Encoding: chunked\r\nX-Request-Id:  7 \r\nUpgrade: x\r\n");
    char names[200];
    nghttp2_nv nv[4];
    size_t n = 1;

    assert_true(dm_h2_fields_of_lines(lines, false, names, nv, 4, &n));
    assert_int_equal(n, 4);
    assert_memory_equal(nv[1].name, "content-type", 12);
    assert_memory_equal(nv[1].value, "text/plain", 10);
    assert_int_equal(nv[1].valuelen, 10);
    assert_memory_equal(nv[2].name, "x-empty", 7);
    assert_int_equal(nv[2].valuelen, 0);
    assert_memory_equal(nv[3].name, "x-request-id", 12);
    assert_int_equal(nv[3].valuelen, 1);
    assert_true(nv[3].flags & NGHTTP2_NV_FLAG_NO_INDEX);
    n = 1;
    assert_true(dm_h2_fields_of_lines(lines, true, names, nv, 4, &n));
    assert_false(nv[3].flags & NGHTTP2_NV_FLAG_NO_INDEX);
    n = 0;
    assert_true(dm_h2_fields_of_lines(DM_STR("Set-Cookie: secret\r\n"), true, names, nv, 4, &n));
    assert_true(nv[0].flags & NGHTTP2_NV_FLAG_NO_INDEX);
    n = 2;
    assert_false(dm_h2_fields_of_lines(lines, false, names, nv, 4, &n));
    n = 0;
    assert_true(dm_h2_fields_of_lines(DM_STR_NULL, false, names, nv, 4, &n));
    assert_int_equal(n, 0);
    assert_false(dm_h2_fields_of_lines(DM_STR("no colon\r\n"), false, names, nv, 4, &n));
    assert_false(dm_h2_fields_of_lines(DM_STR(": x\r\n"), false, names, nv, 4, &n));
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* Every size, grown and given back, holds what was written; what is given back is used again. */
static void memory_of_every_size(void **state)
{
    struct dm_h2_memory memory;
    const size_t sizes[] = {0, 1, 31, 32, 33, 64, 65, 1000, 1024, 1025, 16384, 16385, 16394, 16448, 16449, 100000};

    dm_h2_memory_init(&memory);
    nghttp2_mem *mem = &memory.mem;
    for (size_t i = 0; i < DM_COUNT(sizes); i++) {
        uint8_t *ptr = mem->malloc(sizes[i], mem->mem_user_data);
        assert_int_equal((uintptr_t)ptr % 16, 0);
        memset(ptr, (int)i, sizes[i]);
        ptr = mem->realloc(ptr, sizes[i] * 3 + 1, mem->mem_user_data);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(ptr[j], i);
        mem->free(ptr, mem->mem_user_data);
    }
    assert_int_equal(memory.used_bytes, 0);
    uint8_t *zeroed = mem->calloc(10, 10, mem->mem_user_data);
    for (size_t j = 0; j < 100; j++)
        assert_int_equal(zeroed[j], 0);
    assert_true(memory.used_bytes >= 100);
    mem->free(zeroed, mem->mem_user_data);
    mem->free(NULL, mem->mem_user_data);
    assert_null(mem->calloc(SIZE_MAX / 2, 3, mem->mem_user_data));
#ifndef DM_DEBUG_ALLOC
    uint64_t before = dm_mem_calls();
    for (size_t i = 0; i < DM_COUNT(sizes) - 2; i++)
        mem->free(mem->realloc(NULL, sizes[i], mem->mem_user_data), mem->mem_user_data);
    assert_int_equal(dm_mem_calls(), before);
#endif
    dm_h2_memory_done(&memory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_that_are_refused),
        TEST(requests_that_are_accepted),
        TEST(text_outside_ascii_where_it_is_allowed),
        TEST(folded_names_are_flagged),
        TEST(the_first_fault_counts),
        TEST(bounds),
        TEST(blocks_move_in_the_middle),
        TEST(all_responses),
        TEST(all_trailers),
        TEST(lines_become_fields),
        TEST(memory_of_every_size),
    };

    return cmocka_run_group_tests_name("h2_fields", tests, NULL, NULL);
}
