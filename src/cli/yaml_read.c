#include <stdarg.h>
#include <yaml.h>

#include "cli/yaml_read.h"
#include "cli/places.h"
#include "cli/yaml_scalar.h"
#include "base/json.h"

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct dm_places *places; /* of the document in hand */
    char pointer[DM_ERR_POINTER_MAX * 4];
    size_t pointer_len;
    bool is_deep; /* steps that did not fit are not noted */
    struct dm_err *err;
};

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth, struct dm_json **ret);

/* --- messages ----------------------------------------------------------------------------------------------------- */

static int fail_at(struct reader *r, yaml_mark_t mark, int code, const char *fmt, ...) DM_PRINTF(4, 5);
static int fail_at(struct reader *r, yaml_mark_t mark, int code, const char *fmt, ...)
{
    char sentence[DM_ERR_MESSAGE_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    return dm_fail(r->err, code, "", "%s:%zu:%zu: %s", r->name, mark.line + 1, mark.column + 1, sentence);
}

/* libyaml's own refusals; the commonest one gets a plainer word. */
static int fail_parser(struct reader *r)
{
    const yaml_parser_t *parser = &r->parser;
    const char *problem = parser->problem ? parser->problem : "can't be read";

    if (parser->error == YAML_READER_ERROR)
        return dm_fail(r->err, DM_EINVAL, "", "%s: byte %zu: %s", r->name, parser->problem_offset, problem);
    if (strstr(problem, "cannot start any token"))
        return fail_at(r, parser->problem_mark, DM_EINVAL,
                       "this character can't stand here: YAML indents with spaces, never with tabs, and a text that "
                       "begins with @, ` or %% is quoted");
    if (parser->context)
        return fail_at(r, parser->problem_mark, DM_EINVAL, "not valid YAML: %s (%s that began at line %zu)", problem,
                       parser->context, parser->context_mark.line + 1);
    return fail_at(r, parser->problem_mark, DM_EINVAL, "not valid YAML: %s", problem);
}

static int next(struct reader *r, yaml_event_t *ret)
{
    return yaml_parser_parse(&r->parser, ret) ? 0 : fail_parser(r);
}

/* --- what is not in the subset ------------------------------------------------------------------------------------ */

static int check_properties(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
                            const yaml_char_t *tag)
{
    if (anchor)
        return fail_at(r, event->start_mark, DM_EINVAL, "anchors (&%s) are not taken here; write the value out",
                       anchor);
    if (tag)
        return fail_at(r, event->start_mark, DM_EINVAL, "tags (%s) are not taken here; quote a value to make it a text",
                       tag);
    return 0;
}

static int check_node(struct reader *r, const yaml_event_t *event, unsigned depth)
{
    if (depth >= DM_YAML_DEPTH_MAX && event->type != YAML_SCALAR_EVENT)
        return fail_at(r, event->start_mark, DM_EBUDGET, "nested deeper than %d levels", DM_YAML_DEPTH_MAX);
    switch (event->type) {
    case YAML_SCALAR_EVENT: return check_properties(r, event, event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return check_properties(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return check_properties(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    case YAML_ALIAS_EVENT:
        return fail_at(r, event->start_mark, DM_EINVAL, "aliases (*%s) are not taken here; write the value out",
                       event->data.alias.anchor);
    default: return fail_at(r, event->start_mark, DM_EINVAL, "not valid YAML: a value was expected");
    }
}

static int check_key(struct reader *r, const yaml_event_t *event, const struct dm_json *mapping)
{
    struct dm_str text;
    DM_CLEANUP(dm_json_freep) struct dm_json *value = NULL;
    int rc = check_node(r, event, 0);

    if (rc < 0)
        return rc;
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(r, event->start_mark, DM_EINVAL, "a key must be a text");
    text = dm_str_n((const char *)event->data.scalar.value, event->data.scalar.length);
    if (strlen(text.ptr) != text.len)
        return fail_at(r, event->start_mark, DM_EINVAL, "a key must be without NUL");
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (dm_str_eq(text, DM_STR("<<")))
            return fail_at(r, event->start_mark, DM_EINVAL,
                           "merge keys (<<) are not taken here; write the members out");
        if (dm_yaml_scalar_read(text, &value, NULL) < 0 || dm_json_type(value) != DM_JSON_STRING)
            return fail_at(r, event->start_mark, DM_EINVAL, "a key must be a text; quote it: \"%s\"", text.ptr);
    }
    if (dm_json_get(mapping, text.ptr))
        return fail_at(r, event->start_mark, DM_EINVAL, "key '%s' stands twice in this mapping", text.ptr);
    return 0;
}

/* --- the tree ----------------------------------------------------------------------------------------------------- */

static void note_place(struct reader *r, yaml_mark_t mark)
{
    if (!r->is_deep)
        dm_places_add(r->places, dm_str_n(r->pointer, r->pointer_len),
                      (struct dm_place){mark.line + 1, mark.column + 1});
}

struct step {
    size_t len;
    bool was_deep;
};

static struct step step_in(struct reader *r, struct dm_str name)
{
    struct step step = {r->pointer_len, r->is_deep};

    if (!r->is_deep)
        r->is_deep = !dm_places_step(r->pointer, &r->pointer_len, sizeof(r->pointer), name);
    return step;
}

static void step_out(struct reader *r, struct step step)
{
    r->pointer_len = step.len;
    r->is_deep = step.was_deep;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct dm_json **ret)
{
    struct dm_str text = dm_str_n((const char *)event->data.scalar.value, event->data.scalar.length);
    struct dm_err inner = {0};

    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        int rc = dm_yaml_scalar_read(text, ret, &inner);

        return rc < 0 ? fail_at(r, event->start_mark, rc, "%s", inner.message) : 0;
    }
    *ret = dm_json_new_string(text);
    return *ret ? 0 : fail_at(r, event->start_mark, DM_EINVAL, "a text must be without NUL");
}

/* The value of the item or member that the pointer stands at. A scalar's place is its own, a container's that of what
 * introduces it. */
static int read_value(struct reader *r, yaml_mark_t introduced, unsigned depth, struct dm_json **ret)
{
    yaml_event_t event;
    int rc = next(r, &event);

    if (rc < 0)
        return rc;
    note_place(r, event.type == YAML_SCALAR_EVENT && event.data.scalar.length > 0 ? event.start_mark : introduced);
    rc = read_node(r, &event, depth, ret);
    yaml_event_delete(&event);
    return rc;
}

static int read_member(struct reader *r, const yaml_event_t *key, unsigned depth, struct dm_json *mapping)
{
    struct dm_json *value = NULL;
    struct step step;
    int rc = check_key(r, key, mapping);

    if (rc < 0)
        return rc;
    step = step_in(r, dm_str_n((const char *)key->data.scalar.value, key->data.scalar.length));
    rc = read_value(r, key->start_mark, depth, &value);
    step_out(r, step);
    if (rc >= 0)
        dm_json_set(mapping, (const char *)key->data.scalar.value, value);
    return rc;
}

static int read_item(struct reader *r, const yaml_event_t *event, unsigned depth, struct dm_json *sequence)
{
    struct dm_json *value = NULL;
    char number[24];
    struct step step;
    int rc;

    snprintf(number, sizeof(number), "%zu", dm_json_count(sequence));
    step = step_in(r, dm_str_of(number));
    note_place(r, event->start_mark);
    rc = read_node(r, event, depth, &value);
    step_out(r, step);
    if (rc >= 0)
        dm_json_append(sequence, value);
    return rc;
}

/* Entries up to the event that ends the container, which becomes *ret. */
static int read_entries(struct reader *r, unsigned depth, yaml_event_type_t end,
                        int (*read_entry)(struct reader *, const yaml_event_t *, unsigned, struct dm_json *),
                        struct dm_json *container, struct dm_json **ret)
{
    DM_CLEANUP(dm_json_freep) struct dm_json *owned = container;
    bool is_end = false;
    int rc = 0;

    while (rc >= 0 && !is_end) {
        yaml_event_t event;

        if ((rc = next(r, &event)) < 0)
            return rc;
        is_end = event.type == end;
        if (!is_end)
            rc = read_entry(r, &event, depth + 1, container);
        yaml_event_delete(&event);
    }
    if (rc < 0)
        return rc;
    *ret = owned;
    owned = NULL;
    return 0;
}

static int read_mapping(struct reader *r, unsigned depth, struct dm_json **ret)
{
    return read_entries(r, depth, YAML_MAPPING_END_EVENT, read_member, dm_json_new_object(), ret);
}

static int read_sequence(struct reader *r, unsigned depth, struct dm_json **ret)
{
    return read_entries(r, depth, YAML_SEQUENCE_END_EVENT, read_item, dm_json_new_array(), ret);
}

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth, struct dm_json **ret)
{
    int rc = check_node(r, event, depth);

    if (rc < 0)
        return rc;
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, event, ret);
    return event->type == YAML_MAPPING_START_EVENT ? read_mapping(r, depth, ret) : read_sequence(r, depth, ret);
}

/* --- documents ---------------------------------------------------------------------------------------------------- */

static int expect_end(struct reader *r)
{
    yaml_event_t event;
    int rc = next(r, &event);

    if (rc >= 0)
        yaml_event_delete(&event);
    return rc;
}

/* start is the DOCUMENT-START. */
static int read_document(struct reader *r, const yaml_event_t *start, struct dm_yaml *ret)
{
    struct dm_json *json = NULL;
    int rc;

    if (start->data.document_start.tag_directives.start != start->data.document_start.tag_directives.end)
        return fail_at(r, start->start_mark, DM_EINVAL, "%%TAG is not taken here");
    if (ret->documents.count == DM_YAML_DOCUMENTS_MAX)
        return fail_at(r, start->start_mark, DM_EBUDGET, "more than %d documents", DM_YAML_DOCUMENTS_MAX);
    r->places = dm_places_new();
    r->pointer_len = 0;
    rc = read_value(r, start->start_mark, 0, &json);
    if (rc >= 0)
        rc = expect_end(r);
    if (rc < 0 || dm_json_type(json) == DM_JSON_NULL) {
        dm_json_free(json);
        dm_places_free(r->places);
    } else {
        *dm_vec_push(&ret->documents) = (struct dm_yaml_document){json, r->places};
    }
    return rc;
}

static int read_stream(struct reader *r, struct dm_yaml *ret)
{
    bool is_end = false;
    int rc = 0;

    while (rc >= 0 && !is_end) {
        yaml_event_t event;

        if ((rc = next(r, &event)) < 0)
            return rc;
        is_end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT)
            rc = read_document(r, &event, ret);
        yaml_event_delete(&event);
    }
    return rc;
}

int dm_yaml_read(const char *name, struct dm_str text, struct dm_yaml *ret, struct dm_err *err)
{
    struct reader r = {.name = name, .err = err};
    int rc;

    if (text.len > DM_YAML_BYTES_MAX)
        return dm_fail(err, DM_EBUDGET, "", "%s: larger than %u MiB", name, DM_YAML_BYTES_MAX >> 20);
    if (!yaml_parser_initialize(&r.parser))
        abort();
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.ptr ? text.ptr : ""), text.len);
    rc = read_stream(&r, ret);
    yaml_parser_delete(&r.parser);
    return rc;
}

int dm_yaml_read_json(const char *name, struct dm_str text, struct dm_yaml *ret, struct dm_err *err)
{
    static const struct dm_json_limits limits = {DM_YAML_BYTES_MAX, DM_YAML_DEPTH_MAX};
    struct dm_err inner = {0};
    struct dm_yaml places = {0};
    struct dm_yaml_document document = {0};
    int rc = dm_json_parse(text, &limits, &document.json, &inner);

    if (rc < 0)
        return dm_fail(err, rc, "", "%s: not valid JSON: %s", name, inner.message);
    /* JSON is nearly a part of YAML: what its reader says is good for the places. */
    if (dm_yaml_read(name, text, &places, NULL) >= 0 && places.documents.count == 1) {
        document.places = places.documents.items[0].places;
        places.documents.items[0].places = NULL;
    }
    dm_yaml_done(&places);
    *dm_vec_push(&ret->documents) = document;
    return 0;
}

void dm_yaml_done(struct dm_yaml *yaml)
{
    for (size_t i = 0; i < yaml->documents.count; i++) {
        dm_json_free(yaml->documents.items[i].json);
        dm_places_free(yaml->documents.items[i].places);
    }
    dm_vec_done(&yaml->documents);
}
