/* The simulated system: a seam implementation in which everything that could differ between two runs comes from a seed.
 *
 * A world holds a clock, a network and a disk; each simulated process has its own struct dm_sys on it (own descriptors).
 * Time stands still while somebody is ready and jumps to the next event otherwise. Faults are drawn from the seed with the
 * given probabilities: short reads and writes, delays, reset connections, refused connects, failed or torn disk writes,
 * a crash that loses what was not fsynced.
 *
 * Running processes: the test owns the loops; it calls dm_world_turn() which lets each registered loop take one turn. */
#ifndef DM_BASE_SIM_H
#define DM_BASE_SIM_H

#include "base/sys.h"

struct dm_world;

struct dm_sim_faults {
    /* Probabilities in parts per million, per call. */
    unsigned short_io, reset, connect_refused, disk_error, disk_torn_write;
    uint64_t latency_ns_min, latency_ns_max; /* of a segment on the network */
};

struct dm_world *dm_world_new(uint64_t seed, const struct dm_sim_faults *faults);
void dm_world_free(struct dm_world *world);
/* A process; freed with the world. */
struct dm_sys *dm_world_process(struct dm_world *world);
/* All descriptors of the process close as at its death; files lose what was not fsynced. */
void dm_world_kill(struct dm_world *world, struct dm_sys *process);
uint64_t dm_world_now_ns(const struct dm_world *world);
void dm_world_advance_ns(struct dm_world *world, uint64_t ns);
/* Faults may be changed while running. */
void dm_world_set_faults(struct dm_world *world, const struct dm_sim_faults *faults);

#endif
