/* An HTTP/2 connection of a server in a simulated world: the input is what the client sends, after the preface, in pieces that
 * follow from it; the owner answers by what it reads. Nothing may break: every request that began ends once, no more is kept
 * than the windows allow, and at the end nothing is left. */
#include <errno.h>

#include "base/mem.h"
#include "base/sim.h"
#include "fuzz_http.h"
#include "http/server.h"
#include "io/listener.h"

static struct {
    struct dm_sys *client;
    struct dm_loop *loop;
    struct dm_http_server *server;
    struct dm_http_request *open[256]; /* requests that are not answered yet */
    unsigned n_open, n_begun, n_ended;
} fuzz;

static void forget(struct dm_http_request *request)
{
    for (unsigned i = 0; i < DM_COUNT(fuzz.open); i++)
        if (fuzz.open[i] == request)
            fuzz.open[i] = NULL;
}

static void remember(struct dm_http_request *request)
{
    for (unsigned i = 0; i < DM_COUNT(fuzz.open); i++) {
        if (!fuzz.open[i]) {
            fuzz.open[i] = request;
            return;
        }
    }
    FUZZ_REQUIRE(false); /* more than SETTINGS_MAX_CONCURRENT_STREAMS */
}

/* What is accepted could stand in HTTP/1.1. */
static void check_head(const struct dm_http_head *head)
{
    FUZZ_REQUIRE(head->version_major == 2 && head->host.name.len > 0 && head->path.len > 0);
    FUZZ_REQUIRE(dm_http_field_name_is_valid(head->method_name));
    for (unsigned i = 0; i < head->field_count; i++) {
        FUZZ_REQUIRE(dm_http_field_name_is_valid(head->fields[i].name));
        FUZZ_REQUIRE(dm_http_field_value_is_valid(head->fields[i].value));
    }
}

static void on_request(void *arg, struct dm_http_request *request, struct dm_http_head *head)
{
    struct dm_http_message message = {.status = 200, .framing = DM_HTTP_FRAMING_CHUNKED};

    check_head(head);
    fuzz.n_begun++;
    remember(request);
    dm_http_request_set_user(request, request);
    switch (head->path.ptr[head->path.len - 1]) {
    case 'a': dm_http_request_reply(request, &message, DM_STR("at once")); break;
    case 'b': dm_http_request_respond(request, &message); break;
    case 'c': dm_http_request_ignore_body(request); break;
    case 'd': dm_http_request_limit_body(request, 3); break;
    case 'e': dm_http_request_inform(request, 103, DM_STR("link: x\r\n")); break;
    default: break;
    }
}

static size_t on_body(void *user, struct dm_http_request *request, const char *ptr, size_t len)
{
    FUZZ_REQUIRE(user == request);
    return ptr[0] & 1 ? len / 2 : len;
}

static void on_request_end(void *user, struct dm_http_request *request, const struct dm_http_head *trailers)
{
    FUZZ_REQUIRE(user == request);
    dm_http_request_tunnel(request, &(struct dm_http_message){.protocol = DM_STR("x")});
}

static void on_writable(void *user, struct dm_http_request *request)
{
    FUZZ_REQUIRE(user == request);
}

static void on_done(void *user, struct dm_http_request *request)
{
    FUZZ_REQUIRE(user == request);
    forget(request);
    fuzz.n_ended++;
}

static void on_abort(void *user, struct dm_http_request *request, struct dm_http_end end)
{
    on_done(user, request);
}

static const struct dm_http_handler handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_writable = on_writable,
    .on_done = on_done,
    .on_abort = on_abort,
};

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    dm_http_server_accept(fuzz.server, fd, peer);
}

static void turn(void *arg)
{
    dm_loop_turn(fuzz.loop, -1);
}

static void pass(struct dm_world *world, uint64_t ms)
{
    dm_world_advance_ns(world, ms * 1000000);
    for (int i = 0; i < 4; i++)
        turn(NULL);
}

/* One open request moves, in the way that the number says. */
static void act(size_t number)
{
    static const char data[40000];
    struct dm_http_request *request = fuzz.open[number / 8 % DM_COUNT(fuzz.open) % 8];
    struct dm_http_message message = {.status = 200, .framing = DM_HTTP_FRAMING_LENGTH, .content_length = 70000};

    if (!request)
        return;
    switch (number % 8) {
    case 0: dm_http_request_respond(request, &message); break;
    case 1:
    case 2: (void)dm_http_request_write(request, data, sizeof(data)); break;
    case 3: dm_http_request_end(request, DM_STR("x: 1\r\n")); break;
    case 4: dm_http_request_resume(request); break;
    case 5: dm_http_request_reply(request, &message, dm_str_n(data, number % sizeof(data))); break;
    case 6:
        forget(request);
        fuzz.n_ended++;
        dm_http_request_abort(request);
        break;
    default: dm_http_request_ignore_body(request);
    }
}

static void receive(int fd)
{
    static char buf[65536];

    while (fuzz.client->ops->recv(fuzz.client, fd, buf, sizeof(buf)) > 0)
        ;
}

static void send_all(struct dm_world *world, int fd, struct dm_str in)
{
    size_t number = fuzz_cut(in);

    while (in.len > 0) {
        size_t n = DM_MIN(in.len, 1 + number % 97);
        ssize_t sent = fuzz.client->ops->send(fuzz.client, fd, in.ptr, n);
        if (sent < 0 && sent != -EAGAIN)
            return;
        in = dm_str_skip(in, (size_t)DM_MAX(sent, 0));
        pass(world, 1 + number % 3);
        receive(fd);
        act(number);
        number = number * 2862933555777941757u + 3037000493u;
    }
}

static void run(struct dm_world *world, struct dm_str in)
{
    struct dm_http_server_settings settings = dm_http_server_defaults;
    struct dm_listener listener;
    struct dm_addr addr;

    settings.limits = fuzz_limits;
    FUZZ_REQUIRE(dm_addr_parse(DM_STR("127.0.0.1:80"), &addr, NULL) == 0);
    FUZZ_REQUIRE(dm_listener_open(&listener, fuzz.loop, &addr, 16, false, on_accept, NULL) == 0);
    fuzz.server = dm_http_server_new(fuzz.loop, &settings, &handler, NULL);
    int fd = fuzz.client->ops->connect(fuzz.client, &addr);
    pass(world, 1);
    send_all(world, fd, DM_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
    send_all(world, fd, in);
    pass(world, 50000);
    pass(world, 50000);
    fuzz.client->ops->close(fuzz.client, fd);
    pass(world, 5000);
    dm_listener_close(&listener);
    dm_http_server_free(fuzz.server);
    FUZZ_REQUIRE(fuzz.n_begun == fuzz.n_ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_world *world = dm_world_new(1, NULL);
    struct dm_sys *sys = dm_world_process(world);

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.client = dm_world_process(world);
    fuzz.loop = dm_loop_new(sys);
    dm_world_on_turn(sys, turn, NULL);
    run(world, dm_str_n((const char *)data, size));
    dm_loop_free(fuzz.loop);
    dm_world_free(world);
    return 0;
}
