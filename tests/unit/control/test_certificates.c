/* Certificates and domains through the API: what belongs together, what needs what, what gateways get, and that keys stay
 * where they are. */
#include "harness.h"

#include "control/release/keys.h"
#include "control/store/certificate_keys.h"
#include "control/store/units.h"
#include "base/encode.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "model/document.h"
#include "model/policy.h"
#include "pki/pki.h"

#define T "/api/v1/tenants/orders"
#define GRANTS                                                                                                         \
    "{\"domains\":[{\"name\":\"orders.localhost\"},{\"name\":\"*.shop.example\"}],\"endpoints\":[{\"address\":"        \
    "\"127.0.0.1\",\"port\":9101}]}"

static struct pki_identity *root, *shop, *wide, *other;

static int make_pki(void **state)
{
    const struct pki_spec ca = {.subject = "Root", .key = PKI_P256, .is_ca = true};
    const struct pki_spec one = {.subject = "shop", .names = "DNS:a.shop.example,DNS:b.shop.example"};
    const struct pki_spec all = {.subject = "wide", .names = "DNS:*.shop.example", .not_after_s = 4000000000};
    const struct pki_spec last = {.subject = "other", .names = "DNS:orders.localhost"};

    root = pki_make(&ca, NULL);
    shop = pki_make(&one, root);
    wide = pki_make(&all, root);
    other = pki_make(&last, root);
    return 0;
}

static int drop_pki(void **state)
{
    pki_free(root);
    pki_free(shop);
    pki_free(wide);
    pki_free(other);
    return 0;
}

static int setup(void **state)
{
    struct harness *h;

    harness_serving_setup(state);
    h = *state;
    make_team(h, "orders", 9101, "key-of-orders-1234");
    make_team(h, "catalog", 9102, "key-of-catalog-123");
    harness_restart(h);
    dm_free(expect(h, 200, NULL, "PUT", T "/grants", h->master, "", GRANTS));
    return 0;
}

/* {"chain": …, "key": …} in the harness's arena; "" leaves a member out. */
static const char *pair(struct harness *h, struct dm_str chain, struct dm_str key)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_str kept;
    struct dm_jsonw w;

    dm_buf_init(&text, 1 << 20);
    dm_jsonw_init(&w, &text);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_str(&w, "chain", chain);
    if (key.len > 0)
        dm_jsonw_member_str(&w, "key", key);
    dm_jsonw_end_object(&w);
    dm_buf_add_char(&text, '\0');
    assert_int_equal(dm_arena_str(&h->arena, dm_buf_str(&text), &kept), 0);
    return kept.ptr;
}

static const char *whole(struct harness *h, const struct pki_identity *identity)
{
    return pair(h, identity->chain_pem, identity->key_pem);
}

/* The second line of a PEM key: what must be found nowhere. */
static struct dm_str canary(const struct pki_identity *identity)
{
    struct dm_str rest = identity->key_pem, line;

    assert_true(dm_str_cut(&rest, '\n', &line) && dm_str_cut(&rest, '\n', &line));
    assert_true(line.len > 40);
    return line;
}

/* --- units ------------------------------------------------------------------------------------------------------------- */

struct document {
    struct dm_txn *txn;
    struct dm_tenant_handle *tenant;
    struct dm_document_head head;
    struct dm_document document;
};

/* What gateways have of it now. End with dm_txn_abort(&ret->txn). */
static void open_document(struct harness *h, enum dm_unit_kind kind, struct document *ret)
{
    struct dm_unit_row row;
    struct dm_errs errs = {0};

    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &ret->txn, &h->err), 0);
    assert_int_equal(dm_tenants_open(ret->txn, &master_caller, DM_STR("orders"), &ret->tenant, &h->err), 0);
    assert_int_equal(dm_units_get(ret->tenant, kind, &row, &h->err), 0);
    assert_int_equal(dm_document_open(h->keyring.sign_public, row.document, &ret->head, &h->err), 0);
    if (dm_document_read(&ret->head, &h->arena, &ret->document, &errs) < 0)
        fail_msg("%s: %s", errs.items[0].pointer, errs.items[0].message);
}

static void marks(struct harness *h, struct dm_mark ret[DM_UNIT_KINDS])
{
    for (int kind = 1; kind < DM_UNIT_KINDS; kind++) {
        struct document d;

        open_document(h, kind, &d);
        ret[kind] = d.head.mark;
        dm_txn_abort(&d.txn);
    }
}

/* Only the unit of this kind was made anew since `before`; 0 = none. */
static void assert_touched(struct harness *h, struct dm_mark before[DM_UNIT_KINDS], int kind)
{
    struct dm_mark now[DM_UNIT_KINDS];

    marks(h, now);
    for (int i = 1; i < DM_UNIT_KINDS; i++)
        if ((dm_mark_cmp(now[i], before[i]) != 0) != (i == kind))
            fail_msg("%s", dm_unit_kind_names[i]);
}

static void assert_certificate(struct harness *h, const char *domain, const char *certificate)
{
    struct document d;
    size_t at = 0;

    open_document(h, DM_UNIT_DOMAINS, &d);
    while (at < d.document.domains.n_domains && !dm_str_eq(d.document.domains.domains[at].name, dm_str_of(domain)))
        at++;
    if (certificate == NULL)
        assert_int_equal(at, d.document.domains.n_domains);
    else
        assert_true(dm_str_eq(d.document.domains.domains[at].certificate, dm_str_of(certificate)));
    dm_txn_abort(&d.txn);
}

/* --- certificates ------------------------------------------------------------------------------------------------------ */

static void test_a_certificate_says_what_it_is(void **state)
{
    struct harness *h = *state;
    struct answer answer;

    assert_str(PUT(201, "names.1", T "/certificates/shop", whole(h, shop)), "b.shop.example");
    assert_str(GET(200, "subject", T "/certificates/shop"), "CN=shop,O=Test");
    assert_str(GET(200, "issuer", T "/certificates/shop"), "CN=Root,O=Test");
    assert_str(GET(200, "not_after", T "/certificates/shop"), "2050-01-01T00:00:00Z");
    assert_str(GET(200, "not_before", T "/certificates/shop"), "2020-01-01T00:00:00Z");
    assert_str(GET(200, "key_type", T "/certificates/shop"), "ECDSA P-256");
    assert_str(GET(200, "items.0.names.0", T "/certificates"), "a.shop.example");
    assert_null(GET(200, "key", T "/certificates/shop"));

    /* What GET gave can be PUT back, and changes nothing. */
    request(h, &answer, "GET", T "/certificates/shop", h->master, "", NULL);
    dm_buf_add_char(&answer.body, '\0');
    done(PUT(200, NULL, T "/certificates/shop", answer.body.ptr));
    assert_str(GET(200, "items.0.kind", T "/changes"), "certificate");
    assert_str(GET(200, "items.1.kind", T "/changes"), "grants");
    answer_done(&answer);
}

static void test_parts_belong_together(void **state)
{
    struct harness *h = *state;
    struct dm_str upside_down;
    char text[64 * 1024];

    assert_str(PUT(422, "errors.0.detail", T "/certificates/shop", pair(h, shop->chain_pem, DM_STR(""))),
               "member 'key' is required for a new certificate");
    assert_str(PUT(422, "errors.0.pointer", T "/certificates/shop", pair(h, shop->chain_pem, wide->key_pem)), "/key");
    assert_str(PUT(422, "errors.0.pointer", T "/certificates/shop", pair(h, shop->key_pem, shop->key_pem)), "/chain");
    assert_int_equal(dm_arena_printf(&h->arena, &upside_down, "%.*s%.*s", DM_STR_ARG(root->certificate_pem),
                                     DM_STR_ARG(shop->certificate_pem)),
                     0);
    assert_str(PUT(422, "errors.0.pointer", T "/certificates/shop", pair(h, upside_down, shop->key_pem)), "/chain");
    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));

    /* The chain of another key, without that key. */
    assert_str(PUT(422, "errors.0.detail", T "/certificates/shop", pair(h, wide->chain_pem, DM_STR(""))),
               "member 'key' is required: the key that is there does not belong to the new chain");
    done(PUT(200, NULL, T "/certificates/shop", whole(h, wide)));
    done(PUT(200, NULL, T "/certificates/shop", pair(h, wide->chain_pem, DM_STR(""))));
    snprintf(text, sizeof(text), "{\"ocsp_response\":\"MAo=\"}");
    assert_str(PATCH(422, "errors.0.pointer", T "/certificates/shop", text), "/ocsp_response");
}

static void test_an_ocsp_response_is_kept(void **state)
{
    struct harness *h = *state;
    struct dm_str good = pki_ocsp(shop, root, root, false, 4000000000), bad = pki_ocsp(wide, root, root, false, 0);
    char base64[8192], text[8300];
    struct dm_str chain;
    struct document d;

    assert_int_equal(dm_arena_printf(&h->arena, &chain, "%.*s%.*s", DM_STR_ARG(shop->certificate_pem),
                                     DM_STR_ARG(root->certificate_pem)),
                     0);
    done(PUT(201, NULL, T "/certificates/shop", pair(h, chain, shop->key_pem)));
    dm_base64(bad, base64);
    snprintf(text, sizeof(text), "{\"ocsp_response\":\"%s\"}", base64);
    assert_str(PATCH(422, "errors.0.pointer", T "/certificates/shop", text), "/ocsp_response");
    dm_base64(good, base64);
    snprintf(text, sizeof(text), "{\"ocsp_response\":\"%s\"}", base64);
    assert_str(PATCH(200, "ocsp_response", T "/certificates/shop", text), base64);
    open_document(h, DM_UNIT_DOMAINS, &d);
    assert_true(dm_str_eq(d.document.domains.certificates[0].ocsp_response, dm_str_of(base64)));
    dm_txn_abort(&d.txn);
    free((void *)(uintptr_t)good.ptr);
    free((void *)(uintptr_t)bad.ptr);
}

static void test_gateways_can_open_keys(void **state)
{
    struct harness *h = *state;
    uint8_t pem[DM_CHAIN_KEY_BYTES];
    struct dm_tenant_key key;
    struct document d;
    ssize_t n;

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    open_document(h, DM_UNIT_DOMAINS, &d);
    assert_int_equal(dm_keys_data(d.tenant, &h->keyring, &key, &h->err), 0);
    assert_int_equal(d.document.domains.key_id, key.key_id);
    n = dm_certificate_key_open(key.key, (uint64_t)d.document.tenant_id, DM_STR("shop"),
                                d.document.domains.certificates[0].key_sealed, pem);
    assert_true(n >= 0 && dm_str_eq(dm_str_n((const char *)pem, (size_t)n), shop->key_pem));
    assert_null(memmem(d.head.body.ptr, d.head.body.len, canary(shop).ptr, canary(shop).len));
    dm_txn_abort(&d.txn);
}

static void assert_not_on_disk(struct harness *h, struct dm_str secret)
{
    char command[512];

    snprintf(command, sizeof(command), "! grep -rqF -- '%.*s' '%s'", DM_STR_ARG(secret), h->dir);
    assert_int_equal(system(command), 0);
}

static void test_keys_are_shown_to_nobody(void **state)
{
    static const char *const targets[] = {T "/certificates", T "/certificates/shop", T "/document",
                                          T "/changes",      "/api/v1/changes",      T "/status",
                                          T "/domains"};
    struct harness *h = *state;

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    done(PUT(200, NULL, T "/certificates/shop", whole(h, wide)));
    for (size_t i = 0; i < DM_COUNT(targets); i++) {
        struct answer answer;

        request(h, &answer, "GET", targets[i], h->master, "", NULL);
        assert_int_equal(answer.status, 200);
        assert_null(memmem(answer.body.ptr, answer.body.len, canary(shop).ptr, canary(shop).len));
        assert_null(memmem(answer.body.ptr, answer.body.len, canary(wide).ptr, canary(wide).len));
        answer_done(&answer);
    }
    assert_not_on_disk(h, canary(shop));
    assert_not_on_disk(h, canary(wide));
}

static void test_other_teams_see_nothing(void **state)
{
    struct harness *h = *state;
    char *token = expect(h, 201, "token", "POST", "/api/v1/tenants/catalog/tokens", h->master, "",
                         "{\"name\":\"admin\",\"role\":\"tenant_admin\"}");

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    assert_str(expect(h, 404, "reason", "GET", T "/certificates/shop", token, "", NULL), "not_found");
    assert_str(expect(h, 404, "reason", "PUT", T "/certificates/shop", token, "", whole(h, wide)), "not_found");
    assert_str(expect(h, 404, "reason", "DELETE", T "/certificates/shop", token, "", NULL), "not_found");
    assert_null(expect(h, 200, "items.0", "GET", "/api/v1/tenants/catalog/certificates", token, "", NULL));
    done(expect(h, 201, NULL, "PUT", "/api/v1/tenants/catalog/certificates/shop", token, "", whole(h, wide)));
    assert_str(GET(200, "subject", T "/certificates/shop"), "CN=shop,O=Test");
    dm_free(token);
}

/* --- domains ----------------------------------------------------------------------------------------------------------- */

static void test_domains_are_granted(void **state)
{
    struct harness *h = *state;

    assert_str(PUT(403, "reason", T "/domains/a.example", "{}"), "not_granted");
    assert_str(PUT(403, "errors.0.pointer", T "/domains/shop.example", "{}"), "/name");
    done(PUT(201, NULL, T "/domains/orders.localhost", "{}"));
    done(PUT(201, NULL, T "/domains/a.shop.example", "{}"));
    assert_str(PUT(201, "name", T "/domains/*.shop.example", "{}"), "*.shop.example");
    assert_str(GET(200, "name", T "/domains/%2A.shop.example"), "*.shop.example");
    assert_certificate(h, "a.shop.example", "");

    /* Taken back, the settings stay; given again, they are in force again. */
    done(PATCH(200, NULL, T "/grants", "{\"domains\":[{\"name\":\"orders.localhost\"}]}"));
    assert_certificate(h, "a.shop.example", NULL);
    assert_certificate(h, "orders.localhost", "");
    done(GET(200, NULL, T "/domains/a.shop.example"));
    done(PUT(200, NULL, T "/grants", GRANTS));
    assert_certificate(h, "a.shop.example", "");
}

static void test_domains_get_certificates(void **state)
{
    struct harness *h = *state;

    done(PUT(201, NULL, T "/domains/a.shop.example", "{}"));
    assert_str(PUT(422, "errors.0.detail", T "/domains/c.shop.example", "{\"certificate\":\"shp\"}"),
               "no certificate 'shp'");
    assert_str(PATCH(422, "errors.0.pointer", T "/domains/a.shop.example", "{\"redirect_to_https\":true}"),
               "/redirect_to_https");
    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    assert_certificate(h, "a.shop.example", "shop");
    done(PATCH(200, NULL, T "/domains/a.shop.example", "{\"redirect_to_https\":true}"));
    done(PUT(201, NULL, T "/certificates/wide", whole(h, wide)));
    assert_certificate(h, "a.shop.example", "wide");
    done(PATCH(200, NULL, T "/domains/a.shop.example", "{\"certificate\":\"shop\"}"));
    assert_certificate(h, "a.shop.example", "shop");
    assert_str(PUT(422, "errors.0.detail", T "/domains/c.shop.example", "{\"certificate\":\"shop\"}"),
               "must cover 'c.shop.example', but certificate 'shop' is for 'a.shop.example', 'b.shop.example'");
    assert_str(PUT(422, "errors.0.detail", T "/domains/c.shop.example", "{\"certificate\":\"shap\"}"),
               "no certificate 'shap', did you mean 'shop'?");
}

static void test_certificates_in_use_stay(void **state)
{
    struct harness *h = *state;

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    done(PUT(201, NULL, T "/certificates/wide", whole(h, wide)));
    done(PUT(201, NULL, T "/domains/a.shop.example", "{\"certificate\":\"shop\"}"));
    done(PUT(201, NULL, T "/domains/c.shop.example", "{}"));
    assert_str(DELETE(409, "errors.0.detail", T "/certificates/shop"),
               "domain 'a.shop.example' would be wrong: no certificate 'shop'");
    assert_str(DELETE(409, "reason", T "/certificates/wide"), "in_use");
    assert_str(DELETE(409, "errors.0.detail", T "/certificates/wide"),
               "domain 'c.shop.example' has no other certificate");
    assert_str(PUT(409, "reason", T "/certificates/wide", whole(h, other)), "conflict");
    done(PATCH(200, NULL, T "/domains/a.shop.example", "{\"certificate\":null}"));
    done(DELETE(204, NULL, T "/certificates/shop"));

    done(PUT(201, NULL, T "/certificates/other", whole(h, other)));
    assert_str(PATCH(422, "errors.0.pointer", T "/backends/service", "{\"tls\":{\"client_certificate\":\"no\"}}"),
               "/tls/client_certificate");
    done(PATCH(200, NULL, T "/backends/service", "{\"tls\":{\"client_certificate\":\"other\"}}"));
    assert_str(DELETE(409, "errors.0.detail", T "/certificates/other"),
               "backend 'service' would be wrong: no certificate 'other'");
    done(PATCH(200, NULL, T "/backends/service", "{\"tls\":null}"));
    done(DELETE(204, NULL, T "/certificates/other"));
}

static void test_a_change_costs_its_unit(void **state)
{
    struct harness *h = *state;
    struct dm_mark before[DM_UNIT_KINDS];

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    done(PUT(201, NULL, T "/domains/a.shop.example", "{}"));
    marks(h, before);
    done(PUT(200, NULL, T "/certificates/shop", whole(h, wide)));
    assert_touched(h, before, DM_UNIT_DOMAINS);
    marks(h, before);
    done(PUT(200, NULL, T "/certificates/shop", whole(h, wide)));
    assert_touched(h, before, 0);
    done(PATCH(200, NULL, T "/domains/a.shop.example", "{\"http2\":false}"));
    assert_touched(h, before, DM_UNIT_DOMAINS);
    marks(h, before);
    done(PATCH(200, NULL, T "/grants", "{\"endpoints\":[]}"));
    assert_touched(h, before, DM_UNIT_GRANTS);
}

/* --- client certificates ----------------------------------------------------------------------------------------------- */

#define SUBJECT "{\"name\":\"partner\",\"type\":\"client_certificate\",\"subject\":\"CN=app,O=Partner\"}"
#define CREDENTIALS T "/applications/mobile/credentials"

static void test_certificates_are_credentials(void **state)
{
    struct harness *h = *state;
    uint8_t digest[DM_DIGEST_BYTES], key[32];
    char value[DM_CREDENTIAL_VALUE_MAX], hex[2 * DM_DIGEST_BYTES + 1];
    const struct dm_application *mobile;
    struct answer answer;
    struct document d;

    assert_str(expect(h, 201, "subject", "POST", CREDENTIALS, h->master, "", SUBJECT), "CN=app,O=Partner");
    assert_null(GET(200, "items.1.key", CREDENTIALS));
    assert_str(GET(200, "items.1.subject", CREDENTIALS), "CN=app,O=Partner");
    assert_str(GET(200, "credentials.1.subject", T "/applications/mobile"), "CN=app,O=Partner");
    assert_str(expect(h, 422, "errors.0.pointer", "POST", CREDENTIALS, h->master, "",
                      "{\"name\":\"x\",\"type\":\"client_certificate\",\"key\":\"k\"}"),
               "/key");
    assert_str(PUT(409, "errors.0.pointer", T "/applications/web", "{\"credentials\":[" SUBJECT "]}"),
               "/credentials/0/subject");

    open_document(h, DM_UNIT_APPLICATIONS, &d);
    mobile = &d.document.applications.applications[0];
    assert_int_equal(mobile->n_credentials, 2);
    assert_int_equal(mobile->credentials[1].type, DM_CREDENTIAL_CLIENT_CERTIFICATE);
    assert_int_equal(dm_unhex(d.document.applications.digest_key, key, sizeof(key)), 0);
    dm_credential_digest(key, DM_CREDENTIAL_CLIENT_CERTIFICATE,
                         dm_certificate_value(DM_MATCH_SUBJECT, DM_STR("CN=app,O=Partner"), value), digest);
    dm_hex(digest, sizeof(digest), hex);
    assert_true(dm_str_eq(mobile->credentials[1].digest, dm_str_of(hex)));
    assert_int_equal(mobile->credentials[1].subject.len, 0);
    dm_txn_abort(&d.txn);

    /* The file has it too, and changes nothing when it is put back. */
    request(h, &answer, "GET", T "/document", h->master, "", NULL);
    assert_non_null(memmem(answer.body.ptr, answer.body.len, "CN=app,O=Partner", 16));
    dm_buf_add_char(&answer.body, '\0');
    assert_str(PUT(200, "changed", T "/document", answer.body.ptr), "false");
    answer_done(&answer);
    done(DELETE(204, NULL, CREDENTIALS "/partner"));
    assert_null(GET(200, "items.1", CREDENTIALS));
}

/* --- the whole file ---------------------------------------------------------------------------------------------------- */

static void test_the_file_keeps_keys(void **state)
{
    struct harness *h = *state;
    struct dm_mark before[DM_UNIT_KINDS];
    struct answer answer;
    char *text;

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    done(PUT(201, NULL, T "/domains/a.shop.example", "{\"certificate\":\"shop\"}"));
    request(h, &answer, "GET", T "/document", h->master, "", NULL);
    assert_null(memmem(answer.body.ptr, answer.body.len, "PRIVATE KEY", 11));
    assert_null(memmem(answer.body.ptr, answer.body.len, "not_after", 9));
    dm_buf_add_char(&answer.body, '\0');
    marks(h, before);
    assert_str(PUT(200, "changed", T "/document", answer.body.ptr), "false");
    assert_touched(h, before, 0);

    /* Without the domain's certificate; and then without the domain too. */
    text = strstr(answer.body.ptr, "\"certificates\"");
    assert_non_null(text);
    memcpy(text, "\"certificatez\"", 14);
    assert_str(PUT(422, "errors.0.pointer", T "/document", answer.body.ptr), "/certificatez");
    assert_str(
        PUT(422, "errors.0.pointer", T "/document",
            "{\"daemun\":1,\"tenant\":\"orders\",\"domains\":[{\"name\":\"a.shop.example\",\"certificate\":\"x\"}]}"),
        "/domains/0/certificate");
    assert_str(PUT(403, "errors.0.pointer", T "/document",
                   "{\"daemun\":1,\"tenant\":\"orders\",\"domains\":[{\"name\":\"a.example\"}]}"),
               "/domains/0/name");
    assert_touched(h, before, 0);
    answer_done(&answer);
}

static void test_a_tenant_goes_with_its_keys(void **state)
{
    struct harness *h = *state;
    struct dm_txn *txn;
    struct dm_tenant_handle *tenant;
    struct dm_str sealed;
    int64_t id;

    done(PUT(201, NULL, T "/certificates/shop", whole(h, shop)));
    done(DELETE(204, NULL, T));
    done(expect(h, 201, NULL, "POST", "/api/v1/tenants", h->master, "", "{\"name\":\"orders\"}"));
    assert_int_equal(dm_txn_begin(h->store, DM_TXN_READ, &h->arena, &txn, &h->err), 0);
    assert_int_equal(dm_tenants_open(txn, &master_caller, DM_STR("orders"), &tenant, &h->err), 0);
    assert_int_equal(dm_certificate_keys_get(tenant, DM_STR("shop"), &sealed, &h->err), DM_ENOENT);
    assert_int_equal(dm_certificate_keys_data(tenant, &id, &sealed, &h->err), DM_ENOENT);
    dm_txn_abort(&txn);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_certificate_says_what_it_is), TEST(test_parts_belong_together),
        TEST(test_an_ocsp_response_is_kept),      TEST(test_gateways_can_open_keys),
        TEST(test_keys_are_shown_to_nobody),      TEST(test_other_teams_see_nothing),
        TEST(test_domains_are_granted),           TEST(test_domains_get_certificates),
        TEST(test_certificates_in_use_stay),      TEST(test_a_change_costs_its_unit),
        TEST(test_certificates_are_credentials),  TEST(test_the_file_keeps_keys),
        TEST(test_a_tenant_goes_with_its_keys),
    };

    return cmocka_run_group_tests(tests, make_pki, drop_pki);
}
