#include "http/method.h"

static const struct dm_str names[DM_HTTP_METHOD_COUNT] = {
    [DM_HTTP_METHOD_OTHER] = {"", 0},      [DM_HTTP_METHOD_GET] = {"GET", 3},
    [DM_HTTP_METHOD_HEAD] = {"HEAD", 4},   [DM_HTTP_METHOD_POST] = {"POST", 4},
    [DM_HTTP_METHOD_PUT] = {"PUT", 3},     [DM_HTTP_METHOD_DELETE] = {"DELETE", 6},
    [DM_HTTP_METHOD_PATCH] = {"PATCH", 5}, [DM_HTTP_METHOD_OPTIONS] = {"OPTIONS", 7},
    [DM_HTTP_METHOD_TRACE] = {"TRACE", 5}, [DM_HTTP_METHOD_CONNECT] = {"CONNECT", 7},
};

enum dm_http_method dm_http_method_of(struct dm_str name)
{
    for (unsigned i = DM_HTTP_METHOD_OTHER + 1; i < DM_HTTP_METHOD_COUNT; i++)
        if (dm_str_eq(names[i], name))
            return (enum dm_http_method)i;
    return DM_HTTP_METHOD_OTHER;
}

bool dm_http_method_is_lower(struct dm_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] >= 'a' && name.ptr[i] <= 'z')
            return true;
    return false;
}

struct dm_str dm_http_method_name(enum dm_http_method method)
{
    return (unsigned)method < DM_HTTP_METHOD_COUNT ? names[method] : names[DM_HTTP_METHOD_OTHER];
}

bool dm_http_method_is_idempotent(enum dm_http_method method)
{
    switch (method) {
    case DM_HTTP_METHOD_GET:
    case DM_HTTP_METHOD_HEAD:
    case DM_HTTP_METHOD_PUT:
    case DM_HTTP_METHOD_DELETE:
    case DM_HTTP_METHOD_OPTIONS:
    case DM_HTTP_METHOD_TRACE: return true;
    default: return false;
    }
}
