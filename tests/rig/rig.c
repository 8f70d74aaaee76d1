#include "rig/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/credential.h"
#include "snapshot/compile.h"

#define TURNS_MAX 20000

/* --- worker ------------------------------------------------------------------------------------------------------- */

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct rig *rig = DM_CONTAINER_OF(listener, struct rig, door);

    dm_worker_listener_accept(&rig->worker.listeners[0], fd, peer);
}

/* --- clocks ------------------------------------------------------------------------------------------------------- */

static uint64_t mono_ns(struct dm_sys *sys)
{
    const struct rig *rig = DM_CONTAINER_OF(sys, const struct rig, sys);

    return (rig->held_ns ? rig->held_ns : dm_sys_real()->ops->mono_ns(dm_sys_real())) + rig->mono_shift_ns;
}

void rig_hold_clock(struct rig *rig)
{
    rig->held_ns = dm_sys_real()->ops->mono_ns(dm_sys_real());
}

static uint64_t wall_ns(struct dm_sys *sys)
{
    return dm_sys_real()->ops->wall_ns(dm_sys_real()) + (uint64_t)DM_CONTAINER_OF(sys, struct rig, sys)->wall_shift_ns;
}

static void init_sys(struct rig *rig)
{
    rig->sys_ops = *dm_sys_real()->ops;
    rig->sys_ops.mono_ns = mono_ns;
    rig->sys_ops.wall_ns = wall_ns;
    rig->sys.ops = &rig->sys_ops;
}

void rig_pass(struct rig *rig, uint32_t ms, uint32_t step_ms)
{
    while (ms > 0) {
        uint32_t step = DM_MIN(ms, step_ms);
        rig->mono_shift_ns += step * UINT64_C(1000000);
        rig_settle(rig);
        ms -= step;
    }
}

#define TENANTS 8 /* more than a test has */

void rig_init(struct rig *rig)
{
    struct dm_err err = {0};
    struct dm_addr any;
    char path[80];
    struct dm_buf text;

    memset(rig, 0, sizeof(*rig));
    assert_int_equal(dm_crypto_init(), 0);
    memcpy(rig->dir, "/tmp/daemun-rig-XXXXXX", 23);
    assert_non_null(mkdtemp(rig->dir));
    dm_buf_init_fixed(&text, path, sizeof(path));
    dm_buf_printf(&text, "%s/limits%c", rig->dir, 0);
    dm_gateway_options_defaults(&rig->options);
    rig->options.access_log = false;
    assert_int_equal(dm_listener_parse(DM_STR("127.0.0.1:8080"), rig->options.listen, &rig->options.n_listen, &err), 0);
    rig->counters = dm_calloc(1, sizeof(*rig->counters));
    init_sys(rig);
    if (dm_worker_init(&rig->worker, &rig->sys, &rig->options, rig->counters, path, &err) < 0)
        fail_msg("%s", err.message);
    dm_buf_init_fixed(&text, path, sizeof(path));
    dm_buf_printf(&text, "%s/health%c", rig->dir, 0);
    if (dm_worker_share_health(&rig->worker, path, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &any, NULL), 0);
    assert_int_equal(dm_listener_open(&rig->door, rig->worker.loop, &any, 64, false, on_accept, &err), 0);
    rig->addr = rig->door.addr;
}

void rig_done(struct rig *rig)
{
    char path[80];
    struct dm_buf text;

    dm_listener_close(&rig->door);
    dm_worker_done(&rig->worker);
    for (size_t i = 0; i < TENANTS; i++) { /* all that was counted was given back */
        assert_int_equal(rig->counters->tenants[i].buffered_bytes, 0);
        assert_int_equal(rig->counters->tenants[i].upstream_connections, 0);
    }
    dm_buf_init_fixed(&text, path, sizeof(path));
    dm_buf_printf(&text, "%s/limits%c", rig->dir, 0);
    unlink(path);
    dm_buf_init_fixed(&text, path, sizeof(path));
    dm_buf_printf(&text, "%s/health%c", rig->dir, 0);
    unlink(path);
    rmdir(rig->dir);
    dm_free(rig->counters);
}

void rig_digest(const char *key, char ret[65])
{
    uint8_t digest_key[32], digest[DM_DIGEST_BYTES];

    memset(digest_key, 0x11, sizeof(digest_key));
    dm_credential_digest(digest_key, DM_CREDENTIAL_API_KEY, dm_str_of(key), digest);
    dm_hex(digest, sizeof(digest), ret);
}

static void compile(struct dm_str text, struct dm_builder *builder)
{
    struct dm_errs errs = {0};
    struct dm_err err = {0};
    struct dm_document document;
    struct dm_arena arena;
    uint8_t hash[DM_DIGEST_BYTES];

    dm_digest(NULL, text, hash);
    dm_arena_init(&arena, NULL, DM_DOCUMENT_ARENA_BYTES);
    if (dm_model_read_text(&dm_schema_document, text, DM_DOCUMENT_BODY_MAX, &arena, &document, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    if (dm_compile(&document, hash, builder, &err) < 0)
        fail_msg("%s: %s", err.pointer, err.message);
    dm_arena_done(&arena);
}

/* Through a file, as workers get them. */
static struct dm_unit *open_unit(struct rig *rig, const struct dm_builder *builder)
{
    struct dm_err err = {0};
    struct dm_unit *unit = NULL;
    char path[80];
    struct dm_buf text;

    dm_buf_init_fixed(&text, path, sizeof(path));
    dm_buf_printf(&text, "%s/unit%c", rig->dir, 0);
    if (dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&builder->buf), 0600, false, &err) < 0 ||
        dm_unit_open(path, &unit, &err) < 0)
        fail_msg("%s", err.message);
    unlink(path);
    return unit;
}

void rig_apply(struct rig *rig, const char *tenant, uint64_t tenant_id, enum dm_unit_kind kind, const char *body)
{
    struct dm_buf text DM_CLEANUP(dm_buf_done);
    struct dm_builder builder;
    struct dm_err err = {0};
    int rc;

    dm_buf_init(&text, 1u << 20);
    dm_buf_printf(&text,
                  "{\"format\":1,\"kind\":\"%s\",\"tenant\":\"%s\",\"tenant_id\":%llu,\"epoch\":1,\"sequence\":%llu,"
                  "\"compat_date\":\"2026-11-01\",\"body\":%s}",
                  dm_unit_kind_names[kind], tenant, (unsigned long long)tenant_id,
                  (unsigned long long)++rig->next_sequence, body);
    dm_builder_init(&builder);
    compile(dm_buf_str(&text), &builder);
    rc = dm_worker_apply(&rig->worker, open_unit(rig, &builder), (uint32_t)tenant_id, &err);
    if (rc < 0)
        fail_msg("%s", err.message);
    if (rc == 0)
        assert_true(rig->may_be_old);
    dm_builder_done(&builder);
}

void rig_settle(struct rig *rig)
{
    int idle = 0;

    while (idle < 5) {
        int n = dm_loop_turn(rig->worker.loop, 0);
        assert_true(n >= 0);
        idle = n == 0 ? idle + 1 : 0;
    }
}

void rig_run_until(struct rig *rig, bool (*done)(void *arg), void *arg)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        if (done(arg))
            return;
        assert_true(dm_loop_turn(rig->worker.loop, 1000) >= 0);
    }
    fail_msg("nothing happened within %d turns", TURNS_MAX);
}

/* --- sockets ------------------------------------------------------------------------------------------------------ */

static size_t on_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct rig_socket *socket = DM_CONTAINER_OF(stream, struct rig_socket, stream);

    dm_buf_add_n(&socket->received, ptr, len);
    socket->n_received += len;
    return len;
}

static void on_eof(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct rig_socket, stream)->has_eof = true;
}

static void on_error(struct dm_stream *stream, int code)
{
    DM_CONTAINER_OF(stream, struct rig_socket, stream)->is_failed = true;
    dm_stream_close(stream);
}

static void on_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct rig_socket, stream)->is_closed = true;
}

static const struct dm_stream_type client_type = {on_read, on_eof, NULL, NULL, on_error, on_closed, 0, 64u << 20};

static struct rig_socket *socket_new(void *user)
{
    struct rig_socket *socket = dm_calloc(1, sizeof(*socket));

    dm_buf_init(&socket->received, 64u << 20);
    socket->user = user;
    return socket;
}

struct rig_socket *rig_connect(struct rig *rig)
{
    struct rig_socket *socket = socket_new(NULL);

    assert_int_equal(dm_stream_connect(&socket->stream, rig->worker.loop, &client_type, &rig->addr, 5000), 0);
    return socket;
}

void rig_send(struct rig_socket *socket, struct dm_str bytes)
{
    assert_int_equal(dm_stream_put(&socket->stream, bytes.ptr, bytes.len), 0);
    dm_stream_flush(&socket->stream);
}

static bool is_closed(void *arg)
{
    return ((struct rig_socket *)arg)->is_closed;
}

size_t rig_count(struct dm_str s, const char *text)
{
    size_t n = 0;
    const char *at;

    while (s.len > 0 && (at = memmem(s.ptr, s.len, text, strlen(text)))) {
        n++;
        s = dm_str_skip(s, (size_t)(at - s.ptr) + 1);
    }
    return n;
}

struct expected {
    struct rig_socket *socket;
    const char *text;
    size_t times;
};

static bool has_come(void *arg)
{
    struct expected *e = arg;

    if (rig_count(dm_buf_str(&e->socket->received), e->text) >= e->times)
        return true;
    if (e->socket->has_eof || e->socket->is_failed)
        fail_msg("the connection ended before '%s' came %zu times: %.*s", e->text, e->times,
                 DM_STR_ARG(dm_buf_str(&e->socket->received)));
    return false;
}

void rig_expect(struct rig *rig, struct rig_socket *socket, const char *text, size_t times)
{
    struct expected e = {socket, text, times};

    rig_run_until(rig, has_come, &e);
}

static bool has_ended(void *arg)
{
    struct rig_socket *socket = arg;

    return socket->has_eof || socket->is_failed;
}

void rig_expect_end(struct rig *rig, struct rig_socket *socket)
{
    rig_run_until(rig, has_ended, socket);
}

void rig_close(struct rig *rig, struct rig_socket *socket)
{
    if (!socket->is_closed)
        dm_stream_close(&socket->stream);
    rig_run_until(rig, is_closed, socket);
    dm_buf_done(&socket->received);
    dm_free(socket);
}

/* --- origins ------------------------------------------------------------------------------------------------------ */

/* Always whole, and the connection goes on. */
static bool answer_next(struct rig_origin *origin, struct rig_socket *socket)
{
    if (origin->next_answer.len == 0 || !strstr(socket->asked, "/next"))
        return false;
    rig_send(socket, origin->next_answer);
    return true;
}

static bool answer_once(struct rig_origin *origin, struct rig_socket *socket)
{
    if (origin->answer_once.len == 0)
        return false;
    rig_send(socket, origin->answer_once);
    origin->answer_once = DM_STR_NULL;
    return true;
}

static void answer(struct rig_origin *origin, struct rig_socket *socket)
{
    struct dm_tls_info info;

    origin->n_requests++;
    if (origin->answers_early)
        dm_buf_printf(&origin->requests, "%s early\n", socket->asked);
    else
        dm_buf_printf(&origin->requests, "%s %llu\n", socket->asked, (unsigned long long)socket->body.total);
    if (answer_next(origin, socket) || answer_once(origin, socket))
        return;
    origin->n_resumed += dm_tls_info(&socket->stream, &info) && info.is_resumed;
    if (origin->cuts)
        dm_stream_close(&socket->stream);
    else if (origin->answer.len > 0)
        rig_send(socket, origin->answer);
    socket->is_tunnel = dm_str_starts(origin->answer, DM_STR("HTTP/1.1 101 "));
    if (origin->closes && !origin->cuts)
        dm_stream_shutdown(&socket->stream);
}

static const struct dm_http_limits limits = {64u << 10, 16u << 10, DM_HTTP_FIELDS_MAX, 8u << 10, 4u << 10, true};

/* 1: a head was read; 0: more is needed; negative: no request. */
static int read_head(struct rig_origin *origin, struct rig_socket *socket)
{
    static struct dm_http_head head;
    struct dm_str rest = dm_str_skip(dm_buf_str(&socket->received), socket->parsed);
    int rc = dm_http_parse_request(rest.ptr, rest.len, &socket->scan, &limits, &head);
    if (rc <= 0)
        return rc;
    socket->parsed += (size_t)rc;
    socket->is_in_body = true;
    snprintf(socket->asked, sizeof(socket->asked), "%.*s %.*s", DM_STR_ARG(head.method_name), DM_STR_ARG(head.target));
    if (origin->answers_early)
        answer(origin, socket);
    return dm_http_body_init(&socket->body, &head, &limits, UINT64_MAX) < 0 ? -1 : 1;
}

static int read_body(struct rig_origin *origin, struct rig_socket *socket)
{
    struct dm_str rest = dm_str_skip(dm_buf_str(&socket->received), socket->parsed), data;
    size_t consumed = 0;
    int rc = dm_http_body_is_done(&socket->body) ? 1 : dm_http_body_feed(&socket->body, rest, &consumed, &data);

    socket->parsed += consumed;
    if (rc > 0) {
        socket->is_in_body = false;
        if (!origin->answers_early)
            answer(origin, socket);
    }
    return rc < 0 ? rc : rc > 0 || consumed > 0;
}

static size_t on_origin_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct rig_socket *socket = DM_CONTAINER_OF(stream, struct rig_socket, stream);
    struct rig_origin *origin = socket->user;
    int rc = 1;

    dm_buf_add_n(&socket->received, ptr, len);
    dm_buf_add_n(&origin->received, ptr, len);
    socket->n_received += len;
    while (rc > 0 && !socket->is_tunnel && dm_stream_is_open(stream) &&
           (socket->is_in_body || socket->parsed < socket->received.len))
        rc = socket->is_in_body ? read_body(origin, socket) : read_head(origin, socket);
    if (rc < 0) {
        origin->n_bad++;
        dm_stream_close(stream);
    }
    return len;
}

static void on_origin_eof(struct dm_stream *stream)
{
    struct rig_socket *socket = DM_CONTAINER_OF(stream, struct rig_socket, stream);

    on_eof(stream);
    if (!socket->is_tunnel)
        dm_stream_close(stream);
}

static const struct dm_stream_type origin_type = {on_origin_read, on_origin_eof, NULL, NULL,
                                                  on_error,       on_closed,     0,    64u << 20};

static void on_origin_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    struct rig_origin *origin = DM_CONTAINER_OF(listener, struct rig_origin, listener);
    struct rig_socket *socket = socket_new(origin);

    for (size_t i = origin->n_sockets; i-- > 0;)
        if (origin->sockets[i]->is_closed) {
            dm_buf_done(&origin->sockets[i]->received);
            dm_free(origin->sockets[i]);
            origin->sockets[i] = origin->sockets[--origin->n_sockets];
        }
    assert_true(origin->n_sockets < DM_COUNT(origin->sockets));
    origin->sockets[origin->n_sockets++] = socket;
    origin->n_accepted++;
    assert_int_equal(dm_stream_open(&socket->stream, listener->loop, &origin_type, fd), 0);
    if (origin->tls)
        dm_tls_serve(&socket->stream, origin->tls);
}

void rig_origin_init(struct rig *rig, struct rig_origin *origin, struct dm_str answer)
{
    rig_origin_init_at(rig, origin, DM_STR("127.0.0.1:0"), answer);
}

void rig_origin_init_at(struct rig *rig, struct rig_origin *origin, struct dm_str addr, struct dm_str answer)
{
    memset(origin, 0, sizeof(*origin));
    origin->rig = rig;
    origin->answer = answer;
    dm_buf_init(&origin->received, 64u << 20);
    dm_buf_init(&origin->requests, 64u << 20);
    rig_listen(rig, &origin->listener, addr, on_origin_accept);
}

void rig_origin_done(struct rig_origin *origin)
{
    dm_listener_close(&origin->listener);
    for (size_t i = 0; i < origin->n_sockets; i++)
        rig_close(origin->rig, origin->sockets[i]);
    rig_settle(origin->rig);
    dm_buf_done(&origin->received);
    dm_buf_done(&origin->requests);
}

void rig_origin_reset(struct rig_origin *origin)
{
    dm_buf_reset(&origin->received);
    dm_buf_reset(&origin->requests);
    for (size_t i = 0; i < origin->n_sockets; i++) {
        dm_buf_consume(&origin->sockets[i]->received, origin->sockets[i]->parsed);
        origin->sockets[i]->parsed = 0;
    }
}

uint16_t rig_origin_port(const struct rig_origin *origin)
{
    return dm_addr_port(&origin->listener.addr);
}

/* --- backends of another kind ------------------------------------------------------------------------------------- */

void rig_link_eof(struct dm_stream *stream)
{
    dm_stream_close(stream);
}

void rig_link_error(struct dm_stream *stream, int code)
{
    dm_stream_close(stream);
}

void rig_link_closed(struct dm_stream *stream)
{
    DM_CONTAINER_OF(stream, struct rig_link, stream)->is_closed = true;
}

static bool is_link_closed(void *arg)
{
    return ((struct rig_link *)arg)->is_closed;
}

void rig_link_close(struct rig *rig, struct rig_link *link)
{
    if (!link->is_closed)
        dm_stream_close(&link->stream);
    rig_run_until(rig, is_link_closed, link);
}

void rig_listen(struct rig *rig, struct dm_listener *listener, struct dm_str addr,
                void (*on_peer)(struct dm_listener *listener, int fd, const struct dm_addr *peer))
{
    struct dm_err err = {0};
    struct dm_addr any;

    assert_int_equal(dm_addr_parse(addr, &any, NULL), 0);
    assert_int_equal(dm_listener_open(listener, rig->worker.loop, &any, 64, false, on_peer, &err), 0);
}
