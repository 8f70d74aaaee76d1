/* Growing byte buffer with a maximum that is given at init. Appending past the maximum sets `failed` and changes
 * nothing; further appends are refused until it is reset, so a caller may check once at the end. */
#ifndef DM_BASE_BUF_H
#define DM_BASE_BUF_H

#include "base/str.h"
#include <stdarg.h>

struct dm_buf {
    char *ptr;
    size_t len, cap, max;
    bool failed;
    bool is_fixed; /* ptr is the caller's memory and does not grow */
};

/* Grows on the heap up to max_bytes. */
void dm_buf_init(struct dm_buf *buf, size_t max_bytes);
/* Uses the caller's memory, never grows. */
void dm_buf_init_fixed(struct dm_buf *buf, void *memory, size_t bytes);
/* Frees heap memory; also right for a zeroed buffer. Fits DM_CLEANUP. */
void dm_buf_done(struct dm_buf *buf);
/* Empty again, failed cleared, memory kept. */
void dm_buf_reset(struct dm_buf *buf);

/* Slow path: room for n more bytes or failed. */
bool dm_buf_grow(struct dm_buf *buf, size_t n);

static inline void dm_buf_add_n(struct dm_buf *buf, const void *ptr, size_t n)
{
    if (DM_UNLIKELY(buf->failed || buf->cap - buf->len < n) && !dm_buf_grow(buf, n))
        return;
    if (n > 0)
        memcpy(buf->ptr + buf->len, ptr, n);
    buf->len += n;
}

/* For putting something together that consists of many pieces: where at most n more bytes may be written, which dm_buf_took()
 * then adds, up to `end`; NULL and failed when n do not fit. */
static inline char *dm_buf_room(struct dm_buf *buf, size_t n)
{
    if (DM_UNLIKELY(buf->failed || buf->cap - buf->len < n) && !dm_buf_grow(buf, n))
        return NULL;
    return buf->ptr + buf->len;
}

static inline void dm_buf_took(struct dm_buf *buf, const char *end)
{
    buf->len = (size_t)(end - buf->ptr);
}

static inline void dm_buf_add(struct dm_buf *buf, struct dm_str s)
{
    dm_buf_add_n(buf, s.ptr, s.len);
}

static inline void dm_buf_add_char(struct dm_buf *buf, char c)
{
    dm_buf_add_n(buf, &c, 1);
}

/* Inline always, so that the copy of a literal is a few moves. */
DM_ALWAYS_INLINE void dm_buf_add_const(struct dm_buf *buf, const void *ptr, size_t n)
{
    char *at = dm_buf_room(buf, n);

    if (DM_LIKELY(at))
        dm_buf_took(buf, (char *)memcpy(at, ptr, n) + n);
}
#define dm_buf_add_lit(buf, literal) dm_buf_add_const((buf), "" literal, sizeof(literal) - 1)

void dm_buf_printf(struct dm_buf *buf, const char *fmt, ...) DM_PRINTF(2, 3);
void dm_buf_vprintf(struct dm_buf *buf, const char *fmt, va_list args);
void dm_buf_add_u64(struct dm_buf *buf, uint64_t value);
/* Removes the first n bytes (n <= len), moving the rest. */
void dm_buf_consume(struct dm_buf *buf, size_t n);

static inline struct dm_str dm_buf_str(const struct dm_buf *buf)
{
    return (struct dm_str){buf->ptr, buf->len};
}

#endif
