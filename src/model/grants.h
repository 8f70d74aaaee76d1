/* What the master opened for a tenant: its domains and the endpoints that its backends may reach. */
#ifndef DM_MODEL_GRANTS_H
#define DM_MODEL_GRANTS_H

#include "base/str.h"
#include "model/cidr.h"
#include "model/domain.h"
#include "model/domain_grant.h"

struct dm_schema;

struct dm_endpoint_grant {
    struct dm_str address; /* address, block or "unix:/path" */
    int64_t port;          /* first port, or 0 = any port */
    int64_t port_to;       /* last port of a range; 0 = only `port` */
    struct dm_str comment;
};

struct dm_grants {
    struct dm_domain_grant *domains;
    size_t n_domains;
    struct dm_endpoint_grant *endpoints;
    size_t n_endpoints;
};

#define DM_GRANTS_DOMAINS_MAX 256
#define DM_GRANTS_ENDPOINTS_MAX 256

extern const struct dm_schema dm_schema_endpoint_grant;
extern const struct dm_schema dm_schema_grants;

/* May a backend of this tenant connect to this single address and port? (P5; asked at connect time with the resolved
 * address, on the compiled form by the same rule.) */
bool dm_endpoint_grant_allows(const struct dm_endpoint_grant *grant, const struct dm_cidr *address, uint16_t port);
bool dm_grants_allow_endpoint(const struct dm_grants *grants, const struct dm_cidr *address, uint16_t port);
/* May it connect to this Unix socket, "unix:/path"? Only to those that are granted by the same text. */
bool dm_grants_allow_unix(const struct dm_grants *grants, struct dm_str host);
/* Is there any endpoint with this port? What can be said of a name before it is resolved. */
bool dm_grants_allow_port(const struct dm_grants *grants, uint16_t port);
bool dm_grants_allow_domain(const struct dm_grants *grants, struct dm_str name);

#endif
