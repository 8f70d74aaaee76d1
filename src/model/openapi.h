/* OpenAPI 3.1 from field tables (components) and from the API's route table (paths). */
#ifndef DM_MODEL_OPENAPI_H
#define DM_MODEL_OPENAPI_H

#include "base/defs.h"

struct dm_jsonw;
struct dm_schema;

enum dm_route_flag {
    DM_ROUTE_LIST = 1,     /* answers {"items":[…],"next":"cursor"}; takes limit and cursor */
    DM_ROUTE_IF_MATCH = 2, /* takes If-Match, answers ETag */
    DM_ROUTE_WAIT = 4,     /* takes wait=live and timeout_ms */
    DM_ROUTE_DRY_RUN = 8,  /* takes dry_run */
    DM_ROUTE_MASTER = 16,  /* for the master alone */
    DM_ROUTE_OPEN = 32,    /* needs no token */
    DM_ROUTE_USAGE = 64,   /* takes what usage is asked for by */
};

/* One operation. Tables of these are constant. */
struct dm_route_doc {
    const char *method; /* "GET" */
    const char *path;   /* "/api/v1/tenants/{tenant}/backends/{name}" */
    const char *id;     /* operationId */
    const char *summary;
    unsigned flags;
    int status;                       /* of success */
    const struct dm_schema *request;  /* NULL = no body */
    const struct dm_schema *response; /* NULL = no body, or raw */
};

/* The whole description, one JSON value. Components: every schema reachable from the routes and from the tenant file. */
void dm_openapi_write(const struct dm_route_doc *routes, size_t n_routes, struct dm_jsonw *w);

/* Only the schema of one resource, as it stands under components/schemas. */
void dm_openapi_write_schema(const struct dm_schema *schema, struct dm_jsonw *w);

/* The schemas that a person may meet in API and files, in the order of the reference; NULL-terminated. */
extern const struct dm_schema *const dm_model_schemas[];

#endif
