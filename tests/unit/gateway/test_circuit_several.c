/* Several workers before one backend, at random: their breakers and the table, put together as upstream/circuit.c does. Some of them are
 * killed, or hang, at any moment between two steps. */
#include "gateway/circuit/table.h"
#include "gateway/upstream/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "model/backend.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define WORKERS 3
#define CALLS 16

static uint64_t state;

static uint64_t any(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

static bool chance(uint64_t per_mille)
{
    return any(1000) < per_mille;
}

struct worker {
    struct dm_breaker breaker;
    struct dm_circuit circuit;
    struct dm_breaker_ticket calls[CALLS];
    bool hangs;
};

struct world {
    struct dm_circuit_table table;
    struct dm_breaker_settings settings;
    struct worker workers[WORKERS];
    struct dm_circuit_name name;
    uint64_t now;
    size_t n_opened;
};

static char dir[32], path[48];

/* --- a worker ----------------------------------------------------------------------------------------------------- */

static void catch_up(struct world *w, struct worker *worker)
{
    struct dm_breaker_view view;

    if (dm_circuit_read(&worker->circuit, &view))
        dm_breaker_adopt(&worker->breaker, &view, w->now);
}

static bool settle(struct world *w, struct worker *worker)
{
    struct dm_breaker *b = &worker->breaker;
    struct dm_breaker_view view = dm_breaker_view(b, w->now);

    if (!b->has_changed && !(b->state == DM_BREAKER_HALF_OPEN && b->is_prober))
        return true;
    if (!dm_circuit_put(&worker->circuit, &view)) {
        catch_up(w, worker);
        return false;
    }
    if (dm_breaker_has_changed(b))
        w->n_opened += b->change.to == DM_BREAKER_OPEN && b->change.from == DM_BREAKER_CLOSED;
    return true;
}

static bool take(struct world *w, struct worker *worker, struct dm_breaker_ticket *ticket)
{
    struct dm_breaker *b = &worker->breaker;
    bool may;

    do {
        if (dm_circuit_has_news(&worker->circuit))
            catch_up(w, worker);
        if (b->state == DM_BREAKER_HALF_OPEN && !b->is_prober &&
            dm_circuit_is_lease_over(&worker->circuit, w->now / MS))
            dm_breaker_claim(b);
        may = dm_breaker_take(b, ticket, w->now);
    } while (!settle(w, worker));
    return may;
}

static void finish(struct world *w, struct worker *worker, struct dm_breaker_ticket *ticket,
                   enum dm_breaker_outcome outcome)
{
    if (chance(50)) {
        dm_breaker_drop(&worker->breaker, ticket);
    } else {
        dm_breaker_answer(&worker->breaker, ticket, outcome, w->now);
        dm_breaker_whole(&worker->breaker, ticket);
    }
    (void)settle(w, worker);
}

/* Also in place of one that was killed: nothing of it is left but what stands in the table. */
static void start(struct world *w, struct worker *worker)
{
    memset(worker, 0, sizeof(*worker));
    dm_breaker_init(&worker->breaker, &w->settings, w->now);
    dm_circuit_join(&w->table, &worker->circuit, &w->name, 1, w->now / MS);
    catch_up(w, worker);
}

static void tick(struct world *w)
{
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &w->workers[i];
        if (worker->hangs)
            continue;
        if (dm_circuit_has_news(&worker->circuit))
            catch_up(w, worker);
        (void)settle(w, worker);
    }
}

/* B2, over all that know how it stands: who lost its lease is to hear of that yet. */
static void check_probes(const struct world *w)
{
    unsigned n_out = 0, n_passed = 0;

    for (size_t i = 0; i < WORKERS; i++) {
        const struct worker *worker = &w->workers[i];
        if (worker->breaker.state != DM_BREAKER_HALF_OPEN || dm_circuit_has_news(&worker->circuit))
            continue;
        n_out += worker->breaker.probes_out;
        n_passed = DM_MAX(n_passed, worker->breaker.probes_passed);
    }
    assert_true(n_out + n_passed <= w->settings.probes_max);
}

/* --- the world ---------------------------------------------------------------------------------------------------- */

static void world_init(struct world *w, uint64_t number)
{
    w->now = (1000 + any(1000)) * S;
    w->n_opened = 0;
    w->name = (struct dm_circuit_name){number, {"orders", 6}, {"service", 7}};
    w->settings = (struct dm_breaker_settings){.mode = DM_BREAKER_AUTO,
                                               .by = DM_BREAKER_MODE,
                                               .run_max = 10,
                                               .calls_min = 50,
                                               .failed_percent = 50,
                                               .slow_percent = 80,
                                               .probes_max = 1 + (uint32_t)any(3),
                                               .window_ns = 10 * S,
                                               .open_ns = 1 * S,
                                               .open_max_ns = 30 * S};
    for (size_t i = 0; i < WORKERS; i++)
        start(w, &w->workers[i]);
}

/* One thing that one of them does; bad: calls of a thousand that fail. True: a call was refused. */
static bool step(struct world *w, uint64_t bad, uint64_t pace)
{
    struct worker *worker = &w->workers[any(WORKERS)];
    struct dm_breaker_ticket *call = &worker->calls[any(CALLS)];
    uint64_t before_s = w->now / S;
    bool was_refused = false;

    w->now += any(pace);
    if (w->now / S != before_s)
        tick(w);
    if (!worker->hangs) {
        if (call->step == DM_BREAKER_TICKET_OUT)
            finish(w, worker, call, chance(bad) ? DM_BREAKER_FAILED : DM_BREAKER_OK);
        else
            was_refused = !take(w, worker, call);
    }
    check_probes(w);
    return was_refused;
}

static void hurt_somebody(struct world *w)
{
    struct worker *worker = &w->workers[any(WORKERS)];

    if (chance(500))
        worker->hangs = !worker->hangs;
    else
        start(w, worker);
}

static void test_the_innocent_are_let_through(void **unused)
{
    struct world w = {0};

    if (dm_circuit_table_open(&w.table, path, NULL) < 0)
        fail_msg("no table");
    for (uint64_t seed = 1; seed <= 10000; seed++) {
        uint64_t bad, pace;
        state = seed * 104729;
        world_init(&w, seed % 4096);
        bad = any(100);
        pace = MS << any(8);
        for (int i = 0; i < 200; i++) {
            if (chance(3))
                start(&w, &w.workers[any(WORKERS)]);
            if (step(&w, bad, pace))
                fail_msg("seed %llu: refused", (unsigned long long)seed);
        }
        assert_int_equal(w.n_opened, 0);
    }
    dm_circuit_table_close(&w.table);
}

static void test_the_dead_are_cut_off_and_come_back(void **unused)
{
    struct world w = {0};

    if (dm_circuit_table_open(&w.table, path, NULL) < 0)
        fail_msg("no table");
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        uint64_t dead_until, healed;
        state = seed * 7919;
        world_init(&w, 5000 + seed % 4096);
        for (uint64_t i = any(300); i > 0; i--)
            (void)step(&w, 0, 20 * MS);
        while (w.n_opened == 0) /* of each at most its ten in a row, and what was in flight */
            (void)step(&w, 1000, 20 * MS);
        for (dead_until = w.now + any(60 * S); w.now < dead_until;) {
            (void)step(&w, 1000, 20 * MS);
            if (chance(5))
                hurt_somebody(&w);
        }
        for (size_t i = 0; i < WORKERS; i++)
            w.workers[i].hangs = false;
        healed = w.now;
        for (bool is_closed = false; !is_closed;) {
            (void)step(&w, 0, 20 * MS);
            is_closed = true;
            for (size_t i = 0; i < WORKERS; i++)
                is_closed &= w.workers[i].breaker.state == DM_BREAKER_CLOSED;
            /* the longest time open, a lease that somebody left, and what the next call needs to come */
            if (w.now > healed + w.settings.open_max_ns + DM_CIRCUIT_LEASE_MS * MS + 10 * S)
                fail_msg("seed %llu: stuck", (unsigned long long)seed);
        }
        for (int i = 0; i < 50; i++)
            assert_false(step(&w, 0, 20 * MS));
    }
    dm_circuit_table_close(&w.table);
}

static int setup(void **unused)
{
    assert_int_equal(dm_crypto_init(), 0);
    memcpy(dir, "/tmp/daemun-several-XXXXXX", 27);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/circuits", dir);
    return 0;
}

static int teardown(void **unused)
{
    unlink(path);
    rmdir(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_innocent_are_let_through, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_dead_are_cut_off_and_come_back, setup, teardown),
    };

    return cmocka_run_group_tests_name("gateway/circuit_several", tests, NULL, NULL);
}
