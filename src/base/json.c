/* JSON trees: jansson behind the project's own names. A struct dm_json is jansson's json_t; nobody else sees it. */
#include <jansson.h>
#include <malloc.h>

#include "base/json.h"

#include "base/buf.h"
#include "base/crypto.h"
#include "base/jsonw_int.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Requests carry keys. */
static void free_wiped(void *ptr)
{
    if (ptr)
        dm_mem_wipe(ptr, malloc_usable_size(ptr));
    dm_free(ptr);
}

static void set_up_jansson(void)
{
    size_t seed;

    json_set_alloc_funcs(dm_alloc, free_wiped);
    dm_crypto_random(&seed, sizeof(seed));
    json_object_seed(seed | 1); /* 0 would ask jansson to choose */
}

static void set_up(void)
{
    pthread_once(&once, set_up_jansson);
}

static json_t *of(const struct dm_json *value)
{
    return (json_t *)(uintptr_t)value;
}

static struct dm_json *to(json_t *value)
{
    return (struct dm_json *)value;
}

/* A place in a text; both counted from 1, columns in characters. */
struct place {
    size_t line, column;
};

static void step(struct place *place, char c)
{
    if (c == '\n') {
        place->line++;
        place->column = 1;
    } else if (((unsigned char)c & 0xc0) != 0x80) {
        place->column++;
    }
}

/* Nesting is checked before jansson sees the text, because jansson recurses; so are NUL bytes, which it takes for the end.
 * Quotes are enough to tell brackets inside strings from others: what is wrong in other ways is jansson's to refuse. */
static int check_text(struct dm_str text, unsigned max_depth, struct dm_err *err)
{
    struct place place = {1, 1};
    bool in_string = false;
    size_t depth = 0, i;

    for (i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '\0')
            return dm_fail(err, DM_EINVAL, "", "line %zu column %zu: a NUL byte", place.line, place.column);
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\' && i + 1 < text.len)
            step(&place, text.ptr[i++]);
        else if (!in_string && (c == '[' || c == '{') && ++depth > max_depth)
            return dm_fail(err, DM_EBUDGET, "", "line %zu column %zu: nested deeper than %u levels", place.line,
                           place.column, max_depth);
        else if (!in_string && (c == ']' || c == '}') && depth > 0)
            depth--;
        step(&place, text.ptr[i]);
    }
    return 0;
}

static int check_size(struct dm_str text, size_t max_bytes, struct dm_err *err)
{
    if (text.len <= max_bytes)
        return 0;
    return dm_fail(err, DM_EBUDGET, "", "line 1 column 1: at most %zu bytes are allowed, found %zu", max_bytes,
                   text.len);
}

int dm_json_parse(struct dm_str text, const struct dm_json_limits *limits, struct dm_json **ret, struct dm_err *err)
{
    json_error_t error;
    json_t *root;
    int rc;

    if ((rc = check_size(text, limits->max_bytes, err)) < 0 || (rc = check_text(text, limits->max_depth, err)) < 0)
        return rc;
    set_up();
    root = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root)
        return dm_fail(err, DM_EINVAL, "", "line %d column %d: %s", error.line, error.column, error.text);
    *ret = to(root);
    return 0;
}

void dm_json_free(struct dm_json *root)
{
    json_decref(of(root));
}

void dm_json_freep(struct dm_json **root)
{
    dm_json_free(*root);
}

enum dm_json_type dm_json_type(const struct dm_json *value)
{
    switch (json_typeof(of(value))) {
    case JSON_OBJECT: return DM_JSON_OBJECT;
    case JSON_ARRAY: return DM_JSON_ARRAY;
    case JSON_STRING: return DM_JSON_STRING;
    case JSON_INTEGER: return DM_JSON_INT;
    case JSON_REAL: return DM_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return DM_JSON_BOOL;
    case JSON_NULL: break;
    }
    return DM_JSON_NULL;
}

const char *dm_json_type_name(const struct dm_json *value)
{
    static const char *const names[] = {
        [DM_JSON_NULL] = "null",     [DM_JSON_BOOL] = "boolean", [DM_JSON_INT] = "integer",   [DM_JSON_REAL] = "number",
        [DM_JSON_STRING] = "string", [DM_JSON_ARRAY] = "array",  [DM_JSON_OBJECT] = "object",
    };

    return names[dm_json_type(value)];
}

bool dm_json_bool(const struct dm_json *value)
{
    return json_is_true(of(value));
}

int64_t dm_json_int(const struct dm_json *value)
{
    return json_integer_value(of(value));
}

double dm_json_real(const struct dm_json *value)
{
    return json_number_value(of(value));
}

struct dm_str dm_json_string(const struct dm_json *value)
{
    return dm_str_n(json_string_value(of(value)), json_string_length(of(value)));
}

size_t dm_json_count(const struct dm_json *value)
{
    return json_is_array(of(value)) ? json_array_size(of(value)) : json_object_size(of(value));
}

struct dm_json *dm_json_at(const struct dm_json *array, size_t i)
{
    return to(json_array_get(of(array), i));
}

struct dm_json *dm_json_get(const struct dm_json *object, const char *name)
{
    return to(json_object_get(of(object), name));
}

bool dm_json_next(const struct dm_json *object, void **at, struct dm_str *ret_name, struct dm_json **ret_value)
{
    *at = *at ? json_object_iter_next(of(object), *at) : json_object_iter(of(object));
    if (!*at)
        return false;
    *ret_name = dm_str_n(json_object_iter_key(*at), json_object_iter_key_len(*at));
    *ret_value = to(json_object_iter_value(*at));
    return true;
}

struct dm_json *dm_json_new_object(void)
{
    set_up();
    return to(json_object());
}

struct dm_json *dm_json_new_array(void)
{
    set_up();
    return to(json_array());
}

struct dm_json *dm_json_new_string(struct dm_str s)
{
    set_up();
    if (dm_str_find(s, '\0') < s.len)
        return NULL;
    return to(json_stringn(s.ptr ? s.ptr : "", s.len));
}

struct dm_json *dm_json_new_int(int64_t n)
{
    set_up();
    return to(json_integer(n));
}

struct dm_json *dm_json_new_real(double n)
{
    set_up();
    return to(json_real(n));
}

struct dm_json *dm_json_new_bool(bool b)
{
    return to(json_boolean(b));
}

struct dm_json *dm_json_new_null(void)
{
    return to(json_null());
}

struct dm_json *dm_json_copy(const struct dm_json *value)
{
    return to(json_deep_copy(of(value)));
}

void dm_json_set(struct dm_json *object, const char *name, struct dm_json *value)
{
    int rc = json_object_set_new(of(object), name, of(value));

    assert(rc == 0);
    (void)rc;
}

void dm_json_del(struct dm_json *object, const char *name)
{
    json_object_del(of(object), name);
}

void dm_json_append(struct dm_json *array, struct dm_json *value)
{
    int rc = json_array_append_new(of(array), of(value));

    assert(rc == 0);
    (void)rc;
}

bool dm_json_equal(const struct dm_json *a, const struct dm_json *b)
{
    return json_equal(of(a), of(b)) != 0;
}

/* How a tree is printed: level < 0 is compact. */
static void print_value(const struct dm_json *value, int level, struct dm_buf *ret);

static void print_break(int level, struct dm_buf *ret)
{
    if (level < 0)
        return;
    dm_buf_add_char(ret, '\n');
    while (level-- > 0)
        dm_buf_add_lit(ret, "  ");
}

static void print_array(const struct dm_json *array, int level, struct dm_buf *ret)
{
    size_t i, n = dm_json_count(array);
    int inner = level < 0 ? level : level + 1;

    dm_buf_add_char(ret, '[');
    for (i = 0; i < n; i++) {
        if (i > 0)
            dm_buf_add_char(ret, ',');
        print_break(inner, ret);
        print_value(dm_json_at(array, i), inner, ret);
    }
    if (n > 0)
        print_break(level, ret);
    dm_buf_add_char(ret, ']');
}

static void print_object(const struct dm_json *object, int level, struct dm_buf *ret)
{
    int inner = level < 0 ? level : level + 1;
    struct dm_json *value;
    struct dm_str name;
    void *at = NULL;
    size_t i = 0;

    dm_buf_add_char(ret, '{');
    while (dm_json_next(object, &at, &name, &value)) {
        if (i++ > 0)
            dm_buf_add_char(ret, ',');
        print_break(inner, ret);
        dm_jsonw_quote(ret, name);
        dm_buf_add(ret, level < 0 ? DM_STR(":") : DM_STR(": "));
        print_value(value, inner, ret);
    }
    if (i > 0)
        print_break(level, ret);
    dm_buf_add_char(ret, '}');
}

static void print_int(int64_t n, struct dm_buf *ret)
{
    if (n < 0)
        dm_buf_add_char(ret, '-');
    dm_buf_add_u64(ret, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

static void print_value(const struct dm_json *value, int level, struct dm_buf *ret)
{
    switch (dm_json_type(value)) {
    case DM_JSON_NULL: dm_buf_add_lit(ret, "null"); break;
    case DM_JSON_BOOL: dm_buf_add(ret, dm_json_bool(value) ? DM_STR("true") : DM_STR("false")); break;
    case DM_JSON_INT: print_int(dm_json_int(value), ret); break;
    case DM_JSON_REAL: dm_jsonw_number(ret, dm_json_real(value)); break;
    case DM_JSON_STRING: dm_jsonw_quote(ret, dm_json_string(value)); break;
    case DM_JSON_ARRAY: print_array(value, level, ret); break;
    case DM_JSON_OBJECT: print_object(value, level, ret); break;
    }
}

void dm_json_print(const struct dm_json *value, bool is_indented, struct dm_buf *ret)
{
    print_value(value, is_indented ? 0 : -1, ret);
}
