/* Connecting with TLS: streams at both ends on one loop, or plain calls where the server misbehaves. */
#include "tls_conn.h"

#include <sys/socket.h>
#include <unistd.h>

#include "fake_clock.h"
#include "io/listener.h"
#include "pki/pki.h"

static struct pki_identity *root, *other_root, *leaf, *address_leaf, *expired, *future, *self_signed, *client_leaf;
static struct fake_clock fake;
static struct dm_loop *loop;
static struct dm_listener listener;
static struct dm_tls_acceptor *acceptor;
static struct dm_tls_profile *profile;
static struct dm_tls_profile_settings served;
static struct dm_tls_client *client;
static struct dm_tls_client_settings calling;
static struct dm_tls_session slot;
static struct conn *conns, *accepted;
static char selected_name[256];
static bool accepts_plain;
static int plain_fd;

static uint64_t test_wall_ns(struct dm_sys *sys)
{
    return (uint64_t)NOW_S * 1000000000u;
}

static struct conn *add_conn(void)
{
    struct conn *c = conn_new(4096);

    c->next = conns;
    return conns = c;
}

static bool says_early;

static void on_accept(struct dm_listener *l, int fd, const struct dm_addr *from)
{
    if (accepts_plain) {
        plain_fd = fd;
        return;
    }
    accepted = add_conn();
    accepted->echoes = true;
    accepted->says_early = says_early;
    assert_int_equal(dm_stream_open(&accepted->stream, loop, &conn_type, fd), 0);
    dm_tls_serve(&accepted->stream, acceptor);
}

static struct dm_tls_profile *select_profile(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    snprintf(selected_name, sizeof(selected_name), "%.*s", DM_STR_ARG(server_name));
    return profile;
}

static int make_identities(void **state)
{
    struct pki_spec spec = {.subject = "Backend", .names = "DNS:backend.example,DNS:*.pool.example"};

    root = pki_make(&(struct pki_spec){.subject = "Root", .is_ca = true}, NULL);
    other_root = pki_make(&(struct pki_spec){.subject = "Other root", .is_ca = true}, NULL);
    leaf = pki_make(&spec, root);
    self_signed = pki_make(&spec, NULL);
    address_leaf = pki_make(&(struct pki_spec){.subject = "Address", .names = "IP:127.0.0.1,IP:::1"}, root);
    client_leaf = pki_make(&(struct pki_spec){.subject = "Gateway", .is_client = true}, root);
    spec.not_after_s = NOW_S - 1;
    expired = pki_make(&spec, root);
    spec.not_after_s = 0;
    spec.not_before_s = NOW_S + 60;
    future = pki_make(&spec, root);
    return 0;
}

static int free_identities(void **state)
{
    struct pki_identity *const all[] = {root,    other_root, leaf,        address_leaf,
                                        expired, future,     self_signed, client_leaf};

    for (size_t i = 0; i < DM_COUNT(all); i++)
        pki_free(all[i]);
    return 0;
}

static void serve_with(const struct pki_identity *identity)
{
    dm_tls_profile_unref(profile);
    served.chain_pem = identity->chain_pem;
    served.key_pem = identity->key_pem;
    assert_int_equal(dm_tls_profile_new(&served, &profile, NULL), 0);
}

static void call_as(const char *server_name)
{
    struct dm_err err = {0};

    dm_tls_client_unref(client);
    calling.server_name = dm_str_of(server_name);
    if (dm_tls_client_new(&calling, &client, &err) < 0)
        fail_msg("no client: %s", err.message);
}

static int setup(void **state)
{
    struct dm_addr addr;

    fake_clock_init(&fake);
    fake.ops.wall_ns = test_wall_ns;
    loop = dm_loop_new(&fake.sys);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&listener, loop, &addr, 16, false, on_accept, NULL), 0);
    acceptor = dm_tls_acceptor_new(select_profile, NULL);
    served = (struct dm_tls_profile_settings){.allows_http2 = true};
    serve_with(leaf);
    calling = (struct dm_tls_client_settings){0};
    assert_int_equal(dm_tls_trust_new(root->certificate_pem, &calling.trust, NULL), 0);
    call_as("backend.example");
    accepts_plain = says_early = false;
    plain_fd = -1;
    return 0;
}

static void turn_until_quiet(void)
{
    while (dm_loop_turn(loop, 0) > 0)
        ;
}

static void end_conns(void)
{
    for (struct conn *c = conns; c; c = c->next)
        dm_stream_close(&c->stream);
    turn_until_quiet();
    while (conns) {
        struct conn *next = conns->next;
        assert_int_equal(conns->n_closed, 1);
        dm_free(conns);
        conns = next;
    }
    accepted = NULL;
    if (plain_fd >= 0)
        close(plain_fd);
    plain_fd = -1;
}

static int teardown(void **state)
{
    end_conns();
    dm_tls_session_done(&slot);
    dm_tls_client_unref(client);
    client = NULL;
    dm_tls_trust_unref(calling.trust);
    dm_tls_profile_unref(profile);
    profile = NULL;
    dm_tls_acceptor_free(acceptor);
    dm_listener_close(&listener);
    dm_loop_free(loop);
    return 0;
}

static struct conn *start_call(void)
{
    struct conn *c;

    end_conns();
    c = add_conn();
    selected_name[0] = '\0';
    assert_int_equal(dm_stream_connect(&c->stream, loop, &conn_type, &listener.addr, 1000), 0);
    dm_tls_connect(&c->stream, client, &slot);
    return c;
}

static void turn_until_told(const struct conn *c)
{
    while (c->n_connect + c->n_error == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    turn_until_quiet();
}

static struct conn *call(void)
{
    struct conn *c = start_call();

    turn_until_told(c);
    return c;
}

static void exchange(struct conn *c)
{
    size_t before = c->n_seen;

    assert_int_equal(c->n_connect, 1);
    assert_int_equal(dm_stream_put(&c->stream, "hello", 5), 0);
    while (c->n_seen < before + 5 && c->n_error == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    assert_memory_equal(c->seen + before, "hello", 5);
}

static void fails(int error, enum dm_tls_reason reason)
{
    struct conn *c = call();

    if (c->error != error || c->reason != reason)
        fail_msg("error %d reason %s", c->error, dm_tls_reason_name(c->reason));
    assert_int_equal(c->n_connect, 0);
    assert_int_equal(c->n_closed, 1);
}

static void a_verified_exchange(void **state)
{
    struct conn *c = call();
    struct dm_tls_info info;

    exchange(c);
    assert_string_equal(selected_name, "backend.example");
    assert_true(dm_tls_info(&c->stream, &info));
    assert_string_equal(info.version, "TLSv1.3");
    assert_true(dm_str_eq(info.alpn, DM_STR("http/1.1")));
    assert_true(dm_str_eq(info.server_name, DM_STR("backend.example")));
    assert_false(info.is_resumed);
}

static void wildcards_cover_one_label(void **state)
{
    call_as("one.pool.example");
    exchange(call());
    call_as("one.two.pool.example");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
}

static void another_host_is_refused(void **state)
{
    call_as("other.example");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
    assert_int_equal(accepted->reason, DM_TLS_REASON_ALERT);
    call_as("Backend"); /* the subject's common name is no host */
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
}

static void addresses_are_checked_as_such_and_named_to_nobody(void **state)
{
    call_as("127.0.0.1");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
    serve_with(address_leaf);
    exchange(call());
    assert_string_equal(selected_name, "");
    call_as("::1");
    exchange(call());
    call_as("127.0.0.2");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
}

static void others_certificates_are_refused(void **state)
{
    serve_with(expired);
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_EXPIRED);
    serve_with(future);
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_EXPIRED);
    serve_with(self_signed);
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER);
    serve_with(client_leaf);
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_INVALID);
    serve_with(leaf);
    dm_tls_trust_unref(calling.trust);
    assert_int_equal(dm_tls_trust_new(other_root->certificate_pem, &calling.trust, NULL), 0);
    call_as("backend.example");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER);
}

static void whoever_names_an_intermediate_means_it(void **state)
{
    struct pki_identity *middle = pki_make(&(struct pki_spec){.subject = "Middle", .is_ca = true}, root);
    struct pki_identity *below =
        pki_make(&(struct pki_spec){.subject = "Below", .names = "DNS:backend.example"}, middle);

    dm_tls_trust_unref(calling.trust);
    assert_int_equal(dm_tls_trust_new(middle->certificate_pem, &calling.trust, NULL), 0);
    call_as("backend.example");
    serve_with(below);
    exchange(call());
    pki_free(below);
    pki_free(middle);
}

static void verification_can_be_switched_off(void **state)
{
    calling.skips_verification = true;
    call_as("backend.example");
    serve_with(self_signed);
    exchange(call());
    serve_with(expired);
    exchange(call());
    call_as("");
    exchange(call());
    assert_string_equal(selected_name, "");
}

static void settings_that_can_not_be_are_refused(void **state)
{
    struct dm_tls_client *none = NULL;
    struct dm_tls_trust *no_trust = NULL;
    struct dm_err err = {0};

    calling.server_name = DM_STR_NULL;
    assert_int_equal(dm_tls_client_new(&calling, &none, &err), DM_EINVAL);
    calling.server_name = DM_STR("a\0b");
    assert_int_equal(dm_tls_client_new(&calling, &none, &err), DM_EINVAL);
    calling.server_name = DM_STR("backend.example");
    calling.chain_pem = client_leaf->chain_pem;
    calling.key_pem = leaf->key_pem;
    assert_int_equal(dm_tls_client_new(&calling, &none, &err), DM_EINVAL);
    assert_non_null(strstr(err.message, "does not belong"));
    assert_int_equal(dm_tls_trust_new(leaf->certificate_pem, &no_trust, &err), DM_EINVAL);
    assert_null(none);
    assert_null(no_trust);
}

/* ca-certificates is among the packages of the tests. */
static void the_systems_certificates_are_there_and_do_not_cover_ours(void **state)
{
    struct dm_err err = {0};

    dm_tls_trust_unref(calling.trust);
    assert_int_equal(dm_tls_trust_new_system(&calling.trust, &err), 0);
    call_as("backend.example");
    fails(DM_ETLS, DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER);
}

static void http_2_is_agreed_on(void **state)
{
    struct dm_tls_info info;
    struct conn *c;

    calling.wants_http2 = true;
    call_as("backend.example");
    c = call();
    exchange(c);
    assert_true(dm_tls_info(&c->stream, &info));
    assert_true(dm_str_eq(info.alpn, DM_STR("h2")));
    served.allows_http2 = false;
    serve_with(leaf);
    fails(DM_ETLS, DM_TLS_REASON_ALERT);
}

static void a_client_certificate_is_presented(void **state)
{
    struct dm_tls_info info;

    served.client_auth = DM_TLS_CLIENT_AUTH_REQUIRED;
    served.client_ca_pem = root->certificate_pem;
    serve_with(leaf);
    struct conn *c = call();
    turn_until_quiet();
    assert_int_equal(c->error, DM_ETLS);
    assert_int_equal(c->reason, DM_TLS_REASON_ALERT);
    assert_int_equal(accepted->reason, DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING);
    calling.chain_pem = client_leaf->chain_pem;
    calling.key_pem = client_leaf->key_pem;
    call_as("backend.example");
    exchange(call());
    assert_true(dm_tls_info(&accepted->stream, &info));
    assert_string_equal(info.client_subject, "CN=Gateway,O=Test");
}

static bool is_resumed(const struct conn *c)
{
    struct dm_tls_info info;

    assert_true(dm_tls_info(&c->stream, &info));
    return info.is_resumed;
}

static bool resumes(void)
{
    struct conn *c = call();

    exchange(c);
    assert_int_equal(is_resumed(c), is_resumed(accepted));
    return is_resumed(c);
}

static void sessions_are_used_again(void **state)
{
    assert_false(resumes());
    assert_non_null(slot.session);
    assert_true(resumes());
    assert_true(resumes());
    /* What another client made, with other ideas of whom to trust, is not offered. */
    call_as("backend.example");
    assert_false(resumes());
    assert_true(resumes());
    /* Also after a connection that was cut. */
    struct conn *c = call();
    exchange(c);
    dm_stream_abort(&accepted->stream);
    turn_until_quiet();
    assert_int_equal(c->reason, DM_TLS_REASON_TRUNCATED);
    assert_true(resumes());
}

/* A server's bytes right behind its handshake come after on_connect. */
static void what_the_server_says_at_once_arrives(void **state)
{
    says_early = true;
    struct conn *c = call();
    while (c->n_seen < 5)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    assert_memory_equal(c->seen, "early", 5);
    assert_int_equal(c->n_connect, 1);
}

static void what_is_written_while_connecting_is_sent_then(void **state)
{
    struct conn *c = start_call();

    assert_int_equal(dm_stream_put(&c->stream, "hello", 5), 0);
    dm_stream_shutdown(&c->stream);
    while (c->n_seen < 5 && c->n_error == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    assert_memory_equal(c->seen, "hello", 5);
    while (accepted->n_eof == 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
}

static void the_connect_timeout_covers_the_handshake(void **state)
{
    struct conn *c;

    accepts_plain = true;
    c = start_call();
    while (plain_fd < 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    turn_until_quiet();
    assert_int_equal(c->n_error, 0);
    fake_clock_advance_ms(&fake, 1001);
    turn_until_quiet();
    assert_int_equal(c->error, DM_ETIMEOUT);
    assert_int_equal(c->n_connect, 0);
}

static void answer_plain(const char *text)
{
    char bytes[2048];
    struct conn *c;

    accepts_plain = true;
    c = start_call();
    while (plain_fd < 0 || recv(plain_fd, bytes, sizeof(bytes), 0) <= 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    assert_int_equal(send(plain_fd, text, strlen(text), 0), strlen(text));
    close(plain_fd);
    plain_fd = -1;
    turn_until_told(c);
}

static void a_server_without_tls_is_named(void **state)
{
    answer_plain("HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_int_equal(conns->error, DM_ETLS);
    assert_int_equal(conns->reason, DM_TLS_REASON_NOT_TLS);
    answer_plain("\x15\x03\x03");
    assert_int_equal(conns->error, DM_ETLS);
    assert_int_equal(conns->reason, DM_TLS_REASON_TRUNCATED);
    answer_plain("");
    assert_int_equal(conns->error, DM_ECLOSED);
    answer_plain("\x15\x03\x03\x01"); /* cut: the zero ends the text */
    assert_int_equal(conns->error, DM_ETLS);
}

/* A server behind a relay, of whose bytes the client gets `at`, and then the end, or one that is spoilt and no end. Returns whether
 * the server had more to say. */
static bool relay(size_t at, bool spoils)
{
    struct conn *c;
    char bytes[4096];
    size_t n_passed = 0;
    int fds[2];
    ssize_t n;

    accepts_plain = true;
    c = start_call();
    while (plain_fd < 0)
        assert_true(dm_loop_turn(loop, -1) >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    accepted = add_conn();
    assert_int_equal(dm_stream_open(&accepted->stream, loop, &conn_type, fds[0]), 0);
    dm_tls_serve(&accepted->stream, acceptor);
    while (n_passed <= at && c->n_connect + c->n_error == 0) {
        turn_until_quiet();
        while ((n = recv(plain_fd, bytes, sizeof(bytes), 0)) > 0)
            assert_int_equal(send(fds[1], bytes, (size_t)n, MSG_NOSIGNAL), n);
        turn_until_quiet();
        while (n_passed <= at && (n = recv(fds[1], bytes, sizeof(bytes), 0)) > 0) {
            size_t len = DM_MIN((size_t)n, at - n_passed + spoils);
            if (spoils && n_passed + len > at)
                bytes[at - n_passed] ^= 0x41;
            assert_int_equal(send(plain_fd, bytes, len, MSG_NOSIGNAL), len);
            n_passed += (size_t)n;
        }
    }
    if (!spoils)
        shutdown(plain_fd, SHUT_WR);
    turn_until_quiet();
    close(fds[1]);
    close(plain_fd);
    plain_fd = -1;
    turn_until_quiet();
    if (n_passed > at && c->n_error == 0)
        fail_msg("byte %zu %s: nothing was told", at, spoils ? "spoilt" : "missing");
    return n_passed > at;
}

static void a_server_may_end_or_err_at_each_byte(void **state)
{
    for (int spoils = 0; spoils < 2; spoils++) {
        size_t at = 0;
        dm_tls_session_done(&slot);
        while (relay(at, spoils))
            at += 3;
        assert_true(at > 700);
        dm_tls_session_done(&slot);
    }
}

static void closing_while_shaking_hands_is_fine(void **state)
{
    for (int n_turns = 0; n_turns < 8; n_turns++) {
        struct conn *c = start_call();
        for (int i = 0; i < n_turns; i++)
            dm_loop_turn(loop, 0);
        if (n_turns % 2)
            dm_stream_close_gracefully(&c->stream, 10);
        else
            dm_stream_close(&c->stream);
        turn_until_quiet();
        fake_clock_advance_ms(&fake, 11);
        turn_until_quiet();
        assert_int_equal(c->n_closed, 1);
        assert_int_equal(c->n_error, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_verified_exchange),
        TEST(wildcards_cover_one_label),
        TEST(another_host_is_refused),
        TEST(addresses_are_checked_as_such_and_named_to_nobody),
        TEST(others_certificates_are_refused),
        TEST(whoever_names_an_intermediate_means_it),
        TEST(verification_can_be_switched_off),
        TEST(settings_that_can_not_be_are_refused),
        TEST(the_systems_certificates_are_there_and_do_not_cover_ours),
        TEST(http_2_is_agreed_on),
        TEST(a_client_certificate_is_presented),
        TEST(sessions_are_used_again),
        TEST(what_the_server_says_at_once_arrives),
        TEST(what_is_written_while_connecting_is_sent_then),
        TEST(the_connect_timeout_covers_the_handshake),
        TEST(a_server_without_tls_is_named),
        TEST(a_server_may_end_or_err_at_each_byte),
        TEST(closing_while_shaking_hands_is_fine),
    };

    return cmocka_run_group_tests(tests, make_identities, free_identities);
}
