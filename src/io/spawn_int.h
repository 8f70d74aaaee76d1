/* Starting one process; supervision is io/process. */
#ifndef DM_IO_SPAWN_INT_H
#define DM_IO_SPAWN_INT_H

#include "io/process.h"

/* The pid, or -errno (also when the binary can't be executed). */
pid_t dm_spawn_run(const struct dm_spawn *spawn);

#endif
