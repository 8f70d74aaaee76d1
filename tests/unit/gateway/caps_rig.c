#include "caps_rig.h"

uint64_t refused(struct stage *s, enum dm_cap cap)
{
    return stage_counters(s)->refused[cap];
}

void apply_grants(struct stage *s, const char *caps)
{
    char body[1024];

    snprintf(body, sizeof(body),
             "{\"state\":\"active\",\"weight\":100,\"caps\":{%s%s},\"domains\":[{\"name\":\"orders.test\"}],"
             "\"endpoints\":[{\"address\":\"127.0.0.0/8\",\"port\":0}]}",
             strstr(caps, "\"queue\"") ? ""
             : caps[0]                 ? "\"queue\":0,"
                                       : "\"queue\":0",
             caps);
    rig_apply(&s->rig, "orders", 1, DM_UNIT_GRANTS, body);
}

void apply_caps(struct stage *s, const char *caps)
{
    struct stage_release none = {0};

    apply_grants(s, caps);
    stage_release(s, &none);
    stage_applications(s, NULL, NULL);
}

void ask(struct stage *s, struct rig_socket *socket, const char *request, const char *expected)
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

struct rig_socket *begin(struct stage *s)
{
    struct waiting w = {&s->origin.n_requests, s->origin.n_requests};
    struct rig_socket *socket = rig_connect(&s->rig);

    s->origin.answer = DM_STR_NULL;
    rig_send(socket, DM_STR(GET));
    rig_run_until(&s->rig, is_more, &w);
    return socket;
}

void leave(struct stage *s, struct rig_socket *socket)
{
    rig_close(&s->rig, socket);
    rig_settle(&s->rig);
}

void finish(struct stage *s, size_t n, struct rig_socket *socket)
{
    rig_send(s->origin.sockets[n], DM_STR(STAGE_OK));
    rig_expect(&s->rig, socket, OK, 1);
    s->origin.answer = DM_STR(STAGE_OK);
}

struct dm_counters_page *add_other_worker(struct stage *s)
{
    struct dm_counters_page *page = dm_calloc(1, sizeof(*page));

    s->rig.worker.pages.others[s->rig.worker.pages.n_others++] = page;
    return page;
}

void trust_everybody(struct stage *s)
{
    assert_int_equal(dm_listener_parse_sources(DM_STR("127.0.0.0/8"), &s->rig.options.listen[0].trusted_fronts, NULL),
                     0);
}

/* --- HTTP/2 clients ----------------------------------------------------------------------------------------------- */

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

struct h2 *h2_connect(struct stage *s)
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

void h2_request(struct h2 *h2, const char *path, const char *extra, const char *upload)
{
    nghttp2_data_provider provider = {.read_callback = on_source};
    nghttp2_nv nv[] = {NV(":method", upload ? "POST" : "GET"), NV(":scheme", "http"),   NV(":path", path),
                       NV(":authority", "orders.test"),        NV("x-api-key", "good"), NV("x-extra", extra)};

    h2->upload = upload;
    assert_true(nghttp2_submit_request(h2->session, NULL, nv, DM_COUNT(nv), upload ? &provider : NULL, NULL) > 0);
}

void h2_pump(struct h2 *h2)
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

void h2_expect(struct stage *s, struct h2 *h2, const char *text)
{
    struct h2_expected e = {h2, text};

    rig_run_until(&s->rig, has_seen, &e);
}

void h2_close(struct stage *s, struct h2 *h2)
{
    leave(s, h2->socket);
    nghttp2_session_del(h2->session);
    dm_buf_done(&h2->seen);
    dm_free(h2);
}
