#include "snapshot/grants.h"

static bool allows_path(const struct dm_unit *unit, const struct dm_addr *addr)
{
    const struct dm_ugrants *grants = DM_UNIT_ROOT(unit, dm_ugrants);
    const struct dm_uapproval *approvals = dm_unit_at(unit, grants->approvals);
    struct dm_str path = dm_addr_path(addr);

    for (uint32_t i = 0; i < grants->n_approvals; i++)
        if (approvals[i].path.len > 0 && dm_str_eq(dm_unit_str(unit, approvals[i].path), path))
            return true;
    return false;
}

bool dm_ugrants_allow(const struct dm_unit *unit, const struct dm_addr *addr)
{
    const struct dm_ugrants *grants = DM_UNIT_ROOT(unit, dm_ugrants);
    const struct dm_uapproval *approvals = dm_unit_at(unit, grants->approvals);
    uint16_t port = dm_addr_port(addr);
    struct dm_cidr address;

    if (addr->ss.ss_family == AF_UNIX)
        return allows_path(unit, addr);
    if (dm_cidr_of_addr(addr, &address) < 0)
        return false;
    for (uint32_t i = 0; i < grants->n_approvals; i++)
        if (approvals[i].path.len == 0 && port >= approvals[i].port && port <= approvals[i].port_to &&
            dm_cidr_grants(&approvals[i].block, &address))
            return true;
    return false;
}
