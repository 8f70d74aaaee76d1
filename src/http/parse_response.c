/* Response heads: HTTP-version SP status-code SP [reason-phrase] CR LF, fields, empty line (RFC 9112 section 4). */
#include "http/chars_int.h"
#include "http/parse_int.h"

static int read_status(struct dm_http_cursor *cursor)
{
    const char *p = cursor->p;
    size_t have = DM_MIN((size_t)(cursor->end - p), 4u);

    if (have > 0 && p[0] != ' ')
        return dm_http_unexpected(p, cursor->end, DM_HTTP_BAD_STATUS_LINE);
    for (size_t i = 1; i < have; i++)
        if (p[i] < '0' || p[i] > '9')
            return dm_http_unexpected(p + i, cursor->end, DM_HTTP_BAD_STATUS);
    if (have < 4)
        return 0;
    cursor->head->status = (unsigned)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
    if (cursor->head->status < 100 || cursor->head->status > 599)
        return -DM_HTTP_BAD_STATUS;
    cursor->p += 4;
    return 1;
}

/* Nothing, or a space and the reason; bytes above 0x7F may stand in it, controls may not. */
static int read_reason(struct dm_http_cursor *cursor)
{
    const char *p = cursor->p;

    if (p == cursor->end)
        return 0;
    if (*p == '\r')
        return dm_http_read_crlf(cursor, DM_HTTP_BAD_STATUS_LINE);
    if (*p != ' ')
        return dm_http_unexpected(p, cursor->end, DM_HTTP_BAD_STATUS);
    p = ++cursor->p;
    while (p < cursor->end && ((dm_http_char(*p) & DM_CHAR_VALUE) || (*p & 0x80)))
        p++;
    cursor->head->reason = dm_str_n(cursor->p, (size_t)(p - cursor->p));
    cursor->p = p;
    return dm_http_read_crlf(cursor, DM_HTTP_BAD_STATUS_LINE);
}

/* RFC 9112 section 6.3; CHUNKED and LENGTH are set from the fields. */
static int settle_framing(struct dm_http_head *head, enum dm_http_method request_method)
{
    bool is_bodiless = head->status < 200 || head->status == 204;
    bool is_tunnel = request_method == DM_HTTP_METHOD_CONNECT && head->status / 100 == 2;

    if (is_bodiless && (head->framing == DM_HTTP_FRAMING_CHUNKED || head->content_length > 0))
        return -DM_HTTP_BODY_NOT_ALLOWED;
    if (is_bodiless && head->has_content_length)
        dm_http_head_find(head, DM_HTTP_FIELD_ID_CONTENT_LENGTH)->flags |= DM_HTTP_FIELD_HOP;
    if (is_bodiless || head->status == 304 || request_method == DM_HTTP_METHOD_HEAD)
        head->framing = DM_HTTP_FRAMING_NONE;
    else if (is_tunnel || head->framing == DM_HTTP_FRAMING_NONE)
        head->framing = DM_HTTP_FRAMING_CLOSE;
    if (head->framing == DM_HTTP_FRAMING_CLOSE)
        head->keep_alive = false;
    return 0;
}

static int read_response(struct dm_http_cursor *cursor)
{
    int rc;

    memset(cursor->head, 0, offsetof(struct dm_http_head, fields));
    cursor->head->version_major = 1;
    if ((rc = dm_http_read_version(cursor)) <= 0 || (rc = read_status(cursor)) <= 0 ||
        (rc = read_reason(cursor)) <= 0 || (rc = dm_http_read_fields(cursor)) <= 0)
        return rc;
    dm_http_take_connection(cursor);
    return 1;
}

int dm_http_parse_response(const char *ptr, size_t len, size_t *scan, const struct dm_http_limits *limits,
                           enum dm_http_method request_method, struct dm_http_head *ret)
{
    struct dm_http_cursor cursor = {.p = ptr, .end = ptr + len, .limits = limits, .head = ret};
    int rc = dm_http_parse_section(&cursor, limits->head_bytes, DM_HTTP_HEAD_TOO_LARGE, scan, read_response);
    int settled = rc > 0 ? settle_framing(ret, request_method) : 0;

    return settled < 0 ? settled : rc;
}
