#include "case_file.h"

struct dm_str case_file(const char *path)
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

bool case_begin(struct dm_str *text, struct dm_str *ret_name)
{
    struct dm_str line = DM_STR_NULL;

    while (text->len > 0 && !dm_str_starts(*text, DM_STR("== ")))
        (void)dm_str_cut(text, '\n', &line);
    if (!dm_str_cut(text, '\n', &line) || line.len == 0)
        return false;
    *ret_name = dm_str_skip(line, 3);
    return true;
}

bool case_line(struct dm_str *text, struct dm_str *ret)
{
    while (text->len > 0 && !dm_str_starts(*text, DM_STR("== "))) {
        (void)dm_str_cut(text, '\n', ret);
        if (ret->len > 0 && ret->ptr[0] != '#')
            return true;
    }
    return false;
}

int case_fail(struct dm_str name, struct dm_str line)
{
    fprintf(stderr, "%.*s: cannot read: %.*s\n", DM_STR_ARG(name), DM_STR_ARG(line));
    return -1;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 0;
}

void case_unescape(struct dm_str text, struct dm_buf *out)
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
        case '0': dm_buf_add_char(out, 0); break;
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
