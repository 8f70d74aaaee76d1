#include <time.h>

#include "cli/kind.h"
#include "cli/option.h"
#include "base/json.h"
#include "base/sys.h"

static const struct dm_json *member(const struct dm_json *object, const char *name)
{
    return object && dm_json_type(object) == DM_JSON_OBJECT ? dm_json_get(object, name) : NULL;
}

static size_t count_of(const struct dm_json *object, const char *name)
{
    const struct dm_json *value = member(object, name);

    return value && dm_json_type(value) == DM_JSON_ARRAY ? dm_json_count(value) : 0;
}

static const struct dm_json *item_of(const struct dm_json *object, const char *name, size_t i)
{
    return dm_json_at(member(object, name), i);
}

struct dm_str dm_kind_text(const struct dm_json *object, const char *name, char *buf, size_t max)
{
    const struct dm_json *value = member(object, name);

    if (!value)
        return DM_STR("");
    switch (dm_json_type(value)) {
    case DM_JSON_STRING: return dm_json_string(value);
    case DM_JSON_BOOL: return dm_json_bool(value) ? DM_STR("yes") : DM_STR("no");
    case DM_JSON_INT: snprintf(buf, max, "%lld", (long long)dm_json_int(value)); break;
    case DM_JSON_REAL: snprintf(buf, max, "%g", dm_json_real(value)); break;
    default: return DM_STR("");
    }
    return dm_str_of(buf);
}

static void add(struct dm_table *table, const struct dm_json *object, const char *name)
{
    char number[32];

    dm_table_add(table, dm_kind_text(object, name, number, sizeof(number)));
}

/* The member `inner` of each item of the array `name` (the items themselves when inner is NULL), with commas. */
static void add_list(struct dm_table *table, const struct dm_json *object, const char *name, const char *inner)
{
    char text[DM_TABLE_CELL_MAX], number[32];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    for (size_t i = 0; i < count_of(object, name); i++) {
        const struct dm_json *item = item_of(object, name, i);

        if (i > 0)
            dm_buf_add_lit(&buf, ", ");
        if (inner)
            dm_buf_add(&buf, dm_kind_text(item, inner, number, sizeof(number)));
        else if (dm_json_type(item) == DM_JSON_STRING)
            dm_buf_add(&buf, dm_json_string(item));
    }
    dm_table_add(table, dm_buf_str(&buf));
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static void tenant_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "name");
    add(table, item, "state");
    add(table, item, "weight");
    add(table, item, "created_at");
    add(table, item, "description");
}

static void backend_row(const struct dm_json *item, struct dm_table *table)
{
    char text[DM_TABLE_CELL_MAX], number[32];
    struct dm_buf buf;

    add(table, item, "name");
    dm_buf_init_fixed(&buf, text, sizeof(text));
    for (size_t i = 0; i < count_of(item, "endpoints"); i++) {
        const struct dm_json *endpoint = item_of(item, "endpoints", i);

        dm_buf_printf(&buf, "%s%.*s:", i > 0 ? ", " : "", DM_STR_ARG(dm_kind_text(endpoint, "host", number, 32)));
        dm_buf_add(&buf, dm_kind_text(endpoint, "port", number, sizeof(number)));
    }
    dm_table_add(table, dm_buf_str(&buf));
    add(table, item, "base_path");
    add(table, item, "description");
}

static void product_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "name");
    add_list(table, item, "domains", NULL);
    add_list(table, item, "versions", "name");
    add_list(table, item, "plans", "name");
    add(table, item, "description");
}

/* One that is not named is chosen among those that cover the name; there may be none. */
static void domain_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "name");
    if (dm_json_get(item, "certificate"))
        add(table, item, "certificate");
    else
        dm_table_add(table, DM_STR("(what fits)"));
    add(table, item, "tls_min_version");
    add(table, item, "client_certificate");
    add(table, item, "redirect_to_https");
}

/* Until when, with a word where that is over: it is served all the same. Times in this form order as text. */
static void add_end(struct dm_table *table, const struct dm_json *certificate)
{
    char buf[32], now[32], text[64];
    struct dm_str end = dm_kind_text(certificate, "not_after", buf, sizeof(buf));
    struct dm_sys *sys = dm_sys_real();
    time_t at = (time_t)(sys->ops->wall_ns(sys) / 1000000000);
    struct tm tm;

    strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    snprintf(text, sizeof(text), "%.*s%s", (int)DM_MIN(end.len, sizeof(buf)), end.ptr,
             end.len > 0 && dm_str_cmp(end, dm_str_of(now)) <= 0 ? " (expired)" : "");
    dm_table_add(table, dm_str_of(text));
}

static void certificate_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "name");
    add_list(table, item, "names", NULL);
    add_end(table, item);
    add(table, item, "key_type");
    add(table, item, "issuer");
}

static void application_row(const struct dm_json *item, struct dm_table *table)
{
    char text[DM_TABLE_CELL_MAX], number[32];
    struct dm_buf buf;

    add(table, item, "name");
    add(table, item, "state");
    dm_buf_init_fixed(&buf, text, sizeof(text));
    for (size_t i = 0; i < count_of(item, "subscriptions"); i++) {
        const struct dm_json *one = item_of(item, "subscriptions", i);

        dm_buf_printf(&buf, "%s%.*s", i > 0 ? ", " : "", DM_STR_ARG(dm_kind_text(one, "product", number, 32)));
        dm_buf_printf(&buf, " (%.*s)", DM_STR_ARG(dm_kind_text(one, "plan", number, 32)));
    }
    dm_table_add(table, dm_buf_str(&buf));
    add_list(table, item, "credentials", "name");
    add(table, item, "description");
}

static void token_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "id");
    add(table, item, "name");
    add(table, item, "role");
    add(table, item, "tenant");
    add(table, item, "created_at");
    add(table, item, "expires_at");
}

static void change_row(const struct dm_json *item, struct dm_table *table)
{
    char number[32];

    add(table, item, "sequence");
    add(table, item, "at");
    add(table, item, "actor");
    add(table, item, "tenant");
    add(table, item, "action");
    dm_table_printf(table, "%.*s %.*s", DM_STR_ARG(dm_kind_text(item, "kind", number, sizeof(number))),
                    DM_STR_ARG(dm_kind_text(item, "name", number, sizeof(number))));
    add_list(table, item, "details", "pointer");
}

static void usage_row(const struct dm_json *item, struct dm_table *table)
{
    add(table, item, "product");
    add(table, item, "application");
    add(table, item, "metric");
    add(table, item, "from");
    add(table, item, "count");
}

static void print_grants(const struct dm_json *grants, FILE *out)
{
    static const char *const titles[] = {"GRANT", "VALUE", "PORTS", "NOTE", NULL};
    struct dm_table table;
    char number[32];

    dm_table_init(&table, titles);
    for (size_t i = 0; i < count_of(grants, "domains"); i++) {
        dm_table_add(&table, DM_STR("domain"));
        add(&table, item_of(grants, "domains", i), "name");
        dm_table_add(&table, DM_STR(""));
        add(&table, item_of(grants, "domains", i), "environment");
    }
    for (size_t i = 0; i < count_of(grants, "endpoints"); i++) {
        const struct dm_json *endpoint = item_of(grants, "endpoints", i);
        struct dm_str port = dm_kind_text(endpoint, "port", number, sizeof(number));
        char to[32];
        struct dm_str last = dm_kind_text(endpoint, "port_to", to, sizeof(to));

        dm_table_add(&table, DM_STR("endpoint"));
        add(&table, endpoint, "address");
        if (dm_str_eq(port, DM_STR("0")))
            dm_table_add(&table, DM_STR("any"));
        else if (last.len > 0 && !dm_str_eq(last, DM_STR("0")))
            dm_table_printf(&table, "%.*s-%.*s", DM_STR_ARG(port), DM_STR_ARG(last));
        else
            dm_table_add(&table, port);
        add(&table, endpoint, "comment");
    }
    dm_table_print(&table, out);
    dm_table_done(&table);
}

/* --- status ------------------------------------------------------------------------------------------------------- */

/* Which gateways have it not, and why: "gw1 waiting, gw2 refused: /pointer: message". */
static void add_behind(struct dm_table *table, const struct dm_json *unit)
{
    char text[DM_TABLE_CELL_MAX], id[32], state[32], message[32];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    for (size_t i = 0; i < count_of(unit, "gateways"); i++) {
        const struct dm_json *one = item_of(unit, "gateways", i), *error = member(one, "error");
        struct dm_str name = dm_kind_text(one, "state", state, sizeof(state));

        if (dm_str_eq(name, DM_STR("live")))
            continue;
        dm_buf_printf(&buf, "%s%.*s %.*s", buf.len > 0 ? ", " : "",
                      DM_STR_ARG(dm_kind_text(one, "gateway", id, sizeof(id))), DM_STR_ARG(name));
        if (error)
            dm_buf_printf(&buf, ": %.*s", DM_STR_ARG(dm_kind_text(error, "message", message, sizeof(message))));
    }
    dm_table_add(table, dm_buf_str(&buf));
}

static void print_units(const struct dm_json *status, FILE *out)
{
    static const char *const titles[] = {"TENANT", "UNIT", "SEQUENCE", "LIVE ON", "BEHIND", NULL};
    struct dm_table table;
    char live[32], of[32];

    dm_table_init(&table, titles);
    for (size_t i = 0; i < count_of(status, "units"); i++) {
        const struct dm_json *unit = item_of(status, "units", i);

        add(&table, unit, "tenant");
        add(&table, unit, "kind");
        add(&table, unit, "sequence");
        dm_table_printf(&table, "%.*s of %.*s", DM_STR_ARG(dm_kind_text(unit, "live", live, sizeof(live))),
                        DM_STR_ARG(dm_kind_text(unit, "of", of, sizeof(of))));
        add_behind(&table, unit);
    }
    dm_table_print(&table, out);
    dm_table_done(&table);
}

static void print_gateways(const struct dm_json *status, FILE *out)
{
    static const char *const titles[] = {"GATEWAY", "CONNECTED", "VERSION", "WORKERS", NULL};
    struct dm_table table;

    dm_table_init(&table, titles);
    for (size_t i = 0; i < count_of(status, "gateways"); i++) {
        const struct dm_json *gateway = item_of(status, "gateways", i);

        add(&table, gateway, "id");
        add(&table, gateway, "connected");
        add(&table, gateway, "version");
        add(&table, gateway, "workers");
    }
    dm_table_print(&table, out);
    dm_table_done(&table);
}

static void print_status(const struct dm_json *status, FILE *out)
{
    if (count_of(status, "units") == 0)
        fputs("No tenant has anything for gateways yet.\n", out);
    else
        print_units(status, out);
    fputc('\n', out);
    if (count_of(status, "gateways") == 0)
        fputs("No gateway has connected to the controller since it started.\n", out);
    else
        print_gateways(status, out);
}

/* --- the kinds ---------------------------------------------------------------------------------------------------- */

static const char *const tenant_titles[] = {"NAME", "STATE", "WEIGHT", "CREATED", "DESCRIPTION", NULL};
static const char *const backend_titles[] = {"NAME", "ENDPOINTS", "BASE PATH", "DESCRIPTION", NULL};
static const char *const product_titles[] = {"NAME", "DOMAINS", "VERSIONS", "PLANS", "DESCRIPTION", NULL};
static const char *const domain_titles[] = {"NAME", "CERTIFICATE", "TLS FROM", "CLIENT CERTIFICATE", "REDIRECTS", NULL};
static const char *const certificate_titles[] = {"NAME", "FOR", "VALID UNTIL", "KEY", "ISSUER", NULL};
static const char *const application_titles[] = {"NAME",        "STATE",       "PRODUCTS (PLANS)",
                                                 "CREDENTIALS", "DESCRIPTION", NULL};
static const char *const token_titles[] = {"ID", "NAME", "ROLE", "TENANT", "CREATED", "EXPIRES", NULL};
static const char *const change_titles[] = {"SEQUENCE", "AT", "BY", "TENANT", "ACTION", "WHAT", "MEMBERS", NULL};
static const char *const usage_titles[] = {"PRODUCT", "APPLICATION", "METRIC", "FROM", "COUNT", NULL};

const struct dm_kind_info dm_kind_infos[] = {
    {"tenants", "tenant", DM_SCOPE_PLATFORM, "the tenants that you may see", .has_pages = true, .has_items = true,
     .titles = tenant_titles, .row = tenant_row},
    {"backends", "backend", DM_SCOPE_TENANT, "the tenant's upstreams", .has_pages = true, .has_items = true,
     .titles = backend_titles, .row = backend_row},
    {"products", "product", DM_SCOPE_TENANT, "the APIs that it offers", .has_pages = true, .has_items = true,
     .titles = product_titles, .row = product_row},
    {"domains", "domain", DM_SCOPE_TENANT, "how its host names are served", .has_pages = true, .has_items = true,
     .titles = domain_titles, .row = domain_row},
    {"certificates", "certificate", DM_SCOPE_TENANT, "certificates of its domains, and for its backends",
     .has_pages = true, .has_items = true, .titles = certificate_titles, .row = certificate_row},
    {"applications", "application", DM_SCOPE_TENANT, "who uses them, under which plan", .has_pages = true,
     .has_items = true, .titles = application_titles, .row = application_row},
    {"grants", "grant", DM_SCOPE_TENANT, "domains and endpoints that the master opened for it", .is_single = true,
     .print = print_grants},
    {"tokens", "token", DM_SCOPE_EITHER, "API tokens", .has_pages = true, .titles = token_titles, .row = token_row},
    {"changes", "change", DM_SCOPE_EITHER, "who changed what, newest first", .has_pages = true, .titles = change_titles,
     .row = change_row},
    {"usage", "usage", DM_SCOPE_TENANT, "what was used, by product, application and metric", .has_pages = true,
     .titles = usage_titles, .row = usage_row},
    {"status", "status", DM_SCOPE_EITHER, "what is live on which gateway", .is_single = true, .print = print_status},
};

const size_t dm_kind_infos_count = DM_COUNT(dm_kind_infos);

const char *const dm_kind_plurals[] = {"tenants", "backends", "products", "domains", "certificates", "applications",
                                       "grants",  "tokens",   "changes",  "usage",   "status",       NULL};

const struct dm_kind_info *dm_kind_info_find(const char *name)
{
    for (size_t i = 0; i < DM_COUNT(dm_kind_infos); i++)
        if (strcmp(dm_kind_infos[i].plural, name) == 0 || strcmp(dm_kind_infos[i].singular, name) == 0)
            return &dm_kind_infos[i];
    return NULL;
}

const char *dm_kind_info_near(const char *name)
{
    return dm_option_near(dm_kind_plurals, name);
}
