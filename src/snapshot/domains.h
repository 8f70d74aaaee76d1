/* Layout of the unit `domains`: how host names are served, and the certificates with sealed keys. */
#ifndef DM_SNAPSHOT_DOMAINS_H
#define DM_SNAPSHOT_DOMAINS_H

#include "snapshot/unit.h"

/* For domains, and for what backends are shown. */
struct dm_ucertificate {
    struct dm_ustr name;
    struct dm_ustr chain;      /* PEM */
    struct dm_ustr key_sealed; /* as dm_certificate_key_seal() leaves it */
    struct dm_ustr ocsp;       /* DER; "" = none */
};

#define DM_UDOMAIN_NO_CERTIFICATE UINT32_MAX

struct dm_udomain {
    struct dm_ustr name;      /* "api.example.com", or ".example.com" for a wildcard "*.example.com" */
    struct dm_ustr client_ca; /* PEM bundle */
    struct dm_ustr hsts;      /* value of Strict-Transport-Security; "" = not sent */
    uint32_t certificate;     /* index, or DM_UDOMAIN_NO_CERTIFICATE: no TLS */
    uint8_t is_wildcard;
    uint8_t min_version;        /* enum dm_domain_tls_version */
    uint8_t client_certificate; /* enum dm_client_certificate */
    uint8_t allows_http2;
    uint8_t redirects_to_https;
    uint8_t unused[3];
};

struct dm_udomains {
    uint64_t key_id; /* of the tenant's data key; 0 = there is no certificate */
    dm_off domains, certificates;
    uint32_t n_domains, n_certificates;
};

/* The certificate with this name, or NULL. */
const struct dm_ucertificate *dm_udomains_certificate(const struct dm_unit *unit, struct dm_str name);

#endif
