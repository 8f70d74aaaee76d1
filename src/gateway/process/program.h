/* What a process of the gateway runs: its program file and its options, as one value. Two processes with the same value do
 * the same; a worker whose value is not its keeper's is replaced. */
#ifndef DM_GATEWAY_PROGRAM_H
#define DM_GATEWAY_PROGRAM_H

#include "base/crypto.h"
#include "gateway/process/options.h"

/* Of this process: which file it was started from (not what lies there now), and what workers are told in options. */
void dm_program_mark(const struct dm_gateway_options *options, uint8_t ret[DM_DIGEST_BYTES]);

#endif
