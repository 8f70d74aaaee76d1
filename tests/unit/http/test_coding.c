/* Accept-Encoding: what the RFC says by example, and random lists against a naive reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>

#include "http/coding.h"

static const char *const codings[] = {"gzip", "br", "identity"};

/* Each line is one field. */
static void head_of(const char *const *lines, size_t n, struct dm_http_head *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < n; i++)
        assert_non_null(dm_http_head_add(ret, DM_STR("Accept-Encoding"), dm_str_of(lines[i])));
}

static void test_examples(void **state)
{
    static const struct {
        const char *value;
        int weights[3]; /* gzip, br, identity */
    } cases[] = {
        {"", {-1, -1, -1}},
        {"gzip", {1000, -1, -1}},
        {"compress, gzip", {1000, -1, -1}},
        {"*", {1000, 1000, 1000}},
        {"compress;q=0.5, gzip;q=1.0", {1000, -1, -1}},
        {"gzip;q=1.0, identity; q=0.5, *;q=0", {1000, 0, 500}},
        {"br ; Q=0.123 ,\tGZIP;q=0.", {0, 123, -1}},
        {"x-gzip;q=0.7", {700, -1, -1}},
        {"x-br", {-1, -1, -1}},
        {"*;q=0.2, br;q=0", {200, 0, 200}},
        {"identity;q=0", {-1, -1, 0}},
        {"gzip;q=0, gzip", {0, -1, -1}},
        {",, ,gzip,,", {1000, -1, -1}},
        /* no codings with a weight */
        {"gzip;q=1.001, br;q=2, identity;q=0.1234", {-1, -1, -1}},
        {"gzip;q=, br;q, identity;", {-1, -1, -1}},
        {"gzip;level=9, br;q=0.5;x=1, identity;q=-1", {-1, -1, -1}},
        {"gz ip, br br, \"identity\"", {-1, -1, -1}},
        {"gzip;q=01, br;q=.5, identity;q = 1", {-1, -1, -1}},
    };
    struct dm_http_head head;

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        head_of(&cases[i].value, 1, &head);
        for (size_t c = 0; c < DM_COUNT(codings); c++) {
            int weight = dm_http_coding_weight(&head, dm_str_of(codings[c]));
            if (weight != cases[i].weights[c])
                fail_msg("'%s': %s is %d", cases[i].value, codings[c], weight);
        }
    }
}

static void test_no_field(void **state)
{
    struct dm_http_head head;

    head_of(NULL, 0, &head);
    assert_int_equal(dm_http_coding_weight(&head, DM_STR("gzip")), DM_HTTP_WEIGHT_UNSAID);
}

static void test_lines_are_one_list(void **state)
{
    static const char *const lines[] = {"br;q=0.1", "gzip;q=0.2, *;q=0.3"};
    struct dm_http_head head;

    head_of(lines, 2, &head);
    assert_int_equal(dm_http_coding_weight(&head, DM_STR("br")), 100);
    assert_int_equal(dm_http_coding_weight(&head, DM_STR("gzip")), 200);
    assert_int_equal(dm_http_coding_weight(&head, DM_STR("identity")), 300);
}

/* --- random lists ------------------------------------------------------------------------------------------------- */

static uint64_t seed = 7;

static unsigned any(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* Of the element between its commas, without white space anywhere (the random lists hold none that matters): another way to
 * read the same grammar. */
static bool naive_element(const char *text, size_t len, char name[64], int *weight)
{
    char compact[128];
    size_t n = 0, i;
    char *semicolon, *end;
    double q;

    for (i = 0; i < len && n < sizeof(compact) - 1; i++)
        if (text[i] != ' ')
            compact[n++] = (char)tolower(text[i]);
    compact[n] = '\0';
    if ((semicolon = strchr(compact, ';')))
        *semicolon = '\0';
    snprintf(name, 64, "%s", compact);
    *weight = 1000;
    if (!semicolon)
        return n > 0;
    if (strncmp(semicolon + 1, "q=", 2) != 0 || !isdigit(semicolon[3]) || strlen(semicolon + 3) > 5)
        return false;
    q = strtod(semicolon + 3, &end);
    *weight = (int)(q * 1000 + 0.5);
    return *end == '\0' && q <= 1 && (semicolon[4] == '\0' || semicolon[4] == '.');
}

static int naive_weight(const char *list, const char *coding)
{
    int weight, star = -1;
    char name[64];

    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t len = strchr(at, ',') ? (size_t)(strchr(at, ',') - at) : strlen(at);
        if (!naive_element(at, len, name, &weight))
            continue;
        if (strcmp(name, coding) == 0 || (strcmp(coding, "gzip") == 0 && strcmp(name, "x-gzip") == 0))
            return weight;
        if (star < 0 && strcmp(name, "*") == 0)
            star = weight;
    }
    return star;
}

static void random_list(char *ret, size_t max)
{
    static const char *const names[] = {"gzip", "br", "identity", "*", "x-gzip", "deflate", "GZip", "BR", "zstd", ""};
    static const char *const weights[] = {"",       ";q=0",    ";q=1",   "; q=0.5", " ;q=0.25", ";q=0.999",
                                          ";q=1.0", ";q=1.01", ";Q=0.3", ";q=0.0",  ";q=x",     ";q=00.5"};
    size_t len = 0;

    ret[0] = '\0';
    for (unsigned i = any(6); i > 0; i--)
        len += (size_t)snprintf(ret + len, max - len, "%s%s%s%s", len > 0 ? (any(2) ? "," : " , ") : "",
                                names[any(DM_COUNT(names))], weights[any(DM_COUNT(weights))], any(4) ? "" : " ");
}

static void test_random_lists(void **state)
{
    struct dm_http_head head;
    char list[256];
    const char *line = list;

    for (int i = 0; i < 50000; i++) {
        random_list(list, sizeof(list));
        head_of(&line, 1, &head);
        for (size_t c = 0; c < DM_COUNT(codings); c++) {
            int weight = dm_http_coding_weight(&head, dm_str_of(codings[c])), naive = naive_weight(list, codings[c]);
            if (weight != naive)
                fail_msg("'%s': %s is %d, not %d", list, codings[c], weight, naive);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_no_field),
        cmocka_unit_test(test_lines_are_one_list),
        cmocka_unit_test(test_random_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
