/* What a client of a gateway may take of time and bytes, as options of daemun-gateway that `daemun serve` passes on. 0 is no
 * bound; what each means stands in http/server.h. */
#ifndef DM_MODEL_CLIENT_BOUND_H
#define DM_MODEL_CLIENT_BOUND_H

#include "base/defs.h"

#define DM_BOUND_MS_MAX 3600000
#define DM_BOUND_RATE_MAX (1 << 30)
#define DM_BOUND_BYTES_MAX INT64_MAX

/* X(option, member of struct dm_gateway_options, largest value) */
#define DM_CLIENT_BOUNDS(X)                                                                                            \
    X("head-timeout-ms", head_timeout_ms, DM_BOUND_MS_MAX)                                                             \
    X("idle-timeout-ms", idle_timeout_ms, DM_BOUND_MS_MAX)                                                             \
    X("body-timeout-ms", body_timeout_ms, DM_BOUND_MS_MAX)                                                             \
    X("body-rate", body_rate_bytes, DM_BOUND_RATE_MAX)                                                                 \
    X("body-max", body_bytes_max, DM_BOUND_BYTES_MAX)

#endif
