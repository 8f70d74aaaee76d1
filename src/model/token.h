/* An API token. The token itself is shown once and kept as a digest. */
#ifndef DM_MODEL_TOKEN_H
#define DM_MODEL_TOKEN_H

#include "base/str.h"

struct dm_schema;

enum dm_role { DM_ROLE_MASTER_ADMIN, DM_ROLE_TENANT_ADMIN };
extern const char *const dm_role_names[];

struct dm_token {
    int64_t id; /* read-only */
    struct dm_str name;
    int role;                 /* enum dm_role */
    struct dm_str tenant;     /* of a tenant role; "" for the master */
    struct dm_str expires_at; /* "" = never */
    struct dm_str created_at; /* read-only */
    struct dm_str token;      /* secret, read-only: only in the answer that creates it (DM_WRITE_SECRETS) */
};

extern const struct dm_schema dm_schema_token;

#endif
