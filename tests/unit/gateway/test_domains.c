/* A tenant's domains in a worker: what is made of a unit, and when. */
#include "gateway/domains/domains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../snapshot/compiled.h"
#include "base/arena.h"
#include "base/jsonw.h"
#include "model/certificate.h"
#include "model/tenant_key.h"
#include "pki/pki.h"

#define TENANT_ID 9 /* compiled.c */
#define NO_CERTIFICATE "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

static const uint8_t data_key[32] = {1};
static char dir[32], path[64];
static struct dm_vault *vault;
static struct pki_identity *leaf, *renewed;

struct wanted {
    const struct pki_identity *identity;
    const char *client_ca;   /* of b.test; NULL: it asks for no certificate */
    const char *sealed_name; /* of the certificate whose key it is; NULL: its own */
};

static void write_domain(struct dm_jsonw *w, const char *name, const char *certificate, const char *client_ca)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "name", name);
    dm_jsonw_member_cstr(w, "certificate", certificate);
    if (client_ca) {
        dm_jsonw_member_cstr(w, "client_certificate", "required");
        dm_jsonw_member_cstr(w, "client_ca", client_ca);
    }
    dm_jsonw_end_object(w);
}

static void write_certificate(struct dm_jsonw *w, const struct wanted *wanted)
{
    struct dm_str name = dm_str_of(wanted->sealed_name ? wanted->sealed_name : "main"), sealed;
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, 1 << 16);
    assert_int_equal(dm_certificate_key_seal(data_key, TENANT_ID, name, wanted->identity->key_pem, &arena, &sealed), 0);
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "name", "main");
    dm_jsonw_member_str(w, "chain", wanted->identity->chain_pem);
    dm_jsonw_member_str(w, "key_sealed", sealed);
    dm_jsonw_end_object(w);
    dm_arena_done(&arena);
}

/* a.test and b.test with the certificate, c.test without. */
static void compile(const struct wanted *wanted, struct compiled *ret)
{
    struct dm_buf DM_CLEANUP(dm_buf_done) body;
    struct dm_jsonw w;

    dm_buf_init(&body, 1 << 20);
    dm_jsonw_init(&w, &body);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_u64(&w, "key_id", 1);
    dm_jsonw_name(&w, "domains");
    dm_jsonw_begin_array(&w);
    write_domain(&w, "a.test", "main", NULL);
    write_domain(&w, "b.test", "main", wanted->client_ca);
    write_domain(&w, "c.test", "", NULL);
    dm_jsonw_end_array(&w);
    dm_jsonw_name(&w, "certificates");
    dm_jsonw_begin_array(&w);
    write_certificate(&w, wanted);
    dm_jsonw_end_array(&w);
    dm_jsonw_end_object(&w);
    dm_buf_add_char(&body, '\0');
    compiled_init(ret, DM_UNIT_DOMAINS, body.ptr);
}

static int make(const struct wanted *wanted, const struct dm_live_domains *former, struct compiled *compiled,
                struct dm_live_domains **ret)
{
    struct dm_err err = {0};
    int rc;

    compile(wanted, compiled);
    if ((rc = dm_live_domains_new(dm_unit_ref(compiled->unit), vault, former, ret, &err)) < 0)
        dm_unit_unref(compiled->unit);
    return rc;
}

static struct dm_tls_profile *profile_of(struct dm_live_domains *domains, const char *host)
{
    return dm_live_domains_profile(domains, dm_live_domains_find(domains, dm_str_of(host)), vault);
}

static void know_data_key(void)
{
    struct dm_tenant_key key = {.tenant_id = TENANT_ID, .key_id = 1};
    uint8_t sealed[DM_TENANT_KEY_SEALED_BYTES];

    memcpy(key.key, data_key, sizeof(key.key));
    assert_int_equal(dm_tenant_key_seal(dm_vault_public(vault), &key, sealed), 0);
    assert_int_equal(dm_vault_put(vault, TENANT_ID, 1, dm_str_n((const char *)sealed, sizeof(sealed))), 0);
}

static int setup(void **state)
{
    struct dm_err err = {0};

    assert_int_equal(dm_crypto_init(), 0);
    memcpy(dir, "/tmp/daemun-domains-XXXXXX", 27);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/box.key", dir);
    assert_int_equal(dm_vault_open(dm_sys_real(), path, true, &vault, &err), 0);
    know_data_key();
    leaf = pki_make(&(struct pki_spec){.subject = "Leaf", .names = "DNS:a.test,DNS:b.test"}, NULL);
    renewed = pki_make(&(struct pki_spec){.subject = "Leaf", .names = "DNS:a.test,DNS:b.test"}, NULL);
    return 0;
}

static int teardown(void **state)
{
    pki_free(renewed);
    pki_free(leaf);
    dm_vault_free(vault);
    unlink(path);
    rmdir(dir);
    return 0;
}

/* M2: reading certificates takes time, which all of the worker's tenants would wait for. */
static void profiles_are_made_when_they_are_asked_for(void **state)
{
    struct dm_live_domains *domains, *next, *third;
    struct compiled first, second, last;
    struct dm_tls_profile *profile;

    assert_int_equal(make(&(struct wanted){.identity = leaf}, NULL, &first, &domains), 0);
    for (uint32_t i = 0; i < domains->n; i++)
        assert_null(domains->items[i].profile);
    assert_non_null(profile = profile_of(domains, "a.test"));
    assert_ptr_equal(profile_of(domains, "a.test"), profile);
    assert_null(dm_live_domains_find(domains, DM_STR("b.test"))->profile);
    assert_false(dm_live_domain_has_tls(dm_live_domains_find(domains, DM_STR("c.test"))));

    assert_int_equal(make(&(struct wanted){.identity = leaf}, domains, &second, &next), 0);
    assert_ptr_equal(dm_live_domains_find(next, DM_STR("a.test"))->profile, profile);
    assert_null(dm_live_domains_find(next, DM_STR("b.test"))->profile);
    assert_int_equal(make(&(struct wanted){.identity = renewed}, next, &last, &third), 0);
    assert_null(dm_live_domains_find(third, DM_STR("a.test"))->profile);
    assert_non_null(profile_of(third, "a.test"));
    dm_live_domains_free(domains);
    dm_live_domains_free(next);
    dm_live_domains_free(third);
    compiled_done(&first);
    compiled_done(&second);
    compiled_done(&last);
}

/* M1 */
static void keys_open_before_anything_is_given_up(void **state)
{
    struct dm_live_domains *domains;
    struct compiled compiled;

    assert_int_equal(make(&(struct wanted){.identity = leaf, .sealed_name = "other"}, NULL, &compiled, &domains),
                     DM_ECORRUPT);
    compiled_done(&compiled);
    dm_vault_drop(vault, TENANT_ID);
    assert_int_equal(make(&(struct wanted){.identity = leaf}, NULL, &compiled, &domains), DM_EAGAIN);
    compiled_done(&compiled);
    know_data_key();
}

static void one_that_is_unusable_leaves_the_others(void **state)
{
    struct dm_live_domains *domains;
    struct compiled compiled;

    assert_int_equal(make(&(struct wanted){.identity = leaf, .client_ca = NO_CERTIFICATE}, NULL, &compiled, &domains),
                     0);
    assert_null(profile_of(domains, "b.test"));
    assert_null(profile_of(domains, "b.test"));
    assert_non_null(profile_of(domains, "a.test"));
    dm_live_domains_free(domains);
    compiled_done(&compiled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_are_made_when_they_are_asked_for),
        cmocka_unit_test(keys_open_before_anything_is_given_up),
        cmocka_unit_test(one_that_is_unusable_leaves_the_others),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
