#include <time.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "io/certificate.h"

#include "base/encode.h"
#include "base/mem.h"
#include "io/certificate_int.h"
#include "io/tls.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096, SIGNATURE_BITS_MIN = 112, OCSP_WITHOUT_END_S = 86400 };

#define PRIVATE_KEY "PRIVATE KEY-----"

/* PEM */

struct block {
    char *label, *header;
    unsigned char *der;
    long len;
};

static void block_done(struct block *block)
{
    OPENSSL_secure_free(block->label);
    OPENSSL_secure_free(block->header);
    OPENSSL_secure_clear_free(block->der, (size_t)block->len);
    *block = (struct block){0};
}

/* 1 and the next block, 0 at the end. */
static int next_block(BIO *bio, struct block *ret, const char *what, unsigned n, struct dm_err *err)
{
    unsigned long code;

    *ret = (struct block){0};
    if (PEM_read_bio_ex(bio, &ret->label, &ret->header, &ret->der, &ret->len,
                        PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) == 1)
        return 1;
    code = ERR_peek_last_error();
    ERR_clear_error();
    *ret = (struct block){0};
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
        return 0;
    return dm_fail(err, DM_EINVAL, "", "%s: PEM block %u is malformed or cut off", what, n);
}

static int open_pem(struct dm_str pem, const char *what, BIO **ret, struct dm_err *err)
{
    dm_tls_init();
    if (pem.len > DM_CERTIFICATE_PEM_MAX)
        return dm_fail(err, DM_EBUDGET, "", "%s must be at most %d bytes, got %zu", what, DM_CERTIFICATE_PEM_MAX,
                       pem.len);
    if (pem.len == 0)
        return dm_fail(err, DM_EINVAL, "", "%s must be PEM text, got nothing", what);
    if (!(*ret = BIO_new_mem_buf(pem.ptr, (int)pem.len)))
        return dm_fail(err, DM_EIO, "", "%s can't be read", what);
    return 0;
}

/* Certificates */

static int check_certificate(X509 *x509, const char *what, unsigned n, struct dm_err *err)
{
    int bits, digest;

    if (X509_get_extension_flags(x509) & EXFLAG_INVALID)
        return dm_fail(err, DM_EINVAL, "", "%s: certificate %u has extensions that can't be read", what, n);
    /* What a self-signed certificate signs itself with proves nothing and is not looked at. */
    if (X509_get_extension_flags(x509) & EXFLAG_SS)
        return 0;
    if (X509_get_signature_info(x509, &digest, NULL, &bits, NULL) != 1)
        return dm_fail(err, DM_EINVAL, "", "%s: certificate %u has an unknown signature algorithm", what, n);
    if (bits < SIGNATURE_BITS_MIN)
        return dm_fail(err, DM_EINVAL, "", "%s: certificate %u is signed with %s, which clients refuse", what, n,
                       digest == NID_undef ? "too few bits" : OBJ_nid2sn(digest));
    return 0;
}

static int decode_certificate(const struct block *block, const char *what, unsigned n, X509 **ret, struct dm_err *err)
{
    const unsigned char *at = block->der;
    X509 *x509;

    if (strcmp(block->label, PEM_STRING_X509) != 0)
        return dm_fail(err, DM_EINVAL, "", "%s: PEM block %u is a '%.40s', expected a '%s'", what, n, block->label,
                       PEM_STRING_X509);
    x509 = d2i_X509(NULL, &at, block->len);
    ERR_clear_error();
    if (!x509 || at != block->der + block->len) {
        X509_free(x509);
        return dm_fail(err, DM_EINVAL, "", "%s: PEM block %u does not hold a certificate", what, n);
    }
    *ret = x509;
    return 0;
}

static int add_certificate(STACK_OF(X509) * stack, const struct block *block, const char *what, struct dm_err *err)
{
    unsigned n = (unsigned)sk_X509_num(stack) + 1;
    X509 *x509 = NULL;
    int rc;

    if ((rc = decode_certificate(block, what, n, &x509, err)) < 0)
        return rc;
    if ((rc = check_certificate(x509, what, n, err)) < 0) {
        X509_free(x509);
        return rc;
    }
    return sk_X509_push(stack, x509) > 0 ? 0 : dm_fail(err, DM_EIO, "", "%s can't be read", what);
}

static int read_blocks(BIO *bio, STACK_OF(X509) * stack, const char *what, int max, struct dm_err *err)
{
    struct block block;
    int rc;

    while ((rc = next_block(bio, &block, what, (unsigned)sk_X509_num(stack) + 1, err)) > 0) {
        if (sk_X509_num(stack) == max)
            rc = dm_fail(err, DM_EBUDGET, "", "%s must hold at most %d certificates", what, max);
        else
            rc = add_certificate(stack, &block, what, err);
        block_done(&block);
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && sk_X509_num(stack) == 0)
        return dm_fail(
            err, DM_EINVAL, "",
            "%s holds no certificate: expected a line '-----BEGIN CERTIFICATE-----' and lines of base64 behind it",
            what);
    return rc;
}

/* Also where no parser takes it for one, as on a single line: the text is stored as it came, for all to read. */
static int refuse_keys(struct dm_str pem, const char *what, struct dm_err *err)
{
    if (!memmem(pem.ptr, pem.len, PRIVATE_KEY, sizeof(PRIVATE_KEY) - 1))
        return 0;
    return dm_fail(err, DM_EINVAL, "", "%s holds a private key, which does not belong here", what);
}

static int read_certificates(struct dm_str pem, const char *what, int max, STACK_OF(X509) * *ret, struct dm_err *err)
{
    STACK_OF(X509) *stack = NULL;
    BIO *bio = NULL;
    int rc;

    if ((rc = open_pem(pem, what, &bio, err)) < 0)
        return rc;
    if (!(stack = sk_X509_new_null()))
        rc = dm_fail(err, DM_EIO, "", "%s can't be read", what);
    else if ((rc = read_blocks(bio, stack, what, max, err)) == 0)
        rc = refuse_keys(pem, what, err);
    BIO_free(bio);
    if (rc < 0)
        sk_X509_pop_free(stack, X509_free);
    else
        *ret = stack;
    return rc;
}

static bool is_issuer(X509 *issuer, X509 *subject)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    bool is = key && X509_check_issued(issuer, subject) == X509_V_OK && X509_verify(subject, key) == 1;

    ERR_clear_error();
    return is;
}

int dm_certificate_parse_chain(struct dm_str pem, STACK_OF(X509) * *ret, struct dm_err *err)
{
    STACK_OF(X509) *stack = NULL;
    int rc;

    if ((rc = read_certificates(pem, "the certificate chain", DM_CERTIFICATE_CHAIN_MAX, &stack, err)) < 0)
        return rc;
    for (int i = 1; i < sk_X509_num(stack); i++)
        if (!is_issuer(sk_X509_value(stack, i), sk_X509_value(stack, i - 1))) {
            sk_X509_pop_free(stack, X509_free);
            return dm_fail(err, DM_EINVAL, "",
                           "the certificate chain: certificate %d is not the issuer of certificate %d; expected the "
                           "certificate itself first, then the issuer of each",
                           i + 1, i);
        }
    *ret = stack;
    return 0;
}

int dm_certificate_parse_bundle(struct dm_str pem, STACK_OF(X509) * *ret, struct dm_err *err)
{
    STACK_OF(X509) *stack = NULL;
    int rc;

    if ((rc = read_certificates(pem, "the CA bundle", DM_CERTIFICATE_BUNDLE_MAX, &stack, err)) < 0)
        return rc;
    for (int i = 0; i < sk_X509_num(stack); i++)
        if (X509_check_ca(sk_X509_value(stack, i)) == 0) {
            sk_X509_pop_free(stack, X509_free);
            return dm_fail(err, DM_EINVAL, "", "the CA bundle: certificate %d is not a CA's", i + 1);
        }
    *ret = stack;
    return 0;
}

int dm_certificate_ca_bundle_check(struct dm_str pem, struct dm_err *err)
{
    STACK_OF(X509) * stack DM_CLEANUP(dm_x509_stack_freep) = NULL;

    return dm_certificate_parse_bundle(pem, &stack, err);
}

/* Description */

bool dm_certificate_name_text(const X509_NAME *name, char ret[DM_CERTIFICATE_SUBJECT_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool fits = false;
    long len = 0;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        len = BIO_get_mem_data(bio, &text);
        fits = len >= 0 && len < DM_CERTIFICATE_SUBJECT_MAX;
    }
    if (fits && len > 0)
        memcpy(ret, text, (size_t)len);
    ret[fits ? len : 0] = '\0';
    BIO_free(bio);
    ERR_clear_error();
    return fits;
}

void dm_certificate_fingerprint(const X509 *x509, char ret[DM_CERTIFICATE_FINGERPRINT_MAX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (X509_digest(x509, EVP_sha256(), digest, &len) != 1)
        len = 0;
    dm_hex(digest, len, ret);
}

static const char *curve_name(const EVP_PKEY *key)
{
    char group[32] = "";

    EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
    if (strcmp(group, SN_X9_62_prime256v1) == 0)
        return "ECDSA P-256";
    return strcmp(group, SN_secp384r1) == 0 ? "ECDSA P-384" : NULL;
}

/* False when it is of a kind that is not served; the text says "other" when it has no name here. */
static bool describe_key(const EVP_PKEY *key, char ret[DM_CERTIFICATE_KEY_TYPE_MAX])
{
    int bits = key ? EVP_PKEY_get_bits(key) : 0;
    const char *name = NULL;

    switch (key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
    case EVP_PKEY_RSA:
        snprintf(ret, DM_CERTIFICATE_KEY_TYPE_MAX, "RSA %d", bits);
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    case EVP_PKEY_EC: name = curve_name(key); break;
    case EVP_PKEY_ED25519: name = "Ed25519"; break;
    default: break;
    }
    snprintf(ret, DM_CERTIFICATE_KEY_TYPE_MAX, "%s", name ? name : "other");
    return name;
}

int64_t dm_certificate_time_s(const ASN1_TIME *time)
{
    struct tm tm;

    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static bool is_name_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Non-empty labels of letters, digits, '-' and '_', behind "*." if that is what it starts with. */
static bool is_dns_name(struct dm_str name)
{
    struct dm_str label;

    if (dm_str_starts(name, DM_STR("*.")))
        name = dm_str_skip(name, 2);
    if (name.len == 0)
        return false;
    while (dm_str_cut(&name, '.', &label)) {
        if (label.len == 0 || label.len > 63)
            return false;
        for (size_t i = 0; i < label.len; i++)
            if (!is_name_byte((unsigned char)label.ptr[i]))
                return false;
    }
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int add_name(struct dm_certificate_info *info, const ASN1_STRING *value, struct dm_err *err)
{
    size_t len = (size_t)ASN1_STRING_length(value);
    const char *ptr = (const char *)ASN1_STRING_get0_data(value);
    char *name;

    if (info->n_names == DM_CERTIFICATE_NAMES_MAX)
        return dm_fail(err, DM_EBUDGET, "", "the certificate must have at most %d names", DM_CERTIFICATE_NAMES_MAX);
    if (len >= DM_CERTIFICATE_NAME_MAX)
        return 0;
    name = info->names[info->n_names];
    for (size_t i = 0; i < len; i++)
        name[i] = lower(ptr[i]);
    name[len] = '\0';
    info->n_names += is_dns_name(dm_str_n(name, len));
    return 0;
}

static int read_names(X509 *x509, struct dm_certificate_info *info, struct dm_err *err)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    int rc = 0;

    for (int i = 0; rc == 0 && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            rc = add_name(info, name->d.dNSName, err);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return rc;
}

static bool has_ocsp_responder(X509 *x509)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(x509);
    bool has = sk_OPENSSL_STRING_num(urls) > 0;

    X509_email_free(urls);
    return has;
}

static int describe(X509 *x509, struct dm_certificate_info *info, struct dm_err *err)
{
    if (!dm_certificate_name_text(X509_get_subject_name(x509), info->subject) ||
        !dm_certificate_name_text(X509_get_issuer_name(x509), info->issuer))
        return dm_fail(err, DM_EBUDGET, "", "the certificate's subject and issuer must be below %d bytes each",
                       DM_CERTIFICATE_SUBJECT_MAX);
    info->not_before_s = dm_certificate_time_s(X509_get0_notBefore(x509));
    info->not_after_s = dm_certificate_time_s(X509_get0_notAfter(x509));
    dm_certificate_fingerprint(x509, info->fingerprint);
    describe_key(X509_get0_pubkey(x509), info->key_type);
    info->is_ca = X509_check_ca(x509) != 0;
    info->has_ocsp_responder = has_ocsp_responder(x509);
    return read_names(x509, info, err);
}

int dm_certificate_read(struct dm_str pem, struct dm_certificate_info *ret, struct dm_err *err)
{
    STACK_OF(X509) * stack DM_CLEANUP(dm_x509_stack_freep) = NULL;
    struct dm_certificate_info *info DM_CLEANUP(dm_freep) = NULL;
    int rc;

    if ((rc = dm_certificate_parse_chain(pem, &stack, err)) < 0)
        return rc;
    info = dm_calloc(1, sizeof(*info));
    info->n_chain = (unsigned)sk_X509_num(stack);
    if ((rc = describe(sk_X509_value(stack, 0), info, err)) < 0)
        return rc;
    *ret = *info;
    return 0;
}

static bool covers(struct dm_str name, struct dm_str host)
{
    if (dm_str_ieq(name, host))
        return true;
    return dm_str_starts(name, DM_STR("*.")) && dm_str_find(host, '.') > 0 &&
           dm_str_ieq(dm_str_skip(name, 1), dm_str_skip(host, dm_str_find(host, '.')));
}

bool dm_certificate_covers(const struct dm_certificate_info *info, struct dm_str host)
{
    for (unsigned i = 0; i < info->n_names; i++)
        if (covers(dm_str_of(info->names[i]), host))
            return true;
    return false;
}

/* Keys */

static EVP_PKEY *decode_pkcs8(const unsigned char *der, long len)
{
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, len);
    EVP_PKEY *key = info ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static int decode_key(const struct block *block, EVP_PKEY **ret, struct dm_err *err)
{
    const unsigned char *der = block->der;

    if (strcmp(block->label, PEM_STRING_PKCS8) == 0 || strstr(block->header, "ENCRYPTED"))
        return dm_fail(err, DM_EINVAL, "", "the key is encrypted; expected it without a passphrase");
    if (strcmp(block->label, PEM_STRING_PKCS8INF) == 0)
        *ret = decode_pkcs8(der, block->len);
    else if (strcmp(block->label, PEM_STRING_RSA) == 0)
        *ret = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, block->len);
    else if (strcmp(block->label, PEM_STRING_ECPRIVATEKEY) == 0)
        *ret = d2i_PrivateKey(EVP_PKEY_EC, NULL, &der, block->len);
    else
        return dm_fail(err, DM_EINVAL, "", "the key: found a '%.40s', expected a '%s'", block->label,
                       PEM_STRING_PKCS8INF);
    ERR_clear_error();
    return *ret ? 0 : dm_fail(err, DM_EINVAL, "", "the key can't be decoded");
}

static int check_key_kind(const EVP_PKEY *key, struct dm_err *err)
{
    char type[DM_CERTIFICATE_KEY_TYPE_MAX];

    if (describe_key(key, type))
        return 0;
    if (strcmp(type, "other") == 0)
        return dm_fail(err, DM_EINVAL, "",
                       "the key must be RSA, ECDSA on P-256 or P-384, or Ed25519; found another algorithm or curve");
    return dm_fail(err, DM_EINVAL, "", "the key must have %d to %d bits when it is RSA, got %d", RSA_BITS_MIN,
                   RSA_BITS_MAX, EVP_PKEY_get_bits(key));
}

/* One key, which the parameters of its curve may precede (as `openssl ecparam -genkey` writes it). */
static int read_key(BIO *bio, EVP_PKEY **key, struct dm_err *err)
{
    struct block block;
    int rc;

    for (unsigned n = 1; (rc = next_block(bio, &block, "the key", n, err)) > 0; n++) {
        if (strcmp(block.label, PEM_STRING_ECPARAMETERS) != 0 || *key)
            rc = *key ? dm_fail(err, DM_EINVAL, "", "the key is followed by another PEM block")
                      : decode_key(&block, key, err);
        block_done(&block);
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && !*key)
        return dm_fail(err, DM_EINVAL, "", "the key is not PEM ('-----BEGIN PRIVATE KEY-----')");
    return rc < 0 ? rc : check_key_kind(*key, err);
}

int dm_certificate_parse_key(struct dm_str pem, EVP_PKEY **ret, struct dm_err *err)
{
    EVP_PKEY *key = NULL;
    BIO *bio = NULL;
    int rc;

    if ((rc = open_pem(pem, "the key", &bio, err)) < 0)
        return rc;
    rc = read_key(bio, &key, err);
    BIO_free(bio);
    if (rc < 0)
        EVP_PKEY_free(key);
    else
        *ret = key;
    return rc;
}

int dm_certificate_key_check(struct dm_str chain_pem, struct dm_str key_pem, struct dm_err *err)
{
    STACK_OF(X509) * stack DM_CLEANUP(dm_x509_stack_freep) = NULL;
    EVP_PKEY *key DM_CLEANUP(dm_evp_pkey_freep) = NULL;
    int rc;

    if ((rc = dm_certificate_parse_chain(chain_pem, &stack, err)) < 0 ||
        (rc = dm_certificate_parse_key(key_pem, &key, err)) < 0)
        return rc;
    rc = X509_check_private_key(sk_X509_value(stack, 0), key);
    ERR_clear_error();
    return rc == 1 ? 0 : dm_fail(err, DM_EINVAL, "", "the key does not belong to the certificate");
}

/* OCSP */

static bool is_about(const OCSP_SINGLERESP *single, const X509 *subject, const X509 *issuer)
{
    const OCSP_CERTID *id = OCSP_SINGLERESP_get0_id(single);
    ASN1_OBJECT *algorithm = NULL;
    const EVP_MD *md;
    OCSP_CERTID *expected;
    bool is;

    OCSP_id_get0_info(NULL, &algorithm, NULL, NULL, (OCSP_CERTID *)(uintptr_t)id);
    if (!(md = EVP_get_digestbyobj(algorithm)) || !(expected = OCSP_cert_to_id(md, subject, issuer)))
        return false;
    is = OCSP_id_cmp(id, expected) == 0;
    OCSP_CERTID_free(expected);
    return is;
}

/* RFC 6960, 4.2.2.1: without nextUpdate there is newer word at any time; browsers give such a one a day. */
static int64_t stale_at(const ASN1_GENERALIZEDTIME *this_update, const ASN1_GENERALIZEDTIME *next_update)
{
    return next_update ? dm_certificate_time_s(next_update) : dm_certificate_time_s(this_update) + OCSP_WITHOUT_END_S;
}

static int read_status(OCSP_BASICRESP *basic, const X509 *subject, const X509 *issuer, int64_t *ret, struct dm_err *err)
{
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
        ASN1_GENERALIZEDTIME *this = NULL, *next = NULL;
        if (!is_about(single, subject, issuer))
            continue;
        if (OCSP_single_get0_status(single, NULL, NULL, &this, &next) != V_OCSP_CERTSTATUS_GOOD)
            return dm_fail(err, DM_EINVAL, "", "the OCSP response does not call the certificate good");
        *ret = stale_at(this, next);
        return 0;
    }
    return dm_fail(err, DM_EINVAL, "", "the OCSP response is not about the certificate");
}

/* By the issuer itself or a responder that it certified for this; when is the caller's question. */
static bool is_signed_by(OCSP_BASICRESP *basic, STACK_OF(X509) * chain, X509 *issuer)
{
    X509_STORE *store = X509_STORE_new();
    bool is = store && X509_STORE_add_cert(store, issuer) == 1 &&
              X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME) == 1 &&
              OCSP_basic_verify(basic, chain, store, 0) == 1;

    X509_STORE_free(store);
    return is;
}

static int check_response(OCSP_RESPONSE *response, STACK_OF(X509) * chain, int64_t *ret, struct dm_err *err)
{
    X509 *issuer = sk_X509_value(chain, 1);
    OCSP_BASICRESP *basic;
    int rc;

    if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL ||
        !(basic = OCSP_response_get1_basic(response)))
        return dm_fail(err, DM_EINVAL, "", "the OCSP response is not a successful one");
    if (is_signed_by(basic, chain, issuer))
        rc = read_status(basic, sk_X509_value(chain, 0), issuer, ret, err);
    else
        rc = dm_fail(err, DM_EINVAL, "", "the OCSP response is not signed by the certificate's issuer");
    OCSP_BASICRESP_free(basic);
    return rc;
}

int dm_certificate_ocsp_check(struct dm_str chain_pem, struct dm_str response_der, int64_t *ret_stale_at_s,
                              struct dm_err *err)
{
    STACK_OF(X509) * chain DM_CLEANUP(dm_x509_stack_freep) = NULL;
    const unsigned char *at = (const unsigned char *)response_der.ptr;
    OCSP_RESPONSE *response;
    int rc;

    if (response_der.len > DM_CERTIFICATE_OCSP_MAX)
        return dm_fail(err, DM_EBUDGET, "", "the OCSP response must be at most %d bytes", DM_CERTIFICATE_OCSP_MAX);
    if ((rc = dm_certificate_parse_chain(chain_pem, &chain, err)) < 0)
        return rc;
    if (sk_X509_num(chain) < 2)
        return dm_fail(err, DM_EINVAL, "", "the certificate chain must hold the issuer, which signs the OCSP response");
    response = response_der.len > 0 ? d2i_OCSP_RESPONSE(NULL, &at, (long)response_der.len) : NULL;
    if (response && at == (const unsigned char *)response_der.ptr + response_der.len)
        rc = check_response(response, chain, ret_stale_at_s, err);
    else
        rc = dm_fail(err, DM_EINVAL, "", "the OCSP response can't be decoded");
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return rc;
}
