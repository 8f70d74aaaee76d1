/* What is different about an exchange that is a gRPC call: it has the caller's deadline, both sides may be silent in between, and
 * it needs HTTP/2 on both sides.
 *
 * G1. A deadline counts from the head of the request and bounds everything, also waiting for a connection, further tries, and an
 *     answer that the caller does not take.
 * G2. An answer that is under way gets a tenth of a second more: caller and backend keep the same deadline, and the backend may end
 *     the call with more to say. Then the gateway says status 4 itself, in trailers where the answer can have them, and after another
 *     tenth, when the caller does not even take those, resets it.
 * G3. The backend is told what is left of it when the call is sent, also when it is sent again.
 * G4. A plain exchange has neither memory nor timer of this. */
#ifndef DM_GATEWAY_GRPC_CALL_H
#define DM_GATEWAY_GRPC_CALL_H

#include "gateway/exchange.h"

/* Inside dm_decide, behind the policies: takes grpc-timeout out of the head and remembers it. A deadline that is none is
 * BAD_REQUEST, one that is over BACKEND_TIMEOUT. */
enum dm_reason dm_grpc_call_request(struct dm_exchange *ex);
/* Puts the fields of the request, with room for what is left of the deadline, into *ret (arena). DM_EBUDGET: no room. */
DM_MUST_USE int dm_grpc_call_keep_fields(struct dm_exchange *ex, struct dm_str fields, struct dm_str *ret);
/* The call is going to be forwarded: from here on the deadline may end it with dm_exchange_expire(). */
void dm_grpc_call_begin(struct dm_exchange *ex);
/* Just before the request is sent: G3. */
void dm_grpc_call_send(struct dm_exchange *ex);
/* The head of the backend's answer, before it goes on: may the gateway end it in gRPC's words? */
void dm_grpc_call_response(struct dm_exchange *ex, const struct dm_http_head *head);
/* The answer is ended in the gateway's words, and there is a deadline: G2. */
void dm_grpc_call_wait(struct dm_exchange *ex);
/* The caller's side is through. */
void dm_grpc_call_end(struct dm_exchange *ex);

/* What it came to, as a status of HTTP: by the head of the response, when that ends it ("Trailers-Only") or is no success of HTTP's; 200 otherwise. */
unsigned dm_grpc_call_status(const struct dm_http_head *head);
/* By its trailers, which may be NULL; 0: they say nothing. */
unsigned dm_grpc_call_end_status(const struct dm_http_head *trailers);

#endif
