#include "h2_case.h"

#include <stdio.h>
#include <string.h>

#include "case_file.h"
#include "h2/frame.h"

enum { HEAD_BYTES = 9, FLAG_END_STREAM = 0x1, FLAG_ACK = 0x1, FLAG_END_HEADERS = 0x4, FLAG_PADDED = 0x8 };
enum { FLAG_PRIORITY = 0x20, FIELD_MAX = 4096 };

static const char *const types[] = {"DATA",         "HEADERS", "PRIORITY", "RST_STREAM",    "SETTINGS",
                                    "PUSH_PROMISE", "PING",    "GOAWAY",   "WINDOW_UPDATE", "CONTINUATION"};

static const char *const codes[] = {"NO_ERROR",
                                    "PROTOCOL_ERROR",
                                    "INTERNAL_ERROR",
                                    "FLOW_CONTROL_ERROR",
                                    "SETTINGS_TIMEOUT",
                                    "STREAM_CLOSED",
                                    "FRAME_SIZE_ERROR",
                                    "REFUSED_STREAM",
                                    "CANCEL",
                                    "COMPRESSION_ERROR",
                                    "CONNECT_ERROR",
                                    "ENHANCE_YOUR_CALM",
                                    "INADEQUATE_SECURITY",
                                    "HTTP_1_1_REQUIRED"};

static const struct {
    const char *name;
    uint8_t bit;
} flags[] = {{"end_stream", FLAG_END_STREAM}, {"ack", FLAG_ACK},           {"end_headers", FLAG_END_HEADERS},
             {"padded", FLAG_PADDED},         {"priority", FLAG_PRIORITY}, {"-", 0}};

/* --- words -------------------------------------------------------------------------------------------------------- */

const char *h2_code_name(uint32_t code)
{
    return code < DM_COUNT(codes) ? codes[code] : "?";
}

static bool is_word(struct dm_str s, const char *word)
{
    return dm_str_eq(s, dm_str_of(word));
}

/* The next word; one in quotes may hold spaces. */
static bool next_word(struct dm_str *line, struct dm_str *ret)
{
    size_t len;

    *line = dm_str_trim(*line);
    if (line->len == 0)
        return false;
    if (line->ptr[0] == '"') {
        len = dm_str_find(dm_str_skip(*line, 1), '"') + 2;
        *ret = dm_str_n(line->ptr, len);
        *line = dm_str_skip(*line, len);
        return true;
    }
    return dm_str_cut(line, ' ', ret);
}

static int digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Decimal, or hexadecimal behind 0x. */
static bool read_number(struct dm_str s, uint64_t *ret)
{
    if (!dm_str_starts(s, DM_STR("0x")))
        return dm_str_to_u64(s, ret) == 0;
    *ret = 0;
    for (size_t i = 2; i < s.len; i++) {
        int d = digit(s.ptr[i]);
        if (d < 0)
            return false;
        *ret = *ret << 4 | (uint64_t)d;
    }
    return s.len > 2;
}

/* What stands behind the prefix. */
static bool takes(struct dm_str word, const char *prefix, struct dm_str *ret)
{
    if (!dm_str_starts(word, dm_str_of(prefix)))
        return false;
    *ret = dm_str_skip(word, strlen(prefix));
    return true;
}

/* --- payloads ----------------------------------------------------------------------------------------------------- */

static void add_number(struct dm_buf *out, uint64_t value, unsigned n_bytes)
{
    while (n_bytes-- > 0)
        dm_buf_add_char(out, (char)(value >> (8 * n_bytes)));
}

static void add_request(struct dm_buf *out, struct dm_str method)
{
    add_field(out, DM_STR(":method"), method);
    add_field(out, DM_STR(":scheme"), DM_STR("http"));
    add_field(out, DM_STR(":path"), DM_STR("/"));
    add_field(out, DM_STR(":authority"), DM_STR("orders.test"));
    add_field(out, DM_STR("x-api-key"), DM_STR("good"));
}

static bool add_hex(struct dm_buf *out, struct dm_str hex)
{
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        int high = digit(hex.ptr[i]), low = digit(hex.ptr[i + 1]);
        if (high < 0 || low < 0)
            return false;
        dm_buf_add_char(out, (char)(high << 4 | low));
    }
    return hex.len % 2 == 0;
}

/* NAME=VALUE */
static bool add_named(struct dm_buf *out, struct dm_str field)
{
    char text[FIELD_MAX];
    size_t at = dm_str_find(field, '=');
    struct dm_buf value;

    if (at == field.len)
        return false;
    dm_buf_init_fixed(&value, text, sizeof(text));
    case_unescape(dm_str_skip(field, at + 1), &value);
    add_field(out, dm_str_n(field.ptr, at), dm_buf_str(&value));
    return true;
}

static bool add_setting(struct dm_buf *out, struct dm_str setting)
{
    struct dm_str id;
    uint64_t number, value;

    if (!dm_str_cut(&setting, '=', &id) || !read_number(id, &number) || !read_number(setting, &value))
        return false;
    add_number(out, number, 2);
    add_number(out, value, 4);
    return true;
}

static bool add_payload(struct dm_buf *out, struct dm_str word)
{
    struct dm_str rest;
    uint64_t n = 0;

    if (is_word(word, "GET") || is_word(word, "POST") || is_word(word, "HEAD")) {
        add_request(out, word);
    } else if (word.ptr[0] == '"') {
        case_unescape(dm_str_n(word.ptr + 1, word.len - 2), out);
    } else if (takes(word, "hex:", &rest)) {
        return add_hex(out, rest);
    } else if (takes(word, "+", &rest)) {
        return add_named(out, rest);
    } else if (takes(word, "setting:", &rest)) {
        return add_setting(out, rest);
    } else if (takes(word, "u32:", &rest)) {
        if (!read_number(rest, &n))
            return false;
        add_number(out, n, 4);
    } else if (takes(word, "fill:", &rest)) {
        if (!read_number(rest, &n))
            return false;
        for (; n > 0; n--)
            dm_buf_add_char(out, 'x');
    } else {
        return false;
    }
    return true;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

struct head {
    uint64_t type, id, flags, length;
};

static bool read_type(struct dm_str word, uint64_t *ret)
{
    for (size_t i = 0; i < DM_COUNT(types); i++)
        if (is_word(word, types[i])) {
            *ret = i;
            return true;
        }
    return read_number(word, ret);
}

static bool take_flag(struct dm_str word, struct head *head)
{
    for (size_t i = 0; i < DM_COUNT(flags); i++)
        if (is_word(word, flags[i].name)) {
            head->flags |= flags[i].bit;
            return true;
        }
    return false;
}

/* What is said of the head in place of what would follow from the payload. */
static bool take_head(struct dm_str word, struct head *head)
{
    struct dm_str rest;

    if (takes(word, "flags=", &rest))
        return read_number(rest, &head->flags);
    if (takes(word, "length=", &rest))
        return read_number(rest, &head->length);
    return take_flag(word, head);
}

static bool add_line(struct dm_buf *out, struct dm_str type, struct dm_str line)
{
    struct head head = {.length = UINT64_MAX};
    struct dm_buf payload DM_CLEANUP(dm_buf_done);
    struct dm_str word;

    dm_buf_init(&payload, 1 << 20);
    if (!read_type(type, &head.type) || !next_word(&line, &word) || !read_number(word, &head.id))
        return false;
    while (next_word(&line, &word))
        if (!take_head(word, &head) && !add_payload(&payload, word))
            return false;
    add_number(out, head.length == UINT64_MAX ? payload.len : head.length, 3);
    add_number(out, head.type, 1);
    add_number(out, head.flags, 1);
    add_number(out, head.id, 4);
    dm_buf_add(out, dm_buf_str(&payload));
    return true;
}

/* FIRST COUNT: so many whole requests, each on a stream of its own. */
static bool add_requests(struct dm_buf *out, struct dm_str line)
{
    char text[64];
    struct dm_str word;
    struct dm_buf frame;
    uint64_t id, n;

    if (!next_word(&line, &word) || !read_number(word, &id) || !next_word(&line, &word) || !read_number(word, &n))
        return false;
    for (; n > 0; n--, id += 2) {
        dm_buf_init_fixed(&frame, text, sizeof(text));
        dm_buf_printf(&frame, "%llu end_stream end_headers GET", (unsigned long long)id);
        if (!add_line(out, DM_STR("HEADERS"), dm_buf_str(&frame)))
            return false;
    }
    return true;
}

static bool add_bytes(struct dm_buf *out, struct dm_str line)
{
    struct dm_str word;

    while (next_word(&line, &word))
        if (!add_payload(out, word))
            return false;
    return true;
}

bool h2_line_bytes(struct dm_str line, struct dm_buf *ret)
{
    struct dm_str rest = line, word;
    bool ok = next_word(&rest, &word);

    if (ok && is_word(word, "bytes"))
        ok = add_bytes(ret, rest);
    else if (ok && is_word(word, "requests"))
        ok = add_requests(ret, rest);
    else if (ok)
        ok = add_line(ret, word, rest);
    if (!ok)
        fprintf(stderr, "cannot read: %.*s\n", DM_STR_ARG(line));
    return ok;
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static bool take_line(struct h2_case *ret, struct dm_str line)
{
    bool is_expected = dm_str_starts(line, DM_STR("< "));

    if (is_word(line, "! bare"))
        return ret->is_bare = true;
    if (is_word(line, "! quiet"))
        return ret->is_quiet = true;
    if (is_word(line, "! whole"))
        return ret->is_whole = true;
    if ((!is_expected && !dm_str_starts(line, DM_STR("> "))) || ret->n_steps == H2_CASE_STEPS_MAX)
        return false;
    ret->steps[ret->n_steps++] = (struct h2_step){is_expected, dm_str_skip(line, 2)};
    return true;
}

int h2_case_next(struct dm_str *text, struct h2_case *ret)
{
    struct dm_str name, line;

    if (!case_begin(text, &name))
        return 0;
    *ret = (struct h2_case){.name = name};
    while (case_line(text, &line))
        if (!take_line(ret, line))
            return case_fail(name, line);
    return 1;
}
