/* What a gateway must know of gRPC (grpc/doc/PROTOCOL-HTTP2.md): whose request it is, how long it may take, and how an answer
 * without a backend reads. Messages themselves pass through unread. */
#ifndef DM_GATEWAY_GRPC_H
#define DM_GATEWAY_GRPC_H

#include "base/buf.h"
#include "http/message.h"
#include "model/reason.h"

/* The status codes that a gateway gives (grpc/doc/statuscodes.md). */
enum dm_grpc_status {
    DM_GRPC_CANCELLED = 1,
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

/* The status of a call whose backend failed before it answered: what a caller without a gateway in between would make of it
 * (PROTOCOL-HTTP2.md, "Errors"). */
enum dm_grpc_status dm_grpc_status_of_end(struct dm_http_end end);
/* How the caller's stream is reset when it failed later. No code that would blame the caller. */
enum dm_http2_code dm_grpc_code_of_end(struct dm_http_end end);

/* What a call's status (the value of grpc-status) is among those of HTTP, to tell failures of a backend by: as Envoy has it, but for
 * DEADLINE_EXCEEDED, which is 408, since as a rule it is the caller who set the deadline. What is no status is 500. */
unsigned dm_grpc_status_as_http(struct dm_str value);

/* grpc-status, grpc-message, grpc-status-details-bin: how a call ended is between caller and backend. */
bool dm_grpc_is_status_field(struct dm_str name);

/* The fields of an answer that is all trailers ("Trailers-Only"), but for the content type: status and percent-encoded message. */
void dm_grpc_write_status(struct dm_buf *fields, enum dm_grpc_status status, struct dm_str message);

/* The value of grpc-timeout: 1 to 8 digits and a unit, H M S m u n. Returns nanoseconds, UINT64_MAX for
 * what is more; DM_EINVAL for anything else. */
DM_MUST_USE int dm_grpc_timeout_read(struct dm_str value, uint64_t *ret_ns);
/* The most that the unit's field says of this time, at least 1 ns; at most 10 bytes. */
void dm_grpc_timeout_write(struct dm_buf *ret, uint64_t ns);

#endif
