/* Caps of a tenant, below and beyond: connections, exchanges, streams, heads, bodies, times, connections to backends; over HTTP/1.1
 * and HTTP/2, with other workers, and what the neighbour notices: nothing. */
#include "rig/h2_origin.h"
#include "rig/stage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gateway/caps.h"

#define GET STAGE_GET("/", STAGE_KEY)
#define OK "hello"
#define OVER_CAP "\"tenant_over_cap\""
#define CROWDED "\"too_many_connections\""

static struct dm_tenant_counters *counters(struct stage *s)
{
    return &s->rig.counters->tenants[1];
}

static uint64_t refused(struct stage *s, enum dm_cap cap)
{
    return counters(s)->refused[cap];
}

/* caps: members of the object. */
static void apply_grants(struct stage *s, const char *caps)
{
    char body[1024];

    snprintf(body, sizeof(body),
             "{\"state\":\"active\",\"weight\":100,\"caps\":{%s},\"domains\":[{\"name\":\"orders.test\"}],"
             "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}",
             caps);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, body);
}

static void apply_caps(struct stage *s, const char *caps)
{
    struct stage_release none = {0};

    apply_grants(s, caps);
    stage_release(s, &none);
    stage_applications(s, NULL, NULL);
}

/* On a connection that is there. */
static void ask(struct stage *s, struct rig_socket *socket, const char *request, const char *expected)
{
    dm_buf_reset(&socket->received);
    rig_send(socket, dm_str_of(request));
    rig_expect(&s->rig, socket, expected, 1);
}

struct waiting {
    const size_t *n;
    size_t more_than;
};

static bool is_more(void *arg)
{
    const struct waiting *w = arg;

    return *w->n > w->more_than;
}

/* Asks the backend, which answers nothing. */
static struct rig_socket *begin(struct stage *s)
{
    struct waiting w = {&s->origin.n_requests, s->origin.n_requests};
    struct rig_socket *socket = rig_connect(&s->rig);

    s->origin.answer = DM_STR_NULL;
    rig_send(socket, DM_STR(GET));
    rig_run_until(&s->rig, is_more, &w);
    return socket;
}

static void end(struct stage *s, struct rig_socket *socket)
{
    rig_close(&s->rig, socket);
    rig_settle(&s->rig);
}

/* The backend answers after all, what was asked on its n-th connection. */
static void finish(struct stage *s, size_t n, struct rig_socket *socket)
{
    rig_send(s->origin.sockets[n], DM_STR(STAGE_OK));
    rig_expect(&s->rig, socket, OK, 1);
    s->origin.answer = DM_STR(STAGE_OK);
}

/* Another worker's page, with what the tenant holds there. */
static struct dm_counters_page *add_other_worker(struct stage *s)
{
    struct dm_counters_page *page = dm_calloc(1, sizeof(*page));

    s->rig.worker.pages.others[s->rig.worker.pages.n_others++] = page;
    return page;
}

static void trust_everybody(struct stage *s)
{
    assert_int_equal(dm_listener_parse_sources(DM_STR("127.0.0.0/8"), &s->rig.options.listen[0].trusted_fronts, NULL),
                     0);
}

/* --- HTTP/2 clients ----------------------------------------------------------------------------------------------- */

/* What came, one word each: "1:200" a status, "1!7" a reset, "1." the end of a stream, "G" GOAWAY; and the reasons' fields. */
struct h2 {
    struct rig_socket *socket;
    nghttp2_session *session;
    struct dm_buf seen;
    const char *upload; /* text of the body that is sent */
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2 *h2 = user;
    struct dm_str n = dm_str_n((const char *)name, name_len), v = dm_str_n((const char *)value, value_len);

    if (dm_str_eq(n, DM_STR(":status")))
        dm_buf_printf(&h2->seen, "%d:%.*s ", frame->hd.stream_id, DM_STR_ARG(v));
    if (dm_str_eq(n, DM_STR("daemun-reason")))
        dm_buf_printf(&h2->seen, "%.*s ", DM_STR_ARG(v));
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;

    if (frame->hd.type == NGHTTP2_GOAWAY)
        dm_buf_add_lit(&h2->seen, "G ");
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2 *h2 = user;

    if (code)
        dm_buf_printf(&h2->seen, "%d!%u ", id, code);
    else
        dm_buf_printf(&h2->seen, "%d. ", id);
    return 0;
}

static ssize_t on_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    size_t n = strlen(h2->upload);

    assert_true(n <= len);
    memcpy(buf, h2->upload, n);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static struct h2 *h2_connect(struct stage *s)
{
    struct h2 *h2 = dm_calloc(1, sizeof(*h2));
    nghttp2_session_callbacks *callbacks;

    dm_buf_init(&h2->seen, 1u << 16);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_client_new(&h2->session, callbacks, h2), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(h2->session, 0, NULL, 0);
    h2->socket = rig_connect(&s->rig);
    return h2;
}

#define NV(name, value)                                                                                                \
    {                                                                                                                  \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), 0                                          \
    }

static void h2_request(struct h2 *h2, const char *path, const char *extra, const char *upload)
{
    nghttp2_data_provider provider = {.read_callback = on_source};
    nghttp2_nv nv[] = {NV(":method", upload ? "POST" : "GET"), NV(":scheme", "http"),   NV(":path", path),
                       NV(":authority", "orders.test"),        NV("x-api-key", "good"), NV("x-extra", extra)};

    h2->upload = upload;
    assert_true(nghttp2_submit_request(h2->session, NULL, nv, DM_COUNT(nv), upload ? &provider : NULL, NULL) > 0);
}

static void h2_pump(struct h2 *h2)
{
    struct dm_buf *in = &h2->socket->received;
    const uint8_t *ptr;
    ssize_t n;

    if (in->len > 0)
        assert_int_equal(nghttp2_session_mem_recv(h2->session, (const uint8_t *)in->ptr, in->len), (ssize_t)in->len);
    dm_buf_reset(in);
    while (!h2->socket->is_failed && (n = nghttp2_session_mem_send(h2->session, &ptr)) > 0)
        rig_send(h2->socket, dm_str_n((const char *)ptr, (size_t)n));
}

struct h2_expected {
    struct h2 *h2;
    const char *text;
};

static bool has_seen(void *arg)
{
    const struct h2_expected *e = arg;

    h2_pump(e->h2);
    return rig_count(dm_buf_str(&e->h2->seen), e->text) > 0;
}

static void h2_expect(struct stage *s, struct h2 *h2, const char *text)
{
    struct h2_expected e = {h2, text};

    rig_run_until(&s->rig, has_seen, &e);
}

static void h2_close(struct stage *s, struct h2 *h2)
{
    end(s, h2->socket);
    nghttp2_session_del(h2->session);
    dm_buf_done(&h2->seen);
    dm_free(h2);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void test_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"connections\":2");
    a = stage_ask(s, GET, OK);
    b = stage_ask(s, GET, OK);
    assert_int_equal(counters(s)->connections, 2);
    c = stage_ask(s, GET, CROWDED);
    rig_expect_end(&s->rig, c);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Connection: close\r\n"), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Retry-After: "), 1);
    assert_int_equal(counters(s)->connections, 2);
    assert_int_equal(refused(s, DM_CAP_CONNECTIONS), 1);
    assert_int_equal(counters(s)->reasons[DM_REASON_TOO_MANY_CONNECTIONS], 1);
    ask(s, a, GET, OK);
    end(s, b);
    assert_int_equal(counters(s)->connections, 1);
    stage_try(s, GET, OK);
    end(s, a);
    end(s, c);
    assert_int_equal(counters(s)->connections, 0);
}

/* A client that sends nothing yet is nobody's. */
static void test_connections_count_from_their_first_request(void **state)
{
    struct stage *s = *state;
    struct rig_socket *silent[4], *a;

    apply_caps(s, "\"connections\":1");
    for (size_t i = 0; i < DM_COUNT(silent); i++)
        silent[i] = rig_connect(&s->rig);
    rig_settle(&s->rig);
    assert_int_equal(counters(s)->connections, 0);
    a = stage_ask(s, GET, OK);
    end(s, a);
    for (size_t i = 0; i < DM_COUNT(silent); i++)
        end(s, silent[i]);
}

static void test_connections_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply_caps(s, "\"connections\":3");
    other->tenants[1].connections = 2;
    a = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    other->tenants[1].connections = 1;
    stage_try(s, GET, OK);
    end(s, a);
    dm_free(other);
}

/* Three quarters of the listener's are the most that one tenant gets. */
static void test_connections_without_a_cap(void **state)
{
    struct stage *s = *state;
    struct rig_socket *sockets[3];

    s->rig.options.listen[0].limits.connections = 4;
    dm_caps_init(&s->rig.worker);
    apply_caps(s, "");
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        sockets[i] = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    for (size_t i = 0; i < DM_COUNT(sockets); i++)
        end(s, sockets[i]);
    stage_try(s, GET, OK);
}

static void test_connections_of_fronts_are_nobodys(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    trust_everybody(s);
    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    b = stage_ask(s, GET, OK);
    assert_int_equal(counters(s)->connections, 0);
    end(s, a);
    end(s, b);
}

static void test_connections_of_http2(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;
    struct h2 *h2;

    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    h2 = h2_connect(s);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:503 too_many_connections 1. ");
    h2_expect(s, h2, "G ");
    rig_expect_end(&s->rig, h2->socket);
    h2_close(s, h2);
    end(s, a);
    h2 = h2_connect(s);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:200 1. ");
    assert_int_equal(counters(s)->connections, 1);
    h2_close(s, h2);
    assert_int_equal(counters(s)->connections, 0);
}

/* --- exchanges ---------------------------------------------------------------------------------------------------- */

static void test_exchanges(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b, *c;

    apply_caps(s, "\"exchanges\":2");
    a = begin(s);
    b = begin(s);
    c = stage_ask(s, GET, OVER_CAP);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&c->received), "Retry-After: 1\r\n"), 1);
    assert_int_equal(refused(s, DM_CAP_EXCHANGES), 1);
    assert_int_equal(counters(s)->reasons[DM_REASON_TENANT_OVER_CAP], 1);
    finish(s, 0, a);
    ask(s, c, GET, OK); /* its connection lives on */
    finish(s, 1, b);
    end(s, a);
    end(s, b);
    end(s, c);
}

static void test_exchanges_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"exchanges\":3");
    other->tenants[1].exchanges_begun = 8;
    other->tenants[1].exchanges_ended = 6;
    stage_try(s, GET, OK);
    other->tenants[1].exchanges_ended = 5;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].exchanges_ended = 9; /* read between two writes */
    stage_try(s, GET, OK);
    dm_free(other);
}

static void test_exchanges_without_a_cap(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    s->rig.worker.upstream_env.connections_max = s->rig.worker.tenant_exchanges = 1;
    apply_caps(s, "");
    a = begin(s);
    stage_try(s, GET, OVER_CAP);
    finish(s, 0, a);
    stage_try(s, GET, OK);
    end(s, a);
}

static void test_exchanges_of_http2_and_of_fronts(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    trust_everybody(s);
    apply_caps(s, "\"exchanges\":1");
    s->origin.answer = DM_STR_NULL;
    h2_request(h2, "/", "", NULL);
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "3:503 tenant_over_cap 3. ");
    assert_int_equal(rig_count(dm_buf_str(&h2->seen), "G "), 0);
    h2_close(s, h2);
}

/* --- buffers ------------------------------------------------------------------------------------------------------ */

static bool holds_some(void *arg)
{
    return counters(arg)->buffered_bytes > 0;
}

static bool holds_nothing(void *arg)
{
    return counters(arg)->buffered_bytes == 0;
}

/* A request that waits behind another one. */
static void test_buffered_bytes(void **state)
{
    struct stage *s = *state;
    struct rig_socket *busy, *a;

    apply_caps(s, "\"buffered_bytes\":1");
    a = stage_ask(s, GET, OK);
    assert_int_equal(counters(s)->buffered_bytes, 0);
    busy = begin(s);
    rig_send(busy, DM_STR(GET));
    rig_run_until(&s->rig, holds_some, s);
    ask(s, a, GET, OVER_CAP);
    assert_int_equal(rig_count(dm_buf_str(&a->received), "HTTP/1.1 503 "), 1);
    assert_int_equal(rig_count(dm_buf_str(&a->received), "Retry-After: "), 1);
    assert_int_equal(refused(s, DM_CAP_BUFFERED_BYTES), 1);
    assert_int_equal(counters(s)->reasons[DM_REASON_TENANT_OVER_CAP], 1);
    end(s, busy);
    rig_run_until(&s->rig, holds_nothing, s);
    s->origin.answer = DM_STR(STAGE_OK);
    ask(s, a, GET, OK);
    end(s, a);
}

static void test_buffered_bytes_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"buffered_bytes\":100000");
    other->tenants[1].buffered_bytes = 100000;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].buffered_bytes = 99999;
    stage_try(s, GET, OK);
    dm_free(other);
}

/* A client of HTTP/2 that opens no window: the answer stays where it came from. */
static void hold_an_answer(struct stage *s)
{
    struct h2 *slow = h2_connect(s);

    nghttp2_submit_settings(slow->session, 0, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}, 1);
    h2_request(slow, "/", "", NULL);
    h2_expect(s, slow, "1:200");
    rig_run_until(&s->rig, holds_some, s);
    stage_try(s, GET, OVER_CAP);
    nghttp2_submit_settings(slow->session, 0, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535},
                            1);
    h2_expect(s, slow, "1.");
    rig_run_until(&s->rig, holds_nothing, s);
    stage_try(s, GET, OK);
    h2_close(s, slow);
}

static void test_buffered_bytes_of_answers(void **state)
{
    struct stage *s = *state;

    apply_caps(s, "\"buffered_bytes\":1");
    hold_an_answer(s);
}

static void test_buffered_bytes_of_answers_over_http2(void **state)
{
    struct stage *s = *state;
    struct h2_origin origin;
    char endpoints[100];

    h2_origin_init(&s->rig, &origin);
    apply_caps(s, "\"buffered_bytes\":1");
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(&origin));
    stage_release(s, &(struct stage_release){.endpoints = endpoints, .backend = ",\"protocol\":\"http2\""});
    hold_an_answer(s);
    h2_origin_done(&origin);
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static void test_streams(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"streams\":2");
    s->origin.answer = DM_STR_NULL;
    for (int i = 0; i < 4; i++)
        h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "5!7 ");
    h2_expect(s, h2, "7!7 ");
    assert_int_equal(nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 2);
    assert_int_equal(refused(s, DM_CAP_STREAMS), 2);
    assert_int_equal(counters(s)->reasons[DM_REASON_TOO_MANY_STREAMS], 2);
    h2_close(s, h2);
}

static void test_streams_of_the_listener(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "");
    for (int i = 0; i < 4; i++)
        h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "7. ");
    assert_int_equal(rig_count(dm_buf_str(&h2->seen), ":200 "), 4);
    h2_close(s, h2);
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static const char head[] = STAGE_GET("/path", STAGE_KEY "X-Three: 3\r\n");

static void apply_cap(struct stage *s, const char *name, size_t value)
{
    char caps[64];

    snprintf(caps, sizeof(caps), "\"%s\":%zu", name, value);
    apply_caps(s, caps);
}

static void test_heads(void **state)
{
    struct stage *s = *state;

    apply_cap(s, "header_bytes", sizeof(head) - 1);
    stage_try(s, head, OK);
    apply_cap(s, "header_bytes", sizeof(head) - 2);
    stage_try(s, head, "\"header_too_large\"");
    assert_int_equal(refused(s, DM_CAP_HEADER_BYTES), 1);
    apply_cap(s, "headers", 3);
    stage_try(s, head, OK);
    apply_cap(s, "headers", 2);
    stage_try(s, head, "HTTP/1.1 431 ");
    assert_int_equal(refused(s, DM_CAP_HEADERS), 1);
    apply_cap(s, "url_bytes", 5);
    stage_try(s, head, OK);
    apply_cap(s, "url_bytes", 4);
    stage_try(s, head, "HTTP/1.1 414 ");
    assert_int_equal(refused(s, DM_CAP_URL_BYTES), 1);
    assert_int_equal(counters(s)->reasons[DM_REASON_URI_TOO_LONG], 1);
    assert_int_equal(s->origin.n_requests, 3);
    apply_caps(s, "");
    stage_try(s, head, OK);
}

static void test_heads_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);
    char extra[300];

    memset(extra, 'x', sizeof(extra) - 1);
    extra[sizeof(extra) - 1] = 0;
    apply_caps(s, "\"header_bytes\":300,\"url_bytes\":20");
    h2_request(h2, "/12345678901234567890", "", NULL);
    h2_expect(s, h2, "1:414 uri_too_long 1. ");
    h2_request(h2, "/", extra, NULL);
    h2_expect(s, h2, "3:431 header_too_large 3. ");
    h2_request(h2, "/1234567890123456789", "", NULL);
    h2_expect(s, h2, "5:200 5. ");
    h2_close(s, h2);
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

#define POST(fields, body) "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY fields "\r\n" body
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void test_bodies(void **state)
{
    struct stage *s = *state;

    apply_caps(s, "\"body_bytes\":10");
    stage_try(s, POST("Content-Length: 10\r\n", "0123456789"), OK);
    stage_try(s, POST("Content-Length: 11\r\n", "0123456789a"), "\"body_too_large\"");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 1);
    assert_int_equal(s->origin.n_requests, 1);
    stage_try(s, POST(CHUNKED, "a\r\n0123456789\r\n0\r\n\r\n"), OK);
    stage_try(s, POST(CHUNKED, "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n"), "HTTP/1.1 413 ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 2);
    assert_int_equal(counters(s)->reasons[DM_REASON_BODY_TOO_LARGE], 2);
    assert_int_equal(s->origin.n_bad, 0);
}

/* Never above the listener's. */
static void test_bodies_of_the_listener(void **state)
{
    struct stage *s = *state;

    s->rig.options.listen[0].limits.body_max = 5; /* what the cap is held against; the server has its own copy */
    apply_caps(s, "\"body_bytes\":10");
    stage_try(s, POST(CHUNKED, "6\r\n012345\r\n0\r\n\r\n"), "HTTP/1.1 413 ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 0);
    stage_try(s, POST(CHUNKED, "5\r\n01234\r\n0\r\n\r\n"), OK);
}

static void test_bodies_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"body_bytes\":4");
    h2_request(h2, "/", "", "abcd");
    h2_expect(s, h2, "1:200 1. ");
    h2_request(h2, "/", "", "abcde");
    h2_expect(s, h2, "3:413 body_too_large ");
    assert_int_equal(refused(s, DM_CAP_BODY_BYTES), 1);
    h2_request(h2, "/", "", "abcd");
    h2_expect(s, h2, "5:200 5. ");
    h2_close(s, h2);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

/* The listener's are seconds: what ends within the test is the tenant's doing. */
static void test_times(void **state)
{
    struct stage *s = *state;
    const uint64_t *timeouts = counters(s)->timeouts;
    struct rig_socket *a;

    apply_caps(s, "\"idle_timeout_ms\":50");
    a = stage_ask(s, GET, OK);
    rig_expect_end(&s->rig, a);
    end(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_IDLE], 1);
    apply_caps(s, "\"head_timeout_ms\":50");
    a = stage_ask(s, GET, OK);
    ask(s, a, "GET / HT", "\"request_timeout\"");
    end(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_HEAD], 1);
    apply_caps(s, "\"body_timeout_ms\":50");
    a = stage_ask(s, POST("Content-Length: 5\r\n", "abc"), "\"request_timeout\"");
    end(s, a);
    assert_int_equal(timeouts[DM_HTTP_TIMEOUT_BODY], 1);
    assert_int_equal(counters(s)->reasons[DM_REASON_REQUEST_TIMEOUT], 1);
}

static void test_times_of_fronts(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    trust_everybody(s);
    apply_caps(s, "\"body_timeout_ms\":50");
    a = stage_ask(s, POST("Content-Length: 5\r\n", "abc"), "\"request_timeout\"");
    end(s, a);
    assert_int_equal(counters(s)->timeouts[DM_HTTP_TIMEOUT_BODY], 0); /* the connection is nobody's */
    assert_int_equal(counters(s)->reasons[DM_REASON_REQUEST_TIMEOUT], 1);
}

static void test_times_of_http2(void **state)
{
    struct stage *s = *state;
    struct h2 *h2 = h2_connect(s);

    apply_caps(s, "\"idle_timeout_ms\":50");
    h2_request(h2, "/", "", NULL);
    h2_expect(s, h2, "1:200 1. ");
    h2_expect(s, h2, "G ");
    assert_int_equal(counters(s)->timeouts[DM_HTTP_TIMEOUT_IDLE], 1);
    h2_close(s, h2);
}

/* --- connections to backends -------------------------------------------------------------------------------------- */

static void test_upstream_connections(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"upstream_connections\":1");
    a = begin(s);
    assert_int_equal(counters(s)->upstream_connections, 1);
    b = stage_ask(s, GET, OVER_CAP);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 1);
    assert_int_equal(s->origin.n_accepted, 1);
    finish(s, 0, a);
    ask(s, b, GET, OK); /* on the one that is kept */
    assert_int_equal(s->origin.n_accepted, 1);
    assert_int_equal(counters(s)->upstream_connections, 1);
    end(s, a);
    end(s, b);
}

/* One that is idle makes way, also another backend's. */
/* One that takes no further call is there until its last one is through. */
static void test_upstream_connections_that_go_away(void **state)
{
    struct stage *s = *state;
    struct h2_origin origin;
    struct rig_socket *a;
    char endpoints[100];

    h2_origin_init(&s->rig, &origin);
    origin.is_holding = origin.goes_away = true;
    apply_caps(s, "\"upstream_connections\":1");
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u}", h2_origin_port(&origin));
    stage_release(s, &(struct stage_release){.endpoints = endpoints, .backend = ",\"protocol\":\"http2\""});
    a = stage_ask(s, GET, OK);
    rig_settle(&s->rig);
    assert_int_equal(counters(s)->upstream_connections, 1);
    stage_try(s, GET, OVER_CAP);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 1);
    h2_origin_finish(&origin);
    rig_expect(&s->rig, a, "0\r\n\r\n", 1);
    rig_settle(&s->rig);
    assert_int_equal(counters(s)->upstream_connections, 0);
    origin.is_holding = origin.goes_away = false;
    stage_try(s, GET, OK);
    assert_int_equal(counters(s)->upstream_connections, 1);
    assert_int_equal(origin.n_accepted, 2);
    end(s, a);
    h2_origin_done(&origin);
}

static void test_idle_upstream_connections_make_way(void **state)
{
    struct stage *s = *state;
    struct rig_origin other;
    char endpoints[200];

    rig_origin_init(&s->rig, &other, DM_STR(STAGE_OK));
    snprintf(endpoints, sizeof(endpoints), "{\"host\":\"127.0.0.1\",\"port\":%u},{\"host\":\"127.0.0.1\",\"port\":%u}",
             rig_origin_port(&s->origin), rig_origin_port(&other));
    apply_caps(s, "\"upstream_connections\":1");
    stage_release(s, &(struct stage_release){.endpoints = endpoints});
    for (int i = 0; i < 4; i++)
        stage_try(s, GET, OK);
    assert_int_equal(s->origin.n_requests, 2);
    assert_int_equal(other.n_requests, 2);
    assert_int_equal(counters(s)->upstream_connections, 1);
    assert_int_equal(refused(s, DM_CAP_UPSTREAM_CONNECTIONS), 0);
    assert_int_equal(s->origin.n_accepted + other.n_accepted, 4);
    rig_origin_done(&other);
}

static void test_upstream_connections_of_other_workers_count(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);

    apply_caps(s, "\"upstream_connections\":2");
    other->tenants[1].upstream_connections = 2;
    stage_try(s, GET, OVER_CAP);
    other->tenants[1].upstream_connections = 1;
    stage_try(s, GET, OK);
    dm_free(other);
}

/* What is idle here would keep another worker from its backends. */
static void test_idle_upstream_connections_yield_to_other_workers(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct rig_socket *a;

    apply_caps(s, "\"upstream_connections\":2");
    a = stage_ask(s, GET, OK);
    ask(s, a, GET, OK);
    assert_int_equal(s->origin.n_accepted, 1);
    assert_int_equal(counters(s)->upstream_connections, 1);
    other->tenants[1].upstream_connections = 1;
    dm_worker_look_at_others(&s->rig.worker); /* the other wants no more than it has: it can't know */
    assert_int_equal(counters(s)->upstream_connections, 0);
    ask(s, a, GET, OK);
    assert_int_equal(s->origin.n_accepted, 2);
    assert_int_equal(counters(s)->upstream_connections, 0); /* not kept */
    other->tenants[1].upstream_connections = 0;
    ask(s, a, GET, OK);
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(counters(s)->upstream_connections, 1);
    end(s, a);
    dm_free(other);
}

/* --- neighbours, changes ------------------------------------------------------------------------------------------ */

/* A caller of a name that is nobody's, on a connection of its own, is told what it always is. */
static void test_nobody_else_notices(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a;

    apply_caps(s, "\"connections\":1,\"exchanges\":1");
    a = begin(s);
    stage_try(s, GET, CROWDED);
    stage_try(s, "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", "\"host_unknown\"");
    finish(s, 0, a);
    end(s, a);
}

static void test_caps_change(void **state)
{
    struct stage *s = *state;
    struct rig_socket *a, *b;

    apply_caps(s, "\"connections\":1");
    a = stage_ask(s, GET, OK);
    stage_try(s, GET, CROWDED);
    apply_grants(s, "\"connections\":2");
    b = stage_ask(s, GET, OK);
    apply_grants(s, "\"connections\":1"); /* those that there are stay */
    ask(s, a, GET, OK);
    ask(s, b, GET, OK);
    stage_try(s, GET, CROWDED);
    end(s, a);
    end(s, b);
}

/* By their files, when those are there. */
static void test_other_workers_are_found(void **state)
{
    struct stage *s = *state;
    struct dm_gateway_options *options = &s->rig.options;
    struct dm_shm shm;
    struct dm_counters_page *page;
    char dir[DM_GATEWAY_PATH_MAX], path[DM_GATEWAY_PATH_MAX];

    snprintf(options->data_dir, sizeof(options->data_dir), "%s", s->rig.dir);
    options->n_workers = 2;
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(s->rig.worker.pages.n_others, 0);
    dm_gateway_path(options, dir, "run");
    assert_int_equal(mkdir(dir, 0700), 0);
    dm_gateway_path(options, path, DM_GATEWAY_COUNTERS, 1, "b");
    assert_int_equal(dm_shm_open(&shm, path, "counters", DM_COUNTERS_VERSION - 1, sizeof(*page), true, NULL), 0);
    dm_shm_close(&shm);
    dm_worker_look_at_others(&s->rig.worker); /* of another version */
    assert_int_equal(s->rig.worker.pages.n_others, 0);
    assert_int_equal(dm_shm_open(&shm, path, "counters", DM_COUNTERS_VERSION, sizeof(*page), true, NULL), 0);
    page = shm.ptr;
    page->tenants[1].connections = 1;
    dm_worker_look_at_others(&s->rig.worker);
    dm_worker_look_at_others(&s->rig.worker);
    assert_int_equal(s->rig.worker.pages.n_others, 1);
    apply_caps(s, "\"connections\":1");
    stage_try(s, GET, CROWDED);
    page->tenants[1].connections = 0;
    stage_try(s, GET, OK);
    dm_shm_close(&shm);
    unlink(path);
    rmdir(dir);
}

static void test_what_a_dead_worker_held_is_forgotten(void **state)
{
    struct stage *s = *state;
    struct dm_counters_page *other = add_other_worker(s);
    struct dm_tenant_counters *c = &other->tenants[1];

    apply_caps(s, "\"connections\":3,\"upstream_connections\":2,\"exchanges\":9,\"buffered_bytes\":1000");
    *c = (struct dm_tenant_counters){
        .connections = 3, .upstream_connections = 2, .exchanges_begun = 9, .requests = 7, .buffered_bytes = 1000};
    stage_try(s, GET, CROWDED);
    dm_counters_close(other, 2);
    stage_try(s, GET, OK);
    assert_int_equal(c->requests, 7);
    dm_free(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connections),
        TEST(test_connections_count_from_their_first_request),
        TEST(test_connections_of_other_workers_count),
        TEST(test_connections_without_a_cap),
        TEST(test_connections_of_fronts_are_nobodys),
        TEST(test_connections_of_http2),
        TEST(test_exchanges),
        TEST(test_exchanges_of_other_workers_count),
        TEST(test_exchanges_without_a_cap),
        TEST(test_exchanges_of_http2_and_of_fronts),
        TEST(test_buffered_bytes),
        TEST(test_buffered_bytes_of_other_workers_count),
        TEST(test_buffered_bytes_of_answers),
        TEST(test_buffered_bytes_of_answers_over_http2),
        TEST(test_streams),
        TEST(test_streams_of_the_listener),
        TEST(test_heads),
        TEST(test_heads_of_http2),
        TEST(test_bodies),
        TEST(test_bodies_of_the_listener),
        TEST(test_bodies_of_http2),
        TEST(test_times),
        TEST(test_times_of_fronts),
        TEST(test_times_of_http2),
        TEST(test_upstream_connections),
        TEST(test_upstream_connections_that_go_away),
        TEST(test_idle_upstream_connections_make_way),
        TEST(test_upstream_connections_of_other_workers_count),
        TEST(test_idle_upstream_connections_yield_to_other_workers),
        TEST(test_nobody_else_notices),
        TEST(test_caps_change),
        TEST(test_other_workers_are_found),
        TEST(test_what_a_dead_worker_held_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
