/* Names against a small name server in this process, on the same loop: UDP, and TCP for an answer that does not fit. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "fake_clock.h"
#include "io/dns.h"
#include "io/listener.h"
#include "io/stream.h"

enum { TYPE_A = 1, TYPE_AAAA = 28, HEADER_BYTES = 12 };

struct question {
    char name[256];
    int type;
    size_t end; /* of the question section */
};

struct asker {
    struct dm_dns_query query;
    unsigned n_done;
    int code;
    struct dm_flow *told_in; /* whose time it was */
    struct dm_dns_answer answer;
    struct dm_dns_query *cancels;
    const char *asks_too;
};

static struct fake_clock fake;
static struct dm_loop *loop;
static struct dm_dns *dns;
static struct dm_watch udp;
static struct dm_listener tcp;
static struct dm_stream tcp_stream;
static unsigned n_asked, n_asked_tcp; /* for address records of type A */
static bool is_broken;

/* The name server */

static void read_question(const uint8_t *msg, size_t len, struct question *ret)
{
    size_t at = HEADER_BYTES, n = 0;

    while (at < len && msg[at] != 0) {
        assert_true(at + 1u + msg[at] < len && n + msg[at] + 1u < sizeof(ret->name));
        memcpy(ret->name + n, msg + at + 1, msg[at]);
        n += msg[at];
        ret->name[n++] = '.';
        at += 1u + msg[at];
    }
    ret->name[n ? n - 1 : 0] = '\0';
    ret->type = msg[at + 1] << 8 | msg[at + 2];
    ret->end = at + 5;
}

static void add_record(struct dm_buf *out, int type, uint32_t ttl, const void *data, uint16_t len)
{
    uint8_t head[12] = {0xc0,
                        HEADER_BYTES,
                        0,
                        (uint8_t)type,
                        0,
                        1,
                        (uint8_t)(ttl >> 24),
                        (uint8_t)(ttl >> 16),
                        (uint8_t)(ttl >> 8),
                        (uint8_t)ttl,
                        (uint8_t)(len >> 8),
                        (uint8_t)len};

    dm_buf_add_n(out, head, sizeof(head));
    dm_buf_add_n(out, data, len);
}

static void add_a(struct dm_buf *out, const char *text, uint32_t ttl)
{
    struct in_addr addr;

    assert_int_equal(inet_pton(AF_INET, text, &addr), 1);
    add_record(out, TYPE_A, ttl, &addr, 4);
    out->ptr[7]++;
}

static void add_aaaa(struct dm_buf *out, const char *text, uint32_t ttl)
{
    struct in6_addr addr;

    assert_int_equal(inet_pton(AF_INET6, text, &addr), 1);
    add_record(out, TYPE_AAAA, ttl, &addr, 16);
    out->ptr[7]++;
}

static bool is_name(const struct question *q, const char *name)
{
    return strcmp(q->name, name) == 0;
}

static void add_answers(struct dm_buf *out, const struct question *q, bool is_tcp)
{
    char text[32];

    if (q->type == TYPE_AAAA) {
        if (is_name(q, "two.test"))
            add_aaaa(out, "::1", 30);
        return;
    }
    if (is_name(q, "one.test"))
        add_a(out, "127.0.0.11", 5);
    if (is_name(q, "two.test")) {
        add_a(out, "127.0.0.21", 60);
        add_a(out, "127.0.0.22", 7);
    }
    if (is_name(q, "zero.test"))
        add_a(out, "127.0.0.31", 0);
    if (is_name(q, "long.test"))
        add_a(out, "127.0.0.41", 1000000);
    if (is_name(q, "big.test") && !is_tcp)
        out->ptr[2] |= 2; /* TC */
    for (int i = 0; is_name(q, "big.test") && is_tcp && i < 40; i++) {
        snprintf(text, sizeof(text), "127.0.1.%d", i);
        add_a(out, text, 60);
    }
}

/* Returns false when the server keeps silent. */
static bool answer(const uint8_t *msg, size_t len, bool is_tcp, struct dm_buf *out)
{
    struct question q;

    read_question(msg, len, &q);
    n_asked += q.type == TYPE_A;
    n_asked_tcp += is_tcp && q.type == TYPE_A;
    if (is_name(&q, "silent.test"))
        return false;
    dm_buf_add_n(out, msg, q.end);
    out->ptr[2] = (char)0x84; /* an authoritative answer */
    out->ptr[3] = 0;
    memset(out->ptr + 6, 0, 6);
    if (strncmp(q.name, "missing.", 8) == 0)
        out->ptr[3] = 3;
    else if (is_broken)
        out->ptr[3] = 2;
    else
        add_answers(out, &q, is_tcp);
    return true;
}

static void on_datagram(struct dm_watch *watch, unsigned ready)
{
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    uint8_t msg[512];
    char memory[2048];
    struct dm_buf out;
    ssize_t n;

    while ((n = recvfrom(watch->fd, msg, sizeof(msg), 0, (struct sockaddr *)&from, &from_len)) > 0) {
        dm_buf_init_fixed(&out, memory, sizeof(memory));
        if (answer(msg, (size_t)n, false, &out))
            assert_true(sendto(watch->fd, out.ptr, out.len, 0, (struct sockaddr *)&from, from_len) > 0);
        from_len = sizeof(from);
    }
}

static size_t on_tcp_read(struct dm_stream *stream, const char *ptr, size_t len)
{
    const uint8_t *msg = (const uint8_t *)ptr;
    char memory[4096];
    struct dm_buf out;
    size_t n;

    if (len < 2 || len < (n = 2u + (size_t)(msg[0] << 8 | msg[1])))
        return 0;
    dm_buf_init_fixed(&out, memory, sizeof(memory));
    answer(msg + 2, n - 2, true, &out);
    char head[2] = {(char)(out.len >> 8), (char)out.len};
    /* In one piece: the resolver reads the length first and has to look again for the rest. */
    assert_int_equal(dm_stream_put(stream, head, 2), 0);
    assert_int_equal(dm_stream_put(stream, out.ptr, out.len), 0);
    if (len > n)
        dm_stream_resume(stream);
    return n;
}

static bool tcp_is_open;

static void on_tcp_closed(struct dm_stream *stream)
{
    tcp_is_open = false;
}

static void on_tcp_error(struct dm_stream *stream, int code)
{
    dm_stream_close(stream);
}

static const struct dm_stream_type tcp_type = {
    .on_read = on_tcp_read, .on_eof = dm_stream_close, .on_error = on_tcp_error, .on_closed = on_tcp_closed};

static void on_accept(struct dm_listener *listener, int fd, const struct dm_addr *peer)
{
    assert_false(tcp_is_open);
    tcp_is_open = true;
    assert_int_equal(dm_stream_open(&tcp_stream, loop, &tcp_type, fd), 0);
}

/* UDP and TCP on the same port; returns it. */
static uint16_t start_server(void)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1:0"), &addr, NULL), 0);
    assert_int_equal(dm_listener_open(&tcp, loop, &addr, 8, false, on_accept, NULL), 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&tcp.addr.ss, tcp.addr.len), 0);
    assert_int_equal(dm_watch_add(loop, &udp, fd, on_datagram), 0);
    return dm_addr_port(&tcp.addr);
}

/* The tests' side */

static int setup(void **state)
{
    struct dm_dns_config config = {.timeout_ms = 250, .tries = 1, .entries_max = 8};
    char servers[32];

    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    n_asked = n_asked_tcp = 0;
    is_broken = tcp_is_open = false;
    snprintf(servers, sizeof(servers), "127.0.0.1:%u", (unsigned)start_server());
    config.servers = servers;
    dns = dm_dns_new(loop, &config);
    return 0;
}

static int teardown(void **state)
{
    dm_dns_free(dns);
    dm_watch_close(loop, &udp);
    dm_listener_close(&tcp);
    if (tcp_is_open)
        dm_stream_close(&tcp_stream);
    dm_loop_turn(loop, 0);
    dm_loop_free(loop);
    return 0;
}

static void on_done(struct dm_dns_query *query, int code, const struct dm_dns_answer *result)
{
    struct asker *asker = DM_CONTAINER_OF(query, struct asker, query);
    const struct dm_dns_answer *other;

    asker->n_done++;
    asker->code = code;
    asker->told_in = dm_loop_current(loop);
    assert_true((code == 0) == (result != NULL));
    if (asker->cancels)
        dm_dns_cancel(dns, asker->cancels);
    if (asker->asks_too)
        (void)!dm_dns_lookup(dns, dm_str_of(asker->asks_too), query, &other);
    asker->asks_too = NULL;
    if (result)
        asker->answer = *result;
}

static int lookup(struct asker *asker, const char *name)
{
    const struct dm_dns_answer *result = NULL;
    int rc;

    asker->query.on_done = on_done;
    rc = dm_dns_lookup(dns, dm_str_of(name), &asker->query, &result);
    if (rc == 1)
        asker->answer = *result;
    return rc;
}

/* The resolver's own timeouts are of real time: the loop's clock is pushed along while it waits. */
static void wait_for(struct asker *asker)
{
    while (asker->n_done == 0) {
        assert_true(dm_loop_turn(loop, 20) >= 0);
        if (dm_loop_wait_ms(loop) > 0)
            fake_clock_advance_ms(&fake, 20);
    }
}

static void resolve(struct asker *asker, const char *name)
{
    *asker = (struct asker){0};
    assert_int_equal(lookup(asker, name), 0);
    wait_for(asker);
}

static bool has_addr(const struct dm_dns_answer *result, const char *text)
{
    char got[DM_ADDR_TEXT_MAX];

    for (size_t i = 0; i < result->count; i++) {
        dm_addr_format(&result->addrs[i], false, got);
        if (strcmp(got, text) == 0)
            return true;
    }
    return false;
}

static void numeric_addresses_need_no_server(void **state)
{
    struct asker a = {0};

    assert_int_equal(lookup(&a, "192.0.2.7"), 1);
    assert_true(a.answer.count == 1 && has_addr(&a.answer, "192.0.2.7"));
    assert_int_equal(lookup(&a, "[2001:DB8::1]"), 1);
    assert_true(has_addr(&a.answer, "2001:db8::1"));
    assert_int_equal(a.answer.expires_ns, UINT64_MAX);
    assert_int_equal(lookup(&a, "192.0.2.256"), DM_EINVAL);
    assert_int_equal(lookup(&a, "0x7f.1"), DM_EINVAL);
    assert_int_equal(lookup(&a, "2001:db8::zz"), DM_EINVAL);
    assert_int_equal(lookup(&a, ""), DM_EINVAL);
    assert_int_equal(lookup(&a, "a b"), DM_EINVAL);
    assert_int_equal(lookup(&a, "host:80"), DM_EINVAL);
    assert_int_equal(n_asked, 0);
}

static void addresses_of_both_families(void **state)
{
    struct asker a;

    resolve(&a, "Two.Test.");
    assert_int_equal(a.code, 0);
    assert_int_equal(a.answer.count, 3);
    assert_true(has_addr(&a.answer, "127.0.0.21"));
    assert_true(has_addr(&a.answer, "127.0.0.22"));
    assert_true(has_addr(&a.answer, "::1"));
    assert_int_equal(lookup(&a, "two.test"), 1);
    assert_int_equal(n_asked, 1);
}

static void the_smallest_ttl_counts(void **state)
{
    struct asker a;

    resolve(&a, "two.test");
    uint64_t left_ms = (a.answer.expires_ns - fake.now_ns) / 1000000;
    assert_true(left_ms > 6000 && left_ms <= 7000);
    fake.now_ns = a.answer.expires_ns - 1;
    dm_loop_turn(loop, 0);
    assert_int_equal(lookup(&a, "two.test"), 1);
    fake.now_ns += 1;
    dm_loop_turn(loop, 0);
    resolve(&a, "two.test");
    assert_int_equal(a.code, 0);
    assert_int_equal(n_asked, 2);
}

static void ttls_are_clamped(void **state)
{
    struct asker a;

    resolve(&a, "zero.test");
    assert_true(a.answer.expires_ns - dm_loop_now_ns(loop) <= 1000000000);
    assert_int_equal(lookup(&a, "zero.test"), 1);
    resolve(&a, "long.test");
    assert_true(a.answer.expires_ns - dm_loop_now_ns(loop) <= UINT64_C(300000000000));
}

static void equal_questions_are_asked_once(void **state)
{
    struct asker a[5] = {0};

    for (int i = 0; i < 5; i++)
        assert_int_equal(lookup(&a[i], "one.test"), 0);
    for (int i = 0; i < 5; i++) {
        wait_for(&a[i]);
        assert_true(has_addr(&a[i].answer, "127.0.0.11"));
    }
    assert_int_equal(n_asked, 1);
    assert_int_equal(dm_dns_stats(dns)->shared, 4);
}

/* Others' work comes in between, and each is told in the name of whom it is for; those that go meanwhile hear nothing. */
static void many_that_ask_are_told_a_few_at_a_time(void **state)
{
    struct asker a[40] = {0};
    struct dm_flow flow;
    unsigned n = 0, before;

    dm_flow_init(&flow, DM_FLOW_WEIGHT, NULL);
    for (size_t i = 0; i < DM_COUNT(a); i++) {
        a[i].query.flow = &flow;
        assert_int_equal(lookup(&a[i], "one.test"), 0);
    }
    dm_loop_set_bounds(loop, 256, 1);
    for (int turns = 0; n < DM_COUNT(a) - 1; turns++) {
        assert_true(turns < 100000);
        dm_loop_turn(loop, 10);
        if (dm_loop_wait_ms(loop) > 0)
            fake_clock_advance_ms(&fake, 20);
        before = n;
        n = 0;
        for (size_t i = 0; i < DM_COUNT(a); i++)
            n += a[i].n_done;
        assert_true(n - before <= 8);
        if (before == 0 && n > 0)
            for (size_t i = 0; i < DM_COUNT(a); i++)
                if (a[i].n_done == 0) {
                    dm_dns_cancel(dns, &a[i].query);
                    break;
                }
    }
    for (size_t i = 0; i < DM_COUNT(a); i++)
        if (a[i].n_done > 0)
            assert_ptr_equal(a[i].told_in, &flow);
    dm_loop_set_bounds(loop, 256, 256);
    dm_loop_turn(loop, 0);
    dm_loop_forget(loop, &flow);
}

static void cancelled_queries_hear_nothing(void **state)
{
    struct asker a[4] = {0};

    for (int i = 0; i < 4; i++)
        assert_int_equal(lookup(&a[i], "one.test"), 0);
    dm_dns_cancel(dns, &a[1].query);
    dm_dns_cancel(dns, &a[1].query);
    /* The first to hear cancels the other; which is first is not stated. */
    a[0].cancels = &a[2].query;
    a[2].cancels = &a[0].query;
    wait_for(&a[3]);
    dm_loop_turn(loop, 0);
    assert_int_equal(a[0].n_done + a[2].n_done, 1);
    assert_int_equal(a[1].n_done, 0);
    assert_int_equal(a[3].n_done, 1);
}

static void a_callback_may_ask_again(void **state)
{
    struct asker a = {.asks_too = "two.test"};

    assert_int_equal(lookup(&a, "one.test"), 0);
    wait_for(&a);
    a.n_done = 0;
    wait_for(&a);
    assert_true(has_addr(&a.answer, "127.0.0.21"));
}

static void a_missing_name_is_remembered_shortly(void **state)
{
    struct asker a;

    resolve(&a, "missing.test");
    assert_int_equal(a.code, DM_ENOENT);
    unsigned n = n_asked;
    assert_int_equal(lookup(&a, "missing.test"), DM_ENOENT);
    assert_int_equal(n_asked, n);
    fake_clock_advance_ms(&fake, 2001);
    dm_loop_turn(loop, 0);
    resolve(&a, "missing.test");
    assert_true(n_asked > n);
}

static void a_silent_server_times_out(void **state)
{
    struct asker a;

    resolve(&a, "silent.test");
    assert_int_equal(a.code, DM_ETIMEOUT);
    assert_int_equal(lookup(&a, "silent.test"), DM_ETIMEOUT);
}

static void an_old_answer_stands_in_for_failing_servers(void **state)
{
    struct asker a;

    resolve(&a, "one.test");
    is_broken = true;
    fake_clock_advance_ms(&fake, 6000);
    dm_loop_turn(loop, 0);
    resolve(&a, "one.test");
    assert_int_equal(a.code, 0);
    assert_true(has_addr(&a.answer, "127.0.0.11"));
    assert_int_equal(dm_dns_stats(dns)->stale, 1);
    assert_int_equal(lookup(&a, "one.test"), 1);
    fake_clock_advance_ms(&fake, 70000);
    dm_loop_turn(loop, 0);
    resolve(&a, "one.test");
    assert_true(a.code == DM_EIO || a.code == DM_ETIMEOUT);
    is_broken = false;
    fake_clock_advance_ms(&fake, 2001);
    dm_loop_turn(loop, 0);
    resolve(&a, "one.test");
    assert_int_equal(a.code, 0);
}

static void an_answer_that_does_not_fit_comes_over_tcp(void **state)
{
    struct asker a;

    resolve(&a, "big.test");
    assert_int_equal(a.code, 0);
    assert_int_equal(a.answer.count, DM_DNS_ADDRS_MAX);
    assert_int_equal(n_asked_tcp, 1);
}

static void localhost_needs_no_server(void **state)
{
    struct asker a = {0};

    if (lookup(&a, "localhost") == 0)
        wait_for(&a);
    assert_int_equal(a.code, 0);
    assert_true(has_addr(&a.answer, "127.0.0.1") || has_addr(&a.answer, "::1"));
    assert_int_equal(n_asked, 0);
}

static void the_cache_is_bounded_and_forgets_the_longest_unused(void **state)
{
    struct asker a = {0}, waiting[8] = {0};
    struct dm_addr addr;
    char name[32];

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.9:0"), &addr, NULL), 0);
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        dm_dns_put(dns, dm_str_of(name), &addr, 1, 1000);
    }
    assert_int_equal(lookup(&a, "n0.test"), 1);
    assert_true(has_addr(&a.answer, "127.0.0.9"));
    dm_dns_put(dns, DM_STR("new.test"), &addr, 1, 1000);
    assert_int_equal(lookup(&a, "n0.test"), 1);
    assert_int_equal(lookup(&a, "n1.test"), 0);
    dm_dns_cancel(dns, &a.query);
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "w%d.test", i);
        assert_int_equal(lookup(&waiting[i], name), 0);
    }
    assert_int_equal(lookup(&a, "one-too-many.test"), DM_EBUDGET);
    wait_for(&waiting[6]);
}

static void freeing_with_questions_in_flight(void **state)
{
    struct asker a = {0}, b = {0};

    assert_int_equal(lookup(&a, "one.test"), 0);
    assert_int_equal(lookup(&b, "silent.test"), 0);
    dm_loop_turn(loop, 0);
    dm_dns_free(dns);
    dns = NULL;
    dm_loop_turn(loop, 0);
    assert_int_equal(a.n_done + b.n_done, 0);
    assert_null(b.query.link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(numeric_addresses_need_no_server),
        TEST(addresses_of_both_families),
        TEST(the_smallest_ttl_counts),
        TEST(ttls_are_clamped),
        TEST(equal_questions_are_asked_once),
        TEST(many_that_ask_are_told_a_few_at_a_time),
        TEST(cancelled_queries_hear_nothing),
        TEST(a_callback_may_ask_again),
        TEST(a_missing_name_is_remembered_shortly),
        TEST(a_silent_server_times_out),
        TEST(an_old_answer_stands_in_for_failing_servers),
        TEST(an_answer_that_does_not_fit_comes_over_tcp),
        TEST(localhost_needs_no_server),
        TEST(the_cache_is_bounded_and_forgets_the_longest_unused),
        TEST(freeing_with_questions_in_flight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
