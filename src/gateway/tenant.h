/* One tenant as a worker knows it: the units that are live, and what runs on them.
 *
 * G1. Units change one by one; each exchange pins the release and the applications that it began with.
 * G2. A tenant that is gone is freed with its last exchange; from there on its exchanges reach nothing new.
 * G3. Another tenant of the same name (deleted and made again) is another struct: nothing of the former is left in it (P2).
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_TENANT_H
#define DM_GATEWAY_TENANT_H

#include "gateway/domains/domains.h"
#include "gateway/upstream/upstream.h"
#include "io/wait_queue.h"
#include "snapshot/grants.h"
#include "snapshot/unit.h"

struct dm_bandwidth;
struct dm_tenant_counters;

/* A release at work: the unit and an upstream for each of its backends. */
struct dm_live_release {
    uint32_t refs;
    struct dm_unit *unit;
    uint32_t n_upstreams;
    struct dm_upstream *upstreams[]; /* by index of the backend in the unit */
};

struct dm_cell_gate;

struct dm_live_tenant {
    struct dm_str name; /* NUL-terminated */
    uint64_t id;
    uint32_t refs; /* the worker's table and the exchanges */
    bool is_gone;
    struct dm_live_release *release; /* NULL: none yet */
    struct dm_unit *applications, *grants;
    struct dm_live_domains *domains;     /* NULL: none */
    struct dm_mark marks[DM_UNIT_KINDS]; /* of what is live or gone */
    struct dm_tenant_counters *counters;
    struct dm_flow flow;         /* whose work its connections and backends are */
    const struct dm_ucaps *caps; /* in the grants, or all 0; caps.h */
    uint32_t held_max;       /* exchanges, and connections to backends, in this worker, unless a cap says otherwise */
    uint64_t free_exchanges; /* with up to so many in this worker, a request needs no look at the caps */
    uint64_t looked_ns, others, others_bytes; /* exchanges in flight and buffers on other workers, at this loop time */
    struct dm_wait_queue waiting;             /* requests, to be in flight; admission.h */
    struct dm_bandwidth *bandwidth;           /* NULL: it never had a bound; bandwidth.h */
    struct dm_upstream_share share;
    struct dm_cell_gate *cell; /* NULL: it is served here; cell_gate.h */
    uint32_t n_relays;         /* of its exchanges, in hand */
    size_t encoder_bytes;      /* reserved by policy/encoder */
    const struct dm_upstream_env *env;
};

struct dm_live_tenant *dm_live_tenant_new(const struct dm_upstream_env *env, struct dm_str name,
                                          struct dm_tenant_counters *counters);
struct dm_live_tenant *dm_live_tenant_ref(struct dm_live_tenant *tenant);
void dm_live_tenant_unref(struct dm_live_tenant *tenant);
/* Takes the caller's reference on the unit and lets go of the former one. The unit's mark is newer (the caller checked). On failure
 * (of domains whose keys do not open) the former one stays, and the reference is the caller's still. */
DM_MUST_USE int dm_live_tenant_apply(struct dm_live_tenant *tenant, struct dm_unit *unit, const struct dm_vault *vault,
                                     struct dm_err *err);
/* The tenant has no unit of this kind any more. */
void dm_live_tenant_remove(struct dm_live_tenant *tenant, enum dm_unit_kind kind);

/* Of the tenant's domains, as they are now: as find_certificate of a wish (upstream.h). */
bool dm_live_tenant_find_certificate(const struct dm_live_tenant *tenant, struct dm_str name, struct dm_str *ret_chain,
                                     char **ret_key, size_t *ret_key_len);

struct dm_live_release *dm_live_release_ref(struct dm_live_release *release);
void dm_live_release_unref(struct dm_live_release *release);

#endif
