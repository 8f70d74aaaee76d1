/* What the files of fleet/ share. */
#ifndef DM_CONTROL_FLEET_FLEET_INT_H
#define DM_CONTROL_FLEET_FLEET_INT_H

#include <pthread.h>

#include "control/fleet/fleet.h"
#include "control/link/server.h"
#include "base/map.h"
#include "io/pool.h"

#define FLEET_LAG_BUCKETS 10
#define FLEET_CIRCUIT_CHANGES 16 /* that are kept of a circuit */

/* The last mark of one tenant and kind. */
struct target {
    struct dm_str key;    /* "tenant.kind", owns its memory */
    struct dm_str tenant; /* into key */
    enum dm_unit_kind kind;
    struct dm_mark mark;
    uint64_t published_ns; /* 0 = before this start */
    bool is_removed;

    /* raise.c: of the release's target, for its tenant */
    struct target *next_raise;
    uint64_t raise_epoch; /* the highest that a gateway has seen */
    bool is_raise_due;    /* in the fleet's list */
};

/* What one gateway has of it. */
struct held {
    struct target *target;
    struct dm_mark sent, live, refused;
    uint16_t workers_live, workers;
    bool is_dirty;   /* in the gateway's list of what to send */
    bool is_partly;  /* not all its workers have `live` any more */
    bool is_key_due; /* of domains: the tenant's data key was not sent on this connection */
    char *refusal;   /* "pointer LF message" of `refused` */
    struct held *next_dirty;
};

/* On all workers of its gateway, this mark or a later one. */
static inline bool dm_fleet_has_live(const struct held *held, struct dm_mark mark)
{
    return !held->is_partly && dm_mark_cmp(held->live, mark) >= 0;
}

/* A backend's circuit on one gateway, as it last told. */
struct circuit {
    struct dm_str key;    /* "tenant/backend", owns its memory */
    struct dm_str tenant; /* into key */
    uint64_t tenant_id;
    enum dm_breaker_state state;
    bool is_held;
    uint32_t n_changes; /* the number of the last */
    unsigned n_kept;    /* oldest first */
    struct dm_circuit_change changes[FLEET_CIRCUIT_CHANGES];
};

/* What people want of one. */
struct hold {
    struct hold *next;
    struct dm_circuit_hold said; /* strings are the hold's own */
};

struct gateway {
    struct gateway *next;
    struct dm_fleet *fleet;
    struct dm_link_peer *peer; /* NULL while it is away */
    struct dm_map held;        /* key -> struct held */
    struct held *dirty, **dirty_tail;
    size_t n_dirty;
    struct dm_map circuits; /* key -> struct circuit */
    bool is_hold_due;       /* the link had no room for all holds */
    struct load *load;      /* documents being read for it */
    struct dm_timer retry;
    bool is_synced, is_blocked; /* blocked: the link has no room */
    uint64_t since_ns;          /* up or away since */
    uint16_t n_workers;
    uint8_t box_public_key[DM_BOX_PUBLIC_BYTES];
    char id[DM_LINK_ID_MAX + 1];
    char version[32];
};

struct dm_fleet {
    struct dm_fleet_settings settings;
    struct dm_link_server *link;
    pthread_mutex_t mutex; /* guards everything below against readers of other threads; the loop alone changes it */
    struct dm_map targets;
    struct gateway *gateways;
    struct hold *holds;          /* the loop's alone */
    struct dm_fleet_wait *waits; /* the loop's alone */
    struct target *raises;       /* raise.c; the loop's alone */
    bool is_raising;
    struct dm_timer raise_retry;
    uint64_t lag_buckets[FLEET_LAG_BUCKETS], lag_count;
    double lag_sum_s;
    uint64_t n_refused;
};

/* fleet.c */
struct target *dm_fleet_target(struct dm_fleet *fleet, struct dm_str tenant, enum dm_unit_kind kind);
struct target *dm_fleet_set_target(struct dm_fleet *fleet, const struct dm_unit_row *unit);
struct held *dm_fleet_held(struct gateway *gateway, struct target *target);
/* Where the list has it: NULL in there when it is not known. */
struct gateway **dm_fleet_gateway(struct dm_fleet *fleet, struct dm_str id);
/* wait.c: something became live or was refused, or a gateway came or was forgotten. */
void dm_fleet_wake(struct dm_fleet *fleet, struct dm_str tenant);
/* events.c */
extern const struct dm_link_handler dm_fleet_link_handler;
/* sync.c */
void dm_fleet_send(struct gateway *gateway, struct target *target, struct dm_str document);
void dm_fleet_pump(struct gateway *gateway);
void dm_fleet_drop_load(struct gateway *gateway);
void dm_fleet_mark_dirty(struct gateway *gateway, struct held *held);
bool dm_fleet_is_due(const struct held *held);
DM_MUST_USE int dm_fleet_send_gone(struct gateway *gateway, struct dm_str tenant, enum dm_unit_kind kind,
                                   struct dm_mark mark);
/* raise.c: a gateway holds a mark of this tenant, of this epoch, that this database never gave. Begins with the next call
 * of dm_fleet_raise_next. */
void dm_fleet_raise(struct dm_fleet *fleet, struct target *target, uint64_t epoch);
void dm_fleet_raise_next(struct dm_fleet *fleet);
/* circuits.c */
DM_MUST_USE int dm_fleet_load_holds(struct dm_fleet *fleet, struct dm_err *err);
/* To a gateway that has just connected, or has room again. */
void dm_fleet_send_holds(struct gateway *gateway);
void dm_fleet_free_holds(struct dm_fleet *fleet);
void dm_fleet_on_circuit(void *arg, struct dm_link_peer *peer, const struct dm_circuit_report *report);
/* The gateway tells of all anew. */
void dm_fleet_doubt_circuits(struct gateway *gateway);
void dm_fleet_free_circuits(struct gateway *gateway);
/* The tenant is gone. */
void dm_fleet_drop_circuits(struct dm_fleet *fleet, struct dm_str tenant);
/* status.c */
extern const double dm_fleet_lag_bounds[FLEET_LAG_BUCKETS];

#endif
