#include "model/backend.h"
#include "model/certificate.h"
#include "model/field.h"
#include "model/format.h"

static const struct dm_field endpoint_fields[] = {
    {"host", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint, host), .max = DM_HOST_NAME_MAX,
     .format = &dm_format_endpoint_host,
     .doc =
         "Name, address or Unix socket. Whatever a name resolves to must lie within the tenant's grants when a connection "
         "is made."},
    {"port", DM_FIELD_INT, DM_FIELD_REQUIRED, DM_AT(struct dm_endpoint, port), .max = 65535,
     .doc = "Port; 0 with a Unix socket and nothing else."},
    {"weight", DM_FIELD_INT, 0, DM_AT(struct dm_endpoint, weight), .max = 1000, .def_int = 1,
     .doc = "Share of the requests in proportion to the other endpoints; 0 takes no new ones."},
};

static void check_endpoint(const void *object, struct dm_check *check)
{
    const struct dm_endpoint *endpoint = object;
    bool is_unix = dm_unix_path(endpoint->host).ptr != NULL;

    if (is_unix && endpoint->port != 0)
        dm_check_fail(check, "/port", "must be 0 with a Unix socket, found %lld", (long long)endpoint->port);
    if (!is_unix && endpoint->port == 0)
        dm_check_fail(check, "/port", "must be between 1 and 65535, found 0");
}

const struct dm_schema dm_schema_endpoint = {
    .name = "Endpoint",
    .doc = "One address of a backend.",
    DM_FIELDS(endpoint_fields),
    .struct_bytes = sizeof(struct dm_endpoint),
    .validate = check_endpoint,
};

const char *const dm_backend_protocol_names[] = {"http1", "http2", NULL};

static void check_tls(const void *object, struct dm_check *check)
{
    const struct dm_backend_tls *tls = object;

    if (!tls->verify && tls->ca.len > 0)
        dm_check_fail(check, "/ca", "must be left out when verify is false");
}

static const struct dm_field tls_fields[] = {
    {"verify", DM_FIELD_BOOL, 0, DM_AT(struct dm_backend_tls, verify), .def_int = 1,
     .doc = "The backend's certificate must lead to an authority in `ca` and name the server; otherwise `backend_tls`. "
            "Without it whoever stands in between can read and change everything."},
    {"ca", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_backend_tls, ca), .max = DM_CA_BUNDLE_BYTES,
     .format = &dm_format_pem,
     .doc = "Certificates of the authorities that are trusted. Left out: those of the gateway's system. Those of all "
            "backends of the tenant together are at most 512 KiB, equal ones counted once."},
    {"server_name", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_backend_tls, server_name), .max = DM_HOST_NAME_MAX,
     .format = &dm_format_host,
     .doc = "The name that is asked for (SNI) and that the certificate must have. Left out: the endpoint's host."},
    {"client_certificate", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_backend_tls, client_certificate),
     .max = DM_NAME_MAX, .format = &dm_format_name,
     .doc = "Name of a certificate of the tenant that the backend is shown when it asks."},
};

const struct dm_schema dm_schema_backend_tls = {
    .name = "BackendTls",
    .doc = "How connections to a backend are secured.",
    DM_FIELDS(tls_fields),
    .struct_bytes = sizeof(struct dm_backend_tls),
    .validate = check_tls,
};

/* --- containment -------------------------------------------------------------------------------------------------- */

#define TIMEOUT_MAX_MS 3600000

const char *const dm_breaker_mode_names[] = {"auto", "closed", "open", NULL};
const char *const dm_breaker_statuses_names[] = {"none", "unavailable", "server_errors", NULL};

static const struct dm_field breaker_fields[] = {
    {"mode", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_breaker, mode), .names = dm_breaker_mode_names,
     .doc =
         "`auto` judges by what calls come to; `open` refuses all calls until it is changed, `closed` none, whatever "
         "they come to."},
    {"consecutive_failures", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, consecutive_failures), .min = 1,
     .max = 1000, .def_int = 10, .doc = "So many failed calls behind one another open it."},
    {"failure_percent", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, failure_percent), .min = 1, .max = 100,
     .def_int = 50, .doc = "Such a share of failed calls among those of the window opens it."},
    {"failure_statuses", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_breaker, failure_statuses),
     .names = dm_breaker_statuses_names, .def_int = DM_BREAKER_UNAVAILABLE,
     .doc =
         "Which statuses of answers are failures: `unavailable` is 502, 503 and 504, `server_errors` is 500 and above. "
         "No connection, no answer in time, and answers that are malformed or cut always are."},
    {"slow_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, slow_ms), .max = TIMEOUT_MAX_MS,
     .doc = "A call whose answer begins later than this, from the end of the request, is slow. 0: none is."},
    {"slow_percent", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, slow_percent), .min = 1, .max = 100,
     .def_int = 80, .doc = "Such a share of slow calls among those of the window opens it."},
    {"window_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, window_ms), .min = 1000, .max = 600000,
     .def_int = 10000, .doc = "Over which time shares are taken; it slides in steps of a tenth."},
    {"min_requests", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, min_requests), .min = 1, .max = 1000000,
     .def_int = 50, .doc = "With fewer calls in the window shares say nothing."},
    {"open_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, open_ms), .min = 10, .max = TIMEOUT_MAX_MS,
     .def_int = 1000,
     .doc =
         "How long it stays open before a call is let through to see whether the backend is back; twice as long each "
         "time it opens again soon."},
    {"open_max_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, open_max_ms), .min = 10, .max = TIMEOUT_MAX_MS,
     .def_int = 30000, .doc = "The longest of these times."},
    {"probes", DM_FIELD_INT, 0, DM_AT(struct dm_backend_breaker, probes), .min = 1, .max = 100, .def_int = 1,
     .doc = "So many calls must go well before all are let through again; no more than that are made at a time."},
};

static void check_breaker(const void *object, struct dm_check *check)
{
    const struct dm_backend_breaker *breaker = object;

    if (breaker->open_max_ms < breaker->open_ms)
        dm_check_fail(check, "/open_max_ms", "must be at least open_ms, which is %lld, found %lld",
                      (long long)breaker->open_ms, (long long)breaker->open_max_ms);
}

const struct dm_schema dm_schema_backend_breaker = {
    .name = "BackendBreaker",
    .doc =
        "The circuit breaker of a backend: when calls to it fail, further ones are refused with 503 `circuit_open` before they "
        "cost anything, until one that is let through goes well. Each worker process of a gateway judges by the calls that it makes, and "
        "what one finds holds for all of them. A caller that goes away is no failure. Changing `mode` opens or closes it by hand.",
    DM_FIELDS(breaker_fields),
    .struct_bytes = sizeof(struct dm_backend_breaker),
    .validate = check_breaker,
};

static const struct dm_field retry_fields[] = {
    {"tries", DM_FIELD_INT, 0, DM_AT(struct dm_backend_retry, tries), .min = 1, .max = 10, .def_int = 3,
     .doc = "How often one request is tried at most, the first time among them; 1 is never again."},
    {"budget_percent", DM_FIELD_INT, 0, DM_AT(struct dm_backend_retry, budget_percent), .max = 100, .def_int = 20,
     .doc = "Retries are at most this share of the requests of the last 10 to 20 seconds."},
    {"budget_min", DM_FIELD_INT, 0, DM_AT(struct dm_backend_retry, budget_min), .max = 1000000, .def_int = 30,
     .doc = "So many retries in that time are allowed in any case."},
};

const struct dm_schema dm_schema_backend_retry = {
    .name = "BackendRetry",
    .doc =
        "Requests that failed are sent again where that is safe: no connection could be made, the backend said that it never "
        "began it, or a kept connection broke before a byte of the answer and the method is idempotent. The budget keeps that from "
        "multiplying the load of a backend that fails; each worker process has its own. What a backend never began costs nothing of it.",
    DM_FIELDS(retry_fields),
    .struct_bytes = sizeof(struct dm_backend_retry),
};

static const char *const balance_methods[] = {"round_robin", "least_requests", "hash", NULL};
static const char *const balance_hashes[] = {"address", "application", "header", NULL};

static const struct dm_field balance_fields[] = {
    {"method", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_balance, method), .names = balance_methods,
     .doc =
         "`round_robin`: in turn, by weight. `least_requests`: of two by chance, the one with fewer requests in flight for its "
         "weight. `hash`: those that have something in common go to the same one, as long as it is there."},
    {"hash_by", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_balance, hash_by), .names = balance_hashes,
     .doc =
         "What requests of one endpoint have in common: the caller's address, the application, or a header (the address "
         "where it is missing)."},
    {"header", DM_FIELD_STRING, 0, DM_AT(struct dm_backend_balance, header), .max = DM_HEADER_NAME_MAX,
     .format = &dm_format_header_name, .doc = "Its name, with `hash_by: header`."},
};

static void check_balance(const void *object, struct dm_check *check)
{
    const struct dm_backend_balance *balance = object;
    bool needs_header = balance->hash_by == DM_BALANCE_BY_HEADER;

    if (needs_header && balance->header.len == 0)
        dm_check_fail(check, "", "member 'header' is required with hash_by 'header'");
    if (!needs_header && balance->header.len > 0)
        dm_check_fail(check, "/header", "must be left out unless hash_by is 'header'");
}

const struct dm_schema dm_schema_backend_balance = {
    .name = "BackendBalance",
    .doc =
        "Which of several endpoints a request goes to. Each worker process decides for itself; with `hash` they all come to the same.",
    DM_FIELDS(balance_fields),
    .struct_bytes = sizeof(struct dm_backend_balance),
    .validate = check_balance,
};

static const struct dm_field outlier_fields[] = {
    {"consecutive_failures", DM_FIELD_INT, 0, DM_AT(struct dm_backend_outlier, consecutive_failures), .min = 1,
     .max = 1000, .def_int = 5,
     .doc =
         "So many failed calls behind one another put an endpoint out of turn; one that can't be connected to is at once."},
    {"eject_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_outlier, eject_ms), .min = 10, .max = TIMEOUT_MAX_MS,
     .def_int = 1000, .doc = "For how long; twice as long each time it fails again soon."},
    {"eject_max_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_outlier, eject_max_ms), .min = 10, .max = TIMEOUT_MAX_MS,
     .def_int = 30000, .doc = "The longest of these times."},
    {"max_percent", DM_FIELD_INT, 0, DM_AT(struct dm_backend_outlier, max_percent), .max = 100, .def_int = 50,
     .doc =
         "At most this share of the endpoints is out of turn for failed calls. When all are out, for whatever reason, all "
         "take turns."},
    {"slow_start_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_outlier, slow_start_ms), .max = TIMEOUT_MAX_MS,
     .def_int = 10000,
     .doc = "An endpoint that is back takes a tenth of its share at first and all of it after this time."},
};

static void check_outlier(const void *object, struct dm_check *check)
{
    const struct dm_backend_outlier *outlier = object;

    if (outlier->eject_max_ms < outlier->eject_ms)
        dm_check_fail(check, "/eject_max_ms", "must be at least eject_ms, which is %lld, found %lld",
                      (long long)outlier->eject_ms, (long long)outlier->eject_max_ms);
}

const struct dm_schema dm_schema_backend_outlier = {
    .name = "BackendOutlier",
    .doc = "Of several endpoints, one that fails gets no requests for a while. What a failure is, the breaker says.",
    DM_FIELDS(outlier_fields),
    .struct_bytes = sizeof(struct dm_backend_outlier),
    .validate = check_outlier,
};

static const char *const concurrency_limits[] = {"none", "adaptive", NULL};

static const struct dm_field concurrency_fields[] = {
    {"limit", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_concurrency, limit), .names = concurrency_limits,
     .doc =
         "`adaptive`: as many calls as the backend can do without a queue of its own, found out from how long they take."},
    {"min", DM_FIELD_INT, 0, DM_AT(struct dm_backend_concurrency, min), .min = 1, .max = 10000, .def_int = 2,
     .doc = "The limit of a worker process is never lower."},
    {"max", DM_FIELD_INT, 0, DM_AT(struct dm_backend_concurrency, max), .min = 1, .max = 10000, .def_int = 1000,
     .doc = "And never higher."},
};

static void check_concurrency(const void *object, struct dm_check *check)
{
    const struct dm_backend_concurrency *concurrency = object;

    if (concurrency->max < concurrency->min)
        dm_check_fail(check, "/max", "must be at least min, which is %lld, found %lld", (long long)concurrency->min,
                      (long long)concurrency->max);
}

const struct dm_schema dm_schema_backend_concurrency = {
    .name = "BackendConcurrency",
    .doc =
        "How many calls a backend is given at a time, until the heads of their answers. Above that requests wait in the tenant's queue "
        "(its caps `queue` and `queue_ms`), and are refused with 503 `backend_busy` beyond it. Each worker process finds a limit of its own.",
    DM_FIELDS(concurrency_fields),
    .struct_bytes = sizeof(struct dm_backend_concurrency),
    .validate = check_concurrency,
};

/* --- health ------------------------------------------------------------------------------------------------------- */

const char *const dm_health_type_names[] = {"http", "grpc", NULL};
const char *const dm_health_method_names[] = {"GET", "HEAD", "OPTIONS", NULL};

static const struct dm_field health_fields[] = {
    {"type", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_health, type), .names = dm_health_type_names,
     .doc = "`http`: a request, and the status of its answer. `grpc`: `grpc.health.v1.Health/Check`, which must say "
            "SERVING; the backend's protocol is `http2` then."},
    {"method", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend_health, method), .names = dm_health_method_names,
     .doc = "Method of the request."},
    {"path", DM_FIELD_STRING, 0, DM_AT(struct dm_backend_health, path), .max = DM_PATH_MAX, .def_str = "/",
     .format = &dm_format_path, .doc = "Path of the request, whole: `base_path` is not put before it."},
    {"service", DM_FIELD_STRING, 0, DM_AT(struct dm_backend_health, service), .max = DM_HEALTH_SERVICE_MAX,
     .format = &dm_format_grpc_service,
     .doc = "With `type: grpc`: the service that is asked for. Left out: the server as a whole."},
    {"status_min", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, status_min), .min = 200, .max = 599, .def_int = 200,
     .doc = "The lowest status of an answer that is well."},
    {"status_max", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, status_max), .min = 200, .max = 599, .def_int = 299,
     .doc = "The highest one."},
    {"interval_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, interval_ms), .min = 100, .max = TIMEOUT_MAX_MS,
     .def_int = 10000,
     .doc =
         "Time from a check of an endpoint to its next, by one gateway with all its workers; a tenth more or less, by chance."},
    {"timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, timeout_ms), .min = 10, .max = 60000,
     .def_int = 2000, .doc = "Time for a check as a whole, from the connection to the end of the answer."},
    {"unhealthy_threshold", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, unhealthy_threshold), .min = 1, .max = 100,
     .def_int = 3,
     .doc = "So many checks that fail behind one another put an endpoint out of turn; the very first one alone does."},
    {"healthy_threshold", DM_FIELD_INT, 0, DM_AT(struct dm_backend_health, healthy_threshold), .min = 1, .max = 100,
     .def_int = 2, .doc = "So many checks that pass behind one another put it back."},
};

static void check_health(const void *object, struct dm_check *check)
{
    const struct dm_backend_health *health = object;

    if (health->status_max < health->status_min)
        dm_check_fail(check, "/status_max", "must be at least status_min, which is %lld, found %lld",
                      (long long)health->status_min, (long long)health->status_max);
    if (health->timeout_ms > health->interval_ms)
        dm_check_fail(check, "/timeout_ms", "must be at most interval_ms, which is %lld, found %lld",
                      (long long)health->interval_ms, (long long)health->timeout_ms);
    if (health->service.len > 0 && health->type != DM_HEALTH_GRPC)
        dm_check_fail(check, "/service", "must be left out unless type is 'grpc'");
}

const struct dm_schema dm_schema_backend_health = {
    .name = "BackendHealth",
    .doc =
        "Each endpoint is asked now and then whether it is well, on a connection of its own that is made as those for requests "
        "are. One that is not gets no requests, unless none is. All backends of a tenant together may have 64 endpoints that are "
        "checked.",
    DM_FIELDS(health_fields),
    .struct_bytes = sizeof(struct dm_backend_health),
    .validate = check_health,
};

/* --- instead of the backend ----------------------------------------------------------------------------------------- */

static const char *const fallback_names[] = {"circuit_open", "unreachable", "timeout", NULL};

static const struct dm_field fallback_fields[] = {
    {"on", DM_FIELD_FLAGS, 0, DM_AT(struct dm_backend_fallback, on), .min = 1, .names = fallback_names,
     .def_int = (1 << DM_FALLBACK_CIRCUIT_OPEN | 1 << DM_FALLBACK_UNREACHABLE | 1 << DM_FALLBACK_TIMEOUT),
     .doc = "When: `circuit_open`; `unreachable`: no connection (`backend_unreachable`, `backend_unresolved`, "
            "`backend_tls`); `timeout`: no connection or no head of an answer in time (`backend_timeout`)."},
    {"status", DM_FIELD_INT, 0, DM_AT(struct dm_backend_fallback, status), .min = 200, .max = 599, .def_int = 200,
     .doc = "Status of the answer; with 204, 205 and 304 there is no body."},
    {"content_type", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_backend_fallback, content_type), .max = 128,
     .format = &dm_format_media_type, .doc = "Type of the body. Left out: text/plain; charset=utf-8."},
    {"body", DM_FIELD_STRING, 0, DM_AT(struct dm_backend_fallback, body), .max = DM_FALLBACK_BODY_MAX,
     .format = &dm_format_text_body, .doc = "Body, as it stands."},
};

static void check_fallback(const void *object, struct dm_check *check)
{
    const struct dm_backend_fallback *fallback = object;
    bool has_none = fallback->status == 204 || fallback->status == 205 || fallback->status == 304;

    if (has_none && fallback->body.len > 0)
        dm_check_fail(check, "/body", "must be left out with status %lld", (long long)fallback->status);
    if (fallback->content_type.len > 0 && fallback->body.len == 0)
        dm_check_fail(check, "/content_type", "must come with a body");
}

const struct dm_schema dm_schema_backend_fallback = {
    .name = "BackendFallback",
    .doc =
        "What callers get when the backend can't be used and nothing of an answer has come. It goes before the version's own wording of "
        "errors, and says the reason in `Daemun-Reason` as these do; gRPC calls get their status as always.",
    DM_FIELDS(fallback_fields),
    .struct_bytes = sizeof(struct dm_backend_fallback),
    .validate = check_fallback,
};

static void check_slow(const struct dm_backend *backend, struct dm_check *check)
{
    if (backend->breaker.slow_ms >= backend->response_timeout_ms)
        dm_check_fail(check, "/breaker/slow_ms", "must be less than response_timeout_ms, which is %lld, found %lld",
                      (long long)backend->response_timeout_ms, (long long)backend->breaker.slow_ms);
}

static void check_server_name(const struct dm_backend *backend, struct dm_check *check)
{
    if (!backend->tls || !backend->tls->verify || backend->tls->server_name.len > 0)
        return;
    for (size_t i = 0; i < backend->n_endpoints; i++) {
        if (dm_unix_path(backend->endpoints[i].host).ptr) {
            dm_check_fail(check, "/tls", "member 'server_name' is required when an endpoint is a Unix socket");
            return;
        }
    }
}

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
    check_server_name(backend, check);
    check_slow(backend, check);
    if (backend->health && backend->health->type == DM_HEALTH_GRPC && backend->protocol != DM_BACKEND_HTTP2)
        dm_check_fail(check, "/health/type", "must be 'http' unless protocol is 'http2'");
}

#define TUNNEL_IDLE_MAX_MS 86400000   /* a day */
#define TUNNEL_TOTAL_MAX_MS 604800000 /* a week */

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
     .doc =
         "The Host that the backend sees. Left out, it is the endpoint's host and port; `localhost` of a Unix socket."},
    {"protocol", DM_FIELD_ENUM, 0, DM_AT(struct dm_backend, protocol), .names = dm_backend_protocol_names,
     .doc =
         "What is spoken to it: HTTP/1.1, or HTTP/2 (over TLS by ALPN, in clear text with prior knowledge). gRPC needs "
         "`http2`."},
    {"tls", DM_FIELD_OBJECT, 0, DM_AT(struct dm_backend, tls), .sub = &dm_schema_backend_tls,
     .doc = "Connections are made with TLS, `{}` with its defaults. Left out: clear text."},
    {"connect_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, connect_timeout_ms), .min = 1, .max = 60000,
     .def_int = 1000, .doc = "Time for a connection to be made."},
    {"response_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, response_timeout_ms), .min = 1,
     .max = TIMEOUT_MAX_MS, .def_int = 30000,
     .doc = "Time from the end of the request to the head of the response; then `backend_timeout`."},
    {"total_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, total_timeout_ms), .max = TIMEOUT_MAX_MS,
     .doc =
         "Time from the head of the request to the head of the response, with all tries, connections and what the caller takes to "
         "send; then `backend_timeout`. 0 is without end: each try has its own."},
    {"idle_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, idle_timeout_ms), .min = 1, .max = TIMEOUT_MAX_MS,
     .def_int = 60000,
     .doc = "Longest silence within a body, other than of a gRPC call; an unused connection is kept as long."},
    {"tunnel_idle_timeout_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, tunnel_idle_timeout_ms), .min = 1,
     .max = TUNNEL_IDLE_MAX_MS, .def_int = 300000,
     .doc = "Longest silence of an upgraded connection (a WebSocket), or of a gRPC call, in both directions together."},
    {"tunnel_total_ms", DM_FIELD_INT, 0, DM_AT(struct dm_backend, tunnel_total_ms), .max = TUNNEL_TOTAL_MAX_MS,
     .doc = "Longest life of an upgraded connection; 0 is without end."},
    {"balance", DM_FIELD_EMBED, 0, DM_AT(struct dm_backend, balance), .sub = &dm_schema_backend_balance,
     .doc = "Which endpoint a request goes to."},
    {"outlier", DM_FIELD_EMBED, 0, DM_AT(struct dm_backend, outlier), .sub = &dm_schema_backend_outlier,
     .doc = "Which endpoints are passed over."},
    {"retry", DM_FIELD_EMBED, 0, DM_AT(struct dm_backend, retry), .sub = &dm_schema_backend_retry,
     .doc = "How often requests are sent again."},
    {"breaker", DM_FIELD_EMBED, 0, DM_AT(struct dm_backend, breaker), .sub = &dm_schema_backend_breaker,
     .doc = "When calls fail, no more are made for a while."},
    {"concurrency", DM_FIELD_EMBED, 0, DM_AT(struct dm_backend, concurrency), .sub = &dm_schema_backend_concurrency,
     .doc = "How many calls are made at a time."},
    {"health", DM_FIELD_OBJECT, 0, DM_AT(struct dm_backend, health), .sub = &dm_schema_backend_health,
     .doc = "Endpoints are asked whether they are well, `{}` with its defaults. Left out: they are not."},
    {"fallback", DM_FIELD_OBJECT, 0, DM_AT(struct dm_backend, fallback), .sub = &dm_schema_backend_fallback,
     .doc = "The answer when it can't be used. Left out: the gateway's own, with the reason."},
};

const struct dm_schema dm_schema_backend = {
    .name = "Backend",
    .doc = "A private upstream of the tenant: one service at one or more endpoints.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_backend),
    .validate = check_backend,
};
