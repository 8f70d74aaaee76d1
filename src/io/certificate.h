/* Certificates and keys as people hand them over: PEM (RFC 7468), read strictly and described.
 *
 * What is wrong is told in a sentence (struct dm_err, pointer ""). Times are data here, never an error: whether something has
 * expired is the caller's question. Text around and between the PEM blocks is skipped, other blocks are refused. No key
 * material is left in memory. Cold code; threads: any. */
#ifndef DM_IO_CERTIFICATE_H
#define DM_IO_CERTIFICATE_H

#include "base/err.h"

enum {
    DM_CERTIFICATE_PEM_MAX = 64 << 10, /* bytes of a chain, a key or a bundle */
    DM_CERTIFICATE_CHAIN_MAX = 10,     /* certificates in a chain */
    DM_CERTIFICATE_BUNDLE_MAX = 64,    /* certificates in a bundle */
    DM_CERTIFICATE_NAMES_MAX = 100,
    DM_CERTIFICATE_SUBJECT_MAX = 512, /* with the NUL */
    DM_CERTIFICATE_NAME_MAX = 254,    /* with the NUL */
    DM_CERTIFICATE_FINGERPRINT_MAX = 65,
    DM_CERTIFICATE_KEY_TYPE_MAX = 32,
    DM_CERTIFICATE_OCSP_MAX = 16 << 10, /* bytes of an OCSP response */
};

/* What the first certificate of a chain says. By value, no ownership. */
struct dm_certificate_info {
    char subject[DM_CERTIFICATE_SUBJECT_MAX], issuer[DM_CERTIFICATE_SUBJECT_MAX]; /* RFC 2253, ASCII */
    int64_t not_before_s, not_after_s;                                            /* Unix time */
    char fingerprint[DM_CERTIFICATE_FINGERPRINT_MAX];                             /* SHA-256, lower-case hex */
    char key_type[DM_CERTIFICATE_KEY_TYPE_MAX]; /* "RSA 2048", "ECDSA P-256", "ECDSA P-384", "Ed25519", else "other" */
    bool is_ca, has_ocsp_responder;
    unsigned n_chain; /* certificates, this one included */
    /* DNS names of the subjectAltName, lower case; a wildcard stands only as the whole leftmost label ("*.example.com"). Names
     * of other forms, which nothing matches, are left out. */
    unsigned n_names;
    char names[DM_CERTIFICATE_NAMES_MAX][DM_CERTIFICATE_NAME_MAX];
};

/* Reads a chain: the certificate, then the issuer of each. DM_EINVAL: malformed, not a chain, or signed by means that clients
 * refuse; DM_EBUDGET: more or larger than the bounds. On failure *ret is untouched. */
DM_MUST_USE int dm_certificate_read(struct dm_str pem, struct dm_certificate_info *ret, struct dm_err *err);

/* Does the certificate cover this host name (no case, no port)? A wildcard stands for exactly one label (RFC 6125 section
 * 6.4.3). "*.example.com" as a host asks for the wildcard itself. */
bool dm_certificate_covers(const struct dm_certificate_info *info, struct dm_str host);

/* Is this key, unencrypted in PKCS#8, PKCS#1 or SEC 1, of a kind that is served (RSA of 2048 to 4096 bits, ECDSA on P-256 or
 * P-384, Ed25519), and does it belong to the chain's first certificate? 0, DM_EINVAL or DM_EBUDGET. */
DM_MUST_USE int dm_certificate_key_check(struct dm_str chain_pem, struct dm_str key_pem, struct dm_err *err);

/* Is this one or more CA certificates, and nothing else? 0, DM_EINVAL or DM_EBUDGET. */
DM_MUST_USE int dm_certificate_ca_bundle_check(struct dm_str pem, struct dm_err *err);

/* Is this a successful OCSP response (RFC 6960) by the issuer, or a responder of its, that calls the chain's first
 * certificate good? The chain must hold the issuer. *ret_stale_at_s: Unix time of its nextUpdate, or, where it has none, a day behind
 * its thisUpdate. */
DM_MUST_USE int dm_certificate_ocsp_check(struct dm_str chain_pem, struct dm_str response_der, int64_t *ret_stale_at_s,
                                          struct dm_err *err);

#endif
