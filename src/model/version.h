/* A version of a product. Everything in it is relative to its path: for a version at /v1 the request GET /v1/orders/7
 * meets mapping rules and mounts as /orders/7. */
#ifndef DM_MODEL_VERSION_H
#define DM_MODEL_VERSION_H

#include "base/str.h"
#include "model/error_override.h"
#include "model/mapping_rule.h"
#include "model/policy.h"

struct dm_schema;

/* Requests below `path` (whole segments; the longest wins) go to the backend, without that path. */
struct dm_mount {
    struct dm_str path;
    struct dm_str backend;
};

struct dm_version {
    struct dm_str name;
    struct dm_str description;
    struct dm_str path; /* whole segments; the longest prefix among the versions on a domain wins */
    struct dm_policy *policies;
    size_t n_policies;
    struct dm_mapping_rule *mapping_rules;
    size_t n_mapping_rules;
    struct dm_mount *backends;
    size_t n_backends;
    struct dm_str *upgrades; /* protocols of the Upgrade field that are forwarded, in lower case */
    size_t n_upgrades;
    struct dm_error_override *errors;
    size_t n_errors;
};

#define DM_VERSIONS_MAX 32
#define DM_MOUNTS_MAX 64
#define DM_UPGRADES_MAX 8

extern const struct dm_schema dm_schema_mount;
extern const struct dm_schema dm_schema_version;

#endif
