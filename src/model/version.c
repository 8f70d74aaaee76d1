#include "model/version.h"
#include "model/field.h"
#include "model/format.h"

static const struct dm_field mount_fields[] = {
    {"path", DM_FIELD_STRING, 0, DM_AT(struct dm_mount, path), .max = DM_PATH_MAX, .def_str = "/",
     .format = &dm_format_path,
     .doc = "Requests below this path go to the backend, without it; whole segments, the longest wins."},
    {"backend", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_mount, backend), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name of the backend."},
};

const struct dm_schema dm_schema_mount = {
    .name = "Mount",
    .doc = "A backend under a path of a version.",
    DM_FIELDS(mount_fields),
    .struct_bytes = sizeof(struct dm_mount),
};

static void check_authentication(const struct dm_version *version, struct dm_check *check)
{
    size_t first = SIZE_MAX;

    for (size_t i = 0; i < version->n_policies; i++) {
        char sub[64];

        if (!dm_policy_is_authentication(version->policies[i].type))
            continue;
        if (first == SIZE_MAX) {
            first = i;
            continue;
        }
        snprintf(sub, sizeof(sub), "/policies/%zu", i);
        dm_check_fail(check, sub, "must be the only authentication policy, but '%s' stands in item %zu already",
                      dm_policy_type_names[version->policies[first].type], first);
    }
    if (first == SIZE_MAX)
        dm_check_fail(check, "/policies",
                      "must have exactly one authentication policy ('api_key' or 'client_certificate'), found none");
}

static void check_compression(const struct dm_version *version, struct dm_check *check)
{
    bool is_there = false;

    for (size_t i = 0; i < version->n_policies; i++) {
        char sub[64];

        if (version->policies[i].type != DM_POLICY_COMPRESSION)
            continue;
        snprintf(sub, sizeof(sub), "/policies/%zu", i);
        if (is_there)
            dm_check_fail(check, sub, "must be the only policy 'compression' of the version");
        is_there = true;
    }
}

static void check_mounts(const struct dm_version *version, struct dm_check *check)
{
    for (size_t i = 1; i < version->n_backends; i++) {
        for (size_t j = 0; j < i; j++) {
            char sub[64], shown[DM_SHOW_MAX];

            if (!dm_str_eq(version->backends[i].path, version->backends[j].path))
                continue;
            snprintf(sub, sizeof(sub), "/backends/%zu", i);
            dm_check_fail(check, sub, "must be unique, but path %s stands in item %zu already",
                          dm_show(version->backends[i].path, shown), j);
            break;
        }
    }
}

static void check_version(const void *object, struct dm_check *check)
{
    check_authentication(object, check);
    check_compression(object, check);
    check_mounts(object, check);
}

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_version, name), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name, unique in the product: `v1`."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_version, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What people should know about it."},
    {"path", DM_FIELD_STRING, 0, DM_AT(struct dm_version, path), .max = DM_PATH_MAX, .def_str = "/",
     .format = &dm_format_path,
     .doc =
         "Where it lives on the product's domains; whole segments, the longest wins. Patterns and mounts are relative to "
         "it."},
    {"policies", DM_FIELD_ARRAY, DM_FIELD_REQUIRED, DM_AT_ARRAY(struct dm_version, policies), .min = 1,
     .max = DM_POLICIES_MAX, .sub = &dm_schema_policy,
     .doc = "Steps of the chain, in this order; exactly one of them authenticates."},
    {"mapping_rules", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_version, mapping_rules), .max = DM_MAPPING_RULES_MAX,
     .sub = &dm_schema_mapping_rule, .doc = "What may be called and what it counts, in this order."},
    {"backends", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_version, backends), .max = DM_MOUNTS_MAX,
     .sub = &dm_schema_mount, .doc = "Where requests go. A request under no mount: `no_backend`."},
    {"upgrades", DM_FIELD_STRINGS, DM_FIELD_UNIQUE, DM_AT_ARRAY(struct dm_version, upgrades), .max = DM_UPGRADES_MAX,
     .item_max = 32, .format = &dm_format_upgrade,
     .doc =
         "Protocols that callers may upgrade a connection to, such as `websocket`, by name: in any version of theirs. Others: "
         "`upgrade_not_allowed`."},
    {"errors", DM_FIELD_MAP, 0, DM_AT_ARRAY(struct dm_version, errors), .max = 64, .sub = &dm_schema_error_override,
     .doc = "Own wording of the gateway's answers, by reason."},
};

const struct dm_schema dm_schema_version = {
    .name = "Version",
    .doc = "One independent version of a product.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_version),
    .validate = check_version,
};
