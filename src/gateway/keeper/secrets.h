/* What a gateway keeps of secrets for its workers.
 *
 *   box.key        the pair that secrets are sealed to (gateway/domains/vault.h); HELLO tells its public half
 *   keys/T         the data key of tenant T, as the controller sealed it: a TENANT_KEY frame of model/link.h
 *   ticket keys    in memory only, the keeper's and the workers'; rotated every 12 hours, whoever keeps them
 *
 * C1. A data key that does not open is refused and changes nothing.
 * C2. The keeper opens data keys only to look at them; it keeps and passes on what was sealed.
 * C3. Ticket keys that a worker has from a former keeper go before those drawn here, and newer ones before older ones. So sessions
 *     are resumed across keepers and programs, and no old ticket opens once nobody of the gateway is left.
 *
 * Threads: the keeper's. */
#ifndef DM_GATEWAY_KEEPER_SECRETS_H
#define DM_GATEWAY_KEEPER_SECRETS_H

#include "base/map.h"
#include "gateway/domains/vault.h"
#include "gateway/process/worker_link.h"
#include "model/link.h"

struct dm_gateway_options;

/* Of one tenant. */
struct dm_held_key {
    struct dm_worker_tenant_key message;
    char tenant[];
};

struct dm_secrets {
    struct dm_sys *sys;
    const struct dm_gateway_options *options;
    struct dm_vault *vault;
    struct dm_map keys; /* tenant's name -> struct dm_held_key */
    struct dm_worker_tickets tickets;
    bool has_drawn_tickets; /* when it started, and not rotated yet */
};

/* Makes what is missing; a damaged key of a tenant is logged and left out. */
DM_MUST_USE int dm_secrets_open(struct dm_secrets *secrets, struct dm_sys *sys,
                                const struct dm_gateway_options *options, struct dm_err *err);
void dm_secrets_done(struct dm_secrets *secrets);
/* Of ticket keys alone, which a cell has for itself; nothing to end but the memory. */
void dm_secrets_draw(struct dm_secrets *secrets, struct dm_sys *sys);
/* NULL: none is held. */
const struct dm_held_key *dm_secrets_find(const struct dm_secrets *secrets, struct dm_str tenant);
/* Keeps it durably; *ret, borrowed, is what workers are to be told. DM_ECORRUPT (C1), DM_EIO. */
DM_MUST_USE int dm_secrets_put(struct dm_secrets *secrets, const struct dm_link_tenant_key *key,
                               const struct dm_held_key **ret, struct dm_err *err);
/* The tenant is gone from here. */
void dm_secrets_drop(struct dm_secrets *secrets, struct dm_str tenant);
/* Walks all data keys: begin with *at = 0; NULL at the end. */
const struct dm_held_key *dm_secrets_next(const struct dm_secrets *secrets, size_t *at);
/* When it is time, next becomes current, current becomes previous, and a new next is drawn. Returns ms until it is time again. */
uint32_t dm_secrets_rotate_tickets(struct dm_secrets *secrets);
/* What a worker brought. True: it is what all are to have now (C3). */
bool dm_secrets_take_tickets(struct dm_secrets *secrets, const struct dm_worker_tickets *tickets);

#endif
