#include "gateway/upstream/grpc_health.h"

#include <assert.h>

#define FRAME_BYTES 5 /* compressed or not, and the length */
#define SERVICE_TAG 0x0A
#define STATUS_FIELD 1
#define SERVING 1
#define VARINT_MAX 10
#define SERVICE_MAX 127 /* its length is one byte */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

size_t dm_grpc_health_write(char ret[DM_GRPC_HEALTH_MAX], struct dm_str service)
{
    size_t len = service.len > 0 ? service.len + 2 : 0;

    assert(service.len <= SERVICE_MAX);
    memset(ret, 0, FRAME_BYTES);
    ret[FRAME_BYTES - 1] = (char)len;
    if (len > 0) {
        ret[FRAME_BYTES] = SERVICE_TAG;
        ret[FRAME_BYTES + 1] = (char)service.len;
        memcpy(ret + FRAME_BYTES + 2, service.ptr, service.len);
    }
    return FRAME_BYTES + len;
}

/* False: it is cut or too long. */
static bool cut_varint(struct dm_str *rest, uint64_t *ret)
{
    *ret = 0;
    for (unsigned i = 0; i < VARINT_MAX && rest->len > 0; i++) {
        uint8_t byte = (uint8_t)rest->ptr[0];
        *rest = dm_str_skip(*rest, 1);
        if (i < VARINT_MAX - 1 || byte <= 1)
            *ret |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80)
            return i < VARINT_MAX - 1 || byte <= 1;
    }
    return false;
}

static bool skip(struct dm_str *rest, uint64_t n)
{
    if (n > rest->len)
        return false;
    *rest = dm_str_skip(*rest, (size_t)n);
    return true;
}

static bool cut_field(struct dm_str *rest, uint64_t *ret_status)
{
    uint64_t tag, value;

    if (!cut_varint(rest, &tag) || tag >> 3 == 0)
        return false;
    switch (tag & 7) {
    case WIRE_VARINT:
        if (!cut_varint(rest, &value))
            return false;
        if (tag >> 3 == STATUS_FIELD)
            *ret_status = value;
        return true;
    case WIRE_64: return skip(rest, 8);
    case WIRE_BYTES: return cut_varint(rest, &value) && skip(rest, value);
    case WIRE_32: return skip(rest, 4);
    default: return false;
    }
}

static uint32_t length_of(const char *frame)
{
    uint32_t len = 0;

    for (int i = 1; i < FRAME_BYTES; i++)
        len = len << 8 | (uint8_t)frame[i];
    return len;
}

bool dm_grpc_health_is_serving(struct dm_str message)
{
    uint64_t status = 0;
    struct dm_str rest;

    if (message.len < FRAME_BYTES || message.ptr[0] != 0 || length_of(message.ptr) != message.len - FRAME_BYTES)
        return false;
    rest = dm_str_skip(message, FRAME_BYTES);
    while (rest.len > 0)
        if (!cut_field(&rest, &status))
            return false;
    return status == SERVING;
}
