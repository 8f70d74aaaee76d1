/* Patterns of mapping rules: text -> segments of literals and variables, and query parameters. */
#include "model/format_int.h"
#include "model/mapping_rule.h"

struct parser {
    struct dm_str text; /* whole, for positions */
    struct dm_arena *arena;
    struct dm_err *err;
    struct dm_pattern_segment segments[DM_PATTERN_PIECES_MAX];
    struct dm_pattern_piece pieces[DM_PATTERN_PIECES_MAX];
    struct dm_pattern_query query[DM_PATTERN_QUERY_MAX];
    size_t n_segments, n_pieces, n_query;
};

#define FAIL(p, at, ...) fail_at((p), (size_t)((at) - (p)->text.ptr) + 1, __VA_ARGS__)

static int fail_at(struct parser *p, size_t byte, const char *fmt, ...) DM_PRINTF(3, 4);

static int fail_at(struct parser *p, size_t byte, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return dm_fail(p->err, DM_EINVAL, "", "%s (at byte %zu)", text, byte);
}

static int out_of_memory(struct parser *p)
{
    return dm_fail(p->err, DM_EBUDGET, "", "is too large: the memory for one document is used up");
}

bool dm_pattern_is_variable_byte(char c)
{
    return dm_is_pchar(c) || c == '%';
}

/* Text between braces: letters, digits, '_', '-', '.'. *at stands at '{' and moves behind '}'. */
static int parse_variable(struct parser *p, struct dm_str text, size_t *at, struct dm_str *ret)
{
    size_t end = *at + 1;

    while (end < text.len && (dm_is_alnum(text.ptr[end]) || (text.ptr[end] != '\0' && strchr("_-.", text.ptr[end]))))
        end++;
    if (end == text.len || text.ptr[end] != '}')
        return FAIL(p, text.ptr + *at, "must have a name of letters, digits, '_', '-' and '.' and then '}' behind '{'");
    if (end == *at + 1)
        return FAIL(p, text.ptr + *at, "must have a name between '{' and '}'");
    *ret = dm_str_n(text.ptr + *at + 1, end - *at - 1);
    *at = end + 1;
    return 0;
}

/* One byte or escape of a literal in the normal form of a request's path. */
static int add_literal(struct parser *p, struct dm_str text, size_t *at, struct dm_buf *ret)
{
    unsigned char c = (unsigned char)text.ptr[*at];
    int byte;

    if (c >= 0x80) {
        dm_buf_printf(ret, "%%%02X", c);
        *at += 1;
        return 0;
    }
    if (c != '%') {
        if (!dm_is_pchar((char)c))
            return FAIL(p, text.ptr + *at, "must not hold '%c' in its path", c);
        dm_buf_add_char(ret, (char)c);
        *at += 1;
        return 0;
    }
    if ((byte = dm_escape_at(text, *at)) < 0)
        return FAIL(p, text.ptr + *at, "must have two hexadecimal digits behind '%%'");
    if (byte < 0x20 || byte == 0x7F)
        return FAIL(p, text.ptr + *at, "must not hold an escaped control character");
    if (dm_is_unreserved((char)byte))
        dm_buf_add_char(ret, (char)byte);
    else
        dm_buf_printf(ret, "%%%02X", byte);
    *at += 3;
    return 0;
}

static int add_piece(struct parser *p, const char *at, bool is_variable, struct dm_str text)
{
    struct dm_pattern_piece *piece;

    if (p->n_pieces == DM_PATTERN_PIECES_MAX)
        return FAIL(p, at, "must have at most %d literals and variables", DM_PATTERN_PIECES_MAX);
    piece = &p->pieces[p->n_pieces++];
    piece->is_variable = is_variable;
    return dm_arena_str(p->arena, text, &piece->text) < 0 ? out_of_memory(p) : 0;
}

/* A run of literal bytes up to '{' or the end. */
static int parse_literal(struct parser *p, struct dm_str segment, size_t *at)
{
    char text[3 * DM_PATTERN_MAX];
    size_t start = *at;
    struct dm_buf buf;
    int rc;

    dm_buf_init_fixed(&buf, text, sizeof(text));
    while (*at < segment.len && segment.ptr[*at] != '{') {
        if (segment.ptr[*at] == '}')
            return FAIL(p, segment.ptr + *at, "must not have '}' without '{'");
        if (segment.ptr[*at] == '$')
            return FAIL(p, segment.ptr + *at, "must have '$' only at the end of its path");
        if ((rc = add_literal(p, segment, at, &buf)) < 0)
            return rc;
    }
    return add_piece(p, segment.ptr + start, false, dm_buf_str(&buf));
}

static bool is_dot_segment(const struct dm_pattern_piece *pieces, size_t n)
{
    struct dm_str plain;

    if (n != 1 || pieces[0].is_variable)
        return false;
    plain = dm_str_n(pieces[0].text.ptr, dm_str_find(pieces[0].text, ';'));
    return dm_str_eq(plain, DM_STR(".")) || dm_str_eq(plain, DM_STR(".."));
}

static int parse_segment(struct parser *p, struct dm_str segment)
{
    size_t at = 0, first = p->n_pieces;
    struct dm_str name;
    int rc;

    while (at < segment.len) {
        const char *start = segment.ptr + at;

        if (segment.ptr[at] != '{') {
            if ((rc = parse_literal(p, segment, &at)) < 0)
                return rc;
            continue;
        }
        if (p->n_pieces > first && p->pieces[p->n_pieces - 1].is_variable)
            return FAIL(p, start, "must have something between two variables");
        if ((rc = parse_variable(p, segment, &at, &name)) < 0 || (rc = add_piece(p, start, true, name)) < 0)
            return rc;
    }
    if (is_dot_segment(&p->pieces[first], p->n_pieces - first))
        return FAIL(p, segment.ptr, "must not have a segment '.' or '..', which no request keeps");
    if (p->n_segments == DM_PATTERN_PIECES_MAX)
        return FAIL(p, segment.ptr, "must have at most %d segments", DM_PATTERN_PIECES_MAX);
    p->segments[p->n_segments++] = (struct dm_pattern_segment){NULL, p->n_pieces - first};
    return 0;
}

static int parse_path(struct parser *p, struct dm_str path)
{
    struct dm_str rest = dm_str_skip(path, 1), segment;
    int rc;

    while (dm_str_cut(&rest, '/', &segment)) {
        if (segment.len == 0 && rest.ptr)
            return FAIL(p, segment.ptr, "must not have an empty segment ('//'), which no request keeps");
        if ((rc = parse_segment(p, segment)) < 0)
            return rc;
    }
    return 0;
}

/* Decodes as a query is decoded: '+' is a space. */
static int decode(struct parser *p, struct dm_str text, struct dm_str *ret)
{
    char *out = dm_arena_alloc(p->arena, text.len + 1);
    size_t n = 0;

    if (!out)
        return out_of_memory(p);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '{' || c == '}')
            return FAIL(p, text.ptr + i, "must have a query value that is text or one variable, not both");
        if (c == '%') {
            int byte = dm_escape_at(text, i);

            if (byte < 0)
                return FAIL(p, text.ptr + i, "must have two hexadecimal digits behind '%%'");
            c = (char)byte;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    *ret = dm_str_n(out, n);
    return 0;
}

static int parse_query_value(struct parser *p, struct dm_str value, struct dm_pattern_query *ret)
{
    size_t at = 0;
    struct dm_str name;
    int rc;

    if (value.len == 0 || value.ptr[0] != '{')
        return decode(p, value, &ret->value);
    if ((rc = parse_variable(p, value, &at, &name)) < 0)
        return rc;
    if (at != value.len)
        return FAIL(p, value.ptr + at, "must have a query value that is text or one variable, not both");
    ret->is_variable = true;
    return dm_arena_str(p->arena, name, &ret->value) < 0 ? out_of_memory(p) : 0;
}

static int parse_argument(struct parser *p, struct dm_str argument)
{
    size_t equals = dm_str_find(argument, '=');
    struct dm_pattern_query query = {0};
    int rc;

    if (equals == 0 || equals == argument.len)
        return FAIL(p, argument.ptr, "must have query parameters of the form name=value or name={variable}");
    if (p->n_query == DM_PATTERN_QUERY_MAX)
        return FAIL(p, argument.ptr, "must have at most %d query parameters", DM_PATTERN_QUERY_MAX);
    if ((rc = decode(p, dm_str_n(argument.ptr, equals), &query.name)) < 0 ||
        (rc = parse_query_value(p, dm_str_skip(argument, equals + 1), &query)) < 0)
        return rc;
    for (size_t i = 0; i < p->n_query; i++) {
        if (dm_str_eq(p->query[i].name, query.name))
            return FAIL(p, argument.ptr, "must name each query parameter once");
    }
    p->query[p->n_query++] = query;
    return 0;
}

static int parse_query(struct parser *p, struct dm_str query)
{
    struct dm_str argument;
    int rc;

    while (dm_str_cut(&query, '&', &argument)) {
        if ((rc = parse_argument(p, argument)) < 0)
            return rc;
    }
    return 0;
}

static void *copy(struct dm_arena *arena, const void *items, size_t bytes)
{
    void *ret = dm_arena_calloc(arena, DM_MAX(bytes, 1));

    if (ret && bytes > 0)
        memcpy(ret, items, bytes);
    return ret;
}

static int finish(struct parser *p, struct dm_pattern *ret)
{
    const struct dm_pattern_piece *pieces = copy(p->arena, p->pieces, p->n_pieces * sizeof(*pieces));
    struct dm_pattern_segment *segments = copy(p->arena, p->segments, p->n_segments * sizeof(*segments));
    const struct dm_pattern_query *query = copy(p->arena, p->query, p->n_query * sizeof(*query));

    if (!pieces || !segments || !query)
        return out_of_memory(p);
    for (size_t i = 0; i < p->n_segments; i++) {
        segments[i].pieces = pieces;
        pieces += segments[i].n_pieces;
    }
    ret->segments = segments;
    ret->n_segments = p->n_segments;
    ret->query = query;
    ret->n_query = p->n_query;
    return 0;
}

int dm_pattern_parse(struct dm_str text, struct dm_arena *arena, struct dm_pattern *ret, struct dm_err *err)
{
    struct parser p = {.text = text, .arena = arena, .err = err};
    size_t query = dm_str_find(text, '?');
    struct dm_str path = dm_str_n(text.ptr, query);
    struct dm_pattern pattern = {0};
    int rc;

    if (text.len > DM_PATTERN_MAX)
        return dm_fail(err, DM_EINVAL, "", "must be at most %d bytes long, found %zu", DM_PATTERN_MAX, text.len);
    if (text.len == 0 || text.ptr[0] != '/')
        return dm_fail(err, DM_EINVAL, "", "must start with '/'");
    if (path.len > 1 && path.ptr[path.len - 1] == '$') {
        pattern.is_exact = true;
        path.len--;
    }
    if ((rc = parse_path(&p, path)) < 0)
        return rc;
    if (query < text.len && (rc = parse_query(&p, dm_str_skip(text, query + 1))) < 0)
        return rc;
    if ((rc = finish(&p, &pattern)) < 0)
        return rc;
    *ret = pattern;
    return 0;
}

static bool all_variable_bytes(struct dm_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!dm_pattern_is_variable_byte(text.ptr[i]))
            return false;
    }
    return true;
}

/* Do the pieces match all of text, or with is_prefix its beginning? Tries every length of each variable. */
static bool match_pieces(const struct dm_pattern_piece *pieces, size_t n, struct dm_str text, bool is_prefix)
{
    if (n == 0)
        return is_prefix || text.len == 0;
    if (!pieces[0].is_variable)
        return dm_str_starts(text, pieces[0].text) &&
               match_pieces(pieces + 1, n - 1, dm_str_skip(text, pieces[0].text.len), is_prefix);
    for (size_t len = 1; len <= text.len && all_variable_bytes(dm_str_n(text.ptr, len)); len++) {
        if (match_pieces(pieces + 1, n - 1, dm_str_skip(text, len), is_prefix))
            return true;
    }
    return false;
}

bool dm_pattern_match_path(const struct dm_pattern *pattern, struct dm_str path)
{
    struct dm_str rest = dm_str_skip(path, 1), segment;

    for (size_t i = 0; i < pattern->n_segments; i++) {
        const struct dm_pattern_segment *s = &pattern->segments[i];
        bool is_last = i + 1 == pattern->n_segments;

        if (!dm_str_cut(&rest, '/', &segment))
            return false;
        if (!match_pieces(s->pieces, s->n_pieces, segment, is_last && !pattern->is_exact))
            return false;
    }
    return !pattern->is_exact || !rest.ptr;
}
