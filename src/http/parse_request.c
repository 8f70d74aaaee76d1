/* Request heads: method SP request-target SP HTTP-version CR LF, fields, empty line (RFC 9112 section 3). */
#include "http/chars_int.h"
#include "http/parse_int.h"

static int skip_empty_line(struct dm_http_cursor *cursor)
{
    if (cursor->p == cursor->end)
        return 0;
    return *cursor->p == '\r' ? dm_http_read_crlf(cursor, DM_HTTP_BAD_REQUEST_LINE) : 1;
}

static int read_method(struct dm_http_cursor *cursor)
{
    struct dm_http_head *head = cursor->head;
    const char *p = cursor->p;

    while (p < cursor->end && (dm_http_char(*p) & DM_CHAR_TOKEN))
        p++;
    if (p - cursor->p > DM_HTTP_METHOD_MAX)
        return -DM_HTTP_METHOD_TOO_LONG;
    if (p == cursor->end)
        return 0;
    if (*p == '\r' || (*p == ' ' && p == cursor->p))
        return dm_http_unexpected(p, cursor->end, DM_HTTP_BAD_REQUEST_LINE);
    if (*p != ' ')
        return dm_http_unexpected(p, cursor->end, DM_HTTP_BAD_METHOD);
    head->method_name = dm_str_n(cursor->p, (size_t)(p - cursor->p));
    head->method = dm_http_method_of(head->method_name);
    if (DM_UNLIKELY(head->method == DM_HTTP_METHOD_OTHER) && dm_http_method_is_lower(head->method_name))
        return -DM_HTTP_BAD_METHOD;
    if (head->method == DM_HTTP_METHOD_CONNECT)
        return -DM_HTTP_CONNECT_REFUSED;
    cursor->p = p + 1;
    return 1;
}

/* The byte that ended a target is no space. */
static int target_fault(const struct dm_http_cursor *cursor, const char *p)
{
    if (*p == '#')
        return -DM_HTTP_TARGET_FRAGMENT;
    return dm_http_unexpected(p, cursor->end, *p == '\r' ? DM_HTTP_BAD_REQUEST_LINE : DM_HTTP_BAD_TARGET);
}

static int read_target(struct dm_http_cursor *cursor)
{
    struct dm_http_head *head = cursor->head;
    const char *p = cursor->p, *end = cursor->end;

    while (p < end && (dm_http_char(*p) & DM_CHAR_PATH))
        p++;
    head->path = dm_str_n(cursor->p, (size_t)(p - cursor->p));
    if (p < end && *p == '?') {
        head->has_query = true;
        head->query.ptr = ++p;
        while (p < end && (dm_http_char(*p) & DM_CHAR_QUERY))
            p++;
        head->query.len = (size_t)(p - head->query.ptr);
    }
    if ((size_t)(p - cursor->p) > cursor->limits->url_bytes)
        return -DM_HTTP_URL_TOO_LONG;
    if (p == end)
        return 0;
    if (*p != ' ')
        return target_fault(cursor, p);
    if (p == cursor->p)
        return -DM_HTTP_BAD_REQUEST_LINE;
    head->target = dm_str_n(cursor->p, (size_t)(p - cursor->p));
    cursor->p = p + 1;
    return 1;
}

/* Length of "http" or "https" when "://" follows, else 0. */
static size_t scheme_length(struct dm_str target)
{
    if (target.len >= 7 && dm_http_lower_eq(target.ptr, "http://", 7))
        return 4;
    return target.len >= 8 && dm_http_lower_eq(target.ptr, "https://", 8) ? 5 : 0;
}

/* head->path still holds scheme and authority. */
static int split_absolute(struct dm_http_head *head)
{
    size_t scheme = scheme_length(head->path), slash;
    struct dm_str rest;

    if (scheme == 0)
        return -DM_HTTP_BAD_TARGET;
    head->scheme = dm_str_n(head->path.ptr, scheme);
    rest = dm_str_skip(head->path, scheme + 3);
    for (slash = 0; slash < rest.len && rest.ptr[slash] != '/';)
        slash++;
    head->authority = dm_str_n(rest.ptr, slash);
    head->path = dm_str_skip(rest, slash);
    if (head->path.len == 0)
        head->path = head->method == DM_HTTP_METHOD_OPTIONS && !head->has_query ? DM_STR("*") : DM_STR("/");
    if (slash > 0 && memchr(head->authority.ptr, '@', slash))
        return -DM_HTTP_TARGET_USERINFO;
    return dm_host_parse(head->authority, head->host_buf, &head->host);
}

/* RFC 9112 section 3.2. */
static int take_target(struct dm_http_head *head)
{
    if (head->target.ptr[0] == '/')
        return 0;
    if (head->target.ptr[0] == '*')
        return head->target.len == 1 && head->method == DM_HTTP_METHOD_OPTIONS ? 0 : -DM_HTTP_BAD_TARGET;
    return split_absolute(head);
}

static int read_request_line(struct dm_http_cursor *cursor)
{
    int rc;

    if ((rc = skip_empty_line(cursor)) <= 0 || (rc = read_method(cursor)) <= 0 || (rc = read_target(cursor)) <= 0)
        return rc;
    if (cursor->p < cursor->end && *cursor->p == ' ')
        return -DM_HTTP_BAD_REQUEST_LINE;
    if ((rc = dm_http_read_version(cursor)) <= 0 || (rc = dm_http_read_crlf(cursor, DM_HTTP_BAD_VERSION)) <= 0)
        return rc;
    return (rc = take_target(cursor->head)) < 0 ? rc : 1;
}

static int read_request(struct dm_http_cursor *cursor)
{
    struct dm_http_head *head = cursor->head;
    int rc;

    memset(head, 0, offsetof(struct dm_http_head, fields));
    head->is_request = true;
    head->version_major = 1;
    if ((rc = read_request_line(cursor)) <= 0 || (rc = dm_http_read_fields(cursor)) <= 0)
        return rc;
    if (head->version_minor == 1 && head->first[DM_HTTP_FIELD_ID_HOST] == 0)
        return -DM_HTTP_NO_HOST;
    dm_http_take_connection(cursor);
    return 1;
}

int dm_http_parse_request(const char *ptr, size_t len, size_t *scan, const struct dm_http_limits *limits,
                          struct dm_http_head *ret)
{
    struct dm_http_cursor cursor = {.p = ptr, .end = ptr + len, .limits = limits, .head = ret};

    return dm_http_parse_section(&cursor, limits->head_bytes, DM_HTTP_HEAD_TOO_LARGE, scan, read_request);
}
