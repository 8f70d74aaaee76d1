/* Streams over real sockets: a stream at one end, plain calls at the other.
 *
 * Compiled twice: in the second program (WITH_TLS) TLS is between the two, and plain OpenSSL at the other end. */
#include "tls_peer.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_clock.h"
#include "io/listener.h"
#include "io/stream.h"
#include "io/tls.h"

#ifndef WITH_TLS
#define WITH_TLS 0
#endif

enum { HOLD_ALL = -1 };

struct conn {
    struct dm_stream stream;
    char seen[1 << 20];
    size_t n_seen, n_seen_at_eof, last_len, n_reads;
    long consume; /* at most this many of each read; HOLD_ALL: none */
    unsigned n_connect, n_eof, n_writable, n_error, n_closed;
    int error;
    bool pauses, closes, echoes, closes_in_writable;
};

static struct fake_clock fake;
static struct dm_loop *loop;
static struct conn *conn;
static int peer = -1;
static struct tls_peer tls_peer;
static struct dm_tls_profile *profile;
static struct dm_tls_acceptor *acceptor;

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
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

static const struct dm_stream_type type = {
    .on_read = on_read,
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

static int make_tls(void **state)
{
    struct pki_identity *leaf = pki_make(&(struct pki_spec){.subject = "Peer"}, NULL);
    struct dm_tls_profile_settings settings = {.chain_pem = leaf->certificate_pem, .key_pem = leaf->key_pem};

    signal(SIGPIPE, SIG_IGN); /* OpenSSL's own sockets write to ends that are gone */
    assert_int_equal(dm_tls_profile_new(&settings, &profile, NULL), 0);
    acceptor = dm_tls_acceptor_new(select_profile, NULL);
    pki_free(leaf);
    return 0;
}

static int free_tls(void **state)
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
    tls_peer_open(&tls_peer, peer, NULL);
    SSL_set_connect_state(tls_peer.ssl);
    while (tls_peer_shake(&tls_peer) == 0)
        assert_true(dm_loop_turn(loop, 0) >= 0);
    while (conn->n_connect == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    while (dm_loop_turn(loop, 0) > 0)
        ;
    assert_int_equal(tls_peer_read(&tls_peer, &byte, 1, &end), 0); /* the ticket */
}

static int setup(void **state)
{
    int fds[2];

    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    conn = dm_calloc(1, sizeof(*conn));
    conn->consume = LONG_MAX;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    peer = fds[1];
    assert_int_equal(dm_stream_open(&conn->stream, loop, &type, fds[0]), 0);
    if (WITH_TLS)
        shake_hands();
    else
        assert_int_equal(dm_loop_turn(loop, -1), 1);
    return 0;
}

static void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static int teardown(void **state)
{
    dm_stream_close(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_loop_free(loop);
    dm_free(conn);
    tls_peer.fd = -1;
    if (WITH_TLS)
        tls_peer_done(&tls_peer);
    if (peer >= 0)
        close(peer);
    return 0;
}

static void peer_sends(const char *ptr, size_t len)
{
    if (WITH_TLS)
        assert_int_equal(SSL_write(tls_peer.ssl, ptr, (int)len), len);
    else
        assert_int_equal(send(peer, ptr, len, MSG_NOSIGNAL), len);
}

static void peer_ends(void)
{
    if (WITH_TLS)
        assert_true(SSL_shutdown(tls_peer.ssl) >= 0);
    shutdown(peer, SHUT_WR);
}

static bool peer_sees_end(void)
{
    char byte;
    int end;

    if (WITH_TLS)
        return tls_peer_read(&tls_peer, &byte, 1, &end) == 0 && end == 1;
    return recv(peer, &byte, 1, 0) == 0;
}

/* What there is now. */
static size_t peer_reads(char *ret, size_t len)
{
    size_t n_all = 0;
    ssize_t n;
    int end;

    if (WITH_TLS)
        return tls_peer_read(&tls_peer, ret, len, &end);

    while (n_all < len && (n = recv(peer, ret + n_all, len - n_all, 0)) > 0)
        n_all += (size_t)n;
    return n_all;
}

static char *pattern(size_t len)
{
    char *ptr = dm_alloc(len);

    for (size_t i = 0; i < len; i++)
        ptr[i] = (char)(i * 31 + (i >> 8) * 7);
    return ptr;
}

static void bytes_come_in_and_an_idle_stream_owns_nothing(void **state)
{
    peer_sends("hello", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->n_seen, 5);
    assert_memory_equal(conn->seen, "hello", 5);
    assert_int_equal(conn->stream.bytes_in, 5);
    assert_null(conn->stream.kept);
    assert_null(conn->stream.head);
    assert_true(sizeof(struct dm_stream) <= 200);
}

static void an_unconsumed_rest_comes_again_with_what_follows(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("GET /", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->last_len, 5);
    assert_int_equal(dm_stream_unread(&conn->stream), 5);
    assert_int_equal(dm_loop_turn(loop, 0), 0);
    assert_int_equal(conn->n_reads, 1);

    conn->consume = 7;
    peer_sends(" HTTP", 5);
    dm_loop_turn(loop, -1);
    assert_int_equal(conn->last_len, 10);
    assert_memory_equal(conn->seen, "GET / H", 7);
    assert_int_equal(dm_stream_unread(&conn->stream), 3);

    conn->consume = LONG_MAX;
    dm_stream_resume(&conn->stream);
    turn_until_quiet();
    assert_memory_equal(conn->seen, "GET / HTTP", 10);
    assert_null(conn->stream.kept);
}

static void a_rest_grows_up_to_its_maximum(void **state)
{
    char *bytes = pattern(8000);

    conn->consume = HOLD_ALL;
    for (int i = 1; i <= 8; i++) {
        peer_sends(bytes, 8000);
        turn_until_quiet();
        assert_int_equal(conn->last_len, 8000 * i);
    }
    peer_sends(bytes, 8000);
    turn_until_quiet();
    assert_int_equal(conn->last_len, 64 << 10);
    assert_int_equal(conn->error, DM_EBUDGET);
    assert_int_equal(conn->n_error, 1);
    dm_free(bytes);
}

static void paused_bytes_wait_and_the_end_too(void **state)
{
    conn->pauses = true;
    conn->consume = 2;
    peer_sends("abcd", 4);
    turn_until_quiet();
    peer_sends("ef", 2);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 1);
    assert_int_equal(conn->n_eof, 0);
    conn->pauses = false;
    conn->consume = LONG_MAX;
    dm_stream_resume(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 6);
    assert_memory_equal(conn->seen, "abcdef", 6);
    assert_int_equal(conn->n_eof, 1);
    assert_int_equal(conn->n_error, 0);
}

static void bytes_with_the_end_in_one_event(void **state)
{
    peer_sends("last words", 10);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 10);
    assert_int_equal(conn->n_eof, 1);
    /* Half-closed: we may still speak. */
    assert_int_equal(dm_stream_put(&conn->stream, "bye", 3), 0);
    dm_stream_shutdown(&conn->stream);
    assert_int_equal(dm_stream_write(&conn->stream, "x", 1), DM_ECLOSED);
    turn_until_quiet();
    char got[8];
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    assert_true(peer_sees_end());
}

static unsigned n_sends;

static ssize_t counting_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    n_sends++;
    return dm_sys_real()->ops->send(sys, fd, ptr, len);
}

static unsigned n_recvs;

static ssize_t counting_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    n_recvs++;
    return dm_sys_real()->ops->recv(sys, fd, ret, len);
}

static void a_message_costs_one_recv_and_one_send(void **state)
{
    char got[64];

    fake.ops.send = counting_send;
    fake.ops.recv = counting_recv;
    n_sends = n_recvs = 0;
    conn->echoes = true;
    for (int i = 1; i <= 5; i++) {
        peer_sends("ping ping", 9);
        assert_int_equal(dm_loop_turn(loop, -1), 1);
        assert_int_equal(peer_reads(got, sizeof(got)), 9);
        assert_int_equal(n_sends, i);
        assert_int_equal(n_recvs, i);
    }
}

static void small_writes_leave_together_at_the_end_of_the_turn(void **state)
{
    char got[64];

    fake.ops.send = counting_send;
    n_sends = 0;
    assert_int_equal(dm_stream_write(&conn->stream, "one ", 4), 4);
    assert_int_equal(dm_stream_put(&conn->stream, "two ", 4), 0);
    assert_int_equal(dm_stream_write(&conn->stream, "three", 5), 5);
    assert_int_equal(dm_stream_unsent(&conn->stream), 13);
    assert_int_equal(peer_reads(got, sizeof(got)), 0);
    dm_loop_turn(loop, 0);
    assert_int_equal(peer_reads(got, sizeof(got)), 13);
    assert_memory_equal(got, "one two three", 13);
    assert_int_equal(n_sends, 1);
    assert_int_equal(dm_stream_put(&conn->stream, "now", 3), 0);
    dm_stream_flush(&conn->stream);
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    assert_int_equal(conn->stream.bytes_out, 16);
}

static void a_large_slice_goes_with_its_head_in_order(void **state)
{
    char *body = pattern(60000), *got = dm_alloc(60004);

    assert_int_equal(dm_stream_put(&conn->stream, "head", 4), 0);
    assert_int_equal(dm_stream_write(&conn->stream, body, 60000), 60000);
    assert_int_equal(dm_stream_unsent(&conn->stream), 0);
    assert_int_equal(peer_reads(got, 60004), 60004);
    assert_memory_equal(got, "head", 4);
    assert_memory_equal(got + 4, body, 60000);
    dm_free(body);
    dm_free(got);
}

static void a_full_peer_pushes_back_and_then_lets_go(void **state)
{
    size_t total = 3 << 20, n_written = 0, n_got = 0;
    char *bytes = pattern(total), *got = dm_alloc(total);

    while (n_got < total) {
        ssize_t n = 0;
        while (n_written < total && (n = dm_stream_write(&conn->stream, bytes + n_written, total - n_written)) > 0)
            n_written += (size_t)n;
        assert_true(n > 0 || n == DM_EAGAIN || n_written == total);
        assert_true(dm_stream_unsent(&conn->stream) <= type.write_max_bytes + (WITH_TLS ? 8 * 22 : 0));
        if (n == DM_EAGAIN)
            assert_int_equal(dm_stream_put(&conn->stream, "no", 2), DM_EAGAIN);
        unsigned before = conn->n_writable;
        n_got += peer_reads(got + n_got, total - n_got);
        while (n_got < total && conn->n_writable == before && n_written < total) {
            turn_until_quiet();
            n_got += peer_reads(got + n_got, total - n_got);
        }
        turn_until_quiet();
    }
    assert_memory_equal(got, bytes, total);
    assert_true(conn->n_writable > 2);
    assert_int_equal(conn->stream.bytes_out, total);
    assert_null(conn->stream.head);
    dm_free(bytes);
    dm_free(got);
}

/* Nothing waits in the kernel's way, so no readiness will tell. */
static void a_refusal_that_the_flush_undoes_is_taken_back(void **state)
{
    static struct dm_stream_type small;
    char bytes[4096] = {0};

    small = type;
    small.write_max_bytes = sizeof(bytes);
    dm_stream_set_type(&conn->stream, &small);
    assert_int_equal(dm_stream_write(&conn->stream, bytes, 4000), 4000);
    assert_int_equal(dm_stream_write(&conn->stream, bytes, 4000), 96);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 1), DM_EAGAIN);
    assert_int_equal(dm_stream_room(&conn->stream), 0);
    turn_until_quiet();
    assert_int_equal(conn->n_writable, 1);
    assert_int_equal(dm_stream_room(&conn->stream), sizeof(bytes));
    /* All or nothing, but never stuck: one piece may pass the maximum. */
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), 0);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), 0);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, 4000), DM_EAGAIN);
    turn_until_quiet();
    assert_int_equal(conn->n_writable, 2);
    assert_int_equal(conn->stream.bytes_out, 4096 + 8000);
}

static size_t yield_once(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    if (c->n_reads == 0)
        dm_stream_resume(stream);
    c->consume = c->n_reads == 0 ? 1 : LONG_MAX;
    return on_read(stream, ptr, len);
}

static void a_rest_asked_for_comes_before_the_end(void **state)
{
    static struct dm_stream_type yielding;

    yielding = type;
    yielding.on_read = yield_once;
    dm_stream_set_type(&conn->stream, &yielding);
    peer_sends("abc", 3);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 2);
    assert_int_equal(conn->n_eof, 1);
    assert_int_equal(conn->n_seen_at_eof, 3);
}

static void shutdown_waits_for_the_queue(void **state)
{
    size_t total = 1 << 20, n_got = 0, n_written;
    char *bytes = pattern(total), *got = dm_alloc(total);

    n_written = (size_t)dm_stream_write(&conn->stream, bytes, total);
    assert_true(n_written < total && dm_stream_unsent(&conn->stream) > 0);
    dm_stream_shutdown(&conn->stream);
    assert_false(conn->stream.has_shutdown);
    while (!conn->stream.has_shutdown) {
        n_got += peer_reads(got + n_got, total - n_got);
        turn_until_quiet();
    }
    n_got += peer_reads(got + n_got, total - n_got);
    assert_int_equal(n_got, n_written);
    assert_memory_equal(got, bytes, n_got);
    assert_true(peer_sees_end());
    dm_free(bytes);
    dm_free(got);
}

static void closing_in_on_read_ends_it(void **state)
{
    conn->closes = true;
    conn->consume = 1;
    peer_sends("xyz", 3);
    dm_loop_turn(loop, -1);
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 1);
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(dm_stream_write(&conn->stream, "x", 1), DM_ECLOSED);
}

static void closing_in_on_read_of_a_kept_rest(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("abc", 3);
    dm_loop_turn(loop, -1);
    conn->closes = true;
    conn->consume = LONG_MAX;
    peer_sends("def", 3);
    dm_loop_turn(loop, -1);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 6);
    assert_int_equal(conn->n_closed, 1);
}

static void close_sends_what_has_gathered(void **state)
{
    char got[16];

    assert_int_equal(dm_stream_put(&conn->stream, "bye", 3), 0);
    dm_stream_close(&conn->stream);
    assert_int_equal(conn->n_closed, 0);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
}

static void a_failed_write_is_told_after_the_last_words(void **state)
{
    peer_sends("refused", 7);
    close(peer);
    peer = -1;
    assert_int_equal(dm_stream_put(&conn->stream, "data", 4), 0);
    dm_stream_flush(&conn->stream);
    assert_int_equal(conn->n_error, 0);
    assert_int_equal(dm_stream_write(&conn->stream, "more", 4), DM_ECLOSED);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 7);
    assert_int_equal(conn->n_error, 1);
    assert_int_equal(conn->error, -EPIPE);
    assert_int_equal(conn->n_eof, 0);
    assert_int_equal(conn->n_closed, 1);
}

#if !WITH_TLS
static size_t n_flood;

static ssize_t flooding_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    if (n_flood == 0)
        return -EAGAIN;
    len = DM_MIN(len, n_flood);
    n_flood -= len;
    memset(ret, 'f', len);
    return (ssize_t)len;
}

static void a_flood_is_bounded_per_turn(void **state)
{
    fake.ops.recv = flooding_recv;
    n_flood = 1000000;
    peer_sends("x", 1);
    assert_int_equal(dm_loop_turn(loop, -1), 2);
    /* The event and, in the same turn, its task. */
    assert_int_equal(conn->n_seen, 2 * (256 << 10));
    assert_int_equal(dm_loop_turn(loop, -1), 1);
    assert_int_equal(conn->n_seen, 3 * (256 << 10));
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 1000000);
    assert_int_equal(n_flood, 0);
}
#endif

static void graceful_close_waits_for_the_peer(void **state)
{
    char got[16];

    assert_int_equal(dm_stream_put(&conn->stream, "400", 3), 0);
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(peer_reads(got, sizeof(got)), 3);
    peer_sends("ignored", 7);
    turn_until_quiet();
    assert_int_equal(conn->n_reads, 0);
    assert_int_equal(conn->n_closed, 0);
    peer_ends();
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
}

static void graceful_close_has_an_end(void **state)
{
    conn->consume = HOLD_ALL;
    peer_sends("kept", 4);
    turn_until_quiet();
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 0);
    fake_clock_advance_ms(&fake, 1001);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(conn->n_error, 0);
}

static void graceful_close_after_the_peers_end_is_immediate(void **state)
{
    char got[16];

    peer_ends();
    turn_until_quiet();
    assert_int_equal(dm_stream_put(&conn->stream, "done", 4), 0);
    dm_stream_close_gracefully(&conn->stream, 1000);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(peer_reads(got, sizeof(got)), 4);
}

static void closing_in_on_writable_is_fine(void **state)
{
    size_t total = 2 << 20;
    char *bytes = pattern(total);

    conn->closes_in_writable = true;
    assert_true(dm_stream_write(&conn->stream, bytes, total) < (ssize_t)total);
    while (conn->n_writable == 0) {
        peer_reads(bytes, total);
        turn_until_quiet();
    }
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_free(bytes);
}

/* TCP: connect, accept, both ends on one loop. */

static struct dm_listener listener;
static struct conn *accepted;

static void on_accept(struct dm_listener *l, int fd, const struct dm_addr *from)
{
    assert_int_equal(from->ss.ss_family, AF_INET);
    accepted = dm_calloc(1, sizeof(*accepted));
    accepted->consume = LONG_MAX;
    accepted->echoes = true;
    assert_int_equal(dm_stream_open(&accepted->stream, loop, &type, fd), 0);
}

static void listen_on_loopback(void)
{
    struct dm_addr addr;
    struct dm_err err = {0};

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, &err), 0);
    assert_int_equal(dm_listener_open(&listener, loop, &addr, 16, true, on_accept, &err), 0);
    assert_int_not_equal(dm_addr_port(&listener.addr), 0);
    accepted = NULL;
}

static void close_accepted(void)
{
    dm_stream_close(&accepted->stream);
    turn_until_quiet();
    assert_int_equal(accepted->n_closed, 1);
    dm_free(accepted);
}

static void what_is_written_while_connecting_is_sent_then(void **state)
{
    struct conn *client = dm_calloc(1, sizeof(*client));

    client->consume = LONG_MAX;
    listen_on_loopback();
    assert_int_equal(dm_stream_connect(&client->stream, loop, &type, &listener.addr, 1000), 0);
    assert_int_equal(dm_stream_put(&client->stream, "early", 5), 0);
    while (client->n_seen < 5)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(client->n_connect, 1);
    assert_memory_equal(client->seen, "early", 5);
    assert_false(dm_timer_is_armed(&client->stream.timer));
    dm_stream_close(&client->stream);
    while (accepted->n_eof == 0)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(client->n_closed, 1);
    close_accepted();
    dm_listener_close(&listener);
    dm_free(client);
}

static void a_refused_connect_is_told(void **state)
{
    struct conn *client = dm_calloc(1, sizeof(*client));
    struct dm_addr addr;
    int rc;

    listen_on_loopback();
    addr = listener.addr;
    dm_listener_close(&listener);
    rc = dm_stream_connect(&client->stream, loop, &type, &addr, 1000);
    if (rc == 0) {
        while (client->n_closed == 0)
            assert_true(dm_loop_turn(loop, 5000) >= 0);
        rc = client->error;
        assert_int_equal(client->n_error, 1);
    }
    assert_int_equal(rc, -ECONNREFUSED);
    assert_int_equal(client->n_connect, 0);
    dm_free(client);
}

/* A listener whose queue is full does not answer. */
static void a_connect_that_takes_too_long_is_told(void **state)
{
    struct conn *clients = dm_calloc(4, sizeof(*clients));
    struct dm_sys *sys = dm_loop_sys(loop);
    struct dm_addr addr;
    int fd;

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    fd = sys->ops->listen(sys, &addr, 0, false);
    assert_true(fd >= 0);
    assert_int_equal(sys->ops->local_addr(sys, fd, &addr), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dm_stream_connect(&clients[i].stream, loop, &type, &addr, 300), 0);
    turn_until_quiet();
    assert_int_equal(clients[3].n_connect, 0);
    fake_clock_advance_ms(&fake, 301);
    turn_until_quiet();
    assert_int_equal(clients[3].error, DM_ETIMEOUT);
    assert_int_equal(clients[3].n_closed, 1);
    for (int i = 0; i < 3; i++)
        dm_stream_close(&clients[i].stream);
    turn_until_quiet();
    sys->ops->close(sys, fd);
    dm_free(clients);
}

static void a_reset_is_told_even_while_paused(void **state)
{
    struct linger abort_close = {.l_onoff = 1, .l_linger = 0};
    struct dm_sys *sys = dm_loop_sys(loop);
    int fd;

    listen_on_loopback();
    fd = sys->ops->connect(sys, &listener.addr);
    while (!accepted)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    dm_stream_pause(&accepted->stream);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_close, sizeof(abort_close)), 0);
    sys->ops->close(sys, fd);
    while (accepted->n_closed == 0)
        assert_true(dm_loop_turn(loop, 5000) >= 0);
    assert_int_equal(accepted->error, -ECONNRESET);
    dm_free(accepted);
    dm_listener_close(&listener);
}

static void steady_state_allocates_nothing(void **state)
{
#ifdef DM_DEBUG_ALLOC
    skip();
#endif
    char *big = pattern(40000), *got = dm_alloc(40000);
    uint64_t calls = 0;

    conn->echoes = true;
    for (int i = 0; i < 200; i++) {
        if (i == 20)
            calls = dm_mem_calls();
        conn->n_seen = 0;
        conn->consume = i % 2 ? 100 : LONG_MAX;
        peer_sends(big, i % 3 ? 3000 : 40000);
        turn_until_quiet();
        conn->consume = LONG_MAX;
        dm_stream_resume(&conn->stream);
        turn_until_quiet();
        assert_int_equal(peer_reads(got, 40000), i % 3 ? 3000 : 40000);
    }
    assert_int_equal(dm_mem_calls(), calls);
    dm_free(big);
    dm_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(bytes_come_in_and_an_idle_stream_owns_nothing),
        TEST(an_unconsumed_rest_comes_again_with_what_follows),
        TEST(a_rest_grows_up_to_its_maximum),
        TEST(paused_bytes_wait_and_the_end_too),
        TEST(bytes_with_the_end_in_one_event),
        TEST(a_message_costs_one_recv_and_one_send),
        TEST(small_writes_leave_together_at_the_end_of_the_turn),
        TEST(a_large_slice_goes_with_its_head_in_order),
        TEST(a_full_peer_pushes_back_and_then_lets_go),
        TEST(a_refusal_that_the_flush_undoes_is_taken_back),
        TEST(a_rest_asked_for_comes_before_the_end),
        TEST(shutdown_waits_for_the_queue),
        TEST(closing_in_on_read_ends_it),
        TEST(closing_in_on_read_of_a_kept_rest),
        TEST(close_sends_what_has_gathered),
        TEST(a_failed_write_is_told_after_the_last_words),
        TEST(graceful_close_waits_for_the_peer),
        TEST(graceful_close_has_an_end),
        TEST(graceful_close_after_the_peers_end_is_immediate),
        TEST(closing_in_on_writable_is_fine),
        TEST(steady_state_allocates_nothing),
    /* Of the socket alone. */
#if !WITH_TLS
        TEST(a_flood_is_bounded_per_turn),
#endif
        TEST(what_is_written_while_connecting_is_sent_then),
        TEST(a_refused_connect_is_told),
        TEST(a_connect_that_takes_too_long_is_told),
        TEST(a_reset_is_told_even_while_paused),
    };

    return cmocka_run_group_tests(tests, make_tls, free_tls);
}
