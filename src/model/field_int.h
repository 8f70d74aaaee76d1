/* What reading, writing, comparing and describing share about fields. */
#ifndef DM_MODEL_FIELD_INT_H
#define DM_MODEL_FIELD_INT_H

#include "model/field.h"

struct dm_buf;

/* The member's storage in an object. */
static inline const void *dm_field_at(const struct dm_field *field, const void *object)
{
    return (const char *)object + field->offset;
}

/* Items of a STRINGS, ARRAY or MAP field. */
static inline size_t dm_field_count(const struct dm_field *field, const void *object)
{
    return *(const size_t *)(const void *)((const char *)object + field->count_offset);
}

static inline const void *dm_field_items(const struct dm_field *field, const void *object)
{
    return *(void *const *)dm_field_at(field, object);
}

static inline const void *dm_field_item(const struct dm_field *field, const void *object, size_t i)
{
    return (const char *)dm_field_items(field, object) + i * field->sub->struct_bytes;
}

static inline struct dm_str dm_field_str(const struct dm_field *field, const void *object)
{
    return *(const struct dm_str *)dm_field_at(field, object);
}

/* The first field with the flag, or NULL. Not for unions. */
const struct dm_field *dm_schema_flagged(const struct dm_schema *schema, unsigned flag);

/* Does the member hold its default? */
bool dm_field_is_default(const struct dm_field *field, const void *object);

/* The default of one member. */
void dm_field_default(const struct dm_field *field, void *object);

/* Appends "/name", escaped as RFC 6901 says; nothing when it does not fit. */
void dm_pointer_add(struct dm_buf *buf, struct dm_str name);

/* Is a member of this name written and read (not the key of a map's item)? */
static inline bool dm_field_is_member(const struct dm_field *field)
{
    return !(field->flags & DM_FIELD_KEY);
}

/* Schemas that were written, so that each stands once. Zero-initialise. */
#define DM_SCHEMAS_SEEN_MAX 128
struct dm_schemas_seen {
    const struct dm_schema *schemas[DM_SCHEMAS_SEEN_MAX];
    size_t n;
};
/* True the first time; false again and when there is no more room. */
bool dm_schemas_see(struct dm_schemas_seen *seen, const struct dm_schema *schema);

#endif
