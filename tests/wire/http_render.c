#include "http_render.h"
#include "base/mem.h"
#include "http/body.h"
#include "http/path.h"
#include "http/query.h"

struct run {
    const struct http_case *c;
    struct dm_buf *out, body;
    struct dm_http_head head;
    struct dm_http_body decoder;
    size_t scan, pos;
    enum { IN_HEAD, IN_BODY, ENDED, FAILED } state;
};

static void add_text(struct dm_buf *out, struct dm_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];

        if (c == '\r')
            dm_buf_add_lit(out, "\\r");
        else if (c == '\n')
            dm_buf_add_lit(out, "\\n");
        else if (c == '\t')
            dm_buf_add_lit(out, "\\t");
        else if (c < 0x20 || c >= 0x7F)
            dm_buf_printf(out, "\\x%02x", c);
        else
            dm_buf_add_char(out, s.ptr[i]);
    }
}

static void add_line(struct dm_buf *out, const char *key, struct dm_str value)
{
    dm_buf_add(out, dm_str_of(key));
    if (value.len > 0)
        dm_buf_add_char(out, ' ');
    add_text(out, value);
    dm_buf_add_char(out, '\n');
}

static void add_fault(struct dm_buf *out, const char *key, int rc)
{
    enum dm_http_fault fault = (enum dm_http_fault) - rc;

    dm_buf_printf(out, "%s %s %u\n", key, dm_http_fault_name(fault), dm_http_fault_status(fault));
}

static void add_pair(struct dm_buf *out, const char *key, const struct dm_http_field *field)
{
    dm_buf_printf(out, "%s %.*s:", key, DM_STR_ARG(field->name));
    if (field->value.len > 0)
        dm_buf_add_char(out, ' ');
    add_text(out, field->value);
    dm_buf_add_char(out, '\n');
}

static void add_request(struct dm_buf *out, const struct dm_http_head *head)
{
    static const char *const host_kinds[] = {"name", "ipv4", "ipv6"};

    add_line(out, "method", head->method_name);
    dm_buf_printf(out, "method-known %s\n", head->method ? "yes" : "no");
    add_line(out, "target", head->target);
    add_line(out, "scheme", head->scheme);
    add_line(out, "authority", head->authority);
    dm_buf_printf(out, "host %.*s %u %s\n", DM_STR_ARG(head->host.name), head->host.port, host_kinds[head->host.kind]);
    add_line(out, "path", head->path);
    if (head->has_query)
        add_line(out, "query", head->query);
    else
        dm_buf_add_lit(out, "no-query\n");
    dm_buf_printf(out, "expect %s\n", head->expects_continue ? "yes" : "no");
}

static void add_framing(struct dm_buf *out, const struct dm_http_head *head)
{
    static const char *const framings[] = {"none", "length", "chunked", "close"};

    dm_buf_printf(out, "framing %s", framings[head->framing]);
    if (head->framing == DM_HTTP_FRAMING_LENGTH)
        dm_buf_printf(out, " %llu", (unsigned long long)head->content_length);
    dm_buf_printf(out, "\nkeep-alive %s\nupgrade %s\nversion 1.%u\n", head->keep_alive ? "yes" : "no",
                  head->has_upgrade ? "yes" : "no", head->version_minor);
}

static void add_fields(struct dm_buf *out, const struct dm_http_head *head)
{
    for (unsigned i = 0; i < head->field_count; i++)
        add_pair(out, "field", &head->fields[i]);
    for (unsigned i = 0; i < head->field_count; i++)
        if (dm_http_field_is_hop(&head->fields[i]))
            add_line(out, "hop", head->fields[i].name);
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].flags & DM_HTTP_FIELD_FOLDED)
            add_line(out, "folded", head->fields[i].name);
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].flags & DM_HTTP_FIELD_OBS_TEXT)
            add_line(out, "obs-text", head->fields[i].name);
}

static void add_head(struct run *run)
{
    struct dm_http_head *head = &run->head;

    if (head->is_request) {
        add_request(run->out, head);
    } else {
        dm_buf_printf(run->out, "status %u\n", head->status);
        add_line(run->out, "reason", head->reason);
    }
    add_framing(run->out, head);
    add_fields(run->out, head);
}

static void fail(struct run *run, const char *key, int rc)
{
    add_fault(run->out, key, rc);
    run->state = FAILED;
}

static void on_head(struct run *run, const char *ptr, size_t len)
{
    const struct http_case *c = run->c;
    int rc = c->kind == CASE_REQUEST
                 ? dm_http_parse_request(ptr, len, &run->scan, &c->limits, &run->head)
                 : dm_http_parse_response(ptr, len, &run->scan, &c->limits, c->request_method, &run->head);

    if (rc == 0)
        return;
    if (rc < 0) {
        fail(run, "fault", rc);
        return;
    }
    run->pos = (size_t)rc;
    run->state = IN_BODY;
    add_head(run);
    if ((rc = dm_http_body_init(&run->decoder, &run->head, &c->limits, c->body_bytes)) < 0)
        fail(run, "body-fault", rc);
}

static void add_trailers(struct run *run)
{
    struct dm_str raw = run->decoder.trailers;

    if (raw.len == 0)
        return;
    if (dm_http_parse_trailers(raw.ptr, raw.len, &run->c->limits, &run->head) < 0)
        dm_buf_add_lit(run->out, "trailers that were accepted do not parse\n");
    for (unsigned i = 0; i < run->head.field_count; i++)
        add_pair(run->out, "trailer", &run->head.fields[i]);
}

/* Feeds what has come; false when more is needed or all is done. */
static bool on_body(struct run *run, struct dm_str in)
{
    struct dm_str data;
    size_t consumed;
    int rc = dm_http_body_feed(&run->decoder, in, &consumed, &data);

    if (rc < 0) {
        fail(run, "body-fault", rc);
        return false;
    }
    dm_buf_add(&run->body, data);
    run->pos += consumed;
    if (rc > 0) {
        run->state = ENDED;
        add_trailers(run);
    }
    return rc == 0 && data.len > 0;
}

static void arrive(struct run *run, size_t len)
{
    struct dm_str all = dm_buf_str(&run->c->input);

    while (run->state == IN_HEAD || run->state == IN_BODY) {
        size_t from = run->state == IN_HEAD ? 0 : run->pos;
        char *exact = dm_alloc(len - from);
        bool is_head = run->state == IN_HEAD, goes_on;

        memcpy(exact, all.ptr + from, len - from);
        if (is_head)
            on_head(run, exact, len);
        goes_on = is_head ? run->state == IN_BODY : on_body(run, dm_str_n(exact, len - from));
        dm_free(exact);
        if (!goes_on)
            return;
    }
}

static void finish(struct run *run)
{
    struct dm_str all = dm_buf_str(&run->c->input);
    int rc;

    if (run->state == IN_HEAD)
        dm_buf_add_lit(run->out, "incomplete\n");
    if (run->state == IN_BODY) {
        if ((rc = dm_http_body_end(&run->decoder)) < 0)
            add_fault(run->out, "body-fault", rc);
        else
            run->state = ENDED;
    }
    if (run->state != ENDED)
        return;
    add_line(run->out, "body", dm_buf_str(&run->body));
    if (run->pos < all.len)
        add_line(run->out, "rest", dm_str_skip(all, run->pos));
}

static void render_message(const struct http_case *c, struct cutting cutting, struct dm_buf *out)
{
    struct run run = {.c = c, .out = out};
    size_t len = c->input.len;

    dm_buf_init(&run.body, 1 << 20);
    if (cutting.piece == 0)
        arrive(&run, DM_MIN(cutting.cut, len));
    for (size_t at = cutting.piece; at > 0 && at < len; at += cutting.piece)
        arrive(&run, at);
    arrive(&run, len);
    finish(&run);
    dm_buf_done(&run.body);
}

static void render_path(const struct http_case *c, struct dm_buf *out)
{
    struct dm_str raw = dm_buf_str(&c->input), normal, again;
    unsigned options = c->kind == CASE_PATH_KEEP ? DM_PATH_KEEP_ESCAPED_SLASH : 0;
    char *buf = dm_alloc(raw.len), *second = dm_alloc(raw.len);
    int rc = dm_path_normalise(raw, options, buf, &normal);

    if (rc < 0) {
        add_fault(out, "fault", rc);
    } else {
        add_line(out, "normal", normal);
        if (dm_path_normalise(normal, options, second, &again) < 0 || again.ptr != normal.ptr)
            dm_buf_add_lit(out, "not final\n");
    }
    dm_free(buf);
    dm_free(second);
}

static void render_host(const struct http_case *c, struct dm_buf *out)
{
    static const char *const host_kinds[] = {"name", "ipv4", "ipv6"};
    struct dm_host host;
    char buf[DM_HOST_MAX];
    int rc = dm_host_parse(dm_buf_str(&c->input), buf, &host);

    if (rc < 0)
        add_fault(out, "fault", rc);
    else
        dm_buf_printf(out, "host %.*s %u %s\n", DM_STR_ARG(host.name), host.port, host_kinds[host.kind]);
}

static void render_query(const struct http_case *c, struct dm_buf *out)
{
    struct dm_str rest = dm_buf_str(&c->input);
    struct dm_query_arg arg;
    char name[256], value[256];

    while (dm_query_next(&rest, &arg)) {
        dm_buf_add_lit(out, "arg ");
        add_text(out, dm_query_decode(arg.name, name));
        if (arg.has_value)
            dm_buf_add_char(out, '=');
        add_text(out, dm_query_decode(arg.value, value));
        dm_buf_add_char(out, '\n');
    }
}

void http_render(const struct http_case *c, struct cutting cutting, struct dm_buf *out)
{
    switch (c->kind) {
    case CASE_REQUEST:
    case CASE_RESPONSE: render_message(c, cutting, out); break;
    case CASE_PATH:
    case CASE_PATH_KEEP: render_path(c, out); break;
    case CASE_HOST: render_host(c, out); break;
    case CASE_QUERY: render_query(c, out); break;
    case CASE_FRAMES: break; /* of the proxy */
    }
}
