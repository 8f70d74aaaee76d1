/* The union of all policies. */
#include "model/policy_int.h"

const char *const dm_policy_type_names[] = {"api_key",     "headers", "ip_check", "cors", "client_certificate",
                                            "compression", NULL};

static const struct dm_variant variants[] = {
    {"api_key", &dm_schema_policy_api_key},
    {"headers", &dm_schema_policy_headers},
    {"ip_check", &dm_schema_policy_ip_check},
    {"cors", &dm_schema_policy_cors},
    {"client_certificate", &dm_schema_policy_client_certificate},
    {"compression", &dm_schema_policy_compression},
};

const struct dm_schema dm_schema_policy = {
    .name = "Policy",
    .doc = "One step of a version's chain.",
    .struct_bytes = sizeof(struct dm_policy),
    .tag = "type",
    .variants = variants,
    .n_variants = DM_COUNT(variants),
};
