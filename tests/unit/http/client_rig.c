#include "client_rig.h"

struct rig rig;

const struct dm_http_timeouts timeouts = {5000, 8000, 20000, 40000, 1000000};

/* --- the owner ---------------------------------------------------------------------------------------------------- */

static size_t index_of(void *user)
{
    return (size_t)((struct dm_http_call **)user - rig.calls);
}

static void hear(void *user, const char *fmt, ...) DM_PRINTF(2, 3);
static void hear(void *user, const char *fmt, ...)
{
    char text[64];
    struct dm_buf word;
    va_list args;

    dm_buf_init_fixed(&word, text, sizeof(text));
    va_start(args, fmt);
    dm_buf_vprintf(&word, fmt, args);
    va_end(args);
    if (index_of(user) > 0)
        words_add(&rig.heard, "%zu:%.*s", index_of(user), DM_STR_ARG(dm_buf_str(&word)));
    else
        words_add(&rig.heard, "%.*s", DM_STR_ARG(dm_buf_str(&word)));
}

void cancel_call(size_t i)
{
    dm_http_call_cancel(rig.calls[i]);
    rig.calls[i] = NULL;
}

void open_call(size_t i)
{
    assert_null(rig.calls[i]);
    rig.calls[i] = dm_http_peer_open(rig.peer, &timeouts);
    rig.is_kept = false;
    assert_non_null(rig.calls[i]);
    dm_http_call_set_user(rig.calls[i], &rig.calls[i]);
}

void send_call(size_t i, const struct dm_http_message *m)
{
    open_call(i);
    dm_http_call_send(rig.calls[i], m);
    if (m->framing == DM_HTTP_FRAMING_NONE && m->protocol.len == 0)
        dm_http_call_end(rig.calls[i], DM_STR_NULL);
}

static void send_once(size_t i, const struct dm_http_message **m)
{
    const struct dm_http_message *once = *m;

    *m = NULL;
    if (once)
        send_call(i, once);
}

static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    hear(user, "I%u", head->status);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    assert_ptr_equal(call, rig.calls[index_of(user)]);
    hear(user, "R%u", head->status);
    if (rig.cancels_at_response)
        cancel_call(index_of(user));
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    size_t taken = DM_MIN(len, rig.takes);

    if (!rig.mutes_body)
        hear(user, "B%zu", taken);
    dm_buf_add_n(&rig.body, ptr, taken);
    if (rig.cancels_at_body)
        cancel_call(index_of(user));
    return taken;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    hear(user, trailers ? "T" : "E");
    if (trailers)
        assert_int_equal(trailers->field_count, 1);
    if (rig.cancels_at_end)
        cancel_call(index_of(user));
    if (rig.ends_at_response_end)
        dm_http_call_end(call, DM_STR_NULL);
    send_once(1, &rig.sends_at_end);
}

void stream_request(void)
{
    static char block[10000];

    while (rig.left > 0) {
        size_t n = DM_MIN(rig.left, sizeof(block)), taken = dm_http_call_write(rig.calls[0], block, n);
        rig.left -= taken;
        if (taken < n)
            return;
    }
    dm_http_call_end(rig.calls[0], rig.trailers);
}

static void on_writable(void *user, struct dm_http_call *call)
{
    if (rig.is_http2)
        hear(user, "W");
    stream_request();
}

static void on_done(void *user, struct dm_http_call *call)
{
    hear(user, "D");
    rig.was_reused = dm_http_call_is_reused(call);
    rig.bytes_in = dm_http_call_bytes_in(call);
    rig.bytes_out = dm_http_call_bytes_out(call);
    rig.calls[index_of(user)] = NULL;
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    hear(user, "A:%s", dm_http_abort_name(end.why));
    rig.had_response = dm_http_call_has_response(call);
    rig.was_reused = dm_http_call_is_reused(call);
    assert_true(dm_http_call_bytes_in(call) < 1000000 && dm_http_call_bytes_out(call) < 1000000);
    if (!rig.is_http2)
        assert_null(rig.peer); /* C4 */
    rig.calls[index_of(user)] = NULL;
}

static void on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why)
{
    assert_ptr_equal(call, rig.calls[index_of(user)]);
    hear(user, "T:%s", dm_http_abort_name(why));
    if (!rig.last)
        return;
    rig.calls[index_of(user)] = NULL;
    dm_http_call_leave(call, dm_str_of(rig.last));
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(owner, &rig);
    assert_ptr_equal(peer, rig.peer);
    assert_true(dm_http_peer_has_room(peer));
    rig.n_room++;
    rig.is_kept = true;
    send_once(0, &rig.sends_at_room);
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    assert_ptr_equal(owner, &rig);
    assert_ptr_equal(peer, rig.peer);
    assert_false(dm_http_peer_has_room(peer));
    if (rig.is_http2 || rig.is_kept)
        hear(&rig.calls[0], "X");
    rig.is_kept = false;
    rig.peer = NULL;
}

static const struct dm_http_peer_handler peer_handler = {on_room, on_end};
static const struct dm_http_call_handler call_handler = {on_inform,   on_response, on_body,  on_response_end,
                                                         on_writable, on_done,     on_abort, on_tunnel_due};

void close_peer(void)
{
    dm_http_peer_close(rig.peer);
    rig.peer = NULL;
}

static void let_go(void)
{
    for (size_t i = 0; i < N_CALLS; i++)
        if (rig.calls[i])
            cancel_call(i);
    if (rig.peer)
        close_peer();
}

void connect_peer(void)
{
    struct dm_http_peer_settings settings = {rig.addr, 1000, rig.is_http2};

    let_go();
    rig.peer = dm_http_client_connect(rig.client, &settings, &rig);
}

size_t count_ends(void)
{
    size_t n = 0;

    for (size_t i = 0; i < rig.heard.len; i++)
        n += rig.heard.ptr[i] == 'D' || rig.heard.ptr[i] == 'A';
    return n;
}

/* --- the world ---------------------------------------------------------------------------------------------------- */

void rig_start(bool is_http2)
{
    struct dm_http_client_settings settings = dm_http_client_defaults;
    struct dm_sim_faults faults = {.latency_ns_max = 100000, .socket_bytes = 20000};

    memset(&rig, 0, sizeof(rig));
    settings.write_cap_bytes = 60000;
    rig.world = dm_world_new(11, &faults);
    rig.sys = dm_world_process(rig.world);
    rig.backend_sys = dm_world_process(rig.world);
    rig.loop = dm_loop_new(rig.sys);
    rig.client = dm_http_client_new(rig.loop, &settings, &peer_handler, &call_handler);
    rig.is_http2 = is_http2;
    rig.takes = SIZE_MAX;
    rig.fd = -1;
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:80"), &rig.addr, NULL), 0);
    rig.listen_fd = rig.backend_sys->ops->listen(rig.backend_sys, &rig.addr, 8, false);
    assert_true(rig.listen_fd >= 0);
    dm_buf_init(&rig.heard, 1 << 20);
    dm_buf_init(&rig.body, 1 << 24);
    dm_buf_init(&rig.got, 1 << 24);
}

void rig_stop(void)
{
    let_go();
    dm_http_client_free(rig.client);
    dm_loop_free(rig.loop);
    close_fd();
    dm_buf_done(&rig.heard);
    dm_buf_done(&rig.body);
    dm_buf_done(&rig.got);
    dm_world_free(rig.world);
}

void pass_ms(uint64_t ms)
{
    uint64_t step = DM_MAX(ms / 1000, 1u);

    for (uint64_t passed = 0; passed < ms; passed += step) {
        dm_world_advance_ns(rig.world, step * MS);
        for (int i = 0; i < 4; i++)
            dm_loop_turn(rig.loop, 0);
    }
}

/* --- the backend -------------------------------------------------------------------------------------------------- */

void close_fd(void)
{
    if (rig.fd >= 0)
        rig.backend_sys->ops->close(rig.backend_sys, rig.fd);
    rig.fd = -1;
}

void accept_peer(void)
{
    pass_ms(2);
    close_fd();
    rig.fd = rig.backend_sys->ops->accept(rig.backend_sys, rig.listen_fd, NULL);
    assert_true(rig.fd >= 0);
}
