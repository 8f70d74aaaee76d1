/* The body of the applications: who may call, with credentials as keyed digests. */
#include "base/map.h"
#include "model/document_int.h"
#include "model/tenant_file.h"

/* One application by number, one digest in the tenant. */
static void check_body(const void *object, struct dm_check *check)
{
    const struct dm_applications_body *body = object;
    struct dm_map ids, digests;

    dm_map_init_random(&ids);
    dm_map_init_random(&digests);
    for (size_t i = 0; i < body->n_applications; i++) {
        const struct dm_application *application = &body->applications[i];
        struct dm_str id = dm_str_n((const char *)&application->id, sizeof(application->id));
        size_t mark = dm_check_enter(check, "/applications/%zu", i);

        if (dm_map_put(&ids, id, (void *)(uintptr_t)application))
            dm_check_fail(check, "/id", "must be unique, but %lld stands there twice", (long long)application->id);
        for (size_t c = 0; c < application->n_credentials; c++) {
            char sub[64];

            snprintf(sub, sizeof(sub), "/credentials/%zu/digest", c);
            if (dm_map_put(&digests, application->credentials[c].digest, (void *)(uintptr_t)application))
                dm_check_fail(check, sub, "must be unique in the tenant");
        }
        dm_check_leave(check, mark);
    }
    dm_map_done(&ids);
    dm_map_done(&digests);
}

static const struct dm_field body_fields[] = {
    {"digest_key_id", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_applications_body, digest_key_id), .min = 1,
     .max = INT64_MAX, .doc = "Number of the digest key."},
    {"digest_key", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_applications_body, digest_key), .max = 64,
     .format = &dm_format_digest, .doc = "The tenant's digest key."},
    {"applications", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_applications_body, applications),
     .max = DM_APPLICATIONS_MAX, .sub = &dm_schema_application_sealed, .doc = "All applications of the tenant."},
};

static const struct dm_schema body_schema = {
    .name = "ApplicationsBody",
    .doc = "Applications as gateways know them.",
    DM_FIELDS(body_fields),
    .struct_bytes = sizeof(struct dm_applications_body),
    .validate = check_body,
};

static const struct dm_field fields[] = {
    DM_DOCUMENT_FIELDS,
    {"body", DM_FIELD_EMBED, DM_FIELD_REQUIRED, DM_AT(struct dm_document, applications), .sub = &body_schema,
     .doc = "The applications."},
};

const struct dm_schema dm_schema_document_applications = {
    .name = "ApplicationsDocument",
    .doc = "The applications of a tenant.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_document),
};
