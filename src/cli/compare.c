#include "cli/compare.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/places.h"
#include "base/json.h"
#include "model/field.h"

static int report(const struct dm_cli *cli, const struct dm_input *input, const struct dm_errs *errs)
{
    dm_cli_fail(cli, DM_EXIT_REFUSED, "%s is not valid", input->file);
    for (size_t i = 0; i < errs->n; i++) {
        struct dm_place place = dm_places_find(input->places, dm_str_of(errs->items[i].pointer));

        fprintf(cli->world->err, "  %s:%zu:%zu: %s%s%s\n", input->file, place.line, place.column,
                errs->items[i].pointer, errs->items[i].pointer[0] ? ": " : "", errs->items[i].message);
    }
    return DM_EXIT_REFUSED;
}

static void add_value(struct dm_json *change, const char *name, struct dm_str text)
{
    static const struct dm_json_limits limits = {SIZE_MAX, 64};
    struct dm_json *value = NULL;

    if (text.len > 0 && dm_json_parse(text, &limits, &value, NULL) >= 0)
        dm_json_set(change, name, value);
}

static struct dm_json *changes_of(const struct dm_diff *diff, size_t n)
{
    static const char *const ops[] = {
        [DM_DIFF_ADDED] = "added", [DM_DIFF_REMOVED] = "removed", [DM_DIFF_CHANGED] = "changed"};
    struct dm_json *changes = dm_json_new_array();

    for (size_t i = 0; i < n; i++) {
        struct dm_json *change = dm_json_new_object();

        dm_json_set(change, "op", dm_json_new_string(dm_str_of(ops[diff[i].op])));
        dm_json_set(change, "pointer", dm_json_new_string(diff[i].pointer));
        add_value(change, "before", diff[i].before);
        add_value(change, "after", diff[i].after);
        dm_json_append(changes, change);
    }
    return changes;
}

static int compare(struct dm_cli *cli, const struct dm_input *input, const struct dm_schema *schema,
                   const struct dm_json *before, struct dm_arena *arena, struct dm_json **ret)
{
    void *from = dm_arena_calloc(arena, schema->struct_bytes), *to = dm_arena_calloc(arena, schema->struct_bytes);
    struct dm_diff *diff = NULL;
    struct dm_errs errs = {0};
    ssize_t n;

    if (!from || !to)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s needs too much memory", input->file);
    dm_model_default(schema, from);
    if (before && dm_model_read(schema, before, arena, from, &errs) < 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s answered with what this program does not understand: %s %s",
                           cli->server, errs.items[0].pointer, errs.items[0].message);
    if (dm_model_read(schema, input->body, arena, to, &errs) < 0)
        return report(cli, input, &errs);
    if ((n = dm_model_diff(schema, from, to, arena, &diff)) < 0)
        return dm_cli_fail(cli, DM_EXIT_FAILED, "%s needs too much memory", input->file);
    *ret = changes_of(diff, (size_t)n);
    return DM_EXIT_OK;
}

int dm_compare(struct dm_cli *cli, const struct dm_input *input, const struct dm_schema *schema,
               const struct dm_json *before, struct dm_json **ret)
{
    struct dm_arena arena;
    int rc;

    dm_arena_init(&arena, NULL, SIZE_MAX / 2);
    rc = compare(cli, input, schema, before, &arena, ret);
    dm_arena_done(&arena);
    return rc;
}
