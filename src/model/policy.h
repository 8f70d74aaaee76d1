/* Policies: the steps of a version's chain, as one struct with a tag. Each type has its file policy_<type>.c. */
#ifndef DM_MODEL_POLICY_H
#define DM_MODEL_POLICY_H

#include "base/str.h"

struct dm_schema;

enum dm_policy_type {
    DM_POLICY_API_KEY,
    DM_POLICY_HEADERS,
    DM_POLICY_IP_CHECK,
    DM_POLICY_CORS,
    DM_POLICY_CLIENT_CERTIFICATE,
    DM_POLICY_COMPRESSION
};
extern const char *const dm_policy_type_names[];

/* Places of a credential; asked in this order, the first that carries one counts. */
enum dm_key_place { DM_KEY_IN_HEADER = 1, DM_KEY_IN_QUERY = 2, DM_KEY_IN_BASIC = 4 };

struct dm_policy_api_key {
    unsigned in; /* bits of enum dm_key_place */
    struct dm_str query;
    struct dm_str header;
    bool forward; /* the backend sees the key */
};

enum dm_header_op_kind {
    DM_HEADER_SET,    /* one field with this value, whatever was there */
    DM_HEADER_ADD,    /* another field with this value, only if there is one already */
    DM_HEADER_PUSH,   /* another field with this value */
    DM_HEADER_DELETE, /* none */
};
extern const char *const dm_header_op_names[];

struct dm_header_op {
    int op; /* enum dm_header_op_kind */
    struct dm_str name;
    struct dm_str value; /* "" with DELETE */
};

struct dm_policy_headers {
    struct dm_header_op *request;
    size_t n_request;
    struct dm_header_op *response;
    size_t n_response;
};

enum dm_ip_mode { DM_IP_ALLOW, DM_IP_DENY };
extern const char *const dm_ip_mode_names[];

struct dm_policy_ip_check {
    int mode;                 /* enum dm_ip_mode: only these, or all but these */
    struct dm_str *addresses; /* for dm_cidr_parse */
    size_t n_addresses;
};

struct dm_policy_cors {
    struct dm_str *allow_origins; /* "*" alone, or origins */
    size_t n_allow_origins;
    struct dm_str *allow_methods; /* none = what the preflight asks for */
    size_t n_allow_methods;
    struct dm_str *allow_headers; /* none = what the preflight asks for */
    size_t n_allow_headers;
    struct dm_str *expose_headers;
    size_t n_expose_headers;
    bool allow_credentials;
    int64_t max_age_s; /* -1 = not sent */
};

/* What of a caller's certificate is looked up; asked in this order. */
enum dm_certificate_match { DM_MATCH_FINGERPRINT = 1, DM_MATCH_SUBJECT = 2 };

struct dm_policy_client_certificate {
    unsigned match;               /* bits of enum dm_certificate_match */
    struct dm_str forward_header; /* "" = the backend gets nothing */
};

struct dm_policy_compression {
    struct dm_str *algorithms; /* of dm_compression_algorithm_names; none = br, gzip */
    size_t n_algorithms;
    struct dm_str *content_types; /* media ranges; none = dm_compression_default_types */
    size_t n_content_types;
    int64_t min_bytes;
    int64_t level; /* 0 = the algorithm's own */
    bool with_credentials;
};
extern const char *const dm_compression_algorithm_names[];
extern const char *const dm_compression_default_types[]; /* NULL-terminated */

struct dm_policy {
    int type; /* enum dm_policy_type */
    union {
        struct dm_policy_api_key api_key;
        struct dm_policy_headers headers;
        struct dm_policy_ip_check ip_check;
        struct dm_policy_cors cors;
        struct dm_policy_client_certificate client_certificate;
        struct dm_policy_compression compression;
    };
};

#define DM_POLICIES_MAX 64
#define DM_HEADER_OPS_MAX 64
#define DM_IP_ADDRESSES_MAX 1024
#define DM_CORS_LIST_MAX 64
#define DM_COMPRESSION_ALGORITHMS_MAX 2
#define DM_COMPRESSION_TYPES_MAX 64

extern const struct dm_schema dm_schema_policy; /* the union */
extern const struct dm_schema dm_schema_header_op;

/* Decides who calls; a version has exactly one such policy. */
static inline bool dm_policy_is_authentication(int type)
{
    return type == DM_POLICY_API_KEY || type == DM_POLICY_CLIENT_CERTIFICATE;
}

#endif
