/* Usage on its way to the controller: summed, spooled, sent once, sent again under the same number. */
#include <fcntl.h>
#include <unistd.h>

#include "keeper_fixture.h"

#include "base/sim.h"
#include "gateway/link/spool.h"

#define MINUTE_NS UINT64_C(60000000000)

struct heard {
    uint64_t batch, delta, application;
    size_t n_items;
    char tenant[64], product[64], metric[64];
};

static struct {
    struct dm_world *world;
    struct dm_sys *process;
    struct dm_loop *loop;
    struct dm_spool spool;
    struct heard heard[64];
    size_t n_heard;
} t;

static void copy(char ret[64], struct dm_str s)
{
    snprintf(ret, 64, "%.*s", DM_STR_ARG(s));
}

static void on_send(void *arg, const struct dm_link_message *message)
{
    struct heard *heard = &t.heard[t.n_heard++];

    assert_true(t.n_heard <= DM_COUNT(t.heard));
    assert_int_equal(message->type, DM_LINK_USAGE);
    heard->batch = message->usage.batch;
    heard->n_items = message->usage.n_items;
    heard->delta = message->usage.items[0].delta;
    heard->application = message->usage.items[0].application;
    copy(heard->tenant, message->usage.tenant);
    copy(heard->product, message->usage.items[0].product);
    copy(heard->metric, message->usage.items[0].metric);
}

static void open_spool(void)
{
    struct dm_err err = {0};

    t.process = dm_world_process(t.world);
    t.loop = dm_loop_new(t.process);
    t.n_heard = 0;
    assert_int_equal(dm_spool_open(&t.spool, t.loop, "/spool", on_send, NULL, &err), 0);
}

static int setup(void **state)
{
    t.world = dm_world_new(1, NULL);
    open_spool();
    return 0;
}

static int teardown(void **state)
{
    dm_spool_close(&t.spool);
    dm_loop_free(t.loop);
    dm_world_free(t.world);
    return 0;
}

/* The keeper is killed: what is in memory goes, the disk stays. */
static void kill_and_open(void)
{
    dm_map_done(&t.spool.sums);
    dm_buf_done(&t.spool.frames);
    dm_vec_done(&t.spool.files);
    dm_loop_free(t.loop);
    dm_world_exit(t.world, t.process);
    open_spool();
}

static void pass(uint64_t ns)
{
    dm_world_advance_ns(t.world, ns);
    while (dm_loop_turn(t.loop, 0) > 0)
        ;
}

static void add(const char *tenant, uint64_t application, uint64_t delta)
{
    dm_spool_add(&t.spool, &(struct dm_spool_count){.tenant = dm_str_of(tenant),
                                                    .product = DM_STR("shop"),
                                                    .metric = DM_STR("hits"),
                                                    .application = application,
                                                    .delta = delta});
}

static void test_sums(void **state)
{
    dm_spool_up(&t.spool);
    add("orders", 3, 5);
    add("orders", 3, 6);
    assert_int_equal(t.n_heard, 0);
    pass(2 * MINUTE_NS);
    assert_int_equal(t.n_heard > 0, 1);
    assert_string_equal(t.heard[0].tenant, "orders");
    assert_string_equal(t.heard[0].product, "shop");
    assert_string_equal(t.heard[0].metric, "hits");
    assert_int_equal(t.heard[0].delta, 11);
    assert_int_equal(t.heard[0].application, 3);
    assert_int_equal(t.heard[0].n_items, 1);
}

static void test_one_batch_in_flight(void **state)
{
    add("b", 1, 1);
    add("a", 1, 1);
    add("a", 2, 1);
    dm_spool_flush(&t.spool);
    assert_int_equal(t.n_heard, 0);
    dm_spool_up(&t.spool);
    assert_int_equal(t.n_heard, 1);
    assert_string_equal(t.heard[0].tenant, "a");
    assert_int_equal(t.heard[0].n_items, 2);
    dm_spool_used(&t.spool, t.heard[0].batch + 1); /* not what is in flight */
    assert_int_equal(t.n_heard, 1);
    dm_spool_used(&t.spool, t.heard[0].batch);
    assert_int_equal(t.n_heard, 2);
    assert_int_equal(t.heard[1].batch, t.heard[0].batch + 1);
    dm_spool_used(&t.spool, t.heard[1].batch);
    assert_int_equal(t.spool.files.count, 0);
    assert_int_equal(t.n_heard, 2);
}

static void test_unanswered_is_sent_again(void **state)
{
    add("orders", 1, 1);
    dm_spool_flush(&t.spool);
    dm_spool_up(&t.spool);
    pass(6000000000);
    assert_int_equal(t.n_heard, 2);
    assert_int_equal(t.heard[1].batch, t.heard[0].batch);
    dm_spool_down(&t.spool);
    pass(MINUTE_NS);
    assert_int_equal(t.n_heard, 2);
    dm_spool_up(&t.spool);
    assert_int_equal(t.heard[2].batch, t.heard[0].batch);
}

static void test_killed_keeper_counts_nothing_twice(void **state)
{
    uint64_t first, second;

    add("orders", 1, 7);
    dm_spool_flush(&t.spool);
    dm_spool_up(&t.spool);
    first = t.heard[0].batch;
    add("orders", 1, 8);
    dm_spool_flush(&t.spool);
    kill_and_open();
    dm_spool_up(&t.spool);
    assert_int_equal(t.heard[0].batch, first);
    assert_int_equal(t.heard[0].delta, 7);
    dm_spool_used(&t.spool, first);
    second = t.heard[1].batch;
    assert_true(second > first);
    assert_int_equal(t.heard[1].delta, 8);
    dm_spool_used(&t.spool, second);
    kill_and_open();
    add("orders", 1, 9);
    dm_spool_flush(&t.spool);
    dm_spool_up(&t.spool);
    assert_true(t.heard[0].batch > second);
    assert_int_equal(t.heard[0].delta, 9);
}

static void test_away_means_fewer_files(void **state)
{
    for (int i = 0; i < 60; i++) {
        add("orders", 1, 1);
        pass(1000000000);
    }
    assert_true(t.spool.files.count >= 1);
    assert_true(t.spool.files.count <= 3);
}

static void test_bounded(void **state)
{
    t.spool.max_files = 3;
    for (uint64_t i = 1; i <= 5; i++) {
        add("orders", 1, i);
        dm_spool_flush(&t.spool);
    }
    assert_int_equal(t.spool.files.count, 3);
    assert_int_equal(t.spool.n_dropped, 2);
    dm_spool_up(&t.spool);
    assert_int_equal(t.heard[0].delta, 3);
}

static void test_bounded_over_restarts(void **state)
{
    uint64_t bytes;

    add("orders", 1, 1);
    dm_spool_flush(&t.spool);
    add("orders", 1, 2);
    dm_spool_flush(&t.spool);
    bytes = t.spool.spooled_bytes;
    assert_true(bytes > 0);
    kill_and_open();
    assert_int_equal(t.spool.spooled_bytes, bytes);
    t.spool.max_bytes = bytes;
    add("orders", 1, 3);
    dm_spool_flush(&t.spool);
    assert_int_equal(t.spool.files.count, 2);
    assert_int_equal(t.spool.spooled_bytes, bytes);
}

/* The controller knows the highest number of this gateway, whatever became of its disk. */
static void test_a_lost_disk_gives_no_number_twice(void **state)
{
    uint64_t last;

    dm_spool_up(&t.spool);
    for (uint64_t i = 0; i < 3; i++) {
        add("orders", 1, 1);
        dm_spool_flush(&t.spool);
        dm_spool_used(&t.spool, t.heard[i].batch);
    }
    last = t.heard[2].batch;
    assert_int_equal(t.process->ops->unlink(t.process, "/spool/next"), 0);
    dm_world_advance_ns(t.world, MINUTE_NS);
    kill_and_open();
    dm_spool_up(&t.spool);
    add("orders", 1, 7);
    dm_spool_flush(&t.spool);
    assert_true(t.heard[0].batch > last);
}

static void test_damaged_file_is_passed_over(void **state)
{
    char path[640];
    struct dm_err err = {0};

    dm_log_init("test", "test", STDERR_FILENO, false, DM_LOG_ERROR + 1);
    add("orders", 1, 1);
    dm_spool_flush(&t.spool);
    add("orders", 1, 2);
    dm_spool_flush(&t.spool);
    snprintf(path, sizeof(path), "/spool/%016llx-%016llx", (unsigned long long)t.spool.files.items[0].first,
             (unsigned long long)t.spool.files.items[0].last);
    assert_int_equal(dm_sys_write_file(t.process, path, DM_STR("not a frame"), 0600, false, &err), 0);
    dm_spool_up(&t.spool);
    assert_int_equal(t.n_heard, 1);
    assert_int_equal(t.heard[0].delta, 2);
    assert_int_equal(t.spool.n_dropped, 1);
}

static void test_full_disk_is_told(void **state)
{
    struct dm_sim_faults faults = {.disk_error = 1000000};

    dm_log_init("test", "test", STDERR_FILENO, false, DM_LOG_ERROR + 1);
    dm_world_set_faults(t.world, &faults);
    add("orders", 1, 1);
    dm_spool_flush(&t.spool);
    assert_int_equal(t.spool.n_dropped, 1);
    faults.disk_error = 0;
    dm_world_set_faults(t.world, &faults);
    add("orders", 1, 4);
    dm_spool_flush(&t.spool);
    dm_spool_up(&t.spool);
    assert_int_equal(t.heard[0].delta, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sums),
        TEST(test_one_batch_in_flight),
        TEST(test_unanswered_is_sent_again),
        TEST(test_killed_keeper_counts_nothing_twice),
        TEST(test_away_means_fewer_files),
        TEST(test_bounded),
        TEST(test_bounded_over_restarts),
        TEST(test_a_lost_disk_gives_no_number_twice),
        TEST(test_damaged_file_is_passed_over),
        TEST(test_full_disk_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
