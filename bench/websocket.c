#include "websocket.h"

#include <stdint.h>
#include <string.h>

#define FINAL_TEXT 0x81
#define MASKED 0x80
#define SHORT_MAX 125
#define HEAD_LEN 2
#define MASK_LEN 4

/* "Hello", as in section 5.7. */
const char dm_websocket_hello[11] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
const char dm_websocket_echo[7] = "\x81\x05Hello";

ssize_t dm_websocket_answer(const char *buf, size_t len, char ret[DM_WEBSOCKET_FRAME_MAX], size_t *ret_len)
{
    const char *mask = buf + HEAD_LEN;
    const char *payload = mask + MASK_LEN;
    size_t payload_len;

    if (len < HEAD_LEN)
        return 0;
    payload_len = (size_t)((uint8_t)buf[1] & ~MASKED);
    if ((uint8_t)buf[0] != FINAL_TEXT || ((uint8_t)buf[1] & MASKED) == 0 || payload_len > SHORT_MAX)
        return -1;
    if (len < HEAD_LEN + MASK_LEN + payload_len)
        return 0;
    ret[0] = buf[0];
    ret[1] = (char)payload_len;
    for (size_t i = 0; i < payload_len; i++)
        ret[HEAD_LEN + i] = (char)(payload[i] ^ mask[i % MASK_LEN]);
    *ret_len = HEAD_LEN + payload_len;
    return (ssize_t)(HEAD_LEN + MASK_LEN + payload_len);
}
