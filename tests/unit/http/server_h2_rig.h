/* An HTTP/2 client for server_rig.h: nghttp2's client session, or frames written by hand, and one word each of what came in
 * `seen`: "H1:200" a response head on stream 1, "D1:5" five bytes of data, "E1" its end, "T1" trailers, "X1:8" a reset with its
 * code, "G0" GOAWAY with its code, "P" an answer to PING. */
#ifndef DM_TESTS_UNIT_HTTP_SERVER_H2_RIG_H
#define DM_TESTS_UNIT_HTTP_SERVER_H2_RIG_H

#include "h2/frame.h"
#include "server_rig.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum { HEADERS = 1, END_STREAM = 1, END_HEADERS = 4 };

struct h2 {
    nghttp2_session *session;
    struct dm_buf seen, body, fields; /* of all streams */
    size_t parsed;                    /* of rig.got */
    struct dm_buf upload;             /* what requests with a body send */
    size_t uploaded;
    bool is_open;     /* an upload that goes on */
    bool holds_back;  /* no windows are opened */
    bool is_quiet;    /* data is not noted */
    bool is_manual;   /* frames are written by hand, so that the session knows nothing of them: read by hand as well */
    uint32_t next_id; /* of a stream opened by hand */
    nghttp2_hd_inflater *inflater;
};

extern struct h2 h2;

/* A client of the running rig with these settings, up to its preface. */
void h2_begin(const nghttp2_settings_entry *settings, size_t n);
/* A rig in simulated time with such a client, through the exchange of settings. */
void h2_start(void);
void h2_end(void);

/* Fixtures of cmocka: the default settings, in simulated time and on the kernel. */
int h2_setup(void **state);
int h2_setup_kernel(void **state);
int h2_teardown(void **state);

/* What the client wants to send, to the server. */
void h2_flush(void);
/* What is there, from the server. */
void h2_take(void);
/* Back and forth, without time passing by more than some milliseconds. */
void h2_run(void);
/* A session of its own for a connection that begins; strict: one that minds what HTTP says of fields. */
void h2_new_session(bool is_strict);
/* The same client from its first byte on, with these settings: for a connection that is new. */
void h2_renew(const nghttp2_settings_entry *settings, size_t n);
/* The same client, on a connection of its own. */
void h2_reconnect(void);

#define NV(name, value)                                                                                                \
    {                                                                                                                  \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), 0                                          \
    }

/* GET, or a POST of h2.upload. Returns the stream. */
int32_t h2_request(const char *method, const char *path);
int32_t h2_get(void);
int32_t h2_post(const char *body, size_t len);

/* For requests that a test makes by itself: gives h2.upload. */
ssize_t read_upload(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                    nghttp2_data_source *source, void *user);

/* Runs, and empties `seen`. */
#define check_seen(text) (h2_run(), check_text(&h2.seen, (text), __FILE__, __LINE__))

bool has_seen(const char *text);

/* --- by hand: from the first such frame on the session is out of play ------------------------------------------------ */

void send_frame(uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len);
void send_u32(uint8_t type, uint8_t flags, uint32_t id, uint32_t value);
/* The block of a request for "/". */
void add_request(struct dm_buf *out, const char *method);
/* Such a request on the next stream: a GET, or a POST if it does not end here. Returns the stream. */
uint32_t send_request(uint8_t flags);

#endif
