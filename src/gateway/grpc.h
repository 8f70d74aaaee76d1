/* What a gateway must know of gRPC (grpc/doc/PROTOCOL-HTTP2.md): whose request it is, how long it may take, and how an answer
 * without a backend reads. Messages themselves pass through unread. */
#ifndef DM_GATEWAY_GRPC_H
#define DM_GATEWAY_GRPC_H

#include "base/buf.h"
#include "model/reason.h"

/* The status codes that a gateway gives (grpc/doc/statuscodes.md). */
enum dm_grpc_status {
    DM_GRPC_UNKNOWN = 2,
    DM_GRPC_DEADLINE_EXCEEDED = 4,
    DM_GRPC_PERMISSION_DENIED = 7,
    DM_GRPC_RESOURCE_EXHAUSTED = 8,
    DM_GRPC_UNIMPLEMENTED = 12,
    DM_GRPC_INTERNAL = 13,
    DM_GRPC_UNAVAILABLE = 14,
    DM_GRPC_UNAUTHENTICATED = 16,
};

/* "application/grpc", "application/grpc+proto", "application/grpc; …"; not gRPC-Web, which is ordinary HTTP. */
bool dm_grpc_is(struct dm_str content_type);

/* The status of an answer for this reason: where nothing nearer is known, by grpc/doc/http-grpc-status-mapping.md. */
enum dm_grpc_status dm_grpc_status_of(enum dm_reason reason);

/* The fields of an answer that is all trailers ("Trailers-Only"), but for the content type: status and percent-encoded message. */
void dm_grpc_write_status(struct dm_buf *fields, enum dm_grpc_status status, struct dm_str message);

/* The value of grpc-timeout: 1 to 8 digits and a unit, H M S m u n. Returns nanoseconds; DM_EINVAL for anything else. */
DM_MUST_USE int dm_grpc_timeout_read(struct dm_str value, uint64_t *ret_ns);
/* The most that the unit's field says of this time, at least 1 ns; at most 10 bytes. */
void dm_grpc_timeout_write(struct dm_buf *ret, uint64_t ns);

#endif
