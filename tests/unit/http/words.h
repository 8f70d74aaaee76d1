/* What the rigs of this folder share: a scene's events noted as words in a buffer, and compared as one text. */
#ifndef DM_TESTS_UNIT_HTTP_WORDS_H
#define DM_TESTS_UNIT_HTTP_WORDS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

#define MS UINT64_C(1000000) /* in nanoseconds */

/* Adds one word, with a space before it if it is not the first. */
void words_add(struct dm_buf *words, const char *fmt, ...) DM_PRINTF(2, 3);
bool words_have(const struct dm_buf *words, const char *text);
/* Fails the test, in the caller's line, if it is not this text; empties the buffer. */
void check_text(struct dm_buf *found, const char *expected, const char *file, int line);

#endif
