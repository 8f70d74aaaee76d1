/* How many intermediaries a request may still pass (RFC 9110, 7.6.2): TRACE and OPTIONS count, by Max-Forwards. */
#ifndef DM_GATEWAY_HOPS_H
#define DM_GATEWAY_HOPS_H

#include "gateway/exchange.h"

/* True: none, and the gateway answers itself. Otherwise the field, if it is a number, goes on lowered by one; one that is none goes on
 * as it is. */
bool dm_hops_are_over(struct dm_exchange *ex);

#endif
