/* Domains and certificates: what holds what, which certificate a domain gets, and the form of what a team writes. */
#include "fixture.h"

#include "model/backend.h"
#include "model/certificate.h"
#include "model/credential.h"
#include "model/domain.h"
#include "model/grants.h"
#include "model/policy.h"
#include "model/tenant_file.h"
#include "model/tenant_key.h"
#include "model/version.h"

static struct dm_arena arena;

static int set_up(void **state)
{
    dm_arena_init(&arena, NULL, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    dm_arena_done(&arena);
    return 0;
}

static void certificates_hold_hosts(void **state)
{
    struct dm_str names[] = {DM_STR("example.com"), DM_STR("*.example.com")};
    struct dm_certificate certificate = {.names = names, .n_names = DM_COUNT(names)};

    assert_true(dm_certificate_holds(&certificate, DM_STR("example.com")));
    assert_true(dm_certificate_holds(&certificate, DM_STR("a.example.com")));
    assert_true(dm_certificate_holds(&certificate, DM_STR("*.example.com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("a.b.example.com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("*.b.example.com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("*.com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("aexample.com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("com")));
    assert_false(dm_certificate_holds(&certificate, DM_STR("a.example.com.")));
    certificate.n_names = 1;
    assert_false(dm_certificate_holds(&certificate, DM_STR("*.example.com")));
}

static void domains_get_the_certificate_that_is_valid_longest(void **state)
{
    struct dm_str a[] = {DM_STR("a.example")}, all[] = {DM_STR("*.example")}, none[] = {DM_STR("b.example.org")};
    struct dm_certificate certificates[] = {
        {.name = DM_STR("none"), .names = none, .n_names = 1, .not_after = DM_STR("2099-01-01T00:00:00Z")},
        {.name = DM_STR("first"), .names = a, .n_names = 1, .not_after = DM_STR("2027-01-01T00:00:00Z")},
        {.name = DM_STR("second"), .names = all, .n_names = 1, .not_after = DM_STR("2027-01-02T00:00:00Z")},
        {.name = DM_STR("third"), .names = a, .n_names = 1, .not_after = DM_STR("2027-01-02T00:00:00Z")},
    };
    struct dm_domain domain = {.name = DM_STR("a.example")};

    assert_int_equal(dm_domain_certificate(&domain, certificates, 4), 2);
    assert_int_equal(dm_domain_certificate(&domain, certificates, 2), 1);
    assert_true(dm_domain_certificate(&domain, certificates, 1) == SIZE_MAX);
    domain.certificate = DM_STR("first");
    assert_int_equal(dm_domain_certificate(&domain, certificates, 4), 1);
    domain.certificate = DM_STR("gone");
    assert_true(dm_domain_certificate(&domain, certificates, 4) == SIZE_MAX);
}

static void keys_open_in_their_own_place_alone(void **state)
{
    const uint8_t key[32] = {1}, other[32] = {2};
    uint8_t plain[DM_CHAIN_KEY_BYTES];
    char longest[DM_CHAIN_KEY_BYTES];
    struct dm_str sealed, cut;

    assert_int_equal(dm_certificate_key_seal(key, 7, DM_STR("main"), DM_STR("canary"), &arena, &sealed), 0);
    assert_null(memmem(sealed.ptr, sealed.len, "canary", 6));
    assert_int_equal(dm_certificate_key_open(key, 7, DM_STR("main"), sealed, plain), 6);
    assert_memory_equal(plain, "canary", 6);
    assert_int_equal(dm_certificate_key_open(other, 7, DM_STR("main"), sealed, plain), DM_ECORRUPT);
    assert_int_equal(dm_certificate_key_open(key, 8, DM_STR("main"), sealed, plain), DM_ECORRUPT);
    assert_int_equal(dm_certificate_key_open(key, 7, DM_STR("other"), sealed, plain), DM_ECORRUPT);
    cut = dm_str_n(sealed.ptr, sealed.len - 4);
    assert_int_equal(dm_certificate_key_open(key, 7, DM_STR("main"), cut, plain), DM_ECORRUPT);
    assert_int_equal(dm_certificate_key_open(key, 7, DM_STR("main"), DM_STR(""), plain), DM_ECORRUPT);

    memset(longest, 'k', sizeof(longest));
    assert_int_equal(
        dm_certificate_key_seal(key, 7, DM_STR("main"), dm_str_n(longest, sizeof(longest)), &arena, &sealed), 0);
    assert_int_equal(dm_certificate_key_open(key, 7, DM_STR("main"), sealed, plain), sizeof(longest));
}

static void tenant_keys_open_at_their_gateway_alone(void **state)
{
    struct dm_tenant_key key = {7, 3, {1, 2, 3}}, ret;
    uint8_t public_key[DM_BOX_PUBLIC_BYTES], secret[DM_BOX_SECRET_BYTES], other_public[DM_BOX_PUBLIC_BYTES],
        other_secret[DM_BOX_SECRET_BYTES], sealed[DM_TENANT_KEY_SEALED_BYTES];
    const uint8_t zero[DM_BOX_PUBLIC_BYTES] = {0};
    struct dm_str bytes = dm_str_n((const char *)sealed, sizeof(sealed));

    dm_box_keypair(public_key, secret);
    dm_box_keypair(other_public, other_secret);
    assert_int_equal(dm_tenant_key_seal(public_key, &key, sealed), 0);
    assert_int_equal(dm_tenant_key_open(public_key, secret, bytes, &ret), 0);
    assert_int_equal(ret.tenant_id, 7);
    assert_int_equal(ret.key_id, 3);
    assert_memory_equal(ret.key, key.key, sizeof(key.key));
    assert_int_equal(dm_tenant_key_open(other_public, other_secret, bytes, &ret), DM_ECORRUPT);
    assert_int_equal(dm_tenant_key_open(public_key, secret, dm_str_n(bytes.ptr, bytes.len - 1), &ret), DM_ECORRUPT);
    sealed[40] ^= 1;
    assert_int_equal(dm_tenant_key_open(public_key, secret, bytes, &ret), DM_ECORRUPT);
    assert_int_equal(dm_tenant_key_seal(zero, &key, sealed), DM_EINVAL);
}

struct shape {
    const struct dm_schema *schema;
    const char *text, *pointer, *message; /* NULL: it is right */
};

#define PEM "'-----BEGIN CERTIFICATE-----'"
#define DIGEST "'0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'"
#define ENDPOINT(rest) "{'name':'b','endpoints':[{" rest "}]}"

#define SUBJECT(text) &dm_schema_credential, "{'name':'c','type':'client_certificate','subject':'" text "'}"
#define NO_SUBJECT(text)                                                                                               \
    SUBJECT(text), "/subject",                                                                                         \
        "must be a subject such as CN=app,O=Example, as `openssl x509 -noout -subject -nameopt RFC2253` writes it "    \
        "behind 'subject=', found '" text "'"

static const struct shape shapes[] = {
    {&dm_schema_domain, "{'name':'*.example.com'}", NULL, NULL},
    {&dm_schema_domain, "{'name':'a.example','client_certificate':'optional','client_ca':" PEM "}", NULL, NULL},
    {&dm_schema_domain, "{'name':'A.example'}", "/name", "must be in lower case, found 'A.example'"},
    {&dm_schema_domain, "{'name':'a.example','tls_min_version':'1.1'}", "/tls_min_version",
     "must be '1.2' or '1.3', found '1.1'"},
    {&dm_schema_domain, "{'name':'a.example','client_certificate':'required'}", "",
     "member 'client_ca' is required when client_certificate is 'required'"},
    {&dm_schema_domain, "{'name':'a.example','client_ca':" PEM "}", "/client_ca",
     "must be left out when client_certificate is 'none'"},
    {&dm_schema_domain, "{'name':'a.example','client_certificate':'optional','client_ca':'x'}", "/client_ca",
     "must be PEM: ASCII text with a line such as '-----BEGIN CERTIFICATE-----', found 'x'"},
    {&dm_schema_domain, "{'name':'a.example','hsts_include_subdomains':true}", "/hsts_include_subdomains",
     "must be false when hsts_max_age_s is 0, which sends no header"},
    {&dm_schema_domain, "{'name':'a.example','hsts_include_subdomains':true,'hsts_max_age_s':1}", NULL, NULL},

    {&dm_schema_certificate, "{'name':'c','chain':" PEM ",'key':" PEM ",'ocsp_response':'MAo='}", NULL, NULL},
    {&dm_schema_certificate, "{'name':'c'}", "", "member 'chain' is required"},
    {&dm_schema_certificate, "{'name':'c','chain':''}", "/chain",
     "must be PEM: ASCII text with a line such as '-----BEGIN CERTIFICATE-----', found ''"},
    {&dm_schema_certificate, "{'name':'c','chain':" PEM ",'key':'secret'}", "/key",
     "must be PEM: ASCII text with a line such as '-----BEGIN CERTIFICATE-----'"},
    {&dm_schema_certificate, "{'name':'c','chain':" PEM ",'ocsp_response':'MA'}", "/ocsp_response",
     "must be base64 (RFC 4648 section 4) with its padding and without white space, found 'MA'"},

    {&dm_schema_backend, ENDPOINT("'host':'unix:/run/app.sock','port':0"), NULL, NULL},
    {&dm_schema_backend, ENDPOINT("'host':'unix:/run/app.sock','port':80"), "/endpoints/0/port",
     "must be 0 with a Unix socket, found 80"},
    {&dm_schema_backend, ENDPOINT("'host':'a','port':0"), "/endpoints/0/port", "must be between 1 and 65535, found 0"},
    {&dm_schema_backend, ENDPOINT("'host':'unix:run','port':0"), "/endpoints/0/host",
     "must have an absolute path of at most 107 visible characters behind 'unix:', found 'unix:run'"},
    {&dm_schema_backend, ENDPOINT("'host':'unix:/a/../b','port':0"), "/endpoints/0/host",
     "must have a path without empty, '.' and '..' segments behind 'unix:', found 'unix:/a/../b'"},
    {&dm_schema_backend, ENDPOINT("'host':'unix:/a//b','port':0"), "/endpoints/0/host",
     "must have a path without empty, '.' and '..' segments behind 'unix:', found 'unix:/a//b'"},
    {&dm_schema_backend, ENDPOINT("'host':'unix:/a/','port':0"), "/endpoints/0/host",
     "must have a path without empty, '.' and '..' segments behind 'unix:', found 'unix:/a/'"},
    {&dm_schema_backend, "{'name':'b','endpoints':[{'host':'a','port':1}],'protocol':'http2','tls':{}}", NULL, NULL},
    {&dm_schema_backend, "{'name':'b','endpoints':[{'host':'a','port':1}],'tls':{'verify':false,'ca':" PEM "}}",
     "/tls/ca", "must be left out when verify is false"},
    {&dm_schema_backend, "{'name':'b','endpoints':[{'host':'unix:/a','port':0}],'tls':{}}", "/tls",
     "member 'server_name' is required when an endpoint is a Unix socket"},
    {&dm_schema_backend, "{'name':'b','endpoints':[{'host':'unix:/a','port':0}],'tls':{'server_name':'a'}}", NULL,
     NULL},

    {&dm_schema_endpoint_grant, "{'address':'unix:/run/app.sock','port':0}", NULL, NULL},
    {&dm_schema_endpoint_grant, "{'address':'unix:/run/app.sock','port':1}", "/port",
     "must be 0 with a Unix socket, found 1"},
    {&dm_schema_endpoint_grant, "{'address':'unix:/run/app.sock','port':0,'port_to':9}", "/port_to",
     "must be left out with a Unix socket"},

    {SUBJECT("CN=a,O=b"), NULL, NULL},
    {&dm_schema_credential, "{'name':'c','type':'client_certificate'}", "",
     "member 'fingerprint' or 'subject' is required when type is 'client_certificate'"},
    {NO_SUBJECT("a")},
    {NO_SUBJECT("CN=a, O=b")},
    {NO_SUBJECT(" CN=a")},
    {NO_SUBJECT("CN=a ")},
    {NO_SUBJECT("cn=a")},
    {NO_SUBJECT("/O=b/CN=a")},
    {NO_SUBJECT("subject=CN=a")},
    {NO_SUBJECT("CN = a")},
    {NO_SUBJECT("CN=a,")},
    {NO_SUBJECT("CN=a+")},
    {NO_SUBJECT("CN=a+b")},
    {NO_SUBJECT("=a")},
    {NO_SUBJECT("CN=a;O=b")},
    {SUBJECT("CN=a b+OU=c,O=d=e,C=US"), NULL, NULL},
    {SUBJECT("1.2.3.4=#0C0161,emailAddress=a@b.c"), NULL, NULL},
    {SUBJECT("CN=\\\\ a\\\\,b\\\\+c\\\\ ,O=\\\\C3\\\\BC"), NULL, NULL},
    {&dm_schema_credential, "{'name':'c','type':'client_certificate','subject':'CN=a','key':'k'}", "/key",
     "must be left out when type is 'client_certificate'"},
    {&dm_schema_credential, "{'name':'c','type':'client_certificate','subject':'CN=a','fingerprint':" DIGEST "}",
     "/subject", "must be left out when there is a fingerprint"},
    {&dm_schema_credential, "{'name':'c','type':'client_certificate','fingerprint':" DIGEST "}", NULL, NULL},
    {&dm_schema_credential, "{'name':'c','fingerprint':" DIGEST "}", "/fingerprint",
     "must be left out when type is 'api_key'"},
    {&dm_schema_credential, "{'name':'c','subject':'CN=a'}", "/subject", "must be left out when type is 'api_key'"},

    {&dm_schema_policy, "{'type':'client_certificate'}", NULL, NULL},
    {&dm_schema_policy, "{'type':'client_certificate','match':[]}", "/match", "must have at least 1 item"},
    {&dm_schema_policy, "{'type':'client_certificate','forward_header':'a b'}", "/forward_header",
     "must be a header name: letters, digits, '-' and the like, without spaces and ':', found 'a b'"},
};

static void holds_to_the_form(void **state)
{
    for (size_t i = 0; i < DM_COUNT(shapes); i++) {
        struct dm_json *json = fixture_json(shapes[i].text);
        void *object = dm_arena_calloc(&arena, shapes[i].schema->struct_bytes);
        struct dm_errs errs = {0};
        int rc = dm_model_read(shapes[i].schema, json, &arena, object, &errs);

        if ((rc == 0) != (shapes[i].message == NULL))
            fail_msg("%s: %d %s %s", shapes[i].text, rc, errs.items[0].pointer, errs.items[0].message);
        if (rc < 0 && (strcmp(errs.items[0].pointer, shapes[i].pointer) != 0 ||
                       strcmp(errs.items[0].message, shapes[i].message) != 0))
            fail_msg("%s: %s %s", shapes[i].text, errs.items[0].pointer, errs.items[0].message);
        dm_json_free(json);
    }
}

static void grants_sockets_by_the_same_text_alone(void **state)
{
    struct dm_endpoint_grant endpoints[] = {{.address = DM_STR("unix:/run/a")},
                                            {.address = DM_STR("10.0.0.0/8"), .port = 1}};
    struct dm_grants grants = {.endpoints = endpoints, .n_endpoints = 2};
    struct dm_grants one = {.endpoints = endpoints, .n_endpoints = 1};
    struct dm_cidr address;

    assert_int_equal(dm_cidr_parse_address(DM_STR("10.0.0.1"), &address, NULL), 0);
    assert_true(dm_grants_allow_unix(&grants, DM_STR("unix:/run/a")));
    assert_false(dm_grants_allow_unix(&grants, DM_STR("unix:/run/ab")));
    assert_false(dm_grants_allow_unix(&grants, DM_STR("10.0.0.0/8")));
    assert_true(dm_grants_allow_endpoint(&grants, &address, 1));
    assert_false(dm_grants_allow_endpoint(&one, &address, 1));
    assert_false(dm_grants_allow_port(&one, 80));
}

struct file_rule {
    const char *domains, *backends, *pointer, *message; /* NULL: all holds */
};

/* certificates: "one" for a.example; "many" for six names. */
static const struct file_rule file_rules[] = {
    {"[{'name':'a.example','certificate':'one'},{'name':'b.example'}]", "[]", NULL, NULL},
    {"[{'name':'a.example','redirect_to_https':true}]", "[]", NULL, NULL},
    {"[{'name':'a.example','certificate':'on'}]", "[]", "/domains/0/certificate",
     "no certificate 'on', did you mean 'one'?"},
    {"[{'name':'b.example','certificate':'one'}]", "[]", "/domains/0/certificate",
     "must cover 'b.example', but certificate 'one' is for 'a.example'"},
    {"[{'name':'b.example','certificate':'many'}]", "[]", "/domains/0/certificate",
     "must cover 'b.example', but certificate 'many' is for '1.example', '2.example', '3.example', '4.example', "
     "'5.example' and others"},
    {"[{'name':'b.example','redirect_to_https':true}]", "[]", "/domains/0/redirect_to_https",
     "must be false while no certificate covers the domain"},
    {"[{'name':'b.example','client_certificate':'optional','client_ca':" PEM "}]", "[]",
     "/domains/0/client_certificate", "must be 'none' while no certificate covers the domain"},
    {"[]", "[{'name':'b','endpoints':[{'host':'a','port':1}],'tls':{'client_certificate':'many'}}]", NULL, NULL},
    {"[]", "[{'name':'b','endpoints':[{'host':'a','port':1}],'tls':{'client_certificate':'none'}}]",
     "/backends/0/tls/client_certificate", "no certificate 'none', did you mean 'one'?"},
};

static void holds_domains_and_certificates_together(void **state)
{
    struct dm_str one[] = {DM_STR("a.example")};
    struct dm_str many[] = {DM_STR("1.example"), DM_STR("2.example"), DM_STR("3.example"),
                            DM_STR("4.example"), DM_STR("5.example"), DM_STR("6.example")};
    struct dm_certificate certificates[] = {{.name = DM_STR("one"), .names = one, .n_names = 1},
                                            {.name = DM_STR("many"), .names = many, .n_names = DM_COUNT(many)}};

    for (size_t i = 0; i < DM_COUNT(file_rules); i++) {
        const struct file_rule *rule = &file_rules[i];
        struct dm_tenant_file file;
        struct dm_errs errs = {0};
        struct dm_check check;
        char text[1024];

        snprintf(text, sizeof(text), "{'daemun':1,'tenant':'t','domains':%s,'backends':%s}", rule->domains,
                 rule->backends);
        fixture_read(&dm_schema_tenant_file, text, &arena, &file);
        file.certificates = certificates;
        file.n_certificates = DM_COUNT(certificates);
        dm_check_init(&check, &errs);
        dm_tenant_file_check_domains(&file, &check);
        if (rule->message == NULL ? errs.n != 0
                                  : errs.n != 1 || strcmp(errs.items[0].pointer, rule->pointer) != 0 ||
                                        strcmp(errs.items[0].message, rule->message) != 0)
            fail_msg("%s: %zu %s %s", text, errs.n, errs.items[0].pointer, errs.items[0].message);
    }
}

/* Bundles of 60 KB: eight fit, and equal ones as often as there are domains or backends. */
static void bounds_what_all_trust_together(void **state)
{
    static char text[10][60000];
    struct dm_domain domains[20];
    struct dm_backend backends[20];
    struct dm_backend_tls tls[20];
    struct dm_tenant_file file = {.domains = domains, .n_domains = 20, .backends = backends, .n_backends = 20};
    struct dm_errs errs = {0};
    struct dm_check check;

    for (size_t i = 0; i < DM_COUNT(text); i++)
        memset(text[i], 'a' + (int)i, sizeof(text[i]));
    for (size_t i = 0; i < 20; i++) {
        struct dm_str bundle = dm_str_n(text[i % 8], sizeof(text[0]));
        dm_model_default(&dm_schema_domain, &domains[i]);
        dm_model_default(&dm_schema_backend, &backends[i]);
        dm_model_default(&dm_schema_backend_tls, &tls[i]);
        domains[i].client_ca = tls[i].ca = bundle;
        backends[i].tls = &tls[i];
    }
    dm_check_init(&check, &errs);
    dm_tenant_file_check_domains(&file, &check);
    dm_tenant_file_check(&file, &check);
    assert_int_equal(errs.n, 0);
    domains[12].client_ca = tls[14].ca = dm_str_n(text[8], sizeof(text[0]));
    domains[18].client_ca = dm_str_n(text[9], sizeof(text[0]));
    dm_tenant_file_check_domains(&file, &check);
    dm_tenant_file_check(&file, &check);
    assert_int_equal(errs.n, 2);
    assert_string_equal(errs.items[0].pointer, "/domains/12/client_ca");
    assert_string_equal(errs.items[1].pointer, "/backends/14/tls/ca");
    assert_non_null(strstr(errs.items[0].message, "within 524288 bytes"));
}

/* What a caller's certificate gives is what the credential was digested from; a key of the same text is another thing. */
static void digests_certificates_apart_from_keys(void **state)
{
    struct dm_credential subject = {.type = DM_CREDENTIAL_CLIENT_CERTIFICATE, .subject = DM_STR("CN=a")};
    struct dm_credential key = {.type = DM_CREDENTIAL_API_KEY, .key = DM_STR("subject:CN=a")};
    char a[DM_CREDENTIAL_VALUE_MAX], b[DM_CREDENTIAL_VALUE_MAX], longest[DM_SUBJECT_MAX + 200];
    uint8_t digest_key[32] = {1}, of_subject[DM_DIGEST_BYTES], of_key[DM_DIGEST_BYTES];
    struct dm_str value = dm_credential_value(&subject, a);

    assert_true(dm_str_eq(value, dm_certificate_value(DM_MATCH_SUBJECT, DM_STR("CN=a"), b)));
    assert_false(dm_str_eq(value, dm_certificate_value(DM_MATCH_FINGERPRINT, DM_STR("CN=a"), b)));
    assert_true(dm_str_eq(value, dm_credential_value(&key, b)));
    dm_credential_digest(digest_key, DM_CREDENTIAL_CLIENT_CERTIFICATE, value, of_subject);
    dm_credential_digest(digest_key, DM_CREDENTIAL_API_KEY, value, of_key);
    assert_memory_not_equal(of_subject, of_key, sizeof(of_key));
    memset(longest, 'x', sizeof(longest));
    assert_null(dm_certificate_value(DM_MATCH_SUBJECT, dm_str_n(longest, sizeof(longest)), b).ptr);
    value = dm_certificate_value(DM_MATCH_SUBJECT, dm_str_n(longest, DM_SUBJECT_MAX), b);
    assert_int_equal(value.len, DM_SUBJECT_MAX + 8);
    dm_credential_digest(digest_key, DM_CREDENTIAL_CLIENT_CERTIFICATE, value, of_subject);
}

static void has_safe_defaults(void **state)
{
    struct dm_domain domain;
    struct dm_backend_tls tls;
    struct dm_version version;
    struct dm_policy policy;

    dm_model_default(&dm_schema_domain, &domain);
    assert_int_equal(domain.tls_min_version, DM_DOMAIN_TLS_1_2);
    assert_int_equal(domain.client_certificate, DM_CLIENT_CERTIFICATE_NONE);
    assert_true(domain.http2);
    dm_model_default(&dm_schema_backend_tls, &tls);
    assert_true(tls.verify);
    dm_model_default(&dm_schema_version, &version);
    assert_int_equal(version.n_upgrades, 0);
    fixture_read(&dm_schema_policy, "{'type':'client_certificate'}", &arena, &policy);
    assert_int_equal(policy.client_certificate.match, DM_MATCH_FINGERPRINT | DM_MATCH_SUBJECT);
    assert_true(dm_policy_is_authentication(policy.type));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(certificates_hold_hosts),
        T(domains_get_the_certificate_that_is_valid_longest),
        T(keys_open_in_their_own_place_alone),
        T(tenant_keys_open_at_their_gateway_alone),
        T(holds_to_the_form),
        T(grants_sockets_by_the_same_text_alone),
        T(digests_certificates_apart_from_keys),
        T(holds_domains_and_certificates_together),
        T(bounds_what_all_trust_together),
        T(has_safe_defaults),
    };

    return cmocka_run_group_tests_name("model/domain", tests, fixture_crypto, NULL);
}
