/* Policies at work: the steps of a version's chain, in its order. A step changes the head of the message or refuses; what it
 * writes into the head lives in the exchange's arena or in the pinned unit. */
#ifndef DM_GATEWAY_POLICY_POLICY_H
#define DM_GATEWAY_POLICY_POLICY_H

#include "gateway/exchange.h"

/* The request side, before mapping rules and limits. NONE: go on. With is_preflight set the answer is a preflight's. */
enum dm_reason dm_policies_request(struct dm_exchange *ex);
/* The response side, on a backend's head. DM_EBUDGET when the head has no room for a field that a policy adds. */
DM_MUST_USE int dm_policies_response(struct dm_exchange *ex, struct dm_http_head *head);
/* After all others, for an exchange with a compression: decides whether the response is compressed and if so changes head and
 * framing and gives the exchange its filter. DM_EBUDGET as above. */
DM_MUST_USE int dm_compression_response(struct dm_exchange *ex, struct dm_http_head *head,
                                        struct dm_http_message *message);
/* Does a policy of the version change or take out fields of this name, in that direction? */
bool dm_policies_govern(const struct dm_exchange *ex, struct dm_str name, bool is_request);
/* Fields that belong on answers of the gateway's own too (CORS): whole lines. */
void dm_policies_answer(const struct dm_exchange *ex, struct dm_buf *fields);

#endif
