/* Answers that the gateway makes itself: problem details (RFC 9457) with reason and request id, or the wording that the
 * version gives to the reason, or what the backend falls back on. */
#ifndef DM_GATEWAY_ANSWER_H
#define DM_GATEWAY_ANSWER_H

#include "gateway/exchange.h"

/* Answers and forgets the exchange: it may be gone when this returns. */
void dm_answer(struct dm_exchange *ex, enum dm_reason reason);
/* The answer to a CORS preflight: 204 and what the policy allows. */
void dm_answer_preflight(struct dm_exchange *ex);
/* To the same place by https: 301 for GET and HEAD, 308, which keeps the method, for all others. ex->head is there. */
void dm_answer_redirect(struct dm_exchange *ex);

/* For requests that are none: the same body into `body`, fields into `fields`. */
enum dm_reason dm_answer_fault(struct dm_worker *worker, struct dm_http_end end, struct dm_str request_id,
                               struct dm_buf *fields, struct dm_buf *body);
/* The same for a gRPC call whose body is at fault or too slow: fields alone, borrowed until the worker's scratch is used again. */
void dm_answer_grpc_fault(struct dm_exchange *ex, struct dm_http_end end, struct dm_http_message *ret);
/* Ends a response of gRPC's that is under way with trailers: the status of the reason, or the exchange's own, and why. It may be gone
 * when this returns. */
void dm_answer_grpc_end(struct dm_exchange *ex, enum dm_reason reason);
/* The reason for which such a request is refused. */
enum dm_reason dm_answer_reason(struct dm_http_end end);
/* Was the request refused for its form or its slowness, and answered so if no response had begun? */
bool dm_answer_is_fault(struct dm_http_end end);

#endif
