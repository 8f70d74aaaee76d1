#include "cli/report.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/map.h"

#define SHOWN_MAX 72

enum fate { UNCHANGED, CREATED, CHANGED, DELETED };

/* --- reading changes ---------------------------------------------------------------------------------------------- */

static struct dm_str text_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;

    return value && dm_json_type(value) == DM_JSON_STRING ? dm_json_string(value) : DM_STR("");
}

/* "/products/orders" of "/products/orders/path"; of tenants and grants "", the whole. */
static struct dm_str resource_of(const struct dm_input *input, struct dm_str pointer)
{
    size_t at = 1, n_steps = dm_str_starts(pointer, DM_STR("/grants")) ? 1 : 2;

    if (input->kind != DM_INPUT_FILE)
        return dm_str_n(pointer.ptr, 0);
    for (; at < pointer.len; at++)
        if (pointer.ptr[at] == '/' && --n_steps == 0)
            break;
    return dm_str_n(pointer.ptr, DM_MIN(at, pointer.len));
}

static enum fate fate_of(const struct dm_json *change, struct dm_str resource)
{
    struct dm_str op = text_of(change, "op");

    if (!dm_str_eq(text_of(change, "pointer"), resource))
        return CHANGED;
    return dm_str_eq(op, DM_STR("added")) ? CREATED : dm_str_eq(op, DM_STR("removed")) ? DELETED : CHANGED;
}

static struct dm_str resource_at(const struct dm_input *input, const struct dm_json *changes, size_t i)
{
    return resource_of(input, text_of(dm_json_at(changes, i), "pointer"));
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static bool has_colour(const struct dm_cli *cli)
{
    const char *no = cli->world->env("NO_COLOR");

    return cli->world->out_is_terminal && !(no && no[0]);
}

static void print_line(const struct dm_cli *cli, enum fate fate, enum dm_report_style style, const char *what,
                       struct dm_str name)
{
    static const char *const words[] = {"unchanged", "created", "changed", "deleted"};
    static const char *const plans[] = {"unchanged", "would be created", "would be changed", "would be deleted"};
    static const char *const marks[] = {" ", "+", "~", "-"};
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    const char *word = style == DM_REPORT_DIFF ? marks[fate] : style == DM_REPORT_DRY_RUN ? plans[fate] : words[fate];
    int width = style == DM_REPORT_DIFF ? 1 : style == DM_REPORT_DRY_RUN ? 16 : 9;
    bool is_coloured = has_colour(cli);

    fprintf(cli->world->out, "  %s%-*s%s  %s %.*s\n", is_coloured ? colours[fate] : "", width, word,
            is_coloured ? "\033[0m" : "", what, DM_STR_ARG(name));
}

/* "product" and "orders" of "/products/orders". */
static void split(const struct dm_input *input, struct dm_str resource, const char **ret_what, struct dm_str *ret_name)
{
    static const struct {
        const char *section, *what;
    } names[] = {{"/backends/", "backend"},
                 {"/products/", "product"},
                 {"/domains/", "domain"},
                 {"/certificates/", "certificate"},
                 {"/applications/", "application"}};

    *ret_name = dm_str_of(input->tenant);
    *ret_what = input->kind == DM_INPUT_TENANT ? "tenant" : "grants of";
    for (size_t i = 0; i < DM_COUNT(names); i++)
        if (dm_str_starts(resource, dm_str_of(names[i].section))) {
            *ret_what = names[i].what;
            *ret_name = dm_str_skip(resource, strlen(names[i].section));
        }
}

static void print_value(const struct dm_cli *cli, const struct dm_json *change, const char *name)
{
    const struct dm_json *value = dm_json_get(change, name);
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    size_t n;

    if (!value)
        return;
    dm_buf_init(&text, 1 << 20);
    dm_json_print(value, false, &text);
    for (n = DM_MIN(text.len, SHOWN_MAX); n > 0 && n < text.len && ((unsigned char)text.ptr[n] & 0xC0) == 0x80;)
        n--;
    fprintf(cli->world->out, "%.*s%s", (int)n, text.ptr, n < text.len ? "…" : "");
}

/* "      plans/basic/limits/0/value: 100 → 200" */
static void print_inner(const struct dm_cli *cli, const struct dm_json *change, struct dm_str resource)
{
    struct dm_str pointer = dm_str_skip(text_of(change, "pointer"), resource.len + 1), op = text_of(change, "op");

    fprintf(cli->world->out, "      %.*s: ", DM_STR_ARG(pointer));
    if (dm_str_eq(op, DM_STR("added")))
        fputs("added ", cli->world->out);
    else if (dm_str_eq(op, DM_STR("removed")))
        fputs("removed ", cli->world->out);
    else
        print_value(cli, change, "before");
    if (dm_str_eq(op, DM_STR("changed")))
        fputs(" → ", cli->world->out);
    print_value(cli, change, dm_str_eq(op, DM_STR("removed")) ? "before" : "after");
    fputc('\n', cli->world->out);
}

/* Changes of one resource stand together. */
static void print_changed(const struct dm_cli *cli, const struct dm_input *input, const struct dm_applied *applied,
                          enum dm_report_style style)
{
    const struct dm_json *changes = applied->changes;
    size_t n = dm_json_count(changes);

    for (size_t i = 0, next; i < n; i = next) {
        struct dm_str resource = resource_at(input, changes, i), name;
        enum fate fate = fate_of(dm_json_at(changes, i), resource);
        const char *what;

        for (next = i + 1; next < n && dm_str_eq(resource_at(input, changes, next), resource);)
            next++;
        if (applied->is_new_tenant && input->kind == DM_INPUT_TENANT)
            fate = CREATED;
        split(input, resource, &what, &name);
        print_line(cli, fate, style, what, name);
        for (size_t k = i; fate == CHANGED && k < next; k++)
            print_inner(cli, dm_json_at(changes, k), resource);
    }
}

static void collect_touched(const struct dm_input *input, const struct dm_json *changes, struct dm_map *ret)
{
    dm_map_init_random(ret);
    for (size_t i = 0; i < dm_json_count(changes); i++)
        dm_map_put(ret, resource_at(input, changes, i), dm_json_at(changes, i));
}

static bool is_touched(const struct dm_map *touched, const char *section, struct dm_str name)
{
    char bytes[512];
    struct dm_buf pointer;

    dm_buf_init_fixed(&pointer, bytes, sizeof(bytes));
    dm_buf_printf(&pointer, "/%s/%.*s", section, DM_STR_ARG(name));
    return dm_map_get(touched, dm_buf_str(&pointer)) != NULL;
}

static void print_unchanged(const struct dm_cli *cli, const struct dm_input *input, const struct dm_json *changes,
                            enum dm_report_style style)
{
    static const char *const sections[] = {"backends", "products", "domains", "certificates", "applications"};
    static const char *const whats[] = {"backend", "product", "domain", "certificate", "application"};
    struct dm_map touched;

    collect_touched(input, changes, &touched);
    for (size_t s = 0; s < DM_COUNT(sections); s++) {
        const struct dm_json *items = dm_json_get(input->body, sections[s]);

        for (size_t i = 0; items && dm_json_type(items) == DM_JSON_ARRAY && i < dm_json_count(items); i++) {
            struct dm_str name = text_of(dm_json_at(items, i), "name");

            if (!is_touched(&touched, sections[s], name))
                print_line(cli, UNCHANGED, style, whats[s], name);
        }
    }
    dm_map_done(&touched);
}

void dm_report_changes(const struct dm_cli *cli, const struct dm_input *input, const struct dm_applied *applied,
                       enum dm_report_style style)
{
    if (cli->is_quiet)
        return;
    if (style == DM_REPORT_DIFF && dm_json_count(applied->changes) == 0 && !applied->is_new_tenant)
        return;
    fprintf(cli->world->out, "tenant %s, from %s:%zu\n", input->tenant, input->file, DM_MAX(input->line, (size_t)1));
    if (applied->is_new_tenant && (input->kind == DM_INPUT_FILE || dm_json_count(applied->changes) == 0))
        print_line(cli, CREATED, style, "tenant", dm_str_of(input->tenant));
    print_changed(cli, input, applied, style);
    if (style == DM_REPORT_DIFF)
        return;
    if (input->kind == DM_INPUT_FILE)
        print_unchanged(cli, input, applied->changes, style);
    else if (dm_json_count(applied->changes) == 0 && !applied->is_new_tenant)
        print_line(cli, UNCHANGED, style, input->kind == DM_INPUT_TENANT ? "tenant" : "grants of",
                   dm_str_of(input->tenant));
}

/* --- keys and gateways -------------------------------------------------------------------------------------------- */

void dm_report_keys(const struct dm_cli *cli, const struct dm_applied *applied)
{
    size_t n = applied->credentials && dm_json_type(applied->credentials) == DM_JSON_ARRAY
                   ? dm_json_count(applied->credentials)
                   : 0;

    for (size_t i = 0; i < n; i++) {
        const struct dm_json *one = dm_json_at(applied->credentials, i);

        fprintf(cli->world->out, "  key of application %.*s, credential %.*s: %.*s\n",
                DM_STR_ARG(text_of(one, "application")), DM_STR_ARG(text_of(one, "name")),
                DM_STR_ARG(text_of(one, "key")));
    }
    if (n > 0)
        dm_cli_say(cli, "  Keep %s: %s not shown again.", n == 1 ? "it" : "them", n == 1 ? "it is" : "they are");
}

static long long number_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = dm_json_get(object, name);

    return value && dm_json_type(value) == DM_JSON_INT ? (long long)dm_json_int(value) : 0;
}

static void report_refusals(const struct dm_cli *cli, const struct dm_json *live)
{
    const struct dm_json *refused = dm_json_get(live, "refused");

    for (size_t i = 0; refused && i < dm_json_count(refused); i++) {
        const struct dm_json *one = dm_json_at(refused, i);

        fprintf(cli->world->err, "  gateway %.*s refused it: %.*s: %.*s\n", DM_STR_ARG(text_of(one, "gateway")),
                DM_STR_ARG(text_of(one, "pointer")), DM_STR_ARG(text_of(one, "message")));
    }
}

static void report_lagging(const struct dm_cli *cli, const struct dm_json *live)
{
    const struct dm_json *lagging = dm_json_get(live, "lagging");

    for (size_t i = 0; lagging && i < dm_json_count(lagging); i++)
        if (dm_json_type(dm_json_at(lagging, i)) == DM_JSON_STRING)
            fprintf(cli->world->err, "  gateway %s does not have it yet\n", dm_json_string(dm_json_at(lagging, i)).ptr);
}

int dm_report_live(const struct dm_cli *cli, const struct dm_json *live, uint64_t took_ms)
{
    long long n, of;

    if (!live || dm_json_type(live) != DM_JSON_OBJECT)
        return DM_EXIT_OK;
    n = number_of(live, "gateways");
    of = number_of(live, "of");
    if (of > 0 && n == of) {
        dm_cli_say(cli, "  live on %lld of %lld gateway%s after %llu ms", n, of, of == 1 ? "" : "s",
                   (unsigned long long)took_ms);
        return DM_EXIT_OK;
    }
    if (of == 0)
        dm_cli_fail(cli, DM_EXIT_NOT_LIVE, "stored, but no gateway is connected to the controller");
    else
        dm_cli_fail(cli, DM_EXIT_NOT_LIVE, "stored, but live on %lld of %lld gateways after %llu ms", n, of,
                    (unsigned long long)took_ms);
    report_refusals(cli, live);
    report_lagging(cli, live);
    dm_cli_hint(cli, "It is applied as soon as they can. `daemun status` shows how it stands.");
    return DM_EXIT_NOT_LIVE;
}

static void set_copy(struct dm_json *object, const char *name, const struct dm_json *value)
{
    if (value)
        dm_json_set(object, name, dm_json_copy(value));
}

struct dm_json *dm_report_json(const struct dm_input *input, const struct dm_applied *applied)
{
    static const char *const kinds[] = {
        [DM_INPUT_TENANT] = "tenant", [DM_INPUT_GRANTS] = "grants", [DM_INPUT_FILE] = "file"};
    struct dm_json *json = dm_json_new_object(), *file = dm_json_new_string(dm_str_of(input->file));

    dm_json_set(json, "file", file ? file : dm_json_new_null());
    dm_json_set(json, "kind", dm_json_new_string(dm_str_of(kinds[input->kind])));
    dm_json_set(json, "tenant", dm_json_new_string(dm_str_of(input->tenant)));
    dm_json_set(json, "new_tenant", dm_json_new_bool(applied->is_new_tenant));
    dm_json_set(json, "changed", dm_json_new_bool(applied->is_new_tenant || dm_json_count(applied->changes) > 0));
    set_copy(json, "changes", applied->changes);
    set_copy(json, "credentials", applied->credentials);
    set_copy(json, "live", applied->live);
    dm_json_set(json, "took_ms", dm_json_new_int((int64_t)applied->took_ms));
    return json;
}
