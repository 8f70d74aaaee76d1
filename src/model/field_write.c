/* Writing an object by its table, in canonical order. */
#include "base/jsonw.h"
#include "model/field_int.h"

static void write_flags(const struct dm_field *field, unsigned bits, struct dm_jsonw *w)
{
    dm_jsonw_begin_array(w);
    for (unsigned i = 0; field->names[i]; i++) {
        if (bits & 1u << i)
            dm_jsonw_cstr(w, field->names[i]);
    }
    dm_jsonw_end_array(w);
}

static void write_strings(const struct dm_field *field, const void *object, struct dm_jsonw *w)
{
    const struct dm_str *items = dm_field_items(field, object);

    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < dm_field_count(field, object); i++)
        dm_jsonw_str(w, items[i]);
    dm_jsonw_end_array(w);
}

static void write_array(const struct dm_field *field, const void *object, struct dm_jsonw *w, unsigned flags)
{
    dm_jsonw_begin_array(w);
    for (size_t i = 0; i < dm_field_count(field, object); i++)
        dm_model_write(field->sub, dm_field_item(field, object, i), w, flags);
    dm_jsonw_end_array(w);
}

static void write_map(const struct dm_field *field, const void *object, struct dm_jsonw *w, unsigned flags)
{
    const struct dm_field *key = dm_schema_flagged(field->sub, DM_FIELD_KEY);

    dm_jsonw_begin_object(w);
    for (size_t i = 0; i < dm_field_count(field, object); i++) {
        const void *item = dm_field_item(field, object, i);

        dm_jsonw_name_str(w, dm_field_str(key, item));
        dm_model_write(field->sub, item, w, flags);
    }
    dm_jsonw_end_object(w);
}

static void write_value(const struct dm_field *field, const void *object, struct dm_jsonw *w, unsigned flags)
{
    const void *at = dm_field_at(field, object);

    switch (field->type) {
    case DM_FIELD_BOOL: dm_jsonw_bool(w, *(const bool *)at); break;
    case DM_FIELD_INT: dm_jsonw_i64(w, *(const int64_t *)at); break;
    case DM_FIELD_STRING: dm_jsonw_str(w, *(const struct dm_str *)at); break;
    case DM_FIELD_ENUM: dm_jsonw_cstr(w, field->names[*(const int *)at]); break;
    case DM_FIELD_FLAGS: write_flags(field, *(const unsigned *)at, w); break;
    case DM_FIELD_STRINGS: write_strings(field, object, w); break;
    case DM_FIELD_OBJECT: dm_model_write(field->sub, *(void *const *)at, w, flags); break;
    case DM_FIELD_EMBED: dm_model_write(field->sub, at, w, flags); break;
    case DM_FIELD_ARRAY: write_array(field, object, w, flags); break;
    case DM_FIELD_MAP: write_map(field, object, w, flags); break;
    case DM_FIELD_JSON: dm_jsonw_raw(w, *(const struct dm_str *)at); break;
    }
}

static bool is_written(const struct dm_field *field, const void *object, unsigned flags)
{
    bool is_default = dm_field_is_default(field, object);

    if (!dm_field_is_member(field))
        return false;
    if (field->flags & DM_FIELD_SECRET && (!(flags & DM_WRITE_SECRETS) || is_default))
        return false;
    if (field->flags & DM_FIELD_READ_ONLY && (!(flags & DM_WRITE_READ_ONLY) || is_default))
        return false;
    if (field->flags & DM_FIELD_REQUIRED || !is_default)
        return true;
    return flags & DM_WRITE_DEFAULTS && !(field->flags & DM_FIELD_UNSET) && field->type != DM_FIELD_OBJECT &&
           field->type != DM_FIELD_JSON;
}

void dm_model_write_members(const struct dm_schema *schema, const void *object, struct dm_jsonw *w, unsigned flags)
{
    schema = dm_schema_of(schema, object);
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct dm_field *field = &schema->fields[i];

        if (!is_written(field, object, flags))
            continue;
        dm_jsonw_name(w, field->name);
        write_value(field, object, w, flags);
    }
}

void dm_model_write(const struct dm_schema *schema, const void *object, struct dm_jsonw *w, unsigned flags)
{
    dm_jsonw_begin_object(w);
    dm_model_write_members(schema, object, w, flags);
    dm_jsonw_end_object(w);
}
