#include <openssl/ssl.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "io/client_hello.h"

enum { HELLO_BYTES_MAX = 40 << 10 };

/* What OpenSSL says first to a server of this name; name NULL: it says none. */
static size_t hello(const char *name, char *ret)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    int n;

    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    if (name)
        SSL_set_tlsext_host_name(ssl, name);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    n = BIO_read(out, ret, HELLO_BYTES_MAX);
    assert_true(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)n;
}

static void finds_the_name_however_it_is_cut(void **state)
{
    char bytes[HELLO_BYTES_MAX], name[DM_CLIENT_HELLO_NAME_MAX + 1];
    size_t len = hello("Orders.TEST", bytes);

    for (size_t n = 0; n < len; n++)
        assert_int_equal(dm_client_hello_name(bytes, n, name), 0);
    assert_int_equal(dm_client_hello_name(bytes, len, name), 1);
    assert_string_equal(name, "orders.test");
    bytes[len] = 'x'; /* what follows is of no account */
    assert_int_equal(dm_client_hello_name(bytes, len + 1, name), 1);
}

static void puts_records_together(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 5, 100, 1000};
    char bytes[HELLO_BYTES_MAX], cut[HELLO_BYTES_MAX], name[DM_CLIENT_HELLO_NAME_MAX + 1];
    size_t len = hello("orders.test", bytes);

    for (size_t i = 0; i < DM_COUNT(sizes); i++) {
        size_t n = 0;
        for (size_t at = 5; at < len; at += sizes[i]) {
            size_t part = DM_MIN(sizes[i], len - at);
            const char head[5] = {22, 3, 1, (char)(part >> 8), (char)part};
            memcpy(cut + n, head, sizeof(head));
            memcpy(cut + n + sizeof(head), bytes + at, part);
            n += sizeof(head) + part;
        }
        assert_int_equal(dm_client_hello_name(cut, n - 1, name), 0);
        assert_int_equal(dm_client_hello_name(cut, n, name), 1);
        assert_string_equal(name, "orders.test");
    }
}

static void has_no_name_for_who_says_none(void **state)
{
    static const char *const names[] = {NULL, "a/b.test", "\xc3\xa9.test"};
    char bytes[HELLO_BYTES_MAX], name[DM_CLIENT_HELLO_NAME_MAX + 1];

    for (size_t i = 0; i < DM_COUNT(names); i++) {
        size_t len = hello(names[i], bytes);
        assert_int_equal(dm_client_hello_name(bytes, len, name), 1);
        assert_string_equal(name, "");
    }
}

/* By hand: a hello of these extensions. */
static struct dm_str made(struct dm_buf *buf, struct dm_str extensions)
{
    static const char head[] = {3, 3};
    char zeros[32] = "";
    size_t len = sizeof(head) + sizeof(zeros) + 1 + 4 + 2 + 2 + extensions.len;
    const char record[] = {22, 3, 1, (char)((len + 4) >> 8), (char)(len + 4), 1, 0, (char)(len >> 8), (char)len};
    const char middle[] = {0, 0, 2, 0x13, 1, 1, 0, (char)(extensions.len >> 8), (char)extensions.len};

    dm_buf_reset(buf);
    dm_buf_add_n(buf, record, sizeof(record));
    dm_buf_add_n(buf, head, sizeof(head));
    dm_buf_add_n(buf, zeros, sizeof(zeros));
    dm_buf_add_n(buf, middle, sizeof(middle));
    dm_buf_add(buf, extensions);
    return dm_buf_str(buf);
}

#define BYTES(text) dm_str_n(text, sizeof(text) - 1)

static void refuses_what_is_none(void **state)
{
    const struct {
        struct dm_str extensions;
        int rc;
        const char *name;
    } cases[] = {
        {BYTES("\0\0\0\x06\0\x04\0\0\x01x"), 1, "x"},
        {BYTES("\0\x23\0\0\0\0\0\x06\0\x04\0\0\x01x"), 1, "x"},
        {BYTES(""), 1, ""},
        {BYTES("\0\0\0\x06\0\x04\0\0\x01x\0\0\0\x06\0\x04\0\0\x01y"), DM_EINVAL, ""}, /* two */
        {BYTES("\0\0\0\x06\0\x04\x01\0\x01x"), DM_EINVAL, ""},                        /* of another type */
        {BYTES("\0\0\0\x06\0\x03\0\0\x01x"), DM_EINVAL, ""},                          /* lengths that do not agree */
        {BYTES("\0\0\0\x06\0\x04\0\0\x02x"), DM_EINVAL, ""},
        {BYTES("\0\0\0\x07\0\x04\0\0\x01x"), DM_EINVAL, ""},
        {BYTES("\0\0\0\x05\0\x03\0\0\0"), 1, ""},
        {BYTES("\0"), DM_EINVAL, ""},
    };
    char name[DM_CLIENT_HELLO_NAME_MAX + 1];
    struct dm_buf buf;

    dm_buf_init(&buf, HELLO_BYTES_MAX);
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_str bytes = made(&buf, cases[i].extensions);
        assert_int_equal(dm_client_hello_name(bytes.ptr, bytes.len, name), cases[i].rc);
        if (cases[i].rc == 1)
            assert_string_equal(name, cases[i].name);
    }
    dm_buf_done(&buf);
    assert_int_equal(dm_client_hello_name("GET / HTTP/1.1\r\n", 16, name), DM_EINVAL);
    assert_int_equal(dm_client_hello_name("\x16\x03\x01\0\0", 5, name), DM_EINVAL);
    assert_int_equal(dm_client_hello_name("\x16\x03\x01\x40\x01", 5, name), DM_EINVAL);
    assert_int_equal(dm_client_hello_name("\x16\x03\x01\0\x04\x02\0\0\0", 9, name), DM_EINVAL);
    assert_int_equal(dm_client_hello_name("\x16\x03\x01\0\x04\x01\x01\0\0", 9, name), DM_EINVAL);
    assert_int_equal(dm_client_hello_name("\x16", 1, name), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_name_however_it_is_cut),
        cmocka_unit_test(puts_records_together),
        cmocka_unit_test(has_no_name_for_who_says_none),
        cmocka_unit_test(refuses_what_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
