/* Formats of strings: what a name, a host, a path or a header may look like. Each is checked, named in messages and shown
 * in OpenAPI by the same entry. */
#ifndef DM_MODEL_FORMAT_H
#define DM_MODEL_FORMAT_H

#include "base/buf.h"

struct dm_format {
    const char *name;    /* in OpenAPI's "format" and the reference */
    const char *pattern; /* ECMA 262 for OpenAPI, or NULL; never stricter than check */
    const char *doc;     /* "what it looks like", for the reference */
    /* True when right. Otherwise appends what was expected, starting with "must …"; the caller adds what was found. */
    bool (*check)(struct dm_str value, struct dm_buf *why);
};

#define DM_NAME_MAX 64
#define DM_HOST_NAME_MAX 253
#define DM_PATH_MAX 1024
#define DM_HEADER_NAME_MAX 128
#define DM_HEADER_VALUE_MAX 4096
#define DM_TEXT_MAX 1024 /* descriptions, comments */

extern const struct dm_format dm_format_name;   /* resource name: [a-z0-9] then [a-z0-9._-], ends in [a-z0-9] */
extern const struct dm_format dm_format_tenant; /* a name without '.' and '_', at most 63: fits DNS and file names */
extern const struct dm_format dm_format_metric; /* [A-Za-z0-9_.-/] as 3scale's system names */
extern const struct dm_format dm_format_domain; /* lower-case host name, wildcard "*." only leftmost */
extern const struct dm_format dm_format_host;   /* host name without wildcard, IPv4 or IPv6 address */
extern const struct dm_format dm_format_endpoint_host; /* the same or "unix:/absolute/path" */
extern const struct dm_format dm_format_approval;      /* what dm_format_cidr allows, or "unix:/absolute/path" */
extern const struct dm_format dm_format_host_port;     /* what may stand in a Host field */
extern const struct dm_format dm_format_path;          /* absolute, normalised, no query */
extern const struct dm_format dm_format_cidr;          /* address or address/prefix */
extern const struct dm_format dm_format_method;        /* HTTP method, upper case */
extern const struct dm_format dm_format_header;        /* a field that a policy may write */
extern const struct dm_format dm_format_header_key;    /* a field that carries a credential; '_' allowed */
extern const struct dm_format dm_format_header_name;   /* a field that is only named (CORS) */
extern const struct dm_format dm_format_header_value;
extern const struct dm_format dm_format_query_name;
extern const struct dm_format dm_format_grpc_service; /* "package.Service" */
extern const struct dm_format dm_format_upgrade;      /* a protocol of the Upgrade field, in lower case */
extern const struct dm_format dm_format_key;          /* API key: visible ASCII */
extern const struct dm_format dm_format_media_type;
extern const struct dm_format dm_format_origin;    /* scheme://host[:port], or "*" */
extern const struct dm_format dm_format_date;      /* YYYY-MM-DD */
extern const struct dm_format dm_format_time;      /* RFC 3339, UTC: 2026-11-01T12:00:00Z */
extern const struct dm_format dm_format_digest;    /* 64 hexadecimal digits, lower case */
extern const struct dm_format dm_format_pem;       /* blocks of "-----BEGIN …-----" in printable ASCII */
extern const struct dm_format dm_format_base64;    /* RFC 4648 section 4, padded */
extern const struct dm_format dm_format_subject;   /* distinguished name, RFC 2253 */
extern const struct dm_format dm_format_text;      /* no control bytes but newline and tab */
extern const struct dm_format dm_format_text_body; /* the same with carriage returns */

/* The path of "unix:/run/app.sock"; DM_STR_NULL of anything else. */
struct dm_str dm_unix_path(struct dm_str host);

/* Hop-by-hop (RFC 9110 7.6.1), framing, Host, or written by the gateway itself: no policy may set or delete it. */
bool dm_header_is_reserved(struct dm_str name);

#endif
