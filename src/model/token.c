#include "model/token.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_role_names[] = {"master_admin", "tenant_admin", NULL};

static void check_token(const void *object, struct dm_check *check)
{
    const struct dm_token *token = object;

    if (token->role == DM_ROLE_MASTER_ADMIN && token->tenant.len > 0)
        dm_check_fail(check, "/tenant", "must be left out when role is 'master_admin'");
}

static const struct dm_field fields[] = {
    {"id", DM_FIELD_INT, DM_FIELD_READ_ONLY, DM_AT(struct dm_token, id), .max = INT64_MAX,
     .doc = "Number of the token."},
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_token, name), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name that change records show."},
    {"role", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_token, role), .names = dm_role_names,
     .doc = "What it may do: everything, or everything of one tenant but its grants."},
    {"tenant", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_token, tenant), .max = 63, .format = &dm_format_tenant,
     .doc = "Tenant of a tenant role. Left out: the tenant in the path of the request."},
    {"expires_at", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_token, expires_at), .max = 20,
     .format = &dm_format_time, .doc = "When it ends. Left out: never."},
    {"created_at", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_token, created_at), .max = 20,
     .format = &dm_format_time, .doc = "When it was made."},
    {"token", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_SECRET, DM_AT(struct dm_token, token), .max = 128,
     .format = &dm_format_key, .doc = "The token itself, only in the answer that creates it."},
};

const struct dm_schema dm_schema_token = {
    .name = "Token",
    .doc = "An API token: `Authorization: Bearer …`.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_token),
    .validate = check_token,
};
