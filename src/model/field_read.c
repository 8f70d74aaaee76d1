/* Reading an object by its table: JSON tree -> struct in an arena, with every fault found on the way. */
#include "base/buf.h"
#include "base/json.h"
#include "base/map.h"
#include "model/field_int.h"
#include "model/format.h"

#define MEMBERS_MAX 64

struct reader {
    struct dm_check check;
    struct dm_arena *arena;
};

static void read_object(struct reader *r, const struct dm_schema *schema, const struct dm_json *json, void *object,
                        struct dm_str key);

static void *take(struct reader *r, size_t size)
{
    void *ptr = dm_arena_calloc(r->arena, size);

    if (!ptr)
        dm_check_fail_code(&r->check, DM_EBUDGET, "", "is too large: the memory for one document is used up");
    return ptr;
}

static size_t enter_name(struct reader *r, struct dm_str name)
{
    char text[DM_ERR_POINTER_MAX];
    struct dm_buf buf;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    dm_pointer_add(&buf, name);
    return dm_check_enter(&r->check, "%.*s", DM_STR_ARG(dm_buf_str(&buf)));
}

/* What was found, for a message: the value if it is short and no secret, else its type. */
static const char *found(const struct dm_field *field, const struct dm_json *json, char ret[DM_SHOW_MAX])
{
    if (field && field->flags & DM_FIELD_SECRET) {
        snprintf(ret, DM_SHOW_MAX, "%s", dm_json_type_name(json));
        return ret;
    }
    switch (dm_json_type(json)) {
    case DM_JSON_STRING: return dm_show(dm_json_string(json), ret);
    case DM_JSON_INT: snprintf(ret, DM_SHOW_MAX, "%lld", (long long)dm_json_int(json)); break;
    case DM_JSON_REAL: snprintf(ret, DM_SHOW_MAX, "%g", dm_json_real(json)); break;
    case DM_JSON_BOOL: snprintf(ret, DM_SHOW_MAX, "%s", dm_json_bool(json) ? "true" : "false"); break;
    default: snprintf(ret, DM_SHOW_MAX, "%s", dm_json_type_name(json)); break;
    }
    return ret;
}

static bool is_type(struct reader *r, const struct dm_field *field, const struct dm_json *json, enum dm_json_type type,
                    const char *expected)
{
    char shown[DM_SHOW_MAX];

    if (dm_json_type(json) == type)
        return true;
    dm_check_fail(&r->check, "", "must be %s, found %s", expected, found(field, json, shown));
    return false;
}

static void read_int(struct reader *r, const struct dm_field *field, const struct dm_json *json, int64_t *ret)
{
    int64_t n;

    if (!is_type(r, field, json, DM_JSON_INT, "a whole number"))
        return;
    n = dm_json_int(json);
    if ((n < field->min || n > field->max) && !(field->flags & DM_FIELD_UNSET && n == field->def_int)) {
        dm_check_fail(&r->check, "", "must be between %lld and %lld, found %lld", (long long)field->min,
                      (long long)field->max, (long long)n);
        return;
    }
    *ret = n;
}

/* Checks length and format of a string; `max` bytes. */
static bool check_string(struct reader *r, const struct dm_field *field, struct dm_str value, int64_t min, int64_t max)
{
    char why_text[256], shown[DM_SHOW_MAX];
    struct dm_buf why;

    if (value.len > (size_t)max) {
        dm_check_fail(&r->check, "", "must be at most %lld bytes long, found %zu", (long long)max, value.len);
        return false;
    }
    if (value.len < (size_t)min) {
        dm_check_fail(&r->check, "", min == 1 ? "must not be empty" : "must be at least %lld bytes long, found %zu",
                      (long long)min, value.len);
        return false;
    }
    dm_buf_init_fixed(&why, why_text, sizeof(why_text));
    if (!field->format || field->format->check(value, &why))
        return true;
    if (field->flags & DM_FIELD_SECRET)
        dm_check_fail(&r->check, "", "%.*s", DM_STR_ARG(dm_buf_str(&why)));
    else
        dm_check_fail(&r->check, "", "%.*s, found %s", DM_STR_ARG(dm_buf_str(&why)), dm_show(value, shown));
    return false;
}

static void copy_string(struct reader *r, struct dm_str value, struct dm_str *ret)
{
    if (dm_arena_str(r->arena, value, ret) < 0)
        dm_check_fail_code(&r->check, DM_EBUDGET, "", "is too large: the memory for one document is used up");
}

static void read_string(struct reader *r, const struct dm_field *field, const struct dm_json *json, struct dm_str *ret)
{
    struct dm_str value;
    bool is_given;

    if (!is_type(r, field, json, DM_JSON_STRING, "a string"))
        return;
    value = dm_json_string(json);
    is_given = value.len > 0 || field->flags & DM_FIELD_REQUIRED || (field->def_str && field->def_str[0]);
    if (!is_given || check_string(r, field, value, field->min, field->max))
        copy_string(r, value, ret);
}

/* "'a', 'b' or 'c'" */
static const char *list_names(const char *const *names, char *ret, size_t bytes)
{
    struct dm_buf buf;
    size_t n = 0, at = 0;

    for (size_t i = 0; names[i]; i++)
        n += names[i][0] != '\0';
    dm_buf_init_fixed(&buf, ret, bytes - 1);
    for (size_t i = 0; names[i]; i++) {
        if (names[i][0] == '\0')
            continue;
        dm_buf_printf(&buf, "%s'%s'", at == 0 ? "" : at + 1 == n ? " or " : ", ", names[i]);
        at++;
    }
    ret[buf.len] = '\0';
    return ret;
}

/* Index of a name, or -1 with an error. */
static int read_name(struct reader *r, const struct dm_field *field, const struct dm_json *json)
{
    char names[256], shown[DM_SHOW_MAX];
    int i = dm_json_type(json) == DM_JSON_STRING ? dm_names_find(field->names, dm_json_string(json)) : -1;

    if (i < 0)
        dm_check_fail(&r->check, "", "must be %s, found %s", list_names(field->names, names, sizeof(names)),
                      found(field, json, shown));
    return i;
}

static void read_flags(struct reader *r, const struct dm_field *field, const struct dm_json *json, unsigned *ret)
{
    unsigned bits = 0;

    if (!is_type(r, field, json, DM_JSON_ARRAY, "an array of strings"))
        return;
    for (size_t i = 0; i < dm_json_count(json); i++) {
        size_t mark = dm_check_enter(&r->check, "/%zu", i);
        int bit = read_name(r, field, dm_json_at(json, i));

        if (bit >= 0 && bits & 1u << bit)
            dm_check_fail(&r->check, "", "'%s' is listed twice", field->names[bit]);
        else if (bit >= 0)
            bits |= 1u << bit;
        dm_check_leave(&r->check, mark);
    }
    if (dm_json_count(json) < (size_t)field->min)
        dm_check_fail(&r->check, "", "must have at least %lld item%s", (long long)field->min,
                      field->min == 1 ? "" : "s");
    *ret = bits;
}

static bool check_count(struct reader *r, const struct dm_field *field, size_t n, const char *what)
{
    if (n <= (size_t)field->max && n >= (size_t)field->min)
        return true;
    dm_check_fail(&r->check, "", "must have %s %lld %s%s, found %zu", n > (size_t)field->max ? "at most" : "at least",
                  (long long)(n > (size_t)field->max ? field->max : field->min), what,
                  (n > (size_t)field->max ? field->max : field->min) == 1 ? "" : "s", n);
    return false;
}

/* Text of item i by which it must be unique. */
typedef struct dm_str (*text_of)(const struct dm_field *field, const void *object, size_t i);

static struct dm_str text_of_string(const struct dm_field *field, const void *object, size_t i)
{
    return ((const struct dm_str *)dm_field_items(field, object))[i];
}

static struct dm_str text_of_identity(const struct dm_field *field, const void *object, size_t i)
{
    return dm_field_str(dm_schema_flagged(field->sub, DM_FIELD_IDENTITY), dm_field_item(field, object, i));
}

/* Items that repeat an earlier one's text are errors at "/i" + sub. Empty texts were refused before. */
static void check_unique(struct reader *r, const struct dm_field *field, const void *object, text_of text,
                         const char *sub)
{
    size_t n = dm_field_count(field, object);
    struct dm_map seen;
    char shown[DM_SHOW_MAX];

    if (n < 2)
        return;
    dm_map_init_random(&seen);
    for (size_t i = 0; i < n; i++) {
        struct dm_str name = text(field, object, i);
        size_t first = (size_t)(uintptr_t)dm_map_get(&seen, name);

        if (name.len > 0 && first > 0) {
            size_t mark = dm_check_enter(&r->check, "/%zu%s", i, sub);

            dm_check_fail(&r->check, "", "must be unique, but %s stands in item %zu already", dm_show(name, shown),
                          first - 1);
            dm_check_leave(&r->check, mark);
        } else if (name.len > 0) {
            dm_map_put(&seen, name, (void *)(uintptr_t)(i + 1));
        }
    }
    dm_map_done(&seen);
}

static void read_strings(struct reader *r, const struct dm_field *field, const struct dm_json *json, void *object)
{
    size_t n;
    struct dm_str *items;

    if (!is_type(r, field, json, DM_JSON_ARRAY, "an array of strings"))
        return;
    n = dm_json_count(json);
    if (!check_count(r, field, n, "item") || n == 0 || !(items = take(r, n * sizeof(*items))))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct dm_json *item = dm_json_at(json, i);
        size_t mark = dm_check_enter(&r->check, "/%zu", i);

        if (is_type(r, field, item, DM_JSON_STRING, "a string") &&
            check_string(r, field, dm_json_string(item), 1, field->item_max))
            copy_string(r, dm_json_string(item), &items[i]);
        dm_check_leave(&r->check, mark);
    }
    *(void **)(void *)((char *)object + field->offset) = items;
    memcpy((char *)object + field->count_offset, &n, sizeof(n));
    if (field->flags & DM_FIELD_UNIQUE)
        check_unique(r, field, object, text_of_string, "");
}

static void check_identities(struct reader *r, const struct dm_field *field, const void *object)
{
    const struct dm_field *identity = field->sub->tag ? NULL : dm_schema_flagged(field->sub, DM_FIELD_IDENTITY);
    char sub[DM_NAME_MAX + 2];

    if (!identity)
        return;
    snprintf(sub, sizeof(sub), "/%s", identity->name);
    check_unique(r, field, object, text_of_identity, sub);
}

static void read_array(struct reader *r, const struct dm_field *field, const struct dm_json *json, void *object)
{
    size_t n;
    char *items;

    if (!is_type(r, field, json, DM_JSON_ARRAY, "an array of objects"))
        return;
    n = dm_json_count(json);
    if (!check_count(r, field, n, "item") || n == 0 || !(items = take(r, n * field->sub->struct_bytes)))
        return;
    for (size_t i = 0; i < n; i++) {
        size_t mark = dm_check_enter(&r->check, "/%zu", i);

        read_object(r, field->sub, dm_json_at(json, i), items + i * field->sub->struct_bytes, DM_STR_NULL);
        dm_check_leave(&r->check, mark);
    }
    *(void **)(void *)((char *)object + field->offset) = items;
    memcpy((char *)object + field->count_offset, &n, sizeof(n));
    check_identities(r, field, object);
}

/* Insertion into the items read so far, ordered by key: maps are small, and written in the order of their keys. */
static void put_ordered(const struct dm_field *field, char *items, size_t n, const char *item)
{
    const struct dm_field *key = dm_schema_flagged(field->sub, DM_FIELD_KEY);
    size_t bytes = field->sub->struct_bytes, at = n;

    while (at > 0 && dm_str_cmp(dm_field_str(key, items + (at - 1) * bytes), dm_field_str(key, item)) > 0)
        at--;
    memmove(items + (at + 1) * bytes, items + at * bytes, (n - at) * bytes);
    memcpy(items + at * bytes, item, bytes);
}

static void read_map(struct reader *r, const struct dm_field *field, const struct dm_json *json, void *object)
{
    size_t n, done = 0;
    char *items, *item;
    void *at = NULL;
    struct dm_str name;
    struct dm_json *value;

    if (!is_type(r, field, json, DM_JSON_OBJECT, "an object"))
        return;
    n = dm_json_count(json);
    if (!check_count(r, field, n, "member") || n == 0)
        return;
    if (!(items = take(r, n * field->sub->struct_bytes)) || !(item = take(r, field->sub->struct_bytes)))
        return;
    while (dm_json_next(json, &at, &name, &value)) {
        size_t mark = enter_name(r, name);

        memset(item, 0, field->sub->struct_bytes);
        read_object(r, field->sub, value, item, name);
        put_ordered(field, items, done++, item);
        dm_check_leave(&r->check, mark);
    }
    *(void **)(void *)((char *)object + field->offset) = items;
    memcpy((char *)object + field->count_offset, &n, sizeof(n));
}

static void read_pointer(struct reader *r, const struct dm_field *field, const struct dm_json *json, void **ret)
{
    void *object;

    if (!is_type(r, field, json, DM_JSON_OBJECT, "an object") || !(object = take(r, field->sub->struct_bytes)))
        return;
    read_object(r, field->sub, json, object, DM_STR_NULL);
    *ret = object;
}

static void read_json(struct reader *r, const struct dm_field *field, const struct dm_json *json, struct dm_str *ret)
{
    struct dm_buf text;

    dm_buf_init(&text, (size_t)field->max);
    dm_json_print(json, false, &text);
    if (text.failed)
        dm_check_fail(&r->check, "", "must be at most %lld bytes of JSON", (long long)field->max);
    else
        copy_string(r, dm_buf_str(&text), ret);
    dm_buf_done(&text);
}

static void read_value(struct reader *r, const struct dm_field *field, const struct dm_json *json, void *object)
{
    char *at = (char *)object + field->offset;
    int i;

    switch (field->type) {
    case DM_FIELD_BOOL:
        if (is_type(r, field, json, DM_JSON_BOOL, "true or false"))
            *(bool *)at = dm_json_bool(json);
        break;
    case DM_FIELD_INT: read_int(r, field, json, (int64_t *)(void *)at); break;
    case DM_FIELD_STRING: read_string(r, field, json, (struct dm_str *)(void *)at); break;
    case DM_FIELD_ENUM:
        if ((i = read_name(r, field, json)) >= 0)
            *(int *)(void *)at = i;
        break;
    case DM_FIELD_FLAGS: read_flags(r, field, json, (unsigned *)(void *)at); break;
    case DM_FIELD_STRINGS: read_strings(r, field, json, object); break;
    case DM_FIELD_OBJECT: read_pointer(r, field, json, (void **)(void *)at); break;
    case DM_FIELD_EMBED: read_object(r, field->sub, json, at, DM_STR_NULL); break;
    case DM_FIELD_ARRAY: read_array(r, field, json, object); break;
    case DM_FIELD_MAP: read_map(r, field, json, object); break;
    case DM_FIELD_JSON: read_json(r, field, json, (struct dm_str *)(void *)at); break;
    }
}

static void read_member(struct reader *r, const struct dm_field *field, const struct dm_json *json, void *object)
{
    const struct dm_json *value = dm_json_get(json, field->name);
    size_t mark;

    dm_field_default(field, object);
    if (!value || (dm_json_type(value) == DM_JSON_NULL && field->type != DM_FIELD_JSON)) {
        if (field->flags & DM_FIELD_REQUIRED)
            dm_check_fail(&r->check, "", "member '%s' is required", field->name);
        else if (field->min > 0 && (field->type == DM_FIELD_ARRAY || field->type == DM_FIELD_STRINGS))
            dm_check_fail(&r->check, "", "member '%s' is required", field->name);
        return;
    }
    mark = enter_name(r, dm_str_of(field->name));
    read_value(r, field, value, object);
    dm_check_leave(&r->check, mark);
}

static void check_unknown(struct reader *r, const struct dm_schema *schema, const struct dm_json *json)
{
    const char *names[MEMBERS_MAX + 1] = {0};
    size_t n = 0;
    char shown[DM_SHOW_MAX];
    void *at = NULL;
    struct dm_str name;
    struct dm_json *value;

    for (size_t i = 0; i < schema->n_fields && n < MEMBERS_MAX; i++) {
        if (dm_field_is_member(&schema->fields[i]))
            names[n++] = schema->fields[i].name;
    }
    while (dm_json_next(json, &at, &name, &value)) {
        const char *near;
        size_t mark;

        if (dm_names_find(names, name) >= 0)
            continue;
        near = dm_names_near(names, name);
        mark = enter_name(r, name);
        dm_check_fail(&r->check, "", near ? "unknown member %s, did you mean '%s'?" : "unknown member %s",
                      dm_show(name, shown), near);
        dm_check_leave(&r->check, mark);
    }
}

/* The variant that the tag selects, or NULL with an error. */
static const struct dm_schema *pick_variant(struct reader *r, const struct dm_schema *schema,
                                            const struct dm_json *json)
{
    const struct dm_field *tag = &schema->variants[0].schema->fields[0];
    const struct dm_json *value = dm_json_get(json, schema->tag);
    size_t mark;
    int picked;

    if (!value) {
        char names[256];

        dm_check_fail(&r->check, "", "member '%s' is required: %s", schema->tag,
                      list_names(tag->names, names, sizeof(names)));
        return NULL;
    }
    mark = dm_check_enter(&r->check, "/%s", schema->tag);
    picked = read_name(r, tag, value);
    dm_check_leave(&r->check, mark);
    for (size_t i = 0; picked >= 0 && i < schema->n_variants; i++) {
        if (strcmp(schema->variants[i].tag, tag->names[picked]) == 0)
            return schema->variants[i].schema;
    }
    return NULL;
}

static void set_key(struct reader *r, const struct dm_schema *schema, struct dm_str key, void *object)
{
    const struct dm_field *field = dm_schema_flagged(schema, DM_FIELD_KEY);

    if (check_string(r, field, key, field->min, field->max))
        copy_string(r, key, (struct dm_str *)(void *)((char *)object + field->offset));
}

static void read_object(struct reader *r, const struct dm_schema *schema, const struct dm_json *json, void *object,
                        struct dm_str key)
{
    size_t errors = r->check.errs->total;

    if (!is_type(r, NULL, json, DM_JSON_OBJECT, "an object"))
        return;
    if (schema->tag && !(schema = pick_variant(r, schema, json)))
        return;
    if (key.ptr)
        set_key(r, schema, key, object);
    check_unknown(r, schema, json);
    for (size_t i = 0; i < schema->n_fields; i++) {
        if (dm_field_is_member(&schema->fields[i]))
            read_member(r, &schema->fields[i], json, object);
    }
    if (schema->validate && r->check.errs->total == errors)
        schema->validate(object, &r->check);
}

int dm_model_read(const struct dm_schema *schema, const struct dm_json *json, struct dm_arena *arena, void *ret,
                  struct dm_errs *errs)
{
    struct dm_errs own = {0};
    struct reader r = {.arena = arena};
    size_t before;
    void *object;

    errs = errs ? errs : &own;
    before = errs->total;
    dm_check_init(&r.check, errs);
    if (!(object = take(&r, schema->struct_bytes)))
        return DM_EBUDGET;
    read_object(&r, schema, json, object, DM_STR_NULL);
    if (errs->total > before)
        return dm_errs_code(errs);
    memcpy(ret, object, schema->struct_bytes);
    return 0;
}

int dm_model_read_text(const struct dm_schema *schema, struct dm_str text, size_t max_bytes, struct dm_arena *arena,
                       void *ret, struct dm_errs *errs)
{
    const struct dm_json_limits limits = {.max_bytes = max_bytes, .max_depth = 32};
    struct dm_json *json DM_CLEANUP(dm_json_freep) = NULL;
    struct dm_err err = {0};
    int rc;

    if ((rc = dm_json_parse(text, &limits, &json, &err)) < 0)
        return dm_errs_add(errs, rc, err.pointer, "%s", err.message);
    return dm_model_read(schema, json, arena, ret, errs);
}
