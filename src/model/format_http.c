/* Formats of parts of HTTP: methods, fields, paths, media types. */
#include "model/format.h"
#include "model/format_int.h"

/* RFC 9110 section 5.6.2 */
static bool is_token_byte(char c)
{
    return dm_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct dm_str value)
{
    return value.len > 0 && dm_format_all(value, is_token_byte);
}

static bool is_upper(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool check_method(struct dm_str value, struct dm_buf *why)
{
    if (value.len == 0 || value.len > 32 || !dm_format_all(value, is_upper))
        return dm_buf_add_lit(why, "must be a method in upper case such as GET, or ANY"), false;
    if (dm_str_eq(value, DM_STR("CONNECT")))
        return dm_buf_add_lit(why, "must not be CONNECT, which the gateway refuses"), false;
    return true;
}

const struct dm_format dm_format_method = {"method", "^[A-Z_-]{1,32}$", "a method in upper case, or `ANY`",
                                           check_method};

static bool is_service_byte(char c)
{
    return dm_is_alnum(c) || c == '_' || c == '.';
}

static bool check_grpc_service(struct dm_str value, struct dm_buf *why)
{
    if (dm_format_all(value, is_service_byte))
        return true;
    return dm_buf_add_lit(why, "must be the full name of a service such as orders.v1.Orders"), false;
}

const struct dm_format dm_format_grpc_service = {"grpc-service", "^[A-Za-z0-9_.]*$",
                                                 "the full name of a gRPC service, such as `orders.v1.Orders`",
                                                 check_grpc_service};

/* h2c and tls would change what the gateway itself reads (RFC 9113 took h2c back; RFC 2817). */
static bool check_upgrade(struct dm_str value, struct dm_buf *why)
{
    for (size_t i = 0; i < value.len; i++) {
        if (is_upper(value.ptr[i]) && value.ptr[i] != '-' && value.ptr[i] != '_')
            return dm_buf_add_lit(why, "must be in lower case"), false;
    }
    if (!is_token(value))
        return dm_buf_add_lit(why, "must be the name of a protocol such as websocket"), false;
    if (dm_str_eq(value, DM_STR("h2c")) || dm_str_eq(value, DM_STR("tls")))
        return dm_buf_add_lit(why, "must not be h2c or tls, which the gateway never passes on"), false;
    return true;
}

const struct dm_format dm_format_upgrade = {"upgrade", "^[a-z0-9!#$%&'*+.^_`|~-]+$",
                                            "the name of a protocol in lower case, such as `websocket`", check_upgrade};

static bool is_one_of(const char *const *names, struct dm_str name)
{
    for (size_t i = 0; names[i]; i++) {
        if (dm_str_ieq(dm_str_of(names[i]), name))
            return true;
    }
    return false;
}

static const char *const framing_names[] = {"connection",
                                            "keep-alive",
                                            "proxy-connection",
                                            "proxy-authenticate",
                                            "proxy-authorization",
                                            "proxy-authentication-info",
                                            "te",
                                            "trailer",
                                            "transfer-encoding",
                                            "upgrade",
                                            "content-length",
                                            "host",
                                            "expect",
                                            "http2-settings",
                                            NULL};
static const char *const own_names[] = {
    "via",          "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
    "x-request-id", NULL};

bool dm_header_is_reserved(struct dm_str name)
{
    return is_one_of(framing_names, name) || is_one_of(own_names, name);
}

static bool check_header_name(struct dm_str value, struct dm_buf *why)
{
    if (is_token(value))
        return true;
    dm_buf_add_lit(why, "must be a header name: letters, digits, '-' and the like, without spaces and ':'");
    return false;
}

static bool check_header_key(struct dm_str value, struct dm_buf *why)
{
    if (!check_header_name(value, why))
        return false;
    if (is_one_of(framing_names, value))
        return dm_buf_add_lit(why, "must not be a header that frames the message or belongs to one connection"), false;
    if (is_one_of(own_names, value))
        return dm_buf_add_lit(why, "must not be a header that the gateway writes itself"), false;
    return true;
}

static bool check_header(struct dm_str value, struct dm_buf *why)
{
    if (!check_header_key(value, why))
        return false;
    if (dm_str_find(value, '_') < value.len)
        return dm_buf_add_lit(why, "must not have '_', which many servers take for '-'"), false;
    return true;
}

const struct dm_format dm_format_header_name = {"header-name", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "a header name",
                                                check_header_name};
const struct dm_format dm_format_header_key = {
    "header-key", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "a header name that neither frames the message (`Connection`, `Content-Length`, `Host`, …) nor is written by the "
    "gateway itself (`Via`, `X-Forwarded-For`, …)",
    check_header_key};
const struct dm_format dm_format_header = {
    "header", "^[A-Za-z0-9!#$%&'*+.^`|~-]+$",
    "a header name without `_` that neither frames the message (`Connection`, `Content-Length`, `Host`, …) nor is written "
    "by the gateway itself (`Via`, `X-Forwarded-For`, …)",
    check_header};

static bool is_value_byte(char c)
{
    return c == '\t' || (unsigned char)c >= 0x20;
}

static bool check_header_value(struct dm_str value, struct dm_buf *why)
{
    if (!dm_format_all(value, is_value_byte) || dm_str_find(value, 0x7F) < value.len)
        return dm_buf_add_lit(why, "must have no line breaks and no control characters"), false;
    if (dm_str_trim(value).len != value.len)
        return dm_buf_add_lit(why, "must not begin or end with a space or tab"), false;
    return true;
}

const struct dm_format dm_format_header_value = {
    "header-value", NULL, "text without line breaks, control characters and spaces at its ends", check_header_value};

static bool is_query_name_byte(char c)
{
    return dm_is_unreserved(c) || c == '[' || c == ']' || c == ':' || c == '@' || c == '$';
}

static bool check_query_name(struct dm_str value, struct dm_buf *why)
{
    if (value.len > 0 && dm_format_all(value, is_query_name_byte))
        return true;
    dm_buf_add_lit(why, "must be letters, digits and the characters - . _ ~ [ ] : @ $");
    return false;
}

const struct dm_format dm_format_query_name = {"query-name", "^[A-Za-z0-9._~\\[\\]:@$-]+$",
                                               "letters, digits and `- . _ ~ [ ] : @ $`", check_query_name};

static bool is_printable(char c)
{
    return c >= 0x20 && c < 0x7F;
}

static bool check_media_type(struct dm_str value, struct dm_buf *why)
{
    struct dm_str type = dm_str_trim(dm_str_n(value.ptr, dm_str_find(value, ';')));
    size_t slash = dm_str_find(type, '/');

    if (dm_format_all(value, is_printable) && slash < type.len && is_token(dm_str_n(type.ptr, slash)) &&
        is_token(dm_str_skip(type, slash + 1)))
        return true;
    dm_buf_add_lit(why, "must be a media type such as application/json or text/plain; charset=utf-8");
    return false;
}

const struct dm_format dm_format_media_type = {"media-type", "^[^/]+/[^/]+", "a media type such as `application/json`",
                                               check_media_type};

/* Appends why the escape at i is not in normal form; true when it is. */
static bool check_escape(struct dm_str value, size_t i, struct dm_buf *why)
{
    int byte = dm_escape_at(value, i);

    if (byte < 0)
        return dm_buf_add_lit(why, "must have two hexadecimal digits behind '%'"), false;
    if (byte < 0x20 || byte == 0x7F)
        return dm_buf_add_lit(why, "must not hold an escaped control character"), false;
    if (dm_is_unreserved((char)byte))
        return dm_buf_printf(why, "must have '%c' in place of its escape", byte), false;
    for (size_t d = i + 1; d <= i + 2; d++) {
        if (value.ptr[d] >= 'a' && value.ptr[d] <= 'f')
            return dm_buf_add_lit(why, "must have escapes in upper case"), false;
    }
    return true;
}

static bool check_segments(struct dm_str value, struct dm_buf *why)
{
    struct dm_str rest = dm_str_skip(value, 1), segment;

    while (dm_str_cut(&rest, '/', &segment)) {
        struct dm_str plain = dm_str_n(segment.ptr, dm_str_find(segment, ';'));

        if (segment.len == 0)
            return dm_buf_add_lit(why, "must not have an empty segment ('//')"), false;
        if (dm_str_eq(plain, DM_STR(".")) || dm_str_eq(plain, DM_STR("..")))
            return dm_buf_add_lit(why, "must not have a segment '.' or '..'"), false;
    }
    return true;
}

static bool check_path(struct dm_str value, struct dm_buf *why)
{
    if (value.len == 0 || value.ptr[0] != '/')
        return dm_buf_add_lit(why, "must start with '/'"), false;
    if (value.len == 1)
        return true;
    if (value.ptr[value.len - 1] == '/')
        return dm_buf_add_lit(why, "must not end with '/'"), false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (c == '?' || c == '#')
            return dm_buf_printf(why, "must be a path alone, without '%c'", c), false;
        if (c == '%' && !check_escape(value, i, why))
            return false;
        if (c != '%' && c != '/' && !dm_is_pchar(c))
            return dm_buf_add_lit(why, "must hold only characters of a path; others as %XX of their UTF-8 bytes"),
                   false;
    }
    return check_segments(value, why);
}

const struct dm_format dm_format_path = {
    "path", "^/[^?#]*$", "starts with `/`, has no query, no empty segment, no `.` or `..`, no `/` at its end",
    check_path};
