#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/pool.h"

struct sum {
    struct dm_job job;
    unsigned n, result;
    unsigned *n_done;
    unsigned resubmit;
    pthread_barrier_t *barrier;
    pthread_t thread;
};

static struct dm_loop *loop;
static struct dm_pool *pool;
static pthread_t main_thread;

static int setup(void **state)
{
    loop = dm_loop_new(dm_sys_real());
    main_thread = pthread_self();
    return 0;
}

static int teardown(void **state)
{
    dm_pool_free(pool);
    pool = NULL;
    dm_loop_free(loop);
    return 0;
}

static void run_sum(struct dm_job *job)
{
    struct sum *sum = DM_CONTAINER_OF(job, struct sum, job);

    sum->result = 0;
    for (unsigned i = 1; i <= sum->n; i++)
        sum->result += i;
    sum->thread = pthread_self();
    if (sum->barrier)
        pthread_barrier_wait(sum->barrier);
}

static void done_sum(struct dm_job *job)
{
    struct sum *sum = DM_CONTAINER_OF(job, struct sum, job);

    assert_true(pthread_equal(pthread_self(), main_thread));
    assert_false(pthread_equal(sum->thread, main_thread));
    assert_int_equal(sum->result, sum->n * (sum->n + 1) / 2);
    ++*sum->n_done;
    if (sum->resubmit > 0) {
        sum->resubmit--;
        assert_int_equal(dm_pool_submit(pool, job), 0);
    }
}

static void jobs_run_elsewhere_and_are_done_here(void **state)
{
    enum { N = 500 };
    struct sum *sums = dm_calloc(N, sizeof(*sums));
    unsigned n_done = 0;

    pool = dm_pool_new(loop, 4, N);
    for (unsigned i = 0; i < N; i++) {
        sums[i] = (struct sum){.job = {run_sum, done_sum, NULL}, .n = i, .n_done = &n_done, .resubmit = 3};
        assert_int_equal(dm_pool_submit(pool, &sums[i].job), 0);
    }
    while (n_done < 4 * N)
        assert_true(dm_loop_turn(loop, 20000) >= 0);
    assert_int_equal(dm_pool_in_flight(pool), 0);
    dm_free(sums);
}

static void the_queue_is_bounded(void **state)
{
    struct sum sums[4] = {0};
    unsigned n_done = 0;
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, 2);
    pool = dm_pool_new(loop, 1, 2);
    for (int i = 0; i < 4; i++)
        sums[i] = (struct sum){.job = {run_sum, done_sum, NULL}, .n = 10, .n_done = &n_done, .barrier = &barrier};
    assert_int_equal(dm_pool_submit(pool, &sums[0].job), 0);
    /* The thread holds the first once it stands at the barrier; until then one place less may be free. */
    pthread_barrier_wait(&barrier);
    while (n_done < 1)
        assert_true(dm_loop_turn(loop, 20000) >= 0);
    sums[0].job.next = NULL;
    assert_int_equal(dm_pool_submit(pool, &sums[0].job), 0);
    int rc = 0, n_accepted = 0;
    for (int i = 1; i < 4 && rc == 0; i++)
        n_accepted += (rc = dm_pool_submit(pool, &sums[i].job)) == 0;
    assert_int_equal(rc, DM_EBUDGET);
    assert_true(n_accepted == 1 || n_accepted == 2);
    assert_int_equal(dm_pool_in_flight(pool), 1 + n_accepted);
    for (int i = 0; i < 1 + n_accepted; i++)
        pthread_barrier_wait(&barrier);
    while (n_done < 2u + (unsigned)n_accepted)
        assert_true(dm_loop_turn(loop, 20000) >= 0);
    pthread_barrier_destroy(&barrier);
}

static void done_refused(struct dm_job *job)
{
    struct sum *sum = DM_CONTAINER_OF(job, struct sum, job);

    ++*sum->n_done;
    assert_int_equal(dm_pool_submit(pool, job), DM_ECLOSED);
}

static void ending_runs_everything_first(void **state)
{
    struct sum sums[50];
    unsigned n_done = 0;

    pool = dm_pool_new(loop, 2, 50);
    for (int i = 0; i < 50; i++) {
        sums[i] = (struct sum){.job = {run_sum, done_refused, NULL}, .n = 1000, .n_done = &n_done};
        assert_int_equal(dm_pool_submit(pool, &sums[i].job), 0);
    }
    dm_pool_free(pool);
    pool = NULL;
    assert_int_equal(n_done, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(sums[i].result, 500500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(jobs_run_elsewhere_and_are_done_here),
        TEST(the_queue_is_bounded),
        TEST(ending_runs_everything_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
