/* The body of a release: backends and products. */
#include "model/document_int.h"
#include "model/tenant_file.h"

/* Rules between resources are the tenant file's. */
static void check_body(const void *object, struct dm_check *check)
{
    const struct dm_release_body *body = object;
    const struct dm_tenant_file file = {.backends = body->backends,
                                        .n_backends = body->n_backends,
                                        .products = body->products,
                                        .n_products = body->n_products};

    dm_tenant_file_check(&file, check);
}

static const struct dm_field body_fields[] = {
    {"backends", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_release_body, backends), .max = DM_BACKENDS_MAX,
     .sub = &dm_schema_backend, .doc = "All backends of the tenant."},
    {"products", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_release_body, products), .max = DM_PRODUCTS_MAX,
     .sub = &dm_schema_product, .doc = "All products of the tenant."},
};

static const struct dm_schema body_schema = {
    .name = "ReleaseBody",
    .doc = "What a release holds.",
    DM_FIELDS(body_fields),
    .struct_bytes = sizeof(struct dm_release_body),
    .validate = check_body,
};

static const struct dm_field fields[] = {
    DM_DOCUMENT_FIELDS,
    {"body", DM_FIELD_EMBED, DM_FIELD_REQUIRED, DM_AT(struct dm_document, release), .sub = &body_schema,
     .doc = "What the release holds."},
};

const struct dm_schema dm_schema_document_release = {
    .name = "ReleaseDocument",
    .doc = "A release of a tenant.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_document),
};
