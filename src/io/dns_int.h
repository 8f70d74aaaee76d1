/* The resolver under the cache: c-ares on the loop. */
#ifndef DM_IO_DNS_INT_H
#define DM_IO_DNS_INT_H

#include "io/dns.h"

struct dm_resolver;

/* Called once for each question, also from inside dm_resolver_ask; code and answer (without expires_ns) as in
 * struct dm_dns_query, ttl_ms the smallest of the records'. */
typedef void (*dm_resolver_cb)(void *arg, int code, struct dm_dns_answer *answer, uint64_t ttl_ms);

/* NULL when c-ares can't start (servers can't be parsed). Defaults are filled in by the caller. */
struct dm_resolver *dm_resolver_new(struct dm_loop *loop, const struct dm_dns_config *config);
/* Drops the questions without a call. Not from inside a callback. */
void dm_resolver_free(struct dm_resolver *resolver);
/* name is NUL-terminated and copied. */
void dm_resolver_ask(struct dm_resolver *resolver, const char *name, dm_resolver_cb cb, void *arg);

#endif
