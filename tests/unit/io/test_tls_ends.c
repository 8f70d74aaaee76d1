/* Serving TLS: how connections end, what is no TLS, floods, and what a connection costs. */
#include "tls_rig.h"

#include <signal.h>

static void a_close_is_told_and_an_abort_shows(void **state)
{
    char got[16];
    int end;

    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(dm_stream_put(&conn->stream, "whole", 5), 0);
    dm_stream_close(&conn->stream);
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), 5);
    assert_int_equal(end, 1);
    turn_until_quiet();
    forget_session();
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(dm_stream_put(&conn->stream, "cut", 3), 0);
    dm_stream_flush(&conn->stream);
    dm_stream_abort(&conn->stream);
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), 3);
    assert_int_equal(end, -1);
}

static void a_close_with_something_unsent_shows_as_cut(void **state)
{
    size_t total = 4 << 20;
    char *bytes = dm_calloc(1, total);
    int end = 0;
    size_t n = 0;

    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(dm_stream_put(&conn->stream, bytes, total), 0);
    assert_true(dm_stream_unsent(&conn->stream) > 0);
    dm_stream_close(&conn->stream);
    while (end == 0)
        n += tls_peer_read(&peer, bytes, total, &end);
    assert_int_equal(end, -1);
    assert_true(n < total);
    dm_free(bytes);
}

static void the_peers_end_is_told_or_is_a_failure(void **state)
{
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(SSL_write(peer.ssl, "bye", 3), 3);
    assert_int_equal(SSL_shutdown(peer.ssl), 0);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 3);
    assert_int_equal(conn->n_eof, 1);
    assert_int_equal(conn->n_error, 0);
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(SSL_write(peer.ssl, "cut", 3), 3);
    shutdown(peer.fd, SHUT_WR);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 3);
    assert_int_equal(conn->n_eof, 0);
    assert_int_equal(conn->error, DM_ETLS);
    assert_int_equal(conn->reason, DM_TLS_REASON_TRUNCATED);
}

static void each_direction_ends_on_its_own(void **state)
{
    char got[16];
    int end;

    assert_int_equal(shake("api.example"), 1);
    dm_stream_shutdown(&conn->stream);
    turn_until_quiet();
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), 0);
    assert_int_equal(end, 1);
    assert_int_equal(SSL_write(peer.ssl, "still", 5), 5);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 5);
    assert_int_equal(SSL_shutdown(peer.ssl), 1);
    turn_until_quiet();
    assert_int_equal(conn->n_eof, 1);
}

static void what_is_written_before_the_handshake_waits(void **state)
{
    char got[16];
    int end;

    tls_peer_open(&peer, accept_raw(), "api.example");
    SSL_set_connect_state(peer.ssl);
    assert_int_equal(dm_stream_put(&conn->stream, "early", 5), 0);
    dm_stream_shutdown(&conn->stream);
    while (tls_peer_shake(&peer) == 0)
        turn_until_quiet();
    turn_until_quiet();
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), 5);
    assert_int_equal(end, 1);
}

/* Bad input */

/* What the peer of a handshake sends may end at any byte, or be garbage from any byte on. */
static void a_handshake_may_be_cut_or_spoilt_at_each_byte(void **state)
{
    for (int spoils = 0; spoils < 2; spoils++)
        for (size_t at = 0;; at += 3) {
            char bytes[4096];
            int fd = accept_raw(), fds[2], rc = 0;
            size_t n_passed = 0;
            ssize_t n;
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
            tls_peer_open(&peer, fds[1], "api.example");
            SSL_set_connect_state(peer.ssl);
            while ((rc = tls_peer_shake(&peer)) == 0 && n_passed <= at) {
                while (n_passed <= at && (n = recv(fds[0], bytes, sizeof(bytes), 0)) > 0) {
                    bool is_hit = n_passed + (size_t)n > at;
                    if (is_hit)
                        bytes[at - n_passed] ^= 0x41;
                    n = is_hit && !spoils ? (ssize_t)(at - n_passed) : n;
                    n_passed += is_hit ? sizeof(bytes) * 1000 : (size_t)n;
                    assert_int_equal(send(fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
                }
                turn_until_quiet();
                while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
                    assert_int_equal(send(fds[0], bytes, (size_t)n, 0), n);
            }
            close(fd);
            close(fds[0]);
            turn_until_quiet();
            bool is_over = rc != 0 && n_passed <= at;
            if (!is_over && at > 0 && conn->n_error + conn->n_eof + conn->n_connect == 0)
                fail_msg("byte %zu %s: nothing was told", at, spoils ? "spoilt" : "the last");
            end_conn();
            if (is_over)
                break;
        }
}

static void sends(const char *ptr, size_t len, int error, enum dm_tls_reason reason)
{
    int fd = accept_raw();

    assert_int_equal(send(fd, ptr, len, MSG_NOSIGNAL), len);
    shutdown(fd, SHUT_WR);
    turn_until_quiet();
    if (conn->error != error || conn->reason != reason)
        fail_msg("'%.8s' error %d reason %s", ptr, conn->error, dm_tls_reason_name(conn->reason));
    assert_int_equal(conn->n_closed, 1);
    close(fd);
}

static void what_is_not_tls_is_named(void **state)
{
    char garbage[5000];

    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (char)(i * 37 + (i >> 3) + 1);
    sends("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 26, DM_ETLS, DM_TLS_REASON_NOT_TLS);
    sends(garbage, sizeof(garbage), DM_ETLS, DM_TLS_REASON_NOT_TLS);
    sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, DM_ETLS, DM_TLS_REASON_NOT_TLS);
    sends("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, DM_ETLS, DM_TLS_REASON_HANDSHAKE);
    sends("\x16\x03\x01\x00", 4, DM_ETLS, DM_TLS_REASON_TRUNCATED);
    sends("\x15\x03\x01\x00\x02\x01\x00", 7, DM_ETLS, DM_TLS_REASON_HANDSHAKE); /* close_notify */
    sends("\x17\x03\x03\x00\x01\x00", 6, DM_ETLS, DM_TLS_REASON_HANDSHAKE);
    sends("", 0, DM_ECLOSED, DM_TLS_REASON_NONE);
    assert_int_equal(n_selected, 0);
}

static void a_spoilt_record_ends_the_connection(void **state)
{
    char byte;
    int end;

    assert_int_equal(shake("api.example"), 1);
    exchange("fine");
    assert_int_equal(send(peer.fd, "\x17\x03\x03\x00\x20 0123456789abcdef0123456789abcde", 37, 0), 37);
    turn_until_quiet();
    assert_int_equal(conn->error, DM_ETLS);
    assert_int_equal(conn->reason, DM_TLS_REASON_RECORD);
    tls_peer_read(&peer, &byte, 1, &end);
    assert_int_equal(end, -1);
}

/* The client does not know the issuer and says so. */
static void an_alert_is_told(void **state)
{
    end_conn();
    tls_peer_done(&peer);
    tls_peer_init(&peer, TLS_client_method(), client_root);
    assert_int_equal(shake("api.example"), -1);
    assert_int_equal(conn->error, DM_ETLS);
    assert_int_equal(conn->reason, DM_TLS_REASON_ALERT);
    assert_int_equal(conn->alert, SSL_AD_UNKNOWN_CA);
}

static void renegotiation_is_refused(void **state)
{
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(SSL_renegotiate(peer.ssl), 1);
    for (int i = 0; i < 4; i++) {
        tls_peer_shake(&peer);
        turn_until_quiet();
    }
    assert_int_equal(n_selected, 1);
    assert_true(SSL_renegotiate_pending(peer.ssl) || conn->n_error > 0 || SSL_num_renegotiations(peer.ssl) == 0);
}

/* Requests for new keys, each of which wants an answer, from somebody who reads none of them. */
static void a_flood_of_key_updates_ends(void **state)
{
    char bytes[4096];
    unsigned n = 0;

    assert_int_equal(shake("api.example"), 1);
    while (conn->n_error == 0 && n++ < 100000) {
        SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(peer.ssl);
        ERR_clear_error();
        turn_until_quiet();
        assert_true(dm_stream_unsent(&conn->stream) <= 128 << 10);
    }
    assert_int_equal(conn->n_error, 1);
    assert_int_equal(conn->reason, DM_TLS_REASON_FLOOD);
    while (recv(peer.fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

/* Bytes of the peer that come without a socket, so that there is no end to what is there. */
static struct dm_str flood;
static size_t n_taken;

static ssize_t flooding_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    len = DM_MIN(len, flood.len);
    if (len == 0)
        return -EAGAIN;
    memcpy(ret, flood.ptr, len);
    flood = dm_str_skip(flood, len);
    n_taken += len;
    return (ssize_t)len;
}

/* From here on what the peer sends gathers in memory. */
static BIO *gather_flood(void)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(BIO_up_ref(bio), 1);
    SSL_set0_wbio(peer.ssl, bio);
    return bio;
}

static void let_it_flood(BIO *bio)
{
    char *ptr = NULL;
    size_t len = (size_t)BIO_get_mem_data(bio, &ptr);

    flood = dm_str_n(ptr, len);
    n_taken = 0;
    fake.ops.recv = flooding_recv;
    assert_int_equal(send(peer.fd, "x", 1, 0), 1); /* an edge; the byte itself is never read */
    dm_loop_turn(loop, -1);
}

static void a_flood_is_bounded_per_turn(void **state)
{
    char *bytes = dm_calloc(1, 1 << 20);
    BIO *bio;

    assert_int_equal(shake("api.example"), 1);
    bio = gather_flood();
    assert_int_equal(SSL_write(peer.ssl, bytes, 1000000), 1000000);
    let_it_flood(bio);
    assert_in_range(conn->n_seen, 64 << 10, 128 << 10);
    assert_in_range(n_taken, conn->n_seen, 128 << 10);
    turn_until_quiet();
    assert_int_equal(conn->n_seen, 1000000);
    assert_int_equal(conn->n_error, 0);
    dm_free(bytes);
    BIO_free(bio);
}

/* New keys again and again, of which there is nothing to show. */
static void a_flood_without_a_byte_is_bounded_too(void **state)
{
    BIO *bio;

    assert_int_equal(shake("api.example"), 1);
    bio = gather_flood();
    while (BIO_pending(bio) < 700 << 10) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer.ssl), 1);
    }
    assert_int_equal(SSL_write(peer.ssl, "at last", 7), 7);
    let_it_flood(bio);
    assert_in_range(n_taken, 1, 2 * (160 << 10));
    assert_int_equal(conn->n_seen, 0);
    turn_until_quiet();
    assert_int_equal(flood.len, 0);
    assert_int_equal(conn->n_seen, 7);
    assert_int_equal(conn->n_error, 0);
    BIO_free(bio);
}

static void an_idle_connection_owns_nothing(void **state)
{
    assert_int_equal(shake("api.example"), 1);
    exchange("one");
    exchange("two");
    assert_null(conn->stream.kept);
    assert_null(conn->stream.head);
    assert_int_equal(dm_stream_unsent(&conn->stream), 0);
}

static unsigned n_sends, n_recvs;

static ssize_t counting_send(struct dm_sys *sys, int fd, const void *ptr, size_t len)
{
    n_sends++;
    return dm_sys_real()->ops->send(sys, fd, ptr, len);
}

static ssize_t counting_recv(struct dm_sys *sys, int fd, void *ret, size_t len)
{
    n_recvs++;
    return dm_sys_real()->ops->recv(sys, fd, ret, len);
}

static void a_message_costs_one_recv_and_one_send(void **state)
{
    assert_int_equal(shake("api.example"), 1);
    fake.ops.send = counting_send;
    fake.ops.recv = counting_recv;
    n_sends = n_recvs = 0;
    for (unsigned i = 1; i <= 5; i++) {
        exchange("ping ping");
        assert_int_equal(n_sends, i);
        assert_int_equal(n_recvs, i);
    }
}

#ifndef DM_DEBUG_ALLOC

/* The buffers that the system allocator is asked for while the loop turns, by OpenSSL too (whose packet writers take 40 bytes
 * each, which the C library has at hand). */
static bool counts_buffers;
static unsigned n_buffers;

void *__libc_malloc(size_t size);

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    n_buffers += counts_buffers && size > 40;
    return __libc_malloc(size);
}

static void exchange_counted(char *bytes, size_t len)
{
    int end;

    conn->n_seen = 0;
    assert_int_equal(SSL_write(peer.ssl, bytes, (int)len), len);
    counts_buffers = true;
    turn_until_quiet();
    counts_buffers = false;
    assert_int_equal(tls_peer_read(&peer, bytes, len, &end), len);
}

static void steady_state_allocates_no_buffer(void **state)
{
    char *bytes = dm_calloc(1, 30000);

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX_set_min_proto_version(peer.ctx, version);
        SSL_CTX_set_max_proto_version(peer.ctx, version);
        assert_int_equal(shake("api.example"), 1);
        conn->echoes = true;
        for (int i = 0; i < 100; i++) {
            if (i == 10)
                n_buffers = 0;
            exchange_counted(bytes, i % 3 ? 300 : 30000);
        }
        assert_int_equal(n_buffers, 0);
    }
    dm_free(bytes);
}

#endif

/* A body of 60 KB leaves with one send, in full records. */
static void large_bodies_go_in_full_records(void **state)
{
    char *body = dm_calloc(1, 60000), *got = dm_alloc(60000);
    int end;

    assert_int_equal(shake("api.example"), 1);
    fake.ops.send = counting_send;
    n_sends = 0;
    assert_int_equal(dm_stream_write(&conn->stream, body, 60000), 60000);
    assert_int_equal(n_sends, 1);
    assert_int_equal(tls_peer_read(&peer, got, 60000, &end), 60000);
    assert_int_equal(dm_stream_unsent(&conn->stream), 0);
    dm_free(body);
    dm_free(got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_close_is_told_and_an_abort_shows),
        TEST(a_close_with_something_unsent_shows_as_cut),
        TEST(the_peers_end_is_told_or_is_a_failure),
        TEST(each_direction_ends_on_its_own),
        TEST(what_is_written_before_the_handshake_waits),
        TEST(a_handshake_may_be_cut_or_spoilt_at_each_byte),
        TEST(what_is_not_tls_is_named),
        TEST(a_spoilt_record_ends_the_connection),
        TEST(an_alert_is_told),
        TEST(renegotiation_is_refused),
        TEST(a_flood_of_key_updates_ends),
        TEST(a_flood_is_bounded_per_turn),
        TEST(a_flood_without_a_byte_is_bounded_too),
        TEST(an_idle_connection_owns_nothing),
        TEST(a_message_costs_one_recv_and_one_send),
#ifndef DM_DEBUG_ALLOC
        TEST(steady_state_allocates_no_buffer),
#endif
        TEST(large_bodies_go_in_full_records),
    };

    dm_tls_init();
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's own sockets write to ends that are gone */
    return cmocka_run_group_tests(tests, make_identities, free_identities);
}
