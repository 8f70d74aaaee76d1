/* Frames of HTTP/2 as text, one a line, and what the other side sent as words. The notation is in README.md. No HTTP/2 library
 * but its HPACK decoder: what is written may be as wrong as a case wants it. */
#ifndef DM_TESTS_WIRE_FRAMES_H
#define DM_TESTS_WIRE_FRAMES_H

#include "base/buf.h"

#define FRAMES_STREAMS_MAX 32
#define FRAMES_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* Adds the bytes of one line; "$" is `stream`. false after saying what can't be read. */
bool frames_write(struct dm_str line, uint32_t stream, struct dm_buf *out);
/* SETTINGS (id 0) or their acknowledgement. */
void frames_write_settings(bool is_ack, struct dm_buf *out);

struct frames_stream {
    uint32_t id;
    struct dm_buf statuses; /* "103 200" */
    struct dm_buf fields;   /* lines, trailers too */
    struct dm_buf body;
    char method[16], path[64];
    bool has_reset, is_ended;
    uint32_t reset_code;
};

/* What one side of a connection sent. */
struct frames_reader {
    void *inflater; /* of HPACK */
    struct frames_stream *streams[FRAMES_STREAMS_MAX];
    unsigned n_streams;
    struct dm_buf block; /* a header block that is not complete */
    size_t parsed;       /* of the bytes given */
    bool has_goaway, is_bad;
    uint32_t goaway_code;
    /* SETTINGS came; the stream's head is complete, its message is. May be NULL. */
    void (*on_settings)(void *arg);
    void (*on_head)(void *arg, struct frames_stream *stream);
    void (*on_end)(void *arg, struct frames_stream *stream);
    void *arg;
};

void frames_reader_init(struct frames_reader *reader);
void frames_reader_done(struct frames_reader *reader);
/* All that came so far, from the first byte on (without a preface). */
void frames_read(struct frames_reader *reader, struct dm_str bytes);
/* "1:200 3:reset-1 goaway-1": streams in order of arrival; ":200+" is one that did not end, ":200+reset-2" one that was cut. */
void frames_answers(const struct frames_reader *reader, struct dm_buf *out);

#endif
