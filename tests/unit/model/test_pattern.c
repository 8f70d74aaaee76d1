/* Patterns of mapping rules: what parses to what, what is refused and where, what matches. */
#include "fixture.h"

#include "base/buf.h"
#include "model/mapping_rule.h"

/* Segments separated by '/', variables in braces, '$' when exact, then "?name=value" decoded. */
static const char *describe(const struct dm_pattern *pattern, char *ret, size_t bytes)
{
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, ret, bytes - 1);
    for (size_t i = 0; i < pattern->n_segments; i++) {
        dm_buf_add_char(&buf, '/');
        for (size_t p = 0; p < pattern->segments[i].n_pieces; p++) {
            const struct dm_pattern_piece *piece = &pattern->segments[i].pieces[p];

            dm_buf_printf(&buf, piece->is_variable ? "{%.*s}" : "<%.*s>", DM_STR_ARG(piece->text));
        }
    }
    if (pattern->is_exact)
        dm_buf_add_char(&buf, '$');
    for (size_t i = 0; i < pattern->n_query; i++)
        dm_buf_printf(&buf, pattern->query[i].is_variable ? "?<%.*s>={%.*s}" : "?<%.*s>=<%.*s>",
                      DM_STR_ARG(pattern->query[i].name), DM_STR_ARG(pattern->query[i].value));
    ret[buf.len] = '\0';
    return ret;
}

static void parses(void **state)
{
    static const char *const cases[][2] = {
        {"/", "/"},
        {"/$", "/$"},
        {"/a", "/<a>"},
        {"/a/", "/<a>/"},
        {"/a/$", "/<a>/$"},
        {"/v1/items$", "/<v1>/<items>$"},
        {"/foo/{x}/bar", "/<foo>/{x}/<bar>"},
        {"/{a}.json", "/{a}<.json>"},
        {"/v{major}.{minor}-x/b", "/<v>{major}<.>{minor}<-x>/<b>"},
        {"/a%7eb%2fc%c3%a9", "/<a~b%2Fc%C3%A9>"},
        {"/주문", "/<%EC%A3%BC%EB%AC%B8>"},
        {"/a:b@c!&'()*+,;=-._~", "/<a:b@c!&'()*+,;=-._~>"},
        {"/s?kind=book", "/<s>?<kind>=<book>"},
        {"/s$?a=b+c&d=%26", "/<s>$?<a>=<b c>?<d>=<&>"},
        {"/{env}/video/encode?size={size}&speed=2x", "/{env}/<video>/<encode>?<size>={size}?<speed>=<2x>"},
        {"/s?a=", "/<s>?<a>=<>"},
        {"/s?a=b=c", "/<s>?<a>=<b=c>"},
        {"/a/.b/..c/...", "/<a>/<.b>/<..c>/<...>"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_pattern pattern;
        struct dm_err err = {0};
        struct dm_arena arena;
        char text[256];

        dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
        if (dm_pattern_parse(dm_str_of(cases[i][0]), &arena, &pattern, &err) < 0)
            fail_msg("%s: %s", cases[i][0], err.message);
        assert_string_equal(describe(&pattern, text, sizeof(text)), cases[i][1]);
        dm_arena_done(&arena);
    }
}

static void refuses(void **state)
{
    static const char *const cases[][2] = {
        {"", "must start with '/'"},
        {"a", "must start with '/'"},
        {"/a//b", "must not have an empty segment ('//'), which no request keeps (at byte 4)"},
        {"//", "must not have an empty segment ('//'), which no request keeps (at byte 2)"},
        {"/a/./b", "must not have a segment '.' or '..', which no request keeps (at byte 4)"},
        {"/..", "must not have a segment '.' or '..', which no request keeps (at byte 2)"},
        {"/a/%2e%2E;x", "must not have a segment '.' or '..', which no request keeps (at byte 4)"},
        {"/a b", "must not hold ' ' in its path (at byte 3)"},
        {"/a#b", "must not hold '#' in its path (at byte 3)"},
        {"/a\\b", "must not hold '\\' in its path (at byte 3)"},
        {"/a$b", "must have '$' only at the end of its path (at byte 3)"},
        {"/a$$", "must have '$' only at the end of its path (at byte 3)"},
        {"/a%4", "must have two hexadecimal digits behind '%' (at byte 3)"},
        {"/a%zz", "must have two hexadecimal digits behind '%' (at byte 3)"},
        {"/a%00", "must not hold an escaped control character (at byte 3)"},
        {"/{}", "must have a name between '{' and '}' (at byte 2)"},
        {"/{a", "must have a name of letters, digits, '_', '-' and '.' and then '}' behind '{' (at byte 2)"},
        {"/{a/b}", "must have a name of letters, digits, '_', '-' and '.' and then '}' behind '{' (at byte 2)"},
        {"/a}", "must not have '}' without '{' (at byte 3)"},
        {"/{a}{b}", "must have something between two variables (at byte 5)"},
        {"/a?", "must have query parameters of the form name=value or name={variable} (at byte 4)"},
        {"/a?b", "must have query parameters of the form name=value or name={variable} (at byte 4)"},
        {"/a?=b", "must have query parameters of the form name=value or name={variable} (at byte 4)"},
        {"/a?b=1&", "must have query parameters of the form name=value or name={variable} (at byte 8)"},
        {"/a?b=x{y}", "must have a query value that is text or one variable, not both (at byte 7)"},
        {"/a?b={y}x", "must have a query value that is text or one variable, not both (at byte 9)"},
        {"/a?b=1&b=2", "must name each query parameter once (at byte 8)"},
        {"/a?b=%4", "must have two hexadecimal digits behind '%' (at byte 6)"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_pattern pattern;
        struct dm_err err = {0};
        struct dm_arena arena;

        dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
        if (dm_pattern_parse(dm_str_of(cases[i][0]), &arena, &pattern, &err) == 0)
            fail_msg("%s was accepted", cases[i][0]);
        assert_string_equal(err.message, cases[i][1]);
        assert_string_equal(err.pointer, "");
        dm_arena_done(&arena);
    }
}

static void bounds_its_parts(void **state)
{
    char text[DM_PATTERN_MAX + 2];
    struct dm_pattern pattern;
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
    memset(text, 'a', sizeof(text));
    text[0] = '/';
    assert_int_equal(dm_pattern_parse(dm_str_n(text, DM_PATTERN_MAX), &arena, &pattern, NULL), 0);
    assert_int_equal(dm_pattern_parse(dm_str_n(text, DM_PATTERN_MAX + 1), &arena, &pattern, NULL), DM_EINVAL);
    for (size_t i = 0; i < 130; i++)
        text[i] = i % 2 ? 'a' : '/';
    dm_arena_reset(&arena);
    assert_int_equal(dm_pattern_parse(dm_str_n(text, 128), &arena, &pattern, NULL), 0);
    assert_int_equal(pattern.n_segments, 64);
    assert_int_equal(dm_pattern_parse(dm_str_n(text, 130), &arena, &pattern, NULL), DM_EINVAL);
    dm_arena_done(&arena);
}

/* Every budget below the needed one is an ordinary error. */
static void fits_its_arena(void **state)
{
    struct dm_pattern pattern;

    for (size_t budget = 0;; budget += 16) {
        struct dm_arena arena;
        int rc;

        dm_arena_init(&arena, NULL, budget);
        rc = dm_pattern_parse(DM_STR("/a/{b}.c/d?e=f&g={h}"), &arena, &pattern, NULL);
        dm_arena_done(&arena);
        if (rc == 0)
            break;
        assert_int_equal(rc, DM_EBUDGET);
        assert_true(budget < DM_PATTERN_ARENA_BYTES);
    }
}

static void matches(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool is_match;
    } cases[] = {
        {"/", "/", true},
        {"/", "/a/b", true},
        {"/$", "/", true},
        {"/$", "/a", false},
        {"/foo", "/foo", true},
        {"/foo", "/foobar", true},
        {"/foo", "/foo/bar", true},
        {"/foo", "/fo", false},
        {"/foo", "/x/foo", false},
        {"/foo/", "/foo", false},
        {"/foo/", "/foo/", true},
        {"/foo/", "/foo/a", true},
        {"/foo$", "/foo", true},
        {"/foo$", "/foo/", false},
        {"/foo$", "/foobar", false},
        {"/foo/$", "/foo/", true},
        {"/foo/$", "/foo/a", false},
        {"/foo/{x}/bar", "/foo/a@b/bar", true},
        {"/foo/{x}/bar", "/foo/a:b/bar", true},
        {"/foo/{x}/bar", "/foo/a%20b/bar", true},
        {"/foo/{x}/bar", "/foo/a.b-c~d/barx", true},
        {"/foo/{x}/bar", "/foo//bar", false},
        {"/foo/{x}/bar", "/foo/a/b/bar", false},
        {"/foo/{x}", "/foo/", false},
        {"/foo/{x}", "/foo/a/b", true},
        {"/foo/{x}$", "/foo/a/b", false},
        {"/foo/{x}$", "/foo/a", true},
        {"/{a}.json$", "/x.json", true},
        {"/{a}.json$", "/x.json.json", true},
        {"/{a}.json$", "/.json", false},
        {"/{a}.json$", "/x.jsonp", false},
        {"/{a}.json", "/x.jsonp", true},
        {"/v{n}-{m}/x", "/v1-2/x", true},
        {"/v{n}-{m}/x", "/v1-2-3/xyz", true},
        {"/v{n}-{m}/x", "/v-2/x", false},
        {"/a/{b}", "/a/\"", false},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_pattern pattern;
        struct dm_arena arena;

        dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
        assert_int_equal(dm_pattern_parse(dm_str_of(cases[i].pattern), &arena, &pattern, NULL), 0);
        if (dm_pattern_match_path(&pattern, dm_str_of(cases[i].path)) != cases[i].is_match)
            fail_msg("%s on %s", cases[i].pattern, cases[i].path);
        dm_arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),         cmocka_unit_test(refuses), cmocka_unit_test(bounds_its_parts),
        cmocka_unit_test(fits_its_arena), cmocka_unit_test(matches),
    };

    return cmocka_run_group_tests_name("model/pattern", tests, NULL, NULL);
}
