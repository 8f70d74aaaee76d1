/* grpc.health.v1.Health/Check as bytes: what is asked, and whether the answer says SERVING. Nothing else of protobuf is known here.
 * Threads: pure. */
#ifndef DM_GATEWAY_UPSTREAM_GRPC_HEALTH_H
#define DM_GATEWAY_UPSTREAM_GRPC_HEALTH_H

#include "base/str.h"

#define DM_GRPC_HEALTH_PATH "/grpc.health.v1.Health/Check"
#define DM_GRPC_HEALTH_MAX 160 /* bytes of a request; of an answer more are none of this service's */

/* HealthCheckRequest as a message of gRPC; service: at most 127 bytes. Returns its length. */
size_t dm_grpc_health_write(char ret[DM_GRPC_HEALTH_MAX], struct dm_str service);
/* Is this one whole message, and a HealthCheckResponse whose status is SERVING? */
bool dm_grpc_health_is_serving(struct dm_str message);

#endif
