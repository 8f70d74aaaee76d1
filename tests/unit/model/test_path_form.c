/* The form that paths of configuration are held to is the form that http gives a request's path: what the model accepts
 * stays as it is, and a pattern's literals are what http makes of the same text. */
#include "fixture.h"

#include "base/buf.h"
#include "http/path.h"
#include "model/format.h"
#include "model/mapping_rule.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static const char *const pieces[] = {"/",   "/",   "/",   "a",   "B9",  ".",   "..",  "~",   "-",   "_",   ";",
                                     "=",   "&",   "+",   "!",   "'",   "(",   ")",   "*",   ",",   ":",   "@",
                                     "%7E", "%7e", "%2F", "%2f", "%41", "%C3", "%a9", "%00", "%7F", "%2E", "%2e%2e",
                                     "%",   "%G1", " ",   "\\",  "|",   "%5C", "%25", "%3F", "%24", "%7B"};

static struct dm_str random_path(uint64_t *seed, char *ret, size_t bytes)
{
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, ret, bytes);
    dm_buf_add_char(&buf, '/');
    for (uint64_t i = next_random(seed) % 8; i > 0; i--)
        dm_buf_add(&buf, dm_str_of(pieces[next_random(seed) % DM_COUNT(pieces)]));
    return dm_buf_str(&buf);
}

/* The literals of a pattern without variables, joined. */
static struct dm_str join(const struct dm_pattern *pattern, char *ret, size_t bytes)
{
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, ret, bytes);
    for (size_t i = 0; i < pattern->n_segments; i++) {
        dm_buf_add_char(&buf, '/');
        for (size_t p = 0; p < pattern->segments[i].n_pieces; p++)
            dm_buf_add(&buf, pattern->segments[i].pieces[p].text);
    }
    return dm_buf_str(&buf);
}

static void agrees_with_http(void **state)
{
    uint64_t seed = 20261101;
    size_t formats = 0, patterns = 0;

    for (size_t round = 0; round < 200000; round++) {
        char text[256], normal_text[256], joined[1024], why_text[256];
        struct dm_str path = random_path(&seed, text, sizeof(text)), normal;
        struct dm_pattern pattern;
        struct dm_arena arena;
        struct dm_buf why;
        int rc = dm_path_normalise(path, DM_PATH_KEEP_ESCAPED_SLASH, normal_text, &normal);

        dm_buf_init_fixed(&why, why_text, sizeof(why_text));
        if (dm_format_path.check(path, &why)) {
            formats++;
            if (rc != 0 || !dm_str_eq(normal, path))
                fail_msg("path %.*s", DM_STR_ARG(path));
        }
        dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
        if (dm_pattern_parse(path, &arena, &pattern, NULL) == 0) {
            patterns++;
            if (rc != 0 || !dm_str_eq(normal, join(&pattern, joined, sizeof(joined))))
                fail_msg("pattern %.*s", DM_STR_ARG(path));
        }
        dm_arena_done(&arena);
    }
    assert_true(formats > 1000 && patterns > formats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_http)};

    return cmocka_run_group_tests_name("model/path_form", tests, NULL, NULL);
}
