#include "http/websocket.h"

enum {
    HEAD_MIN = 2,
    OPCODE = 0x0f,
    CLOSE = 0x08, /* and all opcodes above are of control frames too */
    FINAL = 0x80,
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    CODE_BYTES = 2,
};

static void take_length(struct dm_websocket_walk *walk, uint8_t byte)
{
    uint8_t length = byte & LENGTH;

    walk->length_len = length < LENGTH_16 ? 0 : length == LENGTH_16 ? 2 : 8;
    walk->head_len = (uint8_t)(HEAD_MIN + walk->length_len + (byte & MASKED ? DM_WEBSOCKET_MASK_BYTES : 0));
    walk->left = walk->length_len > 0 ? 0 : length;
    walk->is_lost = (walk->opcode & CLOSE) && walk->length_len > 0;
}

static void take_head_byte(struct dm_websocket_walk *walk, uint8_t byte)
{
    uint8_t at = walk->head_at++;

    if (at == 0) {
        walk->opcode = byte & OPCODE;
        walk->is_lost = (byte & CLOSE) && !(byte & FINAL);
        return;
    }
    if (at == 1)
        take_length(walk, byte);
    else if (at < HEAD_MIN + walk->length_len)
        walk->left = walk->left << 8 | byte;
    if (walk->head_at < walk->head_len)
        return;
    walk->head_at = 0;
    walk->has_closed = walk->has_closed || walk->opcode == CLOSE;
    walk->is_lost = walk->is_lost || walk->left > INT64_MAX;
}

void dm_websocket_walk_on(struct dm_websocket_walk *walk, const char *ptr, size_t len)
{
    while (len > 0 && !walk->is_lost) {
        size_t n = 1;
        if (walk->head_at == 0 && walk->left > 0) {
            n = (size_t)DM_MIN((uint64_t)len, walk->left);
            walk->left -= n;
        } else {
            take_head_byte(walk, (uint8_t)*ptr);
        }
        ptr += n;
        len -= n;
    }
}

bool dm_websocket_walk_may_close(const struct dm_websocket_walk *walk)
{
    return walk->head_at == 0 && walk->left == 0 && !walk->is_lost && !walk->has_closed;
}

size_t dm_websocket_close(unsigned code, struct dm_str text, const uint8_t mask[DM_WEBSOCKET_MASK_BYTES],
                          char ret[DM_WEBSOCKET_CLOSE_MAX])
{
    size_t text_len = text.len <= DM_WEBSOCKET_TEXT_MAX ? text.len : 0, len = CODE_BYTES + text_len;
    char *payload = ret + HEAD_MIN;

    ret[0] = (char)(FINAL | CLOSE);
    ret[1] = (char)(len | (mask ? MASKED : 0u));
    if (mask) {
        memcpy(payload, mask, DM_WEBSOCKET_MASK_BYTES);
        payload += DM_WEBSOCKET_MASK_BYTES;
    }
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    if (text_len > 0)
        memcpy(payload + CODE_BYTES, text.ptr, text_len);
    for (size_t i = 0; mask && i < len; i++)
        payload[i] = (char)((uint8_t)payload[i] ^ mask[i % DM_WEBSOCKET_MASK_BYTES]);
    return (size_t)(payload - ret) + len;
}
