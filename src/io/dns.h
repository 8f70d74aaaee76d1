/* Names to addresses, asynchronously (c-ares), with a cache that honours the records' TTLs within bounds. Numeric addresses
 * are answered at once, /etc/hosts is honoured, equal questions in flight are asked once. When the servers fail (not: when
 * they deny the name) an answer that ran out lately is used on. Threads: the loop's. */
#ifndef DM_IO_DNS_H
#define DM_IO_DNS_H

#include "io/loop.h"

enum { DM_DNS_ADDRS_MAX = 16 };

/* IPv4 and IPv6 addresses in the order of the answer, port 0. */
struct dm_dns_answer {
    size_t count;
    uint64_t expires_ns; /* loop time; UINT64_MAX for a numeric address */
    struct dm_addr addrs[DM_DNS_ADDRS_MAX];
};

struct dm_dns;

/* All members may be 0 for the default. Strings are copied. */
struct dm_dns_config {
    const char *servers; /* "10.0.0.2:53,10.0.0.3"; NULL: the system's. One that can't be read: lookups are DM_EIO */
    uint32_t ttl_min_ms; /* 1000 */
    uint32_t ttl_max_ms; /* 300000 */
    uint32_t negative_ttl_ms; /* 2000 */
    uint32_t stale_ms;        /* 60000: how long past its end an answer stands in for failing servers */
    uint32_t timeout_ms;      /* 2000: of one try; doubles */
    uint32_t tries;           /* 2, over all servers */
    size_t entries_max;       /* 4096 */
};

/* A question that waits. Embedded; zero it before use. */
struct dm_dns_query {
    /* code 0 and an answer valid during the call; or DM_ENOENT (the name or its addresses don't exist), DM_ETIMEOUT, DM_EIO
     * (servers failed), DM_EINVAL (not a name). */
    void (*on_done)(struct dm_dns_query *query, int code, const struct dm_dns_answer *answer);
    struct dm_flow *flow;              /* whose work on_done is; NULL: the platform's */
    struct dm_dns_query *next, **link; /* link is NULL when not waiting */
};

struct dm_dns *dm_dns_new(struct dm_loop *loop, const struct dm_dns_config *config);
/* Queries that wait are dropped without a call. Not from on_done. */
void dm_dns_free(struct dm_dns *dns);

/* name without a port, at most 253 characters, brackets of IPv6 allowed; copied. 1: *ret points at the answer, valid until the
 * loop turns or the next dm_dns_ call. 0: on_done will come from the loop. Negative: a code as of on_done, known from the
 * cache. */
DM_MUST_USE int dm_dns_lookup(struct dm_dns *dns, struct dm_str name, struct dm_dns_query *query,
                              const struct dm_dns_answer **ret);
/* on_done will not come. Nothing when it does not wait. */
void dm_dns_cancel(struct dm_dns *dns, struct dm_dns_query *query);
/* Puts an answer into the cache as if it had been looked up (fixed names, simulations). */
void dm_dns_put(struct dm_dns *dns, struct dm_str name, const struct dm_addr *addrs, size_t n, uint32_t ttl_ms);

struct dm_dns_stats {
    uint64_t lookups, hits, asked, shared, failed, stale;
};
const struct dm_dns_stats *dm_dns_stats(const struct dm_dns *dns);

#endif
