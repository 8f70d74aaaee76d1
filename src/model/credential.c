#include <assert.h>

#include "base/mem.h"
#include "model/credential.h"
#include "model/field.h"
#include "model/format.h"
#include "model/policy.h"

const char *const dm_credential_type_names[] = {"api_key", "client_certificate", NULL};

#define ID(flags)                                                                                                      \
    {                                                                                                                  \
        "id", DM_FIELD_INT, flags, DM_AT(struct dm_credential, id), .max = INT64_MAX,                                  \
                                                                    .doc = "Number of the credential."                 \
    }
#define NAME                                                                                                           \
    {                                                                                                                  \
        "name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_credential, name),             \
            .max = DM_NAME_MAX, .format = &dm_format_name, .doc = "Name, unique in the application."                   \
    }
#define TYPE                                                                                                           \
    {                                                                                                                  \
        "type", DM_FIELD_ENUM, 0, DM_AT(struct dm_credential, type), .names = dm_credential_type_names,                \
                                                                     .doc = "What kind of credential it is."           \
    }

static void check_credential(const void *object, struct dm_check *check)
{
    const struct dm_credential *credential = object;
    bool is_certificate = credential->type == DM_CREDENTIAL_CLIENT_CERTIFICATE;

    if (is_certificate && credential->key.len > 0)
        dm_check_fail(check, "/key", "must be left out when type is 'client_certificate'");
    if (!is_certificate && credential->fingerprint.len > 0)
        dm_check_fail(check, "/fingerprint", "must be left out when type is 'api_key'");
    if (!is_certificate && credential->subject.len > 0)
        dm_check_fail(check, "/subject", "must be left out when type is 'api_key'");
    if (is_certificate && credential->fingerprint.len == 0 && credential->subject.len == 0)
        dm_check_fail(check, "", "member 'fingerprint' or 'subject' is required when type is 'client_certificate'");
    if (is_certificate && credential->fingerprint.len > 0 && credential->subject.len > 0)
        dm_check_fail(check, "/subject", "must be left out when there is a fingerprint");
}

static const struct dm_field fields[] = {
    ID(DM_FIELD_READ_ONLY),
    NAME,
    TYPE,
    {"key", DM_FIELD_STRING, DM_FIELD_SECRET, DM_AT(struct dm_credential, key), .max = DM_KEY_MAX,
     .format = &dm_format_key,
     .doc =
         "Of an `api_key`: the key. Shown only in the answer that creates it. Left out: one is generated for a new credential, and an "
         "existing one keeps its own."},
    {"fingerprint", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_credential, fingerprint), .max = 64,
     .format = &dm_format_digest, .doc = "Of a `client_certificate`: SHA-256 of the certificate."},
    {"subject", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_credential, subject), .max = DM_SUBJECT_MAX,
     .format = &dm_format_subject,
     .doc =
         "Of a `client_certificate`: its subject as RFC 2253 writes it (`CN=app,O=Example`), in place of the fingerprint. "
         "It holds for every certificate that an authority in the domain's `client_ca` gives to this subject."},
    {"created_at", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_credential, created_at),
     .max = 20, .format = &dm_format_time, .doc = "When it was made."},
};

const struct dm_schema dm_schema_credential = {
    .name = "Credential",
    .doc = "What an application shows to prove who it is.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_credential),
    .validate = check_credential,
};

static const struct dm_field sealed_fields[] = {
    ID(DM_FIELD_REQUIRED),
    NAME,
    TYPE,
    {"digest", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_credential, digest), .max = 64,
     .format = &dm_format_digest, .doc = "Keyed digest of the key, or of what it is of a certificate."},
};

const struct dm_schema dm_schema_credential_sealed = {
    .name = "SealedCredential",
    .doc = "A credential as gateways know it.",
    DM_FIELDS(sealed_fields),
    .struct_bytes = sizeof(struct dm_credential),
};

struct dm_str dm_certificate_value(unsigned match, struct dm_str value, char buf[DM_CREDENTIAL_VALUE_MAX])
{
    struct dm_str prefix = match == DM_MATCH_FINGERPRINT ? DM_STR("fingerprint:") : DM_STR("subject:");

    if (value.len > DM_CREDENTIAL_VALUE_MAX - prefix.len)
        return DM_STR_NULL;
    memcpy(buf, prefix.ptr, prefix.len);
    memcpy(buf + prefix.len, value.ptr, value.len);
    return dm_str_n(buf, prefix.len + value.len);
}

struct dm_str dm_credential_value(const struct dm_credential *credential, char buf[DM_CREDENTIAL_VALUE_MAX])
{
    if (credential->type == DM_CREDENTIAL_API_KEY)
        return credential->key;
    return credential->fingerprint.len > 0 ? dm_certificate_value(DM_MATCH_FINGERPRINT, credential->fingerprint, buf)
                                           : dm_certificate_value(DM_MATCH_SUBJECT, credential->subject, buf);
}

const char *dm_credential_member(const struct dm_credential *credential)
{
    if (credential->type == DM_CREDENTIAL_API_KEY)
        return "key";
    return credential->fingerprint.len > 0 ? "fingerprint" : "subject";
}

void dm_credential_digest(const uint8_t digest_key[32], enum dm_credential_type type, struct dm_str value,
                          uint8_t ret[DM_DIGEST_BYTES])
{
    uint8_t message[32 + 1 + DM_CREDENTIAL_VALUE_MAX];

    assert(value.len <= DM_CREDENTIAL_VALUE_MAX);
    memcpy(message, digest_key, 32);
    message[32] = (uint8_t)type;
    memcpy(message + 33, value.ptr, value.len);
    dm_digest(NULL, dm_str_n((const char *)message, 33 + value.len), ret);
    dm_mem_wipe(message, 33 + value.len);
}
