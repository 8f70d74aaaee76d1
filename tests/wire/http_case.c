#include "http_case.h"
#include "base/mem.h"

static const char *const kinds[] = {
    [CASE_REQUEST] = "request", [CASE_RESPONSE] = "response", [CASE_PATH] = "path",     [CASE_PATH_KEEP] = "path-keep",
    [CASE_HOST] = "host",       [CASE_QUERY] = "query",       [CASE_FRAMES] = "frames",
};

struct dm_str http_case_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct dm_buf buf;
    char chunk[4096];
    size_t n;

    if (!file) {
        fprintf(stderr, "cannot open %s\n", path);
        abort();
    }
    dm_buf_init(&buf, 16 << 20);
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
        dm_buf_add_n(&buf, chunk, n);
    fclose(file);
    return dm_buf_str(&buf);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 0;
}

void http_case_unescape(struct dm_str text, struct dm_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\\' || i + 1 == text.len) {
            dm_buf_add_char(out, text.ptr[i]);
            continue;
        }
        switch (text.ptr[++i]) {
        case 'r': dm_buf_add_char(out, '\r'); break;
        case 'n': dm_buf_add_char(out, '\n'); break;
        case 't': dm_buf_add_char(out, '\t'); break;
        case 's': dm_buf_add_char(out, ' '); break;
        case 'x':
            if (i + 2 < text.len)
                dm_buf_add_char(out, (char)(digit(text.ptr[i + 1]) << 4 | digit(text.ptr[i + 2])));
            i += 2;
            break;
        default: dm_buf_add_char(out, text.ptr[i]);
        }
    }
}

static uint64_t number(struct dm_str s)
{
    uint64_t value = 0;

    if (dm_str_to_u64(s, &value) < 0)
        fprintf(stderr, "not a number: %.*s\n", DM_STR_ARG(s));
    return value;
}

static bool take_limit(struct http_case *ret, struct dm_str line)
{
    struct dm_str name = DM_STR_NULL;

    if (!dm_str_cut(&line, ' ', &name))
        return false;
    if (dm_str_eq(name, DM_STR("head_bytes")))
        ret->limits.head_bytes = (uint32_t)number(line);
    else if (dm_str_eq(name, DM_STR("url_bytes")))
        ret->limits.url_bytes = (uint32_t)number(line);
    else if (dm_str_eq(name, DM_STR("fields")))
        ret->limits.fields = (uint32_t)number(line);
    else if (dm_str_eq(name, DM_STR("trailer_bytes")))
        ret->limits.trailer_bytes = (uint32_t)number(line);
    else if (dm_str_eq(name, DM_STR("extension_bytes")))
        ret->limits.extension_bytes = (uint32_t)number(line);
    else if (dm_str_eq(name, DM_STR("body_bytes")))
        ret->body_bytes = number(line);
    else if (dm_str_eq(name, DM_STR("obs_text")))
        ret->limits.allows_obs_text = true;
    else
        return false;
    return true;
}

static bool take_kind(struct http_case *ret, struct dm_str line)
{
    struct dm_str word = DM_STR_NULL;

    (void)dm_str_cut(&line, ' ', &word);
    for (unsigned i = 0; i < DM_COUNT(kinds); i++) {
        if (!dm_str_eq(word, dm_str_of(kinds[i])))
            continue;
        ret->kind = (enum case_kind)i;
        ret->request_method = line.len ? dm_http_method_of(line) : DM_HTTP_METHOD_GET;
        return true;
    }
    return false;
}

static void add_input(struct http_case *ret, struct dm_str text)
{
    if (ret->kind != CASE_FRAMES) {
        http_case_unescape(text, &ret->input);
        return;
    }
    dm_buf_add(&ret->input, text);
    dm_buf_add_char(&ret->input, '\n');
}

static bool take_line(struct http_case *ret, struct dm_str line)
{
    struct dm_str rest = dm_str_skip(line, 2), count = DM_STR_NULL;

    if (dm_str_starts(line, DM_STR("> "))) {
        add_input(ret, rest);
    } else if (dm_str_starts(line, DM_STR(">*"))) {
        rest = dm_str_skip(line, 3);
        if (!dm_str_cut(&rest, ' ', &count))
            return false;
        for (uint64_t n = number(count); n > 0; n--)
            add_input(ret, rest);
    } else if (dm_str_starts(line, DM_STR("< "))) {
        if (ret->expect_count == CASE_EXPECT_MAX)
            return false;
        ret->expect[ret->expect_count++] = rest;
    } else if (dm_str_starts(line, DM_STR("! "))) {
        return take_limit(ret, rest);
    } else {
        return take_kind(ret, line);
    }
    return true;
}

int http_case_next(struct dm_str *text, struct http_case *ret)
{
    struct dm_str line = DM_STR_NULL;

    while (text->len > 0 && !dm_str_starts(*text, DM_STR("== ")))
        (void)dm_str_cut(text, '\n', &line);
    if (!dm_str_cut(text, '\n', &line) || line.len == 0)
        return 0;
    *ret = (struct http_case){.name = dm_str_skip(line, 3), .limits = dm_http_limits_default, .body_bytes = UINT64_MAX};
    dm_buf_init(&ret->input, 1 << 20);
    while (text->len > 0 && !dm_str_starts(*text, DM_STR("== "))) {
        (void)dm_str_cut(text, '\n', &line);
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        if (!take_line(ret, line)) {
            fprintf(stderr, "%.*s: cannot read: %.*s\n", DM_STR_ARG(ret->name), DM_STR_ARG(line));
            return -1;
        }
    }
    return 1;
}
