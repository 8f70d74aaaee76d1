/* What is forwarded, and by which rule: the fields of a request to a backend and of its response to the client.
 *
 * The trust rule. A request that comes from an address in --trusted-fronts keeps the X-Forwarded-For, X-Forwarded-Proto,
 * X-Forwarded-Host, X-Forwarded-Port and Forwarded that it brings, with its sender appended to X-Forwarded-For and Forwarded;
 * the client is then the last address in X-Forwarded-For (all its lines are one list) that is no trusted front. From anybody
 * else these fields, X-Forwarded-Prefix and X-Real-IP are removed before any policy runs, and written anew, so that a backend
 * never reads what a stranger claims. X-Request-Id is kept from a trusted front when it is a
 * token of at most 128 bytes. Via (RFC 9110, 7.6.3) is appended in both directions. */
#ifndef DM_GATEWAY_FORWARD_H
#define DM_GATEWAY_FORWARD_H

#include "gateway/exchange.h"

/* A head above this is not sent: the connections of http put a head together in 64 KiB. */
#define DM_FORWARD_HEAD_MAX (60u << 10)

/* Sets ex->client and ex->is_direct from the peer and, behind a trusted front, from the head; takes out what only a front may
 * say. */
void dm_forward_identify(struct dm_exchange *ex);
/* Fields of the request to the backend into *ret (arena). DM_EBUDGET when they do not fit. */
DM_MUST_USE int dm_forward_request(struct dm_exchange *ex, struct dm_str *ret);
/* Fields of the response to the client into the buffer. DM_EBUDGET when they do not fit. */
DM_MUST_USE int dm_forward_response(struct dm_exchange *ex, struct dm_http_head *head, struct dm_buf *fields);
/* Trailer lines as they go on; trailers may be NULL. A receiver may merge them into the head, so that no name which a policy
 * decides on in the head passes here, nor one that is folded (field.h). Trailers of a gRPC response are its metadata: there it may stand, and
 * how the call ended passes whatever policies say. Borrowed from the worker's scratch. */
struct dm_str dm_forward_trailers(struct dm_exchange *ex, const struct dm_http_head *trailers, bool is_request);

#endif
