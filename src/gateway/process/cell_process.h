/* What a process of a cell does before anything else: it gives up what is not its tenant's.
 *
 * P1. Afterwards it is its own user, without groups, capabilities and the way to any (no_new_privs). Its working directory is
 *     the cell's, which it can't write to; what lies in it was made by the keeper. The directories above are the gateway's alone, so no
 *     other path of the gateway's leads anywhere for it. It can be traced by its own user, as any process. */
#ifndef DM_GATEWAY_CELL_PROCESS_H
#define DM_GATEWAY_CELL_PROCESS_H

#include "base/err.h"

struct dm_gateway_options;

/* Of a shared worker and the loader: what the keeper may do to start cells is not for them. Nothing to root, whose it is anyway. */
void dm_cell_process_disarm(void);
/* options->data_dir is "." from here on. */
DM_MUST_USE int dm_cell_process_enter(struct dm_gateway_options *options, struct dm_err *err);

#endif
