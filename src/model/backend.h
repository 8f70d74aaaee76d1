/* A private upstream of a tenant. */
#ifndef DM_MODEL_BACKEND_H
#define DM_MODEL_BACKEND_H

#include "base/str.h"

struct dm_schema;

struct dm_endpoint {
    struct dm_str host; /* name, address or "unix:/path" (dm_unix_path) */
    int64_t port;       /* 0 with "unix:" alone */
    int64_t weight;     /* 0..1000; 0 = takes no new requests */
};

enum dm_backend_protocol { DM_BACKEND_HTTP1, DM_BACKEND_HTTP2 };
extern const char *const dm_backend_protocol_names[];

struct dm_backend_tls {
    bool verify;                      /* chain and name */
    struct dm_str ca;                 /* PEM bundle; "" = the system's */
    struct dm_str server_name;        /* asked for and checked; "" = host of the endpoint */
    struct dm_str client_certificate; /* name of a certificate of the tenant; "" = none is shown */
};

enum dm_breaker_mode { DM_BREAKER_AUTO, DM_BREAKER_HELD_CLOSED, DM_BREAKER_HELD_OPEN, DM_BREAKER_MODES };
extern const char *const dm_breaker_mode_names[];
enum dm_breaker_statuses {
    DM_BREAKER_NO_STATUS,
    DM_BREAKER_UNAVAILABLE,
    DM_BREAKER_SERVER_ERRORS,
    DM_BREAKER_STATUSES
};
extern const char *const dm_breaker_statuses_names[];

/* What the gateway makes of calls that fail (gateway/upstream/breaker.h). */
struct dm_backend_breaker {
    int mode;                     /* enum dm_breaker_mode */
    int64_t consecutive_failures; /* failures behind one another that open it */
    int64_t failure_percent;      /* share of failures in the window that opens it */
    int64_t slow_ms;              /* a call that takes longer is slow; 0 = none is */
    int64_t slow_percent;         /* share of slow calls in the window that opens it */
    int64_t window_ms;
    int64_t min_requests; /* in the window, for a share to count */
    int failure_statuses; /* enum dm_breaker_statuses */
    int64_t open_ms;      /* time open; doubles each time it opens again soon */
    int64_t open_max_ms;
    int64_t probes; /* that must pass before it is closed */
};

/* When a request is sent again (E3 in gateway/exchange.c says which may be). */
struct dm_backend_retry {
    int64_t tries;          /* of a request in all */
    int64_t budget_percent; /* retries among the requests of the last 10 to 20 seconds */
    int64_t budget_min;     /* that are allowed in any case */
};

/* When one of several endpoints is put out of turn (gateway/upstream/outlier.h). */
struct dm_backend_outlier {
    int64_t consecutive_failures;
    int64_t eject_ms; /* time out of turn; doubles each time it fails again soon */
    int64_t eject_max_ms;
    int64_t max_percent;   /* of endpoints that may be out for failures other than of connecting */
    int64_t slow_start_ms; /* until one that is back has its whole share */
};

enum dm_balance_method { DM_BALANCE_ROUND_ROBIN, DM_BALANCE_LEAST_REQUESTS, DM_BALANCE_HASH, DM_BALANCE_METHODS };
enum dm_balance_hash_by { DM_BALANCE_BY_ADDRESS, DM_BALANCE_BY_APPLICATION, DM_BALANCE_BY_HEADER, DM_BALANCE_HASHES };

/* Which of several endpoints a request goes to. */
struct dm_backend_balance {
    int method;           /* enum dm_balance_method */
    int hash_by;          /* enum dm_balance_hash_by */
    struct dm_str header; /* BY_HEADER: its name */
};

enum dm_concurrency_limit { DM_CONCURRENCY_NONE, DM_CONCURRENCY_ADAPTIVE, DM_CONCURRENCY_LIMITS };

/* How many calls the backend is given at a time (gateway/upstream/limiter.h). */
struct dm_backend_concurrency {
    int limit;        /* enum dm_concurrency_limit */
    int64_t min, max; /* of each worker */
};

enum dm_health_type { DM_HEALTH_HTTP, DM_HEALTH_GRPC, DM_HEALTH_TYPES };
extern const char *const dm_health_type_names[];
enum dm_health_method { DM_HEALTH_GET, DM_HEALTH_HEAD, DM_HEALTH_OPTIONS, DM_HEALTH_METHODS };
extern const char *const dm_health_method_names[];

/* How the gateway asks each endpoint whether it is well (gateway/upstream/health.h). */
struct dm_backend_health {
    int type;              /* enum dm_health_type */
    int method;            /* enum dm_health_method; of HTTP */
    struct dm_str path;    /* of HTTP; base_path is not put before it */
    struct dm_str service; /* of gRPC; "" = the server as a whole */
    int64_t status_min, status_max;
    int64_t interval_ms;
    int64_t timeout_ms;          /* of a whole check */
    int64_t unhealthy_threshold; /* checks behind one another that change the verdict */
    int64_t healthy_threshold;
};

/* What the caller gets where the backend can't be used. */
struct dm_backend_fallback {
    unsigned on; /* bits of enum dm_fallback_on */
    int64_t status;
    struct dm_str content_type; /* "" = text/plain; charset=utf-8 */
    struct dm_str body;
};
enum dm_fallback_on { DM_FALLBACK_CIRCUIT_OPEN, DM_FALLBACK_UNREACHABLE, DM_FALLBACK_TIMEOUT };

struct dm_backend {
    struct dm_str name;
    struct dm_str description;
    struct dm_endpoint *endpoints;
    size_t n_endpoints;
    struct dm_str base_path;    /* put before the path that is forwarded; "/" = nothing */
    struct dm_str host_header;  /* "" = host[:port] of the endpoint */
    int protocol;               /* enum dm_backend_protocol */
    struct dm_backend_tls *tls; /* NULL = clear text */
    int64_t connect_timeout_ms;
    int64_t response_timeout_ms; /* from the last byte of the request to the head of the response */
    int64_t total_timeout_ms; /* from the head of the request to the head of the response, over all tries; 0 = none */
    int64_t idle_timeout_ms;  /* between two reads of a body; pooled connections are kept as long */
    int64_t tunnel_idle_timeout_ms; /* silence in both directions of an upgraded connection */
    int64_t tunnel_total_ms;        /* longest life of one; 0 = no end */
    struct dm_backend_balance balance;
    struct dm_backend_outlier outlier;
    struct dm_backend_retry retry;
    struct dm_backend_breaker breaker;
    struct dm_backend_concurrency concurrency;
    struct dm_backend_health *health;     /* NULL = no checks */
    struct dm_backend_fallback *fallback; /* NULL = the gateway's own answer */
};

#define DM_BACKEND_ENDPOINTS_MAX 64
#define DM_HEALTH_ENDPOINTS_MAX 64 /* that are checked, of all backends of a tenant */
#define DM_HEALTH_SERVICE_MAX 127
#define DM_FALLBACK_BODY_MAX 16384

extern const struct dm_schema dm_schema_endpoint;
extern const struct dm_schema dm_schema_backend_tls;
extern const struct dm_schema dm_schema_backend_breaker;
extern const struct dm_schema dm_schema_backend_balance;
extern const struct dm_schema dm_schema_backend_outlier;
extern const struct dm_schema dm_schema_backend_retry;
extern const struct dm_schema dm_schema_backend_concurrency;
extern const struct dm_schema dm_schema_backend_health;
extern const struct dm_schema dm_schema_backend_fallback;
extern const struct dm_schema dm_schema_backend;

#endif
