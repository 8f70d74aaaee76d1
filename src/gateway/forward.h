/* What is forwarded, and by which rule: the fields of a request to a backend and of its response to the client.
 *
 * The trust rule. A request that comes from an address in --trusted-fronts keeps the X-Forwarded-For, X-Forwarded-Proto,
 * X-Forwarded-Host, X-Forwarded-Port and Forwarded that it brings, with its sender appended to X-Forwarded-For and Forwarded;
 * the client is then the last address in X-Forwarded-For that is no trusted front. From anybody else these fields are removed
 * and written anew, so that a backend never reads what a stranger claims. X-Request-Id is kept from a trusted front when it is a
 * token of at most 128 bytes. Via (RFC 9110, 7.6.3) is appended in both directions. */
#ifndef DM_GATEWAY_FORWARD_H
#define DM_GATEWAY_FORWARD_H

#include "gateway/exchange.h"

/* Sets ex->client from the peer and, behind a trusted front, from the head. */
void dm_forward_identify(struct dm_exchange *ex);
/* Fields of the request to the backend into *ret (arena). DM_EBUDGET when they do not fit. */
DM_MUST_USE int dm_forward_request(struct dm_exchange *ex, struct dm_str *ret);
/* Fields of the response to the client into the buffer. */
void dm_forward_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_buf *fields);

#endif
