/* The queue of those that wait: order, deadlines, leaving and coming back in the middle of it; and against a reference. */
#include "io/wait_queue.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "fake_clock.h"

#define N 64

struct one {
    struct dm_waiter waiter;
    int turns, expired;
};

static struct fake_clock fake;
static struct dm_loop *loop;
static struct dm_wait_queue queue;
static struct one all[N];
static int room, order[4 * N], n_order;
static bool puts_back;

static struct one *one_of(struct dm_waiter *waiter)
{
    return DM_CONTAINER_OF(waiter, struct one, waiter);
}

static bool has_room(struct dm_wait_queue *q, const struct dm_waiter *first)
{
    assert_ptr_equal(q->first, first);
    return room > 0;
}

static void on_turn(struct dm_wait_queue *q, struct dm_waiter *w)
{
    assert_null(w->queue);
    if (puts_back) {
        puts_back = false;
        dm_wait_queue_put_back(q, w);
        return;
    }
    room--;
    one_of(w)->turns++;
    order[n_order++] = (int)(one_of(w) - all);
}

static void on_expired(struct dm_wait_queue *q, struct dm_waiter *w)
{
    (void)q;
    assert_null(w->queue);
    assert_true(w->due_ns <= dm_loop_now_ns(loop));
    one_of(w)->expired++;
}

static const struct dm_wait_handler handler = {.has_room = has_room, .on_turn = on_turn, .on_expired = on_expired};

static int setup(void **state)
{
    (void)state;
    fake_clock_init(&fake);
    loop = dm_loop_new(&fake.sys);
    dm_wait_queue_init(&queue, loop, &handler, NULL);
    memset(all, 0, sizeof(all));
    room = n_order = 0;
    puts_back = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dm_wait_queue_done(&queue);
    dm_loop_free(loop);
    return 0;
}

static void add(size_t i, uint32_t ms)
{
    dm_wait_queue_add(&queue, &all[i].waiter, ms);
}

static void pass_ms(unsigned ms)
{
    while (ms-- > 0) {
        fake_clock_advance_ms(&fake, 1);
        dm_loop_turn(loop, 0);
    }
}

/* Room for so many, which is told of. */
static void give(int n)
{
    room += n;
    dm_wait_queue_room(&queue);
    dm_loop_turn(loop, 0);
}

static void test_first_in_first_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++)
        add(i, 1000);
    give(0);
    assert_int_equal(n_order, 0);
    give(2);
    give(3);
    assert_int_equal(n_order, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(queue.n, 0);
    assert_null(queue.last);
}

static void test_turns_come_from_the_loop(void **state)
{
    (void)state;
    room = 1;
    add(0, 1000);
    dm_wait_queue_room(&queue);
    assert_int_equal(n_order, 0);
    dm_loop_turn(loop, 0);
    assert_int_equal(n_order, 1);
}

static void test_deadlines(void **state)
{
    (void)state;
    add(0, 20);
    add(1, 40);
    add(2, 5); /* W2: it was promised nothing before the one in front */
    pass_ms(19);
    assert_int_equal(all[0].expired, 0);
    pass_ms(2);
    assert_int_equal(all[0].expired, 1);
    assert_int_equal(queue.n, 2);
    pass_ms(18);
    assert_int_equal(all[1].expired + all[2].expired, 0);
    pass_ms(2);
    assert_int_equal(all[1].expired + all[2].expired, 2);
    assert_int_equal(n_order, 0);
    assert_int_equal(dm_loop_wait_ms(loop), -1); /* nobody waits: no timer */
}

/* Room is looked for before anybody's time is called over. */
static void test_room_at_the_deadline(void **state)
{
    (void)state;
    add(0, 5);
    room = 1;
    pass_ms(6);
    assert_int_equal(all[0].turns, 1);
    assert_int_equal(all[0].expired, 0);
}

/* What nobody told of, since it came from another process. */
static void test_room_is_looked_for(void **state)
{
    (void)state;
    add(0, 1000);
    add(1, 1000);
    room = 1;
    pass_ms(DM_WAIT_LOOK_MS + 1);
    assert_int_equal(n_order, 1);
    room = 1;
    pass_ms(DM_WAIT_LOOK_MS + 1);
    assert_int_equal(n_order, 2);
}

static void test_leaving(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++)
        add(i, 1000);
    dm_wait_queue_leave(&all[0].waiter);
    dm_wait_queue_leave(&all[2].waiter);
    dm_wait_queue_leave(&all[4].waiter);
    dm_wait_queue_leave(&all[4].waiter);
    give(5);
    assert_int_equal(n_order, 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 3);
    add(0, 1000);
    dm_wait_queue_leave(&all[0].waiter);
    assert_int_equal(dm_loop_wait_ms(loop), -1);
}

static void test_put_back(void **state)
{
    uint64_t due_ns;

    (void)state;
    add(0, 30);
    add(1, 30);
    due_ns = all[0].waiter.due_ns;
    pass_ms(5);
    puts_back = true;
    give(2);
    assert_int_equal(n_order, 0); /* who put itself back has nobody pass it */
    assert_ptr_equal(queue.first, &all[0].waiter);
    assert_int_equal(all[0].waiter.due_ns, due_ns);
    give(0);
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 1);
}

static void test_put_back_alone(void **state)
{
    (void)state;
    add(0, 30);
    puts_back = true;
    give(1);
    assert_int_equal(queue.n, 1);
    room = 0;
    pass_ms(31);
    assert_int_equal(all[0].expired, 1);
}

/* W4 */
static void test_turns_are_bounded(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * DM_WAIT_TURNS + 1; i++)
        add(i, 1000);
    give(N);
    assert_int_equal(n_order, DM_WAIT_TURNS);
    dm_loop_turn(loop, 0);
    assert_int_equal(n_order, 2 * DM_WAIT_TURNS);
    dm_loop_turn(loop, 0);
    assert_int_equal(n_order, 2 * DM_WAIT_TURNS + 1);
}

/* --- against a reference ------------------------------------------------------------------------------------------ */

static struct {
    size_t who[N];
    uint64_t due_ms[N];
    size_t n;
} model;

static uint32_t random_state;

static uint32_t draw(uint32_t bound)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % bound;
}

static void model_take(size_t at)
{
    model.n--;
    memmove(&model.who[at], &model.who[at + 1], (model.n - at) * sizeof(model.who[0]));
    memmove(&model.due_ms[at], &model.due_ms[at + 1], (model.n - at) * sizeof(model.due_ms[0]));
}

static void random_add(uint64_t now_ms)
{
    size_t i = draw(N);
    uint32_t ms = 1 + draw(60);

    if (all[i].waiter.queue)
        return;
    add(i, ms);
    model.who[model.n] = i;
    model.due_ms[model.n] = now_ms + ms;
    if (model.n > 0)
        model.due_ms[model.n] = DM_MAX(model.due_ms[model.n], model.due_ms[model.n - 1]);
    model.n++;
}

static void random_leave(void)
{
    size_t at;

    if (model.n == 0)
        return;
    at = draw((uint32_t)model.n);
    dm_wait_queue_leave(&all[model.who[at]].waiter);
    model_take(at);
}

static void random_room(void)
{
    int n = (int)draw(4), n_before = n_order = 0;

    give(n);
    for (int i = n_before; i < n_order; i++) {
        assert_int_equal(order[i], model.who[0]);
        model_take(0);
    }
    assert_int_equal(n_order, DM_MIN(n, n_order + (int)model.n));
    room = 0;
}

static void random_time(uint64_t *now_ms)
{
    unsigned ms = draw(5);

    pass_ms(ms);
    *now_ms += ms;
    while (model.n > 0 && model.due_ms[0] + 1 < *now_ms)
        model_take(0);
}

static void check_against_model(uint64_t now_ms)
{
    const struct dm_waiter *w = queue.first;
    size_t at = 0;

    while (at < model.n && model.due_ms[at] <= now_ms + 1 && w != &all[model.who[at]].waiter)
        at++; /* a tick of the clock's */
    for (; at < model.n; at++, w = w->next) {
        assert_non_null(w);
        assert_ptr_equal(w, &all[model.who[at]].waiter);
        assert_true(w->due_ns + 2000000 > dm_loop_now_ns(loop));
    }
    assert_null(w);
    while (model.n > queue.n)
        model_take(0);
}

static void test_against_a_reference(void **state)
{
    uint64_t now_ms = 0;

    (void)state;
    random_state = 7;
    model.n = 0;
    for (int step = 0; step < 20000; step++) {
        switch (draw(5)) {
        case 0:
        case 1: random_add(now_ms); break;
        case 2: random_leave(); break;
        case 3: random_room(); break;
        default: random_time(&now_ms); break;
        }
        check_against_model(now_ms);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_in_first_out), TEST(test_turns_come_from_the_loop),
        TEST(test_deadlines),          TEST(test_room_at_the_deadline),
        TEST(test_room_is_looked_for), TEST(test_leaving),
        TEST(test_put_back),           TEST(test_put_back_alone),
        TEST(test_turns_are_bounded),  TEST(test_against_a_reference),
    };

    return cmocka_run_group_tests_name("wait queue", tests, NULL, NULL);
}
