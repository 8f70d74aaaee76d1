#include "http/body.h"
#include "http/chars_int.h"
#include "http/parse_int.h"

#define SIZE_DIGITS_MAX 16

/* See the table in body.h. EXT_GAP: white space after a size or a value, ';' must follow. EXT_BEGIN: after ';'.
 * NAME_GAP: white space after a name, '=' or ';' must follow. VALUE_BEGIN: after '='. QUOTED_END: after the closing
 * quote. */
enum state {
    SIZE,
    DIGITS,
    EXT_GAP,
    EXT_BEGIN,
    EXT_NAME,
    NAME_GAP,
    VALUE_BEGIN,
    VALUE,
    QUOTED,
    QUOTED_PAIR,
    QUOTED_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILERS,
    DONE
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_token(char c)
{
    return (dm_http_char(c) & DM_CHAR_TOKEN) != 0;
}

/* The fault of a byte that fits nowhere. */
static int stray(char c, enum dm_http_fault fault)
{
    return c == '\n' ? -DM_HTTP_BARE_LF : -(int)fault;
}

/* Each of these takes one byte and returns the next state or a negative fault. */

static int on_size(struct dm_http_body *body, char c)
{
    int digit = dm_http_hex[(uint8_t)c];

    if (digit < 0)
        return stray(c, DM_HTTP_BAD_CHUNK_SIZE);
    body->left = (uint64_t)digit;
    body->digits = 1;
    return DIGITS;
}

static int on_digits(struct dm_http_body *body, char c)
{
    int digit = dm_http_hex[(uint8_t)c];

    if (digit >= 0) {
        if (++body->digits > SIZE_DIGITS_MAX || body->left >> 59 != 0)
            return -DM_HTTP_BAD_CHUNK_SIZE;
        body->left = body->left << 4 | (uint64_t)digit;
        return DIGITS;
    }
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXT_BEGIN;
    return is_blank(c) ? EXT_GAP : stray(c, DM_HTTP_BAD_CHUNK_SIZE);
}

static int on_ext_gap(struct dm_http_body *body, char c)
{
    if (c == ';')
        return EXT_BEGIN;
    return is_blank(c) ? EXT_GAP : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

static int on_ext_begin(struct dm_http_body *body, char c)
{
    if (is_token(c))
        return EXT_NAME;
    return is_blank(c) ? EXT_BEGIN : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

/* After a name or a name and white space. */
static int after_name(char c)
{
    if (c == '=')
        return VALUE_BEGIN;
    if (c == ';')
        return EXT_BEGIN;
    return is_blank(c) ? NAME_GAP : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

static int on_ext_name(struct dm_http_body *body, char c)
{
    if (is_token(c))
        return EXT_NAME;
    return c == '\r' ? SIZE_LF : after_name(c);
}

static int on_name_gap(struct dm_http_body *body, char c)
{
    return after_name(c);
}

static int on_value_begin(struct dm_http_body *body, char c)
{
    if (c == '"')
        return QUOTED;
    if (is_token(c))
        return VALUE;
    return is_blank(c) ? VALUE_BEGIN : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

static int on_quoted_end(struct dm_http_body *body, char c)
{
    return c == '\r' ? SIZE_LF : on_ext_gap(body, c);
}

static int on_value(struct dm_http_body *body, char c)
{
    return is_token(c) ? VALUE : on_quoted_end(body, c);
}

static int on_quoted(struct dm_http_body *body, char c)
{
    if (c == '"')
        return QUOTED_END;
    if (c == '\\')
        return QUOTED_PAIR;
    return dm_http_char(c) & DM_CHAR_VALUE ? QUOTED : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

static int on_quoted_pair(struct dm_http_body *body, char c)
{
    return dm_http_char(c) & DM_CHAR_VALUE ? QUOTED : stray(c, DM_HTTP_BAD_CHUNK_EXTENSION);
}

static int on_size_lf(struct dm_http_body *body, char c)
{
    if (c != '\n')
        return -DM_HTTP_BARE_CR;
    if (body->left == 0)
        return TRAILERS;
    if (body->total > body->max_bytes || body->left > body->max_bytes - body->total)
        return -DM_HTTP_BODY_TOO_LARGE;
    body->total += body->left;
    return DATA;
}

static int on_data_cr(struct dm_http_body *body, char c)
{
    return c == '\r' ? DATA_LF : -DM_HTTP_BAD_CHUNK_END;
}

static int on_data_lf(struct dm_http_body *body, char c)
{
    return c == '\n' ? SIZE : -DM_HTTP_BAD_CHUNK_END;
}

static int (*const on_byte[])(struct dm_http_body *body, char c) = {
    [SIZE] = on_size,
    [DIGITS] = on_digits,
    [EXT_GAP] = on_ext_gap,
    [EXT_BEGIN] = on_ext_begin,
    [EXT_NAME] = on_ext_name,
    [NAME_GAP] = on_name_gap,
    [VALUE_BEGIN] = on_value_begin,
    [VALUE] = on_value,
    [QUOTED] = on_quoted,
    [QUOTED_PAIR] = on_quoted_pair,
    [QUOTED_END] = on_quoted_end,
    [SIZE_LF] = on_size_lf,
    [DATA_CR] = on_data_cr,
    [DATA_LF] = on_data_lf,
};

/* One byte of framing. */
static int step(struct dm_http_body *body, char c)
{
    int next = on_byte[body->state](body, c);

    if (next < 0)
        return next;
    if (next >= EXT_GAP && next <= QUOTED_END && body->extension_left-- == 0)
        return -DM_HTTP_CHUNK_EXTENSIONS_TOO_LARGE;
    body->state = (uint8_t)next;
    return 0;
}

/* Returns the bytes of the trailer section, 0 if it is not complete, or a fault. The usual empty one needs no head. */
static int read_trailers(struct dm_http_body *body, struct dm_str in)
{
    struct dm_http_head head;
    struct dm_http_cursor cursor = {
        .p = in.ptr, .end = in.ptr + in.len, .limits = body->limits, .head = &head, .is_trailer = true};

    if (dm_str_starts(in, DM_STR("\r\n")) && body->limits->trailer_bytes >= 2)
        return 2;
    return dm_http_parse_section(&cursor, body->limits->trailer_bytes, DM_HTTP_TRAILER_TOO_LARGE, &body->scan,
                                 dm_http_read_trailers);
}

static struct dm_str take_data(struct dm_http_body *body, struct dm_str in)
{
    struct dm_str data = {in.ptr, (size_t)DM_MIN(body->left, in.len)};

    body->left -= data.len;
    return data;
}

static int feed_trailers(struct dm_http_body *body, struct dm_str in, size_t *consumed)
{
    int rc = in.len > 0 ? read_trailers(body, in) : 0;

    if (rc <= 0)
        return rc;
    body->trailers = dm_str_n(in.ptr, (size_t)rc);
    body->state = DONE;
    *consumed += (size_t)rc;
    return 1;
}

static int feed_chunked(struct dm_http_body *body, struct dm_str in, size_t *consumed, struct dm_str *data)
{
    size_t i = 0;
    int rc;

    for (; i < in.len && body->state != DATA && body->state != TRAILERS && body->state != DONE; i++)
        if ((rc = step(body, in.ptr[i])) < 0)
            return rc;
    *consumed = i;
    if (body->state == TRAILERS)
        return feed_trailers(body, dm_str_skip(in, i), consumed);
    if (body->state == DATA && i < in.len) {
        *data = take_data(body, dm_str_skip(in, i));
        *consumed += data->len;
        if (body->left == 0)
            body->state = DATA_CR;
    }
    return body->state == DONE;
}

int dm_http_body_init(struct dm_http_body *body, const struct dm_http_head *head, const struct dm_http_limits *limits,
                      uint64_t max_bytes)
{
    *body = (struct dm_http_body){
        .limits = limits,
        .max_bytes = max_bytes,
        .extension_left = limits->extension_bytes,
        .framing = head->framing,
        .state = head->framing == DM_HTTP_FRAMING_NONE      ? DONE
                 : head->framing == DM_HTTP_FRAMING_CHUNKED ? SIZE
                                                            : DATA,
    };
    if (head->framing != DM_HTTP_FRAMING_LENGTH)
        return 0;
    body->left = body->total = head->content_length;
    if (body->left == 0)
        body->state = DONE;
    return body->total > max_bytes ? -DM_HTTP_BODY_TOO_LARGE : 0;
}

int dm_http_body_feed(struct dm_http_body *body, struct dm_str in, size_t *ret_consumed, struct dm_str *ret_data)
{
    *ret_consumed = 0;
    *ret_data = dm_str_n(in.ptr, 0);
    if (body->state == DONE)
        return 1;
    if (body->framing == DM_HTTP_FRAMING_CHUNKED)
        return feed_chunked(body, in, ret_consumed, ret_data);
    if (body->framing == DM_HTTP_FRAMING_CLOSE)
        body->left = UINT64_MAX;
    *ret_data = take_data(body, in);
    *ret_consumed = ret_data->len;
    if (body->framing == DM_HTTP_FRAMING_CLOSE)
        body->total += ret_data->len;
    else if (body->left == 0)
        body->state = DONE;
    if (body->total > body->max_bytes)
        return -DM_HTTP_BODY_TOO_LARGE;
    return body->state == DONE;
}

int dm_http_body_end(struct dm_http_body *body)
{
    if (body->framing == DM_HTTP_FRAMING_CLOSE)
        body->state = DONE;
    return body->state == DONE ? 0 : -DM_HTTP_BODY_CUT;
}

bool dm_http_body_is_done(const struct dm_http_body *body)
{
    return body->state == DONE;
}
