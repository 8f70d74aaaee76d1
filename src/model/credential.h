/* What an application shows to prove who it is. The key itself is write-only: stored and sent to gateways as a keyed
 * digest. */
#ifndef DM_MODEL_CREDENTIAL_H
#define DM_MODEL_CREDENTIAL_H

#include "base/crypto.h"
#include "base/str.h"

struct dm_schema;

enum dm_credential_type { DM_CREDENTIAL_API_KEY, DM_CREDENTIAL_CLIENT_CERTIFICATE };
extern const char *const dm_credential_type_names[];

struct dm_credential {
    int64_t id; /* read-only */
    struct dm_str name;
    int type;                           /* enum dm_credential_type */
    struct dm_str key;                  /* of API_KEY: secret; "" = generate, or keep the one there is */
    struct dm_str fingerprint, subject; /* of CLIENT_CERTIFICATE, one of them: SHA-256 in hex, or RFC 2253 */
    struct dm_str digest;               /* only in a document for gateways: hex of dm_credential_digest() */
    struct dm_str created_at;           /* read-only */
};

#define DM_KEY_MAX 256
#define DM_SUBJECT_MAX 511
/* What is digested: the key; "fingerprint:…" or "subject:…" of a certificate. */
#define DM_CREDENTIAL_VALUE_MAX (DM_SUBJECT_MAX + 16)

/* What stands for it: the key, or the value of a certificate in buf. */
struct dm_str dm_credential_value(const struct dm_credential *credential, char buf[DM_CREDENTIAL_VALUE_MAX]);
/* The same for a certificate that a caller showed; match: one bit of enum dm_certificate_match, value what the certificate
 * has there. DM_STR_NULL when it is longer than any credential's. */
struct dm_str dm_certificate_value(unsigned match, struct dm_str value, char buf[DM_CREDENTIAL_VALUE_MAX]);
/* The member that holds it: "key", "fingerprint" or "subject". */
const char *dm_credential_member(const struct dm_credential *credential);

extern const struct dm_schema dm_schema_credential;        /* API and file: key, no digest */
extern const struct dm_schema dm_schema_credential_sealed; /* document: digest, no key */

/* The digest that stands for a key: BLAKE2b-256 over the tenant's digest key, the type and the key. A secret prefix is a MAC
 * with BLAKE2, which can't be extended (RFC 7693; Aumasson and others 2013), and takes one block where its keyed mode takes
 * two: this is done for every request. value has at most
 * DM_CREDENTIAL_VALUE_MAX bytes. The type keeps a key from standing for a certificate. */
void dm_credential_digest(const uint8_t digest_key[32], enum dm_credential_type type, struct dm_str value,
                          uint8_t ret[DM_DIGEST_BYTES]);

#endif
