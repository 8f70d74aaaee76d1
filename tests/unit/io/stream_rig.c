#include "stream_rig.h"

#include <signal.h>

#include "io/tls.h"
#include "tls_peer.h"

struct fake_clock fake;
struct dm_loop *loop;
struct conn *conn;
int peer_fd = -1;
static struct tls_peer tls_peer;
static struct dm_tls_profile *profile;
static struct dm_tls_acceptor *acceptor;

size_t conn_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);
    size_t n = c->consume == HOLD_ALL ? 0 : DM_MIN(len, (size_t)c->consume);

    c->n_reads++;
    c->last_len = len;
    assert_true(c->n_seen + n <= sizeof(c->seen));
    memcpy(c->seen + c->n_seen, ptr, n);
    c->n_seen += n;
    if (c->echoes)
        assert_int_equal(dm_stream_write(stream, ptr, n), n);
    if (c->pauses)
        dm_stream_pause(stream);
    if (c->closes)
        dm_stream_close(stream);
    return n;
}

static void on_eof(struct dm_stream *stream)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_eof++;
    c->n_seen_at_eof = c->n_seen;
}

static void on_connect(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_connect++;
}

static void on_writable(struct dm_stream *stream)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_writable++;
    if (c->closes_in_writable)
        dm_stream_close(stream);
}

static void on_error(struct dm_stream *stream, int code)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_error++;
    c->error = code;
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_closed++;
}

const struct dm_stream_type conn_type = {
    .on_read = conn_read,
    .on_eof = on_eof,
    .on_connect = on_connect,
    .on_writable = on_writable,
    .on_error = on_error,
    .on_closed = on_closed,
    .read_max_bytes = 64 << 10,
    .write_max_bytes = 128 << 10,
};

static struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    return profile;
}

int make_tls(void **state)
{
    struct pki_identity *leaf = pki_make(&(struct pki_spec){.subject = "Peer"}, NULL);
    struct dm_tls_profile_settings settings = {.chain_pem = leaf->certificate_pem, .key_pem = leaf->key_pem};

    signal(SIGPIPE, SIG_IGN); /* OpenSSL's own sockets write to ends that are gone */
    assert_int_equal(dm_tls_profile_new(&settings, &profile, NULL), 0);
    acceptor = dm_tls_acceptor_new(select_profile, NULL);
    pki_free(leaf);
    return 0;
}

int free_tls(void **state)
{
    dm_tls_acceptor_free(acceptor);
    dm_tls_profile_unref(profile);
    return 0;
}

static void shake_hands(void)
{
    char byte;
    int end;

    dm_tls_serve(&conn->stream, acceptor);
    tls_peer_init(&tls_peer, TLS_client_method(), NULL);
    tls_peer_open(&tls_peer, peer_fd, NULL);
    SSL_set_connect_state(tls_peer.ssl);
    while (tls_peer_shake(&tls_peer) == 0)
        assert_true(dm_loop_turn(loop, 0) >= 0);
    while (conn->n_connect == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    while (dm_loop_turn(loop, 0) > 0)
        ;
    assert_int_equal(tls_peer_read(&tls_peer, &byte, 1, &end), 0); /* the ticket */
}

struct conn *conn_new(void)
{
    struct conn *c = dm_calloc(1, sizeof(*c));

    c->consume = LONG_MAX;
    return c;
}

int setup(void **state)
{
    int fds[2];

    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    conn = conn_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    peer_fd = fds[1];
    assert_int_equal(dm_stream_open(&conn->stream, loop, &conn_type, fds[0]), 0);
    if (WITH_TLS)
        shake_hands();
    else
        assert_true(dm_loop_turn(loop, -1) > 0);
    return 0;
}

void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

int teardown(void **state)
{
    dm_stream_close(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_loop_free(loop);
    dm_free(conn);
    tls_peer.fd = -1;
    if (WITH_TLS)
        tls_peer_done(&tls_peer);
    if (peer_fd >= 0)
        close(peer_fd);
    return 0;
}

void peer_sends(const char *ptr, size_t len)
{
    if (WITH_TLS)
        assert_int_equal(SSL_write(tls_peer.ssl, ptr, (int)len), len);
    else
        assert_int_equal(send(peer_fd, ptr, len, MSG_NOSIGNAL), len);
}

void peer_ends(void)
{
    if (WITH_TLS)
        assert_true(SSL_shutdown(tls_peer.ssl) >= 0);
    shutdown(peer_fd, SHUT_WR);
}

bool peer_sees_end(void)
{
    char byte;
    int end;

    if (WITH_TLS)
        return tls_peer_read(&tls_peer, &byte, 1, &end) == 0 && end == 1;
    return recv(peer_fd, &byte, 1, 0) == 0;
}

size_t peer_reads(char *ret, size_t len)
{
    size_t n_all = 0;
    ssize_t n;
    int end;

    if (WITH_TLS)
        return tls_peer_read(&tls_peer, ret, len, &end);

    while (n_all < len && (n = recv(peer_fd, ret + n_all, len - n_all, 0)) > 0)
        n_all += (size_t)n;
    return n_all;
}

char *pattern(size_t len)
{
    char *ptr = dm_alloc(len);

    for (size_t i = 0; i < len; i++)
        ptr[i] = (char)(i * 31 + (i >> 8) * 7);
    return ptr;
}
