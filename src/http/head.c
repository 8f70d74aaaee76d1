#include "http/chars_int.h"
#include "http/head.h"

const struct dm_http_limits dm_http_limits_default = {
    .head_bytes = 32 * 1024,
    .url_bytes = 8 * 1024,
    .fields = 100,
    .trailer_bytes = 8 * 1024,
    .extension_bytes = 4 * 1024,
    .allows_obs_text = false,
};

static bool has_name(const struct dm_http_field *field, enum dm_http_field_id id, struct dm_str name)
{
    if (field->id != id || (field->flags & DM_HTTP_FIELD_DROPPED))
        return false;
    return id != DM_HTTP_FIELD_ID_OTHER || (field->name.len == name.len && dm_str_ieq(field->name, name));
}

/* From fields[i] on. Fields are found in a const head and changed by its owner. */
static struct dm_http_field *find_from(const struct dm_http_head *head, unsigned i, enum dm_http_field_id id,
                                       struct dm_str name)
{
    for (; i < head->field_count; i++)
        if (has_name(&head->fields[i], id, name))
            return (struct dm_http_field *)&head->fields[i];
    return NULL;
}

struct dm_http_field *dm_http_head_find(const struct dm_http_head *head, enum dm_http_field_id id)
{
    if (id == DM_HTTP_FIELD_ID_OTHER || head->first[id] == 0)
        return NULL;
    return find_from(head, head->first[id] - 1u, id, DM_STR_NULL);
}

struct dm_http_field *dm_http_head_find_name(const struct dm_http_head *head, struct dm_str name)
{
    enum dm_http_field_id id = dm_http_field_id_of(name);

    return id == DM_HTTP_FIELD_ID_OTHER ? find_from(head, 0, id, name) : dm_http_head_find(head, id);
}

struct dm_http_field *dm_http_head_find_next(const struct dm_http_head *head, const struct dm_http_field *field)
{
    return find_from(head, (unsigned)(field - head->fields) + 1, field->id, field->name);
}

struct dm_str dm_http_head_value(const struct dm_http_head *head, enum dm_http_field_id id)
{
    const struct dm_http_field *field = dm_http_head_find(head, id);

    return field ? field->value : DM_STR_NULL;
}

struct dm_http_field *dm_http_head_add(struct dm_http_head *head, struct dm_str name, struct dm_str value)
{
    struct dm_http_field *field = &head->fields[head->field_count];

    if (head->field_count == DM_HTTP_FIELDS_MAX)
        return NULL;
    *field = (struct dm_http_field){name, value, (uint8_t)dm_http_field_id_of(name), 0};
    field->flags = dm_http_field_flags_of(field->id);
    if (dm_http_field_name_is_folded(name))
        field->flags |= DM_HTTP_FIELD_FOLDED;
    head->field_count++;
    if (head->first[field->id] == 0 && field->id != DM_HTTP_FIELD_ID_OTHER)
        head->first[field->id] = (uint8_t)head->field_count;
    return field;
}

unsigned dm_http_head_drop_from(struct dm_http_head *head, struct dm_http_field *field)
{
    unsigned dropped = 0;

    for (; field; field = dm_http_head_find_next(head, field), dropped++)
        field->flags |= DM_HTTP_FIELD_DROPPED;
    return dropped;
}

unsigned dm_http_head_drop(struct dm_http_head *head, struct dm_str name)
{
    return dm_http_head_drop_from(head, dm_http_head_find_name(head, name));
}

struct shift {
    uintptr_t from;
    size_t len;
    const char *to;
};

static void move_str(const struct shift *shift, struct dm_str *s)
{
    uintptr_t at = (uintptr_t)s->ptr - shift->from;

    if (s->ptr && at <= shift->len)
        s->ptr = shift->to + at;
}

void dm_http_head_move(const struct dm_http_head *head, const char *from, size_t len, const char *to,
                       struct dm_http_head *ret)
{
    struct shift bytes = {(uintptr_t)from, len, to};
    struct shift host = {(uintptr_t)head->host_buf, sizeof(head->host_buf) - 1, ret->host_buf};

    if (ret != head) {
        memcpy(ret, head, offsetof(struct dm_http_head, fields) + head->field_count * sizeof(head->fields[0]));
        memcpy(ret->host_buf, head->host_buf, sizeof(ret->host_buf));
    }
    move_str(&bytes, &ret->method_name);
    move_str(&bytes, &ret->target);
    move_str(&bytes, &ret->scheme);
    move_str(&bytes, &ret->authority);
    if ((uintptr_t)ret->host.name.ptr - host.from <= host.len)
        move_str(&host, &ret->host.name);
    else
        move_str(&bytes, &ret->host.name);
    move_str(&bytes, &ret->path);
    move_str(&bytes, &ret->query);
    move_str(&bytes, &ret->upgrade);
    move_str(&bytes, &ret->reason);
    for (unsigned i = 0; i < ret->field_count; i++) {
        move_str(&bytes, &ret->fields[i].name);
        move_str(&bytes, &ret->fields[i].value);
    }
}

static int copy_str(struct dm_arena *arena, struct dm_str *s)
{
    if (s->len > 0)
        return dm_arena_str(arena, *s, s);
    *s = DM_STR("");
    return 0;
}

static int copy_field(struct dm_arena *arena, struct dm_http_field *field)
{
    int rc = copy_str(arena, &field->name);

    field->flags &= (uint8_t)~DM_HTTP_FIELD_WIRE;
    return rc < 0 ? rc : copy_str(arena, &field->value);
}

int dm_http_head_copy(const struct dm_http_head *head, struct dm_arena *arena, struct dm_http_head *ret)
{
    struct dm_str *const parts[] = {&ret->method_name, &ret->target, &ret->scheme,  &ret->authority, &ret->host.name,
                                    &ret->path,        &ret->query,  &ret->upgrade, &ret->reason};
    int rc = 0;

    memcpy(ret, head, offsetof(struct dm_http_head, fields) + head->field_count * sizeof(head->fields[0]));
    for (size_t i = 0; rc == 0 && i < DM_COUNT(parts); i++)
        rc = copy_str(arena, parts[i]);
    for (unsigned i = 0; rc == 0 && i < ret->field_count; i++)
        rc = copy_field(arena, &ret->fields[i]);
    return rc;
}
