/* Layout of the unit `domains`: how host names are served. */
#ifndef DM_SNAPSHOT_DOMAINS_H
#define DM_SNAPSHOT_DOMAINS_H

#include "snapshot/unit.h"

struct dm_udomains {
    uint64_t key_id; /* of the tenant's data key; 0 = there is no certificate */
    uint32_t n_domains, n_certificates;
};

#endif
