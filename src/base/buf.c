/* Growing of capped buffers. */
#include "base/buf.h"

#include "base/mem.h"

#define FIRST_BYTES 256
#define PRINTF_BYTES 512

void dm_buf_init(struct dm_buf *buf, size_t max_bytes)
{
    *buf = (struct dm_buf){.max = max_bytes};
}

void dm_buf_init_fixed(struct dm_buf *buf, void *memory, size_t bytes)
{
    *buf = (struct dm_buf){.ptr = memory, .cap = bytes, .max = bytes, .is_fixed = true};
}

void dm_buf_done(struct dm_buf *buf)
{
    if (!buf->is_fixed)
        dm_free(buf->ptr);
    *buf = (struct dm_buf){0};
}

void dm_buf_reset(struct dm_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool dm_buf_grow(struct dm_buf *buf, size_t n)
{
    size_t cap;

    if (buf->failed || n > buf->max - buf->len) {
        buf->failed = true;
        return false;
    }
    if (n <= buf->cap - buf->len)
        return true;
    cap = buf->cap < buf->max / 2 ? buf->cap * 2 : buf->max;
    cap = DM_MIN(DM_MAX(cap, FIRST_BYTES), buf->max);
    cap = DM_MAX(cap, buf->len + n);
    buf->ptr = dm_realloc(buf->ptr, cap);
    buf->cap = cap;
    return true;
}

void dm_buf_printf(struct dm_buf *buf, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    dm_buf_vprintf(buf, fmt, args);
    va_end(args);
}

/* vsnprintf wants room for a NUL, which may lie behind the buffer's maximum. */
static void add_long(struct dm_buf *buf, size_t n, const char *fmt, va_list args)
{
    char *text;

    if (!dm_buf_grow(buf, n))
        return;
    if (buf->cap - buf->len > n) {
        vsnprintf(buf->ptr + buf->len, n + 1, fmt, args);
        buf->len += n;
        return;
    }
    text = dm_alloc(n + 1);
    vsnprintf(text, n + 1, fmt, args);
    dm_buf_add_n(buf, text, n);
    dm_free(text);
}

void dm_buf_vprintf(struct dm_buf *buf, const char *fmt, va_list args)
{
    char text[PRINTF_BYTES];
    va_list again;
    int n;

    va_copy(again, args);
    n = vsnprintf(text, sizeof(text), fmt, args);
    if (n < 0)
        buf->failed = true;
    else if ((size_t)n < sizeof(text))
        dm_buf_add_n(buf, text, (size_t)n);
    else
        add_long(buf, (size_t)n, fmt, again);
    va_end(again);
}

void dm_buf_add_u64(struct dm_buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    dm_buf_add_n(buf, digits + at, sizeof(digits) - at);
}

void dm_buf_consume(struct dm_buf *buf, size_t n)
{
    if (n == 0)
        return;
    buf->len -= n;
    memmove(buf->ptr, buf->ptr + n, buf->len);
}
