/* A tenant's domains at work in one worker: the settings of the unit, and a TLS profile for each that has a certificate.
 *
 * M1. Made whole or not at all, so that the former one serves on when a key does not open.
 * M2. A profile is made at the first handshake that needs it: to read a chain and the authorities of one domain takes up to some
 *     20 ms, of all of a tenant's seconds, in which nobody else would be served. One whose certificate and settings are as they were
 *     is taken over: a change costs what changed. Connections hold the profile that they began with.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_DOMAINS_H
#define DM_GATEWAY_DOMAINS_H

#include "gateway/domains/vault.h"
#include "io/tls.h"
#include "snapshot/domains.h"

struct dm_live_domain {
    const struct dm_udomain *settings; /* in the unit */
    struct dm_tls_profile *profile;    /* NULL: not made yet */
    bool is_unusable;                  /* it can't be made */
    /* Of tenant, client_certificate and client_ca: a connection that was made under one is misdirected on domains of another. */
    uint8_t client_policy[DM_DIGEST_BYTES];
    uint8_t scope[DM_TLS_SCOPE_BYTES];
    uint8_t identity[DM_DIGEST_BYTES]; /* of everything that the profile is made from, but for the key */
};

static inline bool dm_live_domain_has_tls(const struct dm_live_domain *domain)
{
    return domain->settings->certificate != DM_UDOMAIN_NO_CERTIFICATE;
}

struct dm_live_domains {
    struct dm_unit *unit;
    uint32_t n;
    struct dm_live_domain items[];
};

/* Takes over the unit's reference on success. former: whose profiles may be taken over; may be NULL. DM_EAGAIN: the data key that
 * the certificates are sealed with is not here (yet). */
DM_MUST_USE int dm_live_domains_new(struct dm_unit *unit, const struct dm_vault *vault,
                                    const struct dm_live_domains *former, struct dm_live_domains **ret,
                                    struct dm_err *err);
/* NULL is fine. */
void dm_live_domains_free(struct dm_live_domains *domains);
/* The profile of one of them that has TLS (M2), borrowed. NULL: it can't be made, which is logged once. */
struct dm_tls_profile *dm_live_domains_profile(struct dm_live_domains *domains, const struct dm_live_domain *domain,
                                               const struct dm_vault *vault);
/* The most specific one that holds the host ("a.b.c", or ".b.c" for a wildcard), or NULL. domains may be NULL. */
const struct dm_live_domain *dm_live_domains_find(const struct dm_live_domains *domains, struct dm_str host);

/* The private key of a certificate in a unit `domains`, PEM; *ret is memory of dm_secret_alloc(), the caller's. */
DM_MUST_USE int dm_live_certificate_key(const struct dm_unit *unit, const struct dm_ucertificate *certificate,
                                        const struct dm_vault *vault, char **ret, size_t *ret_len, struct dm_err *err);

#endif
