/* Counters in shared pages: several processes at once, buckets against the plain rule, windows and periods over time. */
#include "gateway/limit/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/mem.h"

static char path[] = "/tmp/daemun-limits-XXXXXX";
static uint64_t state;

static uint64_t any(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

static uint64_t key_of(const struct dm_limit_table *table, uint64_t tenant_id, uint64_t limit_id,
                       uint64_t application_id)
{
    return dm_limit_key(dm_limit_scope(table, tenant_id, application_id), limit_id);
}

static int setup(void **unused)
{
    struct dm_limit_table *table = dm_calloc(1, sizeof(*table));
    struct dm_err err = {0};

    snprintf(path, sizeof(path), "/tmp/daemun-limits-XXXXXX");
    assert_int_equal(dm_crypto_init(), 0);
    assert_true(mkstemp(path) >= 0);
    assert_int_equal(dm_limit_table_open(table, path, &err), 0);
    state = 1;
    *unused = table;
    return 0;
}

static int teardown(void **unused)
{
    dm_limit_table_close(*unused);
    dm_free(*unused);
    unlink(path);
    return 0;
}

#define KEYS 16
#define PROCESSES 4
#define TAKES 40000

struct results {
    uint64_t taken[PROCESSES][KEYS], bucket[PROCESSES];
};

/* Every process opens the pages itself, as workers do. The keys' slots are claimed by whoever comes first. */
static void hammer(unsigned process, struct results *ret)
{
    struct dm_limit_table table;
    struct dm_err err = {0};
    uint64_t count, wait;

    if (dm_limit_table_open(&table, path, &err) < 0)
        _exit(1);
    state = process + 7;
    for (int i = 0; i < TAKES; i++) {
        unsigned k = (unsigned)any(KEYS);
        uint64_t amount = 1 + any(3), key = key_of(&table, 1, k, 1);
        if (dm_limit_take(&table, key, 5, 2000, 1000, amount, 1000 * (k + 1), &count))
            ret->taken[process][k] += amount;
        if (any(4) == 0 && ret->taken[process][k] >= 2) {
            dm_limit_give_back(&table, key, 5, 2);
            ret->taken[process][k] -= 2;
        }
        if (dm_limit_take_rate(&table, key_of(&table, 1, 99, 1), 1000 * UINT64_C(1000000000), 1, 1000, 5000 * 1000,
                               &wait))
            ret->bucket[process]++;
    }
    _exit(0);
}

static void test_processes_never_pass_a_limit(void **unused)
{
    struct results *results = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t count, sum, bucket = 0;
    int status;

    for (unsigned i = 0; i < PROCESSES; i++)
        if (fork() == 0)
            hammer(i, results);
    for (unsigned i = 0; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        bucket += results->bucket[i];
    }
    for (unsigned k = 0; k < KEYS; k++) {
        sum = 0;
        for (unsigned i = 0; i < PROCESSES; i++)
            sum += results->taken[i][k];
        assert_true(sum <= 1000 * (k + 1));
        /* quiet: the counter is exact, and takes what is left to the last one */
        assert_true(dm_limit_take(*unused, key_of(*unused, 1, k, 1), 5, 2000, 1000, 0, UINT64_MAX, &count));
        assert_int_equal(count, sum);
    }
    assert_int_equal(bucket, 5000);
    assert_int_equal(dm_limit_table_used(*unused), KEYS + 1);
    munmap(results, sizeof(*results));
}

/* A worker that died between any two steps leaves nothing that another would wait for. */
static void test_seed_is_shared(void **unused)
{
    struct dm_limit_table other;
    struct dm_err err = {0};

    assert_int_equal(dm_limit_table_open(&other, path, &err), 0);
    assert_int_equal(key_of(&other, 1, 2, 3), key_of(*unused, 1, 2, 3));
    assert_true(key_of(&other, 1, 2, 3) != key_of(&other, 1, 2, 4));
    dm_limit_table_close(&other);
}

static void test_windows_go_forward(void **unused)
{
    struct dm_limit_table *t = *unused;
    uint64_t key = key_of(t, 1, 1, 1), count;

    assert_true(dm_limit_take(t, key, 10, 660, 600, 3, 5, &count));
    assert_true(dm_limit_take(t, key, 11, 720, 660, 4, 5, &count));
    assert_int_equal(count, 4);
    /* a worker whose clock is a moment behind does not begin the former window anew */
    assert_false(dm_limit_take(t, key, 10, 660, 659, 2, 5, &count));
    assert_true(dm_limit_take(t, key, 10, 660, 659, 1, 5, &count));
    assert_int_equal(count, 5);
    assert_false(dm_limit_take(t, key, 11, 720, 660, 1, 5, &count));
    /* what it took is given back in no other window */
    dm_limit_give_back(t, key, 10, 1);
    assert_false(dm_limit_take(t, key, 11, 720, 660, 1, 5, &count));
    /* a clock that was set back by more begins anew */
    assert_true(dm_limit_take(t, key, 3, 240, 200, 5, 5, &count));
}

static void test_zero_is_closed_and_never_is_never(void **unused)
{
    struct dm_limit_table *t = *unused;
    uint64_t key = key_of(t, 1, 1, 1), count, year = 365 * 86400;

    assert_false(dm_limit_take(t, key, 1, 100, 50, 1, 0, &count));
    assert_true(dm_limit_take(t, key, 1, UINT64_MAX, 50, 1, 2, &count));
    assert_true(dm_limit_take(t, key, 1, UINT64_MAX, 50 * year, 1, 2, &count));
    assert_false(dm_limit_take(t, key, 1, UINT64_MAX, 60 * year, 1, 2, &count));
}

/* More keys than slots: some are not counted, none is counted for another, and expired ones make room. */
static void test_full_table(void **unused)
{
    struct dm_limit_table *t = *unused;
    uint64_t count, n = DM_LIMIT_SLOTS + DM_LIMIT_SLOTS / 4;

    for (uint64_t i = 0; i < n; i++) {
        assert_true(dm_limit_take(t, key_of(t, 1, i, 1), 7, 5000, 4000, 1, 1, &count));
        assert_true(count <= 1);
    }
    assert_true(t->n_full > 0);
    assert_true(dm_limit_table_used(t) <= DM_LIMIT_SLOTS);
    assert_false(dm_limit_take(t, key_of(t, 1, 0, 1), 7, 5000, 4000, 1, 1, &count));
    t->n_full = 0;
    for (uint64_t i = 0; i < 1000; i++) /* long after: all may be taken over */
        assert_true(dm_limit_take(t, key_of(t, 2, i, 1), 107, 11060, 11000, 1, 1, &count) && count == 1);
    assert_int_equal(t->n_full, 0);
    assert_false(dm_limit_take(t, key_of(t, 2, 0, 1), 107, 11060, 11000, 1, 1, &count));
}

/* The plain rule: a bucket of `burst` that fills by one each interval. */
struct bucket {
    uint64_t level_ns, at_ns; /* level: how much is in it, in ns of refill */
};

static bool plain_take(struct bucket *b, uint64_t now_ns, uint64_t amount, uint64_t interval_ns, uint64_t burst_ns)
{
    b->level_ns = DM_MIN(burst_ns, b->level_ns + (now_ns - b->at_ns));
    b->at_ns = now_ns;
    if (b->level_ns < amount * interval_ns)
        return false;
    b->level_ns -= amount * interval_ns;
    return true;
}

static void test_rate_as_the_plain_bucket(void **unused)
{
    struct dm_limit_table *t = *unused;

    for (uint64_t round = 0; round < 200; round++) {
        uint64_t interval = 1 + any(1000000), burst = interval * (1 + any(50)), now = UINT64_C(1700000000000000000),
                 wait;
        struct bucket plain = {burst, now};
        uint64_t key = key_of(t, 1, round, 1);
        for (int i = 0; i < 300; i++) {
            uint64_t amount = 1 + any(4);
            bool may = plain_take(&plain, now, amount, interval, burst);
            assert_int_equal(dm_limit_take_rate(t, key, now, amount, interval, burst, &wait), may);
            if (!may && wait > 0) { /* one moment before is too early, then it is time */
                assert_false(dm_limit_take_rate(t, key, now + wait - 1, amount, interval, burst, &wait) && wait > 1);
            }
            now += any(3 * interval);
        }
    }
}

static void test_rate_of_any_size(void **unused)
{
    struct dm_limit_table *t = *unused;
    uint64_t wait, day = UINT64_C(86400) * 1000000000, now = UINT64_C(1700000000000000000);

    /* amount * interval would not fit 64 bits */
    assert_false(dm_limit_take_rate(t, key_of(t, 1, 1, 1), now, 300000, day, day, &wait));
    assert_int_equal(wait, 0);
    assert_true(dm_limit_take_rate(t, key_of(t, 1, 2, 1), now, 1, 1, UINT64_C(1) << 62, &wait));
    /* the clock goes back by a day: no longer than the bucket is waited */
    assert_true(dm_limit_take_rate(t, key_of(t, 1, 3, 1), now, 1, 1000000000, 1000000000, &wait));
    assert_false(dm_limit_take_rate(t, key_of(t, 1, 3, 1), now - day, 1, 1000000000, 1000000000, &wait));
    assert_true(wait <= 1000000000);
    /* given back is as not taken */
    dm_limit_give_back_rate(t, key_of(t, 1, 3, 1), 1, 1000000000);
    assert_true(dm_limit_take_rate(t, key_of(t, 1, 3, 1), now, 1, 1000000000, 1000000000, &wait));
}

static void check_period(uint64_t now_s)
{
    struct dm_periods periods = {0};
    time_t now = (time_t)now_s, end;
    struct tm tm, after;

    dm_periods_update(&periods, now_s);
    for (int i = 0; i < DM_PERIOD_ETERNITY; i++) {
        assert_true(periods.windows[i].ends_s > now_s);
        gmtime_r(&now, &tm);
        end = (time_t)periods.windows[i].ends_s;
        gmtime_r(&end, &after);
        assert_int_equal(after.tm_sec, 0);
        assert_true(i < DM_PERIOD_HOUR || after.tm_min == 0);
        assert_true(i < DM_PERIOD_DAY || after.tm_hour == 0);
        assert_true(i != DM_PERIOD_WEEK || (after.tm_wday == 1 && end - now <= 7 * 86400));
        assert_true(i != DM_PERIOD_MONTH || (after.tm_mday == 1 && after.tm_mon == (tm.tm_mon + 1) % 12));
        assert_true(i != DM_PERIOD_YEAR || (after.tm_yday == 0 && after.tm_year == tm.tm_year + 1));
        /* the second before belongs to the same window, the end to the next */
        struct dm_period_window window = periods.windows[i];
        dm_periods_update(&periods, window.ends_s - 1);
        assert_int_equal(periods.windows[i].number, window.number);
        dm_periods_update(&periods, window.ends_s);
        assert_int_equal(periods.windows[i].number, window.number + 1);
        dm_periods_update(&periods, now_s); /* the clock goes back */
        assert_int_equal(periods.windows[i].number, window.number);
    }
    assert_true(periods.windows[DM_PERIOD_ETERNITY].ends_s == UINT64_MAX);
}

static void test_periods_as_libc(void **unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++)
        check_period(any(UINT64_C(4102444800)));
    check_period(951782400);  /* 29 February 2000 */
    check_period(4107542399); /* end of February 2100, which has no 29th */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_processes_never_pass_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seed_is_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_go_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zero_is_closed_and_never_is_never, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate_as_the_plain_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate_of_any_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_periods_as_libc, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
