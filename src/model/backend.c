#include "model/backend.h"
#include "model/field.h"
#include "model/format.h"

static const struct dm_field endpoint_fields[] = {
    {"host", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint, host), .max = DM_HOST_NAME_MAX,
     .format = &dm_format_host,
     .doc =
         "Name or address. Whatever a name resolves to must lie within the tenant's grants when a connection is made."},
    {"port", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint, port), .min = 1, .max = 65535, .doc = "Port."},
    {"weight", DM_FIELD_INT, 0, DM_AT(struct dm_endpoint, weight), .max = 1000, .def_int = 1,
     .doc = "Share of the requests in proportion to the other endpoints; 0 takes no new ones."},
};

const struct dm_schema dm_schema_endpoint = {
    .name = "Endpoint",
    .doc = "One address of a backend.",
    DM_FIELDS(endpoint_fields),
    .struct_bytes = sizeof(struct dm_endpoint),
};

static void check_backend(const void *object, struct dm_check *check)
{
    const struct dm_backend *backend = object;
    char shown[DM_SHOW_MAX];

    for (size_t i = 0; i < backend->n_endpoints; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct dm_endpoint *a = &backend->endpoints[i], *b = &backend->endpoints[j];
            char sub[64];

            if (a->port != b->port || !dm_str_eq(a->host, b->host))
                continue;
            snprintf(sub, sizeof(sub), "/endpoints/%zu", i);
            dm_check_fail(check, sub, "must be unique, but %s port %lld stands in item %zu already",
                          dm_show(a->host, shown), (long long)a->port, j);
            break;
        }
    }
}

#define TIMEOUT_MAX_MS 3600000

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_backend, name), .max = DM_NAME_MAX,
     .format = &dm_format_name, .doc = "Name, unique in the tenant."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_backend, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What people should know about it."},
    {"endpoints", DM_FIELD_ARRAY, DM_FIELD_REQUIRED, DM_AT_ARRAY(struct dm_backend, endpoints), .min = 1,
     .max = DM_BACKEND_ENDPOINTS_MAX, .sub = &dm_schema_endpoint, .doc = "Where it is."},
    {"base_path", DM_FIELD_STRING, 0, DM_AT(struct dm_backend, base_path), .max = DM_PATH_MAX, .def_str = "/",
     .format = &dm_format_path, .doc = "Put before the path that is forwarded."},
    {"host_header", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_backend, host_header), .max = DM_HOST_NAME_MAX + 6,
     .format = &dm_format_host_port,
     .doc = "The Host that the backend sees. Left out, it is the endpoint's host and port."},
    {"connect_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, connect_timeout_ms), .min = 1, .max = 60000,
     .def_int = 1000, .doc = "Time for a connection to be made."},
    {"response_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, response_timeout_ms), .min = 1,
     .max = TIMEOUT_MAX_MS, .def_int = 30000,
     .doc = "Time from the end of the request to the head of the response; then `backend_timeout`."},
    {"idle_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, idle_timeout_ms), .min = 1, .max = TIMEOUT_MAX_MS,
     .def_int = 60000, .doc = "Longest silence within a body; an unused connection is kept as long."},
};

const struct dm_schema dm_schema_backend = {
    .name = "Backend",
    .doc = "A private upstream of the tenant: one service at one or more endpoints.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_backend),
    .validate = check_backend,
};
