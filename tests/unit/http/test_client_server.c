/* Clients and a server on the simulated network under many seeds: random requests and responses in random pieces, with pauses,
 * aborts, short reads and writes, small buffers and resets. Both bodies of an exchange are drawn from its number, so that each
 * side knows every byte that must come.
 *
 * R1. Every exchange that began ends with one on_done or on_abort, on either side, and nothing comes after it.
 * R2. Bodies arrive byte by byte; without resets and aborts, whole.
 * R3. At the end nothing is left: connections, exchanges, memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sim.h"
#include "http/client.h"
#include "http/serialize.h"
#include "http/server.h"
#include "io/listener.h"

enum { N_CALLERS = 5, N_EXCHANGES = 12, N_SEEDS = 50 };

/* One body on its way, on the side that sends it. */
struct sender {
    uint64_t number;
    size_t total, at;
};

/* On the side that receives it. */
struct receiver {
    uint64_t number;
    size_t total, at;
    bool is_ended;
};

struct caller {
    struct dm_http_peer *peer; /* owned until on_end */
    struct dm_http_call *call;
    struct dm_timer timer; /* a pause in reading or writing */
    struct sender request;
    struct receiver response;
    unsigned n_begun, n_done, n_aborted;
    bool is_in_exchange, is_kept;
};

/* An exchange on the side of the server. */
struct served {
    struct dm_http_request *caller;
    struct dm_timer timer;
    struct receiver request;
    struct sender response;
    bool is_responding, is_ended, is_head;
};

struct process {
    struct dm_sys *sys;
    struct dm_loop *loop;
};

static struct dm_world *world;
static struct process server_process, client_process;
static struct dm_listener listener;
static struct dm_http_server *server;
static struct dm_http_client *client;
static struct caller callers[N_CALLERS];
static unsigned n_served, n_served_done, n_served_aborted;
static uint64_t seed;
static bool has_cuts;         /* resets or aborts */
static unsigned abort_chance; /* one in so many; 0: never */

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static bool one_in(unsigned n)
{
    return n > 0 && draw(n) == 0;
}

static size_t draw_size(void)
{
    static const uint64_t below[] = {2, 100, 5000, 70000, 300000};

    return one_in(3) ? 0 : draw(below[draw(DM_COUNT(below))]);
}

static char byte_at(uint64_t number, size_t i)
{
    return (char)(number * 37 + i * 131 + (i >> 9));
}

/* A piece of the body in static memory; returns its length. */
static size_t next_piece(const struct sender *s, const char **ret)
{
    static char piece[50000];
    size_t len = 1 + draw(one_in(2) ? 200 : sizeof(piece));

    len = DM_MIN(len, s->total - s->at);
    for (size_t i = 0; i < len; i++)
        piece[i] = byte_at(s->number, s->at + i);
    *ret = piece;
    return len;
}

/* Takes a part of it, sometimes nothing. */
static size_t take_piece(struct receiver *r, const char *ptr, size_t len)
{
    size_t taken = one_in(4) ? draw(len + 1) : len;

    assert_false(r->is_ended);
    for (size_t i = 0; i < taken; i++)
        assert_int_equal(ptr[i], byte_at(r->number, r->at + i));
    r->at += taken;
    assert_true(r->at <= r->total);
    return taken;
}

/* --- the server's owner ------------------------------------------------------------------------------------------- */

static struct dm_str trailers_of(uint64_t number)
{
    return number % 3 ? DM_STR_NULL : DM_STR("X-Sum: 1\r\n");
}

static void forget(struct served *s)
{
    dm_timer_cancel(server_process.loop, &s->timer);
    dm_free(s);
}

static void write_response(struct served *s)
{
    while (s->response.at < s->response.total) {
        const char *ptr;
        size_t len = next_piece(&s->response, &ptr), taken = dm_http_request_write(s->caller, ptr, len);
        s->response.at += taken;
        if (taken < len)
            return;
        if (one_in(6)) {
            dm_timer_arm(server_process.loop, &s->timer, (uint32_t)draw(3000));
            return;
        }
    }
    s->is_ended = true;
    dm_http_request_end(s->caller, trailers_of(s->response.number)); /* s may be gone */
}

static void abort_served(struct served *s)
{
    n_served_aborted++;
    dm_http_request_abort(s->caller);
    forget(s);
}

static void respond(struct served *s)
{
    static char body[20000];
    struct dm_http_message m = {.status = 200,
                                .framing = s->response.number % 2 ? DM_HTTP_FRAMING_CHUNKED : DM_HTTP_FRAMING_LENGTH,
                                .content_length = s->response.total,
                                .is_closing = one_in(20)};

    s->is_responding = true;
    if (s->is_head)
        s->response.at = s->response.total;
    if (s->response.total <= sizeof(body) && one_in(2)) {
        for (size_t i = 0; i < s->response.total; i++)
            body[i] = byte_at(s->response.number, i);
        s->is_ended = true;
        dm_http_request_reply(s->caller, &m, dm_str_n(body, s->response.total));
        return;
    }
    dm_http_request_respond(s->caller, &m);
    write_response(s);
}

static void on_served_timer(struct dm_timer *timer)
{
    struct served *s = DM_CONTAINER_OF(timer, struct served, timer);

    if (one_in(abort_chance)) {
        abort_served(s);
    } else if (!s->is_responding && !s->request.is_ended && !(has_cuts && one_in(4))) {
        dm_http_request_resume(s->caller);
    } else if (!s->is_responding) {
        respond(s);
    } else if (!s->is_ended) {
        dm_http_request_resume(s->caller);
        write_response(s);
    }
}

static uint64_t number_of(const struct dm_http_head *head, const char *name)
{
    uint64_t n = 0;

    assert_int_equal(dm_str_to_u64(dm_http_head_find_name(head, dm_str_of(name))->value, &n), 0);
    return n;
}

static void on_request(void *arg, struct dm_http_request *caller, struct dm_http_head *head)
{
    struct served *s = dm_calloc(1, sizeof(*s));

    n_served++;
    s->caller = caller;
    s->timer.on_due = on_served_timer;
    s->is_head = head->method == DM_HTTP_METHOD_HEAD;
    s->request.number = s->response.number = number_of(head, "x-number");
    s->request.total = number_of(head, "x-request");
    s->response.total = number_of(head, "x-response");
    dm_http_request_set_user(caller, s);
    if (one_in(abort_chance))
        abort_served(s);
    else if (head->expects_continue && one_in(2))
        dm_http_request_inform(caller, 100, DM_STR_NULL);
    else if (has_cuts && one_in(10))
        respond(s); /* before the request is there, which may cut the rest of it */
}

static void resume_later(struct served *s)
{
    dm_timer_arm(server_process.loop, &s->timer, (uint32_t)draw(2000));
}

static size_t on_body(void *user, struct dm_http_request *caller, const char *ptr, size_t len)
{
    struct served *s = user;
    size_t taken = take_piece(&s->request, ptr, len);

    if (one_in(abort_chance)) {
        abort_served(s);
        return 0;
    }
    if (taken < len)
        resume_later(s);
    return taken;
}

static void on_request_end(void *user, struct dm_http_request *caller, const struct dm_http_head *trailers)
{
    struct served *s = user;

    assert_int_equal(s->request.at, s->request.total);
    s->request.is_ended = true;
    if (s->is_responding)
        return;
    if (one_in(3))
        dm_timer_arm(server_process.loop, &s->timer, (uint32_t)draw(3000));
    else
        respond(s);
}

static void on_conn_writable(void *user, struct dm_http_request *caller)
{
    struct served *s = user;

    if (s->is_responding && !s->is_ended && !dm_timer_is_armed(&s->timer))
        write_response(s);
}

static void on_served_done(void *user, struct dm_http_request *caller)
{
    struct served *s = user;

    assert_true(s->is_ended);
    n_served_done++;
    forget(s);
}

static void on_served_abort(void *user, struct dm_http_request *caller, struct dm_http_end end)
{
    assert_true(has_cuts);
    n_served_aborted++;
    forget(user);
}

static const struct dm_http_handler server_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_request_end = on_request_end,
    .on_writable = on_conn_writable,
    .on_done = on_served_done,
    .on_abort = on_served_abort,
};

/* --- the client's owners ------------------------------------------------------------------------------------------ */

static void begin_exchange(struct caller *c);

static void write_request(struct caller *c)
{
    while (c->request.at < c->request.total) {
        const char *ptr;
        size_t len = next_piece(&c->request, &ptr), taken = dm_http_call_write(c->call, ptr, len);
        c->request.at += taken;
        if (taken < len)
            return;
        if (one_in(6)) {
            dm_timer_arm(client_process.loop, &c->timer, (uint32_t)draw(3000));
            return;
        }
    }
    dm_http_call_end(c->call, trailers_of(c->request.number));
}

static void end_exchange(struct caller *c)
{
    assert_true(c->is_in_exchange);
    c->is_in_exchange = false;
    dm_timer_cancel(client_process.loop, &c->timer);
    if (c->n_begun < N_EXCHANGES)
        dm_timer_arm(client_process.loop, &c->timer, (uint32_t)draw(1000));
}

static void drop_call(struct caller *c)
{
    c->n_aborted++;
    dm_http_call_cancel(c->call);
    assert_null(c->peer);
    c->call = NULL;
    end_exchange(c);
}

static void on_caller_timer(struct dm_timer *timer)
{
    struct caller *c = DM_CONTAINER_OF(timer, struct caller, timer);

    if (!c->is_in_exchange) {
        begin_exchange(c);
    } else if (one_in(abort_chance)) {
        drop_call(c);
    } else {
        dm_http_call_resume(c->call);
        write_request(c);
    }
}

static const struct dm_http_timeouts timeouts = {600000, 600000, 60000};

static void write_numbers(struct dm_buf *out, const struct caller *c)
{
    dm_http_write_field_u64(out, DM_STR("X-Number"), c->request.number);
    dm_http_write_field_u64(out, DM_STR("X-Request"), c->request.total);
    dm_http_write_field_u64(out, DM_STR("X-Response"), c->response.total);
    if (c->request.total > 0 && one_in(8))
        dm_buf_add_lit(out, "Expect: 100-continue\r\n");
}

static void send_request(struct caller *c, bool is_head)
{
    char memory[500];
    struct dm_buf fields;
    struct dm_http_message m = {.method = is_head ? DM_STR("HEAD") : DM_STR("POST"),
                                .target = DM_STR("/"),
                                .host = DM_STR("h"),
                                .framing = is_head     ? DM_HTTP_FRAMING_NONE
                                           : one_in(2) ? DM_HTTP_FRAMING_CHUNKED
                                                       : DM_HTTP_FRAMING_LENGTH,
                                .content_length = c->request.total,
                                .is_closing = one_in(20)};

    dm_buf_init_fixed(&fields, memory, sizeof(memory));
    write_numbers(&fields, c);
    m.fields = dm_buf_str(&fields);
    dm_http_call_set_user(c->call, c);
    dm_http_call_send(c->call, &m);
    write_request(c);
}

static void begin_exchange(struct caller *c)
{
    bool is_head = one_in(8);
    uint64_t number = draw(1000000);

    c->n_begun++;
    c->is_in_exchange = true;
    c->request = (struct sender){number, is_head ? 0 : draw_size(), 0};
    c->response = (struct receiver){number, draw_size(), 0, false};
    if (!c->peer)
        c->peer = dm_http_client_connect(client, &(struct dm_http_peer_settings){listener.addr, 600000}, c);
    c->is_kept = false;
    c->call = dm_http_peer_open(c->peer, &timeouts);
    assert_non_null(c->call);
    send_request(c, is_head);
    if (is_head)
        c->response.total = 0;
}

static void on_response(void *user, struct dm_http_call *call, struct dm_http_head *head)
{
    struct caller *c = user;

    assert_true(c->is_in_exchange && c->call == call);
    assert_int_equal(head->status, 200);
    if (one_in(abort_chance))
        drop_call(c);
}

static size_t on_response_body(void *user, struct dm_http_call *call, const char *ptr, size_t len)
{
    struct caller *c = user;
    size_t taken;

    assert_true(c->is_in_exchange);
    taken = take_piece(&c->response, ptr, len);
    if (one_in(abort_chance))
        drop_call(c);
    else if (taken < len && !dm_timer_is_armed(&c->timer))
        dm_timer_arm(client_process.loop, &c->timer, (uint32_t)draw(2000));
    return taken;
}

static void on_response_end(void *user, struct dm_http_call *call, const struct dm_http_head *trailers)
{
    struct caller *c = user;

    assert_int_equal(c->response.at, c->response.total);
    c->response.is_ended = true;
}

static void on_call_writable(void *user, struct dm_http_call *call)
{
    struct caller *c = user;

    if (!dm_timer_is_armed(&c->timer))
        write_request(c);
}

static void on_call_done(void *user, struct dm_http_call *call)
{
    struct caller *c = user;

    assert_true(c->response.is_ended);
    c->n_done++;
    c->call = NULL;
    end_exchange(c);
}

static void on_call_abort(void *user, struct dm_http_call *call, struct dm_http_end end)
{
    struct caller *c = user;

    /* Without cuts only a kept connection may break that the server closed behind its response. */
    if (!has_cuts && !dm_http_call_is_reused(call))
        fail_msg("%s, error %d", dm_http_abort_name(end.why), end.error);
    c->n_aborted++;
    c->call = NULL;
    assert_null(c->peer);
    end_exchange(c);
}

static void on_room(void *owner, struct dm_http_peer *peer)
{
    struct caller *c = owner;

    assert_true(c->peer == peer && !c->is_in_exchange && !c->is_kept);
    c->is_kept = true;
    if (c->n_begun < N_EXCHANGES && !one_in(10))
        return;
    dm_http_peer_close(peer);
    c->peer = NULL;
}

static void on_end(void *owner, struct dm_http_peer *peer)
{
    struct caller *c = owner;

    assert_ptr_equal(c->peer, peer);
    c->is_kept = false;
    c->peer = NULL;
}

static const struct dm_http_peer_handler peer_handler = {on_room, on_end};
static const struct dm_http_call_handler call_handler = {
    NULL, on_response, on_response_body, on_response_end, on_call_writable, on_call_done, on_call_abort};

/* --- the world ---------------------------------------------------------------------------------------------------- */

static void turn(void *arg)
{
    dm_loop_turn(((struct process *)arg)->loop, -1);
}

static void start_process(struct process *p)
{
    p->sys = dm_world_process(world);
    p->loop = dm_loop_new(p->sys);
    dm_world_on_turn(p->sys, turn, p);
}

static void on_accept(struct dm_listener *l, int fd, const struct dm_addr *peer)
{
    dm_http_server_accept(server, fd, peer);
}

static bool all_ended(void *arg)
{
    for (int i = 0; i < N_CALLERS; i++)
        if (callers[i].is_in_exchange || callers[i].n_begun < N_EXCHANGES)
            return false;
    return true;
}

static bool no_connections(void *arg)
{
    return dm_http_server_connections(server) == 0;
}

static void start_world(uint64_t s, const struct dm_sim_faults *faults)
{
    struct dm_http_server_settings server_settings = dm_http_server_defaults;
    struct dm_http_client_settings client_settings = dm_http_client_defaults;
    struct dm_addr addr;

    seed = s * 0x9e3779b97f4a7c15u;
    n_served = n_served_done = n_served_aborted = 0;
    world = dm_world_new(s, faults);
    start_process(&server_process);
    start_process(&client_process);
    server_settings.write_cap_bytes = client_settings.write_cap_bytes = 2000 + draw(100000);
    server_settings.head_timeout_ms = server_settings.body_timeout_ms = server_settings.idle_timeout_ms = 600000;
    server = dm_http_server_new(server_process.loop, &server_settings, &server_handler, NULL);
    client = dm_http_client_new(client_process.loop, &client_settings, &peer_handler, &call_handler);
    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:80"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&listener, server_process.loop, &addr, 64, false, on_accept, NULL), 0);
    for (int i = 0; i < N_CALLERS; i++) {
        callers[i] = (struct caller){.timer.on_due = on_caller_timer};
        dm_timer_arm(client_process.loop, &callers[i].timer, (uint32_t)draw(100));
    }
}

static void end_world(void)
{
    for (int i = 0; i < N_CALLERS; i++) {
        dm_timer_cancel(client_process.loop, &callers[i].timer);
        if (callers[i].is_in_exchange)
            dm_http_call_cancel(callers[i].call);
        if (callers[i].peer)
            dm_http_peer_close(callers[i].peer);
    }
    dm_listener_close(&listener);
    dm_http_client_free(client);
    dm_http_server_free(server);
    dm_loop_free(client_process.loop);
    dm_loop_free(server_process.loop);
    dm_world_free(world);
}

static uint64_t play(uint64_t s, const struct dm_sim_faults *faults, bool ends_early)
{
    uint64_t limit_ns = (ends_early ? 20 : 36000) * UINT64_C(1000000000), trace;
    bool is_through;

    start_world(s, faults);
    is_through = dm_world_run(world, all_ended, NULL, limit_ns);
    if (!is_through && !ends_early)
        fail_msg("seed %llu: the world went quiet or on for ever", (unsigned long long)s);
    if (!ends_early) {
        for (int i = 0; i < N_CALLERS; i++) {
            assert_int_equal(callers[i].n_done + callers[i].n_aborted, callers[i].n_begun);
            if (callers[i].peer)
                dm_http_peer_close(callers[i].peer);
            callers[i].peer = NULL;
        }
        assert_true(dm_world_run(world, no_connections, NULL, UINT64_C(4000) * 1000000000));
    }
    trace = dm_world_trace(world);
    end_world();
    assert_int_equal(n_served, n_served_done + n_served_aborted);
    return trace;
}

static struct dm_sim_faults faults_of(uint64_t s)
{
    return (struct dm_sim_faults){.short_io = s % 3 ? 150000 : 0,
                                  .latency_ns_max = s % 2 ? 3000000 : 0,
                                  .socket_bytes = s % 5 ? 3000 * (s % 7 + 1) : 0};
}

static void every_body_arrives_whole(void **state)
{
    unsigned n_done = 0;

    has_cuts = false;
    abort_chance = 0;
    for (uint64_t s = 1; s <= N_SEEDS; s++) {
        struct dm_sim_faults faults = faults_of(s);
        play(s, &faults, false);
        for (int i = 0; i < N_CALLERS; i++)
            n_done += callers[i].n_done;
    }
    assert_in_range(n_done, N_SEEDS * N_CALLERS * N_EXCHANGES * 9 / 10, N_SEEDS * N_CALLERS * N_EXCHANGES);
}

static void every_exchange_ends_once(void **state)
{
    unsigned n_done = 0, n_aborted = 0;

    has_cuts = true;
    for (uint64_t s = 1; s <= N_SEEDS; s++) {
        struct dm_sim_faults faults = faults_of(s);
        faults.reset = s % 2 ? 3000 : 0;
        faults.connect_refused = 30000;
        abort_chance = s % 2 ? 0 : 40;
        play(s, &faults, false);
        for (int i = 0; i < N_CALLERS; i++) {
            n_done += callers[i].n_done;
            n_aborted += callers[i].n_aborted;
        }
    }
    assert_true(n_done > N_SEEDS * N_CALLERS * N_EXCHANGES / 3);
    assert_true(n_aborted > N_SEEDS);
}

/* Server and client go while exchanges are in every state. */
static void anything_may_be_freed_at_any_time(void **state)
{
    has_cuts = true;
    abort_chance = 0;
    for (uint64_t s = 1; s <= N_SEEDS; s++) {
        struct dm_sim_faults faults = faults_of(s);
        play(s, &faults, true);
    }
    assert_true(n_served_aborted > 0);
}

static void any_system_call_may_fail(void **state)
{
    bool is_reached = true;

    has_cuts = true;
    abort_chance = 0;
    for (uint64_t n = 1; n < 4000 && is_reached; n += 1 + n / 12) {
        struct dm_sim_faults faults = {.socket_bytes = 20000};
        start_world(5, &faults);
        dm_world_fail_nth(n % 2 ? server_process.sys : client_process.sys, n, EIO);
        if (!dm_world_run(world, all_ended, NULL, UINT64_C(36000) * 1000000000))
            fail_msg("call %llu: the world went quiet", (unsigned long long)n);
        is_reached = dm_world_fail_reached(n % 2 ? server_process.sys : client_process.sys);
        end_world();
        assert_int_equal(n_served, n_served_done + n_served_aborted);
    }
}

static void the_same_seed_runs_the_same_way(void **state)
{
    struct dm_sim_faults faults = {.short_io = 100000, .reset = 1000, .latency_ns_max = 2000000};

    has_cuts = true;
    assert_true(play(77, &faults, false) == play(77, &faults, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_body_arrives_whole),          cmocka_unit_test(every_exchange_ends_once),
        cmocka_unit_test(anything_may_be_freed_at_any_time), cmocka_unit_test(any_system_call_may_fail),
        cmocka_unit_test(the_same_seed_runs_the_same_way),
    };

    return cmocka_run_group_tests_name("http client and server", tests, NULL, NULL);
}
