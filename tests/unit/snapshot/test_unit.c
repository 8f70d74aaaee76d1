/* Unit files: what was cut, changed or made by another version is refused; what passes the check is safe to read. */
#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "snapshot/applications.h"
#include "snapshot/check_int.h"
#include "snapshot/domains.h"
#include "snapshot/grants.h"

static const char digest_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char applications[] =
    "{\"digest_key_id\":1,\"digest_key\":\"1111111111111111111111111111111111111111111111111111111111111111\","
    "\"applications\":[{\"id\":1,\"name\":\"one\",\"subscriptions\":[{\"product\":\"p\",\"plan\":\"basic\"}],"
    "\"credentials\":[{\"id\":1,\"name\":\"k\",\"type\":\"api_key\","
    "\"digest\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}]},"
    "{\"id\":2,\"name\":\"two\",\"state\":\"suspended\",\"credentials\":[{\"id\":2,\"name\":\"k\",\"type\":\"api_key\","
    "\"digest\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}]}]}";
static const char grants[] =
    "{\"state\":\"active\",\"weight\":100,\"domains\":[{\"name\":\"*.p.test\"}],"
    "\"endpoints\":[{\"address\":\"10.1.0.0/16\",\"port\":80,\"port_to\":90},"
    "{\"address\":\"unix:/run/app.sock\",\"port\":0},{\"address\":\"0.0.0.0/0\",\"port\":443},{\"address\":\"127.0.0.1\",\"port\":8080}]}";

static void test_refuses_what_was_cut_or_changed(void **unused)
{
    struct compiled compiled;
    struct dm_err err = {0};

    compiled_init(&compiled, DM_UNIT_APPLICATIONS, applications);
    for (size_t len = 0; len < compiled.unit->size; len++)
        assert_true(dm_unit_check(compiled.unit->base, len, &err) < 0);
    for (size_t at = 0; at < compiled.unit->size; at++) {
        compiled.builder.buf.ptr[at] ^= 1;
        assert_true(dm_unit_check(compiled.unit->base, compiled.unit->size, &err) < 0);
        compiled.builder.buf.ptr[at] ^= 1;
    }
    assert_int_equal(dm_unit_check(compiled.unit->base, compiled.unit->size, &err), 0);
    compiled_done(&compiled);
}

static void test_refuses_another_version(void **unused)
{
    struct compiled compiled;
    struct dm_err err = {0};

    compiled_init(&compiled, DM_UNIT_GRANTS, grants);
    ((struct dm_unit_header *)(void *)compiled.builder.buf.ptr)->format++;
    assert_int_equal(dm_unit_check(compiled.unit->base, compiled.unit->size, &err), DM_EVERSION);
    ((struct dm_unit_header *)(void *)compiled.builder.buf.ptr)->format--;
    compiled_done(&compiled);
}

/* What is left out is as it was before there were cells. */
static void test_carries_a_cell_only_when_dedicated(void **unused)
{
    static const char cell[] =
        "\"cell\":{\"workers\":3,\"cpu_percent\":150,\"cpu_weight\":7,\"memory_bytes\":5000000000}";
    struct compiled compiled;
    const struct dm_ugrants *root;
    char body[512];

    for (int i = 0; i < 3; i++) {
        snprintf(body, sizeof(body), "{\"state\":\"active\"%s%s%s}", i > 0 ? "," : "", i > 0 ? cell : "",
                 i == 2 ? ",\"tenancy\":\"dedicated\"" : "");
        compiled_init(&compiled, DM_UNIT_GRANTS, body);
        root = DM_UNIT_ROOT(compiled.unit, dm_ugrants);
        assert_int_equal(root->cell.n_workers, i == 2 ? 3 : 0);
        assert_int_equal(root->cell.cpu_percent, i == 2 ? 150 : 0);
        assert_true(root->cell.memory_bytes == (i == 2 ? 5000000000u : 0));
        compiled_done(&compiled);
    }
}

/* Any content under a right checksum is refused or harmless: the check itself stays inside (ASan looks). */
static void test_survives_any_content(void **unused)
{
    struct compiled compiled;
    uint64_t x = 42;

    compiled_init(&compiled, DM_UNIT_APPLICATIONS, applications);
    for (int i = 0; i < 20000; i++) {
        struct dm_unit_header *header = (struct dm_unit_header *)(void *)compiled.builder.buf.ptr;
        size_t at;
        x = x * UINT64_C(6364136223846793005) + 1;
        at = sizeof(*header) - 4 + (size_t)(x >> 33) % (compiled.unit->size - sizeof(*header) + 4);
        char former = compiled.builder.buf.ptr[at];
        compiled.builder.buf.ptr[at] = (char)(x >> 40);
        if (dm_unit_check_content(compiled.unit->base, compiled.unit->size)) {
            uint8_t digest[DM_DIGEST_BYTES] = {(uint8_t)x};
            (void)dm_uapplications_find(compiled.unit, digest);
        }
        compiled.builder.buf.ptr[at] = former;
    }
    compiled_done(&compiled);
}

static void test_finds_credentials(void **unused)
{
    struct compiled compiled;
    uint8_t digest[DM_DIGEST_BYTES];
    const struct dm_ucredential *found;

    compiled_init(&compiled, DM_UNIT_APPLICATIONS, applications);
    memset(digest, 0xaa, sizeof(digest));
    found = dm_uapplications_find(compiled.unit, digest);
    assert_non_null(found);
    assert_true(
        dm_str_eq(dm_unit_str(compiled.unit, DM_UNIT_GET(compiled.unit, dm_uapplication, found->application)->name),
                  DM_STR("one")));
    digest[31] = 0;
    assert_null(dm_uapplications_find(compiled.unit, digest));
    compiled_done(&compiled);
    assert_int_equal(strlen(digest_a), 64);
}

static void test_grants_hold_addresses(void **unused)
{
    static const struct {
        const char *addr;
        bool is_allowed;
    } cases[] = {
        {"10.1.2.3:80", true},          {"10.1.2.3:90", true},          {"10.1.2.3:91", false},
        {"10.2.0.1:80", false},         {"8.8.8.8:443", true},          {"8.8.8.8:80", false},
        {"127.0.0.1:8080", true},       {"127.0.0.1:443", false},       {"127.0.0.2:8080", false},
        {"169.254.169.254:443", false}, {"[::ffff:10.1.2.3]:80", true}, {"[::1]:443", false},
        {"unix:/run/x", false},         {"unix:/run/app.sock", true},   {"unix:/run/app.soc", false},
    };
    struct compiled compiled;
    struct dm_addr addr;

    compiled_init(&compiled, DM_UNIT_GRANTS, grants);
    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        assert_int_equal(dm_addr_parse(dm_str_of(cases[i].addr), &addr, NULL), 0);
        if (dm_ugrants_allow(compiled.unit, &addr) != cases[i].is_allowed)
            fail_msg("%s", cases[i].addr);
    }
    compiled_done(&compiled);
}

#define PEM "-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n"

static const char domains[] =
    "{\"key_id\":3,\"domains\":[{\"name\":\"*.p.test\",\"certificate\":\"two\",\"client_certificate\":\"required\","
    "\"client_ca\":\"" PEM "\",\"hsts_max_age_s\":60,\"hsts_include_subdomains\":true},"
    "{\"name\":\"p.test\",\"certificate\":\"\",\"redirect_to_https\":true,\"http2\":false,\"tls_min_version\":\"1.3\"}],"
    "\"certificates\":[{\"name\":\"one\",\"chain\":\"" PEM "\",\"key_sealed\":\"AAEC\"},"
    "{\"name\":\"two\",\"chain\":\"" PEM "\",\"key_sealed\":\"AwQF\",\"ocsp_response\":\"/w==\"}]}";

static void test_domains_and_certificates(void **unused)
{
    struct compiled compiled;
    const struct dm_udomains *root;
    const struct dm_udomain *items;
    const struct dm_ucertificate *two;

    compiled_init(&compiled, DM_UNIT_DOMAINS, domains);
    root = DM_UNIT_ROOT(compiled.unit, dm_udomains);
    items = dm_unit_at(compiled.unit, root->domains);
    two = dm_udomains_certificate(compiled.unit, DM_STR("two"));
    assert_int_equal(root->key_id, 3);
    assert_int_equal(root->n_domains, 2);
    assert_non_null(two);
    assert_null(dm_udomains_certificate(compiled.unit, DM_STR("tw")));
    assert_true(dm_str_eq(dm_unit_str(compiled.unit, two->key_sealed), DM_STR("AwQF")));
    assert_true(dm_str_eq(dm_unit_str(compiled.unit, two->ocsp), DM_STR("\xff")));
    assert_true(dm_str_eq(dm_unit_str(compiled.unit, items[0].name), DM_STR(".p.test")));
    assert_true(dm_str_eq(dm_unit_str(compiled.unit, items[0].hsts), DM_STR("max-age=60; includeSubDomains")));
    assert_int_equal(items[0].certificate, 1);
    assert_true(items[0].is_wildcard && items[0].allows_http2 && !items[0].redirects_to_https);
    assert_int_equal(items[1].certificate, DM_UDOMAIN_NO_CERTIFICATE);
    assert_true(!items[1].is_wildcard && !items[1].allows_http2 && items[1].redirects_to_https);
    assert_int_equal(items[1].hsts.len, 0);
    assert_true(items[1].min_version > items[0].min_version);
    compiled_done(&compiled);
}

static void test_opens_files(void **unused)
{
    char path[] = "/tmp/daemun-unit-XXXXXX";
    struct compiled compiled;
    struct dm_err err = {0};
    struct dm_unit *unit;

    compiled_init(&compiled, DM_UNIT_GRANTS, grants);
    assert_true(mkstemp(path) >= 0);
    assert_int_equal(dm_sys_write_file(dm_sys_real(), path, dm_buf_str(&compiled.builder.buf), 0600, false, &err), 0);
    assert_int_equal(dm_unit_open(path, &unit, &err), 0);
    assert_string_equal(dm_unit_header(unit)->tenant, "team");
    assert_int_equal(dm_unit_header(unit)->mark.sequence, 5);
    dm_unit_unref(unit);
    remove(path);
    assert_int_equal(dm_unit_open(path, &unit, &err), DM_ENOENT);
    compiled_done(&compiled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_what_was_cut_or_changed),
        cmocka_unit_test(test_refuses_another_version),
        cmocka_unit_test(test_carries_a_cell_only_when_dedicated),
        cmocka_unit_test(test_survives_any_content),
        cmocka_unit_test(test_finds_credentials),
        cmocka_unit_test(test_grants_hold_addresses),
        cmocka_unit_test(test_domains_and_certificates),
        cmocka_unit_test(test_opens_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
