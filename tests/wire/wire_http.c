/* wire_http FILE...             runs the cases of the files wire_http --dump DIR FILE...  writes their inputs as
 * seeds for the fuzzers: DIR/http_request/, http_response/, url/ */
#include "base/mem.h"
#include "http_render.h"

#define TEXT_MAX (1 << 20)

/* These say how a case ended; what came out must be expected as well as the other way round. */
static const char *const outcomes[] = {"fault",   "body-fault", "incomplete", "rest", "field", "hop",
                                       "trailer", "folded",     "obs-text",   "arg",  "not"};

static bool has_word(struct dm_str line, const char *word)
{
    struct dm_str w = dm_str_of(word);

    return dm_str_starts(line, w) && (line.len == w.len || line.ptr[w.len] == ' ');
}

static bool contains(struct dm_str text, struct dm_str want)
{
    struct dm_str line = DM_STR_NULL;

    while (dm_str_cut(&text, '\n', &line))
        if (line.len > 0 && dm_str_eq(line, want))
            return true;
    return false;
}

/* Do the lines with this word come in the same order on both sides? "field" and its like only when one is expected. */
static bool same_sequence(const struct http_case *c, struct dm_str text, const char *word, bool is_optional)
{
    struct dm_str line = DM_STR_NULL;
    unsigned i = 0, expected = 0;

    for (unsigned k = 0; k < c->expect_count; k++)
        expected += has_word(c->expect[k], word);
    if (expected == 0 && is_optional)
        return true;
    while (dm_str_cut(&text, '\n', &line)) {
        if (!has_word(line, word))
            continue;
        while (i < c->expect_count && !has_word(c->expect[i], word))
            i++;
        if (i == c->expect_count || !dm_str_eq(c->expect[i++], line))
            return false;
        expected--;
    }
    return expected == 0;
}

static bool matches(const struct http_case *c, struct dm_str text)
{
    for (unsigned i = 0; i < c->expect_count; i++)
        if (!contains(text, c->expect[i]))
            return false;
    for (unsigned i = 0; i < DM_COUNT(outcomes); i++)
        if (!same_sequence(c, text, outcomes[i], i >= 4 && i <= 5))
            return false;
    return c->expect_count > 0;
}

/* A head that is at fault in a way that shows only at its end, and has no end: cut into pieces it is not complete. */
static bool may_be_incomplete(const struct http_case *c, struct dm_str whole)
{
    return dm_str_starts(whole, DM_STR("fault ")) && !memmem(c->input.ptr, c->input.len, "\r\n\r\n", 4);
}

static bool same_when_cut(const struct http_case *c, struct cutting cutting, struct dm_str whole, struct dm_buf *out)
{
    dm_buf_reset(out);
    http_render(c, cutting, out);
    if (dm_str_eq(dm_buf_str(out), whole))
        return true;
    if (may_be_incomplete(c, whole) && dm_str_eq(dm_buf_str(out), DM_STR("incomplete\n")))
        return true;
    printf("not ok %.*s: cut by %zu at %zu gives\n%.*s", DM_STR_ARG(c->name), cutting.piece, cutting.cut,
           DM_STR_ARG(dm_buf_str(out)));
    return false;
}

static bool run_case(const struct http_case *c)
{
    struct dm_buf whole DM_CLEANUP(dm_buf_done), other DM_CLEANUP(dm_buf_done);
    bool is_message = c->kind == CASE_REQUEST || c->kind == CASE_RESPONSE, ok = true;

    dm_buf_init(&whole, TEXT_MAX);
    dm_buf_init(&other, TEXT_MAX);
    http_render(c, (struct cutting){0, c->input.len}, &whole);
    if (!matches(c, dm_buf_str(&whole))) {
        printf("not ok %.*s: came out as\n%.*s", DM_STR_ARG(c->name), DM_STR_ARG(dm_buf_str(&whole)));
        return false;
    }
    if (is_message)
        ok = same_when_cut(c, (struct cutting){1, 0}, dm_buf_str(&whole), &other);
    for (size_t cut = 0; ok && is_message && cut < c->input.len; cut++)
        ok = same_when_cut(c, (struct cutting){0, cut}, dm_buf_str(&whole), &other);
    return ok;
}

static void dump_case(const struct http_case *c, const char *dir)
{
    static const char *const folders[] = {
        [CASE_REQUEST] = "http_request",
        [CASE_RESPONSE] = "http_response",
        [CASE_PATH] = "url",
        [CASE_PATH_KEEP] = "url",
        [CASE_HOST] = "url",
        [CASE_QUERY] = "url",
    };
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s/%.*s", dir, folders[c->kind], DM_STR_ARG(c->name));
    for (char *p = path + strlen(dir) + strlen(folders[c->kind]) + 2; *p; p++)
        if (*p == ' ' || *p == '/')
            *p = '_';
    if (!(file = fopen(path, "wb"))) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
    if (c->input.len > 0)
        fwrite(c->input.ptr, 1, c->input.len, file);
    fclose(file);
}

int main(int argc, char **argv)
{
    const char *dump = argc > 2 && strcmp(argv[1], "--dump") == 0 ? argv[2] : NULL;
    unsigned ran = 0, failed = 0;
    struct http_case c;
    int rc = 0;

    for (int i = dump ? 3 : 1; i < argc && rc >= 0; i++) {
        struct dm_str file = case_file(argv[i]), text = file;

        for (; (rc = http_case_next(&text, &c)) > 0; ran++) {
            if (dump)
                dump_case(&c, dump);
            else
                failed += !run_case(&c);
            dm_buf_done(&c.input);
        }
        dm_free((void *)file.ptr);
    }
    printf("%u cases, %u failed\n", ran, failed);
    return rc < 0 || failed > 0 || ran == 0;
}
