/* The PROXY header: what is one, what is none, how many bytes it has, however the network cuts it. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/proxy_protocol.h"
#include "io/stream.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x01\xbb" /* 192.0.2.1:12345 to 198.51.100.2:443 */
#define V6_HOST "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0"
#define V6 V6_HOST "\x01" V6_HOST "\x02\x30\x39\x01\xbb"

/* Parsed whole, and in every shorter piece, which must be called incomplete. Returns the header's text. */
static const char *source_of(const char *ptr, size_t len)
{
    static char text[DM_ADDR_TEXT_MAX];
    struct dm_proxy_header header;

    for (size_t n = 0; n < len; n++)
        if (dm_proxy_header_parse(ptr, n, &header) != 0)
            fail_msg("%zu of %zu bytes were enough", n, len);
    assert_int_equal(dm_proxy_header_parse(ptr, len, &header), len);
    if (!header.has_source)
        return "-";
    dm_addr_format(&header.source, true, text);
    return text;
}
#define SOURCE(literal) source_of("" literal, sizeof(literal) - 1)

/* Refused whole, and once refused, refused with more behind it. */
static void assert_refused(const char *ptr, size_t len)
{
    struct dm_proxy_header header = {.has_source = true, .source.len = 77};
    bool was_refused = false;

    for (size_t n = 0; n <= len; n++) {
        ssize_t rc = dm_proxy_header_parse(ptr, n, &header);
        assert_true(rc == 0 || rc == DM_EINVAL);
        assert_true(rc < 0 || !was_refused);
        was_refused = rc < 0;
    }
    assert_true(was_refused);
    assert_int_equal(header.source.len, 77);
}
#define REFUSED(literal) assert_refused("" literal, sizeof(literal) - 1)

static void version_1(void **state)
{
    struct dm_proxy_header header;
    static const char followed[] = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET / HTTP/1.1\r\n";

    assert_string_equal(SOURCE("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"), "192.0.2.1:12345");
    assert_string_equal(SOURCE("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n"), "[2001:db8::1]:0");
    assert_string_equal(SOURCE("PROXY UNKNOWN\r\n"), "-");
    assert_string_equal(SOURCE("PROXY UNKNOWN ffff::1 whatever\r\n"), "-");
    assert_string_equal(
        SOURCE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "65535 65535\r\n"),
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    assert_int_equal(dm_proxy_header_parse(followed, sizeof(followed) - 1, &header), 45);
    assert_int_equal(dm_addr_port(&header.towards), 443);
}

static void version_1_refused(void **state)
{
    char line[DM_PROXY_V1_MAX + 1];

    REFUSED("GET / HTTP/1.1\r\n\r\n");
    REFUSED("PROXX");
    REFUSED("proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n");
    REFUSED("PROXY\r\n");
    REFUSED("PROXY \r\n");
    REFUSED("PROXY UNKNOWNX\r\n");
    REFUSED("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n");
    REFUSED("PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n");
    REFUSED("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n");
    REFUSED("PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n");
    REFUSED("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n");
    REFUSED("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n");
    REFUSED("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rX");
    REFUSED("PROXY TCP4 192.0.2.1\t198.51.100.2 1 2\r\n");
    REFUSED("PROXY UNKNOWN \x01\r\n");
    REFUSED("PROXY UNKNOWN \xff\r\n");
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_refused(line, sizeof(line) - 1);
    memcpy(line + DM_PROXY_V1_MAX - 2, "\r\n", 2);
    assert_string_equal(source_of(line, DM_PROXY_V1_MAX), "-");
}

static void version_2(void **state)
{
    struct dm_proxy_header header;

    assert_string_equal(SOURCE(SIG "\x21\x11\x00\x0c" V4), "192.0.2.1:12345");
    assert_string_equal(SOURCE(SIG "\x21\x21\x00\x24" V6), "[2001:db8::1]:12345");
    assert_string_equal(SOURCE(SIG "\x20\x00\x00\x00"), "-");
    assert_string_equal(SOURCE(SIG "\x20\x11\x00\x0c" V4), "-");
    assert_string_equal(SOURCE(SIG "\x20\xff\x00\x01z"), "-");
    assert_string_equal(SOURCE(SIG "\x21\x00\x00\x00"), "-");
    assert_string_equal(SOURCE(SIG "\x21\x00\x00\x04\x04\x00\x01z"), "-");
    assert_string_equal(SOURCE(SIG "\x21\x11\x00\x11" V4 "\x05\x00\x02id"), "192.0.2.1:12345");
    assert_int_equal(dm_proxy_header_parse(SIG "\x21\x11\x00\x0c" V4 "GET", 31, &header), 28);
    assert_int_equal(dm_addr_port(&header.towards), 443);
}

static void version_2_of_a_unix_socket(void **state)
{
    char bytes[16 + 216] = SIG "\x21\x31\x00\xd8/run/client.sock";

    assert_string_equal(source_of(bytes, sizeof(bytes)), "unix:");
}

static void version_2_refused(void **state)
{
    REFUSED("\r\n\r\nX");
    REFUSED(SIG "\x11\x11\x00\x0c" V4); /* version 1 in the frame of 2 */
    REFUSED(SIG "\x22\x11\x00\x0c" V4); /* no such command */
    REFUSED(SIG "\x21\x12\x00\x0c" V4); /* datagrams */
    REFUSED(SIG "\x21\x10\x00\x0c" V4);
    REFUSED(SIG "\x21\x01\x00\x0c" V4);
    REFUSED(SIG "\x21\x41\x00\x0c" V4);
    REFUSED(SIG "\x21\x11\x00\x0b" V4);                /* shorter than its addresses */
    REFUSED(SIG "\x21\x21\x00\x0c" V4);                /* the addresses of the other family */
    REFUSED(SIG "\x21\x11\x02\x09" V4);                /* above 536 bytes in all */
    REFUSED(SIG "\x21\x11\x00\x0e" V4 "\x04\x00");     /* half of a TLV's head */
    REFUSED(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x01"); /* a TLV beyond the end */
}

static void the_largest(void **state)
{
    char bytes[DM_PROXY_HEADER_MAX] = SIG "\x21\x11\x02\x08" V4 "\x04\x01\xf9";

    assert_string_equal(source_of(bytes, sizeof(bytes)), "192.0.2.1:12345");
}

/* The right one was made by another implementation, which gives 0xe3069283 for "123456789". */
static void checksum(void **state)
{
    char bytes[] = SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\0\0\0\0";
    size_t len = sizeof(bytes) - 1;
    static const char right[] = {(char)0xc8, (char)0xcc, (char)0xd4, (char)0xb7};

    assert_refused(bytes, len);
    memcpy(bytes + len - 4, right, 4);
    assert_string_equal(source_of(bytes, len), "192.0.2.1:12345");
    bytes[16] ^= 1;
    assert_refused(bytes, len);
    REFUSED(SIG "\x21\x11\x00\x12" V4 "\x03\x00\x03\0\0\0"); /* of three bytes */
}

/* --- below a stream ----------------------------------------------------------------------------------------------- */

struct end {
    struct dm_stream stream;
    char got[64], source[DM_ADDR_TEXT_MAX];
    size_t n_got;
    int error;
    bool has_eof, is_closed, was_named_first;
};

static struct end end;
static int refusal; /* what the owner says of the next headers */

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    assert_true(end.n_got + len <= sizeof(end.got));
    memcpy(end.got + end.n_got, ptr, len);
    end.n_got += len;
    return len;
}

static void on_eof(struct dm_stream *stream)
{
    end.has_eof = true;
}

static void on_error(struct dm_stream *stream, int code)
{
    end.error = code;
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    end.is_closed = true;
}

static int on_header(struct dm_stream *stream, const struct dm_proxy_header *header)
{
    end.was_named_first = end.n_got == 0;
    dm_addr_format(&header->source, false, end.source);
    return refusal;
}

static const struct dm_stream_type type = {
    .on_read = on_read, .on_eof = on_eof, .on_error = on_error, .on_closed = on_closed};

static bool is_over(void)
{
    return end.has_eof || end.is_closed;
}

/* Sends the bytes in pieces of this size, each seen before the next is sent, and then ends. */
static void run_pieces(const char *ptr, size_t len, size_t piece)
{
    struct dm_loop *loop = dm_loop_new(dm_sys_real());
    int fds[2];

    memset(&end, 0, sizeof(end));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&end.stream, loop, &type, fds[0]), 0);
    dm_proxy_expect(&end.stream, on_header);
    for (size_t at = 0; at < len && !end.is_closed; at += piece) {
        size_t n = DM_MIN(piece, len - at);
        assert_int_equal(send(fds[1], ptr + at, n, MSG_NOSIGNAL), n);
        for (int i = 0; i < 3; i++)
            assert_true(dm_loop_turn(loop, 0) >= 0);
    }
    shutdown(fds[1], SHUT_WR);
    for (int i = 0; i < 1000 && !is_over(); i++)
        assert_true(dm_loop_turn(loop, 1000) >= 0);
    assert_true(is_over());
    if (!end.is_closed)
        dm_stream_close(&end.stream);
    while (!end.is_closed)
        assert_true(dm_loop_turn(loop, 1000) >= 0);
    dm_sys_real()->ops->close(dm_sys_real(), fds[1]);
    dm_loop_free(loop);
}

static void streams_begin_behind_it(void **state)
{
    static const char v1[] = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nhello";
    static const char v2[] = SIG "\x21\x11\x00\x0c" V4 "hello";

    for (size_t piece = 1; piece < sizeof(v1); piece++) {
        run_pieces(v1, sizeof(v1) - 1, piece);
        assert_true(end.has_eof && end.error == 0 && end.was_named_first);
        assert_string_equal(end.source, "192.0.2.1");
        assert_int_equal(end.n_got, 5);
        assert_memory_equal(end.got, "hello", 5);
        assert_int_equal(end.stream.bytes_in, 5);
    }
    for (size_t piece = 1; piece < sizeof(v2); piece++) {
        run_pieces(v2, sizeof(v2) - 1, piece);
        assert_int_equal(end.n_got, 5);
        assert_string_equal(end.source, "192.0.2.1");
    }
}

static void streams_without_one_fail(void **state)
{
    run_pieces("GET / HTTP/1.1\r\n\r\n", 18, 18);
    assert_int_equal(end.error, -EPROTO);
    assert_int_equal(end.n_got, 0);
    run_pieces("PROXY TCP4 192.0.2.1 ", 21, 7); /* cut off */
    assert_int_equal(end.error, -EPROTO);
    run_pieces("", 0, 1);
    assert_true(end.has_eof && end.error == 0);
}

static void an_owner_may_refuse_a_source(void **state)
{
    static const char bytes[] = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nhello";

    refusal = -ECONNABORTED;
    run_pieces(bytes, sizeof(bytes) - 1, sizeof(bytes) - 1);
    refusal = 0;
    assert_int_equal(end.error, -ECONNABORTED);
    assert_int_equal(end.n_got, 0);
    assert_string_equal(end.source, "192.0.2.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_1_refused),
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_2_of_a_unix_socket),
        cmocka_unit_test(version_2_refused),
        cmocka_unit_test(the_largest),
        cmocka_unit_test(checksum),
        cmocka_unit_test(streams_begin_behind_it),
        cmocka_unit_test(streams_without_one_fail),
        cmocka_unit_test(an_owner_may_refuse_a_source),
    };

    return cmocka_run_group_tests_name("io/proxy_protocol", tests, NULL, NULL);
}
