#include "http/chars_int.h"
#include "http/field.h"

struct known {
    struct dm_str name;
    uint8_t flags;
};

static const struct known known[DM_HTTP_FIELD_ID_COUNT] = {[DM_HTTP_FIELD_ID_OTHER] = {{"", 0}, 0},
#define KNOWN_ROW(id, name, flags) [DM_HTTP_FIELD_ID_##id] = {{name, sizeof(name) - 1}, flags},
                                                           DM_HTTP_FIELDS(KNOWN_ROW)
#undef KNOWN_ROW
};

/* First and last id whose name has this length. */
static const struct {
    uint8_t first, last;
} by_length[] = {
    [2] = {DM_HTTP_FIELD_ID_TE, DM_HTTP_FIELD_ID_TE},
    [3] = {DM_HTTP_FIELD_ID_AGE, DM_HTTP_FIELD_ID_VIA},
    [4] = {DM_HTTP_FIELD_ID_HOST, DM_HTTP_FIELD_ID_VARY},
    [5] = {DM_HTTP_FIELD_ID_ALLOW, DM_HTTP_FIELD_ID_RANGE},
    [6] = {DM_HTTP_FIELD_ID_ACCEPT, DM_HTTP_FIELD_ID_SERVER},
    [7] = {DM_HTTP_FIELD_ID_ALT_SVC, DM_HTTP_FIELD_ID_UPGRADE},
    [8] = {DM_HTTP_FIELD_ID_IF_MATCH, DM_HTTP_FIELD_ID_LOCATION},
    [9] = {DM_HTTP_FIELD_ID_FORWARDED, DM_HTTP_FIELD_ID_X_REAL_IP},
    [10] = {DM_HTTP_FIELD_ID_USER_AGENT, DM_HTTP_FIELD_ID_TRACESTATE},
    [11] = {DM_HTTP_FIELD_ID_RETRY_AFTER, DM_HTTP_FIELD_ID_TRACEPARENT},
    [12] = {DM_HTTP_FIELD_ID_CONTENT_TYPE, DM_HTTP_FIELD_ID_X_REQUEST_ID},
    [13] = {DM_HTTP_FIELD_ID_AUTHORIZATION, DM_HTTP_FIELD_ID_LAST_MODIFIED},
    [14] = {DM_HTTP_FIELD_ID_CONTENT_LENGTH, DM_HTTP_FIELD_ID_HTTP2_SETTINGS},
    [15] = {DM_HTTP_FIELD_ID_ACCEPT_ENCODING, DM_HTTP_FIELD_ID_X_FORWARDED_FOR},
    [16] = {DM_HTTP_FIELD_ID_CONTENT_ENCODING, DM_HTTP_FIELD_ID_X_FORWARDED_PORT},
    [17] = {DM_HTTP_FIELD_ID_IF_MODIFIED_SINCE, DM_HTTP_FIELD_ID_X_FORWARDED_PROTO},
    [18] = {DM_HTTP_FIELD_ID_PROXY_AUTHENTICATE, DM_HTTP_FIELD_ID_X_FORWARDED_PREFIX},
    [19] = {DM_HTTP_FIELD_ID_CONTENT_DISPOSITION, DM_HTTP_FIELD_ID_PROXY_AUTHORIZATION},
    [20] = {DM_HTTP_FIELD_ID_SEC_WEBSOCKET_ACCEPT, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_ACCEPT},
    [21] = {DM_HTTP_FIELD_ID_SEC_WEBSOCKET_VERSION, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_VERSION},
    [22] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_MAX_AGE, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_PROTOCOL},
    [24] = {DM_HTTP_FIELD_ID_SEC_WEBSOCKET_EXTENSIONS, DM_HTTP_FIELD_ID_SEC_WEBSOCKET_EXTENSIONS},
    [25] = {DM_HTTP_FIELD_ID_PROXY_AUTHENTICATION_INFO, DM_HTTP_FIELD_ID_STRICT_TRANSPORT_SECURITY},
    [27] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_ORIGIN, DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_ORIGIN},
    [28] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_HEADERS, DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_METHODS},
    [29] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_EXPOSE_HEADERS, DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_METHOD},
    [30] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_HEADERS, DM_HTTP_FIELD_ID_ACCESS_CONTROL_REQUEST_HEADERS},
    [32] = {DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_CREDENTIALS, DM_HTTP_FIELD_ID_ACCESS_CONTROL_ALLOW_CREDENTIALS},
};

static inline uint64_t load_8(const char *ptr)
{
    uint64_t x;

    memcpy(&x, ptr, sizeof(x));
    return x;
}

static inline uint32_t load_4(const char *ptr)
{
    uint32_t x;

    memcpy(&x, ptr, sizeof(x));
    return x;
}

/* Known names consist of lower-case letters, digits and '-'. All of these have bit 0x20, and no other token character becomes
 * one of them by setting it: a token is lowered, a known name compared, by whole words. */
#define LOWER_8 UINT64_C(0x2020202020202020)
#define LOWER_4 0x20202020u

static inline bool is_tail_known(const char *token, const char *name, size_t len)
{
    for (size_t i = 8; i + 8 < len; i += 8)
        if ((load_8(token + i) | LOWER_8) != load_8(name + i))
            return false;
    return (load_8(token + len - 8) | LOWER_8) == load_8(name + len - 8);
}

static unsigned find_long(const char *token, size_t len, unsigned id, unsigned last)
{
    uint64_t first = load_8(token) | LOWER_8;

    for (; id <= last; id++)
        if (first == load_8(known[id].name.ptr) && is_tail_known(token, known[id].name.ptr, len))
            return id;
    return DM_HTTP_FIELD_ID_OTHER;
}

/* 4 to 7 bytes: two words that may overlap. */
static unsigned find_short(const char *token, size_t len, unsigned id, unsigned last)
{
    uint32_t first = load_4(token) | LOWER_4, end = load_4(token + len - 4) | LOWER_4;

    for (; id <= last; id++)
        if (first == load_4(known[id].name.ptr) && end == load_4(known[id].name.ptr + len - 4))
            return id;
    return DM_HTTP_FIELD_ID_OTHER;
}

static unsigned find_tiny(const char *token, size_t len, unsigned id, unsigned last)
{
    for (; id <= last; id++)
        if (dm_http_lower_eq(token, known[id].name.ptr, len))
            return id;
    return DM_HTTP_FIELD_ID_OTHER;
}

enum dm_http_field_id dm_http_field_id_of(struct dm_str name)
{
    unsigned first, last;

    if (name.len >= DM_COUNT(by_length) || (first = by_length[name.len].first) == 0)
        return DM_HTTP_FIELD_ID_OTHER;
    last = by_length[name.len].last;
    if (name.len >= 8)
        return (enum dm_http_field_id)find_long(name.ptr, name.len, first, last);
    return (enum dm_http_field_id)(name.len >= 4 ? find_short(name.ptr, name.len, first, last)
                                                 : find_tiny(name.ptr, name.len, first, last));
}

struct dm_str dm_http_field_name(enum dm_http_field_id id)
{
    return (unsigned)id < DM_HTTP_FIELD_ID_COUNT ? known[id].name : known[0].name;
}

uint8_t dm_http_field_flags_of(enum dm_http_field_id id)
{
    return (unsigned)id < DM_HTTP_FIELD_ID_COUNT ? known[id].flags : 0;
}

bool dm_http_field_name_is_valid(struct dm_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!(dm_http_char(name.ptr[i]) & DM_CHAR_TOKEN))
            return false;
    return name.len > 0;
}

bool dm_http_field_name_is_folded(struct dm_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (dm_http_char(name.ptr[i]) & DM_CHAR_FOLDED)
            return true;
    return false;
}

static char fold(char c)
{
    return dm_http_char(c) & DM_CHAR_FOLDED ? '-' : dm_http_lower(c);
}

bool dm_http_field_names_fold_alike(struct dm_str a, struct dm_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.ptr[i]) != fold(b.ptr[i]))
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool dm_http_field_value_is_valid(struct dm_str value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!(dm_http_char(value.ptr[i]) & DM_CHAR_VALUE))
            return false;
    return value.len == 0 || (!is_blank(value.ptr[0]) && !is_blank(value.ptr[value.len - 1]));
}

/* Length of the element that s starts with: up to a comma outside quoted strings. */
static size_t element_length(struct dm_str s)
{
    bool is_quoted = false;
    size_t i;

    for (i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"')
            is_quoted = !is_quoted;
        else if (is_quoted && s.ptr[i] == '\\')
            i++;
        else if (!is_quoted && s.ptr[i] == ',')
            break;
    }
    return DM_MIN(i, s.len);
}

bool dm_http_list_next(struct dm_str *rest, struct dm_str *ret_element)
{
    while (rest->len > 0) {
        size_t len = element_length(*rest);
        struct dm_str element = {rest->ptr, len};

        *rest = dm_str_skip(*rest, len + 1);
        while (element.len > 0 && is_blank(element.ptr[element.len - 1]))
            element.len--;
        while (element.len > 0 && is_blank(element.ptr[0]))
            element = dm_str_skip(element, 1);
        if (element.len > 0) {
            *ret_element = element;
            return true;
        }
    }
    return false;
}

bool dm_http_list_has(struct dm_str list, struct dm_str token)
{
    struct dm_str element;

    while (dm_http_list_next(&list, &element))
        if (dm_str_ieq(element, token))
            return true;
    return false;
}
