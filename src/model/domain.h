/* How a tenant's public host name is served: its certificate, what it asks of callers' connections, where plain HTTP goes.
 * The name is one that the master granted, or one that a granted wildcard holds. Of several domains that hold a host the
 * exact name wins, then the longest wildcard. */
#ifndef DM_MODEL_DOMAIN_H
#define DM_MODEL_DOMAIN_H

#include "base/str.h"

struct dm_certificate;
struct dm_schema;

enum dm_domain_tls_version { DM_DOMAIN_TLS_1_2, DM_DOMAIN_TLS_1_3 };
extern const char *const dm_domain_tls_version_names[];

enum dm_client_certificate {
    DM_CLIENT_CERTIFICATE_NONE,
    DM_CLIENT_CERTIFICATE_OPTIONAL,
    DM_CLIENT_CERTIFICATE_REQUIRED
};
extern const char *const dm_client_certificate_names[];

struct dm_domain {
    struct dm_str name;
    struct dm_str certificate; /* name; "" = chosen (dm_domain_certificate), and in a document for gateways: no TLS */
    int tls_min_version;       /* enum dm_domain_tls_version */
    bool http2;                /* offered by ALPN */
    int client_certificate;    /* enum dm_client_certificate */
    struct dm_str client_ca;   /* PEM bundle; given exactly when client_certificate is not NONE */
    bool redirect_to_https;    /* plain HTTP is answered with 301 (GET, HEAD) or 308 */
    int64_t hsts_max_age_s;    /* 0 = not sent */
    bool hsts_include_subdomains;
};

#define DM_DOMAINS_MAX 256

extern const struct dm_schema dm_schema_domain;

static inline bool dm_domain_is_wildcard(struct dm_str name)
{
    return name.len > 2 && name.ptr[0] == '*' && name.ptr[1] == '.';
}

/* Does `granted` (exact or wildcard) hold `name` (exact or wildcard)? Both lower-case. */
bool dm_domain_holds(struct dm_str granted, struct dm_str name);

/* The certificate that the domain names, or, when it names none, of those that cover its name the one that is valid longest
 * (of equals the first). Its index, or SIZE_MAX. The certificates' names and not_after are filled in. */
size_t dm_domain_certificate(const struct dm_domain *domain, const struct dm_certificate *certificates, size_t n);

#endif
