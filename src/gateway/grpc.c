#include "gateway/grpc.h"

#include "base/err.h"

#define CONTENT_TYPE DM_STR("application/grpc")
#define TIMEOUT_DIGITS_MAX 8
#define TIMEOUT_VALUE_MAX 99999999u

static const struct unit {
    char name;
    uint64_t ns;
} units[] = {{'n', 1},
             {'u', 1000},
             {'m', 1000000},
             {'S', 1000000000},
             {'M', 60 * (uint64_t)1000000000},
             {'H', 3600 * (uint64_t)1000000000}};

bool dm_grpc_is(struct dm_str content_type)
{
    struct dm_str rest;

    if (content_type.len < CONTENT_TYPE.len || !dm_str_ieq(dm_str_n(content_type.ptr, CONTENT_TYPE.len), CONTENT_TYPE))
        return false;
    rest = dm_str_skip(content_type, CONTENT_TYPE.len);
    return rest.len == 0 || rest.ptr[0] == '+' || rest.ptr[0] == ';' || rest.ptr[0] == ' ';
}

static enum dm_grpc_status of_http_status(int status)
{
    switch (status) {
    case 400: return DM_GRPC_INTERNAL;
    case 401: return DM_GRPC_UNAUTHENTICATED;
    case 403: return DM_GRPC_PERMISSION_DENIED;
    case 404: return DM_GRPC_UNIMPLEMENTED;
    case 408:
    case 504: return DM_GRPC_DEADLINE_EXCEEDED;
    case 413:
    case 414:
    case 429:
    case 431: return DM_GRPC_RESOURCE_EXHAUSTED;
    case 500: return DM_GRPC_INTERNAL;
    case 501: return DM_GRPC_UNIMPLEMENTED;
    case 421:
    case 502:
    case 503: return DM_GRPC_UNAVAILABLE;
    default: return DM_GRPC_UNKNOWN;
    }
}

enum dm_grpc_status dm_grpc_status_of(enum dm_reason reason)
{
    return reason == DM_REASON_TENANT_OVER_CAP ? DM_GRPC_RESOURCE_EXHAUSTED
                                               : of_http_status(dm_reason_info(reason)->status);
}

/* What a client of gRPC makes of the same RST_STREAM. */
static enum dm_grpc_status of_reset(int code)
{
    switch (code) {
    case DM_HTTP2_CODE_CANCEL: return DM_GRPC_CANCELLED;
    case DM_HTTP2_CODE_CALM: return DM_GRPC_RESOURCE_EXHAUSTED;
    case DM_HTTP2_CODE_SECURITY: return DM_GRPC_PERMISSION_DENIED;
    default: return DM_GRPC_INTERNAL;
    }
}

enum dm_grpc_status dm_grpc_status_of_end(struct dm_http_end end)
{
    switch (end.why) {
    case DM_HTTP_ABORT_CANCELLED: return of_reset(end.error);
    case DM_HTTP_ABORT_FAULT:
    case DM_HTTP_ABORT_TOO_LARGE: return DM_GRPC_INTERNAL;
    case DM_HTTP_ABORT_CONNECT_TIMEOUT:
    case DM_HTTP_ABORT_RESPONSE_TIMEOUT:
    case DM_HTTP_ABORT_IDLE: return DM_GRPC_DEADLINE_EXCEEDED;
    default: return DM_GRPC_UNAVAILABLE;
    }
}

enum dm_http2_code dm_grpc_code_of_end(struct dm_http_end end)
{
    if (end.why == DM_HTTP_ABORT_CANCELLED && (end.error == DM_HTTP2_CODE_CANCEL || end.error == DM_HTTP2_CODE_CALM))
        return (enum dm_http2_code)end.error;
    return end.why == DM_HTTP_ABORT_IDLE ? DM_HTTP2_CODE_CANCEL : DM_HTTP2_CODE_INTERNAL;
}

unsigned dm_grpc_status_as_http(struct dm_str value)
{
    static const uint16_t statuses[] = {200, 499, 500, 400, 408, 404, 409, 403, 429,
                                        400, 409, 400, 501, 500, 503, 500, 401};
    uint64_t code;

    return dm_str_to_u64(value, &code) == 0 && code < DM_COUNT(statuses) ? statuses[code] : 500;
}

bool dm_grpc_is_status_field(struct dm_str name)
{
    return dm_str_ieq(name, DM_STR("grpc-status")) || dm_str_ieq(name, DM_STR("grpc-message")) ||
           dm_str_ieq(name, DM_STR("grpc-status-details-bin"));
}

static void write_percent_encoded(struct dm_buf *out, struct dm_str text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        if (c >= 0x20 && c <= 0x7E && c != '%') {
            dm_buf_add_char(out, (char)c);
        } else {
            dm_buf_add_char(out, '%');
            dm_buf_add_char(out, digits[c >> 4]);
            dm_buf_add_char(out, digits[c & 15]);
        }
    }
}

void dm_grpc_write_status(struct dm_buf *fields, enum dm_grpc_status status, struct dm_str message)
{
    dm_buf_printf(fields, "grpc-status: %u\r\ngrpc-message: ", (unsigned)status);
    write_percent_encoded(fields, message);
    dm_buf_add_lit(fields, "\r\n");
}

int dm_grpc_timeout_read(struct dm_str value, uint64_t *ret_ns)
{
    uint64_t number = 0;

    if (value.len < 2 || value.len > TIMEOUT_DIGITS_MAX + 1)
        return DM_EINVAL;
    for (size_t i = 0; i + 1 < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return DM_EINVAL;
        number = number * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    for (size_t i = 0; i < DM_COUNT(units); i++) {
        if (units[i].name != value.ptr[value.len - 1])
            continue;
        *ret_ns = number > UINT64_MAX / units[i].ns ? UINT64_MAX : number * units[i].ns;
        return 0;
    }
    return DM_EINVAL;
}

void dm_grpc_timeout_write(struct dm_buf *ret, uint64_t ns)
{
    size_t i = 0;

    ns = DM_MAX(ns, (uint64_t)1);
    while (i + 1 < DM_COUNT(units) && ns / units[i].ns > TIMEOUT_VALUE_MAX)
        i++;
    dm_buf_printf(ret, "%llu%c", (unsigned long long)DM_MIN(ns / units[i].ns, (uint64_t)TIMEOUT_VALUE_MAX),
                  units[i].name);
}
