/* Reading the command line. */
#include "testing.h"

#include "cli/option.h"

static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct dm_option own[] = {
    {"file", 'f', "FILE", "A file.", .is_repeatable = true},
    {"colour", 0, "COLOUR", "A colour.", .choices = colours},
};
static const struct dm_option global[] = {
    {"quiet", 'q', NULL, "Say nothing."},
    {"timeout", 0, "SECONDS", "How long."},
};
static const struct dm_options tables[] = {DM_OPTIONS(own), DM_OPTIONS(global)};

static int read_args(struct dm_args *args, struct dm_err *err, const char *const *argv)
{
    int n = 0;

    *args = (struct dm_args){0};
    *err = (struct dm_err){0};
    while (argv[n])
        n++;
    return dm_args_read(tables, 2, n, argv, args, err);
}
#define READ(...) read_args(&args, &err, (const char *[]){__VA_ARGS__, NULL})

static void test_forms(void **state)
{
    struct dm_args args;
    struct dm_err err;

    assert_int_equal(READ("one", "--file", "a", "-f", "b", "-fc", "--file=d=e", "--timeout=3", "-q", "two"), 0);
    assert_string_equal(dm_args_operand(&args, 0), "one");
    assert_string_equal(dm_args_operand(&args, 1), "two");
    assert_null(dm_args_operand(&args, 2));
    assert_string_equal(dm_args_at(&args, "file", 0), "a");
    assert_string_equal(dm_args_at(&args, "file", 1), "b");
    assert_string_equal(dm_args_at(&args, "file", 2), "c");
    assert_string_equal(dm_args_at(&args, "file", 3), "d=e");
    assert_null(dm_args_at(&args, "file", 4));
    assert_string_equal(dm_args_get(&args, "file"), "d=e");
    assert_string_equal(dm_args_get(&args, "timeout"), "3");
    assert_true(dm_args_has(&args, "quiet"));
    assert_false(dm_args_has(&args, "colour"));
    dm_args_done(&args);
}

static void test_ends(void **state)
{
    struct dm_args args;
    struct dm_err err;

    assert_int_equal(READ("-", "--", "--file", "-q"), 0);
    assert_int_equal(args.operands.count, 3);
    assert_string_equal(dm_args_operand(&args, 0), "-");
    assert_string_equal(dm_args_operand(&args, 1), "--file");
    assert_string_equal(dm_args_operand(&args, 2), "-q");
    dm_args_done(&args);
    assert_int_equal(READ("-f", "-"), 0);
    assert_string_equal(dm_args_get(&args, "file"), "-");
    dm_args_done(&args);
    assert_int_equal(READ("--file="), 0);
    assert_string_equal(dm_args_get(&args, "file"), "");
    dm_args_done(&args);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *args[4];
        const char *message;
    } cases[] = {
        {{"--fil", "x"}, "unknown option --fil, did you mean --file?"},
        {{"--clour=red"}, "unknown option --clour, did you mean --colour?"},
        {{"--nonsense"}, "unknown option --nonsense"},
        {{"-x"}, "unknown option -x"},
        {{"--file"}, "--file needs a value: --file FILE"},
        {{"-f"}, "--file needs a value: --file FILE"},
        {{"--quiet=yes"}, "--quiet takes no value, found 'yes'"},
        {{"--colour", "mauve"}, "--colour must be red, green or blue, found 'mauve'"},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_args args;
        struct dm_err err;

        assert_int_equal(read_args(&args, &err, cases[i].args), DM_EINVAL);
        assert_string_equal(err.message, cases[i].message);
        dm_args_done(&args);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
