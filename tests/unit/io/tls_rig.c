/* One connection that is served with TLS, and OpenSSL as the client at the other end of a socket. Included by one test each. */
#ifndef DM_TESTS_TLS_RIG_H
#define DM_TESTS_TLS_RIG_H

#include "tls_peer.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fake_clock.h"
#include "io/proxy_protocol.h"
#include "io/tls.h"

/* The wall clock of all tests. */
#define NOW_S INT64_C(1750000000)

struct conn {
    struct dm_stream stream;
    char seen[1 << 20];
    size_t n_seen;
    unsigned n_connect, n_eof, n_error, n_closed;
    int error;
    enum dm_tls_reason reason;
    int alert;
    bool echoes;
};

static struct pki_identity *root, *middle, *leaf, *rsa_leaf, *client_root, *client_leaf, *client_expired,
    *client_stranger;
static struct fake_clock fake;
static struct dm_loop *loop;
static struct dm_tls_acceptor *acceptor;
static struct dm_tls_profile *profile;
static struct dm_tls_profile_settings settings;
static struct conn *conn;
static struct tls_peer peer;
static char selected_name[256];
static unsigned n_selected, n_put_off;
static uint64_t wall_ns;

static inline uint64_t test_wall_ns(struct dm_sys *sys)
{
    return wall_ns;
}

static inline size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    assert_int_equal(c->n_connect, 1);
    assert_true(c->n_seen + len <= sizeof(c->seen));
    memcpy(c->seen + c->n_seen, ptr, len);
    c->n_seen += len;
    if (c->echoes)
        assert_int_equal(dm_stream_put(stream, ptr, len), 0);
    return len;
}

static inline void on_eof(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_eof++;
}

static inline void on_connect(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_connect++;
}

static inline void on_error(struct dm_stream *stream, int code)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_error++;
    c->error = code;
    c->reason = dm_tls_reason(stream);
    c->alert = dm_tls_alert(stream);
    dm_stream_close(stream);
}

static inline void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_closed++;
}

static const struct dm_stream_type type = {
    .on_read = on_read,
    .on_eof = on_eof,
    .on_connect = on_connect,
    .on_error = on_error,
    .on_closed = on_closed,
};

static inline struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    assert_ptr_equal(arg, &profile);
    assert_ptr_equal(stream, &conn->stream);
    n_selected++;
    snprintf(selected_name, sizeof(selected_name), "%.*s", DM_STR_ARG(server_name));
    if (n_put_off > 0) {
        n_put_off--;
        return dm_tls_later;
    }
    if (dm_str_eq(server_name, DM_STR("full.example")))
        return dm_tls_refused;
    return dm_str_eq(server_name, DM_STR("unknown.example")) ? NULL : profile;
}

static inline void make_client_identities(void)
{
    struct pki_spec spec = {.subject = "Client, one", .is_client = true};

    client_root = pki_make(&(struct pki_spec){.subject = "Clients", .is_ca = true}, NULL);
    client_leaf = pki_make(&spec, client_root);
    client_stranger = pki_make(&spec, root);
    spec.not_after_s = NOW_S - 1;
    client_expired = pki_make(&spec, client_root);
}

static inline int make_identities(void **state)
{
    struct pki_spec spec = {.subject = "Server", .names = "DNS:api.example,DNS:*.shop.example"};

    root = pki_make(&(struct pki_spec){.subject = "Root", .is_ca = true}, NULL);
    middle = pki_make(&(struct pki_spec){.subject = "Middle", .is_ca = true}, root);
    leaf = pki_make(&spec, middle);
    spec.key = PKI_RSA2048;
    rsa_leaf = pki_make(&spec, middle);
    make_client_identities();
    return 0;
}

static inline int free_identities(void **state)
{
    struct pki_identity *const all[] = {root,        middle,      leaf,           rsa_leaf,
                                        client_root, client_leaf, client_expired, client_stranger};

    for (size_t i = 0; i < DM_COUNT(all); i++)
        pki_free(all[i]);
    return 0;
}

static inline void renew_profile(void)
{
    struct dm_err err = {0};

    dm_tls_profile_unref(profile);
    if (dm_tls_profile_new(&settings, &profile, &err) < 0)
        fail_msg("no profile: %s", err.message);
}

static inline int setup(void **state)
{
    fake_clock_init(&fake);
    fake.ops.wall_ns = test_wall_ns;
    wall_ns = (uint64_t)NOW_S * 1000000000u;
    loop = dm_loop_new(&fake.sys);
    settings =
        (struct dm_tls_profile_settings){.chain_pem = leaf->chain_pem, .key_pem = leaf->key_pem, .scope = "scope one"};
    renew_profile();
    acceptor = dm_tls_acceptor_new(select_profile, &profile);
    tls_peer_init(&peer, TLS_client_method(), root);
    n_selected = n_put_off = 0;
    return 0;
}

static inline void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static inline void end_conn(void)
{
    if (!conn)
        return;
    dm_stream_close(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
    dm_free(conn);
    conn = NULL;
    tls_peer_close(&peer);
}

static inline int teardown(void **state)
{
    end_conn();
    tls_peer_done(&peer);
    dm_tls_profile_unref(profile);
    profile = NULL;
    dm_tls_acceptor_free(acceptor);
    dm_loop_free(loop);
    return 0;
}

/* A connection of which nothing has been said; the descriptor of the client's end. */
static inline int accept_raw(void)
{
    int fds[2];

    end_conn();
    conn = dm_calloc(1, sizeof(*conn));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&conn->stream, loop, &type, fds[0]), 0);
    dm_tls_serve(&conn->stream, acceptor);
    return fds[1];
}

/* The client's outcome: 1, or what tls_peer_shake says. */
static inline int shake(const char *server_name)
{
    int rc = 0;

    tls_peer_open(&peer, accept_raw(), server_name);
    SSL_set_connect_state(peer.ssl);
    while ((rc = tls_peer_shake(&peer)) == 0)
        turn_until_quiet();
    turn_until_quiet();
    return rc;
}

static inline void exchange(const char *text)
{
    size_t len = strlen(text), before = conn->n_seen;
    char got[256];
    int end;

    conn->echoes = true;
    assert_int_equal(SSL_write(peer.ssl, text, (int)len), len);
    turn_until_quiet();
    assert_int_equal(conn->n_seen - before, len);
    assert_memory_equal(conn->seen + before, text, len);
    assert_int_equal(tls_peer_read(&peer, got, sizeof(got), &end), len);
    assert_memory_equal(got, text, len);
    assert_int_equal(end, 0);
}

static inline struct dm_tls_info info_now(void)
{
    struct dm_tls_info info;

    assert_true(dm_tls_info(&conn->stream, &info));
    return info;
}

static inline void refused(int rc, int alert, enum dm_tls_reason reason)
{
    if (rc != -alert || conn->reason != reason || conn->error != DM_ETLS)
        fail_msg("alert %d reason %s error %d, expected %d %s", -rc, dm_tls_reason_name(conn->reason), conn->error,
                 alert, dm_tls_reason_name(reason));
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(conn->n_connect, 0);
}

static inline void forget_session(void)
{
    SSL_SESSION_free(peer.session);
    peer.session = NULL;
}

#endif
