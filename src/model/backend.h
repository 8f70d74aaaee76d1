/* A private upstream of a tenant. */
#ifndef DM_MODEL_BACKEND_H
#define DM_MODEL_BACKEND_H

#include "base/str.h"

struct dm_schema;

struct dm_endpoint {
    struct dm_str host; /* name or address */
    int64_t port;
    int64_t weight; /* 0..1000; 0 = takes no new requests */
};

struct dm_backend {
    struct dm_str name;
    struct dm_str description;
    struct dm_endpoint *endpoints;
    size_t n_endpoints;
    struct dm_str base_path;   /* put before the path that is forwarded; "/" = nothing */
    struct dm_str host_header; /* "" = host[:port] of the endpoint */
    int64_t connect_timeout_ms;
    int64_t response_timeout_ms; /* from the last byte of the request to the head of the response */
    int64_t idle_timeout_ms;     /* between two reads of a body; pooled connections are kept as long */
};

#define DM_BACKEND_ENDPOINTS_MAX 64

extern const struct dm_schema dm_schema_endpoint;
extern const struct dm_schema dm_schema_backend;

#endif
