/* Reasons: the stable codes of every answer that the gateway makes itself, and of exchanges that end without a whole one.
 * Codes appear in problem details, access log, metrics and error overrides; they are never renamed or reused. */
#ifndef DM_MODEL_REASON_H
#define DM_MODEL_REASON_H

#include "base/str.h"

enum dm_reason {
    DM_REASON_NONE, /* the backend's answer was passed on */
    /* the request itself */
    DM_REASON_BAD_REQUEST,
    DM_REASON_URI_TOO_LONG,
    DM_REASON_HEADER_TOO_LARGE,
    DM_REASON_BODY_TOO_LARGE,
    DM_REASON_EXPECTATION_FAILED,
    DM_REASON_HTTP_VERSION,
    DM_REASON_REQUEST_TIMEOUT,
    /* the connection that it came on */
    DM_REASON_MISDIRECTED_REQUEST,
    DM_REASON_CLIENT_CERTIFICATE_REQUIRED,
    DM_REASON_CLIENT_CERTIFICATE_INVALID,
    /* route */
    DM_REASON_HOST_UNKNOWN,
    DM_REASON_TENANT_SUSPENDED,
    DM_REASON_NO_RELEASE,
    DM_REASON_NO_VERSION,
    DM_REASON_NO_MAPPING_RULE,
    DM_REASON_NO_BACKEND,
    DM_REASON_UPGRADE_NOT_ALLOWED,
    /* policies and plans */
    DM_REASON_IP_DENIED,
    DM_REASON_AUTH_MISSING,
    DM_REASON_AUTH_INVALID,
    DM_REASON_APPLICATION_SUSPENDED,
    DM_REASON_NOT_SUBSCRIBED,
    DM_REASON_LIMIT_EXCEEDED,
    DM_REASON_RATE_LIMITED,
    /* fairness */
    DM_REASON_TENANT_OVER_CAP,
    DM_REASON_OVERLOADED,
    DM_REASON_TOO_MANY_CONNECTIONS,
    DM_REASON_TOO_MANY_STREAMS,
    DM_REASON_CELL_UNAVAILABLE,
    /* backend */
    DM_REASON_NO_ENDPOINT,
    DM_REASON_BACKEND_UNRESOLVED,
    DM_REASON_EGRESS_NOT_APPROVED,
    DM_REASON_BACKEND_UNREACHABLE,
    DM_REASON_BACKEND_TLS,
    DM_REASON_BACKEND_TIMEOUT,
    DM_REASON_BACKEND_BAD_RESPONSE,
    DM_REASON_BACKEND_NOT_GRPC,
    DM_REASON_CIRCUIT_OPEN,
    DM_REASON_BACKEND_BUSY,
    /* ourselves */
    DM_REASON_INTERNAL_ERROR,
    /* not answers: how an exchange ended after its answer had begun, or without anyone to answer */
    DM_REASON_CLIENT_CLOSED,
    DM_REASON_BACKEND_CLOSED,
    DM_REASON_TUNNEL_IDLE,
    DM_REASON_TUNNEL_EXPIRED,
    DM_REASON_DRAINING,
    DM_REASON_COUNT,
};

enum dm_reason_who { DM_WHO_NOBODY, DM_WHO_CALLER, DM_WHO_TENANT, DM_WHO_MASTER, DM_WHO_OPERATOR };

struct dm_reason_info {
    const char *code;       /* "limit_exceeded"; "" of NONE */
    int status;             /* 0 when it is not an answer */
    const char *title;      /* RFC 9457 title */
    const char *detail;     /* one sentence for the caller */
    enum dm_reason_who who; /* who can change it */
    const char *fix;        /* what they look at, for the reference and the console */
    bool is_worded;         /* a version may set status, content type and body (error_override) */
};

/* Never NULL for a value of the enum. Static storage. */
const struct dm_reason_info *dm_reason_info(enum dm_reason reason);
/* By code; DM_REASON_NONE when there is none such. */
enum dm_reason dm_reason_of(struct dm_str code);
/* "the caller", "the tenant's admin", … */
const char *dm_reason_who_name(enum dm_reason_who who);
/* Codes that may be worded, NULL-terminated. */
extern const char *const dm_reason_worded[];

#endif
