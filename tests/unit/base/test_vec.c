#include "testing.h"

#include "base/vec.h"

struct thing {
    int n;
    char name[20];
};

static void pushes_and_drops(void **state)
{
    DM_VEC(struct thing) things = {0};
    int i;

    for (i = 0; i < 1000; i++)
        *dm_vec_push(&things) = (struct thing){.n = i};
    assert_int_equal(things.count, 1000);
    for (i = 0; i < 1000; i++)
        assert_int_equal(things.items[i].n, i);
    dm_vec_drop(&things, 0);
    assert_int_equal(things.count, 999);
    assert_int_equal(things.items[0].n, 999);
    dm_vec_drop(&things, 998);
    assert_int_equal(things.count, 998);
    assert_int_equal(things.items[997].n, 997);
    dm_vec_done(&things);
    assert_true(!things.items && things.count == 0 && things.cap == 0);
    dm_vec_done(&things);
}

static void grow_past_memory(void *arg)
{
    size_t cap = SIZE_MAX / 16;

    dm_free(dm_vec_grow(NULL, cap, &cap, 32));
}

static void ends_the_process_on_overflow(void **state)
{
    assert_true(test_dies(grow_past_memory, NULL));
}

static void alloc_too_much(void *arg)
{
    volatile size_t huge = SIZE_MAX / 4;

    dm_free(dm_alloc(huge));
}

static void calloc_too_much(void *arg)
{
    volatile size_t huge = SIZE_MAX / 4;

    dm_free(dm_calloc(huge, 8));
}

static void ends_the_process_out_of_memory(void **state)
{
    assert_true(test_dies(alloc_too_much, NULL));
    assert_true(test_dies(calloc_too_much, NULL));
}

static void counts_allocations(void **state)
{
    uint64_t calls = dm_mem_calls();
    char *copy = dm_strdup(DM_STR("abc"));
    void *empty = dm_alloc(0), *none = dm_calloc(0, 8);

    assert_string_equal(copy, "abc");
    assert_true(empty && none && empty != none);
    copy = dm_realloc(copy, 100);
    assert_string_equal(copy, "abc");
    assert_true(dm_mem_calls() == calls + 4);
    dm_mem_wipe(copy, 3);
    assert_int_equal(copy[0], 0);
    dm_free(copy);
    dm_free(empty);
    dm_free(none);
    dm_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_and_drops),
        cmocka_unit_test(ends_the_process_on_overflow),
        cmocka_unit_test(ends_the_process_out_of_memory),
        cmocka_unit_test(counts_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
