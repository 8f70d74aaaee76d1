/* A client of nghttp2 and a server on the simulated network under many seeds: random requests and responses in random pieces, with
 * pauses, aborts, cancels, short reads and writes, small buffers and resets. Both bodies of an exchange follow from its number, so
 * that each side knows every byte that must come.
 *
 * R1. Every request that began ends with one on_done or on_abort, and nothing comes after it.
 * R2. Bodies arrive byte by byte; without cuts, whole.
 * R3. At the end nothing is left: connections, requests, memory of nghttp2. */
#include "server_h2_rig.h"

enum { N_SEEDS = 60, N_REQUESTS = 60, N_AT_A_TIME = 12 };

struct served {
    struct dm_http_request *request;
    struct dm_timer timer;
    uint64_t number;
    size_t in, out;
    bool is_responding, has_ended;
};

struct asked {
    uint64_t number;
    size_t sent, got;
    int32_t id;
    bool is_open;
};

static struct asked asked[N_REQUESTS];
static unsigned n_asked, n_open, n_begun, n_done, n_aborted, n_whole;
static uint64_t seed;
static bool has_cuts;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static size_t size_of(uint64_t number, unsigned side)
{
    static const size_t sizes[] = {0, 1, 100, 5000, 16384, 65535, 65536, 200000};

    return sizes[(number * 7 + side * 3) % DM_COUNT(sizes)];
}

static char byte_at(uint64_t number, size_t i)
{
    return (char)(number * 37 + i * 131 + (i >> 9));
}

static size_t piece(uint64_t number, size_t at, size_t total, size_t max, char *ret)
{
    size_t len = 1 + draw(draw(2) ? 200 : 50000);

    len = DM_MIN(DM_MIN(len, total - at), max);
    for (size_t i = 0; i < len; i++)
        ret[i] = byte_at(number, at + i);
    return len;
}

/* --- the owner ---------------------------------------------------------------------------------------------------- */

static void forget(struct served *s)
{
    dm_timer_cancel(rig.loop, &s->timer);
    dm_free(s);
}

static void write_more(struct served *s)
{
    static char buf[50000];
    size_t total = size_of(s->number, 1), len, taken;

    while (s->out < total) {
        len = piece(s->number, s->out, total, sizeof(buf), buf);
        taken = dm_http_request_write(s->request, buf, len);
        s->out += taken;
        if (taken < len)
            return;
        if (draw(6) == 0) {
            dm_timer_arm(rig.loop, &s->timer, 1 + (uint32_t)draw(500));
            return;
        }
    }
    dm_http_request_end(s->request, s->number % 3 ? DM_STR_NULL : DM_STR("X-Sum: 1\r\n")); /* s may be gone */
}

static void respond(struct served *s)
{
    struct dm_http_message m = {.status = 200,
                                .framing = s->number % 2 ? DM_HTTP_FRAMING_CHUNKED : DM_HTTP_FRAMING_LENGTH,
                                .content_length = size_of(s->number, 1)};

    s->is_responding = true;
    dm_http_request_respond(s->request, &m);
    write_more(s);
}

static void on_served_due(struct dm_timer *timer)
{
    struct served *s = DM_CONTAINER_OF(timer, struct served, timer);

    if (has_cuts && draw(20) == 0) {
        n_aborted++;
        dm_http_request_abort(s->request);
        forget(s);
    } else if (s->is_responding) {
        write_more(s);
    } else if (!s->has_ended) {
        dm_http_request_resume(s->request);
    } else {
        respond(s);
    }
}

static void on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    struct served *s = dm_calloc(1, sizeof(*s));

    assert_int_equal(dm_str_to_u64(dm_http_head_find_name(head, DM_STR("x-number"))->value, &s->number), 0);
    s->request = request;
    s->timer.on_due = on_served_due;
    dm_http_request_set_user(request, s);
    n_begun++;
}

static size_t on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    struct served *s = user;
    size_t taken = draw(4) ? len : draw(len + 1);

    for (size_t i = 0; i < taken; i++)
        assert_int_equal(ptr[i], byte_at(s->number, s->in + i));
    s->in += taken;
    if (taken < len)
        dm_timer_arm(rig.loop, &s->timer, 1 + (uint32_t)draw(500));
    return taken;
}

static void on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    struct served *s = user;

    assert_false(s->has_ended);
    assert_int_equal(s->in, size_of(s->number, 0));
    s->has_ended = true;
    if (draw(2))
        respond(s);
    else
        dm_timer_arm(rig.loop, &s->timer, 1 + (uint32_t)draw(500));
}

static void on_writable(void *user, struct dm_http_request *request)
{
    struct served *s = user;

    assert_true(s->is_responding);
    if (!dm_timer_is_armed(&s->timer))
        write_more(s);
}

static void on_done(void *user, struct dm_http_request *request)
{
    n_done++;
    forget(user);
}

static void on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
    n_aborted++;
    forget(user);
}

static const struct dm_http_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
};

/* --- the client --------------------------------------------------------------------------------------------------- */

static ssize_t next_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                           nghttp2_data_source *source, void *user)
{
    struct asked *a = source->ptr;
    size_t total = size_of(a->number, 0), n = piece(a->number, a->sent, total, len, (char *)buf);

    a->sent += n;
    if (a->sent == total)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_answer_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *ptr, size_t len,
                          void *user)
{
    struct asked *a = nghttp2_session_get_stream_user_data(session, id);

    for (size_t i = 0; i < len; i++)
        assert_int_equal((char)ptr[i], byte_at(a->number, a->got + i));
    a->got += len;
    nghttp2_session_consume(session, id, len);
    return 0;
}

static int on_answer_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct asked *a = nghttp2_session_get_stream_user_data(session, id);

    a->is_open = false;
    n_open--;
    if (code == NGHTTP2_NO_ERROR && a->got == size_of(a->number, 1))
        n_whole++;
    return 0;
}

static void ask(void)
{
    struct asked *a = &asked[n_asked];
    char number[24] = "";
    nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/"), NV(":authority", "a"),
                       NV("x-number", number)};
    nghttp2_data_provider provider = {.source = {.ptr = a}, .read_callback = next_upload};

    *a = (struct asked){.number = n_asked + seed % 1000, .is_open = true};
    nv[4].valuelen = (size_t)snprintf(number, sizeof(number), "%ju", (uintmax_t)a->number);
    a->id = nghttp2_submit_request(h2.session, NULL, nv, DM_COUNT(nv), &provider, a);
    assert_true(a->id > 0);
    n_asked++;
    n_open++;
}

static void cancel_one(void)
{
    struct asked *a = &asked[draw(n_asked)];

    if (a->is_open)
        nghttp2_submit_rst_stream(h2.session, 0, a->id, NGHTTP2_CANCEL);
}

static void set_client(void)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_answer_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_answer_close);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    assert_int_equal(nghttp2_session_client_new2(&h2.session, callbacks, NULL, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    nghttp2_submit_settings(h2.session, 0, NULL, 0);
}

/* Both directions, as far as the world lets. Returns false when the connection is over. */
static bool move(void)
{
    const uint8_t *ptr;
    static struct dm_buf out;
    ssize_t n;

    dm_buf_init(&out, 64 << 20);
    while ((n = nghttp2_session_mem_send(h2.session, &ptr)) > 0)
        dm_buf_add_n(&out, ptr, (size_t)n);
    for (size_t at = 0; at < out.len && !rig.is_ended;) {
        n = rig.client->ops->send(rig.client, rig.fd, out.ptr + at, out.len - at);
        if (n < 0 && n != -EAGAIN && n != -ENOTCONN)
            rig.is_ended = true;
        at += n > 0 ? (size_t)n : 0;
        rig_pass_ms(1 + draw(3));
        rig_receive(SIZE_MAX);
    }
    dm_buf_done(&out);
    rig_pass_ms(1 + draw(20));
    rig_receive(SIZE_MAX);
    if (rig.got.len > h2.parsed)
        assert_true(nghttp2_session_mem_recv(h2.session, (uint8_t *)rig.got.ptr + h2.parsed, rig.got.len - h2.parsed) >=
                    0);
    h2.parsed = 0;
    dm_buf_reset(&rig.got);
    return !rig.is_ended;
}

static void run_seed(uint64_t number, const struct dm_sim_faults *faults, bool cuts)
{
    seed = number * 0x9E3779B97F4A7C15u + 1;
    has_cuts = cuts;
    memset(&rig, 0, sizeof(rig));
    memset(&h2, 0, sizeof(h2));
    n_asked = n_open = n_begun = n_done = n_aborted = n_whole = 0;
    rig.settings = dm_http_server_defaults;
    rig.settings.write_cap_bytes = 1000 + draw(100000);
    rig.settings.http2.stream_window_bytes = 65535 + (uint32_t)draw(100000);
    rig_start(dm_world_new(number, faults));
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &handler, NULL);
    rig_settle();
    set_client();
    while (n_asked < N_REQUESTS || n_open > 0 || n_done + n_aborted < n_begun) {
        if (n_asked < N_REQUESTS && n_open < N_AT_A_TIME && draw(2))
            ask();
        if (cuts && n_asked > 0 && draw(15) == 0)
            cancel_one();
        if (!move())
            break;
    }
    if (!cuts) {
        assert_int_equal(n_whole, N_REQUESTS);
        assert_int_equal(n_done, N_REQUESTS);
    }
    rig.client->ops->close(rig.client, rig.fd);
    rig.fd = -1;
    for (int i = 0; i < 20 && dm_http_server_connections(rig.server) > 0; i++)
        rig_pass_ms(10000);
    assert_int_equal(dm_http_server_connections(rig.server), 0);
    assert_int_equal(n_done + n_aborted, n_begun);
    nghttp2_session_del(h2.session);
    rig_stop();
}

static void without_cuts(void **state)
{
    for (uint64_t i = 1; i <= N_SEEDS; i++)
        run_seed(i, &(struct dm_sim_faults){.latency_ns_max = 5 * MS, .socket_bytes = 1000 + i * 3000}, false);
}

/* Short reads and writes, and now and then the whole connection goes. */
static void with_resets(void **state)
{
    for (uint64_t i = 1; i <= N_SEEDS; i++)
        run_seed(i, &(struct dm_sim_faults){.short_io = 100000, .reset = 2000, .latency_ns_max = 2 * MS}, true);
}

static void with_cancels_and_aborts(void **state)
{
    for (uint64_t i = 1; i <= N_SEEDS; i++)
        run_seed(i, &(struct dm_sim_faults){.latency_ns_max = 5 * MS, .socket_bytes = 1000 + i * 3000}, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_cuts),
        cmocka_unit_test(with_cancels_and_aborts),
        cmocka_unit_test(with_resets),
    };

    return cmocka_run_group_tests_name("h2_random", tests, NULL, NULL);
}
