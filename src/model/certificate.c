#include "model/certificate.h"
#include "base/arena.h"
#include "base/crypto.h"
#include "base/encode.h"
#include "model/domain.h"
#include "model/field.h"
#include "model/format.h"

#include <assert.h>

#define NAME                                                                                                           \
    {                                                                                                                  \
        "name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_certificate, name),            \
            .max = DM_NAME_MAX, .format = &dm_format_name, .doc = "Name, unique in the tenant."                        \
    }
#define CHAIN                                                                                                          \
    {                                                                                                                  \
        "chain", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_certificate, chain),                              \
            .max = DM_CHAIN_BYTES, .format = &dm_format_pem,                                                           \
            .doc = "The certificate and, behind it, those that lead to its authority, each signed by the next."        \
    }
#define OCSP_RESPONSE                                                                                                  \
    {                                                                                                                  \
        "ocsp_response", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_certificate, ocsp_response),                 \
            .max = DM_CHAIN_OCSP_BYTES, .format = &dm_format_base64,                                                   \
            .doc = "The authority's word (OCSP) that the certificate is not revoked, DER in base64. Shown to callers " \
                   "that ask for it, until its own end. It is given here and never fetched."                           \
    }
#define READ_ONLY(member, bytes, text)                                                                                 \
    {                                                                                                                  \
#member, DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_certificate, member),           \
            .max = (bytes), .doc = (text)                                                                              \
    }

static const struct dm_field fields[] = {
    NAME,
    CHAIN,
    {"key", DM_FIELD_STRING, DM_FIELD_SECRET, DM_AT(struct dm_certificate, key), .max = DM_CHAIN_KEY_BYTES,
     .format = &dm_format_pem,
     .doc =
         "Its private key (PKCS #8, PKCS #1 or SEC 1, not encrypted), never shown. Left out: the one there is, which must "
         "fit the chain."},
    OCSP_RESPONSE,
    READ_ONLY(subject, DM_CHAIN_SUBJECT_BYTES, "Whose it is."),
    READ_ONLY(issuer, DM_CHAIN_SUBJECT_BYTES, "Who signed it."),
    {"names", DM_FIELD_STRINGS, DM_FIELD_READ_ONLY, DM_AT_ARRAY(struct dm_certificate, names), .max = DM_CHAIN_NAMES,
     .item_max = DM_HOST_NAME_MAX, .doc = "Host names that it is good for."},
    READ_ONLY(not_before, 20, "From when it is valid."),
    READ_ONLY(not_after, 20, "Until when it is valid."),
    READ_ONLY(fingerprint, 64, "SHA-256 of the certificate."),
    READ_ONLY(key_type, 32, "Kind of its key."),
};

const struct dm_schema dm_schema_certificate = {
    .name = "Certificate",
    .doc = "A certificate with its key: for domains, and for what backends are shown.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_certificate),
};

static const struct dm_field sealed_fields[] = {
    NAME,
    CHAIN,
    {"key_sealed", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_certificate, key_sealed),
     .max = (DM_CHAIN_KEY_BYTES + 64) / 3 * 4, .format = &dm_format_base64,
     .doc = "Its private key, sealed with the tenant's data key."},
    OCSP_RESPONSE,
};

const struct dm_schema dm_schema_certificate_sealed = {
    .name = "SealedCertificate",
    .doc = "A certificate as gateways know it.",
    DM_FIELDS(sealed_fields),
    .struct_bytes = sizeof(struct dm_certificate),
};

/* The wildcard's tail ".example.com" is all of the host behind its first label. */
static bool name_holds(struct dm_str name, struct dm_str host)
{
    if (dm_str_eq(name, host))
        return true;
    if (!dm_domain_is_wildcard(name) || dm_domain_is_wildcard(host))
        return false;
    return dm_str_eq(dm_str_skip(name, 1), dm_str_skip(host, dm_str_find(host, '.')));
}

bool dm_certificate_holds(const struct dm_certificate *certificate, struct dm_str host)
{
    for (size_t i = 0; i < certificate->n_names; i++) {
        if (name_holds(certificate->names[i], host))
            return true;
    }
    return false;
}

#define CONTEXT_MAX 128
#define SEALED_MAX (DM_CHAIN_KEY_BYTES + DM_SEAL_OVERHEAD)

static struct dm_str context_of(uint64_t tenant_id, struct dm_str name, char ret[CONTEXT_MAX])
{
    int len =
        snprintf(ret, CONTEXT_MAX, "tenant %llu certificate key %.*s", (unsigned long long)tenant_id, DM_STR_ARG(name));

    assert(len < CONTEXT_MAX);
    return dm_str_n(ret, (size_t)len);
}

int dm_certificate_key_seal(const uint8_t data_key[32], uint64_t tenant_id, struct dm_str name, struct dm_str pem,
                            struct dm_arena *arena, struct dm_str *ret)
{
    uint8_t sealed[SEALED_MAX];
    char context[CONTEXT_MAX], *text = dm_arena_alloc(arena, DM_BASE64_MAX(pem.len + DM_SEAL_OVERHEAD));

    assert(pem.len <= DM_CHAIN_KEY_BYTES);
    if (!text)
        return DM_EBUDGET;
    dm_seal(data_key, pem, context_of(tenant_id, name, context), sealed);
    *ret = dm_str_n(text, dm_base64(dm_str_n((const char *)sealed, pem.len + DM_SEAL_OVERHEAD), text));
    return 0;
}

ssize_t dm_certificate_key_open(const uint8_t data_key[32], uint64_t tenant_id, struct dm_str name,
                                struct dm_str key_sealed, uint8_t ret[DM_CHAIN_KEY_BYTES])
{
    uint8_t sealed[SEALED_MAX];
    char context[CONTEXT_MAX];
    ssize_t n = dm_unbase64(key_sealed, sealed, sizeof(sealed));

    if (n < DM_SEAL_OVERHEAD || dm_seal_open(data_key, dm_str_n((const char *)sealed, (size_t)n),
                                             context_of(tenant_id, name, context), ret) < 0)
        return DM_ECORRUPT;
    return n - DM_SEAL_OVERHEAD;
}
