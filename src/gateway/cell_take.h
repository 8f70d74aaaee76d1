/* A worker of a cell: takes what shared workers hand over (io/handover.h, message.h) as if it had accepted it itself. */
#ifndef DM_GATEWAY_CELL_TAKE_H
#define DM_GATEWAY_CELL_TAKE_H

#include "base/str.h"

struct dm_worker;

/* Takes over the descriptor; it is closed when the message is none, or about an address that is not among the worker's. */
void dm_cell_take(struct dm_worker *worker, struct dm_str bytes, int fd);

#endif
