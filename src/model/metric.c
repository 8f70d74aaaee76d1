#include "model/metric.h"
#include "model/field.h"
#include "model/format.h"

static void check_metric(const void *object, struct dm_check *check)
{
    const struct dm_metric *metric = object;
    char shown[DM_SHOW_MAX];

    if (metric->parent.len == 0)
        return;
    if (!dm_str_eq(metric->parent, DM_METRIC_HITS))
        dm_check_fail(check, "/parent", "must be 'hits', the only metric that has methods, found %s",
                      dm_show(metric->parent, shown));
    else if (dm_str_eq(metric->name, DM_METRIC_HITS))
        dm_check_fail(check, "/parent", "must be left out for 'hits', which is the top");
}

static const struct dm_field fields[] = {
    {"name", DM_FIELD_STRING, DM_FIELD_REQUIRED | DM_FIELD_IDENTITY, DM_AT(struct dm_metric, name), .max = DM_NAME_MAX,
     .format = &dm_format_metric, .doc = "Name, unique in the product. `hits` is always there and need not be listed."},
    {"parent", DM_FIELD_STRING, DM_FIELD_UNSET, DM_AT(struct dm_metric, parent), .max = DM_NAME_MAX,
     .format = &dm_format_metric, .doc = "`hits` makes it a method: what counts it counts `hits` too."},
    {"description", DM_FIELD_STRING, 0, DM_AT(struct dm_metric, description), .max = DM_TEXT_MAX,
     .format = &dm_format_text, .doc = "What is counted."},
    {"unit", DM_FIELD_STRING, 0, DM_AT(struct dm_metric, unit), .max = DM_NAME_MAX, .def_str = "hit",
     .format = &dm_format_text, .doc = "What one of it is called."},
};

const struct dm_schema dm_schema_metric = {
    .name = "Metric",
    .doc = "What is counted and limited.",
    DM_FIELDS(fields),
    .struct_bytes = sizeof(struct dm_metric),
    .validate = check_metric,
};
