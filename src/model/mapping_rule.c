#include "model/mapping_rule.h"
#include "model/field.h"
#include "model/format.h"

static void check_rule(const void *object, struct dm_check *check)
{
    const struct dm_mapping_rule *rule = object;
    struct dm_pattern ignored;
    struct dm_err err = {0};
    struct dm_arena arena;
    char found[DM_SHOW_MAX];

    dm_arena_init(&arena, NULL, DM_PATTERN_ARENA_BYTES);
    if (dm_pattern_parse(rule->pattern, &arena, &ignored, &err) < 0)
        dm_check_fail(check, "/pattern", "%s, found %s", err.message, dm_show(rule->pattern, found));
    dm_arena_done(&arena);
}

static const struct dm_field fields[] = {
    {"method", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_mapping_rule, method), .max = 32,
     .format = &dm_format_method, .doc = "Method of the request; `ANY` is each. GET does not imply HEAD."},
    {"pattern", DM_FIELD_STRING, DM_FIELD_REQUIRED, DM_AT(struct dm_mapping_rule, pattern), .min = 1,
     .max = DM_PATTERN_MAX, .format = &dm_format_text,
     .doc =
         "Beginning of the path below the version's path; `$` at its end makes it the whole path, `{x}` stands for one or "
         "more characters of one segment, `?a=b&c={v}` for query parameters that must be there."},
    {"metric", DM_FIELD_STRING, 0, DM_AT(struct dm_mapping_rule, metric), .max = DM_NAME_MAX, .def_str = "hits",
     .format = &dm_format_metric, .doc = "What a match counts."},
    {"delta", DM_FIELD_INT, 0, DM_AT(struct dm_mapping_rule, delta), .min = 1, .max = 1000000000, .def_int = 1,
     .doc = "By how much."},
    {"last", DM_FIELD_BOOL, 0, DM_AT(struct dm_mapping_rule, last),
     .doc = "A match ends the list: rules behind it are not asked."},
};

const struct dm_schema dm_schema_mapping_rule = {
    .name = "MappingRule",
    .doc =
        "Method and pattern of a request, and what a match counts. Rules are asked in their order and all that match add "
        "up; a request that matches none is answered with `no_mapping_rule`.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_mapping_rule),
    .validate = check_rule,
};
