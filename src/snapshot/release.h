/* Layout of the unit `release`: products, versions, mapping rules, policies, plans, backends. Read with dm_unit_at().
 * Arrays are (offset, count); lists keep the order of the document. */
#ifndef DM_SNAPSHOT_RELEASE_H
#define DM_SNAPSHOT_RELEASE_H

#include "model/reason.h"
#include "snapshot/unit.h"

struct dm_urelease {
    dm_off products, backends;
    uint32_t n_products, n_backends;
};

struct dm_uendpoint {
    struct dm_ustr host; /* name or numeric address, no brackets; or "unix:/path" */
    uint16_t port;
    uint16_t weight;
    uint8_t address_bytes; /* 4 or 16: `address` is numeric; 0: host is to be resolved */
    uint8_t unused[3];
    uint8_t address[16];
    struct dm_ustr authority; /* what the Host field says: the backend's host_header, or host[:port] */
};

struct dm_ubackend_tls {
    struct dm_ustr ca;                 /* PEM bundle; "" = the system's */
    struct dm_ustr server_name;        /* "" = the endpoint's host */
    struct dm_ustr client_certificate; /* name, in the unit `domains`; "" = none */
    uint32_t verifies;
    uint32_t unused;
};

struct dm_ubreaker {
    uint32_t run_max, calls_min, window_ms, open_ms, open_max_ms;
    uint32_t slow_ms; /* 0 = none is slow */
    uint8_t mode;     /* enum dm_breaker_mode */
    uint8_t statuses; /* enum dm_breaker_statuses */
    uint8_t failed_percent, slow_percent;
    uint16_t probes_max;
    uint16_t unused;
};

struct dm_uretry {
    uint32_t budget_min;
    uint32_t total_timeout_ms; /* 0 = none */
    uint8_t tries, budget_percent;
    uint8_t unused[6];
};

struct dm_uoutlier {
    uint32_t run_max, eject_ms, eject_max_ms, max_percent, slow_start_ms;
    uint32_t unused;
};

struct dm_ubalance {
    struct dm_ustr header; /* "" = none */
    uint8_t method;        /* enum dm_balance_method */
    uint8_t hash_by;       /* enum dm_balance_hash_by */
    uint8_t unused[6];
};

struct dm_uconcurrency {
    uint32_t min, max;
    uint8_t limit; /* enum dm_concurrency_limit */
    uint8_t unused[7];
};

struct dm_uhealth {
    struct dm_ustr path;    /* of HTTP */
    struct dm_ustr service; /* of gRPC */
    uint32_t interval_ms, timeout_ms;
    uint16_t status_min, status_max;
    uint8_t type;   /* enum dm_health_type */
    uint8_t method; /* enum dm_health_method */
    uint8_t unhealthy_threshold, healthy_threshold;
};

/* What replaces the gateway's own answer for one reason. */
struct dm_uerror {
    uint32_t reason;  /* enum dm_reason */
    uint16_t status;  /* 0 = the reason's own */
    uint8_t has_body; /* false: problem details as always */
    uint8_t unused;
    struct dm_ustr content_type;
    struct dm_ustr body;
};

/* What replaces the gateway's own answer where the backend can't be used. */
struct dm_ufallback {
    struct dm_uerror answer; /* reason is 0; has_body is true, also where it is empty */
    uint32_t on;             /* bits of enum dm_fallback_on */
    uint32_t unused;
};

struct dm_ubackend {
    uint64_t id;
    struct dm_ustr name;
    struct dm_ustr base_path; /* without a trailing slash; "" for the root */
    dm_off endpoints;
    uint32_t n_endpoints;
    uint32_t weight_sum;
    uint32_t connect_timeout_ms, response_timeout_ms, idle_timeout_ms;
    uint32_t tunnel_idle_timeout_ms, tunnel_total_ms;
    dm_off tls;       /* struct dm_ubackend_tls; 0 = clear text */
    uint8_t protocol; /* enum dm_backend_protocol */
    uint8_t unused[3];
    struct dm_ubreaker breaker;
    struct dm_uretry retry;
    struct dm_uoutlier outlier;
    struct dm_ubalance balance;
    struct dm_uconcurrency concurrency;
    dm_off health;   /* struct dm_uhealth; 0 = none */
    dm_off fallback; /* struct dm_ufallback; 0 = none */
};

struct dm_umetric {
    uint64_t id;
    struct dm_ustr name;
    int32_t parent; /* index of the metric that a method also counts for, -1 = none */
    uint32_t unused;
};

struct dm_ulimit {
    uint64_t id; /* of (product, metric, period): usage outlives a change of plan or of the limit's value */
    uint64_t value;
    uint32_t metric; /* index in the product's metrics */
    uint32_t period; /* enum dm_period */
};

struct dm_urate_limit {
    uint64_t id;
    uint32_t metric;
    uint32_t unused;
    uint64_t interval_ns; /* between two hits at the sustained rate */
    uint64_t burst_ns;    /* how far ahead of the clock the bucket may run: burst * interval_ns */
};

struct dm_uplan {
    uint64_t id;
    struct dm_ustr name;
    dm_off limits, rate_limits;
    uint32_t n_limits, n_rate_limits;
};

struct dm_umount {
    struct dm_ustr path; /* longest first; without a trailing slash; "" for the root */
    uint32_t backend;    /* index */
    uint32_t unused;
};

enum dm_upolicy_type {
    DM_UPOLICY_API_KEY = 1,
    DM_UPOLICY_HEADERS,
    DM_UPOLICY_IP_CHECK,
    DM_UPOLICY_CORS,
    DM_UPOLICY_CLIENT_CERTIFICATE,
    DM_UPOLICY_COMPRESSION
};

struct dm_upolicy {
    uint32_t type;
    dm_off config; /* struct dm_uapi_key, dm_uheaders, dm_uip_check, dm_ucors, dm_uclient_certificate,
                      dm_ucompression */
};

struct dm_uapi_key {
    struct dm_ustr header, query; /* names; "" = not looked for there */
    uint8_t in_basic;             /* Basic: the user name is the key, the password is empty */
    uint8_t is_forwarded;
    uint8_t unused[2];
    uint32_t unused2;
};

struct dm_uclient_certificate {
    struct dm_ustr forward_header; /* "" = none */
    uint32_t match;                /* bits of enum dm_certificate_match */
    uint32_t unused;
};

enum dm_uheader_op { DM_UHEADER_SET = 1, DM_UHEADER_ADD, DM_UHEADER_PUSH, DM_UHEADER_DELETE };

struct dm_uheader {
    uint32_t op;
    uint32_t unused;
    struct dm_ustr name, value;
};

struct dm_uheaders {
    dm_off request, response;
    uint32_t n_request, n_response;
};

struct dm_urange {
    uint8_t first[16], last[16]; /* IPv4 as v4-mapped IPv6 */
};

struct dm_uip_check {
    uint32_t is_allow_list;
    uint32_t n_ranges;
    dm_off ranges; /* sorted by first, not overlapping */
    uint32_t unused;
};

struct dm_ucors {
    dm_off origins; /* struct dm_ustr[]; n 0 with any_origin */
    uint32_t n_origins;
    uint8_t any_origin, allow_credentials, unused[2];
    struct dm_ustr allow_methods, allow_headers,
        expose_headers; /* ready field values; "" = mirror the request / none */
    int32_t max_age_s;  /* -1 = not sent */
    uint32_t unused2;
};

enum dm_ucoding { DM_UCODING_NONE, DM_UCODING_GZIP, DM_UCODING_BR };
#define DM_UCODINGS 2

struct dm_ucompression {
    uint8_t codings[DM_UCODINGS]; /* enum dm_ucoding, the preferred one first; NONE behind the last */
    uint8_t level;                /* 0 = the coding's own */
    uint8_t with_credentials;
    uint32_t n_types;
    dm_off types; /* struct dm_ustr[]: media ranges, lower case */
    uint32_t unused;
    uint64_t min_bytes;
};

/* Its path is of whole segments; rules and mounts are relative to it. */
struct dm_uversion {
    struct dm_ustr path; /* without a trailing slash; "" for the root; longest first in the product's array */
    struct dm_ustr name;
    uint64_t id;
    dm_off policies, rules, mounts, errors;
    dm_off upgrades; /* struct dm_ustr[]: protocols that are let through, lower case */
    uint32_t n_policies, n_mounts, n_errors, n_upgrades;
    uint32_t unused;
};

struct dm_uproduct {
    uint64_t id;
    struct dm_ustr name;
    dm_off domains; /* struct dm_ustr[] */
    dm_off versions, metrics, plans;
    uint32_t n_domains, n_versions, n_metrics, n_plans;
};

#endif
