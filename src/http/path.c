#include "http/chars_int.h"
#include "http/path.h"

struct rewrite {
    const char *p, *end;
    char *buf;
    size_t len;
    unsigned options;
};

/* "." is 1, ".." is 2, anything else 0. */
static unsigned dots_of(const char *ptr, size_t len)
{
    if (len == 1 && ptr[0] == '.')
        return 1;
    return len == 2 && ptr[0] == '.' && ptr[1] == '.' ? 2 : 0;
}

/* 0 if an escape of this byte may stand in a path, else the negative fault. */
static int check_escaped(int byte, unsigned options)
{
    if (byte < 0)
        return -DM_HTTP_BAD_ESCAPE;
    if (byte < 0x20 || byte == 0x7F)
        return -DM_HTTP_ESCAPED_CONTROL;
    if ((byte == '/' || byte == '\\') && !(options & DM_PATH_KEEP_ESCAPED_SLASH))
        return -DM_HTTP_ESCAPED_SLASH;
    return 0;
}

static bool is_normal_escape(const char *p, const char *end, unsigned options)
{
    int byte = dm_http_unescape(p, end);

    return check_escaped(byte, options) == 0 && !(dm_http_chars[byte] & DM_CHAR_UNRESERVED) && p[1] < 'a' && p[2] < 'a';
}

/* Is what follows the slash before p something other than a second slash and a dot segment, with or without
 * parameters? */
static bool is_normal_segment(const char *p, const char *end)
{
    const char *q = p;

    if (p == end || (*p != '/' && *p != '.'))
        return true;
    while (q < end && *q == '.')
        q++;
    return *p == '.' && (q - p > 2 || (q < end && *q != '/' && *q != ';'));
}

static bool is_normal(struct dm_str path, unsigned options)
{
    const char *p = path.ptr, *end = path.ptr + path.len;

    while (p < end) {
        if (dm_http_char(*p) & DM_CHAR_PLAIN) {
            p++;
        } else if (*p == '/') {
            if (!is_normal_segment(++p, end))
                return false;
        } else if (*p == '%' && is_normal_escape(p, end, options)) {
            p += 3;
        } else {
            return false;
        }
    }
    return true;
}

static int copy_escape(struct rewrite *rewrite)
{
    int byte = dm_http_unescape(rewrite->p, rewrite->end);
    int rc;

    if ((rc = check_escaped(byte, rewrite->options)) < 0)
        return rc;
    if (dm_http_chars[byte] & DM_CHAR_UNRESERVED) {
        rewrite->buf[rewrite->len++] = (char)byte;
    } else {
        rewrite->buf[rewrite->len++] = '%';
        rewrite->buf[rewrite->len++] = "0123456789ABCDEF"[byte >> 4];
        rewrite->buf[rewrite->len++] = "0123456789ABCDEF"[byte & 15];
    }
    rewrite->p += 3;
    return 0;
}

static int copy_segment(struct rewrite *rewrite)
{
    int rc;

    for (; rewrite->p < rewrite->end && *rewrite->p != '/';) {
        if (*rewrite->p == '%') {
            if ((rc = copy_escape(rewrite)) < 0)
                return rc;
        } else if (dm_http_char(*rewrite->p) & DM_CHAR_PLAIN) {
            rewrite->buf[rewrite->len++] = *rewrite->p++;
        } else {
            return -DM_HTTP_BAD_PATH;
        }
    }
    return 0;
}

/* The segment behind the slash at `start` is complete; takes back what is a dot segment. */
static int close_segment(struct rewrite *rewrite, size_t start)
{
    const char *segment = rewrite->buf + start + 1;
    size_t len = rewrite->len - start - 1;
    size_t name_len = len;
    unsigned dots;

    if (len == 0 || segment[0] != '.')
        return 0;
    for (size_t i = 0; i < DM_MIN(len, 3u); i++)
        if (segment[i] == ';')
            name_len = DM_MIN(name_len, i);
    if ((dots = dots_of(segment, name_len)) == 0)
        return 0;
    if (name_len != len)
        return -DM_HTTP_BAD_PATH;
    if (dots == 2 && start == 0)
        return -DM_HTTP_PATH_ABOVE_ROOT;
    if (dots == 2)
        while (rewrite->buf[--start] != '/')
            continue;
    rewrite->len = start;
    if (rewrite->p == rewrite->end)
        rewrite->buf[rewrite->len++] = '/';
    return 0;
}

int dm_path_normalise(struct dm_str path, unsigned options, char *buf, struct dm_str *ret)
{
    struct rewrite rewrite = {.buf = buf, .options = options};
    int rc;

    if (path.len == 0 || (path.ptr[0] != '/' && !dm_str_eq(path, DM_STR("*"))))
        return -DM_HTTP_BAD_PATH;
    if (is_normal(path, options)) {
        *ret = path;
        return 0;
    }
    rewrite.p = path.ptr;
    rewrite.end = path.ptr + path.len;
    while (rewrite.p < rewrite.end) {
        size_t start = rewrite.len;

        while (rewrite.p < rewrite.end && *rewrite.p == '/')
            rewrite.p++;
        buf[rewrite.len++] = '/';
        if ((rc = copy_segment(&rewrite)) < 0 || (rc = close_segment(&rewrite, start)) < 0)
            return rc;
    }
    *ret = dm_str_n(buf, rewrite.len);
    return 0;
}
