/* Error lists, the place where a check stands, and how messages show values and names. */
#include "base/buf.h"
#include "model/field.h"

#include <stdarg.h>

static int add_at(struct dm_errs *errs, int code, const char *pointer, const char *fmt, va_list args)
{
    struct dm_err err = {0};
    struct dm_buf text;

    if (!errs)
        return code;
    errs->total++;
    if (errs->n == DM_ERRS_MAX)
        return code;
    dm_buf_init(&text, 64 * 1024);
    dm_buf_vprintf(&text, fmt, args);
    dm_fail(&err, code, pointer, "%.*s", DM_STR_ARG(dm_buf_str(&text)));
    dm_buf_done(&text);
    errs->items[errs->n++] = err;
    return code;
}

int dm_errs_add(struct dm_errs *errs, int code, const char *pointer, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_at(errs, code, pointer, fmt, args);
    va_end(args);
    return code;
}

int dm_errs_code(const struct dm_errs *errs)
{
    return errs->n > 0 ? errs->items[0].code : 0;
}

void dm_check_init(struct dm_check *check, struct dm_errs *errs)
{
    check->errs = errs;
    check->len = 0;
    check->pointer[0] = '\0';
}

static void fail_at(struct dm_check *check, int code, const char *sub, const char *fmt, va_list args)
{
    size_t mark = dm_check_enter(check, "%s", sub);

    add_at(check->errs, code, check->pointer, fmt, args);
    dm_check_leave(check, mark);
}

void dm_check_fail(struct dm_check *check, const char *sub, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail_at(check, DM_EINVAL, sub, fmt, args);
    va_end(args);
}

void dm_check_fail_code(struct dm_check *check, int code, const char *sub, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail_at(check, code, sub, fmt, args);
    va_end(args);
}

/* A step that does not fit is left out whole, so that the pointer still names something above the fault. */
size_t dm_check_enter(struct dm_check *check, const char *fmt, ...)
{
    size_t mark = check->len, room = sizeof(check->pointer) - check->len;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(check->pointer + mark, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room)
        check->pointer[mark] = '\0';
    else
        check->len += (size_t)n;
    return mark;
}

void dm_check_leave(struct dm_check *check, size_t mark)
{
    check->len = mark;
    check->pointer[mark] = '\0';
}

#define SHOWN_BYTES 64

/* Bytes from at on that are cut from UTF-8 text at `max` without cutting a character. */
static size_t shown_bytes(struct dm_str value)
{
    size_t n = SHOWN_BYTES;

    if (value.len <= SHOWN_BYTES)
        return value.len;
    while (n > 0 && ((unsigned char)value.ptr[n] & 0xC0) == 0x80)
        n--;
    return n;
}

const char *dm_show(struct dm_str value, char ret[DM_SHOW_MAX])
{
    struct dm_buf buf;
    size_t n = shown_bytes(value);

    dm_buf_init_fixed(&buf, ret, DM_SHOW_MAX);
    dm_buf_add_char(&buf, '\'');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value.ptr[i];

        if (c < 0x20 || c == 0x7F)
            dm_buf_printf(&buf, "\\x%02X", c);
        else
            dm_buf_add_char(&buf, (char)c);
    }
    if (n < value.len)
        dm_buf_add_lit(&buf, "…");
    dm_buf_add_n(&buf, "'", 2);
    return ret;
}

int dm_names_find(const char *const *names, struct dm_str name)
{
    for (int i = 0; names[i]; i++) {
        if (names[i][0] != '\0' && dm_str_eq(dm_str_of(names[i]), name))
            return i;
    }
    return -1;
}

/* Near: at most a third of the longer name differs, and at least one edit is always forgiven. */
const char *dm_names_near(const char *const *names, struct dm_str name)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (size_t i = 0; names[i]; i++) {
        struct dm_str candidate = dm_str_of(names[i]);
        size_t distance = dm_str_distance(candidate, name);
        size_t allowed = DM_MAX(1, DM_MAX(candidate.len, name.len) / 3);

        if (candidate.len > 1 && distance <= allowed && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}
