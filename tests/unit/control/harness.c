#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#include "control/api/metrics.h"
#include "control/api/route.h"
#include "control/identity/authenticate.h"
#include "control/link/server.h"
#include "control/release/load.h"
#include "control/store/tokens.h"
#include "control/tenancy/resources.h"
#include "control/tenancy/tenants.h"
#include "base/json.h"
#include "base/mem.h"

const struct dm_caller master_caller = {.standing = DM_STANDING_MASTER_ADMIN, .name = {"master", 6}};

void harness_open(struct harness *h)
{
    struct dm_store_settings settings = {.sys = dm_sys_real()};

    if (h->dir[0] == '\0') {
        snprintf(h->dir, sizeof(h->dir), "/tmp/dm-control-XXXXXX");
        assert_non_null(mkdtemp(h->dir));
    }
    snprintf(h->database, sizeof(h->database), "%s/daemun.db", h->dir);
    snprintf(h->socket, sizeof(h->socket), "%s/link.sock", h->dir);
    assert_int_equal(dm_crypto_init(), 0);
    assert_int_equal(dm_keyring_open(dm_sys_real(), h->dir, true, &h->keyring, &h->err), 0);
    settings.path = h->database;
    if (dm_store_open(&settings, &h->store, &h->err) < 0)
        fail_msg("%s", h->err.message);
    dm_arena_init(&h->arena, NULL, 256u << 20);
}

static void make_master(struct harness *h)
{
    struct dm_token_row row = {.role = DM_STR("master_admin"), .name = DM_STR("master")};
    struct dm_txn *txn;

    dm_authenticate_make(&h->keyring, h->master, row.digest);
    assert_int_equal(dm_txn_begin(h->store, DM_TXN_WRITE, &h->arena, &txn, &h->err), 0);
    if (dm_tokens_add(txn, &master_caller, NULL, &row, &h->err) < 0)
        fail_msg("%s", h->err.message);
    assert_int_equal(dm_txn_commit(&txn, &h->err), 0);
}

void harness_serve(struct harness *h)
{
    struct dm_fleet_settings fleet = {.store = h->store, .keyring = &h->keyring};
    struct dm_link_settings link = {.path = h->socket, .uid = (uid_t)-1, .cluster = DM_STR("test")};

    h->loop = dm_loop_new(dm_sys_real());
    h->pool = dm_pool_new(h->loop, 3, 64);
    assert_non_null(h->pool);
    fleet.loop = h->loop;
    fleet.pool = h->pool;
    if (dm_fleet_new(&fleet, &h->fleet, &h->err) < 0)
        fail_msg("%s", h->err.message);
    memcpy(link.public_key, h->keyring.sign_public, sizeof(link.public_key));
    if (dm_fleet_listen(h->fleet, &link, &h->err) < 0)
        fail_msg("%s", h->err.message);
    h->metrics = dm_metrics_new(dm_routes_count);
    h->api = (struct dm_api){.store = h->store, .keyring = &h->keyring, .fleet = h->fleet, .metrics = h->metrics};
    h->server = dm_api_server_new(h->loop, h->pool, &h->api);
    if (h->master[0] == '\0')
        make_master(h);
}

static void close_server(struct harness *h)
{
    if (h->loop == NULL)
        return;
    dm_pool_free(h->pool);
    dm_api_server_free(h->server);
    dm_fleet_close(h->fleet);
    while (dm_loop_turn(h->loop, 0) > 0)
        ;
    dm_fleet_free(h->fleet);
    dm_metrics_free(h->metrics);
    dm_loop_free(h->loop);
    h->loop = NULL;
}

static void close_all(struct harness *h)
{
    close_server(h);
    dm_store_close(h->store);
    h->store = NULL;
    dm_arena_done(&h->arena);
}

void harness_restart(struct harness *h)
{
    bool was_serving = h->loop != NULL;

    close_all(h);
    harness_open(h);
    if (was_serving)
        harness_serve(h);
}

void harness_close(struct harness *h)
{
    char command[128];

    close_all(h);
    snprintf(command, sizeof(command), "rm -rf '%s'", h->dir);
    assert_int_equal(system(command), 0);
}

int harness_setup(void **state)
{
    struct harness *h = calloc(1, sizeof(*h));

    harness_open(h);
    *state = h;
    return 0;
}

int harness_serving_setup(void **state)
{
    harness_setup(state);
    harness_serve(*state);
    return 0;
}

int harness_teardown(void **state)
{
    harness_close(*state);
    free(*state);
    return 0;
}

void harness_until(struct harness *h, const bool *done)
{
    while (!*done)
        assert_true(dm_loop_turn(h->loop, -1) >= 0);
}

/* --- writing without HTTP ------------------------------------------------------------------------------------------ */

void action_begin(struct harness *h, struct action *action, const struct dm_caller *caller)
{
    *action = (struct action){0};
    action->write =
        (struct dm_write){.store = h->store, .keyring = &h->keyring, .caller = caller, .failure = &action->failure};
    assert_int_equal(dm_write_begin(&action->write, &h->arena), 0);
}

static void check(struct action *action, int rc)
{
    if (rc < 0)
        fail_msg("%s: %s", action->failure.errs.items[0].pointer, action->failure.errs.items[0].message);
}

static void put_text(struct harness *h, struct action *action, enum dm_kind kind, const char *text)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome = {0};
    struct dm_errs errs = {0};
    char object[1024] __attribute__((aligned(16)));

    if (dm_model_read_text(dm_kinds[kind].schema, dm_str_of(text), 1 << 20, &h->arena, object, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    check(action, dm_put_resource(&action->write, kind, object, &none, &outcome));
}

static void put_grants(struct harness *h, struct action *action, const char *text)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome;
    struct dm_grants grants;
    struct dm_errs errs = {0};

    assert_int_equal(dm_model_read_text(&dm_schema_grants, dm_str_of(text), 1 << 20, &h->arena, &grants, &errs), 0);
    check(action, dm_put_grants(&action->write, &grants, &none, &outcome));
}

void make_team(struct harness *h, const char *name, uint16_t port, const char *key)
{
    struct dm_precondition none = {0};
    struct dm_outcome outcome;
    struct dm_tenant tenant;
    struct action action;
    char text[1024];

    dm_model_default(&dm_schema_tenant, &tenant);
    tenant.name = dm_str_of(name);
    action_begin(h, &action, &master_caller);
    check(&action, dm_put_tenant(&action.write, &tenant, &none, &outcome));
    snprintf(text, sizeof(text),
             "{\"domains\":[{\"name\":\"%s.localhost\"}],\"endpoints\":[{\"address\":\"127.0.0.1\",\"port\":%u}]}",
             name, port);
    put_grants(h, &action, text);
    snprintf(text, sizeof(text), "{\"name\":\"service\",\"endpoints\":[{\"host\":\"127.0.0.1\",\"port\":%u}]}", port);
    put_text(h, &action, DM_KIND_BACKEND, text);
    snprintf(text, sizeof(text),
             "{\"name\":\"shop\",\"domains\":[\"%s.localhost\"],\"versions\":[{\"name\":\"v1\",\"path\":\"/\","
             "\"policies\":[{\"type\":\"api_key\"}],\"mapping_rules\":[{\"method\":\"GET\",\"pattern\":\"/\"}],"
             "\"backends\":[{\"path\":\"/\",\"backend\":\"service\"}]}],\"plans\":[{\"name\":\"basic\"}]}",
             name);
    put_text(h, &action, DM_KIND_PRODUCT, text);
    snprintf(text, sizeof(text),
             "{\"name\":\"mobile\",\"subscriptions\":[{\"product\":\"shop\",\"plan\":\"basic\"}],"
             "\"credentials\":[{\"name\":\"first\",\"key\":\"%s\"}]}",
             key);
    put_text(h, &action, DM_KIND_APPLICATION, text);
    check(&action, dm_write_finish(&action.write));
}

/* --- HTTP ------------------------------------------------------------------------------------------------------------ */

struct client {
    struct dm_watch watch;
    struct dm_loop *loop;
    struct dm_buf *in;
    bool is_done;
};

static void on_client(struct dm_watch *watch, unsigned ready)
{
    struct client *client = DM_CONTAINER_OF(watch, struct client, watch);
    char bytes[65536];
    ssize_t n;

    while ((n = read(watch->fd, bytes, sizeof(bytes))) > 0)
        dm_buf_add_n(client->in, bytes, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        client->is_done = true;
}

static void write_request(struct dm_buf *out, const char *method, const char *target, const char *token,
                          const char *fields, const char *body)
{
    dm_buf_printf(out, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target);
    if (token != NULL)
        dm_buf_printf(out, "Authorization: Bearer %s\r\n", token);
    dm_buf_add(out, dm_str_of(fields));
    if (body != NULL && (fields == NULL || !strstr(fields, "Content-Type:")))
        dm_buf_add_lit(out, "Content-Type: application/json\r\n");
    if (body != NULL)
        dm_buf_printf(out, "Content-Length: %zu\r\n", strlen(body));
    dm_buf_add_lit(out, "\r\n");
    if (body != NULL)
        dm_buf_add(out, dm_str_of(body));
}

/* The bytes go out from the loop too: the server reads while we write. */
static void send_all(struct harness *h, int fd, const struct dm_buf *out)
{
    size_t sent = 0;

    while (sent < out->len) {
        ssize_t n = write(fd, out->ptr + sent, out->len - sent);

        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN)
            return;
        dm_loop_turn(h->loop, 0);
    }
}

static void split(struct dm_buf *in, struct answer *ret)
{
    const char *end = memmem(in->ptr, in->len, "\r\n\r\n", 4);
    uint64_t status;

    assert_non_null(end);
    dm_buf_add_n(&ret->head, in->ptr, (size_t)(end + 2 - in->ptr));
    dm_buf_add_n(&ret->body, end + 4, in->len - (size_t)(end + 4 - in->ptr));
    assert_int_equal(dm_str_to_u64(dm_str_n(ret->head.ptr + 9, 3), &status), 0);
    ret->status = (unsigned)status;
}

void request(struct harness *h, struct answer *ret, const char *method, const char *target, const char *token,
             const char *fields, const char *body)
{
    struct dm_buf in, out;
    struct client client = {.loop = h->loop, .in = &in};
    struct dm_addr peer;
    int fds[2];

    dm_buf_init(&in, 64u << 20);
    dm_buf_init(&out, 64u << 20);
    dm_buf_init(&ret->head, 1u << 20);
    dm_buf_init(&ret->body, 64u << 20);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:1"), &peer, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    dm_api_server_accept(h->server, fds[0], &peer);
    assert_int_equal(dm_watch_add(h->loop, &client.watch, fds[1], on_client), 0);
    write_request(&out, method, target, token, fields, body);
    send_all(h, fds[1], &out);
    harness_until(h, &client.is_done);
    dm_watch_close(h->loop, &client.watch);
    split(&in, ret);
    dm_buf_done(&in);
    dm_buf_done(&out);
}

void answer_done(struct answer *answer)
{
    dm_buf_done(&answer->head);
    dm_buf_done(&answer->body);
}

char *answer_field(const struct answer *answer, const char *name)
{
    struct dm_str rest = dm_buf_str(&answer->head), line, key;

    while (dm_str_cut(&rest, '\n', &line)) {
        struct dm_str value = line;

        if (!dm_str_cut(&value, ':', &key) || !dm_str_ieq(key, dm_str_of(name)) || value.ptr == NULL)
            continue;
        value.len -= value.len > 0 && value.ptr[value.len - 1] == '\r';
        return dm_strdup(dm_str_trim(value));
    }
    return NULL;
}

static const struct dm_json *step(const struct dm_json *value, struct dm_str name)
{
    char key[128];
    uint64_t at;

    if (dm_json_type(value) == DM_JSON_ARRAY)
        return dm_str_to_u64(name, &at) == 0 && at < dm_json_count(value) ? dm_json_at(value, at) : NULL;
    if (dm_json_type(value) != DM_JSON_OBJECT)
        return NULL;
    snprintf(key, sizeof(key), "%.*s", DM_STR_ARG(name));
    return dm_json_get(value, key);
}

char *answer_member(const struct answer *answer, const char *path)
{
    struct dm_json_limits limits = {64u << 20, 64};
    struct dm_json *root = NULL;
    const struct dm_json *value;
    struct dm_str rest = dm_str_of(path), name;
    struct dm_buf text;
    char *ret = NULL;

    if (dm_json_parse(dm_buf_str(&answer->body), &limits, &root, NULL) < 0)
        return NULL;
    value = root;
    while (value != NULL && dm_str_cut(&rest, '.', &name))
        value = step(value, name);
    if (value != NULL && dm_json_type(value) == DM_JSON_STRING) {
        ret = dm_strdup(dm_json_string(value));
    } else if (value != NULL) {
        dm_buf_init(&text, 64u << 20);
        dm_json_print(value, false, &text);
        ret = dm_strdup(dm_buf_str(&text));
        dm_buf_done(&text);
    }
    dm_json_free(root);
    return ret;
}

char *expect(struct harness *h, unsigned status, const char *member, const char *method, const char *target,
             const char *token, const char *fields, const char *body)
{
    struct answer answer;
    char *ret = NULL;

    request(h, &answer, method, target, token, fields, body);
    if (answer.status != status)
        fail_msg("%s %s: expected %u, got %u: %.*s", method, target, status, answer.status,
                 DM_STR_ARG(dm_buf_str(&answer.body)));
    if (member != NULL)
        ret = answer_member(&answer, member);
    answer_done(&answer);
    return ret;
}

void assert_str(char *got, const char *want)
{
    assert_non_null(got);
    assert_string_equal(got, want);
    dm_free(got);
}

void done(char *text)
{
    dm_free(text);
}
