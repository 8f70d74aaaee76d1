/* The scheduler against a plain reference, and its bound under random work. Work costs what a test says, in ticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "io/scheduler.h"

enum { N_FLOWS = 12, QUANTUM = 1000, STEP_MAX = 400, ROUNDS = 200000 };

struct work {
    struct dm_task task;
    uint64_t cost, posted_at, serial;
    struct work *next; /* the model's queue */
};

/* A flow, and the same as the reference knows it: lists instead of rings, nothing shared with what is tested. */
struct model {
    struct dm_flow flow;
    struct work *first, **end;
    int64_t credit;
    bool is_fresh, is_waiting;
    uint64_t ran;
};

static struct dm_scheduler s;
static struct model models[N_FLOWS];
static struct model *fresh[N_FLOWS], *waiting[N_FLOWS];
static size_t n_fresh, n_waiting;
static uint64_t now, serial, seed;

static uint64_t draw(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

static int setup(void **state)
{
    seed = 0x2545f4914f6cdd1d;
    now = serial = n_fresh = n_waiting = 0;
    dm_scheduler_init(&s, QUANTUM);
    for (size_t i = 0; i < N_FLOWS; i++) {
        models[i] = (struct model){.end = &models[i].first};
        dm_flow_init(&models[i].flow, DM_FLOW_WEIGHT, NULL);
    }
    return 0;
}

static struct dm_flow *flow(size_t i)
{
    return &models[i].flow;
}

/* --- the reference ------------------------------------------------------------------------------------------------ */

static void push(struct model **list, size_t *n, struct model *m)
{
    list[(*n)++] = m;
}

static void shift(struct model **list, size_t *n)
{
    memmove(list, list + 1, --*n * sizeof(*list));
}

static int64_t quantum_of(const struct model *m)
{
    return (int64_t)QUANTUM * m->flow.weight / DM_FLOW_WEIGHT;
}

static void model_earn(struct model *m)
{
    m->credit = DM_MAX(m->credit, -DM_FLOW_DEBT_MAX * quantum_of(m)) + quantum_of(m);
}

static void model_post(struct model *m, struct work *w)
{
    w->next = NULL;
    *m->end = w;
    m->end = &w->next;
    if (m->is_fresh || m->is_waiting)
        return;
    model_earn(m);
    m->is_fresh = m->credit > 0;
    m->is_waiting = !m->is_fresh;
    if (m->is_fresh)
        push(fresh, &n_fresh, m);
    else
        push(waiting, &n_waiting, m);
}

static struct work *model_take(struct model **ret)
{
    while (n_fresh + n_waiting > 0) {
        struct model *m = n_fresh > 0 ? fresh[0] : waiting[0];
        if (m->first && m->credit > 0) {
            struct work *w = m->first;
            if (!(m->first = w->next))
                m->end = &m->first;
            *ret = m;
            return w;
        }
        shift(n_fresh > 0 ? fresh : waiting, m->is_fresh ? &n_fresh : &n_waiting);
        if (!m->first && m->is_waiting) {
            m->is_waiting = false;
            m->credit = DM_MIN(m->credit, 0);
            continue;
        }
        if (m->first)
            model_earn(m);
        m->is_fresh = false;
        m->is_waiting = true;
        push(waiting, &n_waiting, m);
    }
    return NULL;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static void post(size_t i, uint64_t cost)
{
    struct work *w = dm_calloc(1, sizeof(*w));

    *w = (struct work){.cost = cost, .posted_at = now, .serial = serial++};
    dm_scheduler_post(&s, flow(i), &w->task);
    model_post(&models[i], w);
}

/* Runs what both say is next. NULL: there is nothing. The caller frees it. */
static struct work *run_one(size_t *ret_flow)
{
    struct dm_flow *found = dm_scheduler_turn(&s);
    struct dm_task *task = found ? dm_scheduler_take(&s, found) : NULL;
    struct model *m = NULL;
    struct work *expected = model_take(&m), *w;

    assert_int_equal(task == NULL, expected == NULL);
    if (!task)
        return NULL;
    w = DM_CONTAINER_OF(task, struct work, task);
    assert_ptr_equal(w, expected);
    assert_ptr_equal(found, &m->flow);
    now += w->cost;
    m->ran += w->cost;
    m->credit -= (int64_t)w->cost;
    dm_scheduler_charge(found, w->cost);
    *ret_flow = (size_t)(m - models);
    return w;
}

static void run_all(void)
{
    struct work *w;
    size_t i;

    while ((w = run_one(&i)))
        dm_free(w);
}

static void weights(void)
{
    static const uint32_t of[] = {100, 50, 200, 10, 1000};

    for (size_t i = 0; i < N_FLOWS; i++)
        flow(i)->weight = of[draw(DM_COUNT(of))];
}

static void random_work_goes_as_the_reference_says(void **state)
{
    struct work *w;
    size_t i;

    for (int round = 0; round < 20; round++) {
        weights();
        for (unsigned n = 0; n < ROUNDS / 20; n++) {
            if (draw(100) < 48)
                post(draw(N_FLOWS), 1 + draw(draw(20) ? STEP_MAX : 100 * QUANTUM));
            else if ((w = run_one(&i)))
                dm_free(w);
        }
        run_all();
        assert_int_equal(s.n_tasks, 0);
    }
}

/* Flows that always have work get time by their weights. */
static void time_goes_by_weight(void **state)
{
    static const uint32_t of[N_FLOWS] = {100, 100, 50, 200, 100, 10, 400, 100, 100, 25, 100, 100};
    uint64_t sum = 0;
    struct work *w;
    size_t i;

    for (i = 0; i < N_FLOWS; i++) {
        flow(i)->weight = of[i];
        sum += of[i];
        for (int k = 0; k < 5; k++)
            post(i, 1 + draw(STEP_MAX));
    }
    while (now < 20000 * QUANTUM && (w = run_one(&i))) {
        post(i, 1 + draw(STEP_MAX));
        dm_free(w);
    }
    for (i = 0; i < N_FLOWS; i++) {
        double share = (double)models[i].ran / (double)now, due = (double)of[i] / (double)sum;
        assert_true(share > 0.99 * due && share < 1.01 * due);
    }
    while ((w = run_one(&i)))
        dm_free(w);
}

/* The bound of scheduler.h: the work of a flow that rested and owes less than a quantum, of a quantum at most, waits for what runs and for one
 * quantum and one overdraft of each flow that became fresh since; whatever else is queued. */
static void a_flow_that_rested_waits_for_a_quantum_of_other_fresh_ones_at_most(void **state)
{
    uint64_t worst = 0, n_seen = 0;
    struct work *w;
    size_t i;

    for (size_t k = 1; k < N_FLOWS; k++)
        for (int n = 0; n < 50; n++)
            post(k, 1 + draw(STEP_MAX));
    for (unsigned n = 0; n < ROUNDS; n++) {
        if (n % 97 == 0 && flow(0)->state == DM_FLOW_AT_REST && flow(0)->credit > -QUANTUM)
            post(0, 1 + draw(STEP_MAX));
        w = run_one(&i);
        if (i == 0) {
            uint64_t waited = now - w->cost - w->posted_at;
            worst = DM_MAX(worst, waited);
            n_seen++;
        } else if (draw(3)) {
            post(i, 1 + draw(STEP_MAX)); /* these are always busy, but for some that rest for a while */
        } else {
            post(1 + draw(N_FLOWS - 1), 1 + draw(STEP_MAX));
        }
        dm_free(w);
    }
    assert_true(n_seen > 500);
    assert_in_range(worst, 0, (N_FLOWS - 2) * (QUANTUM + STEP_MAX));
    run_all();
}

/* The other bound, of a flow that asks for little but all the time: two quanta and an overdraft of each other one; of those that
 * never rest, one quantum. */
static void waits_for_a_round_at_most(unsigned n_rest, uint64_t bound)
{
    uint64_t worst = 0;
    struct work *w;
    size_t i;

    for (size_t k = 0; k < N_FLOWS; k++)
        for (int n = 0; n < (k ? 50 : 1); n++)
            post(k, 1 + draw(STEP_MAX));
    for (unsigned n = 0; n < ROUNDS; n++) {
        w = run_one(&i);
        if (i == 0)
            worst = DM_MAX(worst, now - w->cost - w->posted_at);
        post(i > 0 && draw(100) < n_rest ? 1 + draw(N_FLOWS - 1) : i, 1 + draw(STEP_MAX));
        dm_free(w);
    }
    assert_in_range(worst, QUANTUM, bound);
    run_all();
}

static void a_small_flow_among_busy_ones_waits_for_a_round_at_most(void **state)
{
    waits_for_a_round_at_most(0, (N_FLOWS - 1) * (QUANTUM + STEP_MAX));
}

static void a_small_flow_among_some_that_rest_waits_for_two_quanta_at_most(void **state)
{
    for (unsigned n = 5; n <= 100; n += 19) {
        setup(state);
        waits_for_a_round_at_most(n, (N_FLOWS - 1) * (2 * QUANTUM + STEP_MAX));
    }
}

/* D1: many flows that rest again and again do not starve one that is busy. */
static void fresh_flows_starve_nobody(void **state)
{
    struct work *w;
    size_t i;

    for (int n = 0; n < 50; n++)
        post(0, STEP_MAX);
    for (unsigned n = 0; n < ROUNDS; n++) {
        for (size_t k = 1; k < N_FLOWS; k++)
            if (flow(k)->queue.next == &flow(k)->queue)
                post(k, 1 + draw(STEP_MAX));
        w = run_one(&i);
        if (i == 0)
            post(0, STEP_MAX);
        dm_free(w);
    }
    assert_true(models[0].ran * (N_FLOWS + 1) > now);
    run_all();
}

/* D2: who ran for long waits until the others have had as much. */
static void a_long_step_is_paid_for(void **state)
{
    uint64_t others = 0;
    struct work *w;
    size_t i = 0;

    post(0, 5 * QUANTUM);
    dm_free(run_one(&i));
    for (int n = 0; n < 10; n++)
        post(0, 100);
    for (int n = 0; n < 1000; n++)
        post(1, 100);
    while ((w = run_one(&i)) && i == 1) {
        others += w->cost;
        dm_free(w);
    }
    dm_free(w);
    assert_in_range(others, 3 * QUANTUM, 5 * QUANTUM);
    run_all();
}

static void what_is_cancelled_or_left_is_nobodys(void **state)
{
    struct dm_task tasks[3] = {0};

    for (size_t i = 0; i < 3; i++)
        dm_scheduler_post(&s, flow(0), &tasks[i]);
    dm_scheduler_cancel(&s, &tasks[1]);
    assert_null(tasks[1].next);
    dm_flow_leave(&s, flow(0), flow(1));
    assert_int_equal(flow(0)->state, DM_FLOW_AT_REST);
    assert_int_equal(s.n_tasks, 2);
    assert_ptr_equal(dm_scheduler_peek(flow(1)), &tasks[0]);
    assert_ptr_equal(dm_scheduler_turn(&s), flow(1));
    assert_ptr_equal(dm_scheduler_turn(&s), flow(1));
    assert_ptr_equal(dm_scheduler_take(&s, flow(1)), &tasks[0]);
    assert_ptr_equal(dm_scheduler_take(&s, flow(1)), &tasks[2]);
    assert_null(dm_scheduler_peek(flow(1)));
    dm_flow_leave(&s, flow(1), flow(0)); /* it was waiting for its turn, empty */
    assert_int_equal(flow(1)->state, DM_FLOW_AT_REST);
    assert_null(dm_scheduler_turn(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
        TEST(random_work_goes_as_the_reference_says),
        TEST(time_goes_by_weight),
        TEST(a_flow_that_rested_waits_for_a_quantum_of_other_fresh_ones_at_most),
        TEST(a_small_flow_among_busy_ones_waits_for_a_round_at_most),
        TEST(a_small_flow_among_some_that_rest_waits_for_two_quanta_at_most),
        TEST(fresh_flows_starve_nobody),
        TEST(a_long_step_is_paid_for),
        TEST(what_is_cancelled_or_left_is_nobodys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
