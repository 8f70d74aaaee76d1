/* PROXY headers: the answer does not depend on how the bytes were cut, a header is within its bounds and parsed the same with anything
 * behind it. */
#include <stdint.h>

#include "io/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pieces(const char *ptr, size_t len, ssize_t whole)
{
    struct dm_proxy_header header;
    size_t need = whole > 0 ? (size_t)whole : len;

    for (size_t n = 0; n < need; n++) {
        ssize_t rc = dm_proxy_header_parse(ptr, n, &header);
        if (rc > 0 || (rc < 0 && whole >= 0))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_proxy_header header = {.has_source = false}, again = {.has_source = false};
    const char *ptr = (const char *)data;
    char text[DM_ADDR_TEXT_MAX];
    ssize_t rc = dm_proxy_header_parse(ptr, size, &header);

    if (rc > DM_PROXY_HEADER_MAX || (rc > 0 && (size_t)rc > size) || (rc == 0 && size >= DM_PROXY_HEADER_MAX))
        abort();
    check_pieces(ptr, size, rc);
    if (rc > 0 && (dm_proxy_header_parse(ptr, (size_t)rc, &again) != rc || header.has_source != again.has_source))
        abort();
    if (header.has_source && dm_addr_format(&header.source, true, text) == 0)
        abort();
    return 0;
}
