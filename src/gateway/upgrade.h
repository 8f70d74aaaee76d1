/* Requests that ask for another protocol on their connection (RFC 9110 section 7.8, RFC 8441): who may, and what differs
 * between versions of HTTP.
 *
 * - A version names the protocols that it lets through (`upgrades`), without their versions; others are refused, but for offers to change what the
 *   client's own connection is (h2c, TLS), which are not followed and not forwarded. Nor is one that comes with a body, or to a backend of HTTP/2 with
 *   another method than GET.
 * - WebSocket proves in HTTP/1.1 with Sec-WebSocket-Key and -Accept that both sides mean it, in HTTP/2 with the CONNECT itself:
 *   what one side lacks is made here, and checked.
 * - Extended CONNECT that ends in a 2xx has opened a tunnel, so that a backend's other 2xx can't be passed on to such a client. */
#ifndef DM_GATEWAY_UPGRADE_H
#define DM_GATEWAY_UPGRADE_H

#include "http/head.h"
#include "model/reason.h"

struct dm_exchange;

/* Of a head with `upgrade`, once the backend is known: sets request.protocol, and the fields that go with it. */
enum dm_reason dm_upgrade_request(struct dm_exchange *ex);
/* Of the response to a request with a protocol. DM_EINVAL: it can't be passed on. */
DM_MUST_USE int dm_upgrade_response(struct dm_exchange *ex, struct dm_http_head *head);

#endif
