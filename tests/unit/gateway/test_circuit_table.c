/* What workers know together of circuits: one word an entry, changed by who saw it last; by several processes, some of which die. */
#include "gateway/circuit/table.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "model/backend.h"

#define MS UINT64_C(1000000)
#define NOW UINT64_C(5000000)
#define WALL UINT64_C(1764000000000)
#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof(literal) - 1                                                                                   \
    }

struct fixture {
    char dir[32], path[48];
    struct dm_circuit_table table;
};

static void open_again(struct fixture *f)
{
    struct dm_err err = {0};

    if (dm_circuit_table_open(&f->table, f->path, &err) < 0)
        fail_msg("%s", err.message);
}

static int setup(void **state)
{
    static struct fixture f;

    assert_int_equal(dm_crypto_init(), 0);
    memset(&f, 0, sizeof(f));
    memcpy(f.dir, "/tmp/daemun-circuits-XXXXXX", 28);
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.path, sizeof(f.path), "%s/circuits", f.dir);
    open_again(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    dm_circuit_table_close(&f->table);
    unlink(f->path);
    rmdir(f->dir);
    return 0;
}

static const struct dm_circuit_name orders = {1, TEXT("orders"), TEXT("service")};

static struct dm_circuit join(struct fixture *f, const struct dm_circuit_name *name, uint64_t what, uint64_t now_ms)
{
    struct dm_circuit c;

    dm_circuit_join(&f->table, &c, name, what, now_ms);
    assert_non_null(c.entry);
    return c;
}

static struct dm_breaker_view read_view(struct dm_circuit *c)
{
    struct dm_breaker_view view;

    assert_true(dm_circuit_read(c, &view));
    return view;
}

static const struct dm_breaker_view opened = {DM_BREAKER_OPEN, false, 3, 0, NOW + 7};

/* --- words -------------------------------------------------------------------------------------------------------- */

static void test_what_one_puts_the_other_reads(void **state)
{
    static const struct dm_breaker_view views[] = {
        {DM_BREAKER_OPEN, false, 1, 0, NOW},    {DM_BREAKER_HALF_OPEN, false, DM_BREAKER_LEVEL_MAX, 100, NOW + 1},
        {DM_BREAKER_HALF_OPEN, false, 1, 0, 0}, {DM_BREAKER_OPEN, true, 0, 0, UINT64_C(1) << 37},
        {DM_BREAKER_CLOSED, true, 0, 0, 1},     {DM_BREAKER_CLOSED, false, 5, 0, NOW + 2},
    };
    struct fixture *f = *state;
    struct dm_circuit a = join(f, &orders, 1, NOW), b = join(f, &orders, 1, NOW);
    struct dm_breaker_view got = read_view(&a);

    assert_ptr_equal(a.entry, b.entry);
    assert_true(got.state == DM_BREAKER_CLOSED && !got.is_held && got.level == 0);
    (void)read_view(&b);
    for (size_t i = 0; i < DM_COUNT(views); i++) {
        assert_false(dm_circuit_has_news(&b));
        assert_true(dm_circuit_put(&a, &views[i]));
        assert_false(dm_circuit_has_news(&a));
        assert_true(dm_circuit_has_news(&b));
        got = read_view(&b);
        assert_int_equal(got.state, views[i].state);
        assert_int_equal(got.is_held, views[i].is_held);
        assert_int_equal(got.level, views[i].level);
        assert_int_equal(got.passed, views[i].passed);
        assert_int_equal(got.since_ms, views[i].since_ms);
    }
}

/* X1 */
static void test_of_two_at_once_one_wins(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit a = join(f, &orders, 1, NOW), b = join(f, &orders, 1, NOW);
    struct dm_breaker_view closed = read_view(&a);

    (void)read_view(&b);
    assert_true(dm_circuit_put(&a, &opened));
    assert_true(dm_circuit_put(&a, &opened));
    assert_false(dm_circuit_put(&b, &opened));
    assert_int_equal(read_view(&b).state, DM_BREAKER_OPEN);
    closed.since_ms++;
    assert_true(dm_circuit_put(&b, &closed));
    assert_false(dm_circuit_put(&a, &closed));
}

/* X2 */
static void test_a_lease_ends(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c = join(f, &orders, 1, NOW);
    struct dm_breaker_view probing = {DM_BREAKER_HALF_OPEN, false, 1, 0, NOW};

    (void)read_view(&c);
    assert_true(dm_circuit_put(&c, &probing));
    assert_false(dm_circuit_is_lease_over(&c, NOW - 1));
    assert_false(dm_circuit_is_lease_over(&c, NOW + DM_CIRCUIT_LEASE_MS - 1));
    assert_true(dm_circuit_is_lease_over(&c, NOW + DM_CIRCUIT_LEASE_MS));
    assert_true(dm_circuit_is_lease_over(&c, 1000)); /* the machine has started anew */
    probing.since_ms = 0;
    assert_true(dm_circuit_put(&c, &probing));
    assert_true(dm_circuit_is_lease_over(&c, NOW));
}

/* X4: the newer release has it, the older one goes on alone. */
static void test_a_backend_that_is_another_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit a = join(f, &orders, 1, NOW), b;
    struct dm_breaker_view view;

    (void)read_view(&a);
    assert_true(dm_circuit_put(&a, &opened));
    b = join(f, &orders, 1, NOW + 1); /* a worker that starts anew */
    assert_int_equal(read_view(&b).state, DM_BREAKER_OPEN);
    b = join(f, &orders, 2, NOW + 2);
    view = read_view(&b);
    assert_true(view.state == DM_BREAKER_CLOSED && view.level == 0);
    assert_true(dm_circuit_has_news(&a));
    assert_false(dm_circuit_put(&a, &view));
    assert_false(dm_circuit_read(&a, &view));
    assert_null(a.entry);
    assert_false(dm_circuit_has_news(&a));
    assert_true(dm_circuit_put(&a, &opened)); /* without effect */
    assert_false(dm_circuit_has_news(&b));
}

static void test_none_is_without_effect(void **state)
{
    struct dm_circuit c;
    struct dm_breaker_view view;
    struct dm_circuit_change event = {0};

    (void)state;
    dm_circuit_join(NULL, &c, &orders, 1, NOW);
    assert_null(c.entry);
    assert_false(dm_circuit_read(&c, &view));
    assert_true(dm_circuit_put(&c, &opened));
    assert_false(dm_circuit_has_news(&c));
    assert_int_equal(dm_circuit_hold(&c), DM_BREAKER_AUTO);
    dm_circuit_touch(&c, NOW);
    dm_circuit_tell(&c, NULL, &event);
}

/* --- whose it is -------------------------------------------------------------------------------------------------- */

/* The same words of another tenant, or of its namesake that was before, are another entry (P2). */
static void test_nobody_has_anothers(void **state)
{
    static const struct dm_circuit_name others[] = {
        {2, TEXT("orders"), TEXT("service")},
        {2, TEXT("catalog"), TEXT("service")},
        {1, TEXT("orders"), TEXT("other")},
    };
    struct fixture *f = *state;
    struct dm_circuit a = join(f, &orders, 1, NOW), b;

    (void)read_view(&a);
    assert_true(dm_circuit_put(&a, &opened));
    for (size_t i = 0; i < DM_COUNT(others); i++) {
        b = join(f, &others[i], 1, NOW);
        assert_ptr_not_equal(b.entry, a.entry);
        assert_int_equal(read_view(&b).state, DM_BREAKER_CLOSED);
    }
    assert_int_equal(dm_circuit_table_used(&f->table), 4);
}

/* X5: as full as it gets; what nobody touched makes way, with all that was said of it. */
static void test_the_old_make_way(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c, first = join(f, &orders, 1, NOW);
    struct dm_circuit_change event = {.at_ms = WALL, .from = DM_BREAKER_CLOSED, .to = DM_BREAKER_OPEN};
    struct dm_circuit_info info;
    uint64_t later = NOW + DM_CIRCUIT_STALE_MS + 1;
    size_t at = 0, n = 0;
    char text[16];

    dm_circuit_tell(&first, &f->table, &event);
    for (uint64_t i = 0; i < 2 * DM_CIRCUIT_ENTRIES; i++) {
        snprintf(text, sizeof(text), "b%llu", (unsigned long long)i);
        dm_circuit_join(&f->table, &c, &(struct dm_circuit_name){7, DM_STR("full"), dm_str_of(text)}, 1, NOW);
    }
    assert_true(f->table.n_full > 0);
    assert_true(dm_circuit_table_used(&f->table) > DM_CIRCUIT_ENTRIES * 9 / 10);
    (void)read_view(&first);
    dm_circuit_touch(&first, NOW + DM_CIRCUIT_TOUCH_MS - 1); /* too soon to be worth a store */
    dm_circuit_touch(&first, later - 1);
    for (uint64_t i = 0; i < 2 * DM_CIRCUIT_ENTRIES; i++) {
        snprintf(text, sizeof(text), "c%llu", (unsigned long long)i);
        dm_circuit_join(&f->table, &c, &(struct dm_circuit_name){8, DM_STR("next"), dm_str_of(text)}, 1, later);
    }
    assert_true(dm_circuit_read(&first, &(struct dm_breaker_view){0}));
    while (dm_circuit_table_next(&f->table, &at, later, &info)) {
        bool is_first = strcmp(info.names[0], "orders") == 0;
        n += is_first;
        assert_true(is_first || strcmp(info.names[0], "next") == 0);
        assert_int_equal(info.report.n_listed, is_first ? 1 : 0);
    }
    assert_int_equal(n, 1);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void find_orders(struct fixture *f, struct dm_circuit_info *ret)
{
    size_t at = 0;

    assert_true(dm_circuit_table_next(&f->table, &at, NOW, ret));
    assert_string_equal(ret->names[0], "orders");
    assert_string_equal(ret->names[1], "service");
    assert_int_equal(ret->report.tenant_id, 1);
    assert_false(dm_circuit_table_next(&f->table, &at, NOW, &(struct dm_circuit_info){0}));
}

static void test_the_last_events_are_told(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c = join(f, &orders, 1, NOW);
    struct dm_circuit_change event = {.at_ms = WALL,
                                      .from = DM_BREAKER_HALF_OPEN,
                                      .to = DM_BREAKER_OPEN,
                                      .cause = DM_BREAKER_PROBE,
                                      .calls = UINT32_MAX,
                                      .failed = UINT32_MAX - 1,
                                      .slow = UINT32_MAX - 2,
                                      .run = UINT16_MAX,
                                      .open_for_ms = DM_CIRCUIT_FOREVER,
                                      .lasted_ms = UINT32_MAX - 3,
                                      .endpoints = 64,
                                      .endpoints_out = 63};
    struct dm_circuit_info info;
    uint64_t changes = dm_circuit_table_changes(&f->table);

    find_orders(f, &info);
    assert_int_equal(info.report.n_changes, 0);
    for (unsigned i = 1; i <= 3 * DM_CIRCUIT_CHANGES; i++) {
        dm_circuit_tell(&c, &f->table, &event);
        find_orders(f, &info);
        assert_int_equal(info.report.n_changes, i);
        assert_int_equal(info.report.n_listed, DM_MIN(i, (unsigned)DM_CIRCUIT_CHANGES));
        assert_int_equal(info.report.changes[info.report.n_listed - 1].number, i);
        event.at_ms++;
    }
    for (unsigned i = 0; i < DM_CIRCUIT_CHANGES; i++) {
        struct dm_circuit_change *got = &info.report.changes[i];
        assert_int_equal(got->number, 2 * DM_CIRCUIT_CHANGES + 1 + i);
        assert_int_equal(got->at_ms, WALL + got->number - 1);
        event.number = got->number;
        event.at_ms = got->at_ms;
        assert_memory_equal(got, &event, sizeof(event));
    }
    assert_int_equal(dm_circuit_table_changes(&f->table), changes + 3 * DM_CIRCUIT_CHANGES);
}

/* --- people's word ------------------------------------------------------------------------------------------------ */

static bool hold(struct fixture *f, int mode, uint64_t now_ms, uint64_t wall_ms)
{
    struct dm_circuit_hold hold = {orders.tenant_id, orders.tenant, orders.backend, mode, WALL + 9};

    return dm_circuit_table_hold(&f->table, &hold, now_ms, wall_ms);
}

static void test_a_hold(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c = join(f, &orders, 1, NOW);
    struct dm_circuit_info info;

    (void)read_view(&c);
    assert_int_equal(dm_circuit_hold(&c), DM_BREAKER_AUTO);
    assert_true(hold(f, DM_BREAKER_HELD_OPEN, NOW + 5, WALL));
    assert_true(dm_circuit_has_news(&c));
    assert_int_equal(dm_circuit_hold(&c), DM_BREAKER_HELD_OPEN);
    assert_true(read_view(&c).is_held && read_view(&c).state == DM_BREAKER_OPEN);
    assert_false(dm_circuit_has_news(&c));
    find_orders(f, &info);
    assert_int_equal(info.report.hold, DM_BREAKER_HELD_OPEN);
    assert_int_equal(info.report.hold_until_ms, WALL + 9);
    assert_true(info.report.is_held && info.report.state == DM_BREAKER_OPEN);
    assert_int_equal(info.report.n_listed, 1);
    assert_int_equal(info.report.changes[0].cause, DM_BREAKER_HAND);
    assert_int_equal(info.report.changes[0].open_for_ms, DM_CIRCUIT_FOREVER);
    assert_int_equal(info.report.changes[0].lasted_ms, 5);
    assert_true(hold(f, DM_BREAKER_AUTO, NOW + 6, WALL + 1));
    assert_int_equal(dm_circuit_hold(&c), DM_BREAKER_AUTO);
    assert_false(read_view(&c).is_held);
    assert_int_equal(read_view(&c).state, DM_BREAKER_CLOSED);
    find_orders(f, &info);
    assert_int_equal(info.report.n_changes, 2);
}

/* Before any worker has such a backend. */
static void test_a_hold_comes_first(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c;

    assert_true(hold(f, DM_BREAKER_HELD_CLOSED, NOW, WALL));
    c = join(f, &orders, 1, NOW);
    assert_int_equal(dm_circuit_hold(&c), DM_BREAKER_HELD_CLOSED);
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

#define CHILDREN 4
#define ROUNDS 20000

/* Counts in the level and the probes that passed, as far as they go: each change is somebody's. */
static void change_often(const char *path)
{
    struct dm_circuit_table table;
    struct dm_circuit c;
    struct dm_breaker_view view;
    struct dm_circuit_change event = {.at_ms = WALL, .to = DM_BREAKER_OPEN};

    if (dm_circuit_table_open(&table, path, NULL) < 0)
        _exit(2);
    dm_circuit_join(&table, &c, &orders, 1, NOW);
    for (int i = 0; i < ROUNDS; i++) {
        do {
            if (!dm_circuit_read(&c, &view))
                _exit(3);
            view.since_ms++;
        } while (!dm_circuit_put(&c, &view));
        if (i % 100 == 0)
            dm_circuit_tell(&c, &table, &event);
    }
    _exit(0);
}

static pid_t start(const char *path)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        change_often(path);
    return pid;
}

static void test_no_change_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c = join(f, &orders, 1, NOW);
    uint64_t before = read_view(&c).since_ms;
    struct dm_circuit_info info;
    pid_t pids[CHILDREN];
    int status;

    for (int i = 0; i < CHILDREN; i++)
        pids[i] = start(f->path);
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(read_view(&c).since_ms, before + CHILDREN * ROUNDS);
    find_orders(f, &info);
    assert_int_equal(info.report.n_changes, CHILDREN * ROUNDS / 100);
    assert_int_equal(info.report.n_listed, DM_CIRCUIT_CHANGES);
}

/* Killed at whatever instruction: the others go on, and what is read is whole. */
static void test_killed_processes_leave_nothing_stuck(void **state)
{
    struct fixture *f = *state;
    struct dm_circuit c = join(f, &orders, 1, NOW);
    struct dm_breaker_view view;
    struct dm_circuit_info info;
    int status;

    for (int i = 0; i < 50; i++) {
        uint64_t seen = read_view(&c).since_ms;
        pid_t pid = start(f->path);
        while (read_view(&c).since_ms < seen + 10 && waitpid(pid, &status, WNOHANG) == 0)
            ;
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        do
            view = read_view(&c);
        while (!dm_circuit_put(&c, &opened));
        assert_true(view.state == DM_BREAKER_CLOSED || view.state == DM_BREAKER_OPEN);
        find_orders(f, &info);
        for (unsigned n = 0; n < info.report.n_listed; n++)
            assert_true(info.report.changes[n].at_ms == WALL && info.report.changes[n].to == DM_BREAKER_OPEN);
        view.since_ms += 20;
        view.state = DM_BREAKER_CLOSED;
        assert_true(dm_circuit_put(&c, &view));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_one_puts_the_other_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_two_at_once_one_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_lease_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_backend_that_is_another_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none_is_without_effect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_has_anothers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_old_make_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_last_events_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hold_comes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_change_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_processes_leave_nothing_stuck, setup, teardown),
    };

    return cmocka_run_group_tests_name("gateway/circuit_table", tests, NULL, NULL);
}
