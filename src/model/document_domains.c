/* The body of the domains: how host names are served, and the certificates with sealed keys. */
#include "model/document_int.h"

static bool has_certificate(const struct dm_domains_body *body, struct dm_str name)
{
    for (size_t i = 0; i < body->n_certificates; i++) {
        if (dm_str_eq(body->certificates[i].name, name))
            return true;
    }
    return false;
}

/* Choices are made by the controller: what a domain names is here. */
static void check_body(const void *object, struct dm_check *check)
{
    const struct dm_domains_body *body = object;

    for (size_t i = 0; i < body->n_domains; i++) {
        char sub[64], shown[DM_SHOW_MAX];

        if (body->domains[i].certificate.len == 0 || has_certificate(body, body->domains[i].certificate))
            continue;
        snprintf(sub, sizeof(sub), "/domains/%zu/certificate", i);
        dm_check_fail(check, sub, "no certificate %s", dm_show(body->domains[i].certificate, shown));
    }
    if (body->n_certificates > 0 && body->key_id == 0)
        dm_check_fail(check, "/key_id", "must say which data key the certificates' keys are sealed with");
}

static const struct dm_field body_fields[] = {
    {"key_id", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_domains_body, key_id), .max = INT64_MAX,
     .doc = "Number of the tenant's data key that keys are sealed with; 0 when there is no certificate."},
    {"domains", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_domains_body, domains), .max = DM_DOMAINS_MAX,
     .sub = &dm_schema_domain, .doc = "Domains that are granted, each with its certificate or none."},
    {"certificates", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_domains_body, certificates), .max = DM_CERTIFICATES_MAX,
     .sub = &dm_schema_certificate_sealed, .doc = "All certificates of the tenant."},
};

static const struct dm_schema body_schema = {
    .name = "DomainsBody",
    .doc = "Domains as gateways know them.",
    DM_FIELDS(body_fields),
    .struct_bytes = sizeof(struct dm_domains_body),
    .validate = check_body,
};

static const struct dm_field fields[] = {
    DM_DOCUMENT_FIELDS,
    {"body", DM_FIELD_EMBED, DM_FIELD_REQUIRED, DM_AT(struct dm_document, domains), .sub = &body_schema,
     .doc = "The domains."},
};

const struct dm_schema dm_schema_document_domains = {
    .name = "DomainsDocument",
    .doc = "The domains of a tenant.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_document),
};
