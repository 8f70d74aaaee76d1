#include "cli/help.h"
#include "cli/cli.h"
#include "cli/verb.h"

#define HELP_COLUMNS 100

const char *const dm_help_topics[] = {"exit-codes", "environment", "files", NULL};

static const char environment_text[] =
    "Each is used where its option is not given.\n"
    "\n"
    "    DAEMUN_SERVER    where the controller's API is, as --server\n"
    "    DAEMUN_TOKEN     the token; it is never written anywhere\n"
    "    DAEMUN_TENANT    the tenant to work on, as --tenant\n"
    "    XDG_CONFIG_HOME  where `daemun login` keeps server and token: daemun/config.json below it, mode 0600\n"
    "                     (default: ~/.config)\n"
    "    NO_COLOR         when set, nothing is coloured\n"
    "\n"
    "A token that was kept by `daemun login` is sent to the server that it was kept for and to no other.\n";

static const char files_text[] =
    "`apply`, `diff` and `export` work on declarative files, in YAML or JSON. A file may hold several documents. There are\n"
    "three kinds of document:\n"
    "\n"
    "    daemun: 1              # the whole state of a tenant: what is not in it is not there\n"
    "    tenant: orders\n"
    "    backends: [...]\n"
    "    products: [...]\n"
    "    domains: [...]\n"
    "    certificates: [...]    # left out, the key of a certificate stays as it is\n"
    "    applications: [...]    # left out, credentials of an application stay as they are\n"
    "\n"
    "    daemun: 1              # what the master opened for a tenant (master only)\n"
    "    kind: grants\n"
    "    tenant: orders\n"
    "    domains: [...]\n"
    "    endpoints: [...]\n"
    "\n"
    "    daemun: 1              # the tenant itself (master only)\n"
    "    kind: tenant\n"
    "    tenant: orders\n"
    "    description: Orders team\n"
    "\n"
    "Members are described in docs/reference/resources.md. YAML is read by the rules of YAML 1.2: `no`, `on` and `12:30`\n"
    "are texts. Anchors, aliases, tags, merge keys (<<) and keys that stand twice are refused, with their line. Keys and\n"
    "tokens never stand in what `export` writes.\n";

/* --- laying out --------------------------------------------------------------------------------------------------- */

/* text in lines of at most HELP_COLUMNS, all but the first indented. */
static void print_wrapped(FILE *out, const char *text, size_t indent, size_t at)
{
    struct dm_str rest = dm_str_of(text), word;

    for (size_t n = 0; dm_str_cut(&rest, ' ', &word); n++) {
        if (n > 0 && at + 1 + word.len > HELP_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (n > 0) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", DM_STR_ARG(word));
        at += word.len;
    }
    fputc('\n', out);
}

static void print_paragraphs(FILE *out, const char *text)
{
    struct dm_str rest = dm_str_of(text), line;

    while (dm_str_cut(&rest, '\n', &line)) {
        char paragraph[2048];

        snprintf(paragraph, sizeof(paragraph), "%.*s", DM_STR_ARG(line));
        if (paragraph[0] == ' ')
            fprintf(out, "%s\n", paragraph);
        else
            print_wrapped(out, paragraph, 0, 0);
    }
}

/* "-f, --file FILE" into ret. */
static void option_form(const struct dm_option *option, char *ret, size_t max)
{
    char letter[8] = "    ";

    if (option->letter)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(ret, max, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
}

static void print_options(FILE *out, const struct dm_options *options)
{
    char form[80];
    size_t width = 0;

    for (size_t i = 0; i < options->count; i++) {
        option_form(&options->items[i], form, sizeof(form));
        width = DM_MAX(width, strlen(form));
    }
    for (size_t i = 0; i < options->count; i++) {
        option_form(&options->items[i], form, sizeof(form));
        fprintf(out, "  %-*s  ", (int)width, form);
        print_wrapped(out, options->items[i].doc, width + 4, width + 4);
    }
}

/* --- for the terminal --------------------------------------------------------------------------------------------- */

void dm_help_all(FILE *out)
{
    fputs("daemun: one gate, many teams\n\nUsage: daemun <verb> [options]\n\nVerbs:\n", out);
    for (size_t i = 0; dm_verbs[i]; i++)
        fprintf(out, "  %-12s%s\n", dm_verbs[i]->name, dm_verbs[i]->summary);
    fputs("\nOptions of all verbs:\n", out);
    print_options(out, &dm_global_options);
    fputs("\nMore: daemun help <verb>", out);
    for (size_t i = 0; dm_help_topics[i]; i++)
        fprintf(out, ", daemun help %s", dm_help_topics[i]);
    fputs("\nBegin: daemun serve, and in another terminal: daemun login\n", out);
}

static void print_usage(FILE *out, const struct dm_verb *verb)
{
    fprintf(out, "daemun %s%s%s%s\n", verb->name, verb->operands[0] ? " " : "", verb->operands,
            verb->options.count > 0 ? " [options]" : "");
}

void dm_help_verb(const struct dm_verb *verb, FILE *out)
{
    fputs("Usage: ", out);
    print_usage(out, verb);
    fputc('\n', out);
    print_paragraphs(out, verb->text);
    if (verb->options.count > 0) {
        fputs("\nOptions:\n", out);
        print_options(out, &verb->options);
    }
    fputs("\nExamples:\n", out);
    for (size_t i = 0; i < DM_VERB_EXAMPLES_MAX && verb->examples[i].command; i++)
        fprintf(out, "  %s\n      %s\n", verb->examples[i].command, verb->examples[i].does);
    fputs("\nOptions of all verbs:\n", out);
    print_options(out, &dm_global_options);
}

static void print_exit_codes(FILE *out)
{
    for (int i = 0; i < DM_EXIT_COUNT; i++) {
        fprintf(out, "  %d  ", i);
        print_wrapped(out, dm_exit_text((enum dm_exit)i), 5, 5);
    }
}

bool dm_help_topic(const char *name, FILE *out)
{
    if (strcmp(name, "exit-codes") == 0)
        print_exit_codes(out);
    else if (strcmp(name, "environment") == 0)
        fputs(environment_text, out);
    else if (strcmp(name, "files") == 0)
        fputs(files_text, out);
    else
        return false;
    return true;
}

/* --- as Markdown -------------------------------------------------------------------------------------------------- */

static void manual_options(FILE *out, const struct dm_options *options)
{
    fputs("| option | what it does |\n|---|---|\n", out);
    for (size_t i = 0; i < options->count; i++) {
        const struct dm_option *option = &options->items[i];

        fputs("| ", out);
        if (option->letter)
            fprintf(out, "`-%c`, ", option->letter);
        fprintf(out, "`--%s%s%s` | %s |\n", option->name, option->value ? " " : "", option->value ? option->value : "",
                option->doc);
    }
    fputc('\n', out);
}

static void manual_verb(FILE *out, const struct dm_verb *verb)
{
    struct dm_str rest = dm_str_of(verb->text), line;

    fprintf(out, "## daemun %s\n\n```\n", verb->name);
    print_usage(out, verb);
    fputs("```\n\n", out);
    while (dm_str_cut(&rest, '\n', &line))
        fprintf(out, "%.*s\n", DM_STR_ARG(line));
    fputc('\n', out);
    if (verb->options.count > 0)
        manual_options(out, &verb->options);
    for (size_t i = 0; i < DM_VERB_EXAMPLES_MAX && verb->examples[i].command; i++)
        fprintf(out, "%s\n\n```\n%s\n```\n\n", verb->examples[i].does, verb->examples[i].command);
}

void dm_help_manual(FILE *out)
{
    fputs("# The command line\n\n"
          "Written by `daemun help --markdown`; a test holds this page to the program.\n\n"
          "| verb | |\n|---|---|\n",
          out);
    for (size_t i = 0; dm_verbs[i]; i++)
        fprintf(out, "| [`daemun %s`](#daemun-%s) | %s |\n", dm_verbs[i]->name, dm_verbs[i]->name,
                dm_verbs[i]->summary);
    fputs("\n## Options of all verbs\n\n", out);
    manual_options(out, &dm_global_options);
    fputs("## Exit codes\n\n| code | meaning |\n|---|---|\n", out);
    for (int i = 0; i < DM_EXIT_COUNT; i++)
        fprintf(out, "| %d | %s |\n", i, dm_exit_text((enum dm_exit)i));
    fprintf(out, "\n## Environment\n\n%s\n## Files\n\n%s\n", environment_text, files_text);
    for (size_t i = 0; dm_verbs[i]; i++)
        manual_verb(out, dm_verbs[i]);
}
