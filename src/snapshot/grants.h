/* Layout of the unit `grants`: what the master gave to this tenant. */
#ifndef DM_SNAPSHOT_GRANTS_H
#define DM_SNAPSHOT_GRANTS_H

#include "base/sys.h"
#include "model/cidr.h"
#include "snapshot/unit.h"

struct dm_udomain_grant {
    struct dm_ustr name; /* "api.example.com", or ".example.com" for a wildcard "*.example.com" */
    uint32_t is_wildcard;
    uint32_t unused;
};

struct dm_uapproval {
    struct dm_ustr path; /* of a Unix socket; "" = block and ports */
    struct dm_cidr block;
    uint16_t port, port_to; /* inclusive; 0..65535 for any */
};

/* What the tenant may hold of a gateway, and what one request or connection of its may take; 0 = what the listener allows. */
struct dm_ucaps {
    uint32_t connections, exchanges, upstream_connections;
    uint32_t header_bytes, headers, url_bytes, streams;
    uint32_t idle_timeout_ms, head_timeout_ms, body_timeout_ms;
    uint32_t body_rate_bytes;
    uint32_t queue, queue_ms; /* requests that wait for room, and how long; 0: none */
    uint32_t handshakes;      /* of TLS, a second; 0: no bound */
    uint64_t body_bytes, buffered_bytes;
    uint64_t bandwidth_in, bandwidth_out; /* bytes a second; 0: no bound */
};

/* The tenant's own worker processes; n_workers 0: it has none. */
struct dm_ucell {
    uint32_t n_workers, cpu_percent, cpu_weight, unused;
    uint64_t memory_bytes;
};

struct dm_ugrants {
    uint32_t is_suspended;
    uint32_t weight;
    dm_off domains, approvals;
    uint32_t n_domains, n_approvals;
    struct dm_ucaps caps;
    struct dm_ucell cell;
};

/* May this tenant connect to this resolved address and port? (P5; special blocks by the rule of dm_cidr_grants, Unix
 * sockets by their path.) */
bool dm_ugrants_allow(const struct dm_unit *unit, const struct dm_addr *addr);

#endif
