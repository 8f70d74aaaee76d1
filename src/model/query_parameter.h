/* The query parameters of the API, by what a route does: the API refuses others by name, OpenAPI describes them. */
#ifndef DM_MODEL_QUERY_PARAMETER_H
#define DM_MODEL_QUERY_PARAMETER_H

#include "base/str.h"

struct dm_query_parameter {
    const char *name;
    unsigned flag; /* of enum dm_route_flag: routes with it take the parameter */
    const char *type, *doc;
};

/* Ends with a name of NULL. */
extern const struct dm_query_parameter dm_query_parameters[];

/* Does a route with these flags take it? If not, *ret_near is the nearest name that it takes, or NULL. name: decoded. */
bool dm_query_parameter_is_taken(unsigned flags, struct dm_str name, const char **ret_near);

#endif
