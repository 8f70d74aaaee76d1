/* What a backend of HTTP/2 may send, in pieces and at times that the input chooses: a request, an upload and a tunnel are on
 * their way. Each call hears what its owner is promised: one head, then a body of at most the length that was announced, one end;
 * and after long enough every call has ended and nothing is left.
 *
 * Input: pieces of a length byte and so many bytes; 0: a second passes, and what rested is asked for again. */
#include <stdint.h>
#include <stdlib.h>

#include "base/sim.h"
#include "http/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MS UINT64_C(1000000)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

enum { N_CALLS = 3 };

struct call {
    struct dm_http_call *call;
    uint64_t left; /* of Content-Length */
    bool has_head, has_end, is_bounded;
};

static struct call calls[N_CALLS];
static struct dm_http_peer *peer;
static struct dm_sys *backend_sys;
static struct dm_world *world;
static struct dm_loop *loop;
static int fd;

static void on_inform(void *user, struct dm_http_call *call, const struct dm_http_head *head)
{
    const struct call *c = user;

    CHECK(c->call == call && !c->has_head && head->status / 100 == 1 && head->status != 101);
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct call *c = user;

    CHECK(c->call == call && !c->has_head && (head->status >= 200 || (head->status == 101 && c == &calls[2])));
    CHECK(head->status <= 599);
    c->has_head = true;
    c->is_bounded = head->has_content_length && head->status != 101;
    c->left = head->content_length;
}

static size_t on_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    struct call *c = user;
    size_t taken = len % 3 == 0 ? len / 2 : len;

    (void)ptr;
    CHECK(c->call == call && c->has_head && !c->has_end && len > 0);
    CHECK(!c->is_bounded || len <= c->left);
    c->left -= taken;
    return taken;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    struct call *c = user;

    (void)trailers;
    CHECK(c->call == call && c->has_head && !c->has_end);
    c->has_end = true;
    if (c == &calls[2])
        dm_http_call_end(call, DM_STR_NULL);
}

static void on_writable(void *user, struct dm_http_call *call)
{
    static const char block[5000];

    CHECK(((struct call *)user)->call == call);
    (void)dm_http_call_write(call, block, sizeof(block));
}

static void on_done(void *user, struct dm_http_call *call)
{
    struct call *c = user;

    CHECK(c->call == call && c->has_end);
    c->call = NULL;
}

static void on_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    struct call *c = user;

    CHECK(c->call == call && end.why > 0);
    c->call = NULL;
}

static void on_room(void *owner, struct dm_http_peer *p)
{
    (void)owner;
    CHECK(p == peer && dm_http_peer_has_room(p));
}

static void on_end(void *owner, struct dm_http_peer *p)
{
    (void)owner;
    CHECK(p == peer);
    peer = NULL;
}

static const struct dm_http_peer_handler peer_handler = {on_room, on_end};
static const struct dm_http_call_handler call_handler = {on_inform,   on_response, on_body, on_response_end,
                                                         on_writable, on_done,     on_abort};

static void pass_ms(uint64_t ms)
{
    dm_world_advance_ns(world, ms * MS);
    for (int i = 0; i < 4; i++)
        dm_loop_turn(loop, 0);
}

static void begin(size_t i, const struct dm_http_message *m)
{
    static const struct dm_http_timeouts timeouts = {5000, 8000, 20000, 10000, 60000};

    calls[i] = (struct call){.call = dm_http_peer_open(peer, &timeouts)};
    dm_http_call_set_user(calls[i].call, &calls[i]);
    dm_http_call_send(calls[i].call, m);
}

static void begin_calls(void)
{
    static const struct dm_http_message get = {.method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}};
    static const struct dm_http_message post = {
        .method = {"POST", 4}, .target = {"/", 1}, .host = {"b", 1}, .framing = DM_HTTP_FRAMING_CHUNKED};
    static const struct dm_http_message upgrade = {
        .method = {"GET", 3}, .target = {"/", 1}, .host = {"b", 1}, .protocol = {"websocket", 9}};

    begin(0, &get);
    dm_http_call_end(calls[0].call, DM_STR_NULL);
    begin(1, &post);
    (void)dm_http_call_write(calls[1].call, "x", 1);
    begin(2, &upgrade);
}

static void let_time_pass(void)
{
    pass_ms(1000);
    for (size_t i = 0; i < N_CALLS; i++)
        if (calls[i].call)
            dm_http_call_resume(calls[i].call);
    pass_ms(1);
}

static void feed(const uint8_t *data, size_t size)
{
    char drain[4096];

    while (size > 0) {
        size_t n = DM_MIN((size_t)data[0], size - 1);
        if (n == 0)
            let_time_pass();
        else
            (void)!backend_sys->ops->send(backend_sys, fd, data + 1, n);
        pass_ms(1);
        while (backend_sys->ops->recv(backend_sys, fd, drain, sizeof(drain)) > 0)
            ;
        data += n + 1;
        size -= n + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_http_peer_settings settings = {.connect_ms = 1000, .is_http2 = true};
    struct dm_sim_faults faults = {0};
    struct dm_http_client *client;
    struct dm_sys *sys;
    int listen_fd;

    world = dm_world_new(1, &faults);
    sys = dm_world_process(world);
    backend_sys = dm_world_process(world);
    loop = dm_loop_new(sys);
    CHECK(dm_addr_parse(DM_STR("127.0.0.1:80"), &settings.addr, NULL) == 0);
    listen_fd = backend_sys->ops->listen(backend_sys, &settings.addr, 8, false);
    client = dm_http_client_new(loop, &dm_http_client_defaults, &peer_handler, &call_handler);
    peer = dm_http_client_connect(client, &settings, NULL);
    begin_calls();
    pass_ms(1);
    fd = backend_sys->ops->accept(backend_sys, listen_fd, NULL);
    CHECK(fd >= 0);
    feed(data, size);
    for (int i = 0; i < 200 && (calls[0].call || calls[1].call || calls[2].call); i++) {
        if (calls[1].call && i == 0)
            dm_http_call_end(calls[1].call, DM_STR("X-T: 1\r\n"));
        let_time_pass();
    }
    for (size_t i = 0; i < N_CALLS; i++)
        CHECK(!calls[i].call);
    if (peer)
        dm_http_peer_close(peer);
    dm_http_client_free(client);
    dm_loop_free(loop);
    dm_world_free(world);
    return 0;
}
