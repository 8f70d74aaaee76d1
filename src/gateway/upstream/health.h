/* What checks say of one endpoint: a verdict that changes only when several behind one another say so. No clock, no I/O, no memory
 * of its own; it is one word, so that workers share it (health_table.h).
 *
 *   verdict    changes by
 *   well       unhealthy_max checks behind one another that failed; the very first check alone: unwell
 *   unwell     healthy_max checks behind one another that passed: well
 *
 * V1. Before the first check an endpoint is well: nobody is put out of turn by what is not known.
 * V2. `passed` moves with each check that passed, so that whoever looks now and then sees that there was one.
 *
 * Threads: the owner's. */
#ifndef DM_GATEWAY_UPSTREAM_HEALTH_H
#define DM_GATEWAY_UPSTREAM_HEALTH_H

#include "base/defs.h"

struct dm_health {
    uint32_t run;    /* checks behind one another that speak against the verdict */
    uint16_t passed; /* V2; runs round */
    bool is_known, is_unwell;
};

struct dm_health_settings {
    uint32_t unhealthy_max, healthy_max; /* 1 to 100 */
};

/* True: the verdict is another one now. */
bool dm_health_note(struct dm_health *health, const struct dm_health_settings *settings, bool has_passed);

/* As one word; 0 is one that nothing is known of. */
uint64_t dm_health_pack(const struct dm_health *health);
struct dm_health dm_health_unpack(uint64_t word);

#endif
