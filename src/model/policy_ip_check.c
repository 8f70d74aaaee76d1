#include "model/policy_int.h"

const char *const dm_ip_mode_names[] = {"allow", "deny", NULL};

static const struct dm_field fields[] = {
    DM_POLICY_TYPE_FIELD,
    {"mode", DM_FIELD_ENUM, DM_FIELD_REQUIRED, DM_AT(struct dm_policy, ip_check.mode), .names = dm_ip_mode_names,
     .doc = "`allow` lets only these addresses in, `deny` all but these."},
    {"addresses", DM_FIELD_STRINGS, DM_FIELD_REQUIRED | DM_FIELD_UNIQUE,
     .offset = offsetof(struct dm_policy, ip_check.addresses),
     .count_offset = offsetof(struct dm_policy, ip_check.n_addresses), .min = 1, .max = DM_IP_ADDRESSES_MAX,
     .item_max = 64, .format = &dm_format_cidr, .doc = "Addresses and blocks of callers."},
};

const struct dm_schema dm_schema_policy_ip_check = {
    .name = "PolicyIpCheck",
    .doc = "Lets callers in by their address. Others: `ip_denied`.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_policy),
};
