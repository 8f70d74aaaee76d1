#include <sys/stat.h>

#include "cli/input.h"
#include "cli/cli.h"
#include "cli/places.h"
#include "cli/yaml_read.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/sys.h"

#define STDIN_NAME "standard input"

void dm_inputs_done(struct dm_inputs *inputs)
{
    for (size_t i = 0; i < inputs->items.count; i++) {
        dm_free(inputs->items.items[i].file);
        dm_free(inputs->items.items[i].tenant);
        dm_json_free(inputs->items.items[i].body);
        dm_places_free(inputs->items.items[i].places);
    }
    dm_vec_done(&inputs->items);
}

/* --- one document ------------------------------------------------------------------------------------------------- */

static int fail_at(struct dm_cli *cli, const char *file, const struct dm_places *places, const char *pointer,
                   const char *message)
{
    struct dm_place place = dm_places_find(places, dm_str_of(pointer));

    if (place.line > 0)
        dm_cli_fail(cli, DM_EXIT_USAGE, "%s:%zu:%zu: %s", file, place.line, place.column, message);
    else
        dm_cli_fail(cli, DM_EXIT_USAGE, "%s: %s", file, message);
    dm_cli_hint(cli, "daemun help files tells how files are written.");
    return DM_EXIT_USAGE;
}

static struct dm_str member_text(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_get(object, name);

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR_NULL;
}

static int read_kind(struct dm_cli *cli, const char *file, const struct dm_yaml_document *document,
                     enum dm_input_kind *ret)
{
    struct dm_str kind = member_text(document->json, "kind");

    *ret = DM_INPUT_FILE;
    if (!dm_json_get(document->json, "kind"))
        return DM_EXIT_OK;
    if (dm_str_eq(kind, DM_STR("tenant")))
        *ret = DM_INPUT_TENANT;
    else if (dm_str_eq(kind, DM_STR("grants")))
        *ret = DM_INPUT_GRANTS;
    else
        return fail_at(cli, file, document->places, "/kind",
                       "kind must be tenant or grants, or left out for the whole state of a tenant");
    return DM_EXIT_OK;
}

static int check_head(struct dm_cli *cli, const char *file, const struct dm_yaml_document *document)
{
    const struct dm_json *format;

    if (dm_json_type(document->json) != DM_JSON_OBJECT)
        return fail_at(cli, file, document->places, "", "a document must be an object that begins with `daemun: 1`");
    format = dm_json_get(document->json, "daemun");
    if (!format)
        return fail_at(cli, file, document->places, "",
                       "`daemun: 1` is missing: it says what format this document has");
    if (dm_json_type(format) != DM_JSON_INT || dm_json_int(format) != 1)
        return fail_at(cli, file, document->places, "/daemun",
                       "the format must be `daemun: 1`, which is all this program knows");
    if (member_text(document->json, "tenant").len == 0)
        return fail_at(cli, file, document->places, dm_json_get(document->json, "tenant") ? "/tenant" : "",
                       "`tenant: NAME` is missing: it says whose document this is");
    return DM_EXIT_OK;
}

/* Takes the document's tree and places on success. */
static int add_document(struct dm_cli *cli, const char *file, struct dm_yaml_document *document, struct dm_inputs *ret)
{
    struct dm_input input = {0};
    int rc;

    if ((rc = check_head(cli, file, document)) != DM_EXIT_OK ||
        (rc = read_kind(cli, file, document, &input.kind)) != DM_EXIT_OK)
        return rc;
    input.file = dm_strdup(dm_str_of(file));
    input.tenant = dm_strdup(member_text(document->json, "tenant"));
    input.line = dm_places_find(document->places, DM_STR("/daemun")).line;
    input.body = document->json;
    input.places = document->places;
    *document = (struct dm_yaml_document){0};
    if (input.kind != DM_INPUT_FILE) {
        dm_json_del(input.body, "daemun");
        dm_json_del(input.body, "kind");
        dm_json_del(input.body, "tenant");
    }
    *dm_vec_push(&ret->items) = input;
    return DM_EXIT_OK;
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static bool is_json_text(const char *file, struct dm_str text)
{
    size_t at = 0;

    if (dm_str_ends(dm_str_of(file), DM_STR(".json")))
        return true;
    if (strcmp(file, STDIN_NAME) != 0)
        return false;
    while (at < text.len && strchr(" \t\r\n", text.ptr[at]) && text.ptr[at] != '\0')
        at++;
    return at < text.len && text.ptr[at] == '{';
}

static int add_text(struct dm_cli *cli, const char *file, struct dm_str text, struct dm_inputs *ret)
{
    struct dm_yaml yaml = {0};
    struct dm_err err = {0};
    int rc =
        is_json_text(file, text) ? dm_yaml_read_json(file, text, &yaml, &err) : dm_yaml_read(file, text, &yaml, &err);

    if (rc < 0)
        rc = dm_cli_fail(cli, DM_EXIT_USAGE, "%s", err.message);
    for (size_t i = 0; rc == DM_EXIT_OK && i < yaml.documents.count; i++)
        rc = add_document(cli, file, &yaml.documents.items[i], ret);
    dm_yaml_done(&yaml);
    return rc;
}

static int add_stdin(struct dm_cli *cli, struct dm_inputs *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    char bytes[16384];
    size_t n;

    dm_buf_init(&text, DM_YAML_BYTES_MAX + 1);
    while ((n = fread(bytes, 1, sizeof(bytes), cli->world->in)) > 0)
        dm_buf_add_n(&text, bytes, n);
    if (ferror(cli->world->in) || text.failed)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "%s %s", STDIN_NAME,
                           text.failed ? "is larger than a file may be" : "can't be read");
    return add_text(cli, STDIN_NAME, dm_buf_str(&text), ret);
}

static int add_file(struct dm_cli *cli, const char *path, struct dm_inputs *ret)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    struct dm_err err = {0};

    if (dm_sys_read_file(dm_sys_real(), path, DM_YAML_BYTES_MAX, &text, &err) < 0)
        return dm_cli_fail(cli, DM_EXIT_USAGE, "%s", err.message);
    return add_text(cli, path, dm_buf_str(&text), ret);
}

/* --- directories -------------------------------------------------------------------------------------------------- */

struct listing {
    const char *dir;
    DM_VEC(char *) paths;
};

static int visit(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct dm_str s = dm_str_of(name);
    char path[4096];

    if (name[0] == '.' ||
        !(dm_str_ends(s, DM_STR(".yaml")) || dm_str_ends(s, DM_STR(".yml")) || dm_str_ends(s, DM_STR(".json"))))
        return 0;
    if (snprintf(path, sizeof(path), "%s/%s", listing->dir, name) < (int)sizeof(path))
        *dm_vec_push(&listing->paths) = dm_strdup(dm_str_of(path));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_directory(struct dm_cli *cli, const char *dir, struct dm_inputs *ret)
{
    struct dm_sys *sys = dm_sys_real();
    struct listing listing = {.dir = dir};
    int rc = sys->ops->list(sys, dir, visit, &listing);

    if (rc < 0)
        rc = dm_cli_fail(cli, DM_EXIT_USAGE, "%s can't be read: %s", dir, strerror(-rc));
    else if (listing.paths.count == 0)
        rc = dm_cli_fail(cli, DM_EXIT_USAGE, "there is no *.yaml, *.yml or *.json in %s", dir);
    else
        qsort(listing.paths.items, listing.paths.count, sizeof(listing.paths.items[0]), by_name);
    for (size_t i = 0; rc == DM_EXIT_OK && i < listing.paths.count; i++)
        rc = add_file(cli, listing.paths.items[i], ret);
    for (size_t i = 0; i < listing.paths.count; i++)
        dm_free(listing.paths.items[i]);
    dm_vec_done(&listing.paths);
    return rc;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

static int add_named(struct dm_cli *cli, const char *name, struct dm_inputs *ret)
{
    struct stat st;

    if (strcmp(name, "-") == 0)
        return add_stdin(cli, ret);
    if (stat(name, &st) == 0 && S_ISDIR(st.st_mode))
        return add_directory(cli, name, ret);
    return add_file(cli, name, ret);
}

/* Stable, so that files of one kind keep their order. */
static void sort_by_kind(struct dm_inputs *inputs)
{
    for (size_t i = 1; i < inputs->items.count; i++) {
        struct dm_input one = inputs->items.items[i];
        size_t at = i;

        for (; at > 0 && inputs->items.items[at - 1].kind > one.kind; at--)
            inputs->items.items[at] = inputs->items.items[at - 1];
        inputs->items.items[at] = one;
    }
}

/* The second would undo the first. */
static int check_unique(struct dm_cli *cli, const struct dm_inputs *inputs)
{
    for (size_t i = 0; i < inputs->items.count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct dm_input *a = &inputs->items.items[k], *b = &inputs->items.items[i];

            if (a->kind != b->kind || strcmp(a->tenant, b->tenant) != 0)
                continue;
            dm_cli_fail(cli, DM_EXIT_USAGE, "%s:%zu and %s:%zu are both for tenant %s; the second would undo the first",
                        a->file, a->line, b->file, b->line, a->tenant);
            dm_cli_hint(cli, "A document holds the whole state of a tenant: put both into one.");
            return DM_EXIT_USAGE;
        }
    return DM_EXIT_OK;
}

int dm_inputs_read(struct dm_cli *cli, struct dm_inputs *ret)
{
    const char *name;
    int rc = DM_EXIT_OK;

    if (!dm_args_at(&cli->args, "file", 0)) {
        dm_cli_fail(cli, DM_EXIT_USAGE, "-f FILE is missing: a file, a directory, or - for standard input");
        dm_cli_hint(cli, "See: daemun help files");
        return DM_EXIT_USAGE;
    }
    for (size_t i = 0; rc == DM_EXIT_OK && (name = dm_args_at(&cli->args, "file", i)); i++)
        rc = add_named(cli, name, ret);
    if (rc == DM_EXIT_OK && ret->items.count == 0)
        rc = dm_cli_fail(cli, DM_EXIT_USAGE, "there is no document in %s", dm_args_at(&cli->args, "file", 0));
    if (rc == DM_EXIT_OK)
        rc = check_unique(cli, ret);
    sort_by_kind(ret);
    return rc;
}
