#include "model/domain.h"
#include "model/certificate.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_domain_tls_version_names[] = {"1.2", "1.3", NULL};
const char *const dm_client_certificate_names[] = {"none", "optional", "required", NULL};

static void check_domain(const void *object, struct dm_check *check)
{
    const struct dm_domain *domain = object;
    bool asks = domain->client_certificate != DM_CLIENT_CERTIFICATE_NONE;

    if (asks && domain->client_ca.len == 0)
        dm_check_fail(check, "", "member 'client_ca' is required when client_certificate is '%s'",
                      dm_client_certificate_names[domain->client_certificate]);
    if (!asks && domain->client_ca.len > 0)
        dm_check_fail(check, "/client_ca", "must be left out when client_certificate is 'none'");
    if (domain->hsts_include_subdomains && domain->hsts_max_age_s == 0)
        dm_check_fail(check, "/hsts_include_subdomains",
                      "must be false when hsts_max_age_s is 0, which sends no header");
}

#define HSTS_MAX_S 63072000 /* two years */

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_domain, name),
     .max = DM_HOST_NAME_MAX, .format = &dm_format_domain,
     .doc = "A host name that is granted, one within a granted wildcard, or a wildcard itself."},
    {"certificate", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_domain, certificate), .max = DM_NAME_MAX,
     .format = &dm_format_name,
     .doc =
         "Name of a certificate that covers the name. Left out: of the tenant's certificates that cover it the one that is "
         "valid longest; where there is none, the domain has no TLS."},
    {"tls_min_version", DM_FIELD_ENUM, 0, DM_AT(struct dm_domain, tls_min_version),
     .names = dm_domain_tls_version_names, .doc = "The oldest version of TLS that callers may speak."},
    {"http2", DM_FIELD_BOOL, 0, DM_AT(struct dm_domain, http2), .def_int = 1,
     .doc = "HTTP/2 is offered to callers over TLS (ALPN)."},
    {"client_certificate", DM_FIELD_ENUM, 0, DM_AT(struct dm_domain, client_certificate),
     .names = dm_client_certificate_names,
     .doc =
         "Whether callers are asked for a certificate. `required` ends a handshake without a good one; `optional` lets "
         "callers in without one, so that a `client_certificate` policy decides."},
    {"client_ca", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_domain, client_ca), .max = DM_CA_BUNDLE_BYTES,
     .format = &dm_format_pem,
     .doc =
         "Certificates of the authorities that callers' certificates are verified against. Those of all domains of the "
         "tenant together are at most 512 KiB, equal ones counted once."},
    {"redirect_to_https", DM_FIELD_BOOL, 0, DM_AT(struct dm_domain, redirect_to_https),
     .doc =
         "Plain HTTP is answered with a redirection to the same place under https: 301 for GET and HEAD, 308 for others."},
    {"hsts_max_age_s", DM_FIELD_INT, 0, DM_AT(struct dm_domain, hsts_max_age_s), .max = HSTS_MAX_S,
     .doc = "Responses over TLS tell browsers to come by https alone for so long (RFC 6797); 0 is not sent."},
    {"hsts_include_subdomains", DM_FIELD_BOOL, 0, DM_AT(struct dm_domain, hsts_include_subdomains),
     .doc = "What browsers are told holds for all names below this one too."},
};

const struct dm_schema dm_schema_domain = {
    .name = "Domain",
    .doc = "How a public host name of the tenant is served. A granted name that is not listed has no TLS.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_domain),
    .validate = check_domain,
};

bool dm_domain_holds(struct dm_str granted, struct dm_str name)
{
    struct dm_str tail;

    if (!dm_domain_is_wildcard(granted))
        return dm_str_eq(granted, name);
    if (dm_domain_is_wildcard(name))
        return dm_str_ends(name, dm_str_skip(granted, 1));
    tail = dm_str_skip(granted, 1);
    return name.len > tail.len && dm_str_ends(name, tail);
}

/* Times are RFC 3339 in UTC, which order as text. */
static bool is_valid_longer(const struct dm_certificate *a, const struct dm_certificate *b)
{
    return dm_str_cmp(a->not_after, b->not_after) > 0;
}

size_t dm_domain_certificate(const struct dm_domain *domain, const struct dm_certificate *certificates, size_t n)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        if (domain->certificate.len > 0) {
            if (dm_str_eq(certificates[i].name, domain->certificate))
                return i;
        } else if (dm_certificate_holds(&certificates[i], domain->name) &&
                   (best == SIZE_MAX || is_valid_longer(&certificates[i], &certificates[best]))) {
            best = i;
        }
    }
    return best;
}
