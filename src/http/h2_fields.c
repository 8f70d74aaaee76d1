#include "http/h2_fields.h"

#include "http/chars_int.h"
#include "http/parse_int.h"

enum pseudo {
    SEEN_METHOD = 1,
    SEEN_SCHEME = 2,
    SEEN_AUTHORITY = 4,
    SEEN_PATH = 8,
    SEEN_PROTOCOL = 16,
    SEEN_STATUS = 32
};

enum { LINE_BYTES = 4 }; /* ": " and CR LF */

size_t dm_h2_block_text_bytes(const struct dm_http_limits *limits)
{
    return 2 * (size_t)limits->head_bytes;
}

void dm_h2_block_init(struct dm_h2_block *block, enum dm_h2_block_kind kind, const struct dm_http_limits *limits,
                      struct dm_http_head *head, char *text)
{
    *block = (struct dm_h2_block){
        .head = head,
        .limits = limits,
        .text = text,
        .text_max = kind == DM_H2_TRAILERS ? DM_MIN(limits->trailer_bytes, limits->head_bytes) : limits->head_bytes,
        .kind = (uint8_t)kind,
    };
    memset(head, 0, offsetof(struct dm_http_head, fields));
    head->version_major = 2;
    head->is_request = kind == DM_H2_REQUEST;
    head->keep_alive = true;
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

/* F3. May be answered. */
static void refuse(struct dm_h2_block *block, int fault)
{
    if (block->fault == 0)
        block->fault = (uint8_t)fault;
}

static void refuse_malformed(struct dm_h2_block *block, int fault)
{
    if (block->fault == 0) {
        block->fault = (uint8_t)fault;
        block->is_malformed = true;
    }
}

/* --- text --------------------------------------------------------------------------------------------------------- */

/* There is room (dm_h2_block_add). */
static struct dm_str keep(struct dm_h2_block *block, struct dm_str s)
{
    char *at = block->text + block->text_len;

    dm_str_put(at, s);
    block->text_len += s.len;
    return dm_str_n(at, s.len);
}

/* F1. The fault of a name, or 0. id is what dm_http_field_id_of() takes it for. */
static int check_name(struct dm_str name, enum dm_http_field_id id, uint8_t *ret_flags)
{
    uint8_t seen = 0, class;

    *ret_flags = 0;
    if (id != DM_HTTP_FIELD_ID_OTHER && dm_str_eq(name, dm_http_field_name(id)))
        return 0;
    for (size_t i = 0; i < name.len; i++) {
        class = dm_http_char(name.ptr[i]);
        if (!(class & DM_CHAR_TOKEN) || (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z'))
            return DM_HTTP_BAD_FIELD_NAME;
        seen |= class;
    }
    *ret_flags = seen & DM_CHAR_FOLDED ? DM_HTTP_FIELD_FOLDED : 0;
    return name.len > 0 ? 0 : DM_HTTP_EMPTY_FIELD_NAME;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int check_value(const struct dm_h2_block *block, struct dm_str value, uint8_t *flags)
{
    const char *p = value.ptr, *end = p + value.len;

    if (dm_http_is_printable(value))
        p = end;
    while ((p = dm_http_skip_visible(p, end)) < end) {
        if (!((uint8_t)*p & 0x80) || !block->limits->allows_obs_text)
            return DM_HTTP_BAD_FIELD_VALUE;
        *flags |= DM_HTTP_FIELD_OBS_TEXT;
        p++;
    }
    return value.len > 0 && (is_blank(value.ptr[0]) || is_blank(value.ptr[value.len - 1])) ? DM_HTTP_BAD_FIELD_VALUE
                                                                                           : 0;
}

/* --- pseudo-fields ------------------------------------------------------------------------------------------------ */

static void take_method(struct dm_h2_block *block, struct dm_str value)
{
    struct dm_http_head *head = block->head;

    if (!dm_http_field_name_is_valid(value)) {
        refuse_malformed(block, DM_HTTP_BAD_METHOD);
    } else if (value.len > DM_HTTP_METHOD_MAX) {
        refuse(block, DM_HTTP_METHOD_TOO_LONG);
    } else if (dm_http_method_is_lower(value)) {
        refuse(block, DM_HTTP_BAD_METHOD);
    } else {
        head->method_name = keep(block, value);
        head->method = dm_http_method_of(head->method_name);
    }
}

static void take_scheme(struct dm_h2_block *block, struct dm_str value)
{
    if (!dm_str_eq(value, DM_STR("http")) && !dm_str_eq(value, DM_STR("https")))
        refuse(block, DM_HTTP_BAD_TARGET);
    else
        block->head->scheme = keep(block, value);
}

static void take_path(struct dm_h2_block *block, struct dm_str value)
{
    if (value.len > block->limits->url_bytes)
        refuse(block, DM_HTTP_URL_TOO_LONG);
    else
        block->path = keep(block, value);
}

static unsigned pseudo_of(const struct dm_h2_block *block, struct dm_str name)
{
    if (block->kind == DM_H2_RESPONSE)
        return dm_str_eq(name, DM_STR(":status")) ? SEEN_STATUS : 0;
    if (block->kind == DM_H2_TRAILERS)
        return 0;
    if (dm_str_eq(name, DM_STR(":path")))
        return SEEN_PATH;
    if (dm_str_eq(name, DM_STR(":method")))
        return SEEN_METHOD;
    if (dm_str_eq(name, DM_STR(":scheme")))
        return SEEN_SCHEME;
    if (dm_str_eq(name, DM_STR(":authority")))
        return SEEN_AUTHORITY;
    return dm_str_eq(name, DM_STR(":protocol")) ? SEEN_PROTOCOL : 0;
}

/* RFC 9113 section 8.3: known, once, before the others. */
static void take_pseudo(struct dm_h2_block *block, struct dm_str name, struct dm_str value)
{
    unsigned which = pseudo_of(block, name);
    uint8_t flags = 0;

    if (which == 0 || (block->seen & which) || block->has_field) {
        refuse_malformed(block, DM_HTTP_BAD_PSEUDO_FIELD);
        return;
    }
    block->seen |= (uint8_t)which;
    if (check_value(block, value, &flags) != 0 || flags != 0) {
        refuse_malformed(block, which == SEEN_AUTHORITY ? DM_HTTP_BAD_HOST : DM_HTTP_BAD_FIELD_VALUE);
        return;
    }
    switch (which) {
    case SEEN_METHOD: take_method(block, value); break;
    case SEEN_SCHEME: take_scheme(block, value); break;
    case SEEN_PATH: take_path(block, value); break;
    case SEEN_AUTHORITY: block->authority = keep(block, value); break;
    case SEEN_PROTOCOL: block->protocol = keep(block, value); break;
    default: block->status = keep(block, value);
    }
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

/* RFC 9113 section 8.2.2 */
static bool is_of_connection(enum dm_http_field_id id)
{
    switch (id) {
    case DM_HTTP_FIELD_ID_CONNECTION:
    case DM_HTTP_FIELD_ID_PROXY_CONNECTION:
    case DM_HTTP_FIELD_ID_KEEP_ALIVE:
    case DM_HTTP_FIELD_ID_TRANSFER_ENCODING:
    case DM_HTTP_FIELD_ID_UPGRADE: return true;
    default: return false;
    }
}

/* What HTTP/1.1's fields mean for framing and routing means the same here. */
static void take_known(struct dm_h2_block *block, struct dm_http_field *field)
{
    struct dm_http_head *head = block->head;
    struct dm_http_cursor cursor = {.limits = block->limits, .head = head, .is_trailer = block->kind == DM_H2_TRAILERS};
    int rc;

    field->flags |= dm_http_field_flags_of((enum dm_http_field_id)field->id);
    if (head->first[field->id] == 0)
        head->first[field->id] = (uint8_t)head->field_count;
    else if (field->flags & DM_HTTP_FIELD_ONCE && block->kind == DM_H2_REQUEST)
        refuse(block, DM_HTTP_DUPLICATE_FIELD);
    if (is_of_connection((enum dm_http_field_id)field->id) ||
        (field->id == DM_HTTP_FIELD_ID_TE && !dm_str_ieq(field->value, DM_STR("trailers"))))
        refuse_malformed(block, DM_HTTP_CONNECTION_FIELD);
    else if ((rc = dm_http_take_field(&cursor, field)) < 0 && rc != -DM_HTTP_BAD_TRAILER &&
             field->id == DM_HTTP_FIELD_ID_CONTENT_LENGTH)
        refuse_malformed(block, -rc);
    else if (rc < 0)
        refuse(block, -rc);
}

/* The joined value stands behind text_max, where there is room for it (dm_h2_block_add). */
static void take_crumb(struct dm_h2_block *block, struct dm_http_field *field, struct dm_str value)
{
    char *cookies = block->text + block->limits->head_bytes;

    if (block->cookie_len > 0)
        block->cookie_len = (size_t)(dm_str_put_lit(cookies + block->cookie_len, "; ") - cookies);
    block->cookie_len = (size_t)(dm_str_put(cookies + block->cookie_len, value) - cookies);
    field->value = dm_str_n(cookies, block->cookie_len);
}

static bool take_later_crumb(struct dm_h2_block *block, struct dm_str name, struct dm_str value, uint8_t flags)
{
    if (!block->has_cookie || !dm_str_eq(name, DM_STR("cookie")))
        return false;
    block->head->fields[block->cookie].flags |= flags;
    take_crumb(block, &block->head->fields[block->cookie], value);
    return true;
}

static struct dm_http_field *append(struct dm_h2_block *block, struct dm_str name, struct dm_str value)
{
    struct dm_http_head *head = block->head;
    struct dm_http_field *field = &head->fields[head->field_count++];
    char *at = block->text + block->text_len;

    field->name = dm_str_n(at, name.len);
    at = dm_str_put_lit(dm_str_put(at, name), ": ");
    field->value = dm_str_n(at, value.len);
    at = dm_str_put_lit(dm_str_put(at, value), "\r\n");
    block->text_len = (size_t)(at - block->text);
    return field;
}

static void take_field(struct dm_h2_block *block, struct dm_str name, struct dm_str value)
{
    struct dm_http_head *head = block->head;
    enum dm_http_field_id id = dm_http_field_id_of(name);
    struct dm_http_field *field;
    uint8_t flags;
    int fault;

    block->has_field = true;
    if ((fault = check_name(name, id, &flags)) != 0 || (fault = check_value(block, value, &flags)) != 0) {
        refuse_malformed(block, fault);
        return;
    }
    if (take_later_crumb(block, name, value, flags))
        return;
    /* One place is kept for Host. */
    if (head->field_count >= DM_MIN(block->limits->fields, DM_HTTP_FIELDS_MAX - 1u)) {
        refuse(block, DM_HTTP_TOO_MANY_FIELDS);
        return;
    }
    field = append(block, name, value);
    field->id = (uint8_t)id;
    field->flags = flags | DM_HTTP_FIELD_WIRE;
    if (id == DM_HTTP_FIELD_ID_OTHER)
        return;
    take_known(block, field);
    if (id == DM_HTTP_FIELD_ID_COOKIE && block->kind == DM_H2_REQUEST) {
        field->flags &= (uint8_t)~DM_HTTP_FIELD_WIRE;
        block->has_cookie = true;
        block->cookie = (uint8_t)(head->field_count - 1);
        take_crumb(block, field, value);
    }
}

void dm_h2_block_add(struct dm_h2_block *block, struct dm_str name, struct dm_str value)
{
    block->unpacked_bytes += name.len + value.len + LINE_BYTES;
    if (DM_UNLIKELY(block->fault != 0))
        return;
    if (DM_UNLIKELY(block->unpacked_bytes > block->text_max))
        refuse(block, block->kind == DM_H2_TRAILERS ? DM_HTTP_TRAILER_TOO_LARGE : DM_HTTP_HEAD_TOO_LARGE);
    else if (name.len > 0 && name.ptr[0] == ':')
        take_pseudo(block, name, value);
    else
        take_field(block, name, value);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void split_path(struct dm_h2_block *block)
{
    struct dm_http_head *head = block->head;
    const char *p = block->path.ptr, *end = p + block->path.len;

    while (p < end && (dm_http_char(*p) & DM_CHAR_PATH))
        p++;
    head->path = dm_str_n(block->path.ptr, (size_t)(p - block->path.ptr));
    if (p < end && *p == '?') {
        head->has_query = true;
        head->query.ptr = ++p;
        while (p < end && (dm_http_char(*p) & DM_CHAR_QUERY))
            p++;
        head->query.len = (size_t)(p - head->query.ptr);
    }
    head->target = block->path;
    if (p < end)
        refuse(block, *p == '#' ? DM_HTTP_TARGET_FRAGMENT : DM_HTTP_BAD_TARGET);
}

/* RFC 9113 section 8.3.1: a path begins with '/', or is '*' for OPTIONS. */
static void settle_path(struct dm_h2_block *block)
{
    struct dm_str path = block->path;
    bool is_asterisk = dm_str_eq(path, DM_STR("*")) && block->head->method == DM_HTTP_METHOD_OPTIONS;

    if (path.len == 0 || (path.ptr[0] != '/' && !is_asterisk))
        refuse_malformed(block, DM_HTTP_BAD_TARGET);
    else
        split_path(block);
}

static void add_host(struct dm_h2_block *block)
{
    struct dm_http_head *head = block->head;
    struct dm_http_field *field = &head->fields[head->field_count++];

    *field = (struct dm_http_field){DM_STR("host"), block->authority, DM_HTTP_FIELD_ID_HOST,
                                    dm_http_field_flags_of(DM_HTTP_FIELD_ID_HOST)};
    head->first[DM_HTTP_FIELD_ID_HOST] = (uint8_t)head->field_count;
}

static bool is_same_host(const struct dm_host *a, const struct dm_host *b, bool is_tls)
{
    return dm_str_eq(a->name, b->name) && dm_host_port(a, is_tls) == dm_host_port(b, is_tls);
}

/* F2 */
static void settle_host(struct dm_h2_block *block)
{
    struct dm_http_head *head = block->head;
    struct dm_str field = dm_http_head_value(head, DM_HTTP_FIELD_ID_HOST);
    bool has_field = head->first[DM_HTTP_FIELD_ID_HOST] != 0, has_authority = (block->seen & SEEN_AUTHORITY) != 0;
    char scratch[DM_HOST_MAX];
    struct dm_host host;
    int rc;

    if (!has_field && !has_authority) {
        refuse(block, DM_HTTP_NO_HOST);
        return;
    }
    head->authority = has_authority ? block->authority : field;
    if (memchr(head->authority.ptr, '@', head->authority.len)) {
        refuse_malformed(block, DM_HTTP_TARGET_USERINFO); /* section 8.3.1 */
        return;
    }
    if ((rc = dm_host_parse(head->authority, head->host_buf, &head->host)) < 0 ||
        (has_field && (rc = dm_host_parse(field, scratch, &host)) < 0))
        refuse(block, -rc);
    else if (has_field && !is_same_host(&head->host, &host, head->scheme.len == 5))
        refuse_malformed(block, DM_HTTP_HOST_MISMATCH);
    else if (!has_field)
        add_host(block);
}

/* RFC 9113 section 8.5, RFC 8441 section 4 */
static void settle_connect(struct dm_h2_block *block)
{
    struct dm_http_head *head = block->head;
    bool is_connect = head->method == DM_HTTP_METHOD_CONNECT, is_extended = (block->seen & SEEN_PROTOCOL) != 0;

    if (!is_connect && !is_extended)
        return;
    if (!is_connect || (is_extended && !dm_http_field_name_is_valid(block->protocol)) ||
        (!is_extended && (block->seen & (SEEN_SCHEME | SEEN_PATH)))) {
        refuse_malformed(block, DM_HTTP_BAD_PSEUDO_FIELD);
    } else if (!is_extended) {
        refuse(block, DM_HTTP_CONNECT_REFUSED);
    } else {
        head->upgrade = block->protocol;
        head->method = DM_HTTP_METHOD_GET;
        head->method_name = DM_STR("GET");
    }
}

/* RFC 9113 section 8.1.1. A tunnel has no length. */
static void settle_request_framing(struct dm_h2_block *block, bool is_end_stream)
{
    struct dm_http_head *head = block->head;

    if (head->upgrade.len > 0 && head->has_content_length)
        refuse_malformed(block, DM_HTTP_BODY_NOT_ALLOWED);
    else if (is_end_stream && head->content_length > 0)
        refuse_malformed(block, DM_HTTP_BODY_LENGTH);
    else if (!is_end_stream && !head->has_content_length && head->upgrade.len == 0)
        head->framing = DM_HTTP_FRAMING_CHUNKED;
    if (is_end_stream)
        head->expects_continue = false;
}

static void settle_request(struct dm_h2_block *block, bool is_end_stream)
{
    const unsigned needed = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH;
    bool is_plain_connect = block->head->method == DM_HTTP_METHOD_CONNECT && !(block->seen & SEEN_PROTOCOL);

    if (!(block->seen & SEEN_METHOD) || (!is_plain_connect && (block->seen & needed) != needed)) {
        refuse_malformed(block, DM_HTTP_BAD_PSEUDO_FIELD);
        return;
    }
    settle_connect(block);
    if (block->fault == 0)
        settle_path(block);
    if (block->fault == 0)
        settle_host(block);
    if (block->fault == 0)
        settle_request_framing(block, is_end_stream);
}

static bool read_status(struct dm_str text, unsigned *ret)
{
    unsigned status = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        status = status * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *ret = status;
    return text.len == 3 && status >= 100 && status <= 599 && status != 101; /* section 8.6 */
}

/* As RFC 9112 section 6.3 says it for HTTP/1.1. */
static void settle_response(struct dm_h2_block *block, bool is_end_stream, enum dm_http_method request_method)
{
    struct dm_http_head *head = block->head;
    bool is_bodiless, has_none;

    if (!read_status(block->status, &head->status)) {
        refuse_malformed(block, block->seen & SEEN_STATUS ? DM_HTTP_BAD_STATUS : DM_HTTP_BAD_PSEUDO_FIELD);
        return;
    }
    is_bodiless = head->status < 200 || head->status == 204;
    has_none = is_bodiless || head->status == 304 || request_method == DM_HTTP_METHOD_HEAD;
    if ((is_bodiless && head->content_length > 0) || (head->status < 200 && is_end_stream))
        refuse_malformed(block, DM_HTTP_BODY_NOT_ALLOWED);
    else if (!has_none && is_end_stream && head->content_length > 0)
        refuse_malformed(block, DM_HTTP_BODY_LENGTH);
    if (is_bodiless && head->has_content_length)
        dm_http_head_find(head, DM_HTTP_FIELD_ID_CONTENT_LENGTH)->flags |= DM_HTTP_FIELD_HOP;
    if (has_none)
        head->framing = DM_HTTP_FRAMING_NONE;
    else if (!head->has_content_length)
        head->framing = is_end_stream ? DM_HTTP_FRAMING_LENGTH : DM_HTTP_FRAMING_CHUNKED;
}

int dm_h2_block_end(struct dm_h2_block *block, bool is_end_stream, enum dm_http_method request_method)
{
    if (block->fault == 0 && block->kind == DM_H2_REQUEST)
        settle_request(block, is_end_stream);
    else if (block->fault == 0 && block->kind == DM_H2_RESPONSE)
        settle_response(block, is_end_stream, request_method);
    else if (block->kind == DM_H2_TRAILERS && !is_end_stream)
        refuse_malformed(block, DM_HTTP_BAD_TRAILER); /* section 8.1 */
    return -(int)block->fault;
}

static void move_str(struct dm_str *s, const char *from, size_t len, const char *to)
{
    size_t at = (size_t)((uintptr_t)s->ptr - (uintptr_t)from);

    if (s->ptr && at <= len)
        s->ptr = to + at;
}

void dm_h2_block_move(struct dm_h2_block *block, struct dm_http_head *head, char *text)
{
    const char *from = block->text;
    size_t all = dm_h2_block_text_bytes(block->limits), cookies = block->limits->head_bytes;

    memcpy(text, from, block->text_len);
    memcpy(text + cookies, from + cookies, block->cookie_len);
    dm_http_head_move(block->head, from, all, text, head);
    move_str(&block->authority, from, all, text);
    move_str(&block->path, from, all, text);
    move_str(&block->protocol, from, all, text);
    move_str(&block->status, from, all, text);
    block->head = head;
    block->text = text;
}

/* --- on the way out ----------------------------------------------------------------------------------------------- */

/* Unique values would only push others out of the table; names that all have in common it learns once. */
static uint8_t index_flag(enum dm_http_field_id id, bool is_first)
{
    switch (id) {
    case DM_HTTP_FIELD_ID_X_REQUEST_ID:
    case DM_HTTP_FIELD_ID_TRACEPARENT: return is_first ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX;
    case DM_HTTP_FIELD_ID_SET_COOKIE:
    case DM_HTTP_FIELD_ID_AUTHORIZATION:
    case DM_HTTP_FIELD_ID_PROXY_AUTHORIZATION: return NGHTTP2_NV_FLAG_NO_INDEX;
    default: return NGHTTP2_NV_FLAG_NONE;
    }
}

/* The first line of *rest, without its end; false: it has no name. */
static bool cut_line(struct dm_str *rest, struct dm_str *ret_name, struct dm_str *ret_value)
{
    const char *p = rest->ptr, *end = memchr(p, '\n', rest->len), *colon;
    size_t len = end ? (size_t)(end - p) : rest->len;

    *rest = dm_str_skip(*rest, len + 1);
    len -= len > 0 && p[len - 1] == '\r';
    if (!(colon = memchr(p, ':', len)) || colon == p)
        return false;
    *ret_name = dm_str_n(p, (size_t)(colon - p));
    *ret_value = dm_str_trim(dm_str_n(colon + 1, (size_t)(p + len - colon - 1)));
    return true;
}

static struct dm_str lower(struct dm_str name, char *at)
{
    for (size_t i = 0; i < name.len; i++)
        at[i] = dm_http_lower(name.ptr[i]);
    return dm_str_n(at, name.len);
}

bool dm_h2_fields_of_lines(struct dm_str lines, bool is_first, char *names, nghttp2_nv *ret, size_t max, size_t *n)
{
    struct dm_str name, value;

    while (lines.len > 0) {
        enum dm_http_field_id id;
        if (!cut_line(&lines, &name, &value))
            return false;
        id = dm_http_field_id_of(name);
        if (is_of_connection(id))
            continue;
        if (*n == max)
            return false;
        name = id != DM_HTTP_FIELD_ID_OTHER ? dm_http_field_name(id) : lower(name, names);
        ret[*n] = dm_h2_field(name, value);
        ret[(*n)++].flags |= index_flag(id, is_first);
        names += name.len;
    }
    return true;
}
