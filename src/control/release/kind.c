#include "control/release/kind.h"
#include "model/tenant_file.h"

const struct dm_kind_info dm_kinds[DM_KIND_COUNT] = {
    [DM_KIND_BACKEND] = {{"backend", 7},
                         "backends",
                         &dm_schema_backend,
                         sizeof(struct dm_backend),
                         offsetof(struct dm_backend, name),
                         DM_BACKENDS_MAX,
                         DM_UNIT_RELEASE},
    [DM_KIND_PRODUCT] = {{"product", 7},
                         "products",
                         &dm_schema_product,
                         sizeof(struct dm_product),
                         offsetof(struct dm_product, name),
                         DM_PRODUCTS_MAX,
                         DM_UNIT_RELEASE},
    [DM_KIND_DOMAIN] = {{"domain", 6},
                        "domains",
                        &dm_schema_domain,
                        sizeof(struct dm_domain),
                        offsetof(struct dm_domain, name),
                        DM_DOMAINS_MAX,
                        DM_UNIT_DOMAINS},
    [DM_KIND_CERTIFICATE] = {{"certificate", 11},
                             "certificates",
                             &dm_schema_certificate,
                             sizeof(struct dm_certificate),
                             offsetof(struct dm_certificate, name),
                             DM_CERTIFICATES_MAX,
                             DM_UNIT_DOMAINS},
    [DM_KIND_APPLICATION] = {{"application", 11},
                             "applications",
                             &dm_schema_application,
                             sizeof(struct dm_application),
                             offsetof(struct dm_application, name),
                             DM_APPLICATIONS_MAX,
                             DM_UNIT_APPLICATIONS},
    [DM_KIND_GRANTS] = {{"grants", 6}, "grants", &dm_schema_grants, sizeof(struct dm_grants), 0, 1, DM_UNIT_GRANTS},
};

struct dm_str dm_kind_name_of(enum dm_kind kind, const void *object)
{
    if (kind == DM_KIND_GRANTS)
        return DM_STR("");
    return *(const struct dm_str *)((const char *)object + dm_kinds[kind].name_offset);
}
