/* Streaming JSON writer.
 *
 * J1. The level `depth` is the open container; bit `depth` of has_items and is_object belong to it. Level 0 is the
 *     document, which takes one value.
 * J2. In an object each value is announced by a name (after_name); nowhere else. */
#include "base/jsonw.h"

#include "base/jsonw_int.h"
#include "base/utf8_int.h"

#include <assert.h>
#include <math.h>

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))
#define PRINTF_BYTES 1024

void dm_jsonw_init(struct dm_jsonw *w, struct dm_buf *buf)
{
    *w = (struct dm_jsonw){.buf = buf};
}

/* Eight bytes of printable ASCII without quote and backslash? A subtraction borrows only behind a byte that is found. */
static bool next_8_are_plain(const char *p)
{
    uint64_t word, quote, backslash;

    memcpy(&word, p, sizeof(word));
    quote = word ^ EACH_BYTE('"');
    backslash = word ^ EACH_BYTE('\\');
    return ((word | (word - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) | (backslash - EACH_BYTE(1))) &
            EACH_BYTE(0x80)) == 0;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static size_t plain_run(struct dm_str s)
{
    size_t n = 0;

    while (s.len - n >= 8 && next_8_are_plain(s.ptr + n))
        n += 8;
    while (n < s.len && is_plain((unsigned char)s.ptr[n]))
        n++;
    return n;
}

static void add_ascii_escape(struct dm_buf *buf, unsigned char c)
{
    static const char short_form[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

    if (c == '"' || c == '\\' || (c < sizeof(short_form) && short_form[c])) {
        text[1] = c < 0x20 ? short_form[c] : (char)c;
        dm_buf_add_n(buf, text, 2);
    } else {
        dm_buf_add_n(buf, text, sizeof(text));
    }
}

/* Writes the character at the head of s, which is not plain; returns how many bytes of s it took. */
static size_t add_special(struct dm_buf *buf, struct dm_str s)
{
    unsigned char c = (unsigned char)s.ptr[0];
    size_t len;

    if (c < 0x80) {
        add_ascii_escape(buf, c);
        return 1;
    }
    if ((len = dm_utf8_len((const unsigned char *)s.ptr, s.len)) > 0) {
        dm_buf_add_n(buf, s.ptr, len);
        return len;
    }
    dm_buf_add_lit(buf, "\xef\xbf\xbd"); /* U+FFFD */
    return 1;
}

void dm_jsonw_quote(struct dm_buf *buf, struct dm_str s)
{
    size_t n;

    dm_buf_add_char(buf, '"');
    while (s.len > 0) {
        if ((n = plain_run(s)) > 0)
            dm_buf_add_n(buf, s.ptr, n);
        else
            n = add_special(buf, s);
        s = dm_str_skip(s, n);
    }
    dm_buf_add_char(buf, '"');
}

void dm_jsonw_number(struct dm_buf *buf, double value)
{
    char text[40];
    int precision, len = 0;

    for (precision = 15; precision <= 17; precision++) {
        len = snprintf(text, sizeof(text), "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    dm_buf_add_n(buf, text, (size_t)len);
    if (!strpbrk(text, ".e"))
        dm_buf_add_lit(buf, ".0");
}

static uint64_t level_bit(const struct dm_jsonw *w)
{
    return UINT64_C(1) << w->depth;
}

static void begin_item(struct dm_jsonw *w)
{
    assert(w->depth > 0 || !(w->has_items & 1));
    if (w->has_items & level_bit(w))
        dm_buf_add_char(w->buf, ',');
    w->has_items |= level_bit(w);
}

static void begin_value(struct dm_jsonw *w)
{
    assert(w->after_name == ((w->is_object & level_bit(w)) != 0));
    if (w->after_name)
        w->after_name = false;
    else
        begin_item(w);
}

static void begin_container(struct dm_jsonw *w, char bracket, bool is_object)
{
    begin_value(w);
    assert(w->depth < DM_JSONW_DEPTH_MAX);
    w->depth++;
    w->has_items &= ~level_bit(w);
    w->is_object &= ~level_bit(w);
    if (is_object)
        w->is_object |= level_bit(w);
    dm_buf_add_char(w->buf, bracket);
}

static void end_container(struct dm_jsonw *w, char bracket, bool is_object)
{
    assert(w->depth > 0 && !w->after_name);
    assert(is_object == ((w->is_object & level_bit(w)) != 0));
    w->depth--;
    dm_buf_add_char(w->buf, bracket);
}

void dm_jsonw_begin_object(struct dm_jsonw *w)
{
    begin_container(w, '{', true);
}

void dm_jsonw_end_object(struct dm_jsonw *w)
{
    end_container(w, '}', true);
}

void dm_jsonw_begin_array(struct dm_jsonw *w)
{
    begin_container(w, '[', false);
}

void dm_jsonw_end_array(struct dm_jsonw *w)
{
    end_container(w, ']', false);
}

void dm_jsonw_name(struct dm_jsonw *w, const char *name)
{
    dm_jsonw_name_str(w, dm_str_of(name));
}

void dm_jsonw_name_str(struct dm_jsonw *w, struct dm_str name)
{
    assert((w->is_object & level_bit(w)) && !w->after_name);
    begin_item(w);
    dm_jsonw_quote(w->buf, name);
    dm_buf_add_char(w->buf, ':');
    w->after_name = true;
}

void dm_jsonw_str(struct dm_jsonw *w, struct dm_str value)
{
    begin_value(w);
    dm_jsonw_quote(w->buf, value);
}

void dm_jsonw_cstr(struct dm_jsonw *w, const char *value)
{
    dm_jsonw_str(w, dm_str_of(value));
}

void dm_jsonw_printf(struct dm_jsonw *w, const char *fmt, ...)
{
    char text[PRINTF_BYTES + 1];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    dm_jsonw_str(w, dm_str_n(text, n < 0 ? 0 : DM_MIN((size_t)n, PRINTF_BYTES)));
}

void dm_jsonw_u64(struct dm_jsonw *w, uint64_t value)
{
    begin_value(w);
    dm_buf_add_u64(w->buf, value);
}

void dm_jsonw_i64(struct dm_jsonw *w, int64_t value)
{
    begin_value(w);
    if (value < 0)
        dm_buf_add_char(w->buf, '-');
    dm_buf_add_u64(w->buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void dm_jsonw_real(struct dm_jsonw *w, double value)
{
    begin_value(w);
    if (isfinite(value))
        dm_jsonw_number(w->buf, value);
    else
        dm_buf_add_lit(w->buf, "null");
}

void dm_jsonw_bool(struct dm_jsonw *w, bool value)
{
    begin_value(w);
    dm_buf_add(w->buf, value ? DM_STR("true") : DM_STR("false"));
}

void dm_jsonw_null(struct dm_jsonw *w)
{
    begin_value(w);
    dm_buf_add_lit(w->buf, "null");
}

void dm_jsonw_raw(struct dm_jsonw *w, struct dm_str json)
{
    begin_value(w);
    dm_buf_add(w->buf, json);
}

void dm_jsonw_member_str(struct dm_jsonw *w, const char *name, struct dm_str value)
{
    dm_jsonw_name(w, name);
    dm_jsonw_str(w, value);
}

void dm_jsonw_member_cstr(struct dm_jsonw *w, const char *name, const char *value)
{
    dm_jsonw_name(w, name);
    dm_jsonw_cstr(w, value);
}

void dm_jsonw_member_u64(struct dm_jsonw *w, const char *name, uint64_t value)
{
    dm_jsonw_name(w, name);
    dm_jsonw_u64(w, value);
}

void dm_jsonw_member_bool(struct dm_jsonw *w, const char *name, bool value)
{
    dm_jsonw_name(w, name);
    dm_jsonw_bool(w, value);
}
