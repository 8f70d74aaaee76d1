/* Whose turn a check is: cells of rows, leases of several processes at once, workers that die, clocks that begin anew. */
#include "gateway/upstream/health_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define AHEAD (60 * S)
#define NOW (1000 * S)

static const struct dm_health_settings settings = {3, 2};
static char path[64];
static struct dm_health_table table;

static int setup(void **unused)
{
    int fd;

    memcpy(path, "/tmp/daemun-health-XXXXXX", 26);
    fd = mkstemp(path);
    close(fd);
    return dm_health_table_open(&table, path, NULL);
}

static int teardown(void **unused)
{
    dm_health_table_close(&table);
    return unlink(path);
}

static void test_a_key_has_one_cell(void **unused)
{
    struct dm_health_cell *one = dm_health_table_find(&table, 5, 77, NOW, NOW + S),
                          *other = dm_health_table_find(&table, 5, 77 + DM_HEALTH_ENDPOINTS_MAX, NOW, NOW + S);

    assert_ptr_equal(dm_health_table_find(&table, 5, 77, NOW + S, NOW + 9 * S), one);
    assert_ptr_not_equal(one, other);
    assert_ptr_not_equal(dm_health_table_find(&table, 6, 77, NOW, NOW + S), one);
    assert_int_equal(dm_health_cell_due_ns(one, NOW, AHEAD), NOW + S);
    assert_false(dm_health_cell_read(one).is_known);
}

/* A2: a full row is its tenant's own trouble, and its cells are had again when nobody asks for them. */
static void test_a_row_that_is_full(void **unused)
{
    struct dm_health_cell *cell;
    struct dm_health health;
    uint64_t later = NOW + 2 * S + DM_HEALTH_KEEP_NS;

    for (uint64_t key = 1; key <= DM_HEALTH_ENDPOINTS_MAX; key++) {
        cell = dm_health_table_find(&table, 1, key, NOW, NOW);
        assert_non_null(cell);
        assert_true(dm_health_cell_lease(cell, NOW, AHEAD, NOW + S));
        assert_int_equal(dm_health_cell_note(cell, NOW + S, &settings, false, &health), 1);
        dm_health_cell_end(cell, NOW + S, NOW + 2 * S);
    }
    assert_null(dm_health_table_find(&table, 1, 1000, NOW + S, NOW + S));
    assert_non_null(dm_health_table_find(&table, 2, 1000, NOW + S, NOW + S));
    assert_null(dm_health_table_find(&table, 1, 1000, later, later));
    cell = dm_health_table_find(&table, 1, 1000, later + 1, later + S);
    assert_non_null(cell);
    assert_false(dm_health_cell_read(cell).is_known); /* nothing is left of the former one */
    assert_int_equal(dm_health_cell_due_ns(cell, later, AHEAD), later + S);
}

/* Nobody asked for so long that nothing is known any more. */
static void test_what_was_said_long_ago(void **unused)
{
    struct dm_health_cell *cell = dm_health_table_find(&table, 0, 1, NOW, NOW);
    struct dm_health health;

    assert_true(dm_health_cell_lease(cell, NOW, AHEAD, NOW + S));
    assert_int_equal(dm_health_cell_note(cell, NOW + S, &settings, false, &health), 1);
    dm_health_cell_end(cell, NOW + S, NOW + 2 * S);
    assert_ptr_equal(dm_health_table_find(&table, 0, 1, NOW + 2 * S + DM_HEALTH_KEEP_NS, NOW), cell);
    assert_true(dm_health_cell_read(cell).is_unwell);
    assert_ptr_equal(dm_health_table_find(&table, 0, 1, NOW + 3 * S + DM_HEALTH_KEEP_NS, NOW + 900 * S), cell);
    assert_false(dm_health_cell_read(cell).is_known);
    assert_int_equal(dm_health_cell_due_ns(cell, NOW + 899 * S, AHEAD), NOW + 900 * S);
}

static void test_one_lease_at_a_time(void **unused)
{
    struct dm_health_cell *cell = dm_health_table_find(&table, 0, 1, NOW, NOW + S);
    struct dm_health health;

    assert_false(dm_health_cell_lease(cell, NOW + S - 1, AHEAD, NOW + 3 * S));
    assert_true(dm_health_cell_lease(cell, NOW + S, AHEAD, NOW + 3 * S));
    assert_false(dm_health_cell_lease(cell, NOW + 3 * S - 1, AHEAD, NOW + 9 * S));
    assert_true(dm_health_cell_lease(cell, NOW + 3 * S, AHEAD, NOW + 5 * S)); /* who had it is dead (A1) */
    assert_int_equal(dm_health_cell_note(cell, NOW + 3 * S, &settings, false, &health), DM_EAGAIN); /* or only late */
    dm_health_cell_end(cell, NOW + 3 * S, NOW + 9 * S);
    assert_false(dm_health_cell_read(cell).is_known);
    assert_int_equal(dm_health_cell_note(cell, NOW + 5 * S, &settings, false, &health), 1);
    assert_true(health.is_unwell && dm_health_cell_read(cell).is_unwell);
    dm_health_cell_end(cell, NOW + 5 * S, NOW + 9 * S);
    assert_int_equal(dm_health_cell_due_ns(cell, NOW + 5 * S, AHEAD), NOW + 9 * S);
    assert_true(dm_health_cell_lease(cell, NOW + 9 * S, AHEAD, NOW + 10 * S));
    dm_health_cell_end(cell, NOW + 10 * S, NOW + 10 * S); /* says nothing */
    assert_true(dm_health_cell_read(cell).is_unwell);
}

/* A3: the pages are of before the machine was started. */
static void test_a_clock_that_began_anew(void **unused)
{
    struct dm_health_cell *cell = dm_health_table_find(&table, 0, 1, NOW * 1000, NOW * 1000), *taken;

    assert_true(dm_health_cell_lease(cell, NOW * 1000, AHEAD, NOW * 1000 + S));
    assert_int_equal(dm_health_cell_due_ns(cell, S, AHEAD), S);
    assert_true(dm_health_cell_lease(cell, S, AHEAD, 2 * S));
    dm_health_cell_end(cell, 2 * S, NOW * 1000);
    for (uint64_t key = 2; key < 2 + DM_HEALTH_ENDPOINTS_MAX; key++) {
        taken = dm_health_table_find(&table, 0, key, S, S);
        assert_non_null(taken); /* also the place of the one that nobody asks for */
        assert_int_equal(dm_health_cell_due_ns(taken, S, AHEAD), S);
    }
}

#define WORKERS 6
#define KEYS 20
#define STEPS 3000

/* One of several workers, whose clocks differ by more than a check takes: makes those that are due, and counts them. */
static int work(void)
{
    struct dm_health_table own = {0};
    int n = 0;

    if (dm_health_table_open(&own, path, NULL) < 0)
        _exit(255);
    for (uint64_t step = 0; step < STEPS; step++)
        for (uint64_t key = 1; key <= KEYS; key++) {
            uint64_t now = NOW + step * S / 100, until = now + S;
            struct dm_health_cell *cell = dm_health_table_find(&own, 3, key * DM_HEALTH_ENDPOINTS_MAX, now, now);
            struct dm_health health;
            if (!cell || !dm_health_cell_lease(cell, now, AHEAD, until))
                continue;
            n += dm_health_cell_note(cell, until, &settings, true, &health) >= 0;
            dm_health_cell_end(cell, until, now + S);
        }
    dm_health_table_close(&own);
    return n;
}

/* All keys want the same place. Each is checked once a second, whoever does it: the counts in the cells are those of the workers
 * together, and no more than one for each second. */
static void test_several_workers(void **unused)
{
    int pipes[2], n, all = 0, in_cells = 0, status;
    struct dm_health_cell *cells[KEYS];

    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < WORKERS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            n = work();
            _exit(write(pipes[1], &n, sizeof(n)) != sizeof(n));
        }
        assert_true(pid > 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(read(pipes[0], &n, sizeof(n)), sizeof(n));
        all += n;
    }
    while (wait(&status) > 0)
        assert_int_equal(status, 0);
    for (uint64_t key = 1; key <= KEYS; key++) {
        cells[key - 1] = dm_health_table_find(&table, 3, key * DM_HEALTH_ENDPOINTS_MAX, NOW, NOW);
        in_cells += dm_health_cell_read(cells[key - 1]).passed;
        for (uint64_t i = 1; i < key; i++)
            assert_ptr_not_equal(cells[i - 1], cells[key - 1]);
    }
    assert_int_equal(in_cells, all);
    assert_in_range(all, KEYS, KEYS * (STEPS / 100 + 1));
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_key_has_one_cell, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_row_that_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_said_long_ago, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_lease_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_clock_that_began_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_workers, setup, teardown),
    };

    return cmocka_run_group_tests_name("gateway/health_table", tests, NULL, NULL);
}
