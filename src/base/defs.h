/* Attributes and small macros that every file may use, and the calls that no file may use. */
#ifndef DM_BASE_DEFS_H
#define DM_BASE_DEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define DM_MUST_USE __attribute__((warn_unused_result))
#define DM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define DM_CLEANUP(fn) __attribute__((cleanup(fn)))
#define DM_ALWAYS_INLINE static inline __attribute__((always_inline))
#define DM_LIKELY(x) __builtin_expect(!!(x), 1)
#define DM_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define DM_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define DM_MAX(a, b) ((a) > (b) ? (a) : (b))

/* 1 when built with AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define DM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DM_ASAN 1
#endif
#endif
#ifndef DM_ASAN
#define DM_ASAN 0
#endif

/* Asks for the memory around ptr, which is going to be used in a moment. ptr may be anything. */
static inline void dm_prefetch(const void *ptr, size_t before, size_t behind)
{
    for (size_t at = 0; at < before + behind; at += 64)
        __builtin_prefetch((const void *)((uintptr_t)ptr - before + at), 1);
}

/* The object that holds `member` at `ptr`. */
#define DM_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Use dm_str and dm_buf; they know their bounds. A third-party header that names these is included before ours. */
#undef alloca
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol sscanf alloca gets

#endif
