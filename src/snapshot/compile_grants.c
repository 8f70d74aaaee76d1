#include "snapshot/compile_int.h"
#include "snapshot/grants.h"

#include "base/mem.h"

static dm_off add_domains(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_udomain *domains DM_CLEANUP(dm_freep) = dm_calloc(body->n_domains, sizeof(*domains));

    for (size_t i = 0; i < body->n_domains; i++) {
        struct dm_str name = body->domains[i].name;
        domains[i].is_wildcard = dm_domain_is_wildcard(name);
        domains[i].name = dm_builder_str(b, domains[i].is_wildcard ? dm_str_skip(name, 1) : name);
    }
    return DM_BUILDER_ADD(b, domains, body->n_domains, struct dm_udomain);
}

static dm_off add_approvals(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_uapproval *approvals DM_CLEANUP(dm_freep) = dm_calloc(body->n_endpoints, sizeof(*approvals));

    for (size_t i = 0; i < body->n_endpoints; i++) {
        const struct dm_endpoint_grant *grant = &body->endpoints[i];
        if (dm_cidr_parse(grant->address, &approvals[i].block, NULL) < 0)
            abort(); /* the model read it */
        approvals[i].port = (uint16_t)grant->port;
        approvals[i].port_to = (uint16_t)(grant->port == 0 ? 65535 : grant->port_to > 0 ? grant->port_to : grant->port);
    }
    return DM_BUILDER_ADD(b, approvals, body->n_endpoints, struct dm_uapproval);
}

dm_off dm_compile_grants(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_ugrants root = {.is_suspended = body->state == DM_STATE_SUSPENDED,
                              .weight = (uint32_t)body->weight,
                              .n_domains = (uint32_t)body->n_domains,
                              .n_approvals = (uint32_t)body->n_endpoints};

    root.domains = add_domains(b, body);
    root.approvals = add_approvals(b, body);
    return DM_BUILDER_ADD(b, &root, 1, struct dm_ugrants);
}
