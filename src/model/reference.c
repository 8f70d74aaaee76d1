#include "model/reference.h"
#include "model/field_int.h"
#include "model/format.h"
#include "model/listener.h"
#include "model/openapi.h"
#include "model/reason.h"

/* GitHub's anchors: lower case. */
static void add_link(struct dm_buf *ret, const struct dm_schema *schema)
{
    dm_buf_printf(ret, "[%s](#", schema->name);
    for (const char *c = schema->name; *c; c++)
        dm_buf_add_char(ret, *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c);
    dm_buf_add_char(ret, ')');
}

static void add_names(struct dm_buf *ret, const char *const *names)
{
    const char *before = "";

    for (size_t i = 0; names[i]; i++) {
        if (names[i][0] == '\0')
            continue;
        dm_buf_printf(ret, "%s`%s`", before, names[i]);
        before = ", ";
    }
}

static void add_type(struct dm_buf *ret, const struct dm_field *field)
{
    switch (field->type) {
    case DM_FIELD_BOOL: dm_buf_add_lit(ret, "boolean"); break;
    case DM_FIELD_INT: dm_buf_add_lit(ret, "integer"); break;
    case DM_FIELD_STRING: dm_buf_add_lit(ret, "string"); break;
    case DM_FIELD_ENUM: add_names(ret, field->names); break;
    case DM_FIELD_FLAGS: dm_buf_add_lit(ret, "list of "), add_names(ret, field->names); break;
    case DM_FIELD_STRINGS: dm_buf_add_lit(ret, "list of strings"); break;
    case DM_FIELD_OBJECT:
    case DM_FIELD_EMBED: add_link(ret, field->sub); break;
    case DM_FIELD_ARRAY: dm_buf_add_lit(ret, "list of "), add_link(ret, field->sub); break;
    case DM_FIELD_MAP: dm_buf_add_lit(ret, "reason → "), add_link(ret, field->sub); break;
    case DM_FIELD_JSON: dm_buf_add_lit(ret, "any value"); break;
    }
}

static void add_default(struct dm_buf *ret, const struct dm_field *field)
{
    if (field->flags & (DM_FIELD_UNSET | DM_FIELD_READ_ONLY))
        return;
    switch (field->type) {
    case DM_FIELD_BOOL: dm_buf_add(ret, dm_str_of(field->def_int ? "`true`" : "`false`")); break;
    case DM_FIELD_INT: dm_buf_printf(ret, "`%lld`", (long long)field->def_int); break;
    case DM_FIELD_ENUM: dm_buf_printf(ret, "`%s`", field->names[field->def_int]); break;
    case DM_FIELD_STRING:
        if (field->def_str)
            dm_buf_printf(ret, "`%s`", field->def_str);
        break;
    case DM_FIELD_FLAGS:
        for (unsigned i = 0, n = 0; field->names[i]; i++) {
            if (field->def_int & INT64_C(1) << i)
                dm_buf_printf(ret, "%s`%s`", n++ ? ", " : "", field->names[i]);
        }
        break;
    default: break;
    }
}

static void add_bounds(struct dm_buf *ret, const struct dm_field *field)
{
    switch (field->type) {
    case DM_FIELD_INT:
        if (field->max < INT64_MAX)
            dm_buf_printf(ret, "%lld to %lld", (long long)field->min, (long long)field->max);
        break;
    case DM_FIELD_STRING: dm_buf_printf(ret, "at most %lld bytes", (long long)field->max); break;
    case DM_FIELD_STRINGS:
    case DM_FIELD_ARRAY:
    case DM_FIELD_MAP:
        if (field->min > 0)
            dm_buf_printf(ret, "%lld to ", (long long)field->min);
        else
            dm_buf_add_lit(ret, "at most ");
        dm_buf_printf(ret, "%lld items", (long long)field->max);
        break;
    default: break;
    }
}

static void add_field(struct dm_buf *ret, const struct dm_field *field)
{
    dm_buf_printf(ret, "| `%s` | ", field->name);
    add_type(ret, field);
    dm_buf_add_lit(ret, " | ");
    if (field->flags & DM_FIELD_REQUIRED)
        dm_buf_add_lit(ret, "required");
    else
        add_default(ret, field);
    dm_buf_add_lit(ret, " | ");
    add_bounds(ret, field);
    dm_buf_printf(ret, " | %s", field->doc);
    if (field->format && (field->type == DM_FIELD_STRING || field->type == DM_FIELD_STRINGS))
        dm_buf_printf(ret, " *Format: %s.*", field->format->doc);
    if (field->flags & DM_FIELD_READ_ONLY)
        dm_buf_add_lit(ret, " *Read-only.*");
    else if (field->flags & DM_FIELD_SECRET)
        dm_buf_add_lit(ret, " *Write-only.*");
    dm_buf_add_lit(ret, " |\n");
}

static void add_schema(struct dm_buf *ret, const struct dm_schema *schema, struct dm_schemas_seen *seen)
{
    if (!dm_schemas_see(seen, schema))
        return;
    dm_buf_printf(ret, "\n## %s\n\n%s\n", schema->name, schema->doc);
    if (schema->tag)
        dm_buf_printf(ret, "\nThe member `%s` says which it is:\n\n", schema->tag);
    for (size_t i = 0; i < schema->n_variants; i++) {
        dm_buf_printf(ret, "- `%s`: ", schema->variants[i].tag);
        add_link(ret, schema->variants[i].schema);
        dm_buf_add_char(ret, '\n');
    }
    if (schema->n_fields > 0)
        dm_buf_add_lit(ret, "\n| member | type | default | bounds | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (dm_field_is_member(&schema->fields[i]))
            add_field(ret, &schema->fields[i]);
    }
    for (size_t i = 0; i < schema->n_variants; i++)
        add_schema(ret, schema->variants[i].schema, seen);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (schema->fields[i].sub)
            add_schema(ret, schema->fields[i].sub, seen);
    }
}

void dm_reference_resources(struct dm_buf *ret)
{
    struct dm_schemas_seen seen = {.n = 0};

    dm_buf_add_lit(ret,
                   "# Resources\n\n"
                   "Generated from the field tables in `src/model`; `daemun-reference` writes it again.\n\n"
                   "JSON in the API, YAML or JSON in files: one shape. A member that is left out, or null, has its "
                   "default; unknown members are refused.\n");
    for (size_t i = 0; dm_model_schemas[i]; i++)
        add_schema(ret, dm_model_schemas[i], &seen);
}

void dm_reference_reasons(struct dm_buf *ret)
{
    dm_buf_add_lit(
        ret, "# Reasons\n\n"
             "Generated from the table in `src/model/reason.c`; `daemun-reference` writes it again.\n\n"
             "Every answer that the gateway makes itself carries one of these codes, as the member `reason` of "
             "its problem details (RFC 9457) and in the access log and metrics. Codes never change. Those marked "
             "*own wording* can be given another status, content type and body under `errors` of a version. Those "
             "without a status are no answers: they say in log and metrics how an exchange ended.\n\n"
             "| reason | status | title | meaning | who can change it | where to look | own wording |\n"
             "|---|---|---|---|---|---|---|\n");
    for (int i = 1; i < DM_REASON_COUNT; i++) {
        const struct dm_reason_info *info = dm_reason_info((enum dm_reason)i);

        dm_buf_printf(ret, "| `%s` | ", info->code);
        if (info->status)
            dm_buf_printf(ret, "%d", info->status);
        dm_buf_printf(ret, " | %s | %s | %s | %s | %s |\n", info->title, info->detail, dm_reason_who_name(info->who),
                      info->fix, info->is_worded ? "yes" : "");
    }
}

static void add_limit(struct dm_buf *ret, const struct dm_listener_limit *limit)
{
    dm_buf_printf(ret, "| `%s` | `%llu` | %llu to %llu | %s%s | %s |\n", limit->word, (unsigned long long)limit->def,
                  (unsigned long long)limit->min, (unsigned long long)limit->max, limit->doc,
                  limit->min == 0 ? "; 0: no limit" : "", limit->beyond);
}

void dm_reference_listeners(struct dm_buf *ret)
{
    dm_buf_add_lit(
        ret,
        "# Listeners\n\n"
        "Generated from the tables in `src/model/listener.c`; `daemun-reference` writes it again.\n\n"
        "Where a gateway takes requests, and what holds for the connections that come in there, is one argument of "
        "`daemun-gateway` or `daemun serve`, which may be repeated:\n\n"
        "    --listen 'ADDRESS [WORD ...]'\n"
        "    --listen '*:80 trusted-fronts=10.0.0.0/8 connections=20000'\n"
        "    --listen '*:443 tls'\n"
        "    --listen 'unix:/run/daemun/gate.sock trusted-fronts=unix:'\n\n"
        "| address | what it is |\n|---|---|\n"
        "| `192.0.2.1:80` | an address of IPv4 |\n"
        "| `[2001:db8::1]:80` | an address of IPv6 |\n"
        "| `0.0.0.0:80` | all addresses of IPv4 |\n"
        "| `[::]:80` | all addresses of IPv6, and none of IPv4 |\n"
        "| `*:80` | short for the two listeners `0.0.0.0:80` and `[::]:80` with the same words; the second is left out "
        "where the machine has no IPv6 |\n"
        "| `unix:/path` | a socket in the file system, mode 0660. The file of a dead process is replaced, the one of a "
        "living process refused. |\n\n"
        "| word | default | meaning |\n|---|---|---|\n"
        "| `tls` | clear text | Each connection is served for a team's domain, by its server name "
        "([certificates and domains](../certificates.md)); without a name that is served it ends in the handshake. |\n"
        "| `http2=on\\|off` | `on` | Is HTTP/2 spoken with those who ask for it? With `tls`: where the domain has it "
        "too. |\n"
        "| `proxy-protocol=SOURCES` | nobody | Who begins a connection with a PROXY header (version 1 or 2): it must, and "
        "the address in it is the client's. From anywhere else the header is no request. |\n"
        "| `trusted-fronts=SOURCES` | as the option `--trusted-fronts` | Whose `Forwarded` and `X-Forwarded-*` fields "
        "count. Behind a PROXY header it is asked of the address in it. |\n\n"
        "`SOURCES` are addresses and blocks such as `10.0.0.0/8`, with commas between; `unix:` is whoever comes by a "
        "Unix socket.\n\n"
        "## Limits\n\n"
        "Each is a word of a listener (`body-max=1000000`) and an option of its own (`--body-max 1000000`) that holds for "
        "all listeners that do not say it.\n\n"
        "| limit | default | bounds | what it is | beyond it |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < DM_LISTENER_LIMIT_COUNT; i++)
        add_limit(ret, &dm_listener_limits[i]);
    dm_buf_add_lit(
        ret,
        "\n## What is counted\n\n"
        "By listener, as the label `listener` has its address:\n\n"
        "| metric | what it counts |\n|---|---|\n"
        "| `daemun_listener_connections` | connections open |\n"
        "| `daemun_listener_connections_total` | connections taken |\n"
        "| `daemun_listener_lobby_connections`, `daemun_listener_lobby_sources` | of those that are open: which have named "
        "no team yet, and from how many sources they come ([fairness](../fairness.md#the-lobby)) |\n"
        "| `daemun_listener_refused_total{reason}` | connections not served: `too_many_connections`, `draining`, "
        "`proxy_protocol_bad` (a source that must begin with a PROXY header did not, or with none that is sound), "
        "`lobby_source` (above `lobby-connections`), `lobby_full` (one more of a source that has many in a full lobby), "
        "`lobby_made_way` (the oldest of such a source, when another source's came) |\n"
        "| `daemun_listener_timeouts_total{what}` | what did not come in time: `head`, `body`, `reader` (the client "
        "takes too little of a response), `idle` (nothing between requests) |\n"
        "| `daemun_listener_faults_total{fault}` | requests that were none or above a limit: `head_too_large`, "
        "`too_many_fields`, `url_too_long`, `body_too_large`, and each other fault that an answer names |\n"
        "| `daemun_listener_http2_refused_total{reason}` | HTTP/2 connections that were ended early: `rapid_reset`, "
        "`made_you_reset` (streams that the client's frames made the gateway reset), `continuation_flood`, "
        "`settings_flood`, `ping_flood`, `empty_frames`, `priority_flood`, `header_bomb`, `window_stall` (windows opened "
        "by crumbs), `malformed_frames` (against the protocol); and streams: `malformed_messages`, `cancelled_streams` "
        "(reset by what came with them, and not begun), `refused_streams` (above `streams`), `slow_streams` |\n"
        "| `daemun_listener_http2_goaways_total{code}` | GOAWAY sent, by error code (RFC 9113, 7) in small letters |\n"
        "| `daemun_listener_http2_resets_total{code}` | RST_STREAM sent, likewise |\n\n"
        "A client that comes by a Unix socket is `unix:` in the access log and `unknown` in `Forwarded` (RFC 7239, "
        "6.2) and `X-Forwarded-For`; it is in no block of an `ip_check` policy.\n");
}
