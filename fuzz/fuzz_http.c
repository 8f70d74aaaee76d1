#include "fuzz_http.h"
#include "base/mem.h"

const struct dm_http_limits fuzz_limits = {
    .head_bytes = 2048, .url_bytes = 256, .fields = 20, .trailer_bytes = 256, .extension_bytes = 32};

size_t fuzz_cut(struct dm_str in)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < in.len; i++)
        hash = (hash ^ (uint8_t)in.ptr[i]) * 16777619u;
    return hash >> 8;
}

/* A parse of exactly the bytes that have come. */
static int parse_exact(struct dm_str in, size_t *scan, fuzz_parser parse, struct dm_http_head *ret)
{
    char *exact = dm_alloc(in.len);
    int rc;

    if (in.len > 0)
        memcpy(exact, in.ptr, in.len);
    rc = parse(exact, in.len, scan, ret);
    dm_free(exact);
    return rc;
}

int fuzz_parse_cut(struct dm_str in, size_t cut, fuzz_parser parse, struct dm_http_head *ret)
{
    struct dm_http_head *other = dm_alloc(sizeof(*other));
    size_t scan = 0, at = in.len ? cut % in.len : 0;
    int rc = 0, whole;

    for (; rc == 0 && at < in.len; at += 1 + cut % 7)
        rc = parse_exact(dm_str_n(in.ptr, at), &scan, parse, other);
    if (rc == 0)
        rc = parse_exact(in, &scan, parse, other);
    scan = 0;
    whole = parse(in.ptr, in.len, &scan, ret);
    FUZZ_REQUIRE(scan == 0 || whole == 0);
    FUZZ_REQUIRE(rc == whole || (rc == 0 && whole < 0 && !memmem(in.ptr, in.len, "\r\n\r\n", 4)));
    if (rc > 0) {
        FUZZ_REQUIRE(ret->field_count == other->field_count && ret->framing == other->framing);
        FUZZ_REQUIRE(memcmp(ret->first, other->first, sizeof(ret->first)) == 0);
    }
    dm_free(other);
    return whole;
}

struct outcome {
    int rc;
    uint64_t bytes, sum;
    size_t consumed;
};

static void absorb(struct outcome *outcome, struct dm_str data)
{
    for (size_t i = 0; i < data.len; i++)
        outcome->sum = outcome->sum * 31 + (uint8_t)data.ptr[i];
    outcome->bytes += data.len;
}

static struct outcome decode(const struct dm_http_head *head, struct dm_str in, size_t first, size_t piece)
{
    struct outcome outcome = {0};
    struct dm_http_body body;
    size_t at = DM_MIN(first, in.len), consumed;
    struct dm_str data;

    outcome.rc = dm_http_body_init(&body, head, &fuzz_limits, 1 << 20);
    while (outcome.rc == 0) {
        struct dm_str have = dm_str_n(in.ptr + outcome.consumed, at - outcome.consumed);

        outcome.rc = dm_http_body_feed(&body, have, &consumed, &data);
        FUZZ_REQUIRE(consumed <= have.len && data.len <= consumed);
        if (outcome.rc < 0)
            break;
        absorb(&outcome, data);
        outcome.consumed += consumed;
        if (outcome.rc == 0 && data.len == 0) {
            if (at == in.len)
                break;
            at = DM_MIN(at + piece, in.len);
        }
    }
    if (outcome.rc == 0)
        outcome.rc = dm_http_body_end(&body);
    return outcome;
}

void fuzz_body(const struct dm_http_head *head, struct dm_str in, size_t cut)
{
    struct outcome whole = decode(head, in, in.len, 1);
    struct outcome pieces = decode(head, in, in.len ? cut % in.len : 0, 1 + cut % 5);

    FUZZ_REQUIRE(whole.bytes == pieces.bytes && whole.sum == pieces.sum);
    if (whole.rc >= 0 || pieces.rc >= 0)
        FUZZ_REQUIRE(whole.rc == pieces.rc && whole.consumed == pieces.consumed);
}
