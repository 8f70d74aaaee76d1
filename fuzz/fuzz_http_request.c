/* Requests: cut anywhere they give the same; what was accepted is written again and gives the same message; bodies
 * do not depend on how they were cut. */
#include <stdint.h>

#include "base/mem.h"
#include "fuzz_http.h"
#include "http/serialize.h"

static void require_same_fields(const struct dm_http_head *a, const struct dm_http_head *b)
{
    FUZZ_REQUIRE(a->field_count == b->field_count);
    for (unsigned i = 0; i < a->field_count; i++) {
        FUZZ_REQUIRE(dm_str_eq(a->fields[i].name, b->fields[i].name));
        FUZZ_REQUIRE(dm_str_eq(a->fields[i].value, b->fields[i].value));
        FUZZ_REQUIRE((a->fields[i].flags | DM_HTTP_FIELD_WIRE) == (b->fields[i].flags | DM_HTTP_FIELD_WIRE));
    }
}

static void require_same(const struct dm_http_head *a, const struct dm_http_head *b)
{
    FUZZ_REQUIRE(dm_str_eq(a->method_name, b->method_name) && dm_str_eq(a->target, b->target));
    FUZZ_REQUIRE(dm_str_eq(a->path, b->path) && dm_str_eq(a->query, b->query) && a->has_query == b->has_query);
    FUZZ_REQUIRE(dm_str_eq(a->host.name, b->host.name) && a->host.port == b->host.port);
    FUZZ_REQUIRE(a->framing == b->framing && a->content_length == b->content_length);
    require_same_fields(a, b);
}

/* Written with ": ", a head may be longer than what came. HTTP/1.0 messages are left out: they are written as HTTP/1.1,
 * which asks for more. */
static void rewrite(const struct dm_http_head *head)
{
    struct dm_http_head *again = dm_alloc(sizeof(*again));
    struct dm_buf buf;
    size_t scan = 0;

    dm_buf_init(&buf, 1 << 20);
    dm_http_write_request_line(&buf, head->method_name, head->target);
    dm_http_write_fields(&buf, head, 0);
    dm_http_write_end(&buf);
    FUZZ_REQUIRE(!buf.failed);
    FUZZ_REQUIRE(dm_http_parse_request(buf.ptr, buf.len, &scan, &dm_http_limits_default, again) == (int)buf.len);
    require_same(head, again);
    dm_buf_done(&buf);
    dm_free(again);
}

static int parse(const char *ptr, size_t len, size_t *scan, struct dm_http_head *ret)
{
    return dm_http_parse_request(ptr, len, scan, &fuzz_limits, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_http_head *head = dm_alloc(sizeof(*head));
    struct dm_str in = {(const char *)data, size};
    size_t cut = fuzz_cut(in);
    int rc = fuzz_parse_cut(in, cut, parse, head);

    if (rc > 0) {
        if (head->version_minor == 1)
            rewrite(head);
        fuzz_body(head, dm_str_skip(in, (size_t)rc), cut);
    }
    dm_free(head);
    return 0;
}
