/* Backends behind TLS and on Unix sockets, through a whole worker. */
#include "gateway/upstream/checks.h"
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pki/pki.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define CLOSE STAGE_GET("/", STAGE_KEY "Connection: close\r\n")

static struct pki_identity *root, *server, *caller;
static struct dm_tls_profile *profile;
static struct dm_tls_acceptor *acceptor;

static struct dm_tls_profile *choose(void *arg, struct dm_stream *stream, struct dm_str server_name)
{
    (void)arg;
    (void)stream;
    (void)server_name;
    return profile;
}

/* In place of what the acceptor serves under. */
static void serve_as(struct pki_identity *identity, bool allows_http2, enum dm_tls_client_auth client_auth)
{
    struct dm_tls_profile_settings settings = {
        .chain_pem = identity->chain_pem,
        .key_pem = identity->key_pem,
        .min_version = DM_TLS_1_2,
        .client_auth = client_auth,
        .client_ca_pem = client_auth ? root->certificate_pem : DM_STR_NULL,
        .allows_http2 = allows_http2,
    };

    dm_tls_profile_unref(profile);
    assert_int_equal(dm_tls_profile_new(&settings, &profile, NULL), 0);
}

static int setup(void **state)
{
    if (stage_setup(state) < 0)
        return -1;
    root = pki_make(&(struct pki_spec){.subject = "root", .is_ca = true}, NULL);
    server = pki_make(&(struct pki_spec){.subject = "backend", .names = "DNS:back.test,IP:127.0.0.1"}, root);
    caller = pki_make(&(struct pki_spec){.subject = "gateway", .is_client = true}, root);
    acceptor = dm_tls_acceptor_new(choose, NULL);
    serve_as(server, true, DM_TLS_CLIENT_AUTH_NONE);
    return 0;
}

static int teardown(void **state)
{
    int rc = stage_teardown(state);

    dm_tls_acceptor_free(acceptor);
    dm_tls_profile_unref(profile);
    profile = NULL;
    pki_free(caller);
    pki_free(server);
    pki_free(root);
    return rc;
}

/* The text as it stands in a JSON string. */
static void escape(struct dm_str text, struct dm_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\n')
            dm_buf_add_lit(out, "\\n");
        else
            dm_buf_add_char(out, text.ptr[i]);
    }
}

/* ca: that verifies; NULL: the system's. more: further members of tls and of the backend. */
static void apply(struct stage *s, uint16_t port, const struct pki_identity *ca, const char *more)
{
    struct dm_buf backend;
    char endpoints[100];

    dm_buf_init(&backend, 1 << 16);
    dm_buf_add_lit(&backend, ",\"tls\":{");
    if (ca) {
        dm_buf_add_lit(&backend, "\"ca\":\"");
        escape(ca->certificate_pem, &backend);
        dm_buf_add_lit(&backend, "\"");
    }
    dm_buf_printf(&backend, "%s", more);
    dm_buf_add_char(&backend, 0);
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", port);
    stage_apply(s, &(struct stage_release){.endpoints = endpoints, .backend = backend.ptr});
    dm_buf_done(&backend);
}

static void verified_by_default(void **state)
{
    struct pki_identity *other = pki_make(&(struct pki_spec){.subject = "other", .is_ca = true}, NULL);
    struct pki_identity *old = pki_make(
        &(struct pki_spec){
            .subject = "old", .names = "IP:127.0.0.1", .not_before_s = 1000000000, .not_after_s = 1100000000},
        root);
    struct stage *s = *state;

    s->origin.tls = acceptor;
    apply(s, rig_origin_port(&s->origin), root, "}");
    for (int i = 0; i < 3; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(s->origin.n_accepted, 1);
    apply(s, rig_origin_port(&s->origin), root, ",\"server_name\":\"back.test\"}");
    stage_try(s, GET, "hello");
    apply(s, rig_origin_port(&s->origin), root, ",\"server_name\":\"else.test\"}");
    stage_try(s, GET, "\"backend_tls\"");
    apply(s, rig_origin_port(&s->origin), other, "}");
    stage_try(s, GET, "\"backend_tls\"");
    apply(s, rig_origin_port(&s->origin), NULL, "}");
    stage_try(s, GET, "\"backend_tls\"");
    apply(s, rig_origin_port(&s->origin), NULL, "\"verify\":false}");
    stage_try(s, GET, "hello");
    serve_as(old, false, DM_TLS_CLIENT_AUTH_NONE);
    apply(s, rig_origin_port(&s->origin), root, "}");
    stage_try(s, GET, "\"backend_tls\"");
    assert_int_equal(stage_counters(s)->reasons[DM_REASON_BACKEND_TLS], 4);
    pki_free(old);
    pki_free(other);
}

/* --- what the operator reads -------------------------------------------------------------------------------------- */

static int log_fds[2];

static void open_log(struct stage *s)
{
    assert_int_equal(pipe2(log_fds, O_CLOEXEC | O_NONBLOCK), 0);
    dm_access_log_set_fd(&s->rig.worker.log, log_fds[1]);
    s->rig.options.access_log = true;
}

static void close_log(struct stage *s)
{
    s->rig.options.access_log = false;
    dm_access_log_set_fd(&s->rig.worker.log, -1);
    close(log_fds[0]);
}

/* The request fails, its line names the failure, and the metric its reason. */
static void assert_explained(struct stage *s, const char *error, enum dm_tls_reason reason)
{
    const uint64_t *counter = &s->rig.counters->tenants[1].upstream_tls_failures[reason];
    uint64_t before = *counter;
    char line[4096], member[100];
    ssize_t n;

    stage_try(s, GET, "\"backend_tls\"");
    rig_settle(&s->rig);
    dm_access_log_flush(&s->rig.worker.log);
    n = read(log_fds[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    line[n] = '\0';
    snprintf(member, sizeof(member), "\"reason\":\"backend_tls\",\"backend_tls_error\":\"%s\"", error);
    if (!strstr(line, member))
        fail_msg("'%s' is not in %s", member, line);
    assert_int_equal(*counter - before, 1);
}

static void a_certificate_that_is_not_taken(void **state)
{
    struct pki_identity *other = pki_make(&(struct pki_spec){.subject = "other", .is_ca = true}, NULL);
    struct pki_identity *old = pki_make(
        &(struct pki_spec){
            .subject = "old", .names = "IP:127.0.0.1", .not_before_s = 1000000000, .not_after_s = 1100000000},
        root);
    struct stage *s = *state;
    uint16_t port = rig_origin_port(&s->origin);

    s->origin.tls = acceptor;
    open_log(s);
    apply(s, port, root, ",\"server_name\":\"else.test\"}");
    assert_explained(s, "certificate_host_mismatch", DM_TLS_REASON_CERTIFICATE_HOST_MISMATCH);
    apply(s, port, other, "}");
    assert_explained(s, "certificate_unknown_issuer", DM_TLS_REASON_CERTIFICATE_UNKNOWN_ISSUER);
    serve_as(old, false, DM_TLS_CLIENT_AUTH_NONE);
    apply(s, port, root, "}");
    assert_explained(s, "certificate_expired", DM_TLS_REASON_CERTIFICATE_EXPIRED);
    close_log(s);
    pki_free(old);
    pki_free(other);
}

/* By either side: with TLS 1.3 the refusal comes when the handshake is through here. */
static void a_backend_that_does_not_take_us(void **state)
{
    struct stage *s = *state;
    uint16_t port = rig_origin_port(&s->origin);

    open_log(s);
    s->origin.tls = acceptor;
    serve_as(server, false, DM_TLS_CLIENT_AUTH_REQUIRED);
    apply(s, port, root, "}");
    assert_explained(s, "alert_certificate_required", DM_TLS_REASON_ALERT);
    apply(s, port, root, "},\"protocol\":\"http2\"");
    serve_as(server, true, DM_TLS_CLIENT_AUTH_REQUIRED);
    assert_explained(s, "alert_certificate_required", DM_TLS_REASON_ALERT);
    serve_as(server, false, DM_TLS_CLIENT_AUTH_NONE);
    assert_explained(s, "alert_no_application_protocol", DM_TLS_REASON_ALERT);
    apply(s, port, root, ",\"client_certificate\":\"none\"}");
    assert_explained(s, "client_certificate_missing", DM_TLS_REASON_CLIENT_CERTIFICATE_MISSING);
    s->origin.tls = NULL;
    apply(s, port, root, "}");
    assert_explained(s, "truncated", DM_TLS_REASON_TRUNCATED); /* it hung up on what it could not read */
    assert_int_equal(s->origin.n_requests, 0);
    close_log(s);
}

static void sessions_are_used_again(void **state)
{
    struct stage *s = *state;

    s->origin.tls = acceptor;
    s->origin.answer = DM_STR("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    apply(s, rig_origin_port(&s->origin), root, "}");
    for (int i = 0; i < 4; i++) {
        stage_try(s, CLOSE, "hello");
        rig_settle(&s->rig);
    }
    assert_int_equal(s->origin.n_accepted, 4);
    assert_int_equal(s->origin.n_resumed, 3);
}

static void http2_by_agreement(void **state)
{
    struct h2_origin origin;
    struct stage *s = *state;

    h2_origin_init(&s->rig, &origin);
    origin.tls = acceptor;
    apply(s, h2_origin_port(&origin), root, "},\"protocol\":\"http2\"");
    for (int i = 0; i < 3; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(origin.n_accepted, 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), ":scheme: https"), 3);
    h2_origin_done(&origin);
    /* a backend that does not agree */
    serve_as(server, false, DM_TLS_CLIENT_AUTH_NONE);
    s->origin.tls = acceptor;
    apply(s, rig_origin_port(&s->origin), root, "},\"protocol\":\"http2\"");
    stage_try(s, GET, "\"backend_tls\"");
    /* and one without TLS */
    s->origin.tls = NULL;
    stage_try(s, GET, "\"backend_tls\"");
    assert_int_equal(s->origin.n_requests, 0);
}

/* A certificate that is named and not there: no connection is made without it. */
static void client_certificates(void **state)
{
    struct stage *s = *state;

    s->origin.tls = acceptor;
    serve_as(server, false, DM_TLS_CLIENT_AUTH_REQUIRED);
    apply(s, rig_origin_port(&s->origin), root, "}");
    stage_try(s, GET, "\"backend_tls\"");
    apply(s, rig_origin_port(&s->origin), root, ",\"client_certificate\":\"none\"}");
    stage_try(s, GET, "\"backend_tls\"");
}

/* With the same trust and names, and with the sessions that are there; what is missing on our side says nothing of the backend. */
static void checks_go_the_way_of_requests(void **state)
{
    static const char health[] = "},\"health\":{\"interval_ms\":1000,\"timeout_ms\":500}";
    struct pki_identity *other = pki_make(&(struct pki_spec){.subject = "other", .is_ca = true}, NULL);
    struct stage *s = *state;
    uint16_t port = rig_origin_port(&s->origin);
    char missing[200];

    rig_hold_clock(&s->rig);
    s->origin.tls = acceptor;
    apply(s, port, root, health);
    rig_pass(&s->rig, 6000, 50);
    assert_true(stage_counters(s)->checks[DM_CHECK_PASSED] >= 4);
    assert_true(s->origin.n_resumed >= 3);
    assert_int_equal(stage_counters(s)->checks[DM_CHECK_FAILED], 0);
    apply(s, port, other, health);
    rig_pass(&s->rig, 3000, 50);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 1);
    snprintf(missing, sizeof(missing), ",\"client_certificate\":\"none\"%s", health);
    apply(s, port, root, missing);
    rig_pass(&s->rig, 3000, 50);
    assert_int_equal(stage_counters(s)->endpoints_unhealthy, 0);
    assert_true(stage_counters(s)->checks[DM_CHECK_SAYS_NOTHING] >= 1);
    pki_free(other);
}

static void unix_sockets(void **state)
{
    static const char body[] = "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"orders.test\"}],"
                               "\"endpoints\":[{\"address\":\"unix:%s/a.sock\",\"port\":0}]}";
    struct rig_origin origin;
    struct stage *s = *state;
    char text[300], endpoint[150];

    snprintf(text, sizeof(text), "unix:%s/a.sock", s->rig.dir);
    rig_origin_init_at(&s->rig, &origin, dm_str_of(text), DM_STR(STAGE_OK));
    snprintf(endpoint, sizeof(endpoint), "{\"host\":\"%s\",\"port\":0}", text);
    stage_apply(s, &(struct stage_release){.endpoints = endpoint});
    stage_try(s, GET, "\"egress_not_approved\"");
    snprintf(text, sizeof(text), body, s->rig.dir);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, text);
    for (int i = 0; i < 3; i++)
        stage_try(s, GET, "hello");
    assert_int_equal(origin.n_accepted, 1);
    assert_int_equal(rig_count(dm_buf_str(&origin.received), "Host: localhost\r\n"), 3);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, STAGE_GRANTS); /* any address, no path */
    rig_expect_end(&s->rig, origin.sockets[0]);
    stage_try(s, GET, "\"egress_not_approved\"");
    rig_origin_done(&origin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(verified_by_default, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_that_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backend_that_does_not_take_us, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(http2_by_agreement, setup, teardown),
        cmocka_unit_test_setup_teardown(client_certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_go_the_way_of_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_sockets, setup, teardown),
    };

    return cmocka_run_group_tests_name("TLS to backends", tests, NULL, NULL);
}
