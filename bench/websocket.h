/* As much of WebSocket (RFC 6455) as it takes to open a tunnel and to see that it carries both ways. */
#ifndef DM_BENCH_WEBSOCKET_H
#define DM_BENCH_WEBSOCKET_H

#include <stddef.h>
#include <sys/types.h>

/* The key of the example in section 1.3 and the answer to it; the load's requests carry this key and no other. */
#define DM_WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define DM_WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define DM_WEBSOCKET_FRAME_MAX 131 /* of what is read and written here: one text frame with at most 125 bytes */

/* The message that goes through each tunnel once, as the client's masked frame and as the server's echo. */
extern const char dm_websocket_hello[11];
extern const char dm_websocket_echo[7];

/* Makes the echo of the client's frame at buf. Returns the length of that frame and sets ret_len to the echo's length, or
 * returns 0 when more bytes are needed, -1 for anything but a whole, masked, short text frame. */
ssize_t dm_websocket_answer(const char *buf, size_t len, char ret[DM_WEBSOCKET_FRAME_MAX], size_t *ret_len);

#endif
