#include "cli/option.h"
#include "base/buf.h"

const char *dm_option_near(const char *const *names, const char *name)
{
    struct dm_str wanted = dm_str_of(name);
    size_t best_distance = DM_MAX(1, wanted.len / 3) + 1;
    const char *best = NULL;

    for (size_t i = 0; names[i]; i++) {
        struct dm_str candidate = dm_str_of(names[i]);
        size_t distance = dm_str_distance(candidate, wanted);

        if (wanted.len > 1 && dm_str_starts(candidate, wanted))
            return names[i];
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

struct reader {
    const struct dm_options *tables;
    size_t n_tables;
    const char *const *args;
    int n_args, at;
    struct dm_args *ret;
    struct dm_err *err;
};

static const struct dm_option *find_name(const struct reader *r, struct dm_str name)
{
    for (size_t t = 0; t < r->n_tables; t++)
        for (size_t i = 0; i < r->tables[t].count; i++)
            if (dm_str_eq(dm_str_of(r->tables[t].items[i].name), name))
                return &r->tables[t].items[i];
    return NULL;
}

static const struct dm_option *find_letter(const struct reader *r, char letter)
{
    for (size_t t = 0; t < r->n_tables; t++)
        for (size_t i = 0; i < r->tables[t].count; i++)
            if (r->tables[t].items[i].letter == letter)
                return &r->tables[t].items[i];
    return NULL;
}

static int fail_unknown(const struct reader *r, struct dm_str name)
{
    DM_VEC(const char *) names = {0};
    char wanted[64];
    const char *near;
    int rc;

    for (size_t t = 0; t < r->n_tables; t++)
        for (size_t i = 0; i < r->tables[t].count; i++)
            *dm_vec_push(&names) = r->tables[t].items[i].name;
    *dm_vec_push(&names) = NULL;
    snprintf(wanted, sizeof(wanted), "%.*s", DM_STR_ARG(name));
    near = dm_option_near(names.items, wanted);
    rc = dm_fail(r->err, DM_EINVAL, "", near ? "unknown option --%.*s, did you mean --%s?" : "unknown option --%.*s",
                 DM_STR_ARG(name), near);
    dm_vec_done(&names);
    return rc;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int fail_choice(const struct reader *r, const struct dm_option *option, const char *value)
{
    char list[512];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, list, sizeof(list));
    for (size_t i = 0; option->choices[i]; i++)
        dm_buf_printf(&buf, "%s%s", i == 0 ? "" : option->choices[i + 1] ? ", " : " or ", option->choices[i]);
    return dm_fail(r->err, DM_EINVAL, "", "--%s must be %.*s, found '%s'", option->name, (int)buf.len, list, value);
}

static int add(struct reader *r, const struct dm_option *option, const char *value)
{
    if (option->choices) {
        size_t i = 0;

        while (option->choices[i] && strcmp(option->choices[i], value) != 0)
            i++;
        if (!option->choices[i])
            return fail_choice(r, option, value);
    }
    *dm_vec_push(&r->ret->given) = (struct dm_arg){option, value};
    return 0;
}

/* value: what stands behind '=' or the letter; NULL = nothing did. */
static int take(struct reader *r, const struct dm_option *option, const char *value)
{
    if (!option->value)
        return value ? dm_fail(r->err, DM_EINVAL, "", "--%s takes no value, found '%s'", option->name, value)
                     : add(r, option, "");
    if (!value && r->at + 1 < r->n_args)
        value = r->args[++r->at];
    if (!value)
        return dm_fail(r->err, DM_EINVAL, "", "--%s needs a value: --%s %s", option->name, option->name, option->value);
    return add(r, option, value);
}

static int read_long(struct reader *r, const char *arg)
{
    struct dm_str name = dm_str_of(arg + 2);
    size_t eq = dm_str_find(name, '=');
    const char *value = eq < name.len ? name.ptr + eq + 1 : NULL;
    const struct dm_option *option;

    name.len = eq;
    option = find_name(r, name);
    return option ? take(r, option, value) : fail_unknown(r, name);
}

static int read_short(struct reader *r, const char *arg)
{
    const struct dm_option *option = find_letter(r, arg[1]);

    if (!option)
        return dm_fail(r->err, DM_EINVAL, "", "unknown option -%c", arg[1]);
    return take(r, option, arg[2] ? arg + 2 : NULL);
}

int dm_args_read(const struct dm_options *tables, size_t n_tables, int n_args, const char *const *args,
                 struct dm_args *ret, struct dm_err *err)
{
    struct reader r = {tables, n_tables, args, n_args, 0, ret, err};
    bool is_ended = false;
    int rc = 0;

    for (; rc >= 0 && r.at < n_args; r.at++) {
        const char *arg = args[r.at];

        if (is_ended || arg[0] != '-' || arg[1] == '\0')
            *dm_vec_push(&ret->operands) = arg;
        else if (arg[1] != '-')
            rc = read_short(&r, arg);
        else if (arg[2] == '\0')
            is_ended = true;
        else
            rc = read_long(&r, arg);
    }
    return rc;
}

void dm_args_done(struct dm_args *args)
{
    dm_vec_done(&args->given);
    dm_vec_done(&args->operands);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

const char *dm_args_get(const struct dm_args *args, const char *name)
{
    for (size_t i = args->given.count; i > 0; i--)
        if (strcmp(args->given.items[i - 1].option->name, name) == 0)
            return args->given.items[i - 1].value;
    return NULL;
}

const char *dm_args_at(const struct dm_args *args, const char *name, size_t i)
{
    for (size_t k = 0; k < args->given.count; k++)
        if (strcmp(args->given.items[k].option->name, name) == 0 && i-- == 0)
            return args->given.items[k].value;
    return NULL;
}

bool dm_args_has(const struct dm_args *args, const char *name)
{
    return dm_args_get(args, name) != NULL;
}

const char *dm_args_operand(const struct dm_args *args, size_t i)
{
    return i < args->operands.count ? args->operands.items[i] : NULL;
}
