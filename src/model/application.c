#include "model/application.h"
#include "model/field.h"
#include "model/format.h"

static const struct dm_field subscription_fields[] = {
    {"product", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_subscription, product),
     .max = DM_NAME_MAX, .format = &dm_format_name, .doc = "Name of the product."},
    {"plan", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_subscription, plan), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name of one of its plans."},
};

const struct dm_schema dm_schema_subscription = {
    .name = "Subscription",
    .doc = "The right to use a product under a plan.",
    DM_FIELDS(subscription_fields),
    .struct_bytes = sizeof(struct dm_subscription),
};

#define ID(flags)                                                                                                      \
    {                                                                                                                  \
        "id", DM_FIELD_INT, flags, DM_AT(struct dm_application, id),                                                   \
            .max = INT64_MAX, .doc = "Number of the application, never used again."                                    \
    }
#define NAME                                                                                                           \
    {                                                                                                                  \
        "name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_application, name),            \
            .max = DM_NAME_MAX, .format = &dm_format_name, .doc = "Name, unique in the tenant."                        \
    }
#define STATE                                                                                                          \
    {                                                                                                                  \
        "state", DM_FIELD_ENUM, 0, DM_AT(struct dm_application, state),                                                \
            .names = dm_state_names, .doc = "A suspended application is answered with `application_suspended`."        \
    }
#define SUBSCRIPTIONS                                                                                                  \
    {                                                                                                                  \
        "subscriptions", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_application, subscriptions),                         \
            .max = DM_SUBSCRIPTIONS_MAX, .sub = &dm_schema_subscription,                                               \
            .doc = "What it may use, one plan for each product."                                                       \
    }

static const struct dm_field fields[] = {
    ID(DM_FIELD_READ_ONLY),
    NAME,
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_application, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "Who it is and whom to call."},
    STATE,
    SUBSCRIPTIONS,
    {"credentials", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_application, credentials), .max = DM_CREDENTIALS_MAX,
     .sub = &dm_schema_credential, .doc = "How it proves who it is; each of them is good."},
};

const struct dm_schema dm_schema_application = {
    .name = "Application",
    .doc = "A consumer of products.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_application),
};

static const struct dm_field sealed_fields[] = {
    ID(DM_FIELD_REQUIRED),
    NAME,
    STATE,
    SUBSCRIPTIONS,
    {"credentials", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_application, credentials), .max = DM_CREDENTIALS_MAX,
     .sub = &dm_schema_credential_sealed, .doc = "Its credentials as digests."},
};

const struct dm_schema dm_schema_application_sealed = {
    .name = "SealedApplication",
    .doc = "An application as gateways know it.",
    DM_FIELDS(sealed_fields),
    .struct_bytes = sizeof(struct dm_application),
};
