/* Serving TLS: OpenSSL as the client at the other end of a socket. */
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

static uint64_t test_wall_ns(struct dm_sys *sys)
{
    return wall_ns;
}

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
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

static void on_eof(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_eof++;
}

static void on_connect(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct conn, stream)->n_connect++;
}

static void on_error(struct dm_stream *stream, int code)
{
    struct conn *c = DM_CONTAINER_OF(stream, struct conn, stream);

    c->n_error++;
    c->error = code;
    c->reason = dm_tls_reason(stream);
    c->alert = dm_tls_alert(stream);
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
    .on_error = on_error,
    .on_closed = on_closed,
};

static struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
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

static void make_client_identities(void)
{
    struct pki_spec spec = {.subject = "Client, one", .is_client = true};

    client_root = pki_make(&(struct pki_spec){.subject = "Clients", .is_ca = true}, NULL);
    client_leaf = pki_make(&spec, client_root);
    client_stranger = pki_make(&spec, root);
    spec.not_after_s = NOW_S - 1;
    client_expired = pki_make(&spec, client_root);
}

static int make_identities(void **state)
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

static int free_identities(void **state)
{
    struct pki_identity *const all[] = {root,        middle,      leaf,           rsa_leaf,
                                        client_root, client_leaf, client_expired, client_stranger};

    for (size_t i = 0; i < DM_COUNT(all); i++)
        pki_free(all[i]);
    return 0;
}

static void renew_profile(void)
{
    struct dm_err err = {0};

    dm_tls_profile_unref(profile);
    if (dm_tls_profile_new(&settings, &profile, &err) < 0)
        fail_msg("no profile: %s", err.message);
}

static int setup(void **state)
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

static void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static void end_conn(void)
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

static int teardown(void **state)
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
static int accept_raw(void)
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
static int shake(const char *server_name)
{
    int rc = 0;

    tls_peer_open(&peer, accept_raw(), server_name);
    SSL_set_connect_state(peer.ssl);
    while ((rc = tls_peer_shake(&peer)) == 0)
        turn_until_quiet();
    turn_until_quiet();
    return rc;
}

static void exchange(const char *text)
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

static struct dm_tls_info info_now(void)
{
    struct dm_tls_info info;

    assert_true(dm_tls_info(&conn->stream, &info));
    return info;
}

static void refused(int rc, int alert, enum dm_tls_reason reason)
{
    if (rc != -alert || conn->reason != reason || conn->error != DM_ETLS)
        fail_msg("alert %d reason %s error %d, expected %d %s", -rc, dm_tls_reason_name(conn->reason), conn->error,
                 alert, dm_tls_reason_name(reason));
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(conn->n_connect, 0);
}

static void a_handshake_and_an_exchange(void **state)
{
    assert_int_equal(shake("API.example"), 1);
    assert_int_equal(conn->n_connect, 1);
    assert_int_equal(n_selected, 1);
    assert_string_equal(selected_name, "api.example");
    exchange("hello");
    struct dm_tls_info info = info_now();
    assert_true(dm_str_eq(info.server_name, DM_STR("api.example")));
    assert_string_equal(info.version, "TLSv1.3");
    assert_string_equal(info.cipher, "TLS_AES_128_GCM_SHA256");
    assert_int_equal(info.alpn.len, 0);
    assert_false(info.is_resumed);
    assert_false(info.has_client_certificate);
    assert_ptr_equal(dm_tls_stream_profile(&conn->stream), profile);
}

/* --- behind a PROXY header --- */

static const char proxy_line[] = "PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n";
static char proxy_source[DM_ADDR_TEXT_MAX];

static void on_proxy_header(struct dm_stream *stream, const struct dm_proxy_header *header)
{
    assert_ptr_equal(stream, &conn->stream);
    assert_int_equal(n_selected, 0);
    dm_addr_format(&header->source, false, proxy_source);
}

/* The descriptor of the client's end of a connection that begins with a PROXY header. */
static int accept_proxied(void)
{
    int fds[2];

    end_conn();
    conn = dm_calloc(1, sizeof(*conn));
    proxy_source[0] = '\0';
    n_selected = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dm_stream_open(&conn->stream, loop, &type, fds[0]), 0);
    dm_proxy_expect(&conn->stream, on_proxy_header);
    dm_tls_serve(&conn->stream, acceptor);
    return fds[1];
}

/* In pieces of this size, each seen before the next; the last together with the ClientHello. */
static void shake_behind_header(size_t piece)
{
    int fd = accept_proxied(), rc;
    size_t len = sizeof(proxy_line) - 1;

    for (size_t at = 0; at < len; at += piece) {
        assert_int_equal(send(fd, proxy_line + at, DM_MIN(piece, len - at), MSG_NOSIGNAL), DM_MIN(piece, len - at));
        if (at + piece < len)
            turn_until_quiet();
    }
    tls_peer_open(&peer, fd, "api.example");
    SSL_set_connect_state(peer.ssl);
    while ((rc = tls_peer_shake(&peer)) == 0)
        turn_until_quiet();
    assert_int_equal(rc, 1);
    turn_until_quiet();
}

static void a_proxy_header_comes_before_the_handshake(void **state)
{
    static const size_t pieces[] = {1, 7, 1000};

    for (size_t i = 0; i < DM_COUNT(pieces); i++) {
        shake_behind_header(pieces[i]);
        assert_string_equal(proxy_source, "192.0.2.7");
        assert_int_equal(conn->n_connect, 1);
        exchange("hello");
    }
}

static void a_handshake_without_its_proxy_header_is_refused(void **state)
{
    tls_peer_open(&peer, accept_proxied(), "api.example");
    SSL_set_connect_state(peer.ssl);
    assert_int_equal(tls_peer_shake(&peer), 0);
    turn_until_quiet();
    assert_int_equal(conn->error, -EPROTO);
    assert_int_equal(conn->n_closed, 1);
    assert_int_equal(n_selected, 0);
}

static void tls_1_2_is_served_unless_forbidden(void **state)
{
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    assert_int_equal(shake("api.example"), 1);
    exchange("hello");
    assert_string_equal(info_now().version, "TLSv1.2");
    settings.min_version = DM_TLS_1_3;
    renew_profile();
    refused(shake("api.example"), SSL_AD_PROTOCOL_VERSION, DM_TLS_REASON_PROTOCOL_VERSION);
}

static void tls_1_1_does_not_exist(void **state)
{
    SSL_CTX_set_security_level(peer.ctx, 0);
    SSL_CTX_set_min_proto_version(peer.ctx, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_1_VERSION);
    refused(shake("api.example"), SSL_AD_PROTOCOL_VERSION, DM_TLS_REASON_PROTOCOL_VERSION);
}

static void old_ciphers_do_not_exist(void **state)
{
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(peer.ctx, "ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256");
    refused(shake("api.example"), SSL_AD_HANDSHAKE_FAILURE, DM_TLS_REASON_NO_SHARED_CIPHER);
}

static void the_owner_selects_by_name(void **state)
{
    refused(shake("unknown.example"), SSL_AD_UNRECOGNIZED_NAME, DM_TLS_REASON_UNRECOGNIZED_NAME);
    assert_int_equal(n_selected, 1);
    assert_int_equal(shake(NULL), 1);
    assert_string_equal(selected_name, "");
    refused(shake("api.example\n"), SSL_AD_UNRECOGNIZED_NAME, DM_TLS_REASON_UNRECOGNIZED_NAME);
    refused(shake(".example"), SSL_AD_UNRECOGNIZED_NAME, DM_TLS_REASON_UNRECOGNIZED_NAME);
    assert_int_equal(n_selected, 2);
}

static void the_owner_refuses_what_is_too_much(void **state)
{
    refused(shake("full.example"), SSL_AD_INTERNAL_ERROR, DM_TLS_REASON_REFUSED);
    assert_int_equal(shake("api.example"), 1);
}

static void start_put_off(void)
{
    tls_peer_open(&peer, accept_raw(), "api.example");
    SSL_set_connect_state(peer.ssl);
    n_selected = 0;
    n_put_off = 2;
    assert_int_equal(tls_peer_shake(&peer), 0);
    turn_until_quiet();
    assert_int_equal(n_selected, 1);
}

static void a_handshake_can_be_put_off(void **state)
{
    start_put_off();
    assert_int_equal(tls_peer_shake(&peer), 0);
    dm_stream_resume(&conn->stream); /* a task that has nothing to do with it */
    turn_until_quiet();
    assert_int_equal(n_selected, 1);
    dm_tls_continue(&conn->stream);
    turn_until_quiet();
    assert_int_equal(n_selected, 2);
    assert_int_equal(tls_peer_shake(&peer), 0);
    dm_tls_continue(&conn->stream);
    turn_until_quiet();
    assert_int_equal(n_selected, 3);
    assert_int_equal(tls_peer_shake(&peer), 1);
    turn_until_quiet();
    exchange("x");
    dm_tls_continue(&conn->stream);
    exchange("y");
    start_put_off();
    shutdown(peer.fd, SHUT_RDWR);
    turn_until_quiet();
    assert_int_equal(conn->error, DM_ECLOSED);
    assert_int_equal(n_selected, 1);
    start_put_off();
    dm_stream_close(&conn->stream);
    turn_until_quiet();
    assert_int_equal(conn->n_closed, 1);
}

/* A client that must be asked again for a key share of another group. */
static void a_second_client_hello_selects_nothing(void **state)
{
    SSL_CTX_set1_groups_list(peer.ctx, "P-521:P-384");
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(n_selected, 1);
    exchange("hello");
}

static void a_rotated_certificate_leaves_connections_alone(void **state)
{
    struct dm_tls_profile *old = profile;
    struct conn *first;
    struct tls_peer first_peer;

    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(peer.ssl))), EVP_PKEY_EC);
    first = conn;
    first_peer = peer;
    conn = NULL;
    tls_peer_init(&peer, TLS_client_method(), root);
    settings.chain_pem = rsa_leaf->chain_pem;
    settings.key_pem = rsa_leaf->key_pem;
    renew_profile();
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(peer.ssl))), EVP_PKEY_RSA);
    exchange("new");
    end_conn();
    tls_peer_done(&peer);
    conn = first;
    peer = first_peer;
    SSL_set_app_data(peer.ssl, &peer);
    assert_ptr_equal(dm_tls_stream_profile(&conn->stream), old);
    exchange("old");
}

static void application_protocols_are_agreed_on(void **state)
{
    static const unsigned char both[] = "\x08http/1.1\x02h2", odd[] = "\x03"
                                                                      "foo";

    SSL_CTX_set_alpn_protos(peer.ctx, both, sizeof(both) - 1);
    assert_int_equal(shake("api.example"), 1);
    assert_true(dm_str_eq(info_now().alpn, DM_STR("http/1.1")));
    settings.allows_http2 = true;
    renew_profile();
    assert_int_equal(shake("api.example"), 1);
    assert_true(dm_str_eq(info_now().alpn, DM_STR("h2")));
    SSL_CTX_set_alpn_protos(peer.ctx, odd, sizeof(odd) - 1);
    refused(shake("api.example"), SSL_AD_NO_APPLICATION_PROTOCOL, DM_TLS_REASON_NO_APPLICATION_PROTOCOL);
}

/* Tickets */

/* Connects, takes the ticket, and says whether the handshake was a resumption, on both ends. */
static bool resumes(const char *server_name)
{
    char byte;
    int end;

    assert_int_equal(shake(server_name), 1);
    tls_peer_read(&peer, &byte, 1, &end);
    exchange("x");
    bool is_resumed = SSL_session_reused(peer.ssl) == 1;
    assert_int_equal(info_now().is_resumed, is_resumed);
    if (SSL_version(peer.ssl) == TLS1_2_VERSION)
        tls_peer_keeps(peer.ssl, SSL_get1_session(peer.ssl));
    end_conn();
    return is_resumed;
}

static void forget_session(void)
{
    SSL_SESSION_free(peer.session);
    peer.session = NULL;
}

static void for_both_versions(void (*act)(void))
{
    act();
    forget_session();
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    act();
}

static void resume_twice(void)
{
    assert_false(resumes("api.example"));
    assert_true(resumes("api.example"));
    assert_true(resumes("api.example"));
}

static void tickets_resume(void **state)
{
    for_both_versions(resume_twice);
}

static struct dm_tls_ticket_keys ticket_keys(int next, int current, int previous)
{
    struct dm_tls_ticket_keys keys;

    memset(keys.next, next, sizeof(keys.next));
    memset(keys.current, current, sizeof(keys.current));
    memset(keys.previous, previous, sizeof(keys.previous));
    return keys;
}

static void resume_with_two_workers(void)
{
    struct dm_tls_ticket_keys keys = ticket_keys(3, 2, 1), other = ticket_keys(30, 20, 10);
    struct dm_tls_acceptor *first = acceptor, *second = dm_tls_acceptor_new(select_profile, &profile);

    dm_tls_acceptor_set_ticket_keys(first, &keys);
    dm_tls_acceptor_set_ticket_keys(second, &keys);
    assert_false(resumes("api.example"));
    acceptor = second;
    assert_true(resumes("api.example"));
    dm_tls_acceptor_set_ticket_keys(second, &other);
    assert_false(resumes("api.example"));
    acceptor = first;
    dm_tls_acceptor_free(second);
}

static void workers_with_the_same_keys_share_tickets(void **state)
{
    for_both_versions(resume_with_two_workers);
}

static void use_keys(int next, int current, int previous)
{
    struct dm_tls_ticket_keys keys = ticket_keys(next, current, previous);

    dm_tls_acceptor_set_ticket_keys(acceptor, &keys);
}

/* A ticket of the previous generation is renewed; one older than that opens no more; one of the next does. */
static void resume_over_rotations(void)
{
    SSL_SESSION *oldest;

    forget_session();
    use_keys(3, 2, 1);
    assert_false(resumes("api.example"));
    oldest = SSL_SESSION_dup(peer.session);
    use_keys(4, 3, 2);
    assert_true(resumes("api.example"));
    use_keys(5, 4, 3);
    assert_true(resumes("api.example"));
    forget_session();
    peer.session = oldest;
    assert_false(resumes("api.example"));
    use_keys(4, 3, 2);
    assert_true(resumes("api.example"));
}

static void keys_rotate_over_three_generations(void **state)
{
    for_both_versions(resume_over_rotations);
}

static void resume_over_scopes(void)
{
    settings.scope[0] = 'a';
    renew_profile();
    assert_false(resumes("api.example"));
    settings.scope[0] = 'b';
    renew_profile();
    assert_false(resumes("api.example"));
    assert_true(resumes("api.example"));
    /* The same settings in a new profile, as after a change elsewhere. */
    renew_profile();
    assert_true(resumes("api.example"));
    settings.min_version = DM_TLS_1_2;
}

static void a_ticket_is_of_one_scope(void **state)
{
    for_both_versions(resume_over_scopes);
}

/* Client certificates */

static void require_clients(enum dm_tls_client_auth auth)
{
    settings.client_auth = auth;
    settings.client_ca_pem = client_root->certificate_pem;
    renew_profile();
}

static void present(const struct pki_identity *identity)
{
    assert_int_equal(SSL_CTX_use_certificate(peer.ctx, identity->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(peer.ctx, identity->key), 1);
}

/* In TLS 1.3 a client is through before the server has looked at its certificate: the alert comes when it reads. */
static int shake_and_read(const char *server_name)
{
    int rc = shake(server_name), n;
    char byte;

    if (rc != 1)
        return rc;
    if ((n = SSL_read(peer.ssl, &byte, 1)) > 0 || SSL_get_error(peer.ssl, n) == SSL_ERROR_WANT_READ)
        return 1;
    n = ERR_GET_REASON(ERR_peek_error());
    ERR_clear_error();
    return -(n - SSL_AD_REASON_OFFSET);
}

static void a_client_is_known_by_its_certificate(void **state)
{
    struct dm_tls_info info;

    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    present(client_leaf);
    assert_int_equal(shake_and_read("api.example"), 1);
    exchange("x");
    info = info_now();
    assert_true(info.has_client_certificate);
    assert_string_equal(info.client_subject, "CN=Client\\, one,O=Test");
    assert_int_equal(strlen(info.client_fingerprint), 64);
    char fingerprint[DM_TLS_FINGERPRINT_MAX];
    memcpy(fingerprint, info.client_fingerprint, sizeof(fingerprint));
    assert_int_equal(shake_and_read("api.example"), 1);
    info = info_now();
    assert_true(info.is_resumed);
    assert_true(info.has_client_certificate);
    assert_string_equal(info.client_subject, "CN=Client\\, one,O=Test");
    assert_string_equal(info.client_fingerprint, fingerprint);
}

static void check_refusals(void)
{
    int missing = SSL_CTX_get_max_proto_version(peer.ctx) == TLS1_2_VERSION ? SSL_AD_HANDSHAKE_FAILURE
                                                                            : SSL_AD_CERTIFICATE_REQUIRED;

    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    refused(shake_and_read("api.example"), missing, DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING);
    require_clients(DM_TLS_CLIENT_AUTH_OPTIONAL);
    assert_int_equal(shake_and_read("api.example"), 1);
    assert_false(info_now().has_client_certificate);
    forget_session();
    for (enum dm_tls_client_auth auth = DM_TLS_CLIENT_AUTH_OPTIONAL; auth <= DM_TLS_CLIENT_AUTH_REQUIRED; auth++) {
        require_clients(auth);
        present(client_expired);
        refused(shake_and_read("api.example"), SSL_AD_CERTIFICATE_EXPIRED, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
        present(client_stranger);
        refused(shake_and_read("api.example"), SSL_AD_UNKNOWN_CA, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
        present(leaf); /* of a server */
        refused(shake_and_read("api.example"), SSL_AD_UNKNOWN_CA, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
    }
}

static void other_clients_are_refused(void **state)
{
    check_refusals();
    end_conn();
    tls_peer_done(&peer);
    tls_peer_init(&peer, TLS_client_method(), root);
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    check_refusals();
}

static void a_certificate_for_servers_is_none_for_clients(void **state)
{
    struct pki_identity *wrong = pki_make(&(struct pki_spec){.subject = "Wrong use"}, client_root);

    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    present(wrong);
    refused(shake_and_read("api.example"), SSL_AD_UNSUPPORTED_CERTIFICATE, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
    pki_free(wrong);
}

/* One scope by the caller, and yet: what was made without a check does not open where there is one, nor under another CA. */
static void resume_past_checks(void)
{
    struct pki_identity *other_root = pki_make(&(struct pki_spec){.subject = "Clients 2", .is_ca = true}, NULL);

    settings.client_auth = DM_TLS_CLIENT_AUTH_NONE;
    renew_profile();
    assert_false(resumes("api.example"));
    require_clients(DM_TLS_CLIENT_AUTH_OPTIONAL);
    assert_false(resumes("api.example"));
    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    refused(shake_and_read("api.example"),
            SSL_CTX_get_max_proto_version(peer.ctx) == TLS1_2_VERSION ? SSL_AD_HANDSHAKE_FAILURE
                                                                      : SSL_AD_CERTIFICATE_REQUIRED,
            DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING);
    present(client_leaf);
    forget_session();
    assert_false(resumes("api.example"));
    assert_true(resumes("api.example"));
    settings.client_ca_pem = other_root->certificate_pem;
    renew_profile();
    refused(shake_and_read("api.example"), SSL_AD_UNKNOWN_CA, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
    pki_free(other_root);
    end_conn();
    tls_peer_done(&peer);
    tls_peer_init(&peer, TLS_client_method(), root);
}

static void resumption_skips_no_client_check(void **state)
{
    resume_past_checks();
    SSL_CTX_set_max_proto_version(peer.ctx, TLS1_2_VERSION);
    resume_past_checks();
}

static void resume_after_expiry(void)
{
    struct pki_spec spec = {.subject = "Short", .is_client = true, .not_after_s = NOW_S + 60};
    struct pki_identity *brief = pki_make(&spec, client_root);

    wall_ns = (uint64_t)NOW_S * 1000000000u;
    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    present(brief);
    assert_false(resumes("api.example"));
    assert_true(resumes("api.example"));
    wall_ns = (uint64_t)(NOW_S + 61) * 1000000000u;
    refused(shake_and_read("api.example"), SSL_AD_CERTIFICATE_EXPIRED, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
    pki_free(brief);
}

static void a_ticket_ends_with_its_client_certificate(void **state)
{
    for_both_versions(resume_after_expiry);
}

/* OCSP */

static void staple(int64_t next_update_s)
{
    settings.ocsp_der = pki_ocsp(leaf, middle, middle, false, next_update_s);
    renew_profile();
    free((char *)(uintptr_t)settings.ocsp_der.ptr);
}

static long stapled_len(void)
{
    const unsigned char *response;

    SSL_CTX_set_tlsext_status_type(peer.ctx, TLSEXT_STATUSTYPE_ocsp);
    assert_int_equal(shake("api.example"), 1);
    return SSL_get_tlsext_status_ocsp_resp(peer.ssl, &response);
}

static void an_ocsp_response_is_stapled_while_it_is_fresh(void **state)
{
    assert_int_equal(stapled_len(), -1);
    staple(NOW_S + 60);
    assert_true(stapled_len() > 100);
    wall_ns += UINT64_C(60000000000);
    assert_int_equal(stapled_len(), -1);
    staple(0);
    assert_true(stapled_len() > 100);
}

static void a_wrong_ocsp_response_makes_no_profile(void **state)
{
    struct dm_err err = {0};
    struct dm_tls_profile *none = NULL;

    settings.ocsp_der = DM_STR("\x30\x03\x0a\x01\x01");
    assert_int_equal(dm_tls_profile_new(&settings, &none, &err), DM_EINVAL);
    assert_null(none);
    assert_non_null(strstr(err.message, "OCSP"));
    settings.ocsp_der = DM_STR_NULL;
    settings.key_pem = rsa_leaf->key_pem;
    assert_int_equal(dm_tls_profile_new(&settings, &none, &err), DM_EINVAL);
    assert_non_null(strstr(err.message, "does not belong"));
    settings.key_pem = leaf->key_pem;
    settings.client_auth = DM_TLS_CLIENT_AUTH_REQUIRED;
    assert_int_equal(dm_tls_profile_new(&settings, &none, &err), DM_EINVAL);
}

/* Ends */

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
    /* The event and, in the same turn, its task. */
    assert_in_range(conn->n_seen, 2 * (256 << 10), 2 * (320 << 10));
    assert_in_range(n_taken, conn->n_seen, 2 * (320 << 10));
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
        TEST(a_handshake_and_an_exchange),
        TEST(a_proxy_header_comes_before_the_handshake),
        TEST(a_handshake_without_its_proxy_header_is_refused),
        TEST(tls_1_2_is_served_unless_forbidden),
        TEST(tls_1_1_does_not_exist),
        TEST(old_ciphers_do_not_exist),
        TEST(the_owner_selects_by_name),
        TEST(the_owner_refuses_what_is_too_much),
        TEST(a_handshake_can_be_put_off),
        TEST(a_second_client_hello_selects_nothing),
        TEST(a_rotated_certificate_leaves_connections_alone),
        TEST(application_protocols_are_agreed_on),
        TEST(tickets_resume),
        TEST(workers_with_the_same_keys_share_tickets),
        TEST(keys_rotate_over_three_generations),
        TEST(a_ticket_is_of_one_scope),
        TEST(a_client_is_known_by_its_certificate),
        TEST(other_clients_are_refused),
        TEST(a_certificate_for_servers_is_none_for_clients),
        TEST(resumption_skips_no_client_check),
        TEST(a_ticket_ends_with_its_client_certificate),
        TEST(an_ocsp_response_is_stapled_while_it_is_fresh),
        TEST(a_wrong_ocsp_response_makes_no_profile),
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
