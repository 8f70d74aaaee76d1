/* A certificate with its key: for a tenant's domains, and for what its backends are shown. The key is write-only: sealed at
 * rest, and sealed anew with the tenant's data key for the gateways.
 *
 * What the chain says of itself (names, times, fingerprint) is read-only here and filled in by who can read X.509; these
 * tables bound sizes and form alone. */
#ifndef DM_MODEL_CERTIFICATE_H
#define DM_MODEL_CERTIFICATE_H

#include "base/err.h"

struct dm_arena;
struct dm_schema;

struct dm_certificate {
    struct dm_str name;
    struct dm_str chain;         /* PEM, the leaf first */
    struct dm_str key;           /* secret; PEM; "" = the one there is */
    struct dm_str ocsp_response; /* base64 of DER; "" = none is stapled */
    /* read-only */
    struct dm_str subject, issuer; /* RFC 2253 */
    struct dm_str *names;          /* host names it is good for, lower-case; wildcards only as the whole first label */
    size_t n_names;
    struct dm_str not_before, not_after; /* RFC 3339, UTC */
    struct dm_str fingerprint;           /* SHA-256 of the leaf, hex */
    struct dm_str key_type;
    /* only in a document for gateways: base64 of dm_seal() with the tenant's data key */
    struct dm_str key_sealed;
};

#define DM_CERTIFICATES_MAX 256 /* of a tenant */
/* Bounds of form; io/certificate.h holds what is inside to bounds of its own, which are not wider. */
#define DM_CHAIN_BYTES 65536
#define DM_CHAIN_KEY_BYTES 16384
#define DM_CHAIN_NAMES 100
#define DM_CHAIN_OCSP_BYTES 21848 /* 16 KiB in base64 */
#define DM_CHAIN_SUBJECT_BYTES 512
#define DM_CA_BUNDLE_BYTES 65536
/* Of all of a tenant's domains, and of all of its backends, equal bundles counted once: reading a certificate takes a third of a
 * millisecond, and whoever reads them serves other tenants too. */
#define DM_CA_BUNDLES_BYTES 524288

extern const struct dm_schema dm_schema_certificate;        /* API and file: key, no key_sealed */
extern const struct dm_schema dm_schema_certificate_sealed; /* document: key_sealed, no key, nothing read-only */

/* Is it good for this host (RFC 9525: a wildcard stands for exactly one label)? For a wildcard domain: does it have the same
 * wildcard? */
bool dm_certificate_holds(const struct dm_certificate *certificate, struct dm_str host);

/* A private key for key_sealed and back: dm_seal() with the tenant's data key, bound to the tenant's number and the
 * certificate's name, in base64. */
/* *ret lies in the arena; DM_EBUDGET. pem has at most DM_CHAIN_KEY_BYTES. */
DM_MUST_USE int dm_certificate_key_seal(const uint8_t data_key[32], uint64_t tenant_id, struct dm_str name,
                                        struct dm_str pem, struct dm_arena *arena, struct dm_str *ret);
/* Returns the length of the PEM in ret, which the caller wipes; DM_ECORRUPT when key, names or bytes are not right. */
DM_MUST_USE ssize_t dm_certificate_key_open(const uint8_t data_key[32], uint64_t tenant_id, struct dm_str name,
                                            struct dm_str key_sealed, uint8_t ret[DM_CHAIN_KEY_BYTES]);

#endif
