#include "gateway/policy/policy_int.h"

#include "http/serialize.h"

static bool is_allowed(const struct dm_exchange *ex, const struct dm_ucors *config)
{
    const struct dm_ustr *origins = dm_unit_at(ex->release->unit, config->origins);

    for (uint32_t i = 0; i < config->n_origins; i++)
        if (dm_str_ieq(dm_unit_str(ex->release->unit, origins[i]), ex->origin))
            return true;
    return config->any_origin;
}

enum dm_reason dm_cors_request(struct dm_exchange *ex, const struct dm_ucors *config)
{
    const struct dm_http_field *origin = dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_ORIGIN);

    if (!origin)
        return DM_REASON_NONE;
    if (dm_arena_str(&ex->arena, origin->value, &ex->origin) < 0)
        return DM_REASON_HEADER_TOO_LARGE;
    ex->cors = config;
    ex->is_preflight = ex->head->method == DM_HTTP_METHOD_OPTIONS &&
                       dm_http_head_find(ex->head, DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_METHOD);
    return DM_REASON_NONE;
}

/* Credentials and "*" do not go together (Fetch, 3.2.5): with them the origin is named. */
static struct dm_str allow_origin(const struct dm_exchange *ex)
{
    return ex->cors->any_origin && !ex->cors->allow_credentials ? DM_STR("*") : ex->origin;
}

int dm_cors_response(const struct dm_exchange *ex, struct dm_http_head *head)
{
    const struct dm_ucors *c = ex->cors;
    bool is_full = false;

    if (!c)
        return 0;
    dm_http_head_drop(head, DM_STR("access-control-allow-origin"));
    dm_http_head_drop(head, DM_STR("access-control-allow-credentials"));
    dm_http_head_drop(head, DM_STR("access-control-expose-headers"));
    if (is_allowed(ex, c)) {
        is_full = !dm_http_head_add(head, DM_STR("Access-Control-Allow-Origin"), allow_origin(ex));
        if (c->allow_credentials)
            is_full |= !dm_http_head_add(head, DM_STR("Access-Control-Allow-Credentials"), DM_STR("true"));
        if (c->expose_headers.len > 0)
            is_full |= !dm_http_head_add(head, DM_STR("Access-Control-Expose-Headers"),
                                         dm_unit_str(ex->release->unit, c->expose_headers));
    }
    is_full |= !dm_http_head_add(head, DM_STR("Vary"), DM_STR("Origin"));
    return is_full ? DM_EBUDGET : 0;
}

/* What the policy names, or what the preflight asks for. */
static void write_allowed(const struct dm_exchange *ex, struct dm_buf *fields, struct dm_str name,
                          struct dm_ustr configured, enum dm_http_field_id asked)
{
    struct dm_str value =
        configured.len > 0 ? dm_unit_str(ex->release->unit, configured) : dm_http_head_value(ex->head, asked);

    if (value.len > 0)
        dm_http_write_field(fields, name, value);
}

static void write_preflight(const struct dm_exchange *ex, struct dm_buf *fields)
{
    const struct dm_ucors *c = ex->cors;

    write_allowed(ex, fields, DM_STR("Access-Control-Allow-Methods"), c->allow_methods,
                  DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_METHOD);
    write_allowed(ex, fields, DM_STR("Access-Control-Allow-Headers"), c->allow_headers,
                  DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_HEADERS);
    if (c->max_age_s >= 0)
        dm_http_write_field_u64(fields, DM_STR("Access-Control-Max-Age"), (uint64_t)c->max_age_s);
}

void dm_policies_answer(const struct dm_exchange *ex, struct dm_buf *fields)
{
    if (!ex->cors)
        return;
    dm_buf_add_lit(fields, "Vary: Origin\r\n");
    if (!is_allowed(ex, ex->cors))
        return;
    dm_http_write_field(fields, DM_STR("Access-Control-Allow-Origin"), allow_origin(ex));
    if (ex->cors->allow_credentials)
        dm_buf_add_lit(fields, "Access-Control-Allow-Credentials: true\r\n");
    if (ex->is_preflight)
        write_preflight(ex, fields);
}
