/* Signed documents: sealing, opening, reading. */
#include "model/document.h"
#include "base/jsonw.h"
#include "model/document_int.h"

#define MAGIC "DMDOC1"
#define FIXED_BYTES 76u
#define NAME_MAX_BYTES 63u
#define HASH_AT 36u

static const struct dm_variant variants[] = {
    {"release", &dm_schema_document_release},
    {"applications", &dm_schema_document_applications},
    {"grants", &dm_schema_document_grants},
    {"domains", &dm_schema_document_domains},
};

const struct dm_schema dm_schema_document = {
    .name = "Document",
    .doc = "What a gateway is told about a tenant.",
    .struct_bytes = sizeof(struct dm_document),
    .tag = "kind",
    .variants = variants,
    .n_variants = DM_COUNT(variants),
};

static void add_number(struct dm_buf *buf, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        dm_buf_add_char(buf, (char)(uint8_t)(value >> 8 * bytes));
}

static uint64_t number_at(struct dm_str bytes, size_t at, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++)
        value = value << 8 | (uint8_t)bytes.ptr[at + i];
    return value;
}

uint64_t dm_document_key_id(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES])
{
    uint8_t digest[DM_DIGEST_BYTES];

    dm_digest(NULL, dm_str_n((const char *)public_key, DM_SIGN_PUBLIC_BYTES), digest);
    return number_at(dm_str_n((const char *)digest, sizeof(digest)), 0, 8);
}

static void add_head(struct dm_buf *ret, const struct dm_document *document, struct dm_str body, uint64_t key_id)
{
    uint8_t digest[DM_DIGEST_BYTES];

    dm_digest(NULL, body, digest);
    dm_buf_add_lit(ret, MAGIC);
    add_number(ret, (uint64_t)document->kind, 1);
    add_number(ret, document->tenant.len, 1);
    add_number(ret, (uint64_t)document->tenant_id, 8);
    add_number(ret, (uint64_t)document->epoch, 8);
    add_number(ret, (uint64_t)document->sequence, 8);
    add_number(ret, body.len, 4);
    dm_buf_add_n(ret, digest, sizeof(digest));
    add_number(ret, key_id, 8);
    dm_buf_add(ret, document->tenant);
}

/* The public half stands in the second half of an Ed25519 secret key (RFC 8032 section 5.1.5, libsodium's layout). */
static const uint8_t *public_of(const uint8_t secret[DM_SIGN_SECRET_BYTES])
{
    return secret + DM_SIGN_SECRET_BYTES - DM_SIGN_PUBLIC_BYTES;
}

int dm_document_seal(const uint8_t secret[DM_SIGN_SECRET_BYTES], const struct dm_document *document, struct dm_buf *ret,
                     struct dm_err *err)
{
    struct dm_buf body DM_CLEANUP(dm_buf_done) = {0};
    uint8_t signature[DM_SIGNATURE_BYTES];
    size_t start = ret->len;
    struct dm_jsonw w;

    dm_buf_init(&body, DM_DOCUMENT_BODY_MAX);
    dm_jsonw_init(&w, &body);
    dm_model_write(&dm_schema_document, document, &w, DM_WRITE_DEFAULTS);
    if (body.failed)
        return dm_fail(err, DM_EBUDGET, "", "is too large: at most %u bytes reach a gateway", DM_DOCUMENT_BODY_MAX);
    if (document->tenant.len == 0 || document->tenant.len > NAME_MAX_BYTES)
        return dm_fail(err, DM_EINVAL, "/tenant", "must be 1 to 63 bytes long, found %zu", document->tenant.len);
    add_head(ret, document, dm_buf_str(&body), dm_document_key_id(public_of(secret)));
    if (!ret->failed)
        dm_sign(secret, dm_str_n(ret->ptr + start, ret->len - start), signature);
    dm_buf_add_n(ret, signature, sizeof(signature));
    dm_buf_add(ret, dm_buf_str(&body));
    return ret->failed ? dm_fail(err, DM_EBUDGET, "", "is too large for its buffer") : 0;
}

/* Lengths and kind, before anything is believed. */
static int read_head(struct dm_str bytes, struct dm_document_head *ret, size_t *ret_signed, struct dm_err *err)
{
    size_t name, body;

    if (bytes.len < FIXED_BYTES)
        return dm_fail(err, DM_ECORRUPT, "", "document is cut: %zu bytes", bytes.len);
    if (memcmp(bytes.ptr, MAGIC, 6) != 0)
        return dm_fail(err, memcmp(bytes.ptr, MAGIC, 5) == 0 ? DM_EVERSION : DM_ECORRUPT, "",
                       "not a document of this program");
    name = (uint8_t)bytes.ptr[7];
    body = number_at(bytes, 32, 4);
    if (name == 0 || name > NAME_MAX_BYTES || body > DM_DOCUMENT_BODY_MAX)
        return dm_fail(err, DM_ECORRUPT, "", "document has lengths that cannot be");
    if (bytes.len != FIXED_BYTES + name + DM_SIGNATURE_BYTES + body)
        return dm_fail(err, DM_ECORRUPT, "", "document is cut or has bytes behind its end: %zu bytes", bytes.len);
    ret->kind = (enum dm_unit_kind)(uint8_t)bytes.ptr[6];
    if (ret->kind < DM_UNIT_RELEASE || ret->kind >= DM_UNIT_KINDS)
        return dm_fail(err, DM_ECORRUPT, "", "document has no kind that is known: %d", ret->kind);
    ret->tenant_id = number_at(bytes, 8, 8);
    ret->mark = (struct dm_mark){number_at(bytes, 16, 8), number_at(bytes, 24, 8)};
    ret->key_id = number_at(bytes, 68, 8);
    ret->tenant = dm_str_n(bytes.ptr + FIXED_BYTES, name);
    memcpy(ret->body_hash, bytes.ptr + HASH_AT, DM_DIGEST_BYTES);
    ret->body = dm_str_n(bytes.ptr + bytes.len - body, body);
    *ret_signed = FIXED_BYTES + name;
    return 0;
}

int dm_document_open(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str bytes, struct dm_document_head *ret,
                     struct dm_err *err)
{
    struct dm_document_head head = {0};
    uint8_t digest[DM_DIGEST_BYTES];
    size_t n = 0;
    int rc;

    if ((rc = read_head(bytes, &head, &n, err)) < 0)
        return rc;
    if (head.key_id != dm_document_key_id(public_key))
        return dm_fail(err, DM_EPERM, "", "document is signed by another key: %016llx",
                       (unsigned long long)head.key_id);
    if (!dm_sign_verify(public_key, dm_str_n(bytes.ptr, n), (const uint8_t *)bytes.ptr + n))
        return dm_fail(err, DM_ECORRUPT, "", "document's signature is wrong");
    dm_digest(NULL, head.body, digest);
    if (memcmp(digest, head.body_hash, sizeof(digest)) != 0)
        return dm_fail(err, DM_ECORRUPT, "", "document's body is not the one that was signed");
    *ret = head;
    return 0;
}

/* D1 */
static int check_same(const struct dm_document_head *head, const struct dm_document *document, struct dm_errs *errs)
{
    if ((int)head->kind != document->kind)
        return dm_errs_add(errs, DM_ECORRUPT, "/kind", "is not the kind in the document's header");
    if (!dm_str_eq(head->tenant, document->tenant))
        return dm_errs_add(errs, DM_ECORRUPT, "/tenant", "is not the tenant in the document's header");
    if (head->tenant_id != (uint64_t)document->tenant_id)
        return dm_errs_add(errs, DM_ECORRUPT, "/tenant_id", "is not the number in the document's header");
    if (head->mark.epoch != (uint64_t)document->epoch)
        return dm_errs_add(errs, DM_ECORRUPT, "/epoch", "is not the epoch in the document's header");
    if (head->mark.sequence != (uint64_t)document->sequence)
        return dm_errs_add(errs, DM_ECORRUPT, "/sequence", "is not the sequence in the document's header");
    return 0;
}

int dm_document_read(const struct dm_document_head *head, struct dm_arena *arena, struct dm_document *ret,
                     struct dm_errs *errs)
{
    struct dm_document document;
    int rc;

    if ((rc = dm_model_read_text(&dm_schema_document, head->body, DM_DOCUMENT_BODY_MAX, arena, &document, errs)) < 0 ||
        (rc = check_same(head, &document, errs)) < 0)
        return rc;
    *ret = document;
    return 0;
}
