#include "gateway/policy/policy_int.h"

#include <netinet/in.h>

/* As IPv6, IPv4 v4-mapped. A Unix socket has no address and is in no range. */
static bool address_of(const struct dm_addr *addr, uint8_t ret[16])
{
    if (addr->ss.ss_family == AF_INET6) {
        memcpy(ret, &((const struct sockaddr_in6 *)(const void *)&addr->ss)->sin6_addr, 16);
        return true;
    }
    if (addr->ss.ss_family != AF_INET)
        return false;
    memset(ret, 0, 10);
    ret[10] = ret[11] = 0xff;
    memcpy(ret + 12, &((const struct sockaddr_in *)(const void *)&addr->ss)->sin_addr, 4);
    return true;
}

/* The ranges are sorted and do not overlap: the last one that begins at or before the address decides. */
static bool is_in(const struct dm_urange *ranges, uint32_t n, const uint8_t address[16])
{
    uint32_t low = 0, high = n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(ranges[mid].first, address, 16) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 && memcmp(address, ranges[low - 1].last, 16) <= 0;
}

enum dm_reason dm_ip_check_request(struct dm_exchange *ex, const struct dm_uip_check *config)
{
    const struct dm_urange *ranges = dm_unit_at(ex->release->unit, config->ranges);
    uint8_t address[16];
    bool is_listed = address_of(ex->client, address) && is_in(ranges, config->n_ranges, address);

    return is_listed == (config->is_allow_list != 0) ? DM_REASON_NONE : DM_REASON_IP_DENIED;
}
