/* The fields that decide how a message is read: framing (RFC 9112 section 6), host and connection. */
#include "http/chars_int.h"
#include "http/parse_int.h"

#define LENGTH_DIGITS_MAX 18 /* always fit 63 bits */

static int take_content_length(struct dm_http_head *head, struct dm_str value)
{
    uint64_t length = 0;

    if (head->framing == DM_HTTP_FRAMING_CHUNKED)
        return -DM_HTTP_LENGTH_AND_ENCODING;
    if (head->has_content_length)
        return -DM_HTTP_DUPLICATE_CONTENT_LENGTH;
    if (value.len == 0 || value.len > LENGTH_DIGITS_MAX)
        return -DM_HTTP_BAD_CONTENT_LENGTH;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return -DM_HTTP_BAD_CONTENT_LENGTH;
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    head->has_content_length = true;
    head->content_length = length;
    head->framing = DM_HTTP_FRAMING_LENGTH;
    return 0;
}

static bool is_word(struct dm_str text, const char *lower, size_t len)
{
    return text.len == len && dm_http_lower_eq(text.ptr, lower, len);
}

#define IS_WORD(text, literal) is_word((text), literal, sizeof(literal) - 1)

static int take_transfer_encoding(struct dm_http_head *head, struct dm_str value)
{
    if (head->has_content_length)
        return -DM_HTTP_LENGTH_AND_ENCODING;
    if (head->version_minor == 0)
        return -DM_HTTP_ENCODING_IN_HTTP10;
    if (head->framing == DM_HTTP_FRAMING_CHUNKED || !IS_WORD(value, "chunked"))
        return -DM_HTTP_BAD_TRANSFER_ENCODING;
    head->framing = DM_HTTP_FRAMING_CHUNKED;
    return 0;
}

static int take_host(struct dm_http_head *head, const struct dm_http_field *field)
{
    char scratch[DM_HOST_MAX];
    struct dm_host host;

    if (&head->fields[head->first[DM_HTTP_FIELD_ID_HOST] - 1] != field)
        return -DM_HTTP_DUPLICATE_HOST;
    if (head->scheme.len > 0)
        return dm_host_parse(field->value, scratch, &host);
    head->authority = field->value;
    return dm_host_parse(field->value, head->host_buf, &head->host);
}

static int take_option(struct dm_http_cursor *cursor, struct dm_str option)
{
    enum dm_http_field_id id;

    if (!dm_http_field_name_is_valid(option))
        return -DM_HTTP_BAD_CONNECTION;
    if (IS_WORD(option, "close")) {
        cursor->has_close = true;
        return 0;
    }
    id = dm_http_field_id_of(option);
    if (id == DM_HTTP_FIELD_ID_OTHER)
        cursor->has_named_fields = true;
    else if (!(dm_http_field_flags_of(id) & DM_HTTP_FIELD_HOP))
        return -DM_HTTP_CONNECTION_NAMES_FIELD;
    else if (id == DM_HTTP_FIELD_ID_TRANSFER_ENCODING && cursor->head->is_request)
        return -DM_HTTP_CONNECTION_NAMES_FIELD;
    cursor->has_keep_alive |= id == DM_HTTP_FIELD_ID_KEEP_ALIVE;
    cursor->has_upgrade_option |= id == DM_HTTP_FIELD_ID_UPGRADE;
    return 0;
}

static int take_options(struct dm_http_cursor *cursor, struct dm_str value)
{
    struct dm_str option;
    int rc = 0;

    if (IS_WORD(value, "keep-alive")) {
        cursor->has_keep_alive = true;
        return 0;
    }
    while (rc == 0 && dm_http_list_next(&value, &option))
        rc = take_option(cursor, option);
    return rc;
}

static int take_expect(struct dm_http_head *head, struct dm_str value)
{
    if (!head->is_request || (head->version_major == 1 && head->version_minor == 0))
        return 0;
    if (!IS_WORD(value, "100-continue"))
        return -DM_HTTP_BAD_EXPECT;
    head->expects_continue = true;
    return 0;
}

int dm_http_take_field(struct dm_http_cursor *cursor, struct dm_http_field *field)
{
    if (cursor->is_trailer)
        return field->flags & DM_HTTP_FIELD_NO_TRAILER ? -DM_HTTP_BAD_TRAILER : 0;
    switch (field->id) {
    case DM_HTTP_FIELD_ID_CONTENT_LENGTH: return take_content_length(cursor->head, field->value);
    case DM_HTTP_FIELD_ID_TRANSFER_ENCODING: return take_transfer_encoding(cursor->head, field->value);
    case DM_HTTP_FIELD_ID_HOST: return cursor->head->is_request ? take_host(cursor->head, field) : 0;
    case DM_HTTP_FIELD_ID_CONNECTION: return take_options(cursor, field->value);
    case DM_HTTP_FIELD_ID_EXPECT: return take_expect(cursor->head, field->value);
    default: return 0;
    }
}

static void flag_named(struct dm_http_head *head, struct dm_str name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (dm_str_ieq(head->fields[i].name, name))
            head->fields[i].flags |= DM_HTTP_FIELD_HOP;
}

static bool is_protocol(struct dm_str text)
{
    size_t slash = dm_str_find(text, '/');

    return dm_http_field_name_is_valid(dm_str_n(text.ptr, slash)) &&
           (slash == text.len || dm_http_field_name_is_valid(dm_str_skip(text, slash + 1)));
}

/* The first protocol that can be had: HTTP/2 in clear text is spoken from the start or not at all (RFC 9113 section 3.1). */
static void take_upgrade(struct dm_http_head *head)
{
    struct dm_str value = dm_http_head_value(head, DM_HTTP_FIELD_ID_UPGRADE), protocol;

    while (head->upgrade.len == 0 && dm_http_list_next(&value, &protocol))
        if (!IS_WORD(protocol, "h2c") && is_protocol(protocol))
            head->upgrade = protocol;
}

void dm_http_take_connection(struct dm_http_cursor *cursor)
{
    struct dm_http_head *head = cursor->head;
    struct dm_str option, value;

    for (unsigned i = 0; cursor->has_named_fields && i < head->field_count; i++)
        if (head->fields[i].id == DM_HTTP_FIELD_ID_CONNECTION)
            for (value = head->fields[i].value; dm_http_list_next(&value, &option);)
                flag_named(head, option);
    head->keep_alive = !cursor->has_close && (head->version_minor == 1 || cursor->has_keep_alive);
    head->has_upgrade =
        cursor->has_upgrade_option && head->version_minor == 1 && head->first[DM_HTTP_FIELD_ID_UPGRADE] != 0;
    if (DM_UNLIKELY(head->has_upgrade))
        take_upgrade(head);
}
