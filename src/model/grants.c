#include "model/grants.h"
#include "model/field.h"
#include "model/format.h"

static void check_endpoint(const void *object, struct dm_check *check)
{
    const struct dm_endpoint_grant *grant = object;

    if (dm_unix_path(grant->address).ptr) {
        if (grant->port != 0)
            dm_check_fail(check, "/port", "must be 0 with a Unix socket, found %lld", (long long)grant->port);
        if (grant->port_to != 0)
            dm_check_fail(check, "/port_to", "must be left out with a Unix socket");
        return;
    }
    if (grant->port_to != 0 && grant->port == 0)
        dm_check_fail(check, "/port_to", "must be left out when port is 0, which is any port");
    else if (grant->port_to != 0 && grant->port_to < grant->port)
        dm_check_fail(check, "/port_to", "must be at least port (%lld), found %lld", (long long)grant->port,
                      (long long)grant->port_to);
}

static const struct dm_field endpoint_fields[] = {
    {"address", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint_grant, address), .max = 128,
     .format = &dm_format_approval,
     .doc =
         "Address, block or Unix socket, which is opened exactly as it is written. Loopback, link-local and other special addresses are opened only by a block that lies within "
         "the special block, such as 127.0.0.0/8, never by a wide one."},
    {"port", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint_grant, port), .max = 65535,
     .doc = "Port, or the first of a range; 0 is any port, and of a Unix socket the only one."},
    {"port_to", DM_FIELD_INT, DM_FIELD_UNSET, DM_AT(struct dm_endpoint_grant, port_to), .min = 1, .max = 65535,
     .doc = "Last port of a range."},
    {"comment", DM_FIELD_STRING, 0, DM_AT(struct dm_endpoint_grant, comment), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What it is and who asked for it."},
};

const struct dm_schema dm_schema_endpoint_grant = {
    .name = "EndpointGrant",
    .doc = "Addresses and ports that the tenant's backends may reach. Nothing else can be reached.",
    DM_FIELDS(endpoint_fields),
    .struct_bytes = sizeof(struct dm_endpoint_grant),
    .validate = check_endpoint,
};

static const struct dm_field fields[] = {
    {"domains", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_grants, domains), .max = DM_GRANTS_DOMAINS_MAX,
     .sub = &dm_schema_domain_grant, .doc = "Host names that are the tenant's."},
    {"endpoints", DM_FIELD_ARRAY, 0, DM_AT_ARRAY(struct dm_grants, endpoints), .max = DM_GRANTS_ENDPOINTS_MAX,
     .sub = &dm_schema_endpoint_grant, .doc = "Where its backends may be."},
};

const struct dm_schema dm_schema_grants = {
    .name = "Grants",
    .doc = "What the master opened for a tenant. Owned by the master; the tenant sees it.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_grants),
};

static bool holds_port(const struct dm_endpoint_grant *grant, uint16_t port)
{
    int64_t last = grant->port_to ? grant->port_to : grant->port;

    return grant->port == 0 || (port >= grant->port && port <= last);
}

bool dm_endpoint_grant_allows(const struct dm_endpoint_grant *grant, const struct dm_cidr *address, uint16_t port)
{
    struct dm_cidr granted;

    return holds_port(grant, port) && !dm_unix_path(grant->address).ptr &&
           dm_cidr_parse(grant->address, &granted, NULL) == 0 && dm_cidr_grants(&granted, address);
}

bool dm_grants_allow_endpoint(const struct dm_grants *grants, const struct dm_cidr *address, uint16_t port)
{
    for (size_t i = 0; i < grants->n_endpoints; i++) {
        if (dm_endpoint_grant_allows(&grants->endpoints[i], address, port))
            return true;
    }
    return false;
}

bool dm_grants_allow_unix(const struct dm_grants *grants, struct dm_str host)
{
    for (size_t i = 0; i < grants->n_endpoints; i++) {
        if (dm_unix_path(host).ptr && dm_str_eq(grants->endpoints[i].address, host))
            return true;
    }
    return false;
}

bool dm_grants_allow_port(const struct dm_grants *grants, uint16_t port)
{
    for (size_t i = 0; i < grants->n_endpoints; i++) {
        if (!dm_unix_path(grants->endpoints[i].address).ptr && holds_port(&grants->endpoints[i], port))
            return true;
    }
    return false;
}

bool dm_grants_allow_domain(const struct dm_grants *grants, struct dm_str name)
{
    for (size_t i = 0; i < grants->n_domains; i++) {
        if (dm_domain_holds(grants->domains[i].name, name))
            return true;
    }
    return false;
}
