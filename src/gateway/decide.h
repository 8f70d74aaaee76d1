/* From the head of a request to what is done with it: host, version, policies, mapping rules, application, limits, backend.
 * The order is 3scale's: a missing credential is told before a missing rule, a wrong one after it. */
#ifndef DM_GATEWAY_DECIDE_H
#define DM_GATEWAY_DECIDE_H

#include "gateway/exchange.h"

/* Fills what was decided into the exchange. NONE: forward it, or answer the preflight if ex->is_preflight, the redirect
 * if ex->is_redirect, with nothing if ex->is_last. */
enum dm_reason dm_decide(struct dm_exchange *ex);
/* The last step: holds what the request matched (worker->matched) against the limits of the plan. Not done yet, and to be done when it
 * had its turn, of a request that waits (ex->admission). */
struct dm_uplan;
enum dm_reason dm_decide_limits(struct dm_exchange *ex, const struct dm_uplan *plan);

#endif
