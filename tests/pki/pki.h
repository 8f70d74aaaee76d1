/* Certificates and keys for tests, made when they are asked for: no key lies in the repository. Aborts on failure. */
#ifndef DM_TESTS_PKI_H
#define DM_TESTS_PKI_H

#include "base/str.h"

enum pki_key { PKI_P256, PKI_P384, PKI_RSA2048, PKI_RSA1024, PKI_ED25519, PKI_P521 };

struct pki_spec {
    const char *subject;  /* common name */
    const char *names;    /* subjectAltName as OpenSSL writes it: "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const char *ocsp_url; /* NULL: none */
    const char *digest;   /* "SHA1"; NULL: SHA-256 */
    enum pki_key key;
    bool is_ca;
    bool is_client;                    /* for client authentication instead of server authentication */
    int64_t not_before_s, not_after_s; /* 0: 2020 and 2050 */
};

struct pki_identity {
    void *x509, *key;        /* X509 and EVP_PKEY */
    struct dm_str chain_pem; /* itself, then its issuers without the root */
    struct dm_str certificate_pem, key_pem;
};

/* issuer NULL: self-signed. The issuer must outlive nothing: what is needed of it is copied. */
struct pki_identity *pki_make(const struct pki_spec *spec, const struct pki_identity *issuer);
void pki_free(struct pki_identity *identity);
/* The key in another form: "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY". Free with free(). */
struct dm_str pki_key_as(const struct pki_identity *identity, const char *label);

#define PKI_OCSP_SINCE_S 1577836800 /* thisUpdate of all: 2020 */

/* A signed OCSP response about `subject`; is_revoked or good; next_update_s 0: none. Free with free(). */
struct dm_str pki_ocsp(const struct pki_identity *subject, const struct pki_identity *issuer,
                       const struct pki_identity *signer, bool is_revoked, int64_t next_update_s);

#endif
