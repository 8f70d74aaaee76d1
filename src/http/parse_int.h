/* What the parsers of heads and trailers share. Each reads left to right and finds the first fault, so that a cut
 * input gives either "more" or the fault of the whole. Readers return 1 when they are past what they read, 0 when
 * bytes are missing, or a negative fault. */
#ifndef DM_HTTP_PARSE_INT_H
#define DM_HTTP_PARSE_INT_H

#include "http/head.h"

struct dm_http_cursor {
    const char *p, *end;
    const struct dm_http_limits *limits;
    struct dm_http_head *head;
    bool is_trailer;
    bool has_close, has_keep_alive; /* options that Connection names */
    bool has_upgrade_option;
    bool has_named_fields; /* Connection names a field that is in no table */
};

/* The fault of a byte at p that fits nowhere: a stray CR, LF or control, else `fault`. 0 if p is a CR at the end. */
int dm_http_unexpected(const char *p, const char *end, enum dm_http_fault fault);

/* CR LF, or `fault`. */
int dm_http_read_crlf(struct dm_http_cursor *cursor, enum dm_http_fault fault);

/* "HTTP/1.x" into head->version_minor: above 1 it is 1 (RFC 9110 section 2.5). */
int dm_http_read_version(struct dm_http_cursor *cursor);

/* Field lines and the empty line behind them. */
int dm_http_read_fields(struct dm_http_cursor *cursor);

/* Acts on a field that was read: framing, host, connection. 0 or a negative fault. */
int dm_http_take_field(struct dm_http_cursor *cursor, struct dm_http_field *field);

/* After the last field: flags what Connection names, sets keep_alive and has_upgrade. */
void dm_http_take_connection(struct dm_http_cursor *cursor);

typedef int (*dm_http_reader)(struct dm_http_cursor *cursor);

/* Fields and the empty line into a head of which only the fields are used. */
int dm_http_read_trailers(struct dm_http_cursor *cursor);

/* Runs `read` over a section of at most max_bytes, now or, when it is not complete, once its end or a stray byte
 * came into sight. Results as dm_http_parse_request(); `too_large` when max_bytes do not suffice. */
int dm_http_parse_section(struct dm_http_cursor *cursor, size_t max_bytes, enum dm_http_fault too_large, size_t *scan,
                          dm_http_reader read);

#endif
