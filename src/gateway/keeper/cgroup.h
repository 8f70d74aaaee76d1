/* Control groups for cells, of version 2 or 1, as far as the system lets us: bounds of CPU time and memory that the kernel holds.
 *
 *   version 2   DIR is a group that is delegated to the gateway (systemd: Delegate=yes). Who is in it moves to DIR/shared, for
 *               a group that divides may hold no process itself; each cell gets DIR/cell-NAME.
 *   version 1   DIR is where the controllers are mounted, such as /sys/fs/cgroup: each cell gets DIR/cpu/daemun-ID/cell-NAME and
 *               DIR/memory/daemun-ID/cell-NAME.
 *
 * Nothing here is needed: who can't use it says so, and the gateway's own bounds hold always. Threads: the keeper's. */
#ifndef DM_GATEWAY_KEEPER_CGROUP_H
#define DM_GATEWAY_KEEPER_CGROUP_H

#include "base/sys.h"
#include "snapshot/grants.h"

#define DM_CGROUP_PATH_MAX 512

struct dm_cgroups {
    struct dm_sys *sys;
    unsigned version; /* 0: not in use */
    char cpu[DM_CGROUP_PATH_MAX / 2],
        memory[DM_CGROUP_PATH_MAX / 2]; /* where groups of cells go; the same in version 2 */
};

/* DM_ENOENT: there is nothing of the kind; DM_EPERM or DM_EIO: it is not ours. cgroups->version is 0 then. */
DM_MUST_USE int dm_cgroups_open(struct dm_cgroups *cgroups, struct dm_sys *sys, const char *dir, const char *id,
                                struct dm_err *err);
/* Makes the cell's group, if need be, and gives it these bounds. */
DM_MUST_USE int dm_cgroups_bound(const struct dm_cgroups *cgroups, const char *cell, const struct dm_ucell *bounds,
                                 struct dm_err *err);
/* The process, and what it starts, is of the cell's group. */
DM_MUST_USE int dm_cgroups_add(const struct dm_cgroups *cgroups, const char *cell, pid_t pid, struct dm_err *err);
/* The group goes when nobody is in it. */
void dm_cgroups_remove(const struct dm_cgroups *cgroups, const char *cell);
/* What was made for all of them goes, when it is empty. */
void dm_cgroups_close(struct dm_cgroups *cgroups);

#endif
