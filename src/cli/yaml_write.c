#include <yaml.h>

#include "cli/yaml_write.h"
#include "cli/yaml_scalar.h"
#include "base/json.h"

/* A container of scalars whose JSON text has at most this many bytes stands on one line. */
#define ONE_LINE_MAX 96

static int on_write(void *arg, unsigned char *ptr, size_t len)
{
    struct dm_buf *buf = arg;

    dm_buf_add_n(buf, ptr, len);
    return !buf->failed;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *event)
{
    /* It fails only when the buffer is full, which the buffer remembers. */
    (void)yaml_emitter_emit(emitter, event);
}

static void write_scalar(yaml_emitter_t *emitter, struct dm_str text, bool is_string)
{
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    yaml_event_t event;

    if (is_string && memchr(text.ptr, '\n', text.len))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (is_string && dm_yaml_scalar_needs_quotes(text))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text.ptr, (int)text.len, 1, 1, style))
        emit(emitter, &event);
}

static bool is_leaf(const struct dm_json *value)
{
    enum dm_json_type type = dm_json_type(value);

    return (type != DM_JSON_ARRAY && type != DM_JSON_OBJECT) || dm_json_count(value) == 0;
}

static bool has_leaves_only(const struct dm_json *value)
{
    struct dm_json *item;
    struct dm_str name;
    void *at = NULL;

    if (dm_json_type(value) == DM_JSON_OBJECT) {
        while (dm_json_next(value, &at, &name, &item))
            if (!is_leaf(item))
                return false;
    } else {
        for (size_t i = 0; i < dm_json_count(value); i++)
            if (!is_leaf(dm_json_at(value, i)))
                return false;
    }
    return true;
}

static size_t text_bytes(const struct dm_json *value)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};

    dm_buf_init(&text, ONE_LINE_MAX + 1);
    dm_json_print(value, false, &text);
    return text.failed ? SIZE_MAX : text.len;
}

/* The root and its lists are never on one line. */
static bool fits_one_line(const struct dm_json *value, unsigned depth)
{
    if (dm_json_count(value) == 0)
        return true;
    return depth > 0 && has_leaves_only(value) && text_bytes(value) <= ONE_LINE_MAX;
}

static void write_node(yaml_emitter_t *emitter, const struct dm_json *value, unsigned depth);

static void write_object(yaml_emitter_t *emitter, const struct dm_json *object, unsigned depth)
{
    yaml_mapping_style_t style = fits_one_line(object, depth) ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE;
    struct dm_json *value;
    struct dm_str name;
    yaml_event_t event;
    void *at = NULL;

    if (yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style))
        emit(emitter, &event);
    while (dm_json_next(object, &at, &name, &value)) {
        write_scalar(emitter, name, true);
        write_node(emitter, value, depth + 1);
    }
    if (yaml_mapping_end_event_initialize(&event))
        emit(emitter, &event);
}

static void write_array(yaml_emitter_t *emitter, const struct dm_json *array, unsigned depth)
{
    yaml_sequence_style_t style = fits_one_line(array, depth) ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE;
    yaml_event_t event;

    if (yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style))
        emit(emitter, &event);
    for (size_t i = 0; i < dm_json_count(array); i++)
        write_node(emitter, dm_json_at(array, i), depth + 1);
    if (yaml_sequence_end_event_initialize(&event))
        emit(emitter, &event);
}

static void write_number(yaml_emitter_t *emitter, const struct dm_json *value)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};

    dm_buf_init(&text, 64);
    dm_json_print(value, false, &text);
    write_scalar(emitter, dm_buf_str(&text), false);
}

static void write_node(yaml_emitter_t *emitter, const struct dm_json *value, unsigned depth)
{
    switch (dm_json_type(value)) {
    case DM_JSON_OBJECT: write_object(emitter, value, depth); break;
    case DM_JSON_ARRAY: write_array(emitter, value, depth); break;
    case DM_JSON_STRING: write_scalar(emitter, dm_json_string(value), true); break;
    case DM_JSON_NULL: write_scalar(emitter, DM_STR("null"), false); break;
    case DM_JSON_BOOL: write_scalar(emitter, dm_json_bool(value) ? DM_STR("true") : DM_STR("false"), false); break;
    case DM_JSON_INT:
    case DM_JSON_REAL: write_number(emitter, value); break;
    }
}

void dm_yaml_write(const struct dm_json *value, struct dm_buf *buf)
{
    yaml_emitter_t emitter;
    yaml_event_t event;

    if (!yaml_emitter_initialize(&emitter))
        abort();
    yaml_emitter_set_output(&emitter, on_write, buf);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    if (yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING))
        emit(&emitter, &event);
    if (yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1))
        emit(&emitter, &event);
    write_node(&emitter, value, 0);
    if (yaml_document_end_event_initialize(&event, 1))
        emit(&emitter, &event);
    if (yaml_stream_end_event_initialize(&event))
        emit(&emitter, &event);
    yaml_emitter_delete(&emitter);
}
