/* Help, the manual, completion: all from the tables. */
#include <unistd.h>

#include "testing.h"

#include "cli/cli.h"
#include "cli/help.h"
#include "cli/verb.h"

#define MANUAL_MAX (1 << 18)

static void test_every_verb_is_explained(void **state)
{
    for (size_t i = 0; dm_verbs[i]; i++) {
        const struct dm_verb *verb = dm_verbs[i];
        const struct result *result = run(verb->name, "--help");

        assert_int_equal(result->code, 0);
        assert_has(result->out, "Usage: daemun ");
        assert_has(result->out, verb->name);
        assert_true(verb->summary[0] != '\0' && strlen(verb->text) > 60);
        assert_non_null(verb->examples[1].command);
        for (size_t o = 0; o < verb->options.count; o++)
            assert_has(result->out, verb->options.items[o].name);
        for (size_t o = 0; o < dm_global_options.count; o++)
            assert_has(result->out, dm_global_options.items[o].name);
        assert_has(run("help", verb->name)->out, verb->examples[0].command);
        assert_has(run("--help")->out, verb->summary);
    }
}

static void test_topics(void **state)
{
    for (size_t i = 0; dm_help_topics[i]; i++)
        assert_int_equal(run("help", dm_help_topics[i])->code, 0);
    for (int i = 0; i < DM_EXIT_COUNT; i++) {
        char head[8];

        snprintf(head, sizeof(head), "  %d  ", i);
        assert_has(run("help", "exit-codes")->out, head);
    }
    assert_int_equal(run("help", "exitcodes")->code, DM_EXIT_USAGE);
    assert_has(run("help", "exitcodes")->err, "did you mean 'exit-codes'?");
}

/* docs/cli.md is what the program prints. */
static void test_manual(void **state)
{
    static char page[MANUAL_MAX];
    const struct result *result = run("help", "--markdown");

    read_file(TEST_MANUAL, page, sizeof(page));
    if (strcmp(page, result->out) != 0)
        fail_msg("docs/cli.md is not what `daemun help --markdown` prints; write it anew");
}

static void test_usage_errors(void **state)
{
    assert_int_equal(run_with("", NULL)->code, DM_EXIT_USAGE);
    assert_int_equal(run("aply")->code, DM_EXIT_USAGE);
    assert_has(run("aply")->err, "there is no verb 'aply', did you mean 'apply'?");
    assert_has(run("get")->err, "something is missing; the form is: daemun get <kind> [name]");
    assert_has(run("get", "a", "b", "c")->err, "'c' is one too many");
    assert_has(run("get", "prodcts")->err, "did you mean 'products'?");
    assert_has(run("get", "products", "--timeout", "never")->err, "--timeout must be");
    assert_has(run("get", "products", "-o", "xml")->err, "--output must be table, json or yaml");
    assert_int_equal(run("--version")->code, 0);
    assert_has(run("version", "-o", "json")->out, "\"version\"");
    assert_has(run("-o", "json", "version")->out, "\"version\"");
}

/* --- completion --------------------------------------------------------------------------------------------------- */

/* What bash offers for the last of the words, run with the script that the program prints. */
static void check_bash(const char *words, const char *expected)
{
    char command[1024], found[4096];
    FILE *pipe;
    size_t n;

    snprintf(
        command, sizeof(command),
        "bash -c '. %s; COMP_WORDS=(daemun %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _daemun; echo ${COMPREPLY[@]}'",
        in_dir("completion.bash"), words);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    n = fread(found, 1, sizeof(found) - 1, pipe);
    found[n] = '\0';
    assert_int_equal(pclose(pipe), 0);
    assert_string_equal(found, expected);
}

static void test_bash(void **state)
{
    write_file("completion.bash", run("completion", "bash")->out);
    check_bash("ex", "export\n");
    check_bash("get app", "applications\n");
    check_bash("get products --out", "--output\n");
    check_bash("get products -o j", "json\n");
    check_bash("--tenant orders diff --f", "--file\n");
    check_bash("create t", "tenant token\n");
    check_bash("help exit", "exit-codes\n");
    check_bash("serve --access-log o", "on off\n");
    check_bash("completion \"\"", "bash zsh\n");
}

static void test_zsh(void **state)
{
    const struct result *result = run("completion", "zsh");

    assert_int_equal(result->code, 0);
    for (size_t i = 0; dm_verbs[i]; i++) {
        char head[64];

        snprintf(head, sizeof(head), "        %s)", dm_verbs[i]->name);
        assert_has(result->out, head);
    }
    write_file("completion.zsh", result->out);
    if (access("/usr/bin/zsh", X_OK) == 0) {
        char command[512];

        snprintf(command, sizeof(command), "zsh -n %s", in_dir("completion.zsh"));
        assert_int_equal(system(command), 0);
    }
    assert_has(run("completion", "fish")->err, "shells: bash, zsh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verb_is_explained),
        cmocka_unit_test(test_topics),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_bash),
        cmocka_unit_test(test_zsh),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
