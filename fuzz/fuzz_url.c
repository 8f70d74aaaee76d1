/* Paths, hosts and queries: a normal form is final, never longer, and holds nothing that was to be taken out. */
#include <stdint.h>

#include "base/mem.h"
#include "http/host.h"
#include "http/path.h"
#include "http/query.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static bool holds(struct dm_str s, const char *text)
{
    return memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}

static void try_path(struct dm_str in, unsigned options)
{
    char *buf = dm_alloc(in.len), *second = dm_alloc(in.len);
    struct dm_str normal, again;

    if (dm_path_normalise(in, options, buf, &normal) == 0) {
        REQUIRE(normal.len > 0 && normal.len <= in.len);
        REQUIRE(!holds(normal, "//") && !holds(normal, "/./") && !holds(normal, "/../"));
        REQUIRE(!dm_str_ends(normal, DM_STR("/.")) && !dm_str_ends(normal, DM_STR("/..")));
        REQUIRE(!holds(normal, "%00") && !holds(normal, "%2E") && !holds(normal, "\\"));
        REQUIRE((options & DM_PATH_KEEP_ESCAPED_SLASH) || !holds(normal, "%2F"));
        REQUIRE(dm_path_normalise(normal, options, second, &again) == 0 && again.ptr == normal.ptr);
        REQUIRE(normal.ptr == in.ptr || !dm_str_eq(normal, in));
    }
    dm_free(buf);
    dm_free(second);
}

static void try_host(struct dm_str in)
{
    char buf[DM_HOST_MAX], second[DM_HOST_MAX], text[DM_HOST_MAX + 6];
    struct dm_host host, again;
    size_t len;

    if (dm_host_parse(in, buf, &host) < 0)
        return;
    REQUIRE(host.name.len > 0 && host.name.len <= 253);
    len = dm_host_write(&host, true, text);
    REQUIRE(dm_host_parse(dm_str_n(text, len), second, &again) == 0);
    REQUIRE(dm_str_eq(host.name, again.name) && host.kind == again.kind && again.name.ptr == text);
    REQUIRE(dm_host_port(&host, true) == dm_host_port(&again, true));
}

static void try_query(struct dm_str in)
{
    char *buf = dm_alloc(in.len);
    struct dm_str rest = in, name = DM_STR("user_key"), plain;
    struct dm_query_arg arg;
    struct dm_buf out;

    while (dm_query_next(&rest, &arg)) {
        plain = dm_query_decode(arg.value, buf);
        REQUIRE(plain.len <= arg.value.len && dm_query_eq(arg.value, plain));
    }
    dm_buf_init(&out, in.len + 1);
    dm_query_without(in, name, &out);
    REQUIRE(!out.failed && out.len <= in.len && !dm_query_find(dm_buf_str(&out), name, &arg));
    dm_buf_done(&out);
    dm_free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_str in = {(const char *)data, size};

    try_path(in, 0);
    try_path(in, DM_PATH_KEEP_ESCAPED_SLASH);
    try_host(in);
    try_query(in);
    return 0;
}
