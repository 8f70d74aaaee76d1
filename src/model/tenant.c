#include "model/tenant.h"
#include "model/listener.h"
#include "model/field.h"
#include "model/format.h"

const char *const dm_state_names[] = {"active", "suspended", NULL};

static const struct dm_field caps_fields[] = {
    {"connections", DM_FIELD_INT, 0, DM_AT(struct dm_caps, connections), .max = 1000000,
     .doc = "Client connections per gateway; 0 is the platform's default."},
    {"exchanges", DM_FIELD_INT, 0, DM_AT(struct dm_caps, exchanges), .max = 1000000,
     .doc = "Requests in flight per gateway; 0 is the platform's default."},
    {"buffered_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, buffered_bytes), .max = INT64_C(1) << 40,
     .doc = "Bytes held in buffers per gateway; 0 is the platform's default."},
    {"upstream_connections", DM_FIELD_INT, 0, DM_AT(struct dm_caps, upstream_connections), .max = 1000000,
     .doc = "Connections to backends per gateway; 0 is the platform's default."},
    {"header_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, header_bytes), .max = 1 << 20,
     .doc =
         "Bytes of a request's head, beyond which it is `header_too_large`; 0 is the listener's limit, as below, which a "
         "cap never raises."},
    {"headers", DM_FIELD_INT, 0, DM_AT(struct dm_caps, headers), .max = 10000,
     .doc = "Header fields of a request, beyond which it is `header_too_large`; 0 is the listener's limit."},
    {"url_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, url_bytes), .max = 1 << 20,
     .doc = "Bytes of a request's target, beyond which it is `uri_too_long`; 0 is the listener's limit."},
    {"body_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_bytes), .max = INT64_C(1) << 50,
     .doc = "Bytes of a request's body, beyond which it is `body_too_large`; 0 is the listener's limit."},
    {"streams", DM_FIELD_INT, 0, DM_AT(struct dm_caps, streams), .max = 1000,
     .doc =
         "Requests at a time on one HTTP/2 connection, beyond which they are `too_many_streams`; 0 is the listener's "
         "limit."},
    {"idle_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, idle_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc = "How long a caller's connection is kept between requests; 0 is the listener's limit."},
    {"head_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, head_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc =
         "How long the head of a further request on a connection may take, then `request_timeout`; 0 is the listener's "
         "limit."},
    {"body_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_timeout_ms), .max = DM_LISTENER_MS_MAX,
     .doc = "Longest silence within a request's body, then `request_timeout`; 0 is the listener's limit."},
    {"body_rate_bytes", DM_FIELD_INT, 0, DM_AT(struct dm_caps, body_rate_bytes), .max = DM_LISTENER_RATE_MAX,
     .doc = "Bytes a second that a body must keep up on the average, either way; 0 is the listener's limit."},
};

const struct dm_schema dm_schema_caps = {
    .name = "Caps",
    .doc = "How much of a gateway one tenant may hold at a time. Kept; gateways do not hold a tenant to it yet.",
    DM_FIELDS(caps_fields),
    .struct_bytes = sizeof(struct dm_caps),
};

static const struct dm_field fields[] = {
    {"id", DM_FIELD_INT, DM_FIELD_READ_ONLY, DM_AT(struct dm_tenant, id), .max = INT64_MAX,
     .doc = "Number of the tenant, never used again; shown to the master alone."},
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_tenant, name), .max = 63,
     .format = &dm_format_tenant, .doc = "Name of the team in paths, files and metrics; it never changes."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_tenant, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What people should know about it."},
    {"state", DM_FIELD_ENUM, 0, DM_AT(struct dm_tenant, state), .names = dm_state_names,
     .doc = "A suspended tenant's domains are answered with `tenant_suspended`."},
    {"weight", DM_FIELD_INT, 0, DM_AT(struct dm_tenant, weight), .min = 1, .max = 10000, .def_int = DM_WEIGHT_DEFAULT,
     .doc = "Share of a busy gateway, in proportion to the weights of the other busy tenants. Kept; gateways do not "
            "share by it yet."},
    {"caps", DM_FIELD_EMBED, 0, DM_AT(struct dm_tenant, caps), .sub = &dm_schema_caps,
     .doc = "How much of a gateway it may hold at a time."},
    {"compat_date", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_tenant, compat_date), .max = 10,
     .format = &dm_format_date,
     .doc =
         "Behaviour level: a newer platform changes nothing for the tenant until it moves this date. Left out, it is the "
         "date of creation."},
    {"created_at", DM_FIELD_STRING, DM_FIELD_READ_ONLY | DM_FIELD_UNSET, DM_AT(struct dm_tenant, created_at), .max = 20,
     .format = &dm_format_time, .doc = "When it was made."},
};

const struct dm_schema dm_schema_tenant = {
    .name = "Tenant",
    .doc = "One development team. Owned by the master.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_tenant),
};
