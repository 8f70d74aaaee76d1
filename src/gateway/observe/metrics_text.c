#include "gateway/observe/metrics_int.h"

void dm_metrics_escape(struct dm_str value, struct dm_buf *ret)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            dm_buf_add_lit(ret, "\\n");
            continue;
        }
        if (c == '\\' || c == '"')
            dm_buf_add_char(ret, '\\');
        dm_buf_add_char(ret, c);
    }
}

void dm_metrics_begin(struct dm_buf *ret, const char *name, const char *type, const char *help)
{
    dm_buf_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{label="value" */
void dm_metrics_begin_sample(struct dm_buf *ret, const char *name, const char *suffix, const char *label,
                             struct dm_str value)
{
    dm_buf_add(ret, dm_str_of(name));
    dm_buf_add(ret, dm_str_of(suffix));
    dm_buf_add_char(ret, '{');
    dm_buf_add(ret, dm_str_of(label));
    dm_buf_add_lit(ret, "=\"");
    dm_metrics_escape(value, ret);
    dm_buf_add_char(ret, '"');
}

/* ,label="value" — values from our own tables */
void dm_metrics_add_label(struct dm_buf *ret, const char *label, const char *value)
{
    dm_buf_add_char(ret, ',');
    dm_buf_add(ret, dm_str_of(label));
    dm_buf_add_lit(ret, "=\"");
    dm_buf_add(ret, dm_str_of(value));
    dm_buf_add_char(ret, '"');
}

void dm_metrics_end_sample(struct dm_buf *ret, uint64_t value)
{
    dm_buf_add_lit(ret, "} ");
    dm_buf_add_u64(ret, value);
    dm_buf_add_char(ret, '\n');
}

void dm_metrics_end_sample_real(struct dm_buf *ret, double value)
{
    dm_buf_printf(ret, "} %.9g\n", value);
}

void dm_metrics_end_family_sample(struct dm_buf *ret, const struct dm_metrics_family *family, uint64_t value)
{
    if (family->divide_by > 0)
        dm_metrics_end_sample_real(ret, (double)value / family->divide_by);
    else
        dm_metrics_end_sample(ret, value);
}

void dm_metrics_write_one(struct dm_buf *ret, const char *name, const char *type, const char *help, uint64_t value)
{
    dm_metrics_begin(ret, name, type, help);
    dm_buf_printf(ret, "%s %llu\n", name, (unsigned long long)value);
}
