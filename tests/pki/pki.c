#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "pki/pki.h"

enum { YEAR_2020_S = 1577836800 };
#define YEAR_2050_S INT64_C(2524608000)

static void must(bool holds)
{
    if (!holds)
        abort();
}

static EVP_PKEY *make_key(enum pki_key kind)
{
    switch (kind) {
    case PKI_P256: return EVP_EC_gen("P-256");
    case PKI_P384: return EVP_EC_gen("P-384");
    case PKI_P521: return EVP_EC_gen("P-521");
    case PKI_RSA2048: return EVP_RSA_gen(2048);
    case PKI_RSA1024: return EVP_RSA_gen(1024);
    case PKI_ED25519: return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    return NULL;
}

static struct dm_str take_bio(BIO *bio)
{
    char *text = NULL, *copy;
    long len = BIO_get_mem_data(bio, &text);

    must(len > 0);
    must((copy = malloc((size_t)len)) != NULL);
    memcpy(copy, text, (size_t)len);
    BIO_free(bio);
    return dm_str_n(copy, (size_t)len);
}

static struct dm_str certificate_pem(X509 *x509)
{
    BIO *bio = BIO_new(BIO_s_mem());

    must(PEM_write_bio_X509(bio, x509) == 1);
    return take_bio(bio);
}

static struct dm_str key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    must(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    return take_bio(bio);
}

static struct dm_str join(struct dm_str a, struct dm_str b)
{
    char *ptr = malloc(a.len + b.len + 1);

    must(ptr);
    memcpy(ptr, a.ptr, a.len);
    if (b.len > 0)
        memcpy(ptr + a.len, b.ptr, b.len);
    return dm_str_n(ptr, a.len + b.len);
}

static void add_extension(X509 *x509, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, ctx, nid, value);

    must(extension && X509_add_ext(x509, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void add_extensions(X509 *x509, X509 *issuer, const struct pki_spec *spec)
{
    char url[256];
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
    add_extension(x509, &ctx, NID_basic_constraints, spec->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(x509, &ctx, NID_key_usage,
                  spec->is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
    if (!spec->is_ca)
        add_extension(x509, &ctx, NID_ext_key_usage, spec->is_client ? "clientAuth" : "serverAuth");
    add_extension(x509, &ctx, NID_subject_key_identifier, "hash");
    if (spec->names)
        add_extension(x509, &ctx, NID_subject_alt_name, spec->names);
    if (!spec->ocsp_url)
        return;
    snprintf(url, sizeof(url), "OCSP;URI:%s", spec->ocsp_url);
    add_extension(x509, &ctx, NID_info_access, url);
}

static X509 *make_x509(const struct pki_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    const EVP_MD *digest = EVP_get_digestbyname(spec->digest ? spec->digest : "SHA256");
    X509 *x509 = X509_new();
    X509_NAME *name = X509_get_subject_name(x509);
    static long serial = 1000;

    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    must(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Test", -1, -1, 0) == 1);
    must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)spec->subject, -1, -1, 0) == 1);
    X509_set_issuer_name(x509, issuer ? X509_get_subject_name(issuer) : name);
    ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)(spec->not_before_s ? spec->not_before_s : YEAR_2020_S));
    ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)(spec->not_after_s ? spec->not_after_s : YEAR_2050_S));
    X509_set_pubkey(x509, key);
    add_extensions(x509, issuer ? issuer : x509, spec);
    must(X509_sign(x509, issuer_key, EVP_PKEY_get_base_id(issuer_key) == EVP_PKEY_ED25519 ? NULL : digest) > 0);
    return x509;
}

struct pki_identity *pki_make(const struct pki_spec *spec, const struct pki_identity *issuer)
{
    struct pki_identity *identity = calloc(1, sizeof(*identity));
    bool is_below_root = issuer && issuer->chain_pem.len > 0;

    must(identity && (identity->key = make_key(spec->key)));
    identity->x509 = make_x509(spec, identity->key, issuer ? issuer->x509 : NULL, issuer ? issuer->key : identity->key);
    identity->certificate_pem = certificate_pem(identity->x509);
    identity->key_pem = key_pem(identity->key);
    /* A root's chain is empty, so that it is in nobody's. */
    if (issuer || !spec->is_ca)
        identity->chain_pem = join(identity->certificate_pem, is_below_root ? issuer->chain_pem : DM_STR_NULL);
    return identity;
}

void pki_free(struct pki_identity *identity)
{
    if (!identity)
        return;
    X509_free(identity->x509);
    EVP_PKEY_free(identity->key);
    free((char *)(uintptr_t)identity->chain_pem.ptr);
    free((char *)(uintptr_t)identity->certificate_pem.ptr);
    free((char *)(uintptr_t)identity->key_pem.ptr);
    free(identity);
}

struct dm_str pki_key_as(const struct pki_identity *identity, const char *label)
{
    BIO *bio = BIO_new(BIO_s_mem());

    if (strcmp(label, "ENCRYPTED PRIVATE KEY") == 0)
        must(PEM_write_bio_PKCS8PrivateKey(bio, identity->key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL) == 1);
    else
        must(PEM_write_bio_PrivateKey_traditional(bio, identity->key, NULL, NULL, 0, NULL, NULL) == 1);
    return take_bio(bio);
}

struct dm_str pki_ocsp(const struct pki_identity *subject, const struct pki_identity *issuer,
                       const struct pki_identity *signer, bool is_revoked, int64_t next_update_s)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, subject->x509, issuer->x509);
    ASN1_TIME *at = ASN1_TIME_set(NULL, PKI_OCSP_SINCE_S),
              *next = next_update_s ? ASN1_TIME_set(NULL, next_update_s) : NULL;
    OCSP_RESPONSE *response;
    unsigned char *der = NULL;
    int len;

    must(OCSP_basic_add1_status(basic, id, is_revoked ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD, 0,
                                is_revoked ? at : NULL, at, next) != NULL);
    must(OCSP_basic_sign(basic, signer->x509, signer->key, EVP_sha256(), NULL, 0) == 1);
    must((response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic)) != NULL);
    must((len = i2d_OCSP_RESPONSE(response, &der)) > 0);
    struct dm_str copy = join(dm_str_n((char *)der, (size_t)len), DM_STR_NULL);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(at);
    ASN1_TIME_free(next);
    return copy;
}
