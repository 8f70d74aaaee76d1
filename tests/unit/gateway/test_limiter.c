/* The adaptive limit against a simulated backend: so many places, a queue before them, times of service that vary. What it finds is held
 * against what the backend can do. */
#include "gateway/upstream/limiter.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define LIMITERS_MAX 8
#define CALLS_MAX 8192
#define MUCH 1e9 /* calls a second: there is always one more */

/* --- chance ------------------------------------------------------------------------------------------------------- */

static uint64_t state;

/* In (0, 1). */
static double any(void)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(any())) * cos(2 * acos(-1) * any());
}

/* --- the backend, and those who limit calls to it ------------------------------------------------------------------ */

struct phase {
    double until_s, places, service_ms, calls_s; /* until 0: the end */
};

struct scenario {
    struct phase phases[4];
    double spread;     /* of the logarithm of times of service */
    double slow_share; /* calls that take slow_ms instead */
    double slow_ms;
    double drift;   /* in the second phase times of service grow to so many times */
    size_t n;       /* limiters */
    double join_s;  /* the last one comes later; 0: with the others */
    bool is_shared; /* they tell one another */
};

enum event_kind { ARRIVAL, DONE };

struct event {
    uint64_t at, sent;
    enum event_kind kind;
    size_t who;
};

struct world {
    const struct scenario *scenario;
    const struct phase *phase;
    struct event heap[CALLS_MAX];
    size_t n_heap;
    struct event queue[CALLS_MAX];
    size_t head, tail, busy;
    struct dm_limiter limiters[LIMITERS_MAX];
    struct dm_circuit_limit word; /* what was said last, and who heard of it */
    size_t n_words, heard[LIMITERS_MAX];
    uint64_t now;
};

static void push(struct world *w, struct event e)
{
    size_t i = w->n_heap++;

    assert_true(w->n_heap <= CALLS_MAX);
    for (; i > 0 && w->heap[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < w->n_heap) {
        child += child + 1 < w->n_heap && w->heap[child + 1].at < w->heap[child].at;
        if (w->heap[child].at >= last.at)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

static double service_ms(const struct world *w)
{
    const struct scenario *s = w->scenario;
    double ms = w->phase->service_ms, from_s = s->phases[0].until_s;

    if (s->drift > 0 && w->phase == &s->phases[1])
        ms *= pow(s->drift, ((double)w->now / 1e9 - from_s) / (s->phases[1].until_s - from_s));
    if (any() < s->slow_share)
        ms = s->slow_ms;
    return ms * exp(s->spread * normal());
}

static void serve(struct world *w)
{
    for (; w->busy < (size_t)w->phase->places && w->head != w->tail; w->busy++) {
        struct event e = w->queue[w->head++ % CALLS_MAX];
        e.at = w->now + (uint64_t)(service_ms(w) * 1e6);
        push(w, e);
    }
}

static void send(struct world *w, size_t who)
{
    dm_limiter_enter(&w->limiters[who]);
    w->queue[w->tail++ % CALLS_MAX] = (struct event){.sent = w->now, .kind = DONE, .who = who};
    serve(w);
}

static bool is_there(const struct world *w, size_t who)
{
    return who + 1 < w->scenario->n || (double)w->now >= w->scenario->join_s * 1e9;
}

/* As many as there is room for, or one. */
static void ask(struct world *w, size_t who)
{
    bool is_much = w->phase->calls_s >= MUCH;

    if (!is_there(w, who))
        return;
    while (dm_limiter_has_room(&w->limiters[who])) {
        send(w, who);
        if (!is_much)
            break;
    }
}

static void arrive(struct world *w, const struct event *e)
{
    double calls_s = w->phase->calls_s / (double)w->scenario->n;
    double wait_ns = w->phase->calls_s >= MUCH ? 1e7 : -log(any()) / calls_s * 1e9;

    ask(w, e->who);
    push(w, (struct event){.at = w->now + (uint64_t)wait_ns + 1, .kind = ARRIVAL, .who = e->who});
}

static void talk(struct world *w, size_t who)
{
    struct dm_limiter *l = &w->limiters[who];

    if (w->heard[who] != w->n_words)
        dm_limiter_hear(l, w->word);
    w->word = dm_limiter_found(l);
    w->heard[who] = ++w->n_words;
}

static void finish(struct world *w, const struct event *e)
{
    w->busy--;
    if (dm_limiter_answer(&w->limiters[e->who], w->now - e->sent, w->now) && w->scenario->is_shared)
        talk(w, e->who);
    serve(w);
    if (w->phase->calls_s >= MUCH)
        ask(w, e->who);
}

static double limit_of(const struct world *w)
{
    double sum = 0;

    for (size_t i = 0; i < w->scenario->n; i++)
        sum += is_there(w, i) ? w->limiters[i].limit : 0;
    return sum;
}

static struct world *world_new(const struct scenario *scenario, uint64_t seed, double initial)
{
    struct world *w = dm_calloc(1, sizeof(*w));

    state = seed * 7919 + 1;
    w->scenario = scenario;
    w->phase = scenario->phases;
    for (size_t i = 0; i < scenario->n; i++) {
        dm_limiter_init(&w->limiters[i], &(struct dm_limiter_settings){1, 1000}, initial, seed + i);
        push(w, (struct event){.at = i, .kind = ARRIVAL, .who = i});
    }
    return w;
}

/* Goes on to this time. */
static void run_until(struct world *w, double s)
{
    while (w->n_heap > 0 && (double)w->heap[0].at <= s * 1e9) {
        struct event e = pop(w);
        w->now = e.at;
        while (w->phase->until_s > 0 && (double)w->now >= w->phase->until_s * 1e9)
            w->phase++;
        e.kind == ARRIVAL ? arrive(w, &e) : finish(w, &e);
    }
    w->now = (uint64_t)(s * 1e9);
}

/* The least and the most that the limit is of the backend's places, once a second. */
static void watch(struct world *w, double from_s, double to_s, double *ret_least, double *ret_most)
{
    *ret_least = INFINITY;
    *ret_most = 0;
    for (int i = 0; from_s + i <= to_s; i++) {
        double ratio;
        run_until(w, from_s + i);
        ratio = limit_of(w) / w->phase->places;
        *ret_least = fmin(*ret_least, ratio);
        *ret_most = fmax(*ret_most, ratio);
    }
}

static void hold_between(struct world *w, const char *what, uint64_t seed, double from_s, double to_s, double least,
                         double most)
{
    double got_least, got_most;

    watch(w, from_s, to_s, &got_least, &got_most);
    if (getenv("LIMITER_SHOW"))
        print_message("%s seed %llu, %.0f to %.0f s: %.2f to %.2f\n", what, (unsigned long long)seed, from_s, to_s,
                      got_least, got_most);
    if (got_least < least || got_most > most)
        fail_msg("%s, seed %llu: from %.0f to %.0f s the limit is %.2f to %.2f of the places, not %.2f to %.2f", what,
                 (unsigned long long)seed, from_s, to_s, got_least, got_most, least, most);
}

#define SEEDS 3
#define FULL(places, ms)                                                                                               \
    {                                                                                                                  \
        {                                                                                                              \
            0, places, ms, MUCH                                                                                        \
        }                                                                                                              \
    }

/* --- what it finds ------------------------------------------------------------------------------------------------ */

static void test_it_finds_what_a_backend_can_do(void **unused)
{
    static const double spreads[] = {0.1, 0.5, 1.0, 1.5};
    static const double places[] = {4, 50, 400};

    for (size_t i = 0; i < DM_COUNT(spreads); i++)
        for (size_t k = 0; k < DM_COUNT(places); k++)
            for (uint64_t seed = 1; seed <= 2; seed++) {
                struct scenario s = {.phases = FULL(places[k], 20), .spread = spreads[i], .n = 1};
                bool is_hard = places[k] < 10 && spreads[i] >= 1; /* few calls say little */
                struct world *w = world_new(&s, seed, 20);
                char what[48];
                snprintf(what, sizeof(what), "%g places, spread %g", places[k], spreads[i]);
                run_until(w, 60);
                hold_between(w, what, seed, 60, 120, is_hard ? 0.5 : 0.7, is_hard ? 5 : 2);
                dm_free(w);
            }
}

static void test_capacity_that_falls_and_rises(void **unused)
{
    static const struct scenario s = {
        .phases = {{60, 50, 20, MUCH}, {150, 20, 20, MUCH}, {0, 50, 20, MUCH}}, .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        hold_between(w, "before", seed, 20, 59, 0.7, 2);
        run_until(w, 75);
        hold_between(w, "fallen", seed, 75, 149, 0.7, 2);
        run_until(w, 165);
        hold_between(w, "risen", seed, 165, 240, 0.7, 2);
        dm_free(w);
    }
}

/* L3: it is no queue, so there is nothing to do but to find another base; and no collapse on the way. */
static void test_a_backend_that_becomes_slower_by_and_by(void **unused)
{
    static const struct scenario s = {
        .phases = {{60, 50, 20, MUCH}, {660, 50, 20, MUCH}, {0, 50, 60, MUCH}}, .spread = 0.5, .drift = 3, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 30);
        hold_between(w, "drift", seed, 30, 720, 0.45, 2);
        dm_free(w);
    }
}

static void test_a_backend_that_becomes_slower_at_once(void **unused)
{
    static const struct scenario s = {
        .phases = {{60, 50, 20, MUCH}, {200, 50, 80, MUCH}, {0, 50, 20, MUCH}}, .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 30);
        hold_between(w, "before and behind", seed, 30, 260, 0.4, 2.6);
        dm_free(w);
    }
}

/* L1: much less to do than there could be. */
static void test_with_little_to_do_it_stays(void **unused)
{
    static const struct scenario s = {
        .phases = {{120, 50, 20, 500}, {180, 50, 20, MUCH}, {0, 50, 20, 500}}, .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        hold_between(w, "little", seed, 10, 119, 0.4, 1);
        run_until(w, 140);
        hold_between(w, "much", seed, 140, 179, 0.7, 2);
        hold_between(w, "little again", seed, 180, 300, 0.7, 2);
        dm_free(w);
    }
}

/* Calls come by chance, near to what the backend can do, above it, and near to it again. */
static void test_calls_that_come_by_chance(void **unused)
{
    static const struct scenario s = {
        .phases = {{120, 50, 20, 1800}, {180, 50, 20, 4000}, {0, 50, 20, 1800}}, .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 30);
        hold_between(w, "by chance", seed, 30, 240, 0.7, 2.2);
        dm_free(w);
    }
}

/* One call of ten takes fifty times as long: no mean of latencies would settle. */
static void test_calls_of_two_kinds(void **unused)
{
    static const struct scenario s = {.phases = FULL(50, 10), .spread = 0.3, .slow_share = 0.1, .slow_ms = 500, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 120);
        hold_between(w, "two kinds", seed, 120, 300, 0.5, 2);
        dm_free(w);
    }
}

/* Begun far above: the base is not what it seems (DRAINING). */
static void test_a_limit_that_begins_too_high(void **unused)
{
    static const struct scenario s = {.phases = FULL(20, 20), .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 200);
        run_until(w, 60);
        hold_between(w, "too high", seed, 60, 120, 0.7, 2);
        dm_free(w);
    }
}

/* L4: while nothing changes, nothing moves: the limit is never below what the backend can do. */
static void test_no_dips(void **unused)
{
    static const struct scenario s = {.phases = FULL(50, 20), .spread = 0.5, .n = 1};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 30);
        hold_between(w, "no dips", seed, 30, 600, 1, 2);
        dm_free(w);
    }
}

/* --- several before one backend ------------------------------------------------------------------------------------ */

static void test_several_before_one_backend(void **unused)
{
    for (size_t n = 2; n <= LIMITERS_MAX; n *= 2)
        for (uint64_t seed = 1; seed <= 2; seed++) {
            struct scenario s = {.phases = {{60, 60, 20, MUCH}, {150, 30, 20, MUCH}, {0, 60, 20, MUCH}},
                                 .spread = 0.5,
                                 .n = n,
                                 .is_shared = true};
            struct world *w = world_new(&s, seed, 20.0 / (double)n);
            char what[32];
            snprintf(what, sizeof(what), "%zu limiters", n);
            hold_between(w, what, seed, 30, 59, 0.5, 2.5);
            run_until(w, 90);
            hold_between(w, what, seed, 90, 149, 0.5, 3);
            run_until(w, 180);
            hold_between(w, what, seed, 180, 240, 0.5, 3);
            dm_free(w);
        }
}

/* A worker that starts again beside others that are at work: it gets its share, and nobody starves. */
static void test_one_that_comes_later(void **unused)
{
    static const struct scenario s = {.phases = FULL(60, 20), .spread = 0.5, .n = 2, .join_s = 60, .is_shared = true};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = world_new(&s, seed, 20);
        run_until(w, 59);
        hold_between(w, "alone", seed, 59, 59, 0.7, 2);
        run_until(w, 90);
        hold_between(w, "both", seed, 90, 600, 0.7, 2.2);
        for (size_t i = 0; i < s.n; i++)
            if (w->limiters[i].limit < 0.15 * limit_of(w))
                fail_msg("seed %llu: limiter %zu has %.1f of %.1f", (unsigned long long)seed, i, w->limiters[i].limit,
                         limit_of(w));
        dm_free(w);
    }
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void test_bounds(void **unused)
{
    static const struct scenario s = {.phases = FULL(50, 20), .spread = 0.5, .n = 1};
    struct dm_limiter_settings settings = {5, 30};
    struct world *w = world_new(&s, 1, 20);
    double least, most;

    dm_limiter_set(&w->limiters[0], &settings);
    watch(w, 1, 60, &least, &most);
    assert_true(most * 50 <= 30 && least * 50 >= 5);
    settings = (struct dm_limiter_settings){200, 400};
    dm_limiter_set(&w->limiters[0], &settings);
    watch(w, 61, 120, &least, &most);
    assert_true(most * 50 <= 400 && least * 50 >= 200);
    settings = (struct dm_limiter_settings){1, 1};
    dm_limiter_set(&w->limiters[0], &settings);
    assert_false(dm_limiter_has_room(&w->limiters[0]));
    dm_free(w);
}

/* Whatever the clock does, the limit is a number within its bounds. */
static void test_clocks_and_times_that_cannot_be(void **unused)
{
    struct dm_limiter_settings settings = {1, 100};
    struct dm_limiter l;
    uint64_t now = 1000 * S;

    state = 42;
    dm_limiter_init(&l, &settings, 10, 7);
    for (int i = 0; i < 200000; i++) {
        uint64_t took = any() < 0.01 ? (uint64_t)(any() * 1e19) : (uint64_t)(any() * 1e8);
        if (any() < 0.001)
            now = (uint64_t)(any() * 1e19);
        now += (uint64_t)(any() * 1e6);
        if (!dm_limiter_has_room(&l) || any() < 0.1) {
            if (l.in_flight > 0)
                dm_limiter_answer(&l, took, now);
        } else {
            dm_limiter_enter(&l);
        }
        if (any() < 0.0001)
            dm_limiter_hear(&l, (struct dm_circuit_limit){(float)(any() * 1e30 - 5e29), NAN, any() < 0.5});
        assert_true(l.limit >= 1 && l.limit <= 100);
        assert_true(isfinite(l.base));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_finds_what_a_backend_can_do),
        cmocka_unit_test(test_capacity_that_falls_and_rises),
        cmocka_unit_test(test_a_backend_that_becomes_slower_by_and_by),
        cmocka_unit_test(test_a_backend_that_becomes_slower_at_once),
        cmocka_unit_test(test_with_little_to_do_it_stays),
        cmocka_unit_test(test_calls_that_come_by_chance),
        cmocka_unit_test(test_calls_of_two_kinds),
        cmocka_unit_test(test_a_limit_that_begins_too_high),
        cmocka_unit_test(test_no_dips),
        cmocka_unit_test(test_several_before_one_backend),
        cmocka_unit_test(test_one_that_comes_later),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_clocks_and_times_that_cannot_be),
    };

    return cmocka_run_group_tests_name("gateway/limiter", tests, NULL, NULL);
}
