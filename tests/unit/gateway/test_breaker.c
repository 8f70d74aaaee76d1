/* The circuit breaker alone: against a plain reference that keeps every call, and in scenarios of backends that are well, or die
 * and come back. */
#include "gateway/upstream/breaker.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/backend.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

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

/* As the model's defaults. */
static struct dm_breaker_settings defaults(void)
{
    return (struct dm_breaker_settings){.mode = DM_BREAKER_AUTO,
                                        .run_max = 10,
                                        .calls_min = 50,
                                        .failed_percent = 50,
                                        .slow_percent = 80,
                                        .probes_max = 1,
                                        .window_ns = 10 * S,
                                        .open_ns = 1 * S,
                                        .open_max_ns = 30 * S};
}

/* One call from end to end. */
static bool call(struct dm_breaker *b, enum dm_breaker_outcome outcome, uint64_t now)
{
    struct dm_breaker_ticket ticket;

    if (!dm_breaker_take(b, &ticket, now))
        return false;
    dm_breaker_answer(b, &ticket, outcome, now);
    dm_breaker_whole(b, &ticket);
    return true;
}

static void fail_times(struct dm_breaker *b, unsigned n, uint64_t now)
{
    for (unsigned i = 0; i < n; i++)
        assert_true(call(b, DM_BREAKER_FAILED, now));
}

/* --- one thing each ----------------------------------------------------------------------------------------------- */

static void test_failures_behind_one_another_open(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker b;

    dm_breaker_init(&b, &s, 5 * S);
    assert_false(dm_breaker_has_changed(&b));
    for (int i = 0; i < 1000; i++)
        assert_true(call(&b, DM_BREAKER_OK, 5 * S)); /* a good past saves no one */
    fail_times(&b, 9, 5 * S);
    assert_true(call(&b, DM_BREAKER_OK, 5 * S));
    fail_times(&b, 10, 5 * S);
    assert_int_equal(b.state, DM_BREAKER_OPEN);
    assert_true(dm_breaker_has_changed(&b));
    assert_false(dm_breaker_has_changed(&b));
    assert_int_equal(b.change.cause, DM_BREAKER_RUN);
    assert_int_equal(b.change.run, 10);
    assert_int_equal(b.change.window.calls, 1020);
    assert_int_equal(b.change.window.failed, 19);
    assert_int_equal(b.change.open_for_ns, 1 * S);
    assert_false(call(&b, DM_BREAKER_OK, 6 * S - 1));
    assert_int_equal(dm_breaker_wait_ns(&b, 5 * S + S / 4), 3 * S / 4);
    assert_true(call(&b, DM_BREAKER_OK, 6 * S));
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    assert_int_equal(b.change.cause, DM_BREAKER_PROBE);
    assert_int_equal(b.window.calls, 0);
}

static void test_shares_open(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker b;

    for (int slow = 0; slow < 2; slow++) {
        dm_breaker_init(&b, &s, 0);
        for (int i = 0; i < 49; i++) /* 24 failed; 40 slow */
            assert_true(call(&b,
                             slow    ? (i % 10 > 1 ? DM_BREAKER_SLOW : DM_BREAKER_OK)
                             : i % 2 ? DM_BREAKER_FAILED
                                     : DM_BREAKER_OK,
                             1));
        assert_int_equal(b.state, DM_BREAKER_CLOSED);
        call(&b, slow ? DM_BREAKER_SLOW : DM_BREAKER_FAILED, 1);
        assert_int_equal(b.state, DM_BREAKER_OPEN);
        assert_int_equal(b.change.cause, slow ? DM_BREAKER_SLOWNESS : DM_BREAKER_FAILURES);
    }
    dm_breaker_init(&b, &s, 0);
    for (int i = 0; i < 400; i++) /* as bad, but never 50 of them in 10 s */
        assert_true(call(&b, i % 2 ? DM_BREAKER_FAILED : DM_BREAKER_OK, (uint64_t)i * S / 4));
    assert_int_equal(b.window.calls, 40);
}

static void test_time_open_grows(void **unused)
{
    static const unsigned open_s[] = {1, 2, 4, 8, 16, 30, 30};
    struct dm_breaker_settings s = defaults();
    struct dm_breaker b;
    uint64_t now = 100 * S;

    dm_breaker_init(&b, &s, now);
    fail_times(&b, 10, now);
    for (size_t i = 0; i < DM_COUNT(open_s); i++) {
        assert_int_equal(b.change.open_for_ns, open_s[i] * S);
        assert_false(call(&b, DM_BREAKER_OK, now + open_s[i] * S - 1));
        now += open_s[i] * S;
        fail_times(&b, 1, now);
    }
    now += 30 * S;
    assert_true(call(&b, DM_BREAKER_OK, now));
    fail_times(&b, 10, now + 39 * S); /* soon */
    assert_int_equal(b.open_for_ns, 30 * S);
    now += 70 * S;
    assert_true(call(&b, DM_BREAKER_OK, now));
    fail_times(&b, 10, now + 40 * S); /* a window and the last opening later */
    assert_int_equal(b.open_for_ns, 1 * S);
}

/* Its caller may be slow: another takes its place, and what it comes to says nothing any more. */
static void test_a_probe_that_does_not_end(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker_ticket slow, second;
    struct dm_breaker b;

    dm_breaker_init(&b, &s, 0);
    for (unsigned i = 0; i < s.run_max; i++)
        (void)call(&b, DM_BREAKER_FAILED, 0);
    assert_true(dm_breaker_take(&b, &slow, s.open_ns));
    assert_false(dm_breaker_take(&b, &second, 2 * s.open_ns - 1));
    assert_true(dm_breaker_take(&b, &second, 2 * s.open_ns));
    dm_breaker_answer(&b, &slow, DM_BREAKER_FAILED, 2 * s.open_ns);
    assert_int_equal(b.state, DM_BREAKER_HALF_OPEN);
    dm_breaker_answer(&b, &second, DM_BREAKER_OK, 2 * s.open_ns);
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    dm_breaker_drop(&b, &slow);
    assert_int_equal(b.probes_out, 0);
}

static void test_fewer_probes_may_be_enough(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker b;

    s.probes_max = 5;
    dm_breaker_init(&b, &s, 0);
    for (unsigned i = 0; i < s.run_max; i++)
        (void)call(&b, DM_BREAKER_FAILED, 0);
    for (int i = 0; i < 3; i++)
        assert_true(call(&b, DM_BREAKER_OK, s.open_ns));
    assert_int_equal(b.state, DM_BREAKER_HALF_OPEN);
    s.probes_max = 2;
    dm_breaker_set(&b, &s, s.open_ns);
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    assert_true(call(&b, DM_BREAKER_OK, s.open_ns));
}

static void test_probes(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker_ticket old, probes[3], none;
    struct dm_breaker b;

    s.probes_max = 3;
    dm_breaker_init(&b, &s, 0);
    assert_true(dm_breaker_take(&b, &old, 0));
    fail_times(&b, 10, 0);
    dm_breaker_has_changed(&b);
    for (int i = 0; i < 3; i++)
        assert_true(dm_breaker_take(&b, &probes[i], S));
    assert_int_equal(b.change.to, DM_BREAKER_HALF_OPEN);
    assert_false(dm_breaker_take(&b, &none, S));       /* B2 */
    dm_breaker_answer(&b, &old, DM_BREAKER_FAILED, S); /* B1 */
    assert_int_equal(b.state, DM_BREAKER_HALF_OPEN);
    dm_breaker_answer(&b, &probes[0], DM_BREAKER_OK, S);
    assert_false(dm_breaker_take(&b, &none, S));
    dm_breaker_drop(&b, &probes[1]); /* B3: another may take its place */
    dm_breaker_drop(&b, &probes[1]);
    assert_true(dm_breaker_take(&b, &probes[1], S));
    assert_false(dm_breaker_take(&b, &none, S));
    dm_breaker_answer(&b, &probes[1], DM_BREAKER_OK, S);
    dm_breaker_answer(&b, &probes[2], DM_BREAKER_OK, S);
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    for (int i = 0; i < 3; i++)
        dm_breaker_cut(&b, &probes[i], S, S); /* B1 */
    assert_int_equal(b.window.calls, 0);
}

static void test_answers_that_are_cut(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker_ticket ticket;
    struct dm_breaker b;

    dm_breaker_init(&b, &s, 0);
    for (int i = 0; i < 100; i++) { /* streams that stood long */
        assert_true(dm_breaker_take(&b, &ticket, (uint64_t)i * S));
        dm_breaker_answer(&b, &ticket, DM_BREAKER_OK, (uint64_t)i * S);
        dm_breaker_cut(&b, &ticket, (uint64_t)i * S, (uint64_t)i * S + 10 * S);
    }
    assert_int_equal(b.cuts, 0);
    for (int i = 0; i < 19; i++) {
        assert_int_equal(b.state, DM_BREAKER_CLOSED);
        assert_true(dm_breaker_take(&b, &ticket, 200 * S));
        dm_breaker_answer(&b, &ticket, DM_BREAKER_OK, 200 * S);
        dm_breaker_cut(&b, &ticket, 200 * S, 201 * S);
        dm_breaker_cut(&b, &ticket, 200 * S, 201 * S); /* it is through: without effect */
        if (i == 8)
            assert_true(call(&b, DM_BREAKER_SLOW, 201 * S)); /* a whole one: they begin anew */
    }
    assert_int_equal(b.state, DM_BREAKER_OPEN);
    assert_int_equal(b.change.cause, DM_BREAKER_CUTS);
    assert_int_equal(b.change.run, 10);
}

static void test_by_hand(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker_ticket ticket;
    struct dm_breaker b;

    s.mode = DM_BREAKER_HELD_OPEN;
    dm_breaker_init(&b, &s, 0);
    assert_true(dm_breaker_has_changed(&b));
    assert_false(dm_breaker_take(&b, &ticket, 1000000 * S));
    assert_true(dm_breaker_wait_ns(&b, 1) == UINT64_MAX);
    dm_breaker_set(&b, &s, 1);
    assert_false(dm_breaker_has_changed(&b));
    s.mode = DM_BREAKER_HELD_CLOSED;
    dm_breaker_set(&b, &s, 1);
    assert_true(dm_breaker_has_changed(&b) && b.state == DM_BREAKER_CLOSED);
    fail_times(&b, 1000, 2);
    s.mode = DM_BREAKER_AUTO;
    dm_breaker_set(&b, &s, 3);
    fail_times(&b, 10, 3);
    assert_true(b.state == DM_BREAKER_OPEN && b.open_for_ns == S);
    s.mode = DM_BREAKER_HELD_CLOSED;
    dm_breaker_set(&b, &s, 4);
    assert_true(call(&b, DM_BREAKER_FAILED, 4));
}

/* Ends the waiting of one opening, and nothing else. */
static void test_in_a_hurry(void **unused)
{
    struct dm_breaker_settings s = defaults();
    struct dm_breaker b;

    dm_breaker_init(&b, &s, 0);
    dm_breaker_hurry(&b);
    fail_times(&b, 10, 1);
    assert_true(b.state == DM_BREAKER_OPEN && dm_breaker_wait_ns(&b, 1) == S);
    dm_breaker_hurry(&b);
    assert_int_equal(dm_breaker_wait_ns(&b, 1), 0);
    assert_true(call(&b, DM_BREAKER_FAILED, 2));
    assert_true(b.state == DM_BREAKER_OPEN && dm_breaker_wait_ns(&b, 2) == 2 * S); /* not hurried any more */
    dm_breaker_hurry(&b);
    assert_true(call(&b, DM_BREAKER_OK, 3));
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    s.mode = DM_BREAKER_HELD_OPEN;
    dm_breaker_set(&b, &s, 4);
    dm_breaker_hurry(&b);
    assert_false(call(&b, DM_BREAKER_OK, 5)); /* people want it so */
}

/* --- against a reference ------------------------------------------------------------------------------------------ */

#define CALLS 4000

/* All that ever happened, and the rules as they are written at the head of breaker.h. */
struct reference {
    struct dm_breaker_settings settings;
    enum dm_breaker_state state;
    unsigned generation, n_counted, run, cuts, out, passed;
    uint64_t since, open_for, probed;
    struct {
        uint64_t at;
        enum dm_breaker_outcome outcome;
    } counted[2 * CALLS];
};

static void go_to(struct reference *r, enum dm_breaker_state to, uint64_t now)
{
    r->state = to;
    r->since = now;
    r->generation++;
    r->out = r->passed = 0;
    if (to != DM_BREAKER_HALF_OPEN)
        r->n_counted = r->run = r->cuts = 0;
}

static void open_reference(struct reference *r, uint64_t now)
{
    bool is_soon = r->state == DM_BREAKER_HALF_OPEN || now < r->since + r->open_for + r->settings.window_ns;

    if (r->open_for > 0 && is_soon)
        r->open_for = DM_MIN(2 * r->open_for, r->settings.open_max_ns);
    else
        r->open_for = r->settings.open_ns;
    go_to(r, DM_BREAKER_OPEN, now);
}

static void count_reference(struct reference *r, enum dm_breaker_outcome outcome, uint64_t now)
{
    uint64_t slice = r->settings.window_ns / DM_BREAKER_SLICES;
    unsigned calls = 0, failed = 0, slow = 0;

    r->counted[r->n_counted].at = now;
    r->counted[r->n_counted++].outcome = outcome;
    for (unsigned i = 0; i < r->n_counted; i++) {
        if (r->counted[i].at / slice + DM_BREAKER_SLICES <= now / slice)
            continue;
        calls++;
        failed += r->counted[i].outcome == DM_BREAKER_FAILED;
        slow += r->counted[i].outcome == DM_BREAKER_SLOW;
    }
    if (outcome == DM_BREAKER_OK)
        return;
    if (r->run >= r->settings.run_max || r->cuts >= r->settings.run_max ||
        (calls >= r->settings.calls_min && ((failed > 0 && failed * 100 >= r->settings.failed_percent * calls) ||
                                            (slow > 0 && slow * 100 >= r->settings.slow_percent * calls))))
        open_reference(r, now);
}

static bool take_reference(struct reference *r, uint64_t now)
{
    if (r->state == DM_BREAKER_OPEN && now >= r->since + r->open_for)
        go_to(r, DM_BREAKER_HALF_OPEN, now);
    if (r->state == DM_BREAKER_HALF_OPEN && r->out > 0 && r->out + r->passed >= r->settings.probes_max &&
        now >= r->probed + r->settings.open_ns) {
        r->generation++;
        r->out = 0;
    }
    if (r->state == DM_BREAKER_HALF_OPEN && r->out + r->passed < r->settings.probes_max) {
        r->probed = now;
        r->out++;
        return true;
    }
    return r->state == DM_BREAKER_CLOSED;
}

static void answer_reference(struct reference *r, unsigned generation, enum dm_breaker_outcome outcome, uint64_t now)
{
    if (generation != r->generation)
        return;
    if (r->state == DM_BREAKER_HALF_OPEN) {
        r->out--;
        if (outcome != DM_BREAKER_OK)
            open_reference(r, now);
        else if (++r->passed == r->settings.probes_max)
            go_to(r, DM_BREAKER_CLOSED, now);
        return;
    }
    r->run = outcome == DM_BREAKER_FAILED ? r->run + 1 : 0;
    count_reference(r, outcome, now);
}

struct open_call {
    struct dm_breaker_ticket ticket;
    unsigned generation; /* of the reference */
    uint64_t answered;   /* 0: not yet */
};

static void step_open_call(struct dm_breaker *b, struct reference *r, struct open_call *c, uint64_t bad, uint64_t now)
{
    enum dm_breaker_outcome outcome = chance(bad) ? (chance(700) ? DM_BREAKER_FAILED : DM_BREAKER_SLOW) : DM_BREAKER_OK;

    if (chance(100)) {
        dm_breaker_drop(b, &c->ticket);
        if (c->answered == 0 && c->generation == r->generation && r->state == DM_BREAKER_HALF_OPEN)
            r->out--;
        c->generation = 0;
    } else if (c->answered == 0) {
        dm_breaker_answer(b, &c->ticket, outcome, now);
        answer_reference(r, c->generation, outcome, now);
        c->answered = now;
        if (outcome == DM_BREAKER_FAILED)
            c->generation = 0;
    } else if (chance(bad)) {
        dm_breaker_cut(b, &c->ticket, c->answered, now);
        if (c->generation == r->generation && r->state == DM_BREAKER_CLOSED &&
            now - c->answered < r->settings.window_ns) {
            r->cuts++;
            count_reference(r, DM_BREAKER_FAILED, now);
        }
        c->generation = 0;
    } else {
        dm_breaker_whole(b, &c->ticket);
        if (c->generation == r->generation)
            r->cuts = 0;
        c->generation = 0;
    }
}

/* As when a release has others. */
static void change_settings(struct dm_breaker *b, struct reference *r, uint64_t now)
{
    r->settings.probes_max = 1 + (uint32_t)any(4);
    r->settings.run_max = 2 + (uint32_t)any(20);
    dm_breaker_set(b, &r->settings, now);
    if (r->state == DM_BREAKER_HALF_OPEN && r->passed >= r->settings.probes_max)
        go_to(r, DM_BREAKER_CLOSED, now);
}

static void compare_once(uint64_t seed)
{
    struct reference *r = dm_calloc(1, sizeof(*r));
    struct open_call open[16] = {0};
    struct dm_breaker b;
    uint64_t now = 1 + any(S), bad = any(800), pace = MS << any(10);

    r->settings = (struct dm_breaker_settings){.run_max = 2 + (uint32_t)any(20),
                                               .calls_min = 1 + (uint32_t)any(60),
                                               .failed_percent = 1 + (uint32_t)any(100),
                                               .slow_percent = 1 + (uint32_t)any(100),
                                               .probes_max = 1 + (uint32_t)any(4),
                                               .window_ns = (1 + any(10)) * S,
                                               .open_ns = (1 + any(100)) * 10 * MS,
                                               .open_max_ns = (1 + any(10)) * S};
    r->generation = 1;
    dm_breaker_init(&b, &r->settings, now);
    for (int i = 0; i < CALLS; i++) {
        struct open_call *c = &open[any(DM_COUNT(open))];
        now += chance(5) ? any(20 * S) : any(pace);
        if (chance(10))
            change_settings(&b, r, now);
        if (c->generation > 0) {
            step_open_call(&b, r, c, bad, now);
        } else {
            struct dm_breaker_ticket ticket;
            bool may = dm_breaker_take(&b, &ticket, now);
            assert_int_equal(may, take_reference(r, now));
            if (may)
                *c = (struct open_call){ticket, r->generation, 0};
        }
        if (b.state != r->state || b.run != r->run || b.cuts != r->cuts)
            fail_msg("seed %llu step %d: %d not %d", (unsigned long long)seed, i, (int)b.state, (int)r->state);
        if (b.state == DM_BREAKER_OPEN)
            assert_int_equal(b.open_for_ns, r->open_for);
        if (chance(1))
            bad = any(800);
    }
    dm_free(r);
}

static void test_as_the_reference(void **unused)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        state = seed;
        compare_once(seed);
    }
}

/* --- scenarios ---------------------------------------------------------------------------------------------------- */

/* A backend as it is: some calls fail, some are slow, now and then a few fail behind one another, callers go away. */
struct backend {
    uint64_t failed_mille, slow_mille, blip_mille, gone_mille, cut_mille;
    unsigned blip;
};

static enum dm_breaker_outcome ask(struct backend *backend)
{
    if (backend->blip == 0 && chance(backend->blip_mille))
        backend->blip = 1 + (unsigned)any(3);
    if (backend->blip > 0) {
        backend->blip--;
        return DM_BREAKER_FAILED;
    }
    return chance(backend->failed_mille) ? DM_BREAKER_FAILED
           : chance(backend->slow_mille) ? DM_BREAKER_SLOW
                                         : DM_BREAKER_OK;
}

static void finish(struct dm_breaker *b, struct backend *backend, struct open_call *c, uint64_t now)
{
    if (chance(backend->gone_mille)) {
        dm_breaker_drop(b, &c->ticket);
        return;
    }
    dm_breaker_answer(b, &c->ticket, ask(backend), now);
    if (chance(backend->cut_mille))
        dm_breaker_cut(b, &c->ticket, now, now);
    else
        dm_breaker_whole(b, &c->ticket);
}

static void be_innocent(uint64_t seed)
{
    struct backend backend = {any(100), any(400), any(10), any(500), any(50), 0};
    struct dm_breaker_settings s = defaults();
    struct open_call open[64] = {0};
    size_t width = 1 + any(DM_COUNT(open));
    uint64_t now = any(100 * S), pace = MS << any(12);
    struct dm_breaker b;

    dm_breaker_init(&b, &s, now);
    for (int i = 0; i < 600; i++) {
        struct open_call *c = &open[any(width)];
        now += chance(10) ? any(30 * S) : chance(500) ? 0 : any(pace);
        if (c->ticket.step == DM_BREAKER_TICKET_OUT)
            finish(&b, &backend, c, now);
        else if (!dm_breaker_take(&b, &c->ticket, now))
            fail_msg("seed %llu: opened for %s", (unsigned long long)seed, dm_breaker_cause_names[b.change.cause]);
    }
    assert_false(dm_breaker_has_changed(&b));
}

static void test_innocents_are_let_through(void **unused)
{
    for (uint64_t seed = 1; seed <= 10000; seed++) {
        state = seed * 7919;
        be_innocent(seed);
    }
}

static void die_and_heal(void)
{
    struct dm_breaker_settings s = defaults();
    uint64_t now = any(100 * S), pace = MS << any(10), dead_until;
    struct dm_breaker b;
    unsigned n_failed = 0, n_probes = 0;

    dm_breaker_init(&b, &s, now);
    for (uint64_t i = any(2000); i > 0; i--)
        assert_true(call(&b, DM_BREAKER_OK, now += any(pace)));
    while (b.state == DM_BREAKER_CLOSED) {
        n_failed++;
        assert_true(call(&b, DM_BREAKER_FAILED, now += any(pace)));
    }
    assert_true(n_failed <= 10);
    for (dead_until = now + any(300 * S); now < dead_until; now += any(pace))
        n_probes += call(&b, DM_BREAKER_FAILED, now);
    assert_true(n_probes <= 6 + 300 / 30);
    while (b.state != DM_BREAKER_CLOSED) /* the first call that is made brings it back */
        if (call(&b, DM_BREAKER_OK, now += any(pace)))
            break;
    assert_int_equal(b.state, DM_BREAKER_CLOSED);
    assert_true(call(&b, DM_BREAKER_OK, now));
}

static void test_the_dead_are_cut_off_and_come_back(void **unused)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        state = seed * 104729;
        die_and_heal();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_behind_one_another_open),
        cmocka_unit_test(test_shares_open),
        cmocka_unit_test(test_time_open_grows),
        cmocka_unit_test(test_probes),
        cmocka_unit_test(test_a_probe_that_does_not_end),
        cmocka_unit_test(test_fewer_probes_may_be_enough),
        cmocka_unit_test(test_answers_that_are_cut),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_in_a_hurry),
        cmocka_unit_test(test_as_the_reference),
        cmocka_unit_test(test_innocents_are_let_through),
        cmocka_unit_test(test_the_dead_are_cut_off_and_come_back),
    };

    return cmocka_run_group_tests_name("gateway/breaker", tests, NULL, NULL);
}
