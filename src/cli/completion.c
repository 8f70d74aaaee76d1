#include "cli/completion.h"
#include "cli/help.h"
#include "cli/verb.h"

static void print_names(FILE *out, const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        fprintf(out, "%s%s", i > 0 ? " " : "", names[i]);
}

static void print_verbs(FILE *out)
{
    for (size_t i = 0; dm_verbs[i]; i++)
        fprintf(out, "%s%s", i > 0 ? " " : "", dm_verbs[i]->name);
}

/* What the first operand of a verb may be; also verbs and topics for help. */
static void print_first(FILE *out, const struct dm_verb *verb)
{
    if (verb->first)
        print_names(out, verb->first);
    if (verb != &dm_verb_help)
        return;
    print_verbs(out);
    fputc(' ', out);
    print_names(out, dm_help_topics);
}

/* --- bash --------------------------------------------------------------------------------------------------------- */

static void bash_option_names(FILE *out, const struct dm_options *options)
{
    for (size_t i = 0; i < options->count; i++)
        fprintf(out, " --%s", options->items[i].name);
}

/* case branches on the word before, for options that take a value */
static void bash_values(FILE *out, const struct dm_options *options)
{
    for (size_t i = 0; i < options->count; i++) {
        const struct dm_option *option = &options->items[i];

        if (!option->value)
            continue;
        fprintf(out, "        --%s", option->name);
        if (option->letter)
            fprintf(out, "|-%c", option->letter);
        fputs(") ", out);
        if (option->choices) {
            fputs("COMPREPLY=($(compgen -W '", out);
            print_names(out, option->choices);
            fputs("' -- \"$cur\"))", out);
        } else if (option->completes == DM_COMPLETES_FILES) {
            fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", out);
        } else if (option->completes == DM_COMPLETES_DIRECTORIES) {
            fputs("COMPREPLY=($(compgen -d -- \"$cur\"))", out);
        } else {
            fputs("COMPREPLY=()", out);
        }
        fputs("; return ;;\n", out);
    }
}

/* "|--file|-f": what is followed by a value */
static void bash_valued(FILE *out, const struct dm_options *options)
{
    for (size_t i = 0; i < options->count; i++) {
        if (!options->items[i].value)
            continue;
        fprintf(out, "|--%s", options->items[i].name);
        if (options->items[i].letter)
            fprintf(out, "|-%c", options->items[i].letter);
    }
}

static void bash_verb(FILE *out, const struct dm_verb *verb)
{
    fprintf(out, "    %s)\n        options='", verb->name);
    for (size_t i = 0; i < verb->options.count; i++)
        fprintf(out, "--%s ", verb->options.items[i].name);
    fputs("' first='", out);
    print_first(out, verb);
    fputs("'\n", out);
    if (verb->options.count > 0) {
        fputs("        case $prev in\n", out);
        bash_values(out, &verb->options);
        fputs("        esac\n", out);
    }
    fputs("        ;;\n", out);
}

void dm_completion_bash(FILE *out)
{
    fputs("# bash completion of daemun; put `source <(daemun completion bash)` into ~/.bashrc\n"
          "_daemun() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= options= first= word i n=0\n"
          "    COMPREPLY=()\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        word=${COMP_WORDS[i]}\n"
          "        case $word in\n"
          "        '='",
          out);
    bash_valued(out, &dm_global_options);
    for (size_t i = 0; dm_verbs[i]; i++)
        bash_valued(out, &dm_verbs[i]->options);
    fputs(") i=$((i + 1)); continue ;;\n"
          "        -*) continue ;;\n"
          "        esac\n"
          "        if [[ -z $verb ]]; then verb=$word; else n=$((n + 1)); fi\n"
          "    done\n"
          "    case $prev in\n",
          out);
    bash_values(out, &dm_global_options);
    fputs("    esac\n"
          "    if [[ -z $verb ]]; then\n"
          "        COMPREPLY=($(compgen -W '",
          out);
    print_verbs(out);
    bash_option_names(out, &dm_global_options);
    fputs("' -- \"$cur\"))\n"
          "        return\n"
          "    fi\n"
          "    case $verb in\n",
          out);
    for (size_t i = 0; dm_verbs[i]; i++)
        bash_verb(out, dm_verbs[i]);
    fputs("    esac\n"
          "    if [[ $cur == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$options",
          out);
    bash_option_names(out, &dm_global_options);
    fputs("\" -- \"$cur\"))\n"
          "    elif [[ $n -eq 0 && -n $first ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$first\" -- \"$cur\"))\n"
          "    fi\n"
          "}\n"
          "complete -F _daemun daemun\n",
          out);
}

/* --- zsh ---------------------------------------------------------------------------------------------------------- */

/* A description within '…[…]': quotes, brackets and colons would end it. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void zsh_option(FILE *out, const struct dm_option *option)
{
    fprintf(out, " \\\n            '%s--%s%s[", option->is_repeatable ? "*" : "", option->name,
            option->value ? "=" : "");
    zsh_text(out, option->doc);
    fputc(']', out);
    if (option->value) {
        fprintf(out, ":%s:", option->value);
        if (option->choices) {
            fputc('(', out);
            print_names(out, option->choices);
            fputc(')', out);
        } else if (option->completes == DM_COMPLETES_FILES) {
            fputs("_files", out);
        } else if (option->completes == DM_COMPLETES_DIRECTORIES) {
            fputs("_directories", out);
        }
    }
    fputc('\'', out);
}

static void zsh_verb(FILE *out, const struct dm_verb *verb)
{
    fprintf(out, "        %s)\n            _arguments $globals", verb->name);
    for (size_t i = 0; i < verb->options.count; i++)
        zsh_option(out, &verb->options.items[i]);
    if (verb->operands_max > 0) {
        fputs(" \\\n            '1:what:(", out);
        print_first(out, verb);
        fputs(")'", out);
    }
    fputs("\n            ;;\n", out);
}

void dm_completion_zsh(FILE *out)
{
    fputs("#compdef daemun\n"
          "# zsh completion of daemun; put `source <(daemun completion zsh)` into ~/.zshrc\n"
          "_daemun() {\n"
          "    local curcontext=$curcontext state line\n"
          "    local -a globals verbs\n"
          "    globals=(",
          out);
    for (size_t i = 0; i < dm_global_options.count; i++)
        zsh_option(out, &dm_global_options.items[i]);
    fputs(")\n    verbs=(\n", out);
    for (size_t i = 0; dm_verbs[i]; i++) {
        fprintf(out, "        '%s:", dm_verbs[i]->name);
        zsh_text(out, dm_verbs[i]->summary);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    _arguments -C $globals '1: :->verb' '*:: :->rest'\n"
          "    case $state in\n"
          "    verb) _describe verb verbs ;;\n"
          "    rest)\n"
          "        case $line[1] in\n",
          out);
    for (size_t i = 0; dm_verbs[i]; i++)
        zsh_verb(out, dm_verbs[i]);
    fputs("        esac\n"
          "        ;;\n"
          "    esac\n"
          "}\n"
          "compdef _daemun daemun\n",
          out);
}
