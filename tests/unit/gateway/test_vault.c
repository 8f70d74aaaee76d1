/* Whose secrets open, and whose do not. */
#include "gateway/domains/vault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "model/certificate.h"
#include "model/tenant_key.h"

struct place {
    char dir[32], path[64];
    struct dm_vault *vault;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct dm_err err = {0};

    assert_int_equal(dm_crypto_init(), 0);
    memcpy(p->dir, "/tmp/daemun-vault-XXXXXX", 25);
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/box.key", p->dir);
    assert_int_equal(dm_vault_open(dm_sys_real(), p->path, true, &p->vault, &err), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    dm_vault_free(p->vault);
    unlink(p->path);
    rmdir(p->dir);
    free(p);
    return 0;
}

static void seal_for(struct place *p, uint64_t tenant_id, uint64_t key_id, uint8_t fill,
                     uint8_t ret[DM_TENANT_KEY_SEALED_BYTES])
{
    struct dm_tenant_key key = {.tenant_id = tenant_id, .key_id = key_id};

    memset(key.key, fill, sizeof(key.key));
    assert_int_equal(dm_tenant_key_seal(dm_vault_public(p->vault), &key, ret), 0);
}

static int put(struct place *p, uint64_t tenant_id, uint64_t key_id, const uint8_t *sealed)
{
    return dm_vault_put(p->vault, tenant_id, key_id, dm_str_n((const char *)sealed, DM_TENANT_KEY_SEALED_BYTES));
}

static int open_key(struct place *p, uint64_t tenant_id, uint64_t key_id, struct dm_str name, struct dm_str sealed)
{
    char *plain = NULL;
    size_t len = 0;
    int rc = dm_vault_certificate_key(p->vault, tenant_id, key_id, name, sealed, &plain, &len);

    if (rc == 0)
        assert_true(dm_str_eq(dm_str_n(plain, len), DM_STR("secret")));
    dm_secret_free(plain);
    return rc;
}

static void opens_what_is_the_tenants(void **state)
{
    struct place *p = *state;
    uint8_t sealed_key[DM_TENANT_KEY_SEALED_BYTES], key[32];
    struct dm_chunk_pool pool;
    struct dm_arena arena;
    struct dm_str sealed;

    memset(key, 1, sizeof(key));
    dm_chunk_pool_init(&pool, 4096, 4);
    dm_arena_init(&arena, &pool, 1 << 16);
    assert_int_equal(dm_certificate_key_seal(key, 7, DM_STR("c"), DM_STR("secret"), &arena, &sealed), 0);
    assert_int_equal(open_key(p, 7, 1, DM_STR("c"), sealed), DM_EAGAIN);
    for (uint64_t other = 100; other < 300; other++) { /* more than fit at first */
        seal_for(p, other, 1, 2, sealed_key);
        assert_int_equal(put(p, other, 1, sealed_key), 0);
    }
    seal_for(p, 7, 1, 1, sealed_key);
    assert_int_equal(put(p, 7, 1, sealed_key), 0);
    assert_int_equal(open_key(p, 7, 1, DM_STR("c"), sealed), 0);
    assert_int_equal(open_key(p, 7, 2, DM_STR("c"), sealed), DM_EAGAIN);
    assert_int_equal(open_key(p, 7, 1, DM_STR("d"), sealed), DM_ECORRUPT);
    assert_int_equal(open_key(p, 100, 1, DM_STR("c"), sealed), DM_ECORRUPT);
    assert_int_equal(open_key(p, 7, 1, DM_STR("c"), dm_str_n(sealed.ptr, 4)), DM_ECORRUPT);
    dm_vault_drop(p->vault, 7);
    assert_int_equal(open_key(p, 7, 1, DM_STR("c"), sealed), DM_EAGAIN);
    dm_vault_drop(p->vault, 7);
    assert_int_equal(open_key(p, 299, 1, DM_STR("c"), sealed), DM_ECORRUPT); /* is there still */
    dm_arena_done(&arena);
    dm_chunk_pool_done(&pool);
}

static void refuses_keys_that_are_not_what_they_say(void **state)
{
    struct place *p = *state;
    uint8_t sealed_key[DM_TENANT_KEY_SEALED_BYTES], other_public[DM_BOX_PUBLIC_BYTES],
        other_secret[DM_BOX_SECRET_BYTES];
    struct dm_tenant_key key = {.tenant_id = 7, .key_id = 1};

    seal_for(p, 7, 1, 1, sealed_key);
    assert_int_equal(put(p, 8, 1, sealed_key), DM_ECORRUPT);
    assert_int_equal(put(p, 7, 2, sealed_key), DM_ECORRUPT);
    sealed_key[40] ^= 1;
    assert_int_equal(put(p, 7, 1, sealed_key), DM_ECORRUPT);
    dm_box_keypair(other_public, other_secret);
    assert_int_equal(dm_tenant_key_seal(other_public, &key, sealed_key), 0);
    assert_int_equal(put(p, 7, 1, sealed_key), DM_ECORRUPT);
}

static void keeps_its_pair(void **state)
{
    struct place *p = *state;
    struct dm_err err = {0};
    struct dm_vault *again;

    assert_int_equal(dm_vault_open(dm_sys_real(), p->path, false, &again, &err), 0);
    assert_memory_equal(dm_vault_public(again), dm_vault_public(p->vault), DM_BOX_PUBLIC_BYTES);
    dm_vault_free(again);
    assert_int_equal(truncate(p->path, 20), 0);
    assert_int_equal(dm_vault_open(dm_sys_real(), p->path, true, &again, &err), DM_ECORRUPT);
    assert_non_null(strstr(err.message, "damaged"));
    unlink(p->path);
    assert_int_equal(dm_vault_open(dm_sys_real(), p->path, false, &again, &err), DM_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_what_is_the_tenants, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_keys_that_are_not_what_they_say, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_its_pair, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
