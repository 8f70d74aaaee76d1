/* The head of a message, as one strict pass over the received bytes of HTTP/1.1 (RFC 9112) leaves it, or over the fields of
 * HTTP/2 (http/h2_fields.h).
 *
 * H1. What is accepted has one meaning; what has none or two is refused and never repaired.
 * H2. Slices borrow from the bytes that were parsed, but for `host`, which may stand in host_buf, and a path that an
 *     absolute-form target left out. A head is therefore moved with dm_http_head_move() only.
 * H3. In fields there are no controls but HTAB, no line folding, no bytes above 0x7E unless limits.allows_obs_text.
 *
 * What the parser decides where the RFCs leave a choice:
 * - One empty line before a request line is skipped (RFC 9112 section 2.2), a second one is refused; none before a
 *   status line. A status line without the space before an empty reason is accepted.
 * - A method is a token without small letters (some servers read "post" as POST, others as a method of its own); one longer than 32
 *   bytes is refused. CONNECT is refused.
 * - A target has no byte outside 0x21-0x7E, no '#', '"', '<', '>', and no '\' in its path. Absolute form is http or
 *   https, without userinfo; its authority counts and Host must only be valid. Asterisk form is for OPTIONS alone.
 * - HTTP/1.0 requests need no Host. Transfer-Encoding in HTTP/1.0, and any value other than "chunked", are refused.
 * - A repeated Content-Length is refused also when it says the same. So is, in requests, a second line of a field that may be there once
 *   (DM_HTTP_FIELD_ONCE): some servers take the first, some the last, some join them.
 * - Content-Length other than 0, or Transfer-Encoding, in a 1xx or 204 response is refused.
 * - Connection may not name a field of enum dm_http_field_id that is end-to-end (Host, Content-Length,
 *   Authorization, Forwarded, …), nor Transfer-Encoding in a request; any other name it holds makes that field
 *   hop-by-hop.
 * - Expect is "100-continue" or refused with 417, and means nothing in HTTP/1.0. */
#ifndef DM_HTTP_HEAD_H
#define DM_HTTP_HEAD_H

#include "base/arena.h"
#include "http/fault.h"
#include "http/field.h"
#include "http/host.h"
#include "http/method.h"

#define DM_HTTP_FIELDS_MAX 128
#define DM_HTTP_METHOD_MAX 32

enum dm_http_framing {
    DM_HTTP_FRAMING_NONE,   /* no body */
    DM_HTTP_FRAMING_LENGTH, /* content_length bytes, which may be 0 */
    DM_HTTP_FRAMING_CHUNKED,
    DM_HTTP_FRAMING_CLOSE, /* until the connection ends; responses only */
};

struct dm_http_limits {
    uint32_t head_bytes;      /* whole head, with the empty line that ends it */
    uint32_t url_bytes;       /* request target */
    uint32_t fields;          /* at most DM_HTTP_FIELDS_MAX */
    uint32_t trailer_bytes;   /* whole trailer section */
    uint32_t extension_bytes; /* chunk extensions of one body, in sum */
    bool allows_obs_text;     /* bytes 0x80-0xFF in field values (RFC 9110 section 5.5) */
};
/* 32 KiB, 8 KiB, 100, 8 KiB, 4 KiB, false. */
extern const struct dm_http_limits dm_http_limits_default;

struct dm_http_head {
    bool is_request;
    bool keep_alive;         /* the peer lets the connection live after this message */
    bool has_content_length; /* also in a response to HEAD or with 304, where it frames nothing */
    bool expects_continue;
    bool has_upgrade;      /* Upgrade is there and Connection names it, in HTTP/1.1 */
    bool has_query;        /* a '?' is there, though nothing may follow */
    bool has_cookies;      /* Cookie stands in several lines, which HTTP/1.1 does not know (RFC 6265 section 5.4) */
    uint8_t version_major; /* 1 or 2 */
    uint8_t version_minor; /* of HTTP/1.x: 0 or 1; of HTTP/2: 0 */
    uint8_t framing;       /* enum dm_http_framing */
    uint64_t content_length;

    /* requests */
    enum dm_http_method method;
    struct dm_str method_name;
    struct dm_str target;    /* as received */
    struct dm_str scheme;    /* of absolute form, as received; else empty */
    struct dm_str authority; /* of absolute form or Host, as received; empty in HTTP/1.0 without Host */
    struct dm_host host;     /* the authority, normalised; name empty in HTTP/1.0 without Host */
    struct dm_str path;      /* as received, before '?'; "/" if absolute form has none, "*" in asterisk form */
    struct dm_str query;     /* behind '?' */
    struct dm_str
        upgrade; /* what a tunnel would speak: the first protocol of Upgrade (has_upgrade), or :protocol; else empty */

    /* responses */
    unsigned status; /* 100 to 599 */
    struct dm_str reason;

    unsigned field_count;
    uint8_t first[DM_HTTP_FIELD_ID_COUNT]; /* 1 + index of the first field with this id; 0 = none */
    struct dm_http_field fields[DM_HTTP_FIELDS_MAX];
    char host_buf[DM_HOST_MAX];
};

/* Parses a request head at ptr. Returns the bytes of the head (> 0), 0 when more bytes are needed, or a negative
 * enum dm_http_fault. A stray CR, LF or control is refused as soon as it comes; what else is wrong with a head that
 * comes in pieces, at the latest with its last byte or with limits.head_bytes. Which fault is found does not depend on
 * how the bytes were cut.
 * *scan is 0 for a new message and remembers how far the bytes were looked at, so that bytes coming one by one cost
 * linear time; it is 0 again after a result other than 0. ptr may differ from call to call as long as the bytes are
 * the same.
 * *ret is complete after > 0. After a fault method_name, target and version_minor hold what was read before it (or
 * are empty), the rest is undefined. */
DM_MUST_USE int dm_http_parse_request(const char *ptr, size_t len, size_t *scan, const struct dm_http_limits *limits,
                                      struct dm_http_head *ret);

/* The same for a response to a request with the given method (RFC 9112 section 6.3). With a status of 1xx other than
 * 101 another head follows. */
DM_MUST_USE int dm_http_parse_response(const char *ptr, size_t len, size_t *scan, const struct dm_http_limits *limits,
                                       enum dm_http_method request_method, struct dm_http_head *ret);

/* Parses a trailer section (field lines and the empty line; RFC 9112 section 7.1.2) that is there as a whole. Fields
 * that must not come in trailers are DM_HTTP_BAD_TRAILER. Only the fields of *ret are set. Returns its bytes or a
 * fault. */
DM_MUST_USE int dm_http_parse_trailers(const char *ptr, size_t len, const struct dm_http_limits *limits,
                                       struct dm_http_head *ret);

/* The first field with this id that is not dropped, or NULL. */
struct dm_http_field *dm_http_head_find(const struct dm_http_head *head, enum dm_http_field_id id);
/* The first field with this name (any case) that is not dropped, or NULL. */
struct dm_http_field *dm_http_head_find_name(const struct dm_http_head *head, struct dm_str name);
/* The next field with the same name behind `field`, or NULL. */
struct dm_http_field *dm_http_head_find_next(const struct dm_http_head *head, const struct dm_http_field *field);
/* The value of the first field with this id, or DM_STR_NULL. */
struct dm_str dm_http_head_value(const struct dm_http_head *head, enum dm_http_field_id id);
/* Appends a field, borrowed; NULL when DM_HTTP_FIELDS_MAX are there. Name and value must be valid. */
struct dm_http_field *dm_http_head_add(struct dm_http_head *head, struct dm_str name, struct dm_str value);
/* Drops this field and every one of the same name behind it; returns how many. */
unsigned dm_http_head_drop_from(struct dm_http_head *head, struct dm_http_field *field);
/* Drops every field of this name; returns how many. */
unsigned dm_http_head_drop(struct dm_http_head *head, struct dm_str name);

/* *ret becomes `head` with every slice that points into the len bytes at `from` pointing to the same place in `to`.
 * ret may be head itself. */
void dm_http_head_move(const struct dm_http_head *head, const char *from, size_t len, const char *to,
                       struct dm_http_head *ret);
/* *ret becomes a head like this one whose slices lie in the arena. DM_EBUDGET: they don't fit. */
DM_MUST_USE int dm_http_head_copy(const struct dm_http_head *head, struct dm_arena *arena, struct dm_http_head *ret);

#endif
