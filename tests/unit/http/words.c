#include "words.h"

void words_add(struct dm_buf *words, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (words->len > 0)
        dm_buf_add_char(words, ' ');
    dm_buf_vprintf(words, fmt, args);
    va_end(args);
}

bool words_have(const struct dm_buf *words, const char *text)
{
    return words->len > 0 && memmem(words->ptr, words->len, text, strlen(text)) != NULL;
}

void check_text(struct dm_buf *found, const char *expected, const char *file, int line)
{
    if (found->len != strlen(expected) || (found->len > 0 && memcmp(found->ptr, expected, found->len) != 0)) {
        print_error("found    \"%.*s\"\nexpected \"%s\"\n", (int)DM_MIN(found->len, (size_t)2000),
                    found->len ? found->ptr : "", expected);
        _fail(file, line);
    }
    dm_buf_reset(found);
}
