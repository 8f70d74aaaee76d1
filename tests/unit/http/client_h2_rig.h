/* A backend for client_rig.h that speaks frames of HTTP/2 by hand. What it gets is one word each in `got`: "PRI", "S" SETTINGS,
 * "SA" its acknowledgement, "H1" HEADERS of stream 1, "D1:5", "R1:8" RST_STREAM with code 8, "P", "PA", "G0" GOAWAY, "FIN"; "+" behind
 * what ends a stream. */
#ifndef DM_TESTS_UNIT_HTTP_CLIENT_H2_RIG_H
#define DM_TESTS_UNIT_HTTP_CLIENT_H2_RIG_H

#include "client_rig.h"
#include "h2/frame.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END = 1, END_HEADERS = 4 };

/* What the backend knows of its connection. */
struct backend {
    struct dm_buf in;
    nghttp2_hd_inflater *inflater;
    bool has_preface;
    uint64_t windows[64];         /* opened by the client: by stream, the connection's is 0 */
    struct dm_buf head, uploaded; /* of the latest HEADERS; of all DATA */
};

extern struct backend backend;
extern const struct dm_http_message get, post, upgrade;

#define OK ":status: 200\n"
#define OK2 ":status: 200\ncontent-length: 2\n"

/* Fixtures of cmocka. */
int h2_setup(void **state);
int h2_teardown(void **state);

/* The latest connection, in the place of the one before. */
void accept_backend(void);
void close_backend(void);
/* A connection with settings both ways and the first call on it. */
void begin(const struct dm_http_message *m);

/* Lines "name: value\n" as a block. */
void add_fields(struct dm_buf *out, const char *lines);
/* Without regard for whether they arrive. */
void send_bytes(const void *ptr, size_t len);
void send_frame(uint8_t type, uint8_t flags, uint32_t id, const void *ptr, size_t len);
/* HEADERS of lines "name: value\n". */
void send_head(uint32_t id, uint8_t flags, const char *lines);
void send_data(uint32_t id, uint8_t flags, const char *text);
void send_u32(uint8_t type, uint32_t id, uint32_t v);
void send_setting(uint8_t which, uint32_t v);
void send_goaway(uint32_t last, uint32_t code);
void answer_ok(uint32_t id);

/* Everything that came. */
void receive(void);
#define check_got(text) (pass_ms(2), receive(), check_text(&rig.got, (text), __FILE__, __LINE__))
#define check_head(text) check_text(&backend.head, (text), __FILE__, __LINE__)

#endif
