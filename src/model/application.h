/* A consumer of products. */
#ifndef DM_MODEL_APPLICATION_H
#define DM_MODEL_APPLICATION_H

#include "base/str.h"
#include "model/credential.h"
#include "model/tenant.h"

struct dm_schema;

struct dm_subscription {
    struct dm_str product;
    struct dm_str plan;
};

struct dm_application {
    int64_t id; /* read-only, unique in the tenant, never reused */
    struct dm_str name;
    struct dm_str description;
    int state; /* enum dm_state */
    struct dm_subscription *subscriptions;
    size_t n_subscriptions;
    struct dm_credential *credentials;
    size_t n_credentials;
};

#define DM_SUBSCRIPTIONS_MAX 256
#define DM_CREDENTIALS_MAX 32

extern const struct dm_schema dm_schema_subscription;
extern const struct dm_schema dm_schema_application;        /* API and file */
extern const struct dm_schema dm_schema_application_sealed; /* document: with id, credentials as digests */

#endif
