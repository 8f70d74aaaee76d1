#include "testing.h"

#include "base/buf.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/log_int.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

/* A log on a pipe: the test holds the reading end and what it has read so far. */
static struct {
    int read_fd, write_fd;
    struct dm_buf text;
} out;

static int open_log(void **state)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    out.read_fd = fds[0];
    out.write_fd = fds[1];
    fcntl(out.read_fd, F_SETFL, O_NONBLOCK);
    dm_buf_init(&out.text, 64 << 20);
    dm_log_init("daemun-test", "worker-0", out.write_fd, true, DM_LOG_INFO);
    return 0;
}

/* A child's log starts empty, and so does the next test's. */
static int close_log(void **state)
{
    close(out.read_fd);
    dm_log_drain(0);
    close(out.write_fd);
    dm_buf_done(&out.text);
    return 0;
}

static void read_out(void)
{
    char bytes[4096];
    ssize_t n;

    while ((n = read(out.read_fd, bytes, sizeof(bytes))) > 0)
        dm_buf_add_n(&out.text, bytes, (size_t)n);
}

static void read_all(void)
{
    do {
        dm_log_flush();
        read_out();
    } while (dm_log_pending());
    read_out();
}

static struct dm_json *parse_line(struct dm_str line)
{
    static const struct dm_json_limits limits = {.max_bytes = 1 << 16, .max_depth = 2};
    struct dm_err err = {0};
    struct dm_json *root = NULL;

    if (dm_json_parse(line, &limits, &root, &err) < 0)
        fail_msg("%s: %.*s", err.message, DM_STR_ARG(line));
    return root;
}

static struct dm_json *next_line(struct dm_str *rest)
{
    struct dm_str line;

    assert_true(dm_str_cut(rest, '\n', &line));
    return parse_line(line);
}

static void assert_member(const struct dm_json *line, const char *name, const char *value)
{
    assert_non_null(dm_json_get(line, name));
    assert_true(dm_str_eq(dm_json_string(dm_json_get(line, name)), dm_str_of(value)));
}

static void writes_one_object_a_line(void **state)
{
    struct dm_log_member members[] = {{"tenant", DM_STR("orders")}, {"odd", DM_STR("a\"\n\xff")}};
    DM_CLEANUP(dm_json_freep) struct dm_json *first = NULL, *second = NULL;
    struct dm_str rest;

    dm_log(DM_LOG_DEBUG, "unseen", "below the level");
    dm_log(DM_LOG_INFO, "started", "listening on %d", 8080);
    dm_log_members(DM_LOG_WARN, "refused", members, DM_COUNT(members), "a \"quoted\" word");
    assert_true(dm_log_pending());
    read_all();
    rest = dm_buf_str(&out.text);
    first = next_line(&rest);
    assert_member(first, "level", "info");
    assert_member(first, "program", "daemun-test");
    assert_member(first, "role", "worker-0");
    assert_member(first, "event", "started");
    assert_member(first, "message", "listening on 8080");
    assert_int_equal(dm_json_int(dm_json_get(first, "pid")), getpid());
    assert_int_equal(dm_json_string(dm_json_get(first, "time")).len, strlen("2026-11-22T20:40:20.123Z"));
    second = next_line(&rest);
    assert_member(second, "tenant", "orders");
    assert_member(second, "odd", "a\"\n\xef\xbf\xbd");
    assert_str(rest, "");
}

static void changes_its_level(void **state)
{
    dm_log_set_level(DM_LOG_DEBUG);
    dm_log(DM_LOG_DEBUG, "seen", "x");
    assert_true(dm_log_pending());
    read_all();
    dm_log_set_level(DM_LOG_ERROR);
    dm_log(DM_LOG_WARN, "unseen", "x");
    assert_false(dm_log_pending());
}

static void offers_errors_at_once(void **state)
{
    dm_log(DM_LOG_ERROR, "broken", "x");
    assert_false(dm_log_pending());
    read_out();
    assert_true(dm_str_ends(dm_buf_str(&out.text), DM_STR("\n")));
}

static void writes_text_for_people(void **state)
{
    struct dm_log_member member = {"tenant", DM_STR("a\x1b[2Jb\n")};
    struct dm_str text;

    dm_log_set_text(true);
    dm_log_members(DM_LOG_INFO, "started", &member, 1, "ready\r\n%s", "\xc2\x9b");
    read_all();
    text = dm_buf_str(&out.text);
    assert_true(
        dm_str_ends(text, DM_STR("Z info  worker-0: ready\\x0d\\x0a\\xc2\\x9b tenant=a\\x1b[2Jb\\x0a [started]\n")));
}

static void cuts_lines_that_are_too_long(void **state)
{
    DM_CLEANUP(dm_freep) char *text = dm_alloc(100000);
    DM_CLEANUP(dm_json_freep) struct dm_json *line = NULL;
    struct dm_log_member member = {"huge", dm_str_n(text, 100000)};
    struct dm_str rest;

    memset(text, 1, 99999); /* each byte takes six in JSON */
    text[99999] = '\0';
    dm_log_members(DM_LOG_INFO, "long", &member, 1, "%s", text);
    read_all();
    rest = dm_buf_str(&out.text);
    line = next_line(&rest);
    assert_null(dm_json_get(line, "huge"));
    assert_true(dm_json_string(dm_json_get(line, "message")).len > 2000);
}

/* Nobody reads: the log must neither wait nor grow, and say afterwards how much is missing. */
static void drops_and_counts_when_full(void **state)
{
    struct dm_str rest, line;
    uint64_t seen = 0, said = 0;
    int i;

    for (i = 0; i < 5000; i++) {
        dm_log(DM_LOG_INFO, "flood", "line %d with a text that takes some room", i);
        dm_log_flush();
    }
    assert_true(dm_log_dropped() > 0);
    assert_true(dm_log_pending());
    read_all();
    dm_log(DM_LOG_INFO, "last", "room again");
    read_all();
    rest = dm_buf_str(&out.text);
    while (dm_str_cut(&rest, '\n', &line) && line.len > 0) {
        DM_CLEANUP(dm_json_freep) struct dm_json *object = parse_line(line);

        if (dm_str_eq(dm_json_string(dm_json_get(object, "event")), DM_STR("log_dropped")))
            said += strtoull(dm_json_string(dm_json_get(object, "message")).ptr, NULL, 10);
        else
            seen++;
    }
    assert_true(said == dm_log_dropped());
    assert_true(seen + said == 5001);
}

static void does_not_wait_for_a_blocking_descriptor(void **state)
{
    int i;

    fcntl(out.write_fd, F_SETFL, 0);
    dm_log_init("daemun-test", "worker-0", out.write_fd, false, DM_LOG_INFO);
    assert_false(fcntl(out.write_fd, F_GETFL) & O_NONBLOCK);
    for (i = 0; i < 3000; i++)
        dm_log(DM_LOG_ERROR, "flood", "line %d with a text that takes some room", i);
    assert_true(dm_log_pending());
    dm_log_drain(1);
    assert_true(dm_log_pending());
    read_all();
    assert_false(dm_log_pending());
}

static void gives_up_on_a_reader_that_is_gone(void **state)
{
    uint64_t dropped = dm_log_dropped();
    int i;

    dm_log(DM_LOG_INFO, "read", "says what earlier tests lost");
    read_all();
    for (i = 0; i < 10; i++)
        dm_log(DM_LOG_INFO, "unread", "x");
    close(out.read_fd);
    dm_log_flush();
    assert_false(dm_log_pending());
    assert_true(dm_log_dropped() == dropped + 10);
}

/* The rest of a half-written line is lost with its reader; the next line must not be glued to its beginning. */
static void starts_a_new_line_after_a_discarded_one(void **state)
{
    char filler[4096];
    int fds[2];

    memset(filler, '.', sizeof(filler));
    while (write(out.write_fd, filler, sizeof(filler)) > 0)
        continue;
    assert_int_equal(read(out.read_fd, filler, sizeof(filler)), sizeof(filler));
    dm_log(DM_LOG_INFO, "long", "%02000d", 1);
    dm_log(DM_LOG_INFO, "long", "%02000d", 2);
    dm_log(DM_LOG_INFO, "long", "%02000d", 3);
    dm_log_flush();
    assert_true(dm_log_pending());
    close(out.read_fd);
    dm_log_flush();
    assert_false(dm_log_pending());
    assert_int_equal(pipe(fds), 0);
    out.read_fd = fds[0];
    fcntl(out.read_fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(dup2(fds[1], out.write_fd), out.write_fd);
    close(fds[1]);
    dm_log(DM_LOG_INFO, "again", "x");
    read_all();
    assert_int_equal(out.text.ptr[0], '\n');
}

static void leaves_the_parent_its_lines(void **state)
{
    struct dm_str rest;
    int status;
    pid_t pid;

    dm_log(DM_LOG_INFO, "parent", "x");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dm_log_init("daemun-test", "worker-1", out.write_fd, true, DM_LOG_INFO);
        dm_log(DM_LOG_INFO, "child", "x");
        dm_log_drain(1000);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_all();
    rest = dm_buf_str(&out.text);
    for (status = 0; status < 2; status++) {
        DM_CLEANUP(dm_json_freep) struct dm_json *line = next_line(&rest);

        assert_member(line, "event", status == 0 ? "child" : "parent");
        assert_int_equal(dm_json_int(dm_json_get(line, "pid")), status == 0 ? pid : getpid());
    }
    assert_str(rest, "");
}

static void *log_from_thread(void *arg)
{
    int i;

    for (i = 0; i < 200; i++)
        dm_log(DM_LOG_INFO, "thread", "line %d", i);
    return NULL;
}

static void takes_lines_from_many_threads(void **state)
{
    pthread_t threads[4];
    struct dm_str rest, line;
    size_t i, n = 0;

    for (i = 0; i < DM_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_from_thread, NULL), 0);
    for (i = 0; i < DM_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    read_all();
    rest = dm_buf_str(&out.text);
    while (dm_str_cut(&rest, '\n', &line) && line.len > 0) {
        dm_json_free(parse_line(line));
        n++;
    }
    assert_int_equal(n, 800);
}

static void allocates_nothing(void **state)
{
    uint64_t calls = dm_mem_calls();

    dm_log(DM_LOG_INFO, "event", "%1000d", 1);
    dm_log_flush();
    assert_true(dm_mem_calls() == calls);
}

static void writes_times(void **state)
{
    static const struct {
        struct timespec wall;
        const char *text;
    } cases[] = {{{0, 0}, "1970-01-01T00:00:00.000Z"},         {{0, 999999999}, "1970-01-01T00:00:00.999Z"},
                 {{1, 1000000}, "1970-01-01T00:00:01.001Z"},   {{951782399, 0}, "2000-02-28T23:59:59.000Z"},
                 {{951782400, 0}, "2000-02-29T00:00:00.000Z"}, {{951782400, 5e6}, "2000-02-29T00:00:00.005Z"},
                 {{0, 0}, "1970-01-01T00:00:00.000Z"}};
    struct dm_log_clock clock = {0};
    char text[DM_LOG_TIME_MAX];
    size_t i;

    for (i = 0; i < DM_COUNT(cases); i++) {
        dm_log_clock_text(&clock, &cases[i].wall, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* Against a plain queue of bytes. */
static void keeps_the_order_of_bytes(void **state)
{
    static struct dm_log_ring ring;
    struct test_random random = test_random_new();
    static char piece[60000];
    uint8_t next_in = 0, next_out = 0;
    int round;
    size_t i;

    for (round = 0; round < 300; round++) {
        size_t n = test_random_below(&random, sizeof(piece)), len = ring.len;
        struct dm_str front;

        for (i = 0; i < n; i++)
            piece[i] = (char)(next_in + i);
        if (dm_log_ring_put(&ring, dm_str_n(piece, n)))
            next_in = (uint8_t)(next_in + n);
        else
            assert_true(len + n > DM_LOG_RING_BYTES && ring.len == len);
        front = dm_log_ring_front(&ring);
        n = test_random_below(&random, front.len + 1);
        for (i = 0; i < n; i++)
            if ((uint8_t)front.ptr[i] != next_out++)
                fail_msg("out of order");
        dm_log_ring_take(&ring, n);
    }
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, open_log, close_log)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(writes_one_object_a_line),
        LOG_TEST(changes_its_level),
        LOG_TEST(offers_errors_at_once),
        LOG_TEST(writes_text_for_people),
        LOG_TEST(cuts_lines_that_are_too_long),
        LOG_TEST(drops_and_counts_when_full),
        LOG_TEST(does_not_wait_for_a_blocking_descriptor),
        LOG_TEST(gives_up_on_a_reader_that_is_gone),
        LOG_TEST(starts_a_new_line_after_a_discarded_one),
        LOG_TEST(leaves_the_parent_its_lines),
        LOG_TEST(takes_lines_from_many_threads),
        LOG_TEST(allocates_nothing),
        cmocka_unit_test(writes_times),
        cmocka_unit_test(keeps_the_order_of_bytes),
    };

    if (dm_crypto_init() < 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
