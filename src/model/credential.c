#include <assert.h>

#include "base/mem.h"
#include "model/credential.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_credential_type_names[] = {"api_key", NULL};

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

static const struct dm_field fields[] = {
    ID(DM_FIELD_READ_ONLY),
    NAME,
    TYPE,
    {"key", DM_FIELD_STRING, DM_FIELD_SECRET, DM_AT(struct dm_credential, key), .max = DM_KEY_MAX,
     .format = &dm_format_key,
     .doc =
         "The key. Shown only in the answer that creates it. Left out: one is generated for a new credential, and an "
         "existing one keeps its own."},
    {"created_at", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_credential, created_at),
     .max = 20, .format = &dm_format_time, .doc = "When it was made."},
};

const struct dm_schema dm_schema_credential = {
    .name = "Credential",
    .doc = "What an application shows to prove who it is.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_credential),
};

static const struct dm_field sealed_fields[] = {
    ID(DM_FIELD_REQUIRED),
    NAME,
    TYPE,
    {"digest", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_credential, digest), .max = 64,
     .format = &dm_format_digest, .doc = "Keyed digest of the key."},
};

const struct dm_schema dm_schema_credential_sealed = {
    .name = "SealedCredential",
    .doc = "A credential as gateways know it.",
    DM_FIELDS(sealed_fields),
    .struct_bytes = sizeof(struct dm_credential),
};

void dm_credential_digest(const uint8_t digest_key[32], enum dm_credential_type type, struct dm_str key,
                          uint8_t ret[DM_DIGEST_BYTES])
{
    uint8_t message[32 + 1 + DM_KEY_MAX];

    assert(key.len <= DM_KEY_MAX);
    memcpy(message, digest_key, 32);
    message[32] = (uint8_t)type;
    memcpy(message + 33, key.ptr, key.len);
    dm_digest(NULL, dm_str_n((const char *)message, 33 + key.len), ret);
    dm_mem_wipe(message, 33 + key.len);
}
