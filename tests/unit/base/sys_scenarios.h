/* What every implementation of the seam must do. The same table runs against the kernel (test_sys_real) and against the
 * simulation (test_sim), so that what passes in the simulation means something. */
#ifndef DM_TESTS_SYS_SCENARIOS_H
#define DM_TESTS_SYS_SCENARIOS_H

#include "base/sim.h"

enum { STAGE_TAGS_MAX = 32 };

/* One scenario's surroundings. */
struct stage {
    struct dm_sys *sys;
    struct dm_world *world; /* NULL: the kernel */
    const char *dir;        /* an empty directory */
    int poll_fd;
    unsigned seen[STAGE_TAGS_MAX]; /* readiness reported and not yet awaited, by tag */
};

struct scenario {
    const char *name;
    void (*run)(struct stage *stage);
};

extern const struct scenario sys_scenarios[];
extern const size_t sys_scenarios_count;

/* Runs one with a poll set of its own. */
void sys_scenario_run(const struct scenario *scenario, struct dm_sys *sys, struct dm_world *world, const char *dir);

#endif
