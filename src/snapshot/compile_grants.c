#include "snapshot/compile_int.h"
#include "snapshot/grants.h"

#include "base/mem.h"
#include "model/format.h"

static dm_off add_domains(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_udomain_grant *domains DM_CLEANUP(dm_freep) = dm_calloc(body->n_domains, sizeof(*domains));

    for (size_t i = 0; i < body->n_domains; i++) {
        struct dm_str name = body->domains[i].name;
        domains[i].is_wildcard = dm_domain_is_wildcard(name);
        domains[i].name = dm_builder_str(b, domains[i].is_wildcard ? dm_str_skip(name, 1) : name);
    }
    return DM_BUILDER_ADD(b, domains, body->n_domains, struct dm_udomain_grant);
}

static void set_approval(struct dm_builder *b, const struct dm_endpoint_grant *grant, struct dm_uapproval *ret)
{
    ret->path = dm_builder_str(b, dm_unix_path(grant->address));
    if (ret->path.len > 0)
        return;
    if (dm_cidr_parse(grant->address, &ret->block, NULL) < 0)
        abort(); /* the model read it */
    ret->port = (uint16_t)grant->port;
    ret->port_to = (uint16_t)(grant->port == 0 ? 65535 : grant->port_to > 0 ? grant->port_to : grant->port);
}

static dm_off add_approvals(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_uapproval *approvals DM_CLEANUP(dm_freep) = dm_calloc(body->n_endpoints, sizeof(*approvals));

    for (size_t i = 0; i < body->n_endpoints; i++)
        set_approval(b, &body->endpoints[i], &approvals[i]);
    return DM_BUILDER_ADD(b, approvals, body->n_endpoints, struct dm_uapproval);
}

static struct dm_ucaps caps_of(const struct dm_caps *caps)
{
    return (struct dm_ucaps){.connections = (uint32_t)caps->connections,
                             .exchanges = (uint32_t)caps->exchanges,
                             .upstream_connections = (uint32_t)caps->upstream_connections,
                             .header_bytes = (uint32_t)caps->header_bytes,
                             .headers = (uint32_t)caps->headers,
                             .url_bytes = (uint32_t)caps->url_bytes,
                             .streams = (uint32_t)caps->streams,
                             .idle_timeout_ms = (uint32_t)caps->idle_timeout_ms,
                             .head_timeout_ms = (uint32_t)caps->head_timeout_ms,
                             .body_timeout_ms = (uint32_t)caps->body_timeout_ms,
                             .body_rate_bytes = (uint32_t)caps->body_rate_bytes,
                             .handshakes = (uint32_t)caps->handshakes,
                             .queue = (uint32_t)caps->queue,
                             .queue_ms = (uint32_t)caps->queue_ms,
                             .body_bytes = (uint64_t)caps->body_bytes,
                             .buffered_bytes = (uint64_t)caps->buffered_bytes,
                             .bandwidth_in = (uint64_t)caps->bandwidth_in_bytes,
                             .bandwidth_out = (uint64_t)caps->bandwidth_out_bytes};
}

static struct dm_ucell cell_of(const struct dm_grants_body *body)
{
    const struct dm_cell *cell = &body->cell;

    if (body->tenancy != DM_TENANCY_DEDICATED)
        return (struct dm_ucell){0};
    return (struct dm_ucell){.n_workers = (uint32_t)cell->workers,
                             .cpu_percent = (uint32_t)cell->cpu_percent,
                             .cpu_weight = (uint32_t)cell->cpu_weight,
                             .memory_bytes = (uint64_t)cell->memory_bytes};
}

dm_off dm_compile_grants(struct dm_builder *b, const struct dm_grants_body *body)
{
    struct dm_ugrants root = {.is_suspended = body->state == DM_STATE_SUSPENDED,
                              .weight = (uint32_t)body->weight,
                              .n_domains = (uint32_t)body->n_domains,
                              .n_approvals = (uint32_t)body->n_endpoints,
                              .caps = caps_of(&body->caps),
                              .cell = cell_of(body)};

    root.domains = add_domains(b, body);
    root.approvals = add_approvals(b, body);
    return DM_BUILDER_ADD(b, &root, 1, struct dm_ugrants);
}
