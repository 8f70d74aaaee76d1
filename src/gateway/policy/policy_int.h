#ifndef DM_GATEWAY_POLICY_POLICY_INT_H
#define DM_GATEWAY_POLICY_POLICY_INT_H

#include "gateway/policy/policy.h"

/* The request brings this credential: whose it is. False: nobody's, or one that is disabled or expired. */
bool dm_policy_look_up(struct dm_exchange *ex, enum dm_credential_type type, struct dm_str value);
enum dm_reason dm_api_key_request(struct dm_exchange *ex, const struct dm_uapi_key *config);
enum dm_reason dm_client_certificate_request(struct dm_exchange *ex, const struct dm_uclient_certificate *config);
enum dm_reason dm_ip_check_request(struct dm_exchange *ex, const struct dm_uip_check *config);
enum dm_reason dm_cors_request(struct dm_exchange *ex, const struct dm_ucors *config);
/* Applies the operations to the head, in their order. DM_EBUDGET when the head is full. */
DM_MUST_USE int dm_headers_apply(const struct dm_unit *unit, dm_off ops, uint32_t n, struct dm_http_head *head);
bool dm_headers_name(const struct dm_unit *unit, dm_off ops, uint32_t n, struct dm_str name);
/* Remembers whether, and how, the response may be compressed. Before any step that changes the head. */
void dm_compression_request(struct dm_exchange *ex, const struct dm_ucompression *config);
/* Is a trailer of this name untrue of the body as it is sent? */
bool dm_compression_governs(const struct dm_exchange *ex, struct dm_str name);
DM_MUST_USE int dm_cors_response(const struct dm_exchange *ex, struct dm_http_head *head);

#endif
