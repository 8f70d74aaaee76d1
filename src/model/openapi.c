/* OpenAPI 3.1: components from field tables, paths from a route table. */
#include "model/openapi.h"
#include "model/query_parameter.h"
#include "base/jsonw.h"
#include "model/change.h"
#include "model/field_int.h"
#include "model/format.h"
#include "model/tenant_file.h"
#include "model/token.h"

const struct dm_schema *const dm_model_schemas[] = {&dm_schema_tenant_file,
                                                    &dm_schema_tenant,
                                                    &dm_schema_grants,
                                                    &dm_schema_backend,
                                                    &dm_schema_product,
                                                    &dm_schema_application,
                                                    &dm_schema_domain,
                                                    &dm_schema_certificate,
                                                    &dm_schema_token,
                                                    &dm_schema_change,
                                                    NULL};

/* --- schemas ----------------------------------------------------------------------------------------------------- */

static void write_ref(const struct dm_schema *schema, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_name(w, "$ref");
    dm_jsonw_printf(w, "#/components/schemas/%s", schema->name);
    dm_jsonw_end_object(w);
}

static void member_int(struct dm_jsonw *w, const char *name, int64_t value)
{
    dm_jsonw_name(w, name);
    dm_jsonw_i64(w, value);
}

static void write_names(const char *const *names, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "enum");
    dm_jsonw_begin_array(w);
    for (size_t i = 0; names[i]; i++) {
        if (names[i][0] != '\0')
            dm_jsonw_cstr(w, names[i]);
    }
    dm_jsonw_end_array(w);
}

static void write_format(const struct dm_format *format, struct dm_jsonw *w)
{
    if (!format)
        return;
    dm_jsonw_member_cstr(w, "format", format->name);
    if (format->pattern)
        dm_jsonw_member_cstr(w, "pattern", format->pattern);
}

static void write_counts(const struct dm_field *field, struct dm_jsonw *w, const char *min, const char *max)
{
    if (field->min > 0)
        member_int(w, min, field->min);
    member_int(w, max, field->max);
}

static void write_string(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_member_cstr(w, "type", "string");
    write_counts(field, w, "minLength", "maxLength");
    if (field->flags & DM_FIELD_REQUIRED || (field->def_str && field->def_str[0]))
        write_format(field->format, w);
    else if (field->format)
        dm_jsonw_member_cstr(w, "format", field->format->name); /* "" is allowed, which no pattern says */
    if (field->def_str)
        dm_jsonw_member_cstr(w, "default", field->def_str);
}

static void write_strings(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_member_cstr(w, "type", "array");
    dm_jsonw_name(w, "items");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "type", "string");
    member_int(w, "maxLength", field->item_max);
    write_format(field->format, w);
    dm_jsonw_end_object(w);
    write_counts(field, w, "minItems", "maxItems");
    if (field->flags & DM_FIELD_UNIQUE)
        dm_jsonw_member_bool(w, "uniqueItems", true);
}

static void write_flags(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_member_cstr(w, "type", "array");
    dm_jsonw_name(w, "items");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "type", "string");
    write_names(field->names, w);
    dm_jsonw_end_object(w);
    if (field->min > 0)
        member_int(w, "minItems", field->min);
    dm_jsonw_member_bool(w, "uniqueItems", true);
    dm_jsonw_name(w, "default");
    dm_jsonw_begin_array(w);
    for (unsigned i = 0; field->names[i]; i++) {
        if (field->def_int & INT64_C(1) << i)
            dm_jsonw_cstr(w, field->names[i]);
    }
    dm_jsonw_end_array(w);
}

static void write_number(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_member_cstr(w, "type", "integer");
    dm_jsonw_member_cstr(w, "format", "int64");
    member_int(w, "minimum", field->min);
    if (field->max < INT64_MAX)
        member_int(w, "maximum", field->max);
    if (!(field->flags & (DM_FIELD_UNSET | DM_FIELD_REQUIRED | DM_FIELD_READ_ONLY)))
        member_int(w, "default", field->def_int);
}

static void write_list(const struct dm_field *field, struct dm_jsonw *w)
{
    bool is_map = field->type == DM_FIELD_MAP;

    dm_jsonw_member_cstr(w, "type", is_map ? "object" : "array");
    dm_jsonw_name(w, is_map ? "additionalProperties" : "items");
    write_ref(field->sub, w);
    write_counts(field, w, is_map ? "minProperties" : "minItems", is_map ? "maxProperties" : "maxItems");
}

static void write_enum(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_member_cstr(w, "type", "string");
    write_names(field->names, w);
    if (!(field->flags & DM_FIELD_REQUIRED))
        dm_jsonw_member_cstr(w, "default", field->names[field->def_int]);
}

static void write_type(const struct dm_field *field, struct dm_jsonw *w)
{
    switch (field->type) {
    case DM_FIELD_BOOL:
        dm_jsonw_member_cstr(w, "type", "boolean");
        dm_jsonw_member_bool(w, "default", field->def_int != 0);
        break;
    case DM_FIELD_INT: write_number(field, w); break;
    case DM_FIELD_STRING: write_string(field, w); break;
    case DM_FIELD_ENUM: write_enum(field, w); break;
    case DM_FIELD_FLAGS: write_flags(field, w); break;
    case DM_FIELD_STRINGS: write_strings(field, w); break;
    case DM_FIELD_OBJECT:
    case DM_FIELD_EMBED:
        dm_jsonw_name(w, "$ref");
        dm_jsonw_printf(w, "#/components/schemas/%s", field->sub->name);
        break;
    case DM_FIELD_ARRAY:
    case DM_FIELD_MAP: write_list(field, w); break;
    case DM_FIELD_JSON: break;
    }
}

static void write_field(const struct dm_field *field, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "description", field->doc);
    write_type(field, w);
    if (field->flags & DM_FIELD_READ_ONLY)
        dm_jsonw_member_bool(w, "readOnly", true);
    else if (field->flags & DM_FIELD_SECRET)
        dm_jsonw_member_bool(w, "writeOnly", true);
    dm_jsonw_end_object(w);
}

static bool is_required(const struct dm_field *field)
{
    bool is_list = field->type == DM_FIELD_ARRAY || field->type == DM_FIELD_STRINGS;

    return dm_field_is_member(field) && (field->flags & DM_FIELD_REQUIRED || (is_list && field->min > 0));
}

static void write_required(const struct dm_schema *schema, struct dm_jsonw *w)
{
    bool has_any = false;

    for (size_t i = 0; i < schema->n_fields; i++)
        has_any = has_any || is_required(&schema->fields[i]);
    if (!has_any)
        return;
    dm_jsonw_name(w, "required");
    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (is_required(&schema->fields[i]))
            dm_jsonw_cstr(w, schema->fields[i].name);
    }
    dm_jsonw_end_array(w);
}

static void write_tag(const struct dm_field *field, const char *tag, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "description", field->doc);
    dm_jsonw_member_cstr(w, "const", tag);
    dm_jsonw_end_object(w);
}

/* An object schema; of a variant, `tag` is the only value of its first member. */
static void write_object(const struct dm_schema *schema, const char *tag, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "description", schema->doc);
    dm_jsonw_member_cstr(w, "type", "object");
    dm_jsonw_member_bool(w, "additionalProperties", false);
    write_required(schema, w);
    dm_jsonw_name(w, "properties");
    dm_jsonw_begin_object(w);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (!dm_field_is_member(&schema->fields[i]))
            continue;
        dm_jsonw_name(w, schema->fields[i].name);
        if (i == 0 && tag)
            write_tag(&schema->fields[i], tag, w);
        else
            write_field(&schema->fields[i], w);
    }
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

static void write_union(const struct dm_schema *schema, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "description", schema->doc);
    dm_jsonw_name(w, "oneOf");
    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < schema->n_variants; i++)
        write_ref(schema->variants[i].schema, w);
    dm_jsonw_end_array(w);
    dm_jsonw_name(w, "discriminator");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "propertyName", schema->tag);
    dm_jsonw_name(w, "mapping");
    dm_jsonw_begin_object(w);
    for (size_t i = 0; i < schema->n_variants; i++) {
        dm_jsonw_name(w, schema->variants[i].tag);
        dm_jsonw_printf(w, "#/components/schemas/%s", schema->variants[i].schema->name);
    }
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

void dm_openapi_write_schema(const struct dm_schema *schema, struct dm_jsonw *w)
{
    if (schema->tag)
        write_union(schema, w);
    else
        write_object(schema, NULL, w);
}

static void write_component(const struct dm_schema *schema, const char *tag, struct dm_schemas_seen *seen,
                            struct dm_jsonw *w)
{
    if (!dm_schemas_see(seen, schema))
        return;
    dm_jsonw_name(w, schema->name);
    if (schema->tag)
        write_union(schema, w);
    else
        write_object(schema, tag, w);
    for (size_t i = 0; i < schema->n_variants; i++)
        write_component(schema->variants[i].schema, schema->variants[i].tag, seen, w);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (schema->fields[i].sub)
            write_component(schema->fields[i].sub, NULL, seen, w);
    }
}

static void member_type(struct dm_jsonw *w, const char *name, const char *type, const char *doc)
{
    dm_jsonw_name(w, name);
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "type", type);
    dm_jsonw_member_cstr(w, "description", doc);
    dm_jsonw_end_object(w);
}

/* RFC 9457 with our members. */
static void write_problem(struct dm_jsonw *w)
{
    dm_jsonw_name(w, "Problem");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "type", "object");
    dm_jsonw_name(w, "properties");
    dm_jsonw_begin_object(w);
    member_type(w, "type", "string", "about:blank, or an address of documentation.");
    member_type(w, "title", "string", "What kind of problem it is.");
    member_type(w, "status", "integer", "Status of the answer.");
    member_type(w, "detail", "string", "What is wrong this time.");
    member_type(w, "reason", "string", "Stable code.");
    member_type(w, "request_id", "string", "Number of the request.");
    dm_jsonw_name(w, "errors");
    dm_jsonw_raw(w, DM_STR("{\"type\":\"array\",\"description\":\"Each fault of the document.\",\"items\":{\"type\":"
                           "\"object\",\"required\":[\"pointer\",\"detail\"],\"properties\":{\"pointer\":{\"type\":"
                           "\"string\",\"format\":\"json-pointer\"},\"detail\":{\"type\":\"string\"}}}}"));
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

static void write_components(const struct dm_route_doc *routes, size_t n_routes, struct dm_jsonw *w)
{
    struct dm_schemas_seen seen = {.n = 0};

    dm_jsonw_name(w, "components");
    dm_jsonw_begin_object(w);
    dm_jsonw_name(w, "securitySchemes");
    dm_jsonw_raw(w, DM_STR("{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}}"));
    dm_jsonw_name(w, "schemas");
    dm_jsonw_begin_object(w);
    for (size_t i = 0; dm_model_schemas[i]; i++)
        write_component(dm_model_schemas[i], NULL, &seen, w);
    for (size_t i = 0; i < n_routes; i++) {
        if (routes[i].request)
            write_component(routes[i].request, NULL, &seen, w);
        if (routes[i].response)
            write_component(routes[i].response, NULL, &seen, w);
    }
    write_problem(w);
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

/* --- paths ------------------------------------------------------------------------------------------------------- */

static void write_parameter(struct dm_jsonw *w, struct dm_str name, const char *in, const char *type, const char *doc)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_str(w, "name", name);
    dm_jsonw_member_cstr(w, "in", in);
    if (strcmp(in, "path") == 0)
        dm_jsonw_member_bool(w, "required", true);
    dm_jsonw_member_cstr(w, "description", doc);
    dm_jsonw_name(w, "schema");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "type", type);
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

static void write_path_parameters(const char *path, struct dm_jsonw *w)
{
    struct dm_str rest = dm_str_of(path), piece;

    while (dm_str_cut(&rest, '/', &piece)) {
        if (piece.len > 2 && piece.ptr[0] == '{')
            write_parameter(w, dm_str_n(piece.ptr + 1, piece.len - 2), "path", "string", "Name of the resource.");
    }
}

static void write_parameters(const struct dm_route_doc *route, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "parameters");
    dm_jsonw_begin_array(w);
    write_path_parameters(route->path, w);
    if (route->flags & DM_ROUTE_IF_MATCH)
        write_parameter(w, DM_STR("If-Match"), "header", "string",
                        "ETag of what is changed; `*` for whatever is there. 412 when it has changed meanwhile.");
    for (const struct dm_query_parameter *p = dm_query_parameters; p->name; p++)
        if (route->flags & p->flag)
            write_parameter(w, dm_str_of(p->name), "query", p->type, p->doc);
    dm_jsonw_end_array(w);
}

static void write_json_content(struct dm_jsonw *w, const struct dm_schema *schema, bool is_list)
{
    dm_jsonw_name(w, "content");
    dm_jsonw_begin_object(w);
    dm_jsonw_name(w, "application/json");
    dm_jsonw_begin_object(w);
    dm_jsonw_name(w, "schema");
    if (is_list) {
        dm_jsonw_begin_object(w);
        dm_jsonw_member_cstr(w, "type", "object");
        dm_jsonw_name(w, "properties");
        dm_jsonw_begin_object(w);
        dm_jsonw_name(w, "items");
        dm_jsonw_begin_object(w);
        dm_jsonw_member_cstr(w, "type", "array");
        dm_jsonw_name(w, "items");
        write_ref(schema, w);
        dm_jsonw_end_object(w);
        member_type(w, "next", "string", "Cursor of the next page; left out on the last.");
        dm_jsonw_end_object(w);
        dm_jsonw_end_object(w);
    } else {
        write_ref(schema, w);
    }
    dm_jsonw_end_object(w);
    dm_jsonw_end_object(w);
}

static void write_responses(const struct dm_route_doc *route, struct dm_jsonw *w)
{
    char status[16];

    snprintf(status, sizeof(status), "%d", route->status);
    dm_jsonw_name(w, "responses");
    dm_jsonw_begin_object(w);
    dm_jsonw_name(w, status);
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "description", "Done.");
    if (route->response)
        write_json_content(w, route->response, route->flags & DM_ROUTE_LIST);
    dm_jsonw_end_object(w);
    dm_jsonw_name(w, "default");
    dm_jsonw_raw(w, DM_STR("{\"description\":\"Not done (RFC 9457).\",\"content\":{\"application/problem+json\":"
                           "{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}"));
    dm_jsonw_end_object(w);
}

static void write_operation(const struct dm_route_doc *route, struct dm_jsonw *w)
{
    char method[16] = "";

    for (size_t i = 0; route->method[i] && i + 1 < sizeof(method); i++)
        method[i] = (char)(route->method[i] | 0x20);
    dm_jsonw_name(w, method);
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "operationId", route->id);
    dm_jsonw_member_cstr(w, "summary", route->summary);
    if (route->flags & DM_ROUTE_MASTER)
        dm_jsonw_member_cstr(w, "description", "For the master alone.");
    if (route->flags & DM_ROUTE_OPEN) {
        dm_jsonw_name(w, "security");
        dm_jsonw_begin_array(w);
        dm_jsonw_end_array(w);
    }
    write_parameters(route, w);
    if (route->request) {
        dm_jsonw_name(w, "requestBody");
        dm_jsonw_begin_object(w);
        dm_jsonw_member_bool(w, "required", true);
        write_json_content(w, route->request, false);
        dm_jsonw_end_object(w);
    }
    write_responses(route, w);
    dm_jsonw_end_object(w);
}

/* All operations of a path stand together, wherever the table has them. */
static void write_paths(const struct dm_route_doc *routes, size_t n, struct dm_jsonw *w)
{
    dm_jsonw_name(w, "paths");
    dm_jsonw_begin_object(w);
    for (size_t i = 0; i < n; i++) {
        bool is_first = true;

        for (size_t j = 0; j < i; j++)
            is_first = is_first && strcmp(routes[j].path, routes[i].path) != 0;
        if (!is_first)
            continue;
        dm_jsonw_name(w, routes[i].path);
        dm_jsonw_begin_object(w);
        for (size_t j = i; j < n; j++) {
            if (strcmp(routes[j].path, routes[i].path) == 0)
                write_operation(&routes[j], w);
        }
        dm_jsonw_end_object(w);
    }
    dm_jsonw_end_object(w);
}

void dm_openapi_write(const struct dm_route_doc *routes, size_t n_routes, struct dm_jsonw *w)
{
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "openapi", "3.1.0");
    dm_jsonw_name(w, "info");
    dm_jsonw_begin_object(w);
    dm_jsonw_member_cstr(w, "title", "Daemun");
    dm_jsonw_member_cstr(w, "version", DM_VERSION);
    dm_jsonw_end_object(w);
    dm_jsonw_name(w, "security");
    dm_jsonw_raw(w, DM_STR("[{\"token\":[]}]"));
    write_paths(routes, n_routes, w);
    write_components(routes, n_routes, w);
    dm_jsonw_end_object(w);
}
