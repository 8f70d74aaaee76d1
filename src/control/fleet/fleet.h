/* The gateways and what is live on them: targets (the last mark of each tenant and kind), what each gateway holds or
 * refused, bringing the one to the other, and waiting until it is so.
 *
 * F1. A gateway is sent, for each tenant and kind, the newest document only: what it lacks is a set, never a queue of
 *     versions, so a slow gateway costs one entry per unit.
 * F2. A gateway that is known (it said hello since the controller started) counts in "n of n" also while it is away: it
 *     serves on with what it has. It is the master who says that it is gone for good (dm_fleet_forget).
 *
 * Threads: the loop's, but for dm_fleet_find and dm_fleet_write_(status, circuit, metrics), which any thread may
 * call. */
#ifndef DM_CONTROL_FLEET_FLEET_H
#define DM_CONTROL_FLEET_FLEET_H

#include "control/store/units.h"
#include "io/loop.h"
#include "model/circuit.h"

struct dm_fleet;
struct dm_jsonw;
struct dm_keyring;
struct dm_link_settings;
struct dm_pool;

struct dm_fleet_settings {
    struct dm_loop *loop;
    struct dm_pool *pool;
    struct dm_store *store;
    const struct dm_keyring *keyring;
};

/* Reads the targets from the store (blocking, at start). */
DM_MUST_USE int dm_fleet_new(const struct dm_fleet_settings *settings, struct dm_fleet **ret, struct dm_err *err);
/* Listens for gateways. The link's pool and store are the fleet's. */
DM_MUST_USE int dm_fleet_listen(struct dm_fleet *fleet, const struct dm_link_settings *link, struct dm_err *err);
/* Cuts the links; jobs in the pool go on. */
void dm_fleet_close(struct dm_fleet *fleet);
/* After the pool has ended and the loop has turned until the links are closed. */
void dm_fleet_free(struct dm_fleet *fleet);

/* What a commit made: sent at once to gateways that keep up. */
void dm_fleet_publish(struct dm_fleet *fleet, const struct dm_unit_row *units, size_t n);

/* DM_ENOENT when no gateway of this id is known. */
DM_MUST_USE int dm_fleet_find(struct dm_fleet *fleet, struct dm_str id, bool *ret_is_connected);
/* The gateway counts no more, until it says hello again. One that is connected stays. */
void dm_fleet_forget(struct dm_fleet *fleet, struct dm_str id);

/* Waiting until a tenant's units, as they are now, are live on every known gateway (at least one). Embedded in its
 * owner. */
struct dm_fleet_wait {
    struct dm_fleet_wait *next;
    struct dm_fleet *fleet;
    struct dm_timer timer;
    struct dm_mark marks[DM_UNIT_KINDS]; /* (0, 0) = not asked for */
    char tenant[64];
    bool is_waiting;
    /* Once: all have it, all that lack it refused it, or the time is over. */
    void (*on_done)(struct dm_fleet_wait *wait);
};
/* units: what to wait for; none = all of the tenant's. on_done may come before the call returns. */
void dm_fleet_wait_start(struct dm_fleet *fleet, struct dm_fleet_wait *wait, struct dm_str tenant,
                         const struct dm_unit_row *units, size_t n, uint32_t timeout_ms);
void dm_fleet_wait_cancel(struct dm_fleet_wait *wait);
/* How it stands: {"gateways":1,"of":2,"lagging":["b"],"refused":[{gateway, kind, pointer, message}]}. */
void dm_fleet_write_live(const struct dm_fleet_wait *wait, struct dm_jsonw *w);

/* What people want of a circuit, from now on: to all gateways. Copied. */
void dm_fleet_hold(struct dm_fleet *fleet, const struct dm_circuit_hold *hold);
/* {"state": …, "gateways": […]}: the circuit of a tenant's backend on each gateway, as members of an object that is open. */
void dm_fleet_write_circuit(struct dm_fleet *fleet, uint64_t tenant_id, struct dm_str tenant, struct dm_str backend,
                            struct dm_jsonw *w);

/* {"units": […], "gateways": […]} of a tenant; with DM_STR_NULL of all. */
void dm_fleet_write_status(struct dm_fleet *fleet, struct dm_str tenant, struct dm_jsonw *w);
void dm_fleet_write_metrics(struct dm_fleet *fleet, bool with_tenants, struct dm_buf *ret);

#endif
