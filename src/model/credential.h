/* What an application shows to prove who it is. The key itself is write-only: stored and sent to gateways as a keyed
 * digest. */
#ifndef DM_MODEL_CREDENTIAL_H
#define DM_MODEL_CREDENTIAL_H

#include "base/crypto.h"
#include "base/str.h"

struct dm_schema;

enum dm_credential_type { DM_CREDENTIAL_API_KEY };
extern const char *const dm_credential_type_names[];

struct dm_credential {
    int64_t id; /* read-only */
    struct dm_str name;
    int type;                 /* enum dm_credential_type */
    struct dm_str key;        /* secret; "" = generate, or keep the one there is */
    struct dm_str digest;     /* only in a document for gateways: hex of dm_credential_digest() */
    struct dm_str created_at; /* read-only */
};

#define DM_KEY_MAX 256

extern const struct dm_schema dm_schema_credential;        /* API and file: key, no digest */
extern const struct dm_schema dm_schema_credential_sealed; /* document: digest, no key */

/* The digest that stands for a key: BLAKE2b-256 over the tenant's digest key, the type and the key. A secret prefix is a MAC
 * with BLAKE2, which can't be extended (RFC 7693; Aumasson and others 2013), and takes one block where its keyed mode takes
 * two: this is done for every request. key has at most DM_KEY_MAX bytes. */
void dm_credential_digest(const uint8_t digest_key[32], enum dm_credential_type type, struct dm_str key,
                          uint8_t ret[DM_DIGEST_BYTES]);

#endif
