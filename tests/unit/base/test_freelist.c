#include "testing.h"

#include "base/freelist.h"
#include "base/mem.h"

#ifdef DM_DEBUG_ALLOC
#define IS_DEBUG true
#else
#define IS_DEBUG false
#endif

static void gives_back_what_it_kept(void **state)
{
    struct dm_freelist list;
    void *first, *second;
    uint64_t calls;

    dm_freelist_init(&list, 100, 4);
    first = dm_freelist_take(&list);
    second = dm_freelist_take(&list);
    assert_ptr_not_equal(first, second);
    memset(first, 1, 100);
    memset(second, 2, 100);
    assert_int_equal(list.n_used, 2);
    dm_freelist_give(&list, first);
    dm_freelist_give(&list, second);
    assert_int_equal(list.n_used, 0);
    if (!IS_DEBUG) {
        calls = dm_mem_calls();
        assert_ptr_equal(dm_freelist_take(&list), second);
        assert_ptr_equal(dm_freelist_take(&list), first);
        assert_true(dm_mem_calls() == calls);
        memset(first, 3, 100);
        dm_freelist_give(&list, first);
        dm_freelist_give(&list, second);
    }
    dm_freelist_done(&list);
    assert_int_equal(list.n_free, 0);
}

static void keeps_no_more_than_asked(void **state)
{
    struct dm_freelist list;
    void *objects[10];
    size_t i;

    dm_freelist_init(&list, 1, 3); /* smaller than a pointer */
    for (i = 0; i < DM_COUNT(objects); i++)
        objects[i] = dm_freelist_take(&list);
    for (i = 0; i < DM_COUNT(objects); i++)
        dm_freelist_give(&list, objects[i]);
    assert_int_equal(list.n_free, IS_DEBUG ? 0 : 3);
    dm_freelist_done(&list);
}

static void write_after_give(void *arg)
{
    struct dm_freelist list;
    volatile char *object;

    dm_freelist_init(&list, 100, 3);
    object = dm_freelist_take(&list);
    dm_freelist_give(&list, (void *)object);
    object[50] = 1;
}

static void does_not_blind_the_sanitizer(void **state)
{
    if (!DM_ASAN)
        skip();
    assert_true(test_dies(write_after_give, NULL));
}

static void give_twice(void *arg)
{
    struct dm_freelist list;
    void *object;

    dm_freelist_init(&list, 100, 3);
    object = dm_freelist_take(&list);
    dm_freelist_give(&list, object);
    dm_freelist_give(&list, object);
}

static void refuses_more_than_was_taken(void **state)
{
    assert_true(test_dies(give_twice, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_it_kept),
        cmocka_unit_test(keeps_no_more_than_asked),
        cmocka_unit_test(does_not_blind_the_sanitizer),
        cmocka_unit_test(refuses_more_than_was_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
