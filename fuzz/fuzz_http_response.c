/* Responses: cut anywhere they give the same, head and body. */
#include <stdint.h>

#include "base/mem.h"
#include "fuzz_http.h"

static int parse_get(const char *ptr, size_t len, size_t *scan, struct dm_http_head *ret)
{
    return dm_http_parse_response(ptr, len, scan, &fuzz_limits, DM_HTTP_METHOD_GET, ret);
}

static int parse_head(const char *ptr, size_t len, size_t *scan, struct dm_http_head *ret)
{
    return dm_http_parse_response(ptr, len, scan, &fuzz_limits, DM_HTTP_METHOD_HEAD, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_http_head *head = dm_alloc(sizeof(*head));
    struct dm_str in = {(const char *)data, size};
    size_t cut = fuzz_cut(in);
    int rc = fuzz_parse_cut(in, cut, cut % 8 == 7 ? parse_head : parse_get, head);

    if (rc > 0) {
        FUZZ_REQUIRE(head->status >= 100 && head->status <= 599);
        fuzz_body(head, dm_str_skip(in, (size_t)rc), cut);
    }
    dm_free(head);
    return 0;
}
