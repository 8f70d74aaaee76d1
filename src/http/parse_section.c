/* How a section that comes in pieces is parsed in linear time: it is read at once if it is complete (the usual case);
 * otherwise its bytes are scanned, each once, for the empty line that ends it and for stray bytes, and read again when
 * one of them is found. */
#include "http/parse_int.h"

enum { SCAN_MORE, SCAN_STOP };

/* Is the LF at p the end of an empty line? Every LF before it follows a CR. */
static bool ends_section(const char *ptr, const char *p)
{
    return p - ptr >= 3 && p[-2] == '\n';
}

/* Moves *scan on. SCAN_STOP with *ret_len bytes to read again: the section ends there, or the last byte is at fault. */
static int scan_section(const char *ptr, size_t len, size_t *scan, size_t *ret_len)
{
    const char *p = ptr + *scan, *end = ptr + len;

    for (; p < end; p++) {
        if ((uint8_t)*p >= 0x20 && *p != 0x7F)
            continue;
        if (*p == '\t')
            continue;
        if (*p == '\r' && p + 1 == end)
            break;
        if (*p == '\r' && p[1] == '\n' && !ends_section(ptr, ++p))
            continue;
        *ret_len = (size_t)(p - ptr) + (*p == '\r' ? 2 : 1);
        return SCAN_STOP;
    }
    *scan = (size_t)(p - ptr);
    return SCAN_MORE;
}

static int read_prefix(const struct dm_http_cursor *cursor, size_t len, dm_http_reader read)
{
    struct dm_http_cursor fresh = *cursor;
    int rc;

    fresh.end = fresh.p + len;
    rc = read(&fresh);
    return rc > 0 ? (int)(fresh.p - cursor->p) : rc;
}

int dm_http_parse_section(struct dm_http_cursor *cursor, size_t max_bytes, enum dm_http_fault too_large, size_t *scan,
                          dm_http_reader read)
{
    size_t len = DM_MIN((size_t)(cursor->end - cursor->p), max_bytes), stop = len;
    bool is_first = *scan == 0;
    int rc;

    if (is_first && (rc = read_prefix(cursor, len, read)) != 0)
        return rc;
    if (scan_section(cursor->p, len, scan, &stop) == SCAN_MORE && len < max_bytes)
        return 0;
    rc = read_prefix(cursor, stop, read);
    if (rc == 0)
        rc = stop == max_bytes ? -(int)too_large : -DM_HTTP_BAD_BYTE;
    *scan = 0;
    return rc;
}
