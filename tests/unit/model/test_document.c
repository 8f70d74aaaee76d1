/* Signed documents: sealing, opening, what is refused. */
#include "fixture.h"

#include "base/buf.h"
#include "base/crypto.h"
#include "base/encode.h"
#include "model/document.h"
#include "model/tenant_file.h"

static uint8_t public_key[DM_SIGN_PUBLIC_BYTES], secret[DM_SIGN_SECRET_BYTES];
static struct dm_arena arena;

static int set_up(void **state)
{
    dm_arena_init(&arena, NULL, 16 << 20);
    dm_sign_keypair(public_key, secret);
    return 0;
}

static int tear_down(void **state)
{
    dm_arena_done(&arena);
    return 0;
}

static struct dm_document release(void)
{
    struct dm_tenant_file file;
    struct dm_document document = {.format = DM_DOCUMENT_FORMAT,
                                   .kind = DM_UNIT_RELEASE,
                                   .tenant = DM_STR("orders"),
                                   .tenant_id = 7,
                                   .epoch = 1,
                                   .sequence = 12,
                                   .compat_date = DM_STR("2026-11-01")};

    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &file);
    document.release = (struct dm_release_body){file.backends, file.n_backends, file.products, file.n_products};
    return document;
}

static struct dm_str seal(const struct dm_document *document)
{
    struct dm_err err = {0};
    struct dm_buf buf;
    struct dm_str ret;

    dm_buf_init(&buf, DM_DOCUMENT_MAX);
    if (dm_document_seal(secret, document, &buf, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(dm_arena_str(&arena, dm_buf_str(&buf), &ret), 0);
    dm_buf_done(&buf);
    return ret;
}

static void assert_reads(const struct dm_document *document, struct dm_document *ret)
{
    struct dm_document_head head;
    struct dm_errs errs = {0};
    struct dm_err err = {0};

    if (dm_document_open(public_key, seal(document), &head, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(head.kind, document->kind);
    assert_true(dm_str_eq(head.tenant, document->tenant));
    assert_int_equal(head.tenant_id, document->tenant_id);
    assert_int_equal(head.mark.epoch, document->epoch);
    assert_int_equal(head.mark.sequence, document->sequence);
    assert_true(head.key_id == dm_document_key_id(public_key));
    if (dm_document_read(&head, &arena, ret, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
    assert_true(dm_model_equal(&dm_schema_document, document, ret));
}

static void carries_a_release(void **state)
{
    struct dm_document document = release(), ret;

    assert_reads(&document, &ret);
    assert_int_equal(ret.release.n_products, 2);
    assert_true(dm_str_eq(ret.release.products[0].versions[0].mapping_rules[0].pattern, DM_STR("/orders/{id}$")));
}

static void carries_applications_as_digests(void **state)
{
    struct dm_document document = release(), ret;
    struct dm_tenant_file file;
    uint8_t key[32] = {1}, digest[DM_DIGEST_BYTES];
    char hex[3][2 * DM_DIGEST_BYTES + 1], key_hex[65], value[DM_CREDENTIAL_VALUE_MAX];
    struct dm_str bytes;

    fixture_read(&dm_schema_tenant_file, fixture_file, &arena, &file);
    for (size_t i = 0; i < 3; i++) {
        struct dm_credential *credential = &file.applications[0].credentials[i];

        dm_credential_digest(key, credential->type, dm_credential_value(credential, value), digest);
        dm_hex(digest, sizeof(digest), hex[i]);
        credential->digest = dm_str_of(hex[i]);
        credential->id = (int64_t)i + 1;
    }
    file.applications[0].id = 10;
    file.applications[1].id = 11;
    assert_string_not_equal(hex[0], hex[1]);
    dm_hex(key, sizeof(key), key_hex);
    document.kind = DM_UNIT_APPLICATIONS;
    document.applications =
        (struct dm_applications_body){1, dm_str_of(key_hex), file.applications, file.n_applications};
    assert_reads(&document, &ret);
    assert_int_equal(ret.applications.applications[1].id, 11);
    assert_int_equal(ret.applications.applications[1].state, DM_STATE_SUSPENDED);
    assert_int_equal(ret.applications.applications[0].credentials[0].key.len, 0);
    bytes = seal(&document);
    assert_null(memmem(bytes.ptr, bytes.len, "k-1", 3));
    assert_null(memmem(bytes.ptr, bytes.len, "CN=a", 4));
}

static void carries_grants(void **state)
{
    struct dm_document document = release(), ret;
    struct dm_domain_grant domains[] = {{.name = DM_STR("*.a.example"), .environment = DM_ENVIRONMENT_STAGING}};
    struct dm_endpoint_grant endpoints[] = {{.address = DM_STR("10.0.0.0/8"), .port = 80}};

    document.kind = DM_UNIT_GRANTS;
    document.grants = (struct dm_grants_body){.state = DM_STATE_SUSPENDED,
                                              .weight = 5,
                                              .caps = {.connections = 9},
                                              .tenancy = DM_TENANCY_DEDICATED,
                                              .cell = {.workers = 2, .cpu_percent = 150, .cpu_weight = 7},
                                              .domains = domains,
                                              .n_domains = 1,
                                              .endpoints = endpoints,
                                              .n_endpoints = 1};
    assert_reads(&document, &ret);
    assert_int_equal(ret.grants.caps.connections, 9);
    assert_int_equal(ret.grants.tenancy, DM_TENANCY_DEDICATED);
    assert_int_equal(ret.grants.cell.workers, 2);
    assert_int_equal(ret.grants.cell.cpu_percent, 150);
    assert_int_equal(ret.grants.domains[0].environment, DM_ENVIRONMENT_STAGING);
}

static void carries_domains(void **state)
{
    struct dm_document document = release(), ret;
    struct dm_domain domains[2];
    struct dm_certificate certificates[] = {{.name = DM_STR("main"),
                                             .chain = DM_STR("-----BEGIN CERTIFICATE-----"),
                                             .key = DM_STR("canary"),
                                             .subject = DM_STR("CN=a"),
                                             .key_sealed = DM_STR("c2VhbGVk")}};
    struct dm_errs errs = {0};
    struct dm_document_head head;
    struct dm_str bytes;

    dm_model_default(&dm_schema_domain, &domains[0]);
    domains[1] = domains[0];
    domains[0].name = DM_STR("a.example");
    domains[0].certificate = DM_STR("main");
    domains[1].name = DM_STR("b.example");
    document.kind = DM_UNIT_DOMAINS;
    document.domains = (struct dm_domains_body){3, domains, 2, certificates, 1};
    assert_reads(&document, &ret);
    assert_int_equal(ret.domains.key_id, 3);
    assert_true(dm_str_eq(ret.domains.domains[0].certificate, DM_STR("main")));
    assert_int_equal(ret.domains.domains[1].certificate.len, 0);
    assert_true(ret.domains.domains[1].http2);
    assert_true(dm_str_eq(ret.domains.certificates[0].key_sealed, DM_STR("c2VhbGVk")));
    assert_int_equal(ret.domains.certificates[0].subject.len, 0);
    bytes = seal(&document);
    assert_null(memmem(bytes.ptr, bytes.len, "canary", 6));

    domains[1].certificate = DM_STR("other");
    assert_int_equal(dm_document_open(public_key, seal(&document), &head, NULL), 0);
    assert_int_equal(dm_document_read(&head, &arena, &ret, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/body/domains/1/certificate");
    assert_string_equal(errs.items[0].message, "no certificate 'other'");
    domains[1].certificate = DM_STR("");
    document.domains.key_id = 0;
    assert_int_equal(dm_document_open(public_key, seal(&document), &head, NULL), 0);
    assert_int_equal(dm_document_read(&head, &arena, &ret, NULL), DM_EINVAL);
}

static void gives_equal_bytes(void **state)
{
    struct dm_document document = release();

    assert_true(dm_str_eq(seal(&document), seal(&document)));
}

/* Every byte counts, and so does every length. */
static void refuses_every_change(void **state)
{
    struct dm_document document = release();
    struct dm_str good = seal(&document);
    char *bytes = dm_arena_alloc(&arena, good.len + 1);
    struct dm_document_head head;
    struct dm_err err = {0};

    memcpy(bytes, good.ptr, good.len);
    bytes[good.len] = '\0';
    for (size_t i = 0; i < good.len; i++) {
        int rc;

        bytes[i] ^= 1;
        rc = dm_document_open(public_key, dm_str_n(bytes, good.len), &head, &err);
        if (rc != DM_ECORRUPT && rc != DM_EPERM && rc != DM_EVERSION)
            fail_msg("byte %zu: %d", i, rc);
        bytes[i] ^= 1;
    }
    for (size_t len = 0; len < good.len; len++)
        assert_int_equal(dm_document_open(public_key, dm_str_n(bytes, len), &head, NULL), DM_ECORRUPT);
    assert_int_equal(dm_document_open(public_key, dm_str_n(bytes, good.len + 1), &head, NULL), DM_ECORRUPT);
    assert_int_equal(dm_document_open(public_key, dm_str_n(bytes, good.len), &head, NULL), 0);
}

static void refuses_another_key_and_version(void **state)
{
    struct dm_document document = release();
    struct dm_str good = seal(&document);
    uint8_t other_public[DM_SIGN_PUBLIC_BYTES], other_secret[DM_SIGN_SECRET_BYTES];
    char *bytes = dm_arena_alloc(&arena, good.len);
    struct dm_document_head head;

    dm_sign_keypair(other_public, other_secret);
    assert_int_equal(dm_document_open(other_public, good, &head, NULL), DM_EPERM);
    memcpy(bytes, good.ptr, good.len);
    bytes[5] = '2';
    assert_int_equal(dm_document_open(public_key, dm_str_n(bytes, good.len), &head, NULL), DM_EVERSION);
}

/* D1: a head that was signed for one document does not read another body. */
static void holds_head_and_body_together(void **state)
{
    struct dm_document document = release(), ret;
    struct dm_document_head head, changed;
    struct dm_errs errs = {0};

    assert_int_equal(dm_document_open(public_key, seal(&document), &head, NULL), 0);
    changed = head;
    changed.tenant = DM_STR("other");
    assert_int_equal(dm_document_read(&changed, &arena, &ret, &errs), DM_ECORRUPT);
    assert_string_equal(errs.items[0].pointer, "/tenant");
    changed = head;
    changed.mark.sequence++;
    assert_int_equal(dm_document_read(&changed, &arena, &ret, NULL), DM_ECORRUPT);
    changed = head;
    changed.mark.epoch++;
    assert_int_equal(dm_document_read(&changed, &arena, &ret, NULL), DM_ECORRUPT);
    changed = head;
    changed.tenant_id++;
    assert_int_equal(dm_document_read(&changed, &arena, &ret, NULL), DM_ECORRUPT);
    changed = head;
    changed.kind = DM_UNIT_GRANTS;
    assert_int_equal(dm_document_read(&changed, &arena, &ret, NULL), DM_ECORRUPT);
}

static void validates_its_body(void **state)
{
    struct dm_document document = release(), ret;
    struct dm_document_head head;
    struct dm_errs errs = {0};

    document.release.products[0].versions[0].backends[0].backend = DM_STR("gone");
    assert_int_equal(dm_document_open(public_key, seal(&document), &head, NULL), 0);
    assert_int_equal(dm_document_read(&head, &arena, &ret, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/body/products/0/versions/0/backends/0/backend");
    assert_string_equal(errs.items[0].message, "no backend 'gone'");
}

static void refuses_one_digest_twice(void **state)
{
    static const char body[] =
        "{'kind':'applications','format':1,'tenant':'t','tenant_id':1,'epoch':0,'sequence':1,"
        "'compat_date':'2026-11-01','body':{'digest_key_id':1,"
        "'digest_key':'%.64s','applications':[{'id':1,'name':'a','credentials':[{'id':1,'name':'x','digest':'%.64s'}]},"
        "{'id':%d,'name':'b','credentials':[{'id':2,'name':'x','digest':'%.64s'}]}]}}";
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    static const char ones[] = "1111111111111111111111111111111111111111111111111111111111111111";
    char text[1024];
    struct dm_document ret;
    struct dm_errs errs = {0};
    struct dm_json *json;

    snprintf(text, sizeof(text), body, zeros, zeros, 2, zeros);
    json = fixture_json(text);
    assert_int_equal(dm_model_read(&dm_schema_document, json, &arena, &ret, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/body/applications/1/credentials/0/digest");
    dm_json_free(json);
    memset(&errs, 0, sizeof(errs));
    snprintf(text, sizeof(text), body, zeros, zeros, 1, ones);
    json = fixture_json(text);
    assert_int_equal(dm_model_read(&dm_schema_document, json, &arena, &ret, &errs), DM_EINVAL);
    assert_string_equal(errs.items[0].pointer, "/body/applications/1/id");
    dm_json_free(json);
}

static void orders_marks(void **state)
{
    struct dm_mark a = {1, 9}, b = {2, 1}, c = {2, 2};

    assert_true(dm_mark_cmp(a, b) < 0);
    assert_true(dm_mark_cmp(c, b) > 0);
    assert_int_equal(dm_mark_cmp(c, c), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(carries_a_release),
        T(carries_applications_as_digests),
        T(carries_grants),
        T(carries_domains),
        T(gives_equal_bytes),
        T(refuses_every_change),
        T(refuses_another_key_and_version),
        T(holds_head_and_body_together),
        T(validates_its_body),
        T(refuses_one_digest_twice),
        T(orders_marks),
    };

    return cmocka_run_group_tests_name("model/document", tests, fixture_crypto, NULL);
}
