/* What the files of an exchange share: exchange.c its life and its client, exchange_call.c its backend, exchange_end.c its ends. */
#ifndef DM_GATEWAY_EXCHANGE_INT_H
#define DM_GATEWAY_EXCHANGE_INT_H

#include "gateway/exchange.h"

/* exchange.c */

/* E2: the client's side is through. */
void dm_exchange_end_client(struct dm_exchange *ex);
/* E1 */
void dm_exchange_free_if_ended(struct dm_exchange *ex);

/* Decides what becomes of the request, and does it. */
void dm_exchange_decide(struct dm_exchange *ex);

/* The client takes more of the response. The exchange may be gone when it returns. */
void dm_exchange_resume_response(struct dm_exchange *ex);

/* What was decided goes to the backend. */
void dm_exchange_begin(struct dm_exchange *ex);

/* exchange_call.c */

/* While there is a head: what it has in common with requests that go to the same endpoint. */
void dm_exchange_set_hash(struct dm_exchange *ex);
/* Before the first try: does the backend's circuit let it through? False: verdict says why not. */
bool dm_exchange_admit(struct dm_exchange *ex);
/* The time for all tries, when the backend has one: begins with the first, until the head of the response or the client's end. */
void dm_exchange_begin_timeout(struct dm_exchange *ex);
void dm_exchange_end_timeout(struct dm_exchange *ex);
/* One try. */
void dm_exchange_forward(struct dm_exchange *ex);
/* Of a try that waited for a connection: it has its turn. */
void dm_exchange_call(struct dm_exchange *ex);
/* What was taken of the body is being sent once more. */
bool dm_exchange_is_replaying(const struct dm_exchange *ex);
/* Cancels it, or the wish for one. */
void dm_exchange_drop_call(struct dm_exchange *ex);

/* exchange_end.c; the exchange may be gone when these return */

/* In the middle of the response. */
void dm_exchange_cut_off(struct dm_exchange *ex, enum dm_reason reason, enum dm_http2_code code);
/* The backend failed: the client is told, or cut off. */
void dm_exchange_fail(struct dm_exchange *ex, enum dm_reason reason, struct dm_http_end end);
/* The server goes, or a tunnel's time is over: events of the handlers. */
void dm_exchange_on_server_goes(void *user, struct dm_http_request *caller, enum dm_http_abort why);
void dm_exchange_on_request_due(void *user, struct dm_http_request *caller);
void dm_exchange_on_tunnel_due(void *user, struct dm_http_call *call, enum dm_http_abort why);

#endif
