/* Comparing two objects by their table: equal or not, and the list of differences.
 *
 * Items that have an identity (or a map's key) pair by it; others pair by place after the equal items at both ends are
 * taken away, so that one rule put between others is one difference. */
#include "base/jsonw.h"
#include "base/map.h"
#include "base/vec.h"
#include "model/field_int.h"

#define POINTER_MAX 1024
#define TEXT_MAX (1u << 20)

static bool is_field_equal(const struct dm_field *field, const void *a, const void *b);

static bool is_item_equal(const struct dm_field *field, const void *a, size_t i, const void *b, size_t j)
{
    if (field->type == DM_FIELD_STRINGS)
        return dm_str_eq(((const struct dm_str *)dm_field_items(field, a))[i],
                         ((const struct dm_str *)dm_field_items(field, b))[j]);
    return dm_model_equal(field->sub, dm_field_item(field, a, i), dm_field_item(field, b, j));
}

static bool is_list_equal(const struct dm_field *field, const void *a, const void *b)
{
    size_t n = dm_field_count(field, a);

    if (n != dm_field_count(field, b))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_item_equal(field, a, i, b, i))
            return false;
    }
    return true;
}

static bool is_pointer_equal(const struct dm_field *field, const void *a, const void *b)
{
    const void *x = dm_field_items(field, a), *y = dm_field_items(field, b);

    return x && y ? dm_model_equal(field->sub, x, y) : x == y;
}

static bool is_field_equal(const struct dm_field *field, const void *a, const void *b)
{
    const void *x = dm_field_at(field, a), *y = dm_field_at(field, b);

    switch (field->type) {
    case DM_FIELD_BOOL: return *(const bool *)x == *(const bool *)y;
    case DM_FIELD_INT: return *(const int64_t *)x == *(const int64_t *)y;
    case DM_FIELD_ENUM: return *(const int *)x == *(const int *)y;
    case DM_FIELD_FLAGS: return *(const unsigned *)x == *(const unsigned *)y;
    case DM_FIELD_STRING:
    case DM_FIELD_JSON: return dm_str_eq(*(const struct dm_str *)x, *(const struct dm_str *)y);
    case DM_FIELD_OBJECT: return is_pointer_equal(field, a, b);
    case DM_FIELD_EMBED: return dm_model_equal(field->sub, x, y);
    case DM_FIELD_STRINGS:
    case DM_FIELD_ARRAY:
    case DM_FIELD_MAP: return is_list_equal(field, a, b);
    }
    return false;
}

bool dm_model_equal(const struct dm_schema *schema, const void *a, const void *b)
{
    const struct dm_schema *of_a = dm_schema_of(schema, a);

    if (of_a != dm_schema_of(schema, b))
        return false;
    for (size_t i = 0; i < of_a->n_fields; i++) {
        const struct dm_field *field = &of_a->fields[i];

        if (!(field->flags & DM_FIELD_READ_ONLY) && !is_field_equal(field, a, b))
            return false;
    }
    return true;
}

struct differ {
    struct dm_arena *arena;
    DM_VEC(struct dm_diff) found;
    struct dm_buf pointer;
    bool failed; /* the arena is exhausted */
};

static void diff_object(struct differ *d, const struct dm_schema *schema, const void *before, const void *after);

static size_t enter(struct differ *d, struct dm_str name)
{
    size_t mark = d->pointer.len;

    dm_pointer_add(&d->pointer, name);
    return mark;
}

static void leave(struct differ *d, size_t mark)
{
    d->pointer.len = mark;
}

static struct dm_str keep(struct differ *d, struct dm_str text)
{
    struct dm_str ret = DM_STR("");

    if (text.len > 0 && dm_arena_str(d->arena, text, &ret) < 0)
        d->failed = true;
    return ret;
}

static void add(struct differ *d, enum dm_diff_op op, struct dm_str before, struct dm_str after)
{
    struct dm_diff *diff = dm_vec_push(&d->found);

    *diff = (struct dm_diff){op, keep(d, dm_buf_str(&d->pointer)), keep(d, before), keep(d, after)};
}

/* One member of `object` as JSON text; written as the only member of an object and cut out of it. */
static void write_one(const struct dm_field *field, const void *object, struct dm_buf *ret)
{
    const struct dm_schema one = {.fields = field, .n_fields = 1};
    struct dm_jsonw w;
    size_t head = strlen(field->name) + 4; /* {"name": */

    dm_jsonw_init(&w, ret);
    dm_model_write(&one, object, &w, DM_WRITE_DEFAULTS);
    if (ret->failed || ret->len <= head) {
        dm_buf_reset(ret);
        return;
    }
    ret->len--;
    dm_buf_consume(ret, head);
}

static void diff_scalar(struct differ *d, const struct dm_field *field, const void *before, const void *after)
{
    struct dm_buf x, y;
    bool was_default = dm_field_is_default(field, before), is_default = dm_field_is_default(field, after);

    if (field->flags & DM_FIELD_SECRET) {
        if (!was_default && !is_default)
            add(d, DM_DIFF_CHANGED, DM_STR("\"(secret)\""), DM_STR("\"(secret)\""));
        return;
    }
    dm_buf_init(&x, TEXT_MAX);
    dm_buf_init(&y, TEXT_MAX);
    write_one(field, before, &x);
    write_one(field, after, &y);
    add(d, x.len == 0 ? DM_DIFF_ADDED : y.len == 0 ? DM_DIFF_REMOVED : DM_DIFF_CHANGED, dm_buf_str(&x), dm_buf_str(&y));
    dm_buf_done(&x);
    dm_buf_done(&y);
}

/* Item i came or went, whole. */
static void add_item(struct differ *d, enum dm_diff_op op, const struct dm_field *field, const void *object, size_t i)
{
    struct dm_buf text;
    struct dm_jsonw w;

    dm_buf_init(&text, TEXT_MAX);
    dm_jsonw_init(&w, &text);
    if (field->type == DM_FIELD_STRINGS)
        dm_jsonw_str(&w, ((const struct dm_str *)dm_field_items(field, object))[i]);
    else
        dm_model_write(field->sub, dm_field_item(field, object, i), &w, 0);
    if (op == DM_DIFF_ADDED)
        add(d, op, DM_STR(""), dm_buf_str(&text));
    else
        add(d, op, dm_buf_str(&text), DM_STR(""));
    dm_buf_done(&text);
}

static void enter_index(struct differ *d, size_t i)
{
    dm_buf_printf(&d->pointer, "/%zu", i);
    d->pointer.failed = false;
}

static void diff_placed_item(struct differ *d, const struct dm_field *field, const void *before, const void *after,
                             size_t i, size_t j)
{
    if (field->type != DM_FIELD_STRINGS && dm_schema_of(field->sub, dm_field_item(field, before, i)) ==
                                               dm_schema_of(field->sub, dm_field_item(field, after, j))) {
        diff_object(d, field->sub, dm_field_item(field, before, i), dm_field_item(field, after, j));
        return;
    }
    if (is_item_equal(field, before, i, after, j))
        return;
    add_item(d, DM_DIFF_REMOVED, field, before, i);
    add_item(d, DM_DIFF_ADDED, field, after, j);
}

static void diff_placed(struct differ *d, const struct dm_field *field, const void *before, const void *after)
{
    size_t n = dm_field_count(field, before), m = dm_field_count(field, after), head = 0, mark = d->pointer.len;

    while (head < n && head < m && is_item_equal(field, before, head, after, head))
        head++;
    while (n > head && m > head && is_item_equal(field, before, n - 1, after, m - 1))
        n--, m--;
    for (size_t i = head; i < DM_MAX(n, m); i++) {
        enter_index(d, i);
        if (i < n && i < m)
            diff_placed_item(d, field, before, after, i, i);
        else if (i < n)
            add_item(d, DM_DIFF_REMOVED, field, before, i);
        else
            add_item(d, DM_DIFF_ADDED, field, after, i);
        leave(d, mark);
    }
}

/* Items by identity, item i stored as i + 1. */
static void index_items(const struct dm_field *field, const struct dm_field *identity, const void *object,
                        struct dm_map *ret)
{
    dm_map_init_random(ret);
    for (size_t i = 0; i < dm_field_count(field, object); i++)
        dm_map_put(ret, dm_field_str(identity, dm_field_item(field, object, i)), (void *)(uintptr_t)(i + 1));
}

static void diff_named(struct differ *d, const struct dm_field *field, const struct dm_field *identity,
                       const void *before, const void *after)
{
    struct dm_map old, new;

    index_items(field, identity, before, &old);
    index_items(field, identity, after, &new);
    for (size_t i = 0; i < dm_field_count(field, before); i++) {
        struct dm_str name = dm_field_str(identity, dm_field_item(field, before, i));
        size_t mark = enter(d, name);

        if (!dm_map_get(&new, name))
            add_item(d, DM_DIFF_REMOVED, field, before, i);
        leave(d, mark);
    }
    for (size_t i = 0; i < dm_field_count(field, after); i++) {
        struct dm_str name = dm_field_str(identity, dm_field_item(field, after, i));
        size_t mark = enter(d, name), was = (size_t)(uintptr_t)dm_map_get(&old, name);

        if (was == 0)
            add_item(d, DM_DIFF_ADDED, field, after, i);
        else
            diff_object(d, field->sub, dm_field_item(field, before, was - 1), dm_field_item(field, after, i));
        leave(d, mark);
    }
    dm_map_done(&old);
    dm_map_done(&new);
}

static void diff_pointer(struct differ *d, const struct dm_field *field, const void *before, const void *after)
{
    const void *x = dm_field_items(field, before), *y = dm_field_items(field, after);

    if (x && y)
        diff_object(d, field->sub, x, y);
    else if (x != y)
        diff_scalar(d, field, before, after);
}

static void diff_field(struct differ *d, const struct dm_field *field, const void *before, const void *after)
{
    const struct dm_field *identity = NULL;

    if (field->type == DM_FIELD_MAP)
        identity = dm_schema_flagged(field->sub, DM_FIELD_KEY);
    else if (field->type == DM_FIELD_ARRAY && !field->sub->tag)
        identity = dm_schema_flagged(field->sub, DM_FIELD_IDENTITY);
    if (identity)
        diff_named(d, field, identity, before, after);
    else if (field->type == DM_FIELD_ARRAY || field->type == DM_FIELD_STRINGS)
        diff_placed(d, field, before, after);
    else if (field->type == DM_FIELD_EMBED)
        diff_object(d, field->sub, dm_field_at(field, before), dm_field_at(field, after));
    else if (field->type == DM_FIELD_OBJECT)
        diff_pointer(d, field, before, after);
    else if (!is_field_equal(field, before, after))
        diff_scalar(d, field, before, after);
}

static void diff_object(struct differ *d, const struct dm_schema *schema, const void *before, const void *after)
{
    schema = dm_schema_of(schema, after);
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct dm_field *field = &schema->fields[i];
        size_t mark;

        if (field->flags & (DM_FIELD_READ_ONLY | DM_FIELD_KEY))
            continue;
        mark = enter(d, dm_str_of(field->name));
        diff_field(d, field, before, after);
        leave(d, mark);
    }
}

ssize_t dm_model_diff(const struct dm_schema *schema, const void *before, const void *after, struct dm_arena *arena,
                      struct dm_diff **ret)
{
    struct differ d = {.arena = arena};
    size_t n;

    dm_buf_init(&d.pointer, POINTER_MAX);
    diff_object(&d, schema, before, after);
    n = d.found.count;
    *ret = dm_arena_calloc(arena, DM_MAX(n, 1) * sizeof(**ret));
    if (*ret && n > 0)
        memcpy(*ret, d.found.items, n * sizeof(**ret));
    dm_vec_done(&d.found);
    dm_buf_done(&d.pointer);
    return *ret && !d.failed ? (ssize_t)n : DM_EBUDGET;
}
