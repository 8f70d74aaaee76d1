/* Writes heads. What comes in is valid (parsed here, or checked with dm_http_field_*_is_valid()); nothing is
 * escaped. The buffer's `failed` says whether all fitted. */
#ifndef DM_HTTP_SERIALIZE_H
#define DM_HTTP_SERIALIZE_H

#include "base/buf.h"
#include "http/head.h"

#define DM_HTTP_DATE_LEN 29

/* "METHOD target HTTP/1.1 CR LF". */
void dm_http_write_request_line(struct dm_buf *buf, struct dm_str method, struct dm_str target);
/* "HTTP/1.1 status reason CR LF"; an empty reason becomes the standard phrase. */
void dm_http_write_status_line(struct dm_buf *buf, unsigned status, struct dm_str reason);
/* "name: value CR LF" at `at`, where there is room for DM_HTTP_FIELD_BYTES; returns the place behind it. */
#define DM_HTTP_FIELD_BYTES(name, value) ((name).len + (value).len + 4)
static inline char *dm_http_put_field(char *at, struct dm_str name, struct dm_str value)
{
    at = dm_str_put(at, name);
    at = dm_str_put_lit(at, ": ");
    at = dm_str_put(at, value);
    return dm_str_put_lit(at, "\r\n");
}

/* The same, into a buffer. */
void dm_http_write_field(struct dm_buf *buf, struct dm_str name, struct dm_str value);
void dm_http_write_field_u64(struct dm_buf *buf, struct dm_str name, uint64_t value);
/* Every field that has none of the flags in skip_flags and is not dropped, in order. Usual: DM_HTTP_FIELD_HOP.
 * Neighbours that stand in the received bytes as they are written go over in one copy. */
void dm_http_write_fields(struct dm_buf *buf, const struct dm_http_head *head, unsigned skip_flags);
/* The empty line that ends a head or trailer section. */
void dm_http_write_end(struct dm_buf *buf);

/* RFC 9110 section 15, with 103, 428, 429, 431, 451, 511; "" for others. Static storage. */
struct dm_str dm_http_status_reason(unsigned status);

/* IMF-fixdate (RFC 9110 section 5.6.7) of seconds since 1970, years up to 9999. DM_HTTP_DATE_LEN bytes, not
 * NUL-terminated. The caller keeps the text for the second. */
void dm_http_date_write(int64_t unix_s, char ret[DM_HTTP_DATE_LEN]);

#endif
