#include "control/api/route.h"
#include "control/api/handlers.h"
#include "control/release/kind.h"
#include "base/buf.h"
#include "model/change.h"
#include "model/circuit.h"
#include "model/tenant_file.h"
#include "model/tenant.h"
#include "model/token.h"

#define BODY_MAX (1u << 20)
#define DOCUMENT_MAX (8u << 20)

#define V1 "/api/v1"
#define TENANT V1 "/tenants/{tenant}"

enum { LIST = DM_ROUTE_LIST, MATCH = DM_ROUTE_IF_MATCH, WAIT = DM_ROUTE_WAIT, MASTER = DM_ROUTE_MASTER };
#define WRITE (MATCH | WAIT)

/* The five routes of a kind of resource. */
#define RESOURCE_ROUTES(kind, Kind, plural, schema)                                                                    \
    {{"GET", TENANT "/" plural, "list" Kind "s", "The " plural " of a tenant", LIST, 200, NULL, &schema},              \
     DM_OP_RESOURCE_READ,                                                                                              \
     dm_handle_resources_list,                                                                                         \
     kind,                                                                                                             \
     0},                                                                                                               \
        {{"GET", TENANT "/" plural "/{name}", "get" Kind, "One of the " plural, MATCH, 200, NULL, &schema},            \
         DM_OP_RESOURCE_READ,                                                                                          \
         dm_handle_resource_get,                                                                                       \
         kind,                                                                                                         \
         0},                                                                                                           \
        {{"PUT", TENANT "/" plural "/{name}", "put" Kind, "Make or replace it", WRITE, 200, &schema, &schema},         \
         DM_OP_RESOURCE_WRITE,                                                                                         \
         dm_handle_resource_put,                                                                                       \
         kind,                                                                                                         \
         BODY_MAX},                                                                                                    \
        {{"PATCH", TENANT "/" plural "/{name}", "patch" Kind, "Change some members (JSON merge patch)", WRITE, 200,    \
          &schema, &schema},                                                                                           \
         DM_OP_RESOURCE_WRITE,                                                                                         \
         dm_handle_resource_patch,                                                                                     \
         kind,                                                                                                         \
         BODY_MAX},                                                                                                    \
    {                                                                                                                  \
        {"DELETE", TENANT "/" plural "/{name}", "delete" Kind, "Delete it", WRITE, 204, NULL, NULL},                   \
            DM_OP_RESOURCE_WRITE, dm_handle_resource_delete, kind, 0                                                   \
    }

const struct dm_route dm_routes[] = {
    {{"GET", V1 "/whoami", "whoami", "Whose token this is", 0, 200, NULL, NULL}, DM_OP_WHOAMI, dm_handle_whoami, 0, 0},

    {{"GET", V1 "/tenants", "listTenants", "The tenants that the caller may see", LIST, 200, NULL, &dm_schema_tenant},
     DM_OP_TENANT_LIST,
     dm_handle_tenants_list,
     0,
     0},
    {{"POST", V1 "/tenants", "createTenant", "Make a tenant", WAIT | MASTER, 201, &dm_schema_tenant, &dm_schema_tenant},
     DM_OP_TENANT_CREATE,
     dm_handle_tenants_create,
     0,
     BODY_MAX},
    {{"GET", TENANT, "getTenant", "One tenant", MATCH, 200, NULL, &dm_schema_tenant},
     DM_OP_TENANT_READ,
     dm_handle_tenant_get,
     0,
     0},
    {{"PUT", TENANT, "putTenant", "Make or replace a tenant", WRITE | MASTER, 200, &dm_schema_tenant,
      &dm_schema_tenant},
     DM_OP_TENANT_WRITE,
     dm_handle_tenant_put,
     0,
     BODY_MAX},
    {{"PATCH", TENANT, "patchTenant", "Change some members (JSON merge patch)", WRITE | MASTER, 200, &dm_schema_tenant,
      &dm_schema_tenant},
     DM_OP_TENANT_WRITE,
     dm_handle_tenant_patch,
     0,
     BODY_MAX},
    {{"DELETE", TENANT, "deleteTenant", "Delete a tenant with everything it has", WRITE | MASTER, 204, NULL, NULL},
     DM_OP_TENANT_DELETE,
     dm_handle_tenant_delete,
     0,
     0},

    {{"GET", TENANT "/grants", "getGrants", "What the master opened for the tenant", MATCH, 200, NULL,
      &dm_schema_grants},
     DM_OP_GRANTS_READ,
     dm_handle_grants_get,
     0,
     0},
    {{"PUT", TENANT "/grants", "putGrants", "Give domains and endpoints", WRITE | MASTER, 200, &dm_schema_grants,
      &dm_schema_grants},
     DM_OP_GRANTS_WRITE,
     dm_handle_grants_put,
     0,
     BODY_MAX},
    {{"PATCH", TENANT "/grants", "patchGrants", "Change some members (JSON merge patch)", WRITE | MASTER, 200,
      &dm_schema_grants, &dm_schema_grants},
     DM_OP_GRANTS_WRITE,
     dm_handle_grants_patch,
     0,
     BODY_MAX},

    RESOURCE_ROUTES(DM_KIND_BACKEND, "Backend", "backends", dm_schema_backend),
    {{"GET", TENANT "/backends/{name}/circuit", "getCircuit",
      "The backend's circuit as it is now on each gateway, with its last changes", 0, 200, NULL, NULL},
     DM_OP_STATUS_READ,
     dm_handle_circuit_get,
     0,
     0},
    {{"PUT", TENANT "/backends/{name}/circuit", "putCircuit",
      "Hold the circuit open or closed for a while, or let it go, without a release", 0, 200, &dm_schema_circuit_order,
      NULL},
     DM_OP_RESOURCE_WRITE,
     dm_handle_circuit_put,
     0,
     BODY_MAX},
    RESOURCE_ROUTES(DM_KIND_PRODUCT, "Product", "products", dm_schema_product),
    RESOURCE_ROUTES(DM_KIND_DOMAIN, "Domain", "domains", dm_schema_domain),
    RESOURCE_ROUTES(DM_KIND_CERTIFICATE, "Certificate", "certificates", dm_schema_certificate),
    RESOURCE_ROUTES(DM_KIND_APPLICATION, "Application", "applications", dm_schema_application),

    {{"GET", TENANT "/applications/{name}/credentials", "listCredentials", "The credentials of an application", LIST,
      200, NULL, &dm_schema_credential},
     DM_OP_RESOURCE_READ,
     dm_handle_credentials_list,
     0,
     0},
    {{"POST", TENANT "/applications/{name}/credentials", "createCredential",
      "Add a credential; a key that is left out is generated and shown once", WAIT, 201, &dm_schema_credential,
      &dm_schema_credential},
     DM_OP_RESOURCE_WRITE,
     dm_handle_credentials_create,
     0,
     BODY_MAX},
    {{"DELETE", TENANT "/applications/{name}/credentials/{credential}", "deleteCredential", "Revoke a credential", WAIT,
      204, NULL, NULL},
     DM_OP_RESOURCE_WRITE,
     dm_handle_credential_delete,
     0,
     0},

    {{"GET", TENANT "/document", "getDocument", "The whole declarative file of a tenant", MATCH, 200, NULL,
      &dm_schema_tenant_file},
     DM_OP_RESOURCE_READ,
     dm_handle_document_get,
     0,
     0},
    {{"PUT", TENANT "/document", "putDocument", "Apply a whole declarative file; answers what differs",
      WRITE | DM_ROUTE_DRY_RUN, 200, &dm_schema_tenant_file, NULL},
     DM_OP_RESOURCE_WRITE,
     dm_handle_document_put,
     0,
     DOCUMENT_MAX},

    {{"GET", TENANT "/status", "getTenantStatus", "What of the tenant is live on which gateway", 0, 200, NULL, NULL},
     DM_OP_STATUS_READ,
     dm_handle_status_get,
     0,
     0},
    {{"GET", TENANT "/changes", "listTenantChanges", "The change records of the tenant, newest first", LIST, 200, NULL,
      &dm_schema_change},
     DM_OP_CHANGES_READ,
     dm_handle_changes_list,
     0,
     0},
    {{"GET", TENANT "/usage", "getTenantUsage", "Usage by product, application and metric", LIST | DM_ROUTE_USAGE, 200,
      NULL, NULL},
     DM_OP_USAGE_READ,
     dm_handle_usage_get,
     0,
     0},
    {{"GET", TENANT "/tokens", "listTenantTokens", "The tokens of the tenant", LIST, 200, NULL, &dm_schema_token},
     DM_OP_TOKENS_READ,
     dm_handle_tokens_list,
     0,
     0},
    {{"POST", TENANT "/tokens", "createTenantToken", "Make a token of the tenant; it is shown once", 0, 201,
      &dm_schema_token, &dm_schema_token},
     DM_OP_TOKENS_WRITE,
     dm_handle_tokens_create,
     0,
     BODY_MAX},
    {{"DELETE", TENANT "/tokens/{id}", "deleteTenantToken", "Revoke a token of the tenant", 0, 204, NULL, NULL},
     DM_OP_TOKENS_WRITE,
     dm_handle_token_delete,
     0,
     0},

    {{"GET", V1 "/status", "getStatus", "Gateways and what is live on them", MASTER, 200, NULL, NULL},
     DM_OP_PLATFORM_STATUS_READ,
     dm_handle_status_get,
     0,
     0},
    {{"DELETE", V1 "/gateways/{name}", "deleteGateway", "Count a gateway no more that is gone for good", MASTER, 204,
      NULL, NULL},
     DM_OP_PLATFORM_GATEWAYS_WRITE,
     dm_handle_gateway_delete,
     0,
     0},
    {{"GET", V1 "/changes", "listChanges", "All change records, newest first", LIST | MASTER, 200, NULL,
      &dm_schema_change},
     DM_OP_PLATFORM_CHANGES_READ,
     dm_handle_changes_list,
     0,
     0},
    {{"GET", V1 "/changes/verification", "verifyChanges", "Is the chain of change records whole?", MASTER, 200, NULL,
      NULL},
     DM_OP_PLATFORM_CHANGES_READ,
     dm_handle_changes_verify,
     0,
     0},
    {{"GET", V1 "/tokens", "listTokens", "All tokens", LIST | MASTER, 200, NULL, &dm_schema_token},
     DM_OP_PLATFORM_TOKENS_READ,
     dm_handle_tokens_list,
     0,
     0},
    {{"POST", V1 "/tokens", "createToken", "Make a token of the master or of a tenant; it is shown once", MASTER, 201,
      &dm_schema_token, &dm_schema_token},
     DM_OP_PLATFORM_TOKENS_WRITE,
     dm_handle_tokens_create,
     0,
     BODY_MAX},
    {{"DELETE", V1 "/tokens/{id}", "deleteToken", "Revoke a token", MASTER, 204, NULL, NULL},
     DM_OP_PLATFORM_TOKENS_WRITE,
     dm_handle_token_delete,
     0,
     0},

    {{"GET", V1 "/openapi.json", "getOpenapi", "This description", DM_ROUTE_OPEN, 200, NULL, NULL},
     DM_OP_OPEN,
     dm_handle_openapi,
     0,
     0},
    {{"GET", "/healthz", "getHealth", "Is the controller ready?", DM_ROUTE_OPEN, 200, NULL, NULL},
     DM_OP_OPEN,
     dm_handle_healthz,
     0,
     0},
    {{"GET", "/metrics", "getMetrics", "Prometheus; with tenants' names for the master's token", DM_ROUTE_OPEN, 200,
      NULL, NULL},
     DM_OP_OPEN,
     dm_handle_metrics,
     0,
     0},
};

const size_t dm_routes_count = DM_COUNT(dm_routes);

/* Segment by segment; "{x}" takes one that is not empty. */
static bool matches(const char *template, struct dm_str path, struct dm_str *params, size_t params_max)
{
    struct dm_str want = dm_str_of(template), have = path, piece, segment;
    size_t n = 0;

    while (dm_str_cut(&want, '/', &piece)) {
        if (!dm_str_cut(&have, '/', &segment))
            return false;
        if (piece.len == 0 || piece.ptr[0] != '{') {
            if (!dm_str_eq(piece, segment))
                return false;
        } else if (segment.len == 0 || n == params_max) {
            return false;
        } else {
            params[n++] = segment;
        }
    }
    return have.ptr == NULL;
}

static void add_allowed(struct dm_buf *allow, const char *method)
{
    if (allow->len > 0)
        dm_buf_add_lit(allow, ", ");
    dm_buf_add(allow, dm_str_of(method));
    if (strcmp(method, "GET") == 0)
        dm_buf_add_lit(allow, ", HEAD");
}

const struct dm_route *dm_route_find(struct dm_str method, struct dm_str path, struct dm_str *params, size_t params_max,
                                     struct dm_buf *ret_allow)
{
    struct dm_str wanted = dm_str_eq(method, DM_STR("HEAD")) ? DM_STR("GET") : method;

    for (size_t i = 0; i < dm_routes_count; i++) {
        if (!matches(dm_routes[i].doc.path, path, params, params_max))
            continue;
        if (dm_str_eq(dm_str_of(dm_routes[i].doc.method), wanted))
            return &dm_routes[i];
        add_allowed(ret_allow, dm_routes[i].doc.method);
    }
    return NULL;
}

size_t dm_route_index(const struct dm_route *route)
{
    return (size_t)(route - dm_routes);
}
