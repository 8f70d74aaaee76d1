/* What a client says first, through the real acceptor. The first byte of the input chooses: odd, the rest is the body of the
 * server_name extension of an otherwise sound ClientHello; even, it is all that the client sends, in pieces of that many bytes.
 * A name reaches the owner only in lower case, bounded and without a byte that is in no host name, and is the one that was sent;
 * whatever comes, the stream ends. */
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "io/tls.h"
#include "pki/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { INPUT_MAX = 60 << 10 };

static struct dm_loop *loop;
static struct dm_tls_profile *profile;
static struct dm_tls_acceptor *acceptor;
static struct dm_str sent_name; /* the extension; NULL: not known */
static unsigned n_closed;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_name(struct dm_str name)
{
    check(name.len <= 253 && (name.len == 0 || name.ptr[0] != '.'));
    for (size_t i = 0; i < name.len; i++)
        check(memchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", name.ptr[i], 39) != NULL);
    if (!sent_name.ptr)
        return;
    check(sent_name.len == name.len + 5 && sent_name.ptr[2] == 0);
    check(dm_str_ieq(name, dm_str_skip(sent_name, 5)));
}

static struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    check_name(server_name);
    return dm_str_starts(server_name, DM_STR("x")) ? NULL : profile;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    return len;
}

static void on_end(struct dm_stream *stream)
{
    dm_stream_close(stream);
}

static void on_error(struct dm_stream *stream, int code)
{
    check(code < 0 && dm_tls_reason_name(dm_tls_reason(stream)) != NULL);
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    n_closed++;
}

static const struct dm_stream_type type = {
    .on_read = on_read, .on_eof = on_end, .on_error = on_error, .on_closed = on_closed};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct pki_identity *leaf = pki_make(&(struct pki_spec){.subject = "Fuzz", .names = "DNS:a.example"}, NULL);
    struct dm_tls_profile_settings settings = {
        .chain_pem = leaf->certificate_pem, .key_pem = leaf->key_pem, .allows_http2 = true};

    loop = dm_loop_new(dm_sys_real());
    check(dm_tls_profile_new(&settings, &profile, NULL) == 0);
    acceptor = dm_tls_acceptor_new(select_profile, NULL);
    pki_free(leaf);
    return 0;
}

static void add_u16(struct dm_buf *buf, size_t value)
{
    dm_buf_add_char(buf, (char)(value >> 8));
    dm_buf_add_char(buf, (char)value);
}

/* RFC 8446 section 4.1.2, with this server_name. */
static void build_hello(struct dm_buf *hello, struct dm_str name)
{
    static const char head[] = "\x03\x03"
                               "0123456789abcdef0123456789abcdef"
                               "\x00\x00\x04\x13\x01\xc0\x2b\x01\x00";
    static const char rest[] = "\x00\x2b\x00\x03\x02\x03\x04"
                               "\x00\x0a\x00\x04\x00\x02\x00\x1d"
                               "\x00\x0d\x00\x04\x00\x02\x04\x03"
                               "\x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20"
                               "0123456789abcdef0123456789abcdef";
    size_t extensions = 4 + name.len + sizeof(rest) - 1, body = sizeof(head) - 1 + 2 + extensions;

    dm_buf_add_lit(hello, "\x16\x03\x01");
    add_u16(hello, body + 4);
    dm_buf_add_lit(hello, "\x01\x00");
    add_u16(hello, body);
    dm_buf_add_n(hello, head, sizeof(head) - 1);
    add_u16(hello, extensions);
    add_u16(hello, 0);
    add_u16(hello, name.len);
    dm_buf_add(hello, name);
    dm_buf_add_n(hello, rest, sizeof(rest) - 1);
}

static void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static void serve(struct dm_str bytes, size_t piece)
{
    struct dm_stream stream;
    int fds[2];

    n_closed = 0;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    check(dm_stream_open(&stream, loop, &type, fds[0]) == 0);
    dm_tls_serve(&stream, acceptor);
    for (size_t i = 0; i < bytes.len && n_closed == 0; i += piece) {
        if (send(fds[1], bytes.ptr + i, DM_MIN(piece, bytes.len - i), MSG_NOSIGNAL) < 0)
            break;
        turn_until_quiet();
    }
    shutdown(fds[1], SHUT_WR);
    turn_until_quiet();
    close(fds[1]);
    check(n_closed == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_str rest = dm_str_skip(dm_str_n((const char *)data, size), 1);
    struct dm_buf hello;

    if (size == 0 || size > INPUT_MAX)
        return 0;
    if (!(data[0] & 1)) {
        serve(rest, data[0] ? (size_t)data[0] * 4 : INPUT_MAX);
        return 0;
    }
    if (rest.len > 4096)
        return 0;
    dm_buf_init(&hello, INPUT_MAX);
    build_hello(&hello, rest);
    sent_name = rest;
    serve(dm_buf_str(&hello), INPUT_MAX);
    sent_name = DM_STR_NULL;
    dm_buf_done(&hello);
    return 0;
}
