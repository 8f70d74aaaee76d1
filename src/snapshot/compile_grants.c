#include "snapshot/compile_int.h"
#include "snapshot/grants.h"

#include "base/mem.h"
#include "model/format.h"

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

/* Addresses; Unix sockets are reached by no upstream. */
static dm_off add_approvals(struct dm_builder *b, const struct dm_grants_body *body, uint32_t *ret_count)
{
    struct dm_uapproval *approvals DM_CLEANUP(dm_freep) = dm_calloc(body->n_endpoints, sizeof(*approvals));
    uint32_t n = 0;

    for (size_t i = 0; i < body->n_endpoints; i++) {
        const struct dm_endpoint_grant *grant = &body->endpoints[i];
        struct dm_uapproval *approval = &approvals[n];

        if (dm_unix_path(grant->address).ptr)
            continue;
        n++;
        if (dm_cidr_parse(grant->address, &approval->block, NULL) < 0)
            abort(); /* the model read it */
        approval->port = (uint16_t)grant->port;
        approval->port_to = (uint16_t)(grant->port == 0 ? 65535 : grant->port_to > 0 ? grant->port_to : grant->port);
    }
    *ret_count = n;
    return DM_BUILDER_ADD(b, approvals, n, struct dm_uapproval);
}

dm_off dm_compile_grants(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_ugrants root = {.is_suspended = body->state == DM_STATE_SUSPENDED,
                              .weight = (uint32_t)body->weight,
                              .n_domains = (uint32_t)body->n_domains};

    root.domains = add_domains(b, body);
    root.approvals = add_approvals(b, body, &root.n_approvals);
    return DM_BUILDER_ADD(b, &root, 1, struct dm_ugrants);
}
