#include "http/serialize.h"

void dm_http_write_request_line(struct dm_buf *buf, struct dm_str method, struct dm_str target)
{
    char *at = dm_buf_room(buf, method.len + target.len + 12);

    if (!at)
        return;
    at = dm_str_put(at, method);
    *at++ = ' ';
    at = dm_str_put(at, target);
    dm_buf_took(buf, dm_str_put_lit(at, " HTTP/1.1\r\n"));
}

void dm_http_write_status_line(struct dm_buf *buf, unsigned status, struct dm_str reason)
{
    struct dm_str phrase = reason.len ? reason : dm_http_status_reason(status);
    char *at = dm_buf_room(buf, phrase.len + 15);

    if (!at)
        return;
    at = dm_str_put_lit(at, "HTTP/1.1 ");
    *at++ = (char)('0' + status / 100 % 10);
    *at++ = (char)('0' + status / 10 % 10);
    *at++ = (char)('0' + status % 10);
    *at++ = ' ';
    at = dm_str_put(at, phrase);
    dm_buf_took(buf, dm_str_put_lit(at, "\r\n"));
}

void dm_http_write_field(struct dm_buf *buf, struct dm_str name, struct dm_str value)
{
    char *at = dm_buf_room(buf, DM_HTTP_FIELD_BYTES(name, value));

    if (at)
        dm_buf_took(buf, dm_http_put_field(at, name, value));
}

void dm_http_write_field_u64(struct dm_buf *buf, struct dm_str name, uint64_t value)
{
    dm_buf_add(buf, name);
    dm_buf_add_lit(buf, ": ");
    dm_buf_add_u64(buf, value);
    dm_buf_add_lit(buf, "\r\n");
}

static const char *line_end(const struct dm_http_field *field)
{
    return field->value.ptr + field->value.len + 2;
}

/* How many fields from i on stand behind one another in the received bytes and are all written. */
static unsigned run_length(const struct dm_http_head *head, unsigned i, unsigned skip_flags)
{
    const struct dm_http_field *field = &head->fields[i];
    unsigned n = 1;

    while (i + n < head->field_count && (field[n].flags & (skip_flags | DM_HTTP_FIELD_WIRE)) == DM_HTTP_FIELD_WIRE &&
           field[n].name.ptr == line_end(&field[n - 1]))
        n++;
    return n;
}

void dm_http_write_fields(struct dm_buf *buf, const struct dm_http_head *head, unsigned skip_flags)
{
    skip_flags |= DM_HTTP_FIELD_DROPPED;
    for (unsigned i = 0; i < head->field_count;) {
        const struct dm_http_field *field = &head->fields[i];
        unsigned n = 1;

        if (!(field->flags & skip_flags) && (field->flags & DM_HTTP_FIELD_WIRE)) {
            n = run_length(head, i, skip_flags);
            dm_buf_add_n(buf, field->name.ptr, (size_t)(line_end(&field[n - 1]) - field->name.ptr));
        } else if (!(field->flags & skip_flags)) {
            dm_http_write_field(buf, field->name, field->value);
        }
        i += n;
    }
}

void dm_http_write_end(struct dm_buf *buf)
{
    dm_buf_add_lit(buf, "\r\n");
}
