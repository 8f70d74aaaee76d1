/* wire_proxy FILE...   runs the cases of the files through a whole worker on loopback sockets. The format is in README.md. */
#include "play.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"

static char **files;
static int n_files;

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static bool same_lines(const struct http_case *c, const char *word, struct dm_str text)
{
    struct dm_buf expected DM_CLEANUP(dm_buf_done);
    struct dm_str line;
    bool is_same;

    dm_buf_init(&expected, PLAY_TEXT_MAX);
    for (unsigned i = 0; i < c->expect_count; i++)
        if (play_word_is(c->expect[i], word, &line)) {
            if (expected.len > 0 || (i > 0 && play_word_is(c->expect[i - 1], word, &(struct dm_str){0})))
                dm_buf_add_char(&expected, '\n');
            dm_buf_add(&expected, line);
        }
    while (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    while (expected.len > 0 && expected.ptr[expected.len - 1] == '\n')
        expected.len--;
    is_same = dm_str_eq(dm_buf_str(&expected), text);
    if (!is_same)
        printf("not ok %.*s: %s is\n%.*s\n-- expected\n%.*s\n", DM_STR_ARG(c->name), word, DM_STR_ARG(text),
               DM_STR_ARG(dm_buf_str(&expected)));
    return is_same;
}

/* "has TEXT", "has-not TEXT": somewhere in what the client got. */
static bool has_all(const struct play *p)
{
    struct dm_str text;
    bool ok = true;

    for (unsigned i = 0; i < p->c->expect_count; i++) {
        bool wants = play_word_is(p->c->expect[i], "has", &text);
        if (!wants && !play_word_is(p->c->expect[i], "has-not", &text))
            continue;
        if ((memmem(p->down.ptr ? p->down.ptr : "", p->down.len, text.ptr, text.len) != NULL) != wants) {
            printf("not ok %.*s: the client got\n%.*s\n-- expected it %s\n%.*s\n", DM_STR_ARG(p->c->name),
                   DM_STR_ARG(dm_buf_str(&p->down)), wants ? "to hold" : "not to hold", DM_STR_ARG(text));
            ok = false;
        }
    }
    return ok;
}

/* Does nothing of the case reach a backend? What "next" asks comes later. */
static bool has_nothing_up(const struct play *p)
{
    return p->asked.len + p->up.len == 0;
}

static bool is_as_wanted(const struct play *p, const char *word, bool is_so)
{
    struct dm_str rest;

    if (!play_find_word(p->c, word, &rest) || is_so)
        return true;
    printf("not ok %.*s: %s\n", DM_STR_ARG(p->c->name), word);
    return false;
}

/* One line of text, or several, for a word of the case. */
static bool is_said(const struct play *p, const char *word, const struct dm_buf *text)
{
    struct dm_str rest;

    return !play_find_word(p->c, word, &rest) || same_lines(p->c, word, dm_buf_str(text));
}

/* The policies of some cases take no key where "next" has it. */
static bool can_ask(const struct play *p)
{
    struct dm_str policies;

    return !play_find_word(p->c, "policies", &policies) || memmem(policies.ptr, policies.len, "\"X-Key\"", 7) != NULL;
}

static bool matches(struct play *p)
{
    bool ok = has_all(p);

    ok = is_as_wanted(p, "nothing-up", has_nothing_up(p)) && ok;
    ok = is_as_wanted(p, "next", p->is_next_clean) && ok;
    ok = is_as_wanted(p, "ends", p->has_ended) && ok;
    ok = is_as_wanted(p, "stays", !p->has_ended) && ok;
    ok = is_said(p, "up", &p->up) && ok;
    ok = is_said(p, "client", &p->down) && ok;
    ok = is_said(p, "asked", &p->asked) && ok;
    ok = is_said(p, "answers", &p->answered) && ok;
    if (can_ask(p) && !p->is_other_clean) {
        printf("not ok %.*s: another client got\n%.*s\n", DM_STR_ARG(p->c->name), DM_STR_ARG(dm_buf_str(&p->other)));
        ok = false;
    }
    if (p->origin.n_bad > 0) {
        printf("not ok %.*s: the backend got what is no request\n%.*s\n", DM_STR_ARG(p->c->name),
               DM_STR_ARG(dm_buf_str(&p->up)));
        ok = false;
    }
    return ok && p->c->expect_count > 0;
}

static bool run(const struct http_case *c, size_t piece)
{
    struct play *p = dm_calloc(1, sizeof(*p));
    bool ok;

    play_run(p, c, piece);
    if (!(ok = matches(p)) && piece > 0)
        printf("# in pieces of %zu bytes\n", piece);
    play_done(p);
    dm_free(p);
    return ok;
}

static bool goes_in_pieces(const struct http_case *c)
{
    struct dm_str rest;

    return c->input.len < 1000 && !play_find_word(c, "whole", &rest);
}

static void test_cases(void **state)
{
    unsigned ran = 0, failed = 0;
    struct http_case c;
    int rc = 0;

    (void)state;
    for (int i = 0; i < n_files; i++) {
        struct dm_str file = case_file(files[i]), text = file;
        for (; (rc = http_case_next(&text, &c)) > 0; ran++) {
            failed += !run(&c, 0) || (goes_in_pieces(&c) && !run(&c, 7));
            dm_buf_done(&c.input);
        }
        assert_int_equal(rc, 0);
        dm_free((void *)(uintptr_t)file.ptr);
    }
    printf("%u cases, %u failed\n", ran, failed);
    assert_true(ran >= 500);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

    files = argv + 1;
    n_files = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
