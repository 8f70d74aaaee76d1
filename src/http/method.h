/* Request methods. Method names are case-sensitive (RFC 9110 section 9.1); any other token is DM_HTTP_METHOD_OTHER. */
#ifndef DM_HTTP_METHOD_H
#define DM_HTTP_METHOD_H

#include "base/str.h"

enum dm_http_method {
    DM_HTTP_METHOD_OTHER = 0,
    DM_HTTP_METHOD_GET,
    DM_HTTP_METHOD_HEAD,
    DM_HTTP_METHOD_POST,
    DM_HTTP_METHOD_PUT,
    DM_HTTP_METHOD_DELETE,
    DM_HTTP_METHOD_PATCH,
    DM_HTTP_METHOD_OPTIONS,
    DM_HTTP_METHOD_TRACE,
    DM_HTTP_METHOD_CONNECT,
    DM_HTTP_METHOD_COUNT
};

enum dm_http_method dm_http_method_of(struct dm_str name);
/* Is there a small letter in it? Methods are told apart by case (section 9.1), but some servers read "post" as POST. */
bool dm_http_method_is_lower(struct dm_str name);
/* Static storage; "" for DM_HTTP_METHOD_OTHER. */
struct dm_str dm_http_method_name(enum dm_http_method method);
/* RFC 9110 section 9.2.2: may be sent again after a failure. False for DM_HTTP_METHOD_OTHER. */
bool dm_http_method_is_idempotent(enum dm_http_method method);

#endif
