/* The variants of dm_schema_policy, one per policy_*.c. */
#ifndef DM_MODEL_POLICY_INT_H
#define DM_MODEL_POLICY_INT_H

#include "model/field.h"
#include "model/format.h"
#include "model/policy.h"

extern const struct dm_schema dm_schema_policy_api_key;
extern const struct dm_schema dm_schema_policy_headers;
extern const struct dm_schema dm_schema_policy_ip_check;
extern const struct dm_schema dm_schema_policy_cors;
extern const struct dm_schema dm_schema_policy_client_certificate;
extern const struct dm_schema dm_schema_policy_compression;

/* The tag's field, first in each variant's table. */
#define DM_POLICY_TYPE_FIELD                                                                                           \
    {                                                                                                                  \
        "type", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_policy, type), .names = dm_policy_type_names,        \
                                                                                 .doc = "Which policy this is."        \
    }

#endif
