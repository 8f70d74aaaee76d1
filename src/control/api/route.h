/* The API's routes: one table that dispatch, rights and OpenAPI go by. */
#ifndef DM_CONTROL_API_ROUTE_H
#define DM_CONTROL_API_ROUTE_H

#include "control/identity/access.h"
#include "model/openapi.h"

struct dm_buf;
struct dm_call;

struct dm_route {
    struct dm_route_doc doc;
    enum dm_operation operation;
    int (*handle)(struct dm_call *call);
    int detail;        /* for handlers that serve several routes: an enum dm_kind */
    uint32_t body_max; /* 0 = takes no body */
};

extern const struct dm_route dm_routes[];
extern const size_t dm_routes_count;

/* The route of a method and normalised path; what stood for {…} goes to params (borrowed from path). NULL: *ret_allow says
 * whether the path exists with other methods, "" if not. */
const struct dm_route *dm_route_find(struct dm_str method, struct dm_str path, struct dm_str *params, size_t params_max,
                                     struct dm_buf *ret_allow);
/* Where the route stands in the table. */
size_t dm_route_index(const struct dm_route *route);

#endif
