/* The handlers of the routes. Each fills the call's answer, or its failure and returns negative. */
#ifndef DM_CONTROL_API_HANDLERS_H
#define DM_CONTROL_API_HANDLERS_H

struct dm_call;

/* tenants.c */
int dm_handle_tenants_list(struct dm_call *call);
int dm_handle_tenants_create(struct dm_call *call);
int dm_handle_tenant_get(struct dm_call *call);
int dm_handle_tenant_put(struct dm_call *call);
int dm_handle_tenant_patch(struct dm_call *call);
int dm_handle_tenant_delete(struct dm_call *call);
/* grants.c */
int dm_handle_grants_get(struct dm_call *call);
int dm_handle_grants_put(struct dm_call *call);
int dm_handle_grants_patch(struct dm_call *call);
/* resources.c: route->detail is the kind */
int dm_handle_resources_list(struct dm_call *call);
int dm_handle_resource_get(struct dm_call *call);
int dm_handle_resource_put(struct dm_call *call);
int dm_handle_resource_patch(struct dm_call *call);
int dm_handle_resource_delete(struct dm_call *call);
/* credentials.c */
int dm_handle_credentials_list(struct dm_call *call);
int dm_handle_credentials_create(struct dm_call *call);
int dm_handle_credential_delete(struct dm_call *call);
/* document.c */
int dm_handle_document_get(struct dm_call *call);
int dm_handle_document_put(struct dm_call *call);
/* tokens.c: of the tenant in the path, or of the platform */
int dm_handle_tokens_list(struct dm_call *call);
int dm_handle_tokens_create(struct dm_call *call);
int dm_handle_token_delete(struct dm_call *call);
int dm_handle_whoami(struct dm_call *call);
/* changes.c: likewise */
int dm_handle_changes_list(struct dm_call *call);
int dm_handle_changes_verify(struct dm_call *call);
/* status.c: likewise */
int dm_handle_status_get(struct dm_call *call);
/* circuit.c */
int dm_handle_circuit_get(struct dm_call *call);
int dm_handle_circuit_put(struct dm_call *call);
/* gateways.c */
int dm_handle_gateway_delete(struct dm_call *call);
/* usage.c */
int dm_handle_usage_get(struct dm_call *call);
/* meta.c */
int dm_handle_openapi(struct dm_call *call);
int dm_handle_healthz(struct dm_call *call);
int dm_handle_metrics(struct dm_call *call);

#endif
