#include "testing.h"

#include "base/crypto.h"
#include "base/map.h"

static const uint8_t seed[16] = "0123456789abcdef";

static void puts_gets_and_deletes(void **state)
{
    struct dm_map map;
    int a, b;

    dm_map_init(&map, seed);
    assert_null(dm_map_get(&map, DM_STR("a")));
    assert_null(dm_map_del(&map, DM_STR("a")));
    assert_null(dm_map_put(&map, DM_STR("a"), &a));
    assert_ptr_equal(dm_map_get(&map, DM_STR("a")), &a);
    assert_ptr_equal(dm_map_put(&map, DM_STR("a"), &b), &a);
    assert_int_equal(map.count, 1);
    assert_null(dm_map_get(&map, DM_STR("")));
    assert_null(dm_map_put(&map, DM_STR_NULL, &a)); /* the empty key is a key */
    assert_ptr_equal(dm_map_get(&map, DM_STR("")), &a);
    assert_ptr_equal(dm_map_del(&map, DM_STR("a")), &b);
    assert_null(dm_map_get(&map, DM_STR("a")));
    assert_int_equal(map.count, 1);
    dm_map_done(&map);
    assert_null(dm_map_get(&map, DM_STR("")));
}

static void replaces_the_key_with_the_value(void **state)
{
    char first[] = "key", second[] = "key";
    struct dm_map map;
    size_t at = 0;
    int value;

    dm_map_init_random(&map);
    dm_map_put(&map, dm_str_of(first), &value);
    dm_map_put(&map, dm_str_of(second), &value);
    assert_ptr_equal(dm_map_next(&map, &at)->key.ptr, second);
    assert_null(dm_map_next(&map, &at));
    dm_map_done(&map);
}

static void tells_keys_apart_by_every_byte(void **state)
{
    struct dm_map map;
    int a, b;

    dm_map_init(&map, seed);
    dm_map_put(&map, dm_str_n("a\0b", 3), &a);
    dm_map_put(&map, dm_str_n("a\0c", 3), &b);
    assert_ptr_equal(dm_map_get(&map, dm_str_n("a\0b", 3)), &a);
    assert_ptr_equal(dm_map_get(&map, dm_str_n("a\0c", 3)), &b);
    assert_null(dm_map_get(&map, DM_STR("a")));
    dm_map_done(&map);
}

#define N_KEYS 2000

struct reference {
    char keys[N_KEYS][8];
    void *values[N_KEYS];
    size_t count, peak;
};

static void check_invariants(const struct dm_map *map, const struct reference *ref)
{
    size_t i, live = 0, deleted = 0;

    for (i = 0; i < map->cap; i++) {
        live += map->slots[i].hash > 1;
        deleted += map->slots[i].hash == 1;
    }
    assert_int_equal(live, ref->count);
    assert_int_equal(map->count, live);
    assert_int_equal(map->used, live + deleted);
    assert_int_equal(map->cap & (map->cap - 1), 0);
    assert_true(map->used <= map->cap / 4 * 3);
    assert_true(map->cap <= DM_MAX(16, 4 * ref->peak));
}

static void check_all(const struct dm_map *map, const struct reference *ref)
{
    struct dm_map_slot *slot;
    size_t at = 0, n = 0, i;

    for (i = 0; i < N_KEYS; i++)
        assert_ptr_equal(dm_map_get(map, dm_str_of(ref->keys[i])), ref->values[i]);
    while ((slot = dm_map_next(map, &at))) {
        assert_ptr_equal(ref->values[strtoul(slot->key.ptr + 1, NULL, 10)], slot->value);
        n++;
    }
    assert_int_equal(n, ref->count);
    check_invariants(map, ref);
}

static void operate(struct dm_map *map, struct reference *ref, size_t key, bool is_put, void *value)
{
    void *former = ref->values[key];
    struct dm_str name = dm_str_of(ref->keys[key]);

    assert_ptr_equal(is_put ? dm_map_put(map, name, value) : dm_map_del(map, name), former);
    ref->values[key] = is_put ? value : NULL;
    ref->count += (size_t)(is_put && !former);
    ref->count -= (size_t)(!is_put && former);
    ref->peak = DM_MAX(ref->peak, ref->count);
}

/* Phases that fill, churn and empty, over few and over many keys. */
static void agrees_with_an_array(void **state)
{
    static struct reference ref;
    struct test_random random = test_random_new();
    uint8_t random_seed[16] = {0};
    struct dm_map map;
    int phase, round;
    size_t i;

    for (i = 0; i < N_KEYS; i++)
        snprintf(ref.keys[i], sizeof(ref.keys[i]), "k%zu", i);
    for (i = 0; i < 8; i++)
        random_seed[i] = (uint8_t)test_random_u64(&random);
    dm_map_init(&map, random_seed);
    for (phase = 0; phase < 60; phase++) {
        size_t n_keys = 1 + test_random_below(&random, phase % 2 ? 20 : N_KEYS);
        size_t puts_of_10 = 1 + test_random_below(&random, 9);

        for (round = 0; round < 3000; round++)
            operate(&map, &ref, test_random_below(&random, n_keys), test_random_below(&random, 10) < puts_of_10,
                    &ref.keys[test_random_below(&random, N_KEYS)]);
        check_all(&map, &ref);
    }
    dm_map_done(&map);
}

static void does_not_grow_by_churn(void **state)
{
    static char keys[100000][8];
    struct dm_map map;
    size_t i;

    dm_map_init(&map, seed);
    for (i = 0; i < DM_COUNT(keys); i++) {
        snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        dm_map_put(&map, dm_str_of(keys[i]), keys[i]);
        if (i >= 500)
            assert_non_null(dm_map_del(&map, dm_str_of(keys[i - 500])));
    }
    assert_int_equal(map.count, 500);
    assert_int_equal(map.cap, 1024); /* just under half full: deleted slots would double it */
    dm_map_done(&map);
}

static void lets_a_walk_delete(void **state)
{
    struct dm_map_slot *slot;
    struct dm_map map;
    char keys[100][4];
    size_t at = 0, i;

    dm_map_init(&map, seed);
    for (i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        dm_map_put(&map, dm_str_of(keys[i]), keys[i]);
    }
    for (i = 0; (slot = dm_map_next(&map, &at)); i++)
        assert_non_null(dm_map_del(&map, slot->key));
    assert_int_equal(i, 100);
    assert_int_equal(map.count, 0);
    assert_int_equal(map.used, 0);
    dm_map_done(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_gets_and_deletes),          cmocka_unit_test(replaces_the_key_with_the_value),
        cmocka_unit_test(tells_keys_apart_by_every_byte), cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(does_not_grow_by_churn),         cmocka_unit_test(lets_a_walk_delete),
    };

    if (dm_crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
