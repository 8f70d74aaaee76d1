#include "server_rig.h"

struct rig rig;

/* --- the owner ---------------------------------------------------------------------------------------------------- */

static void on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    assert_ptr_equal(arg, &rig);
    hear("R");
    rig.request = request;
    dm_http_request_set_user(request, &rig);
    if (rig.script.on_request)
        rig.script.on_request(&rig, request, head);
}

static size_t on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    size_t taken = len;

    assert_ptr_equal(user, &rig);
    if (rig.script.on_body)
        taken = rig.script.on_body(&rig, request, ptr, len);
    hear("B%zu", taken);
    dm_buf_add_n(&rig.body, ptr, taken);
    return taken;
}

static void on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    assert_ptr_equal(user, &rig);
    hear("E");
    if (rig.script.on_request_end)
        rig.script.on_request_end(&rig, request, trailers);
}

static void on_writable(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    if (rig.script.on_writable)
        rig.script.on_writable(&rig, request);
    else
        hear("W");
}

static void on_done(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    hear("D");
    rig.bytes_in = dm_http_request_bytes_in(request);
    rig.bytes_out = dm_http_request_bytes_out(request);
    rig.request = NULL;
    if (rig.script.on_done)
        rig.script.on_done(&rig, request);
}

static void on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
    assert_ptr_equal(user, &rig);
    hear("A:%s", dm_http_abort_name(end.why));
    rig.bytes_out = dm_http_request_bytes_out(request);
    rig.request = NULL;
    if (rig.script.on_abort)
        rig.script.on_abort(&rig, request);
}

static void on_tunnel_due(void *user, struct dm_http_request *request, enum dm_http_abort why)
{
    assert_ptr_equal(user, &rig);
    hear("T:%s", dm_http_abort_name(why));
    if (rig.script.on_tunnel_due)
        rig.script.on_tunnel_due(&rig, request);
}

static void on_request_due(void *user, struct dm_http_request *request)
{
    assert_ptr_equal(user, &rig);
    hear("Q");
    if (rig.script.on_request_due)
        rig.script.on_request_due(&rig, request);
}

static void on_fault(void *arg, struct dm_http_request *request, struct dm_http_end end,
                     struct dm_http_message *ret_message, struct dm_str *ret_body)
{
    hear("F:%s", end.fault ? dm_http_fault_name((enum dm_http_fault)end.fault) : dm_http_abort_name(end.why));
    *ret_body = DM_STR("bad");
}

static void on_timeout(void *arg, struct dm_http_conn *conn, enum dm_http_timeout what)
{
    assert_ptr_equal(arg, &rig);
    rig.timeouts[what]++;
}

static void on_stream_refused(void *arg, struct dm_http_conn *conn)
{
    assert_ptr_equal(arg, &rig);
    rig.n_refused++;
}

const struct dm_http_handler rig_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
    .on_fault = on_fault,
    .on_timeout = on_timeout,
    .on_stream_refused = on_stream_refused,
    .on_tunnel_due = on_tunnel_due,
    .on_request_due = on_request_due,
};

/* --- the world ---------------------------------------------------------------------------------------------------- */

void rig_clear(void)
{
    memset(&rig, 0, sizeof(rig));
    rig.settings = dm_http_server_defaults;
}

static void turn(void *arg)
{
    dm_loop_turn(rig.loop, -1);
}

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    if (rig.is_proxied)
        dm_http_server_accept_proxied(rig.server, fd, peer);
    else
        dm_http_server_accept(rig.server, fd, peer);
}

void rig_connect(void)
{
    if (rig.fd >= 0)
        rig.client->ops->close(rig.client, rig.fd);
    rig.fd = rig.client->ops->connect(rig.client, &rig.listener.addr);
    assert_true(rig.fd >= 0);
    rig.is_ended = rig.is_reset = false;
    dm_buf_reset(&rig.got);
}

void rig_start_on(struct dm_world *world, struct dm_sys *sys, struct dm_sys *client)
{
    struct dm_addr addr;

    rig.world = world;
    rig.sys = sys;
    rig.client = client;
    rig.loop = dm_loop_new(rig.sys);
    if (world)
        dm_world_on_turn(rig.sys, turn, NULL);
    assert_int_equal(dm_addr_parse(world ? DM_STR("127.0.0.1:80") : DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&rig.listener, rig.loop, &addr, 16, false, on_accept, NULL), 0);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
    dm_buf_init(&rig.heard, 1 << 20);
    dm_buf_init(&rig.got, 64 << 20);
    dm_buf_init(&rig.body, 64 << 20);
    rig.fd = -1;
    rig_connect();
}

void rig_start(struct dm_world *world)
{
    if (world)
        rig_start_on(world, dm_world_process(world), dm_world_process(world));
    else
        rig_start_on(NULL, dm_sys_real(), dm_sys_real());
}

void rig_start_narrow(void)
{
    rig.settings.write_cap_bytes = 60000;
    rig_start(dm_world_new(3, &(struct dm_sim_faults){.socket_bytes = 20000}));
    rig_settle();
}

void rig_stop(void)
{
    if (rig.fd >= 0)
        rig.client->ops->close(rig.client, rig.fd);
    dm_listener_close(&rig.listener);
    dm_http_server_free(rig.server);
    dm_loop_free(rig.loop);
    dm_buf_done(&rig.heard);
    dm_buf_done(&rig.got);
    dm_buf_done(&rig.body);
    dm_world_free(rig.world);
}

int rig_setup(void **state)
{
    rig_clear();
    rig_start(*state ? NULL : dm_world_new(7, &(struct dm_sim_faults){.latency_ns_max = 100000}));
    return 0;
}

int rig_setup_narrow(void **state)
{
    rig_clear();
    rig_start_narrow();
    return 0;
}

int rig_teardown(void **state)
{
    rig_stop();
    return 0;
}

void rig_renew_server(void)
{
    dm_http_server_free(rig.server);
    rig.server = dm_http_server_new(rig.loop, &rig.settings, &rig_handler, &rig);
}

bool rig_is_open(void)
{
    return dm_http_server_connections(rig.server) == 1;
}

void rig_receive(size_t max)
{
    char buf[16384];
    ssize_t n = 1;

    while (max > 0 && n > 0 && !rig.is_ended) {
        n = rig.client->ops->recv(rig.client, rig.fd, buf, DM_MIN(max, sizeof(buf)));
        if (n > 0) {
            dm_buf_add_n(&rig.got, buf, (size_t)n);
            max -= (size_t)n;
        }
        rig.is_ended = n == 0 || (n < 0 && n != -EAGAIN && n != -ENOTCONN);
        rig.is_reset = n < 0 && rig.is_ended;
    }
}

bool rig_step(void)
{
    if (!rig.world)
        return dm_loop_turn(rig.loop, 5) >= 0;
    return dm_world_turn(rig.world) != DM_WORLD_QUIET;
}

void rig_pass_ms(uint64_t ms)
{
    uint64_t step = DM_MAX(ms / 1000, 1u);

    for (uint64_t passed = 0; passed < ms; passed += step) {
        dm_world_advance_ns(rig.world, step * MS);
        for (int i = 0; i < 4; i++)
            turn(NULL);
    }
}

void rig_settle(void)
{
    if (rig.world)
        rig_pass_ms(2);
    else
        for (int i = 0; i < 16; i++)
            dm_loop_turn(rig.loop, 0);
}

void rig_send_n(const char *ptr, size_t len)
{
    while (len > 0) {
        ssize_t n = rig.client->ops->send(rig.client, rig.fd, ptr, len);
        if (n == -EAGAIN || n == -ENOTCONN) {
            assert_true(rig_step());
            continue;
        }
        assert_true(n > 0);
        ptr += n;
        len -= (size_t)n;
    }
}

void rig_send(const char *text)
{
    rig_send_n(text, strlen(text));
}

void rig_read(size_t len)
{
    for (rig_receive(SIZE_MAX); rig.got.len < len && !rig.is_ended; rig_receive(SIZE_MAX))
        assert_true(rig_step());
}

void rig_read_all(void)
{
    rig_read(SIZE_MAX);
}

/* --- what came ---------------------------------------------------------------------------------------------------- */

bool has_heard(const char *text)
{
    return words_have(&rig.heard, text);
}

bool has_got(const char *text)
{
    return words_have(&rig.got, text);
}

void check_done(void)
{
    assert_true(rig.heard.len > 0 && rig.heard.ptr[rig.heard.len - 1] == 'D');
    dm_buf_reset(&rig.heard);
}

void check_ended(void)
{
    rig_read_all();
    check_ended_now();
}

void check_ended_now(void)
{
    rig_receive(SIZE_MAX);
    assert_true(rig.is_ended);
    assert_false(rig.is_reset);
    assert_int_equal(rig.got.len, 0);
}

void check_slow_body_is_cut(void)
{
    for (int i = 0; i < 9; i++) {
        rig_send("b");
        rig_pass_ms(1000);
    }
    assert_true(rig_is_open());
    for (int i = 0; i < 12; i++)
        rig_pass_ms(1000);
    assert_false(rig_is_open());
    assert_true(has_heard("A:body_too_slow"));
}

bool all_requests_ended(void)
{
    size_t n_begun = 0, n_ended = 0;

    for (size_t i = 0; i < rig.heard.len; i++) {
        n_begun += rig.heard.ptr[i] == 'R';
        n_ended += rig.heard.ptr[i] == 'D' ||
                   (rig.heard.ptr[i] == 'A' && i + 1 < rig.heard.len && rig.heard.ptr[i + 1] == ':');
    }
    return n_begun == n_ended;
}

/* --- scripts ------------------------------------------------------------------------------------------------------ */

void reply_hello(struct rig *r, struct dm_http_request *request)
{
    struct dm_http_message m = {.status = 200};

    dm_http_request_reply(request, &m, DM_STR("hello"));
}

void hello_at_once(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    reply_hello(r, request);
}

void hello_at_end(struct rig *r, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    reply_hello(r, request);
}

void stream_more(struct rig *r, struct dm_http_request *request)
{
    static char block[30000];

    memset(block, 'x', sizeof(block));
    while (r->left > 0) {
        size_t n = DM_MIN(r->left, sizeof(block)), taken = dm_http_request_write(request, block, n);
        r->left -= taken;
        if (taken < n)
            return;
    }
    dm_http_request_end(request, DM_STR_NULL);
}

void begin_stream(struct rig *r, struct dm_http_request *request, enum dm_http_framing framing)
{
    struct dm_http_message m = {.status = 200, .framing = framing, .content_length = r->left};

    dm_http_request_respond(request, &m);
    stream_more(r, request);
}

void stream_length(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    begin_stream(r, request, DM_HTTP_FRAMING_LENGTH);
}

void stream_chunked(struct rig *r, struct dm_http_request *request, struct dm_http_head *head)
{
    begin_stream(r, request, DM_HTTP_FRAMING_CHUNKED);
}

size_t take_nothing(struct rig *r, struct dm_http_request *request, const char *ptr, size_t len)
{
    return 0;
}
