/* Layout of the unit `grants`: what the master gave to this tenant. */
#ifndef DM_SNAPSHOT_GRANTS_H
#define DM_SNAPSHOT_GRANTS_H

#include "base/sys.h"
#include "model/cidr.h"
#include "snapshot/unit.h"

struct dm_udomain {
    struct dm_ustr name; /* "api.example.com", or ".example.com" for a wildcard "*.example.com" */
    uint32_t is_wildcard;
    uint32_t unused;
};

struct dm_uapproval {
    struct dm_cidr block;
    uint16_t port, port_to; /* inclusive; 0..65535 for any */
};

struct dm_ugrants {
    uint32_t is_suspended;
    uint32_t weight;
    dm_off domains, approvals;
    uint32_t n_domains, n_approvals;
};

/* May this tenant connect to this resolved address and port? (P5; special blocks by the rule of dm_cidr_grants.) */
bool dm_ugrants_allow(const struct dm_unit *unit, const struct dm_addr *addr);

#endif
