/* Built twice: against the library, and with arena.c compiled in under DM_DEBUG_ALLOC. */
#include "testing.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"

#ifdef DM_DEBUG_ALLOC
#define IS_DEBUG true
#else
#define IS_DEBUG false
#endif

static void hands_out_aligned_memory_of_its_own(void **state)
{
    struct test_random random = test_random_new();
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    unsigned char *ptr[200];
    size_t len[200], i, j;
    int round;

    dm_chunk_pool_init(&pool, 4096, 8);
    dm_arena_init(&arena, &pool, 1 << 22);
    for (round = 0; round < 20; round++) {
        for (i = 0; i < DM_COUNT(ptr); i++) {
            len[i] = test_random_below(&random, test_random_below(&random, 10) == 0 ? 10000 : 100);
            ptr[i] = dm_arena_alloc(&arena, len[i]);
            assert_non_null(ptr[i]);
            assert_int_equal((uintptr_t)ptr[i] % 16, 0);
            memset(ptr[i], (int)i, len[i]);
        }
        for (i = 0; i < DM_COUNT(ptr); i++)
            for (j = 0; j < len[i]; j++)
                assert_int_equal(ptr[i][j], i);
        dm_arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    dm_chunk_pool_done(&pool);
}

static void refuses_what_passes_the_budget(void **state)
{
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, 64);
    assert_null(dm_arena_alloc(&arena, 65));
    assert_non_null(dm_arena_alloc(&arena, 1));
    assert_int_equal(arena.used_bytes, 16);
    assert_null(dm_arena_alloc(&arena, 49));
    assert_non_null(dm_arena_alloc(&arena, 48));
    assert_null(dm_arena_alloc(&arena, 1));
    assert_null(dm_arena_alloc(&arena, 0));
    assert_null(dm_arena_calloc(&arena, 1));
    dm_arena_reset(&arena);
    assert_non_null(dm_arena_alloc(&arena, 64));
    dm_arena_done(&arena);
}

static void refuses_absurd_sizes(void **state)
{
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX / 2 + 1};
    struct dm_arena arena;
    size_t i;

    dm_arena_init(&arena, NULL, 1 << 20);
    for (i = 0; i < DM_COUNT(sizes); i++) {
        assert_null(dm_arena_alloc(&arena, sizes[i]));
        assert_non_null(dm_arena_alloc(&arena, 100));
    }
    dm_arena_done(&arena);
    dm_arena_init(&arena, NULL, SIZE_MAX);
    for (i = 0; i < DM_COUNT(sizes); i++)
        assert_null(dm_arena_alloc(&arena, sizes[i]));
    dm_arena_done(&arena);
}

static void gives_empty_allocations_their_own_place(void **state)
{
    struct dm_arena arena;
    void *first, *second;

    dm_arena_init(&arena, NULL, 1024);
    first = dm_arena_alloc(&arena, 0);
    second = dm_arena_alloc(&arena, 0);
    assert_true(first && second && first != second);
    assert_int_equal(arena.used_bytes, 32);
    dm_arena_done(&arena);
}

static void zeroes_on_request(void **state)
{
    struct dm_arena arena;
    struct dm_chunk_pool pool;
    unsigned char *ptr;
    size_t i;

    dm_chunk_pool_init(&pool, 4096, 1);
    dm_arena_init(&arena, &pool, 4096);
    memset(dm_arena_alloc(&arena, 1000), 0xff, 1000);
    dm_arena_reset(&arena);
    ptr = dm_arena_calloc(&arena, 1000);
    for (i = 0; i < 1000; i++)
        assert_int_equal(ptr[i], 0);
    dm_arena_done(&arena);
    dm_chunk_pool_done(&pool);
}

static void copies_and_prints_strings(void **state)
{
    struct dm_arena arena;
    struct dm_str s = DM_STR("kept");

    dm_arena_init(&arena, NULL, 64);
    assert_int_equal(dm_arena_str(&arena, DM_STR("abc"), &s), 0);
    assert_str(s, "abc");
    assert_int_equal(s.ptr[3], '\0');
    assert_int_equal(dm_arena_str(&arena, DM_STR_NULL, &s), 0);
    assert_true(s.len == 0 && s.ptr && s.ptr[0] == '\0');
    assert_int_equal(dm_arena_printf(&arena, &s, "%d-%s", 12, "x"), 0);
    assert_str(s, "12-x");
    assert_int_equal(dm_arena_printf(&arena, &s, "%100d", 1), DM_EBUDGET);
    assert_int_equal(dm_arena_str(&arena, dm_str_n("", 1000), &s), DM_EBUDGET);
    assert_str(s, "12-x");
    dm_arena_done(&arena);
}

/* Fails at its n-th step for every budget that is too small, and leaves nothing half-made. */
static int build_three(struct dm_arena *arena, struct dm_str ret[3])
{
    struct dm_str made[3];
    int rc;

    if ((rc = dm_arena_str(arena, DM_STR("first"), &made[0])) < 0)
        return rc;
    if ((rc = dm_arena_printf(arena, &made[1], "%050d", 2)) < 0)
        return rc;
    if ((rc = dm_arena_str(arena, DM_STR("third"), &made[2])) < 0)
        return rc;
    memcpy(ret, made, sizeof(made));
    return 0;
}

static void fails_cleanly_at_each_budget(void **state)
{
    size_t budget;

    for (budget = 0; budget <= 16 + 64 + 16; budget++) {
        struct dm_str ret[3] = {DM_STR("untouched")};
        struct dm_arena arena;
        int rc;

        dm_arena_init(&arena, NULL, budget);
        rc = build_three(&arena, ret);
        assert_int_equal(rc, budget < 96 ? DM_EBUDGET : 0);
        if (rc < 0)
            assert_str(ret[0], "untouched");
        assert_true(arena.used_bytes <= budget);
        dm_arena_done(&arena);
    }
}

static void reuses_its_chunks(void **state)
{
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    uint64_t calls = 0;
    int round, i;

    if (IS_DEBUG)
        skip();
    dm_chunk_pool_init(&pool, 4096, 4);
    dm_arena_init(&arena, &pool, 1 << 16);
    for (round = 0; round < 100; round++) {
        if (round == 1)
            calls = dm_mem_calls();
        for (i = 0; i < 30; i++)
            assert_non_null(dm_arena_alloc(&arena, 400));
        dm_arena_reset(&arena);
        assert_int_equal(pool.n_free, 3);
    }
    assert_true(dm_mem_calls() == calls);
    assert_int_equal(pool.n_system, 3);
    dm_chunk_pool_done(&pool);
    assert_int_equal(pool.n_free, 0);
}

static void keeps_no_more_chunks_than_asked(void **state)
{
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    int i;

    if (IS_DEBUG)
        skip();
    dm_chunk_pool_init(&pool, 4096, 2);
    dm_arena_init(&arena, &pool, 1 << 20);
    for (i = 0; i < 10; i++)
        assert_non_null(dm_arena_alloc(&arena, 4000));
    assert_non_null(dm_arena_alloc(&arena, 100000)); /* oversized: never kept */
    dm_arena_reset(&arena);
    assert_int_equal(pool.n_free, 2);
    dm_chunk_pool_done(&pool);
}

static void goes_on_in_its_chunk_behind_an_oversized_one(void **state)
{
    struct dm_chunk_pool pool;
    struct dm_arena arena;

    if (IS_DEBUG)
        skip();
    dm_chunk_pool_init(&pool, 4096, 2);
    dm_arena_init(&arena, &pool, 1 << 20);
    assert_non_null(dm_arena_alloc(&arena, 5000));
    assert_non_null(dm_arena_alloc(&arena, 16));
    assert_non_null(dm_arena_alloc(&arena, 5000));
    assert_non_null(dm_arena_alloc(&arena, 16));
    assert_int_equal(pool.n_system, 3);
    dm_arena_reset(&arena);
    dm_chunk_pool_done(&pool);
}

/* Not instrumented, so that the red zone itself has to notice. */
__attribute__((noinline, no_sanitize_address)) static void damage(volatile char *at)
{
    *at ^= 0x55;
}

static void write_and_reset(void *arg)
{
    struct dm_arena arena;
    char *ptr;

    dm_arena_init(&arena, NULL, 1024);
    ptr = dm_arena_alloc(&arena, 20);
    damage(ptr + *(int *)arg);
    dm_arena_reset(&arena);
}

static void notices_a_damaged_red_zone(void **state)
{
    int before = -1, behind = 20, within = 19;

    if (!IS_DEBUG)
        skip();
    assert_true(test_dies(write_and_reset, &before));
    assert_true(test_dies(write_and_reset, &behind));
    assert_false(test_dies(write_and_reset, &within));
}

/* The chunk comes back as it was left. */
static void leaves_nothing_after_a_wipe(void **state)
{
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    char *ptr, *large;

    if (IS_DEBUG)
        skip();
    dm_chunk_pool_init(&pool, 4096, 2);
    dm_arena_init(&arena, &pool, 1 << 20);
    ptr = dm_arena_alloc(&arena, 100);
    memset(ptr, 'k', 100);
    large = dm_arena_alloc(&arena, 8192);
    memset(large, 'k', 8192);
    dm_arena_wipe(&arena);
    assert_int_equal(arena.used_bytes, 0);
    assert_int_equal(pool.n_free, 1);
    assert_ptr_equal(dm_arena_alloc(&arena, 100), ptr);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(ptr[i], 0);
    dm_arena_done(&arena);
    dm_chunk_pool_done(&pool);
}

static void write_plainly(void *arg)
{
    struct dm_arena arena;
    volatile char *ptr;

    dm_arena_init(&arena, NULL, 1024);
    ptr = dm_arena_alloc(&arena, 20);
    ptr[*(int *)arg] = 1;
}

static void write_after_reset(void *arg)
{
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    volatile char *ptr;

    dm_chunk_pool_init(&pool, 4096, 2);
    dm_arena_init(&arena, &pool, 1024);
    ptr = dm_arena_alloc(&arena, 20);
    dm_arena_reset(&arena);
    ptr[0] = 1;
}

static void does_not_blind_the_sanitizer(void **state)
{
    int behind = 20, within = 19;

    if (!DM_ASAN)
        skip();
    assert_true(test_dies(write_plainly, &behind));
    assert_false(test_dies(write_plainly, &within));
    assert_true(test_dies(write_after_reset, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_aligned_memory_of_its_own),
        cmocka_unit_test(refuses_what_passes_the_budget),
        cmocka_unit_test(refuses_absurd_sizes),
        cmocka_unit_test(gives_empty_allocations_their_own_place),
        cmocka_unit_test(zeroes_on_request),
        cmocka_unit_test(copies_and_prints_strings),
        cmocka_unit_test(fails_cleanly_at_each_budget),
        cmocka_unit_test(reuses_its_chunks),
        cmocka_unit_test(keeps_no_more_chunks_than_asked),
        cmocka_unit_test(goes_on_in_its_chunk_behind_an_oversized_one),
        cmocka_unit_test(leaves_nothing_after_a_wipe),
        cmocka_unit_test(notices_a_damaged_red_zone),
        cmocka_unit_test(does_not_blind_the_sanitizer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
