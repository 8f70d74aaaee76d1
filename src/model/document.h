/* Signed documents: how a unit of a tenant travels from the controller to a gateway and lies on the gateway's disk.
 *
 *   offset  bytes  what (integers big-endian)
 *   0       6      "DMDOC1"
 *   6       1      kind (enum dm_unit_kind)
 *   7       1      n, length of the tenant's name
 *   8       8      tenant id
 *   16      8      epoch
 *   24      8      sequence
 *   32      4      b, length of the body
 *   36      32     BLAKE2b-256 of the body
 *   68      8      id of the signing key
 *   76      n      the tenant's name
 *   76+n    64     Ed25519 signature over all bytes before it
 *   140+n   b      body: canonical JSON of struct dm_document
 *
 * D1. What the header says and what the body says is the same; opening refuses a document where it is not.
 * D2. Equal documents are equal bytes: the body is canonical (field.h F4) with defaults written out, so that a reader of
 *     another version does not put its own in. */
#ifndef DM_MODEL_DOCUMENT_H
#define DM_MODEL_DOCUMENT_H

#include "base/crypto.h"
#include "model/application.h"
#include "model/backend.h"
#include "model/certificate.h"
#include "model/domain.h"
#include "model/field.h"
#include "model/grants.h"
#include "model/product.h"
#include "model/tenant.h"
#include "model/unit_kind.h"

struct dm_buf;

struct dm_release_body {
    struct dm_backend *backends;
    size_t n_backends;
    struct dm_product *products;
    size_t n_products;
};

struct dm_applications_body {
    int64_t digest_key_id;
    struct dm_str digest_key;            /* hex of 32 bytes: the tenant's own */
    struct dm_application *applications; /* sealed: with id; credentials with digest, without key */
    size_t n_applications;
};

struct dm_grants_body {
    int state; /* enum dm_state of the tenant */
    int64_t weight;
    struct dm_caps caps;
    int tenancy; /* enum dm_tenancy */
    struct dm_cell cell;
    struct dm_domain_grant *domains;
    size_t n_domains;
    struct dm_endpoint_grant *endpoints;
    size_t n_endpoints;
};

struct dm_domains_body {
    int64_t key_id;            /* of the tenant's data key; 0 when there is no certificate */
    struct dm_domain *domains; /* certificate: always said, "" = no TLS */
    size_t n_domains;
    struct dm_certificate *certificates; /* sealed: with key_sealed, without key */
    size_t n_certificates;
};

#define DM_DOCUMENT_FORMAT 1

struct dm_document {
    int64_t format; /* DM_DOCUMENT_FORMAT */
    int kind;       /* enum dm_unit_kind; selects the member of the union */
    struct dm_str tenant;
    int64_t tenant_id;
    int64_t epoch;
    int64_t sequence;
    struct dm_str compat_date;
    union {
        struct dm_release_body release;
        struct dm_applications_body applications;
        struct dm_grants_body grants;
        struct dm_domains_body domains;
    };
};

extern const struct dm_schema dm_schema_document; /* the union */

/* The frame's header, checked; tenant points into the bytes that were opened. */
struct dm_document_head {
    enum dm_unit_kind kind;
    struct dm_str tenant;
    uint64_t tenant_id;
    struct dm_mark mark;
    uint64_t key_id;
    uint8_t body_hash[DM_DIGEST_BYTES];
    struct dm_str body; /* JSON text, points into the bytes */
};

#define DM_DOCUMENT_BODY_MAX (16u << 20)
#define DM_DOCUMENT_HEAD_MAX (140u + 63u)
#define DM_DOCUMENT_MAX (DM_DOCUMENT_BODY_MAX + DM_DOCUMENT_HEAD_MAX)
/* Enough of an arena for any document that dm_document_read may be given. */
#define DM_DOCUMENT_ARENA_BYTES (256u << 20)

/* First 8 bytes, big-endian, of the BLAKE2b-256 of a signing key's public half. */
uint64_t dm_document_key_id(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES]);

/* Writes the document, signed, behind what ret holds. DM_EBUDGET when the body passes DM_DOCUMENT_BODY_MAX or ret its
 * maximum. secret is an Ed25519 secret key of dm_sign_keypair. */
DM_MUST_USE int dm_document_seal(const uint8_t secret[DM_SIGN_SECRET_BYTES], const struct dm_document *document,
                                 struct dm_buf *ret, struct dm_err *err);

/* Checks length, hash and signature, in constant memory. DM_ECORRUPT when cut or changed, DM_EPERM when signed by another
 * key, DM_EVERSION for another magic. */
DM_MUST_USE int dm_document_open(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str bytes,
                                 struct dm_document_head *ret, struct dm_err *err);

/* Reads and validates the body of an opened document and holds it to its head (D1). */
DM_MUST_USE int dm_document_read(const struct dm_document_head *head, struct dm_arena *arena, struct dm_document *ret,
                                 struct dm_errs *errs);

#endif
