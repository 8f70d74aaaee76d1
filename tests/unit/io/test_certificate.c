/* Reading of chains, keys, bundles and OCSP responses that are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/certificate.h"
#include "pki/pki.h"

static struct pki_identity *root, *middle, *leaf, *other;
static struct dm_certificate_info info;
static struct dm_err err;

static int make_identities(void **state)
{
    root = pki_make(&(struct pki_spec){.subject = "Root", .is_ca = true}, NULL);
    middle = pki_make(&(struct pki_spec){.subject = "Middle", .is_ca = true}, root);
    leaf = pki_make(
        &(struct pki_spec){.subject = "Leaf, \"quoted\"",
                           .names = "DNS:API.Example.com,DNS:*.shop.example.com,IP:127.0.0.1,DNS:f*.example.com",
                           .ocsp_url = "http://ocsp.example.com",
                           .not_before_s = 1700000000,
                           .not_after_s = 1800000000},
        middle);
    other = pki_make(&(struct pki_spec){.subject = "Other", .names = "DNS:other.example", .key = PKI_RSA2048}, root);
    return 0;
}

static int free_identities(void **state)
{
    pki_free(root);
    pki_free(middle);
    pki_free(leaf);
    pki_free(other);
    return 0;
}

static struct dm_str join(struct dm_buf *buf, struct dm_str a, struct dm_str b)
{
    dm_buf_init(buf, 1 << 20);
    dm_buf_add(buf, a);
    dm_buf_add(buf, b);
    return dm_buf_str(buf);
}

static void says(int code, int expected, const char *text)
{
    if (code != expected || !strstr(err.message, text))
        fail_msg("%d '%s' is not %d '%s'", code, err.message, expected, text);
}

static void a_chain_is_described(void **state)
{
    assert_int_equal(dm_certificate_read(leaf->chain_pem, &info, &err), 0);
    assert_string_equal(info.subject, "CN=Leaf\\, \\\"quoted\\\",O=Test");
    assert_string_equal(info.issuer, "CN=Middle,O=Test");
    assert_int_equal(info.not_before_s, 1700000000);
    assert_int_equal(info.not_after_s, 1800000000);
    assert_string_equal(info.key_type, "ECDSA P-256");
    assert_int_equal(strlen(info.fingerprint), 64);
    assert_false(info.is_ca);
    assert_true(info.has_ocsp_responder);
    assert_int_equal(info.n_chain, 2);
    assert_int_equal(info.n_names, 2);
    assert_string_equal(info.names[0], "api.example.com");
    assert_string_equal(info.names[1], "*.shop.example.com");
}

static void a_ca_is_described(void **state)
{
    assert_int_equal(dm_certificate_read(root->certificate_pem, &info, &err), 0);
    assert_true(info.is_ca);
    assert_false(info.has_ocsp_responder);
    assert_int_equal(info.n_names, 0);
    assert_string_equal(info.subject, info.issuer);
}

static void names_are_covered_exactly_and_by_one_label(void **state)
{
    assert_int_equal(dm_certificate_read(leaf->chain_pem, &info, &err), 0);
    assert_true(dm_certificate_covers(&info, DM_STR("api.example.com")));
    assert_true(dm_certificate_covers(&info, DM_STR("API.EXAMPLE.COM")));
    assert_true(dm_certificate_covers(&info, DM_STR("eu.shop.example.com")));
    assert_true(dm_certificate_covers(&info, DM_STR("*.shop.example.com")));
    assert_false(dm_certificate_covers(&info, DM_STR("a.eu.shop.example.com")));
    assert_false(dm_certificate_covers(&info, DM_STR("shop.example.com")));
    assert_false(dm_certificate_covers(&info, DM_STR(".shop.example.com")));
    assert_false(dm_certificate_covers(&info, DM_STR("foo.example.com")));
    assert_false(dm_certificate_covers(&info, DM_STR("127.0.0.1")));
    assert_false(dm_certificate_covers(&info, DM_STR("")));
}

static void a_wrong_chain_says_where(void **state)
{
    struct dm_buf buf;

    says(dm_certificate_read(join(&buf, leaf->certificate_pem, other->certificate_pem), &info, &err), DM_EINVAL,
         "certificate 2 is not the issuer of certificate 1");
    dm_buf_done(&buf);
    says(dm_certificate_read(join(&buf, leaf->chain_pem, leaf->certificate_pem), &info, &err), DM_EINVAL,
         "certificate 3 is not the issuer of certificate 2");
    dm_buf_done(&buf);
    says(dm_certificate_read(join(&buf, leaf->certificate_pem, leaf->key_pem), &info, &err), DM_EINVAL,
         "PEM block 2 is a 'PRIVATE KEY'");
    dm_buf_done(&buf);
    assert_int_equal(dm_certificate_read(join(&buf, leaf->chain_pem, root->certificate_pem), &info, &err), 0);
    assert_int_equal(info.n_chain, 3);
    dm_buf_done(&buf);
}

/* Same name as the issuer, another key. */
static void an_issuer_by_name_alone_is_none(void **state)
{
    struct pki_identity *impostor = pki_make(&(struct pki_spec){.subject = "Middle", .is_ca = true}, root);
    struct dm_buf buf;

    says(dm_certificate_read(join(&buf, leaf->certificate_pem, impostor->certificate_pem), &info, &err), DM_EINVAL,
         "is not the issuer");
    dm_buf_done(&buf);
    pki_free(impostor);
}

static void no_more_than_the_bounds(void **state)
{
    char *big = dm_calloc(1, DM_CERTIFICATE_PEM_MAX + 1);
    struct dm_buf buf;

    memset(big, '\n', DM_CERTIFICATE_PEM_MAX + 1);
    says(dm_certificate_read(dm_str_n(big, DM_CERTIFICATE_PEM_MAX + 1), &info, &err), DM_EBUDGET,
         "at most 65536 bytes");
    says(dm_certificate_read(dm_str_n(big, DM_CERTIFICATE_PEM_MAX), &info, &err), DM_EINVAL, "holds no certificate");
    says(dm_certificate_read(DM_STR_NULL, &info, &err), DM_EINVAL, "got nothing");
    dm_free(big);
    dm_buf_init(&buf, 1 << 20);
    for (int i = 0; i < DM_CERTIFICATE_CHAIN_MAX + 1; i++)
        dm_buf_add(&buf, root->certificate_pem);
    says(dm_certificate_read(dm_buf_str(&buf), &info, &err), DM_EBUDGET, "at most 10 certificates");
    dm_buf_done(&buf);
}

static void too_many_names_are_refused(void **state)
{
    struct dm_buf buf;

    dm_buf_init(&buf, 1 << 20);
    for (int i = 0; i <= DM_CERTIFICATE_NAMES_MAX; i++)
        dm_buf_printf(&buf, "%sDNS:n%d.example", i ? "," : "", i);
    dm_buf_add_char(&buf, '\0');
    struct pki_identity *many = pki_make(&(struct pki_spec){.subject = "Many", .names = buf.ptr}, root);
    says(dm_certificate_read(many->chain_pem, &info, &err), DM_EBUDGET, "at most 100 names");
    dm_buf_done(&buf);
    pki_free(many);
}

/* Every prefix of a chain, and every byte of it changed: an answer, never a crash; what is read is what was written. */
static void spoilt_text_is_refused_or_harmless(void **state)
{
    struct dm_str pem = leaf->chain_pem;
    char *copy = dm_alloc(pem.len);

    for (size_t i = 0; i < pem.len; i += 7) {
        memcpy(copy, pem.ptr, pem.len);
        int rc = dm_certificate_read(dm_str_n(copy, i), &info, &err);
        assert_true(rc < 0 || i >= leaf->certificate_pem.len - 1);
        copy[i] ^= 0x15;
        rc = dm_certificate_read(dm_str_n(copy, pem.len), &info, &err);
        assert_true(rc == 0 || rc == DM_EINVAL || rc == DM_EBUDGET);
    }
    dm_free(copy);
}

static void a_weak_signature_is_refused(void **state)
{
    struct pki_identity *weak = pki_make(&(struct pki_spec){.subject = "Weak", .digest = "SHA1"}, root);

    says(dm_certificate_read(weak->chain_pem, &info, &err), DM_EINVAL, "is signed with SHA1");
    pki_free(weak);
}

static void keys_of_all_forms_are_read(void **state)
{
    static const struct {
        enum pki_key kind;
        const char *type, *label;
    } kinds[] = {
        {PKI_P256, "ECDSA P-256", "EC PRIVATE KEY"},
        {PKI_P384, "ECDSA P-384", "EC PRIVATE KEY"},
        {PKI_RSA2048, "RSA 2048", "RSA PRIVATE KEY"},
        {PKI_ED25519, "Ed25519", NULL},
    };

    for (size_t i = 0; i < DM_COUNT(kinds); i++) {
        struct pki_identity *it = pki_make(&(struct pki_spec){.subject = "It", .key = kinds[i].kind}, root);
        assert_int_equal(dm_certificate_read(it->chain_pem, &info, &err), 0);
        assert_string_equal(info.key_type, kinds[i].type);
        assert_int_equal(dm_certificate_key_check(it->chain_pem, it->key_pem, &err), 0);
        says(dm_certificate_key_check(leaf->chain_pem, it->key_pem, &err), DM_EINVAL, "does not belong");
        if (kinds[i].label) {
            struct dm_str key = pki_key_as(it, kinds[i].label);
            assert_non_null(memmem(key.ptr, key.len, kinds[i].label, strlen(kinds[i].label)));
            assert_int_equal(dm_certificate_key_check(it->chain_pem, key, &err), 0);
            free((char *)(uintptr_t)key.ptr);
        }
        pki_free(it);
    }
}

static void keys_that_are_not_served_are_refused(void **state)
{
    struct pki_identity *weak = pki_make(&(struct pki_spec){.subject = "Weak", .key = PKI_RSA1024}, root);
    struct pki_identity *odd = pki_make(&(struct pki_spec){.subject = "Odd", .key = PKI_P521}, root);
    struct dm_str sealed = pki_key_as(leaf, "ENCRYPTED PRIVATE KEY");
    struct dm_buf buf;

    says(dm_certificate_key_check(weak->chain_pem, weak->key_pem, &err), DM_EINVAL,
         "2048 to 4096 bits when it is RSA, got 1024");
    says(dm_certificate_key_check(odd->chain_pem, odd->key_pem, &err), DM_EINVAL, "P-256 or P-384");
    says(dm_certificate_key_check(leaf->chain_pem, sealed, &err), DM_EINVAL, "encrypted");
    says(dm_certificate_key_check(leaf->chain_pem, leaf->certificate_pem, &err), DM_EINVAL, "found a 'CERTIFICATE'");
    says(dm_certificate_key_check(leaf->chain_pem, DM_STR("no key"), &err), DM_EINVAL, "not PEM");
    says(dm_certificate_key_check(leaf->chain_pem,
                                  DM_STR("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), &err),
         DM_EINVAL, "can't be decoded");
    says(dm_certificate_key_check(leaf->chain_pem, join(&buf, leaf->key_pem, leaf->key_pem), &err), DM_EINVAL,
         "followed by another");
    dm_buf_done(&buf);
    free((char *)(uintptr_t)sealed.ptr);
    pki_free(weak);
    pki_free(odd);
}

static void a_bundle_holds_cas_only(void **state)
{
    struct dm_buf buf;

    assert_int_equal(dm_certificate_ca_bundle_check(join(&buf, root->certificate_pem, middle->certificate_pem), &err),
                     0);
    dm_buf_done(&buf);
    says(dm_certificate_ca_bundle_check(join(&buf, root->certificate_pem, leaf->certificate_pem), &err), DM_EINVAL,
         "certificate 2 is not a CA's");
    dm_buf_done(&buf);
    says(dm_certificate_ca_bundle_check(DM_STR("x"), &err), DM_EINVAL, "holds no certificate");
}

static void ocsp_is(struct dm_str response, struct dm_str chain_pem, int expected, const char *text)
{
    int64_t stale_s = -1;
    int rc = dm_certificate_ocsp_check(chain_pem, response, &stale_s, &err);

    if (expected < 0)
        says(rc, expected, text);
    else
        assert_int_equal(rc, 0);
    free((char *)(uintptr_t)response.ptr);
}

static void ocsp_responses_are_checked(void **state)
{
    struct pki_identity *sibling = pki_make(&(struct pki_spec){.subject = "Sibling"}, middle);
    struct dm_str good = pki_ocsp(leaf, middle, middle, false, 1790000000), endless;
    int64_t stale_s;

    assert_int_equal(dm_certificate_ocsp_check(leaf->chain_pem, good, &stale_s, &err), 0);
    assert_int_equal(stale_s, 1790000000);
    says(dm_certificate_ocsp_check(leaf->chain_pem, dm_str_n(good.ptr, good.len - 1), &stale_s, &err), DM_EINVAL,
         "decoded");
    says(dm_certificate_ocsp_check(leaf->certificate_pem, good, &stale_s, &err), DM_EINVAL, "must hold the issuer");
    says(dm_certificate_ocsp_check(leaf->chain_pem, DM_STR_NULL, &stale_s, &err), DM_EINVAL, "decoded");
    ocsp_is(good, leaf->chain_pem, 0, "");
    endless = pki_ocsp(leaf, middle, middle, false, 0);
    assert_int_equal(dm_certificate_ocsp_check(leaf->chain_pem, endless, &stale_s, &err), 0);
    assert_int_equal(stale_s, PKI_OCSP_SINCE_S + 86400);
    ocsp_is(endless, leaf->chain_pem, 0, "");
    ocsp_is(pki_ocsp(leaf, middle, middle, true, 0), leaf->chain_pem, DM_EINVAL, "does not call the certificate good");
    ocsp_is(pki_ocsp(sibling, middle, middle, false, 0), leaf->chain_pem, DM_EINVAL, "not about the certificate");
    pki_free(sibling);
    ocsp_is(pki_ocsp(other, root, middle, false, 0), leaf->chain_pem, DM_EINVAL, "not signed by");
    ocsp_is(pki_ocsp(leaf, middle, other, false, 0), leaf->chain_pem, DM_EINVAL, "not signed by");
    ocsp_is(pki_ocsp(leaf, middle, leaf, false, 0), leaf->chain_pem, DM_EINVAL, "not signed by");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_described),
        cmocka_unit_test(a_ca_is_described),
        cmocka_unit_test(names_are_covered_exactly_and_by_one_label),
        cmocka_unit_test(a_wrong_chain_says_where),
        cmocka_unit_test(an_issuer_by_name_alone_is_none),
        cmocka_unit_test(no_more_than_the_bounds),
        cmocka_unit_test(too_many_names_are_refused),
        cmocka_unit_test(spoilt_text_is_refused_or_harmless),
        cmocka_unit_test(a_weak_signature_is_refused),
        cmocka_unit_test(keys_of_all_forms_are_read),
        cmocka_unit_test(keys_that_are_not_served_are_refused),
        cmocka_unit_test(a_bundle_holds_cas_only),
        cmocka_unit_test(ocsp_responses_are_checked),
    };

    return cmocka_run_group_tests(tests, make_identities, free_identities);
}
