/* Compressing filters: gzip (RFC 1952, by zlib) and brotli (RFC 7932). Their memory comes from the worker's own lists, in steady
 * state none from the system allocator.
 *
 * An encoder's memory is bounded by its kind (dm_encoder_bytes) and reserved when it begins; reservations of one worker are at
 * most DM_ENCODERS_BYTES_MAX, of one tenant DM_ENCODERS_TENANT_BYTES_MAX: who is above sends as it is, and other tenants' share
 * is untouched (P1). It is given back when the body is through, however slowly the client reads the rest.
 *
 * Threads: the worker's. */
#ifndef DM_GATEWAY_POLICY_ENCODER_H
#define DM_GATEWAY_POLICY_ENCODER_H

#include "gateway/exchange.h"
#include "gateway/policy/filter.h"

#define DM_ENCODERS_BYTES_MAX (128u << 20)
#define DM_ENCODERS_TENANT_BYTES_MAX (32u << 20)

struct dm_encoders; /* what the encoders of one worker share */

struct dm_encoders *dm_encoders_new(void);
/* No encoder is left. NULL is fine. */
void dm_encoders_free(struct dm_encoders *encoders);
/* Bytes that encoders ever had at once: held against the reservations by tests. */
size_t dm_encoders_used_max(const struct dm_encoders *encoders);

/* What one needs at most. level: 1 to 9, 0 = the coding's own. */
size_t dm_encoder_bytes(enum dm_ucoding coding, unsigned level);
/* Becomes the exchange's filter. False when no memory may be had for it. */
DM_MUST_USE bool dm_encoder_begin(struct dm_exchange *ex, enum dm_ucoding coding, unsigned level);

#endif
