/* Field lines: field-name ":" OWS field-value OWS CR LF (RFC 9112 section 5). */
#include "http/chars_int.h"
#include "http/parse_int.h"

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int read_name(struct dm_http_cursor *cursor, struct dm_http_field *field)
{
    const char *p = cursor->p, *end = cursor->end;
    uint8_t class, seen = 0;

    for (; p < end && ((class = dm_http_char(*p)) & DM_CHAR_TOKEN); p++)
        seen |= class;
    if (p == end)
        return 0;
    if (*p != ':')
        return is_blank(*p) ? -DM_HTTP_SPACE_BEFORE_COLON : dm_http_unexpected(p, end, DM_HTTP_BAD_FIELD_NAME);
    field->name = dm_str_n(cursor->p, (size_t)(p - cursor->p));
    if (field->name.len == 0)
        return -DM_HTTP_EMPTY_FIELD_NAME;
    field->flags = seen & DM_CHAR_FOLDED ? DM_HTTP_FIELD_FOLDED : 0;
    cursor->p = p + 1;
    return 1;
}

/* The value and the end of its line. */
static int read_value(struct dm_http_cursor *cursor, struct dm_http_field *field)
{
    const char *p = cursor->p, *end = cursor->end, *value, *stop;

    while (p < end && is_blank(*p))
        p++;
    value = p;
    while ((p = dm_http_skip_visible(p, end)) < end && (*p & 0x80) && cursor->limits->allows_obs_text) {
        field->flags |= DM_HTTP_FIELD_OBS_TEXT;
        p++;
    }
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return p == end ? 0 : dm_http_unexpected(p, end, DM_HTTP_BAD_FIELD_VALUE);
    for (stop = p; stop > value && is_blank(stop[-1]);)
        stop--;
    if (value - cursor->p == 1 && value[-1] == ' ' && stop == p)
        field->flags |= DM_HTTP_FIELD_WIRE;
    field->value = dm_str_n(value, (size_t)(stop - value));
    cursor->p = p + 2;
    return 1;
}

/* A field that was there before. */
static int take_again(struct dm_http_cursor *cursor, const struct dm_http_field *field)
{
    if (cursor->is_trailer || !cursor->head->is_request)
        return 0;
    if (field->id == DM_HTTP_FIELD_ID_COOKIE)
        cursor->head->has_cookies = true;
    return field->flags & DM_HTTP_FIELD_ONCE ? -DM_HTTP_DUPLICATE_FIELD : 0;
}

static int read_field(struct dm_http_cursor *cursor)
{
    struct dm_http_head *head = cursor->head;
    struct dm_http_field *field = &head->fields[head->field_count];
    int rc;

    if (is_blank(*cursor->p))
        return -DM_HTTP_OBS_FOLD;
    if (head->field_count >= DM_MIN(cursor->limits->fields, DM_HTTP_FIELDS_MAX))
        return -DM_HTTP_TOO_MANY_FIELDS;
    if ((rc = read_name(cursor, field)) <= 0 || (rc = read_value(cursor, field)) <= 0)
        return rc;
    head->field_count++;
    field->id = (uint8_t)dm_http_field_id_of(field->name);
    if (field->id == DM_HTTP_FIELD_ID_OTHER)
        return 1;
    field->flags |= dm_http_field_flags_of(field->id);
    if (head->first[field->id] == 0)
        head->first[field->id] = (uint8_t)head->field_count;
    else if ((rc = take_again(cursor, field)) < 0)
        return rc;
    return (rc = dm_http_take_field(cursor, field)) < 0 ? rc : 1;
}

int dm_http_read_fields(struct dm_http_cursor *cursor)
{
    int rc;

    while (cursor->p < cursor->end) {
        if (*cursor->p == '\r')
            return dm_http_read_crlf(cursor, DM_HTTP_BAD_FIELD_NAME);
        if ((rc = read_field(cursor)) <= 0)
            return rc;
    }
    return 0;
}

int dm_http_read_trailers(struct dm_http_cursor *cursor)
{
    cursor->head->field_count = 0;
    memset(cursor->head->first, 0, sizeof(cursor->head->first));
    return dm_http_read_fields(cursor);
}

int dm_http_parse_trailers(const char *ptr, size_t len, const struct dm_http_limits *limits, struct dm_http_head *ret)
{
    struct dm_http_cursor cursor = {.p = ptr, .end = ptr + len, .limits = limits, .head = ret, .is_trailer = true};
    size_t scan = 0;
    int rc =
        dm_http_parse_section(&cursor, limits->trailer_bytes, DM_HTTP_TRAILER_TOO_LARGE, &scan, dm_http_read_trailers);

    return rc == 0 ? -DM_HTTP_BAD_TRAILER : rc;
}
