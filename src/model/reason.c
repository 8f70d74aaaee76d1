#include "model/reason.h"

#define WORDED true
#define FIXED false

static const struct dm_reason_info infos[DM_REASON_COUNT] = {
    [DM_REASON_NONE] = {"", 0, "", "", DM_WHO_NOBODY, "", FIXED},

    [DM_REASON_BAD_REQUEST] = {"bad_request", 400, "Malformed request",
                               "The request does not follow HTTP; `fault` says in which way.", DM_WHO_CALLER,
                               "The client library or a proxy in between; the fault is named in the answer.", FIXED},
    [DM_REASON_URI_TOO_LONG] = {"uri_too_long", 414, "Target too long", "The request target is longer than allowed.",
                                DM_WHO_CALLER, "A shorter path or query, or the listener's limit.", FIXED},
    [DM_REASON_HEADER_TOO_LARGE] = {"header_too_large", 431, "Header too large",
                                    "The header fields are larger or more than allowed.", DM_WHO_CALLER,
                                    "Cookies and tokens that have grown, or the listener's limit.", FIXED},
    [DM_REASON_BODY_TOO_LARGE] = {"body_too_large", 413, "Body too large", "The request body is larger than allowed.",
                                  DM_WHO_CALLER, "A smaller body, or the limit that is in force.", WORDED},
    [DM_REASON_EXPECTATION_FAILED] = {"expectation_failed", 417, "Expectation not known",
                                      "Only `Expect: 100-continue` is known.", DM_WHO_CALLER, "The Expect header.",
                                      FIXED},
    [DM_REASON_HTTP_VERSION] = {"http_version", 505, "HTTP version not supported",
                                "The protocol version of the request is not supported.", DM_WHO_CALLER,
                                "The client's protocol version.", FIXED},
    [DM_REASON_REQUEST_TIMEOUT] = {"request_timeout", 408, "Request too slow", "The request did not arrive in time.",
                                   DM_WHO_CALLER, "The client's network, or the listener's timeouts.", FIXED},

    [DM_REASON_MISDIRECTED_REQUEST] =
        {"misdirected_request", 421, "Wrong connection for this host",
         "The connection was opened for another host name, under which this one may not be asked for, or has no TLS "
         "though https was asked for.",
         DM_WHO_CALLER,
         "A connection of its own for each host name; which names may share one, the domains of the tenant say.",
         FIXED},
    [DM_REASON_CLIENT_CERTIFICATE_REQUIRED] =
        {"client_certificate_required", 403, "Client certificate required",
         "This host name serves only connections that show a client certificate.", DM_WHO_CALLER,
         "The client's certificate, https instead of http, and client_certificate of the domain.", FIXED},
    [DM_REASON_CLIENT_CERTIFICATE_INVALID] =
        {"client_certificate_invalid", 403, "Client certificate not accepted",
         "The client certificate of the connection is not one that this host name accepts.", DM_WHO_CALLER,
         "The client's certificate, its dates and issuer, and client_ca of the domain.", FIXED},

    [DM_REASON_HOST_UNKNOWN] = {"host_unknown", 404, "Host not known", "No team serves this host name here.",
                                DM_WHO_MASTER, "The Host header, the tenant's grants and the domains of its products.",
                                FIXED},
    [DM_REASON_TENANT_SUSPENDED] = {"tenant_suspended", 403, "Service suspended",
                                    "The team that serves this host name is suspended.", DM_WHO_MASTER,
                                    "The state of the tenant.", FIXED},
    [DM_REASON_NO_RELEASE] = {"no_release", 503, "Nothing released yet",
                              "The team that serves this host name has released nothing for it yet.", DM_WHO_TENANT,
                              "A product with this domain, and whether it is live on this gateway.", FIXED},
    [DM_REASON_NO_VERSION] = {"no_version", 404, "No version at this path",
                              "No version of a product is at this path of the host.", DM_WHO_TENANT,
                              "The path of the request and the paths of the product's versions.", FIXED},
    [DM_REASON_NO_MAPPING_RULE] = {"no_mapping_rule", 404, "No mapping rule matched",
                                   "No mapping rule matches the method and path of the request.", DM_WHO_TENANT,
                                   "Method and path of the request and the version's mapping rules.", WORDED},
    [DM_REASON_NO_BACKEND] = {"no_backend", 404, "No backend at this path",
                              "No backend is mounted at this path of the version.", DM_WHO_TENANT,
                              "The version's backends and their paths.", WORDED},
    [DM_REASON_UPGRADE_NOT_ALLOWED] = {"upgrade_not_allowed", 403, "Upgrade not allowed",
                                       "The connection may not be upgraded to this protocol here.", DM_WHO_TENANT,
                                       "The Upgrade header of the request and the upgrades of the version.", WORDED},

    [DM_REASON_IP_DENIED] = {"ip_denied", 403, "Address not allowed", "The caller's address may not call this.",
                             DM_WHO_TENANT, "The version's ip_check policy and the caller's address.", WORDED},
    [DM_REASON_AUTH_MISSING] = {"auth_missing", 401, "Authentication parameters missing",
                                "The request carries no credential where one is expected.", DM_WHO_CALLER,
                                "The places of the key in the version's api_key policy.", WORDED},
    [DM_REASON_AUTH_INVALID] = {"auth_invalid", 403, "Authentication failed",
                                "The credential of the request is not known here.", DM_WHO_CALLER,
                                "The key, and the credentials of the tenant's applications.", WORDED},
    [DM_REASON_APPLICATION_SUSPENDED] = {"application_suspended", 403, "Application suspended",
                                         "The application that calls is suspended.", DM_WHO_TENANT,
                                         "The state of the application.", WORDED},
    [DM_REASON_NOT_SUBSCRIBED] = {"not_subscribed", 403, "Not subscribed",
                                  "The application that calls has no plan of this product.", DM_WHO_TENANT,
                                  "The application's subscriptions.", WORDED},
    [DM_REASON_LIMIT_EXCEEDED] = {"limit_exceeded", 429, "Limit exceeded",
                                  "The application has used up a limit of its plan; Retry-After says until when.",
                                  DM_WHO_TENANT, "The limits of the application's plan and its usage.", WORDED},
    [DM_REASON_RATE_LIMITED] = {"rate_limited", 429, "Too many requests",
                                "The application calls faster than its plan allows; Retry-After says how long to wait.",
                                DM_WHO_CALLER, "The pace of the client, and the rate limits of the application's plan.",
                                WORDED},

    [DM_REASON_TENANT_OVER_CAP] = {"tenant_over_cap", 503, "Team over its cap",
                                   "The team that serves this host name holds as much of the gateway as it may.",
                                   DM_WHO_MASTER, "The caps of the tenant and what it holds.", FIXED},
    [DM_REASON_OVERLOADED] = {"overloaded", 503, "Overloaded",
                              "The team asks for more than the gateway can do for it in time.", DM_WHO_MASTER,
                              "The team's load and weight; number of workers and gateways; `--queue-delay-ms`.", FIXED},

    [DM_REASON_TOO_MANY_CONNECTIONS] =
        {"too_many_connections", 503, "Too many connections",
         "As many connections are open as the listener, or the team that serves this host name, may have.",
         DM_WHO_MASTER, "The caps of the tenant, the listener's limit, and clients that open more than they use.",
         FIXED},
    [DM_REASON_TOO_MANY_STREAMS] = {"too_many_streams", 0, "Too many requests on one connection",
                                    "The connection has as many requests in flight as it may have, and the stream was "
                                    "refused (HTTP/2: `REFUSED_STREAM`).",
                                    DM_WHO_CALLER,
                                    "The client's number of concurrent streams, and the caps of the tenant.", FIXED},

    [DM_REASON_CELL_UNAVAILABLE] =
        {"cell_unavailable", 503, "Team's workers are not there",
         "The worker processes that serve this team alone are not there for the moment.", DM_WHO_OPERATOR,
         "The gateway's log and `/status`: why the team's cell ended, and when it is started again.", FIXED},

    [DM_REASON_NO_ENDPOINT] = {"no_endpoint", 503, "No endpoint", "No endpoint of the backend takes requests.",
                               DM_WHO_TENANT, "The endpoints of the backend and their weights.", WORDED},
    [DM_REASON_BACKEND_UNRESOLVED] = {"backend_unresolved", 502, "Backend name does not resolve",
                                      "The name of the backend's endpoint has no address.", DM_WHO_TENANT,
                                      "The endpoint's host, and the resolver of the gateway.", WORDED},
    [DM_REASON_EGRESS_NOT_APPROVED] = {"egress_not_approved", 502, "Endpoint not approved",
                                       "The address of the backend's endpoint is not approved for this team.",
                                       DM_WHO_MASTER, "The endpoint's address and port, and the tenant's grants.",
                                       WORDED},
    [DM_REASON_BACKEND_UNREACHABLE] = {"backend_unreachable", 502, "Backend not reached",
                                       "No connection to the backend could be made.", DM_WHO_TENANT,
                                       "Whether the backend runs and listens on the endpoint's port.", WORDED},
    [DM_REASON_BACKEND_TLS] = {"backend_tls", 502, "TLS with the backend failed",
                               "The backend's certificate, or its TLS handshake, was refused.", DM_WHO_TENANT,
                               "`backend_tls_error` in the access log, which says what; `tls` of the backend.", WORDED},
    [DM_REASON_BACKEND_TIMEOUT] = {"backend_timeout", 504, "Backend too slow", "The backend did not answer in time.",
                                   DM_WHO_TENANT, "The backend, and its response and connect timeouts.", WORDED},
    [DM_REASON_BACKEND_BAD_RESPONSE] = {"backend_bad_response", 502, "Backend's answer malformed",
                                        "The backend closed early or its answer does not follow HTTP.", DM_WHO_TENANT,
                                        "The backend; the fault is named in the access log.", WORDED},

    [DM_REASON_BACKEND_NOT_GRPC] = {"backend_not_grpc", 501, "Backend does not take gRPC",
                                    "This is a gRPC call, and HTTP/1.1 is spoken to the backend.", DM_WHO_TENANT,
                                    "`protocol` of the backend, which gRPC needs to be `http2`.", WORDED},

    [DM_REASON_CIRCUIT_OPEN] =
        {"circuit_open", 503, "Backend held off",
         "Calls to the backend have failed lately, so none is made for the moment; Retry-After "
         "says how long.",
         DM_WHO_TENANT,
         "The backend; the event `circuit_opened` in the gateway's log says what failed; `breaker` "
         "of the backend, by which it can be closed by hand.",
         WORDED},

    [DM_REASON_BACKEND_BUSY] =
        {"backend_busy", 503, "Backend busy",
         "The backend has as many calls as it can do at a time, and the request could not wait for its turn.",
         DM_WHO_TENANT,
         "What the backend can do; `concurrency` of the backend; the tenant's caps `queue` and `queue_ms`, which are the master's.",
         WORDED},

    [DM_REASON_INTERNAL_ERROR] = {"internal_error", 500, "Internal error", "The gateway failed on this request.",
                                  DM_WHO_OPERATOR, "The gateway's log, by the request id.", FIXED},

    [DM_REASON_CLIENT_CLOSED] = {"client_closed", 0, "Caller went away",
                                 "The caller closed the connection before the exchange was over.", DM_WHO_CALLER,
                                 "The client's own timeout, or what is slow behind it.", FIXED},
    [DM_REASON_BACKEND_CLOSED] =
        {"backend_closed", 0, "Backend cut its answer",
         "The backend closed or fell silent within its answer, after its head had been passed on.", DM_WHO_TENANT,
         "The backend, and its idle timeout.", FIXED},
    [DM_REASON_TUNNEL_IDLE] = {"tunnel_idle", 0, "Tunnel silent for too long",
                               "Nothing went through the upgraded connection, in either direction, for too long.",
                               DM_WHO_TENANT,
                               "Pings of the client or the backend, and the backend's `tunnel_idle_timeout_ms`.",
                               FIXED},
    [DM_REASON_TUNNEL_EXPIRED] = {"tunnel_expired", 0, "Tunnel at the end of its time",
                                  "The upgraded connection has lived as long as it may.", DM_WHO_TENANT,
                                  "The backend's `tunnel_total_ms`.", FIXED},
    [DM_REASON_DRAINING] = {"draining", 503, "Gateway goes",
                            "The gateway was stopped or upgraded, and the time for what was open is over.",
                            DM_WHO_OPERATOR, "The gateway's `--drain-ms`.", FIXED},
};

const struct dm_reason_info *dm_reason_info(enum dm_reason reason)
{
    return &infos[(unsigned)reason < DM_REASON_COUNT ? reason : DM_REASON_INTERNAL_ERROR];
}

enum dm_reason dm_reason_of(struct dm_str code)
{
    for (int i = 1; i < DM_REASON_COUNT; i++) {
        if (dm_str_eq(dm_str_of(infos[i].code), code))
            return (enum dm_reason)i;
    }
    return DM_REASON_NONE;
}

const char *dm_reason_who_name(enum dm_reason_who who)
{
    static const char *const names[] = {"nobody", "the caller", "the tenant's admin", "the master", "the operator"};

    return names[who];
}

const char *const dm_reason_worded[] = {"body_too_large",      "no_mapping_rule",
                                        "no_backend",          "upgrade_not_allowed",
                                        "ip_denied",           "auth_missing",
                                        "auth_invalid",        "application_suspended",
                                        "not_subscribed",      "limit_exceeded",
                                        "rate_limited",        "no_endpoint",
                                        "backend_unresolved",  "egress_not_approved",
                                        "backend_unreachable", "backend_tls",
                                        "backend_timeout",     "backend_bad_response",
                                        "backend_not_grpc",    "circuit_open",
                                        "backend_busy",        NULL};
