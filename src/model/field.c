/* Schemas and fields by themselves: variants, defaults, lookup. */
#include "model/field.h"
#include "base/buf.h"
#include "model/field_int.h"

#include <assert.h>

const struct dm_schema *dm_schema_of(const struct dm_schema *schema, const void *object)
{
    const struct dm_field *tag;
    const char *name;

    if (!schema->tag)
        return schema;
    tag = &schema->variants[0].schema->fields[0];
    name = tag->names[*(const int *)dm_field_at(tag, object)];
    for (size_t i = 0; i < schema->n_variants; i++) {
        if (strcmp(schema->variants[i].tag, name) == 0)
            return schema->variants[i].schema;
    }
    assert(!"a union holds one of its variants");
    return schema->variants[0].schema;
}

const struct dm_field *dm_schema_flagged(const struct dm_schema *schema, unsigned flag)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (schema->fields[i].flags & flag)
            return &schema->fields[i];
    }
    return NULL;
}

void dm_field_default(const struct dm_field *field, void *object)
{
    char *at = (char *)object + field->offset;

    switch (field->type) {
    case DM_FIELD_BOOL: *(bool *)at = field->def_int != 0; break;
    case DM_FIELD_INT: memcpy(at, &field->def_int, sizeof(int64_t)); break;
    case DM_FIELD_ENUM: *(int *)(void *)at = (int)field->def_int; break;
    case DM_FIELD_FLAGS: *(unsigned *)(void *)at = (unsigned)field->def_int; break;
    case DM_FIELD_STRING: *(struct dm_str *)(void *)at = dm_str_of(field->def_str ? field->def_str : ""); break;
    case DM_FIELD_JSON: *(struct dm_str *)(void *)at = DM_STR(""); break;
    case DM_FIELD_OBJECT: *(void **)(void *)at = NULL; break;
    case DM_FIELD_EMBED: dm_model_default(field->sub, at); break;
    case DM_FIELD_STRINGS:
    case DM_FIELD_ARRAY:
    case DM_FIELD_MAP:
        *(void **)(void *)at = NULL;
        memset((char *)object + field->count_offset, 0, sizeof(size_t));
        break;
    }
}

void dm_model_default(const struct dm_schema *schema, void *ret)
{
    for (size_t i = 0; i < schema->n_fields; i++)
        dm_field_default(&schema->fields[i], ret);
}

static bool is_embed_default(const struct dm_schema *schema, const void *object)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (!dm_field_is_default(&schema->fields[i], object))
            return false;
    }
    return true;
}

bool dm_field_is_default(const struct dm_field *field, const void *object)
{
    const void *at = dm_field_at(field, object);

    switch (field->type) {
    case DM_FIELD_BOOL: return *(const bool *)at == (field->def_int != 0);
    case DM_FIELD_INT: return *(const int64_t *)at == field->def_int;
    case DM_FIELD_ENUM: return *(const int *)at == field->def_int;
    case DM_FIELD_FLAGS: return *(const unsigned *)at == field->def_int;
    case DM_FIELD_STRING: return dm_str_eq(*(const struct dm_str *)at, dm_str_of(field->def_str ? field->def_str : ""));
    case DM_FIELD_JSON: return ((const struct dm_str *)at)->len == 0;
    case DM_FIELD_OBJECT: return *(void *const *)at == NULL;
    case DM_FIELD_EMBED: return is_embed_default(field->sub, at);
    case DM_FIELD_STRINGS:
    case DM_FIELD_ARRAY:
    case DM_FIELD_MAP: return dm_field_count(field, object) == 0;
    }
    return false;
}

void dm_pointer_add(struct dm_buf *buf, struct dm_str name)
{
    char escaped[2 * 256 + 1];
    size_t n = 0;

    if (name.len > 256)
        return;
    escaped[n++] = '/';
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '~' || name.ptr[i] == '/') {
            escaped[n++] = '~';
            escaped[n++] = name.ptr[i] == '~' ? '0' : '1';
        } else {
            escaped[n++] = name.ptr[i];
        }
    }
    dm_buf_add_n(buf, escaped, n);
    buf->failed = false;
}

bool dm_schemas_see(struct dm_schemas_seen *seen, const struct dm_schema *schema)
{
    for (size_t i = 0; i < seen->n; i++)
        if (seen->schemas[i] == schema)
            return false;
    if (seen->n == DM_SCHEMAS_SEEN_MAX)
        return false;
    seen->schemas[seen->n++] = schema;
    return true;
}
