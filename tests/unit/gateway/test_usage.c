/* What applications used, as it is told to the keeper, and the access log's lines. */
#include "rig/stage.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static uint64_t take(struct stage *s, const char *metric)
{
    const struct dm_usage_cell *cell;
    uint64_t delta, sum = 0;

    while (dm_usage_table_take(&s->rig.worker.usage, &cell, &delta)) {
        assert_string_equal(cell->tenant, "orders");
        assert_string_equal(cell->product, "orders");
        assert_int_equal(cell->key[1], 1);
        if (strcmp(cell->metric, metric) == 0)
            sum += delta;
    }
    return sum;
}

static void test_methods_count_for_their_parent(void **state)
{
    static const struct stage_release r = {
        .metrics = "{\"name\":\"list\",\"parent\":\"hits\"},{\"name\":\"bytes\"}",
        .rules = "{\"method\":\"GET\",\"pattern\":\"/list\",\"metric\":\"list\",\"delta\":3},"
                 "{\"method\":\"GET\",\"pattern\":\"/\",\"metric\":\"hits\"},"
                 "{\"method\":\"GET\",\"pattern\":\"/\",\"metric\":\"bytes\",\"delta\":10}"};
    struct stage *s = *state;

    stage_apply(s, &r);
    for (int i = 0; i < 2; i++)
        stage_try(s, STAGE_GET("/list", STAGE_KEY), "hello");
    assert_int_equal(take(s, "hits"), 8);
    stage_try(s, STAGE_GET("/list", STAGE_KEY), "hello");
    assert_int_equal(take(s, "list"), 3);
    stage_try(s, STAGE_GET("/", STAGE_KEY), "hello");
    assert_int_equal(take(s, "bytes"), 10);
    stage_try(s, STAGE_GET("/", "X-Api-Key: bad\r\n"), "auth_invalid");
    assert_int_equal(take(s, "hits"), 0);
}

/* Against plain sums, over many cells and reports. */
static void test_table_as_plain_sums(void **unused)
{
    struct dm_usage_names names = {DM_STR("t"), DM_STR("p"), DM_STR("m")};
    const struct dm_usage_cell *cell;
    struct dm_usage_table table;
    static uint64_t added[3000], taken[3000];
    uint64_t x = 1, delta;

    (void)unused;
    dm_usage_table_init(&table, 42);
    for (int i = 0; i < 100000; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t key[4] = {1, 2, 3, (x >> 33) % 3000};
        dm_usage_table_add(&table, key, &names, 1 + i % 3);
        added[key[3]] += 1 + (uint64_t)i % 3;
        if (x >> 60 == 0 && dm_usage_table_take(&table, &cell, &delta))
            taken[cell->key[3]] += delta;
    }
    while (dm_usage_table_take(&table, &cell, &delta))
        taken[cell->key[3]] += delta;
    assert_memory_equal(added, taken, sizeof(added));
    dm_usage_table_done(&table);
}

/* --- access log --------------------------------------------------------------------------------------------------- */

static struct dm_str read_log(struct stage *s, int fd, char *ret, size_t size)
{
    ssize_t n;

    rig_settle(&s->rig);
    dm_access_log_flush(&s->rig.worker.log);
    n = read(fd, ret, size - 1);
    assert_true(n > 0);
    ret[n] = '\0';
    return dm_str_n(ret, (size_t)n);
}

static int open_log(struct stage *s)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    s->rig.options.access_log = true;
    dm_access_log_set_fd(&s->rig.worker.log, fds[1]);
    return fds[0];
}

static void test_lines(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    int fd = open_log(s);
    struct dm_str log;
    char text[16384];

    stage_apply(s, &usual);
    s->rig.worker.wall_offset_ns = 1700000000 * UINT64_C(1000000000) - dm_loop_now_ns(s->rig.worker.loop);
    stage_try(s, STAGE_GET("/a?user_key=good&x=secret", ""), "hello");
    stage_try(s, STAGE_GET("/b", "X-Api-Key: hidden\r\n"), "auth_invalid");
    stage_try(s, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "duplicate_host");
    stage_try(s, "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY "Transfer-Encoding: chunked\r\n\r\nxx\r\n",
              "bad_chunk_size");
    log = read_log(s, fd, text, sizeof(text));
    assert_int_equal(rig_count(log, "\n"), 4);
    assert_int_equal(rig_count(log, "{\"time\":\"2023-11-14T22:13:2"), 4);
    assert_int_equal(rig_count(log, "\"client\":\"127.0.0.1\""), 4);
    assert_int_equal(
        rig_count(
            log,
            "\"tenant\":\"orders\",\"product\":\"orders\",\"version\":\"v1\",\"application\":\"app\",\"backend\":\"b\""),
        2);
    assert_int_equal(rig_count(log, "\"path\":\"/a\",\"status\":200,\"bytes_in\":"), 1);
    assert_int_equal(rig_count(log, "\"status\":403,\"reason\":\"auth_invalid\""), 1);
    assert_int_equal(rig_count(log, "\"status\":400,\"reason\":\"bad_request\",\"fault\":\"duplicate_host\""), 1);
    assert_int_equal(rig_count(log, "\"status\":400,\"reason\":\"bad_request\",\"fault\":\"bad_chunk_size\""), 1);
    assert_int_equal(rig_count(log, "good") + rig_count(log, "secret") + rig_count(log, "hidden"), 0);
    close(fd);
}

/* The id that the client was told is in the log, also when there was no request. */
static void test_ids_lead_to_lines(void **state)
{
    static const char *const requests[] = {"GET / HTTP/1.1\r\n\r\n", STAGE_GET("/", ""),
                                           "POST / HTTP/1.1\r\nHost: orders.test\r\n" STAGE_KEY
                                           "Transfer-Encoding: chunked\r\n\r\nxx\r\n"};
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    int fd = open_log(s);
    char text[16384], id[DM_REQUEST_ID_LEN + 1];

    stage_apply(s, &usual);
    for (size_t i = 0; i < DM_COUNT(requests); i++) {
        struct rig_socket *c = stage_ask(s, requests[i], "\"request_id\"");
        const char *at = memmem(c->received.ptr, c->received.len, "X-Request-Id: ", 14);
        assert_non_null(at);
        memcpy(id, at + 14, DM_REQUEST_ID_LEN);
        id[DM_REQUEST_ID_LEN] = '\0';
        rig_close(&s->rig, c);
        assert_int_equal(rig_count(read_log(s, fd, text, sizeof(text)), id), 1);
    }
    close(fd);
}

/* Nobody reads: lines are dropped and counted, no half line goes into the next pipe. */
static void test_pipe_that_is_full(void **state)
{
    static const struct stage_release usual = {0};
    struct stage *s = *state;
    int fd = open_log(s), next;
    struct dm_str log;
    char text[1u << 16];

    signal(SIGPIPE, SIG_IGN);
    stage_apply(s, &usual);
    for (int i = 0; i < 3000 && s->rig.worker.log.n_dropped == 0; i++)
        stage_try(s, STAGE_GET("/", ""), "auth_missing");
    assert_true(s->rig.worker.log.n_dropped > 0);
    close(fd);
    dm_access_log_flush(&s->rig.worker.log);
    assert_int_equal(s->rig.worker.log.fd, -1);
    next = open_log(s);
    log = read_log(s, next, text, sizeof(text));
    assert_true(dm_str_starts(log, DM_STR("{\"time\":")));
    close(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_methods_count_for_their_parent, stage_setup, stage_teardown),
        cmocka_unit_test(test_table_as_plain_sums),
        cmocka_unit_test_setup_teardown(test_lines, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_ids_lead_to_lines, stage_setup, stage_teardown),
        cmocka_unit_test_setup_teardown(test_pipe_that_is_full, stage_setup, stage_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
