#include "http_case.h"

static const char *const kinds[] = {
    [CASE_REQUEST] = "request", [CASE_RESPONSE] = "response", [CASE_PATH] = "path",     [CASE_PATH_KEEP] = "path-keep",
    [CASE_HOST] = "host",       [CASE_QUERY] = "query",       [CASE_FRAMES] = "frames",
};

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
        case_unescape(text, &ret->input);
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
    struct dm_str name, line;

    if (!case_begin(text, &name))
        return 0;
    *ret = (struct http_case){.name = name, .limits = dm_http_limits_default, .body_bytes = UINT64_MAX};
    dm_buf_init(&ret->input, 1 << 20);
    while (case_line(text, &line))
        if (!take_line(ret, line))
            return case_fail(name, line);
    return 1;
}
