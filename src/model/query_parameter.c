#include "model/query_parameter.h"
#include "model/field.h"
#include "model/openapi.h"

const struct dm_query_parameter dm_query_parameters[] = {
    {"limit", DM_ROUTE_LIST, "integer", "At most this many items."},
    {"cursor", DM_ROUTE_LIST, "string", "`next` of the page before."},
    {"wait", DM_ROUTE_WAIT, "string", "`live`: answer when it is live on every gateway."},
    {"timeout_ms", DM_ROUTE_WAIT, "integer", "How long to wait; 10000 when left out."},
    {"dry_run", DM_ROUTE_DRY_RUN, "boolean", "Only answer what would change."},
    {"from", DM_ROUTE_USAGE, "string", "From this time on (RFC 3339); a day ago when left out."},
    {"to", DM_ROUTE_USAGE, "string", "Up to this time (RFC 3339); now when left out."},
    {"step", DM_ROUTE_USAGE, "string", "`total`, `minute`, `hour` or `day`."},
    {"product", DM_ROUTE_USAGE, "string", "Of this product alone."},
    {"application", DM_ROUTE_USAGE, "string", "Of this application alone."},
    {"metric", DM_ROUTE_USAGE, "string", "Of this metric alone."},
    {NULL, 0, NULL, NULL},
};

bool dm_query_parameter_is_taken(unsigned flags, struct dm_str name, const char **ret_near)
{
    const char *names[DM_COUNT(dm_query_parameters)];
    size_t n = 0;

    for (const struct dm_query_parameter *p = dm_query_parameters; p->name; p++) {
        if ((p->flag & flags) == 0)
            continue;
        if (dm_str_eq(name, dm_str_of(p->name)))
            return true;
        names[n++] = p->name;
    }
    names[n] = NULL;
    *ret_near = dm_names_near(names, name);
    return false;
}
