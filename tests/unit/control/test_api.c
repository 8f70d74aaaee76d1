/* The API around its resources: who may call it, credentials, changes, bounds, what happens when the store fails. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shop.h"

#include "control/api/call.h"
#include "control/store/replies.h"
#include "control/store/tokens.h"
#include "base/log.h"
#include "base/mem.h"

/* --- tokens and rights ------------------------------------------------------------------------------------------------ */

static void test_authentication(void **state)
{
    struct harness *h = *state;
    char *id, target[64];

    assert_str(expect(h, 401, "reason", "GET", "/api/v1/tenants", NULL, "", NULL), "unauthenticated");
    assert_str(expect(h, 401, "reason", "GET", "/api/v1/tenants", "dmt_no", "", NULL), "unauthenticated");
    assert_str(
        expect(h, 401, "reason", "GET", "/api/v1/tenants", "dmt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", NULL),
        "unauthenticated");
    assert_str(GET(200, "role", "/api/v1/whoami"), "master_admin");
    assert_str(POST(422, "errors.0.pointer", "/api/v1/tokens",
                    "{\"name\":\"x\",\"role\":\"master_admin\",\"expires_at\":\"2001-01-01T00:00:00Z\"}"),
               "/expires_at");
    id = POST(201, "id", "/api/v1/tokens", "{\"name\":\"x\",\"role\":\"master_admin\"}");
    assert_str(POST(409, "reason", "/api/v1/tokens", "{\"name\":\"x\",\"role\":\"master_admin\"}"), "exists");
    snprintf(target, sizeof(target), "/api/v1/tokens/%s", id);
    done(DELETE(204, NULL, target));
    done(DELETE(404, NULL, target));
    assert_null(GET(200, "items.1", "/api/v1/tokens"));
    done(id);
}

/* P2, P8: a tenant admin has its tenant and nothing else. */
static void test_rights(void **state)
{
    struct harness *h = *state;
    char *token, *other;

    make_orders(h);
    done(POST(201, NULL, "/api/v1/tenants", "{\"name\":\"catalog\"}"));
    token = tenant_token(h, "orders");
    other = tenant_token(h, "catalog");
    assert_str(expect(h, 200, "tenant", "GET", "/api/v1/whoami", token, "", NULL), "orders");
    assert_str(expect(h, 200, "items.0.name", "GET", "/api/v1/tenants", token, "", NULL), "orders");
    assert_null(expect(h, 200, "items.1", "GET", "/api/v1/tenants", token, "", NULL));
    assert_str(expect(h, 200, "name", "GET", T "/products/shop", token, "", NULL), "shop");

    static const char *const foreign[] = {"",          "/grants",       "/backends", "/backends/service",
                                          "/products", "/applications", "/document", "/status",
                                          "/changes",  "/usage",        "/tokens"};
    for (size_t i = 0; i < DM_COUNT(foreign); i++) {
        char target[128];
        char *missing;

        snprintf(target, sizeof(target), T "%s", foreign[i]);
        assert_str(expect(h, 404, "detail", "GET", target, other, "", NULL), "there is no tenant 'orders'");
        snprintf(target, sizeof(target), "/api/v1/tenants/nosuch%s", foreign[i]);
        missing = expect(h, 404, "detail", "GET", target, other, "", NULL);
        assert_str(missing, "there is no tenant 'nosuch'");
    }
    assert_str(expect(h, 404, "reason", "PUT", T "/backends/service", other, "", "{}"), "not_found");
    assert_str(expect(h, 404, "reason", "DELETE", T "/products/shop", other, "", NULL), "not_found");
    assert_str(expect(h, 403, "reason", "PUT", T "/grants", token, "", "{}"), "master_only");
    assert_str(expect(h, 403, "reason", "PATCH", T, token, "", "{\"weight\":9}"), "master_only");
    assert_str(expect(h, 403, "reason", "DELETE", T, token, "", NULL), "master_only");
    assert_str(expect(h, 403, "reason", "POST", "/api/v1/tenants", token, "", "{\"name\":\"mine\"}"), "master_only");
    assert_str(expect(h, 403, "reason", "GET", "/api/v1/status", token, "", NULL), "master_only");
    assert_str(expect(h, 403, "reason", "GET", "/api/v1/changes", token, "", NULL), "master_only");
    assert_str(expect(h, 403, "reason", "GET", "/api/v1/tokens", token, "", NULL), "master_only");
    assert_str(expect(h, 422, "errors.0.pointer", "POST", T "/tokens", token, "",
                      "{\"name\":\"m\",\"role\":\"master_admin\"}"),
               "/role");
    dm_free(token);
    dm_free(other);
}

static void test_suspended_tenant(void **state)
{
    struct harness *h = *state;
    char *token;

    make_orders(h);
    token = tenant_token(h, "orders");
    assert_str(PATCH(200, "state", T, "{\"state\":\"suspended\"}"), "suspended");
    assert_str(expect(h, 403, "reason", "PATCH", T "/backends/service", token, "", "{\"base_path\":\"/x\"}"),
               "tenant_suspended");
    assert_str(expect(h, 200, "name", "GET", T "/backends/service", token, "", NULL), "service");
    done(PATCH(200, NULL, T "/backends/service", "{\"base_path\":\"/x\"}"));
    dm_free(token);
}

/* --- credentials ------------------------------------------------------------------------------------------------------- */

static void test_keys_are_shown_once(void **state)
{
    struct harness *h = *state;
    char *key, *document;

    make_orders(h);
    key = PUT(201, "credentials.0.key", T "/applications/mobile", "{\"credentials\":[{\"name\":\"first\"}]}");
    assert_non_null(key);
    assert_null(GET(200, "credentials.0.key", T "/applications/mobile"));
    document = GET(200, "applications", T "/document");
    assert_null(strstr(document, key));
    done(document);
    document = GET(200, "items", T "/changes");
    assert_null(strstr(document, key));
    done(document);
    /* Left out, credentials stay; the empty list takes them away. */
    assert_str(PUT(200, "credentials.0.name", T "/applications/mobile", "{\"description\":\"x\"}"), "first");
    assert_null(PUT(200, "credentials.0.key", T "/applications/mobile", "{\"credentials\":[{\"name\":\"first\"}]}"));
    assert_str(PUT(200, "credentials", T "/applications/mobile", "{\"credentials\":[]}"), "[]");
    done(key);
}

static void add_part(struct dm_digest_state *state, const char *text)
{
    uint64_t len = strlen(text);

    dm_digest_update(state, &len, sizeof(len));
    dm_digest_update(state, text, len);
}

/* What anybody can compute would let whoever has the database guess at a short secret. */
static void test_what_is_kept_of_a_request_is_keyed(void **state)
{
    struct harness *h = *state;
    const char *body = "{\"name\":\"again\",\"key\":\"abcdefgh12345678\"}";
    struct dm_digest_state digest;
    uint8_t plain[DM_DIGEST_BYTES], master_digest[DM_DIGEST_BYTES];
    struct dm_reply_row row = {0};
    struct dm_token_row token;
    struct dm_txn *txn = NULL;

    make_orders(h);
    done(PUT(201, NULL, T "/applications/mobile", "{}"));
    done(expect(h, 201, NULL, "POST", T "/applications/mobile/credentials", MASTER, "Idempotency-Key: k1\r\n", body));
    dm_digest_init(&digest, NULL);
    add_part(&digest, "POST");
    add_part(&digest, T "/applications/mobile/credentials");
    add_part(&digest, "");
    add_part(&digest, body);
    dm_digest_final(&digest, plain);
    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &txn, &h->err), 0);
    dm_digest(h->keyring.tokens, dm_str_of(h->master), master_digest);
    assert_int_equal(dm_tokens_find(txn, master_digest, &token, &h->err), 0);
    assert_int_equal(dm_replies_get(txn, token.id, DM_STR("k1"), &row, &h->err), 0);
    assert_memory_not_equal(row.request, plain, sizeof(plain));
    dm_txn_abort(&txn);
}

static void test_credentials(void **state)
{
    struct harness *h = *state;
    struct answer again;
    char *request_id;
    char *key, *second;

    make_orders(h);
    done(PUT(201, NULL, T "/applications/mobile", "{}"));
    done(PUT(201, NULL, T "/applications/web", "{}"));
    key = POST(201, "key", T "/applications/mobile/credentials", "{\"name\":\"first\"}");
    assert_non_null(key);
    assert_null(
        POST(201, "key", T "/applications/mobile/credentials", "{\"name\":\"given\",\"key\":\"abcdefgh12345678\"}"));
    assert_str(POST(409, "reason", T "/applications/mobile/credentials", "{\"name\":\"first\"}"), "exists");
    assert_str(POST(409, "reason", T "/applications/web/credentials", "{\"name\":\"x\",\"key\":\"abcdefgh12345678\"}"),
               "key_in_use");
    assert_str(GET(200, "items.1.name", T "/applications/mobile/credentials"), "given");
    done(DELETE(204, NULL, T "/applications/mobile/credentials/given"));
    done(DELETE(404, NULL, T "/applications/mobile/credentials/given"));
    done(POST(201, NULL, T "/applications/web/credentials", "{\"name\":\"x\",\"key\":\"abcdefgh12345678\"}"));
    second = expect(h, 201, "key", "POST", T "/applications/mobile/credentials", MASTER, "Idempotency-Key: k1\r\n",
                    "{\"name\":\"again\"}");
    assert_str(expect(h, 201, "key", "POST", T "/applications/mobile/credentials", MASTER, "Idempotency-Key: k1\r\n",
                      "{\"name\":\"again\"}"),
               second);
    request(h, &again, "POST", T "/applications/mobile/credentials", MASTER, "Idempotency-Key: k1\r\n",
            "{\"name\":\"again\"}");
    assert_str(answer_field(&again, "Idempotency-Replayed"), "true");
    request_id = answer_field(&again, "X-Request-Id");
    assert_non_null(request_id);
    done(request_id);
    answer_done(&again);
    assert_str(expect(h, 422, "reason", "POST", T "/applications/mobile/credentials", MASTER, "Idempotency-Key: k1\r\n",
                      "{\"name\":\"other\"}"),
               "idempotency_key_reused");
    done(key);
    done(second);
}

/* P2: what was answered about a tenant, keys and tokens among it, is no answer to who has its name next. */
static void test_replies_go_with_their_tenant(void **state)
{
    struct harness *h = *state;
    struct answer answer;
    char *first, *again;

    make_orders(h);
    first = expect(h, 201, "token", "POST", T "/tokens", MASTER, "Idempotency-Key: k1\r\n",
                   "{\"name\":\"admin\",\"role\":\"tenant_admin\"}");
    done(DELETE(204, NULL, T));
    assert_str(expect(h, 404, "reason", "POST", T "/tokens", MASTER, "Idempotency-Key: k1\r\n",
                      "{\"name\":\"admin\",\"role\":\"tenant_admin\"}"),
               "not_found");
    make_orders(h);
    request(h, &answer, "POST", T "/tokens", MASTER, "Idempotency-Key: k1\r\n",
            "{\"name\":\"admin\",\"role\":\"tenant_admin\"}");
    assert_int_equal(answer.status, 201);
    assert_null(answer_field(&answer, "Idempotency-Replayed"));
    again = answer_member(&answer, "token");
    assert_string_not_equal(first, again);
    answer_done(&answer);
    done(first);
    done(again);
}

/* --- around ---------------------------------------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
    struct harness *h = *state;

    make_orders(h);
    done(expect(h, 200, NULL, "PATCH", T "/backends/service", MASTER, "X-Request-Id: my-id\r\n",
                "{\"base_path\":\"/x\"}"));
    assert_str(GET(200, "items.0.request_id", T "/changes"), "my-id");
    assert_str(GET(200, "items.0.action", T "/changes"), "update");
    assert_str(GET(200, "items.0.details.0.pointer", T "/changes"), "/base_path");
    assert_str(GET(200, "items.0.details.0.before", T "/changes"), "/");
    assert_str(GET(200, "items.0.details.0.after", T "/changes"), "/x");
    assert_str(GET(200, "items.0.actor", T "/changes"), "master");
    assert_str(GET(200, "intact", "/api/v1/changes/verification"), "true");
    done(DELETE(204, NULL, T));
    done(POST(201, NULL, "/api/v1/tenants", "{\"name\":\"orders\"}"));
    assert_null(GET(200, "items.1", T "/changes"));
    assert_str(GET(200, "items.1.action", "/api/v1/changes"), "delete");
}

static void test_large_bodies(void **state)
{
    struct harness *h = *state;
    size_t size = 2u << 20;
    char *body = dm_alloc(size + 1);

    make_orders(h);
    memset(body, ' ', size);
    body[size] = '\0';
    assert_str(PUT(413, "reason", T "/backends/x", body), "too_large");
    assert_str(PUT(400, "reason", T "/document", body), "malformed");
    dm_free(body);
}

static void test_open_routes(void **state)
{
    struct harness *h = *state;
    struct answer answer;
    char *version;

    make_orders(h);
    assert_str(expect(h, 200, "status", "GET", "/healthz", NULL, "", NULL), "ok");
    version = expect(h, 200, "openapi", "GET", "/api/v1/openapi.json", NULL, "", NULL);
    assert_memory_equal(version, "3.1", 3);
    done(version);
    request(h, &answer, "GET", "/metrics", NULL, "", NULL);
    dm_buf_add_char(&answer.body, '\0');
    assert_non_null(
        strstr(answer.body.ptr, "daemun_controller_requests_total{route=\"PUT /api/v1/tenants/{tenant}/grants\""));
    assert_null(strstr(answer.body.ptr, "orders"));
    answer_done(&answer);
    request(h, &answer, "GET", "/metrics", MASTER, "", NULL);
    dm_buf_add_char(&answer.body, '\0');
    assert_non_null(strstr(answer.body.ptr, "daemun_controller_unit_sequence{tenant=\"orders\",kind=\"grants\"} 2"));
    answer_done(&answer);
    request(h, &answer, "HEAD", T, MASTER, "", NULL);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body.len, 0);
    answer_done(&answer);
}

static void test_restart_keeps_everything(void **state)
{
    struct harness *h = *state;
    char *before, *after;

    make_orders(h);
    before = GET(200, "units", T "/status");
    harness_restart(h);
    after = GET(200, "units", T "/status");
    assert_string_equal(before, after);
    assert_str(GET(200, "name", T "/products/shop"), "shop");
    done(before);
    done(after);
}

/* Authenticated before, and revoked while the call waited for the writer. */
static void test_a_token_that_is_revoked_meanwhile(void **state)
{
    struct harness *h = *state;
    struct dm_token_row row = {.role = DM_STR("master_admin"), .name = DM_STR("second")};
    struct dm_write write;
    struct dm_call call;
    struct dm_txn *txn;

    for (int is_revoked = 0; is_revoked < 2; is_revoked++) {
        assert_int_equal(dm_txn_begin(h->store, DM_TXN_WRITE, &h->arena, &txn, &h->err), 0);
        if (is_revoked)
            assert_int_equal(dm_tokens_remove(txn, &master_caller, NULL, row.id, &h->err), 0);
        else
            assert_int_equal(dm_tokens_add(txn, &master_caller, NULL, &row, &h->err), 0);
        assert_int_equal(dm_txn_commit(&txn, &h->err), 0);
        dm_call_init(&call, &h->api);
        call.caller = master_caller;
        call.caller.token_id = row.id;
        assert_int_equal(dm_call_begin_write(&call, &write), is_revoked ? DM_EPERM : 0);
        dm_write_done(&write);
        if (is_revoked)
            assert_string_equal(dm_failure_reason(&call.failure), "unauthenticated");
        dm_call_done(&call);
    }
}

/* A request whose body never ends; returns the client's socket once the server has `bytes` of it. */
static int send_part(struct harness *h, size_t bytes)
{
    static const char head[] = "PUT " T "/document HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n";
    struct dm_addr peer = {0};
    char spaces[4096];
    int fds[2];

    memset(spaces, ' ', sizeof(spaces));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    dm_api_server_accept(h->server, fds[0], &peer);
    assert_int_equal(write(fds[1], head, sizeof(head) - 1), sizeof(head) - 1);
    for (size_t sent = 0; sent < bytes;) {
        ssize_t n = write(fds[1], spaces, sizeof(spaces));
        sent += n > 0 ? (size_t)n : 0;
        dm_loop_turn(h->loop, 0);
    }
    while (dm_loop_turn(h->loop, 0) > 0)
        ;
    return fds[1];
}

static void test_bodies_are_bounded_together(void **state)
{
    struct harness *h = *state;
    size_t size = 300000;
    char *body = dm_alloc(size + 1);
    int fd;

    make_orders(h);
    memset(body, ' ', size);
    body[size] = '\0';
    h->api.bodies_max_bytes = 1u << 20;
    fd = send_part(h, 800000);
    assert_str(PUT(503, "reason", T "/document", body), "overloaded");
    close(fd);
    while (dm_api_server_busy(h->server) > 0)
        dm_loop_turn(h->loop, -1);
    assert_str(PUT(400, "reason", T "/document", body), "malformed");
    dm_free(body);
}

/* A full disk must be found in the log, under the id that the client was given. */
static void test_a_failing_store_is_logged(void **state)
{
    struct harness *h = *state;
    char said[4096] = "";
    int fds[2];

    make_orders(h);
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    dm_log_init("test", "test", fds[1], false, DM_LOG_INFO);
    dm_store_set_fault(h->store, 6);
    assert_str(expect(h, 503, "reason", "PATCH", T "/backends/service", MASTER, "X-Request-Id: find-me\r\n",
                      "{\"base_path\":\"/x\"}"),
               "store_failed");
    dm_store_set_fault(h->store, 0);
    dm_log_drain(1000);
    assert_true(read(fds[0], said, sizeof(said) - 1) > 0);
    assert_non_null(strstr(said, "request_failed"));
    assert_non_null(strstr(said, "find-me"));
    dm_log_init("test", "test", STDERR_FILENO, false, DM_LOG_INFO);
    close(fds[0]);
    close(fds[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_serving_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_authentication),
        TEST(test_rights),
        TEST(test_suspended_tenant),
        TEST(test_keys_are_shown_once),
        TEST(test_what_is_kept_of_a_request_is_keyed),
        TEST(test_credentials),
        TEST(test_replies_go_with_their_tenant),
        TEST(test_changes),
        TEST(test_large_bodies),
        TEST(test_open_routes),
        TEST(test_restart_keeps_everything),
        TEST(test_a_token_that_is_revoked_meanwhile),
        TEST(test_bodies_are_bounded_together),
        TEST(test_a_failing_store_is_logged),
    };

    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
