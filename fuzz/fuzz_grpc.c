/* What gRPC lets callers say of time, and what the gateway says of ends: a deadline that is read is never longer when it is written
 * for the backend, and a message of any bytes stays one field, from which it can be had back. What backends say of their health: one
 * message, which is not SERVING any more when it is cut. */
#include <stdint.h>
#include <stdlib.h>

#include "gateway/grpc.h"
#include "gateway/upstream/grpc_health.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

#define MESSAGE DM_STR("grpc-status: 13\r\ngrpc-message: ")
#define VALUE_MAX 10

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void check_form(struct dm_str value)
{
    REQUIRE(value.len >= 2 && value.len <= 9);
    for (size_t i = 0; i + 1 < value.len; i++)
        REQUIRE(is_digit(value.ptr[i]));
    REQUIRE(memchr("HMSmun", value.ptr[value.len - 1], 6) != NULL);
}

/* Nothing of it is lost but what its unit does not say: less than one in a hundred thousand. */
static void check_timeout(struct dm_str value)
{
    char text[VALUE_MAX];
    struct dm_buf out;
    uint64_t ns, again;

    if (dm_grpc_timeout_read(value, &ns) < 0)
        return;
    check_form(value);
    dm_buf_init_fixed(&out, text, sizeof(text));
    dm_grpc_timeout_write(&out, ns);
    REQUIRE(!out.failed);
    REQUIRE(dm_grpc_timeout_read(dm_buf_str(&out), &again) == 0);
    REQUIRE(again <= DM_MAX(ns, (uint64_t)1));
    REQUIRE(ns == UINT64_MAX || DM_MAX(ns, (uint64_t)1) - again <= ns / 99999);
}

static int hex(char c)
{
    REQUIRE(is_digit(c) || (c >= 'A' && c <= 'F'));
    return is_digit(c) ? c - '0' : c - 'A' + 10;
}

static void check_message(struct dm_str message)
{
    struct dm_buf fields;
    struct dm_str rest;
    size_t n = 0;

    dm_buf_init(&fields, 64 + 3 * message.len);
    dm_grpc_write_status(&fields, DM_GRPC_INTERNAL, message);
    REQUIRE(!fields.failed);
    REQUIRE(dm_str_starts(dm_buf_str(&fields), MESSAGE));
    for (rest = dm_str_skip(dm_buf_str(&fields), MESSAGE.len); rest.len > 2; n++) {
        char c = rest.ptr[0];
        REQUIRE(n < message.len && c >= 0x20 && c <= 0x7E);
        if (c == '%') {
            REQUIRE(rest.len > 4);
            c = (char)(hex(rest.ptr[1]) << 4 | hex(rest.ptr[2]));
            rest = dm_str_skip(rest, 2);
        }
        REQUIRE(c == message.ptr[n]);
        rest = dm_str_skip(rest, 1);
    }
    REQUIRE(n == message.len && dm_str_eq(rest, DM_STR("\r\n")));
    dm_buf_done(&fields);
}

static void check_health(struct dm_str message)
{
    if (!dm_grpc_health_is_serving(message))
        return;
    REQUIRE(message.len >= 7 && message.ptr[0] == 0);
    for (size_t n = 0; n < message.len; n++)
        REQUIRE(!dm_grpc_health_is_serving(dm_str_n(message.ptr, n)));
}

static void check_status(struct dm_str value)
{
    unsigned status = dm_grpc_status_as_http(value);

    REQUIRE(status >= 200 && status <= 503);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dm_str text = dm_str_n((const char *)data, size);

    check_timeout(text);
    check_message(text);
    check_health(text);
    check_status(text);
    REQUIRE(!dm_grpc_is(text) || dm_str_ieq(dm_str_n(text.ptr, 16), DM_STR("application/grpc")));
    return 0;
}
