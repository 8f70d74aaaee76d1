/* Serving TLS: handshakes, tickets, certificates of both sides. */
#include "tls_rig.h"

#include <signal.h>

#include "io/proxy_protocol.h"

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

static int on_proxy_header(struct dm_stream *stream, const struct dm_proxy_header *header)
{
    assert_ptr_equal(stream, &conn->stream);
    assert_int_equal(n_selected, 0);
    dm_addr_format(&header->source, false, proxy_source);
    return 0;
}

/* The descriptor of the client's end of a connection that begins with a PROXY header. */
static int accept_proxied(void)
{
    int fd = open_pair();

    proxy_source[0] = '\0';
    n_selected = 0;
    dm_proxy_expect(&conn->stream, on_proxy_header);
    dm_tls_serve(&conn->stream, acceptor);
    return fd;
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
    refused(shake("busy.example"), SSL_AD_INTERNAL_ERROR, DM_TLS_REASON_TOO_MANY_HANDSHAKES);
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

/* --- whose turn --------------------------------------------------------------------------------------------------- */

static struct dm_flow owner;
static struct dm_task owners_work;
static unsigned n_owners_work;

static void see_that_nothing_was_said(struct dm_task *task)
{
    char byte;

    n_owners_work++;
    assert_int_equal(recv(peer.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void give_to_owner(struct dm_stream *stream)
{
    if (n_owners_work == 0)
        dm_task_post(loop, &owners_work);
    dm_stream_set_flow(stream, &owner);
}

static void a_handshake_goes_on_in_its_owners_turn(void **state)
{
    dm_flow_init(&owner, DM_FLOW_WEIGHT, NULL);
    owners_work = (struct dm_task){.run = see_that_nothing_was_said, .flow = &owner};
    n_owners_work = 0;
    on_select = give_to_owner;
    assert_int_equal(shake("api.example"), 1);
    assert_int_equal(n_owners_work, 1);
    assert_int_equal(n_selected, 1);
    exchange("x");
    end_conn();
    dm_loop_forget(loop, &owner);
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
    static const unsigned char old[] = "\x08http/1.0", both[] = "\x08http/1.1\x02h2",
                               odd[] = "\x03"
                                       "foo";

    SSL_CTX_set_alpn_protos(peer.ctx, both, sizeof(both) - 1);
    assert_int_equal(shake("api.example"), 1);
    assert_true(dm_str_eq(info_now().alpn, DM_STR("http/1.1")));
    settings.allows_http2 = true;
    renew_profile();
    assert_int_equal(shake("api.example"), 1);
    assert_true(dm_str_eq(info_now().alpn, DM_STR("h2")));
    SSL_CTX_set_alpn_protos(peer.ctx, old, sizeof(old) - 1);
    assert_int_equal(shake("api.example"), 1);
    assert_true(dm_str_eq(info_now().alpn, DM_STR("http/1.0")));
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

/* Of the identity or of the one above it, NULL where it shows none. */
static void resume_after_expiry_of(const struct pki_identity *identity, const struct pki_identity *above)
{
    wall_ns = (uint64_t)NOW_S * 1000000000u;
    require_clients(DM_TLS_CLIENT_AUTH_REQUIRED);
    present(identity);
    if (above)
        assert_int_equal(SSL_CTX_add1_chain_cert(peer.ctx, above->x509), 1);
    assert_false(resumes("api.example"));
    assert_true(resumes("api.example"));
    assert_true(resumes("api.example"));
    wall_ns = (uint64_t)(NOW_S + 61) * 1000000000u;
    refused(shake_and_read("api.example"), SSL_AD_CERTIFICATE_EXPIRED, DM_TLS_REASON_CLIENT_CERTIFICATE_INVALID);
}

static void resume_after_expiry(void)
{
    struct pki_spec spec = {.subject = "Short", .is_client = true, .not_after_s = NOW_S + 60};
    struct pki_identity *brief = pki_make(&spec, client_root);

    resume_after_expiry_of(brief, NULL);
    pki_free(brief);
}

static void a_ticket_ends_with_its_client_certificate(void **state)
{
    for_both_versions(resume_after_expiry);
}

static void resume_after_expiry_above(void)
{
    struct pki_spec spec = {.subject = "Short authority", .is_ca = true, .not_after_s = NOW_S + 60};
    struct pki_identity *authority = pki_make(&spec, client_root);
    struct pki_identity *lasting = pki_make(&(struct pki_spec){.subject = "Long", .is_client = true}, authority);

    resume_after_expiry_of(lasting, authority);
    assert_int_equal(SSL_CTX_clear_chain_certs(peer.ctx), 1);
    pki_free(lasting);
    pki_free(authority);
}

static void a_ticket_ends_with_the_authority_of_its_client_certificate(void **state)
{
    for_both_versions(resume_after_expiry_above);
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
}

static void an_ocsp_response_without_an_end_is_stapled_for_a_day(void **state)
{
    staple(0);
    assert_int_equal(stapled_len(), -1);
    wall_ns = UINT64_C(1000000000) * (PKI_OCSP_SINCE_S + 86399);
    assert_true(stapled_len() > 100);
    wall_ns += UINT64_C(1000000000);
    assert_int_equal(stapled_len(), -1);
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
        TEST(a_handshake_goes_on_in_its_owners_turn),
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
        TEST(a_ticket_ends_with_the_authority_of_its_client_certificate),
        TEST(an_ocsp_response_is_stapled_while_it_is_fresh),
        TEST(an_ocsp_response_without_an_end_is_stapled_for_a_day),
        TEST(a_wrong_ocsp_response_makes_no_profile),
    };

    dm_tls_init();
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's own sockets write to ends that are gone */
    return cmocka_run_group_tests(tests, make_identities, free_identities);
}
