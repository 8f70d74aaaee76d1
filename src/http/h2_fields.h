/* The fields of HTTP/2 (RFC 9113 section 8) and the project's heads: a received header block becomes a strict dm_http_head, the
 * same one that HTTP/1.1 would have given; lines on their way out become what nghttp2 is given.
 *
 * F1. What is accepted could stand in HTTP/1.1 as it is: names are lower-case tokens, values hold what head.h allows (no CR, LF,
 *     NUL, no white space around them), there is nothing that frames a message or belongs to a connection.
 * F2. Paths, authorities and Content-Length go through the parsers of HTTP/1.1. :authority and Host say the same, in normal form.
 * F3. A block is read to its end whatever is wrong with it (HPACK is one stream of state), and its first fault counts.
 *
 * What is decided here: schemes are http and https; a request without :authority needs Host; a head always holds a Host field,
 * of :authority if it came without; cookie crumbs are one field, joined by "; " (section 8.2.3); an extended CONNECT (RFC 8441)
 * reads as the GET that it would be in HTTP/1.1, with `upgrade` set, any other CONNECT is refused; TE other than "trailers" is
 * refused; framing is LENGTH with Content-Length, NONE when the stream ended with the block, else CHUNKED. */
#ifndef DM_HTTP_H2_FIELDS_H
#define DM_HTTP_H2_FIELDS_H

#include <nghttp2/nghttp2.h>

#include "http/head.h"

enum dm_h2_block_kind { DM_H2_REQUEST, DM_H2_RESPONSE, DM_H2_TRAILERS };

/* A header block while it is received. Members are its own, but for what is documented. */
struct dm_h2_block {
    struct dm_http_head *head; /* what it becomes; borrows from text */
    const struct dm_http_limits *limits;
    char *text; /* the fields as lines of HTTP/1.1; behind text_max, as many bytes again for cookies */
    size_t text_len, text_max, cookie_len;
    size_t unpacked_bytes; /* of everything that came, kept or not: names, values, and 4 for each */
    uint8_t kind;          /* enum dm_h2_block_kind */
    uint8_t seen;          /* pseudo-fields */
    uint8_t fault;         /* enum dm_http_fault; the first one */
    bool
        is_malformed; /* in the sense of RFC 9113 section 8.1.1: the fault is a stream error; else it may be answered */
    bool has_field;   /* a pseudo-field after it is refused */
    bool has_cookie;
    uint8_t cookie; /* index of its field */
    struct dm_str authority, path, protocol, status;
};

/* Bytes that text must hold. */
size_t dm_h2_block_text_bytes(const struct dm_http_limits *limits);
/* limits, head and text are borrowed until the head has been used. */
void dm_h2_block_init(struct dm_h2_block *block, enum dm_h2_block_kind kind, const struct dm_http_limits *limits,
                      struct dm_http_head *head, char *text);
/* One field, as it came; copied. */
void dm_h2_block_add(struct dm_h2_block *block, struct dm_str name, struct dm_str value);
/* The block is complete, and is_end_stream the message with it. request_method counts for responses. 0, and the head is
 * complete (of trailers: its fields), or a negative fault, with is_malformed set. */
DM_MUST_USE int dm_h2_block_end(struct dm_h2_block *block, bool is_end_stream, enum dm_http_method request_method);
/* The same block somewhere else: head and text are new memory, which everything moves to. For blocks that wait for more. */
void dm_h2_block_move(struct dm_h2_block *block, struct dm_http_head *head, char *text);

/* Lines (each ended by CR LF, valid, as in struct dm_http_message) as fields of HTTP/2, from ret[*n] on: names in lower case,
 * which stand in `names` (as many bytes as the lines have), values borrowed, both to be used at once (NO_COPY flags are set).
 * What belongs to a connection is left out. is_first: nothing was sent on the connection before. false: more than max. */
DM_MUST_USE bool dm_h2_fields_of_lines(struct dm_str lines, bool is_first, char *names, nghttp2_nv *ret, size_t max,
                                       size_t *n);
/* A field that is no line; name and value are to be used at once. */
static inline nghttp2_nv dm_h2_field(struct dm_str name, struct dm_str value)
{
    return (nghttp2_nv){(uint8_t *)name.ptr, (uint8_t *)value.ptr, name.len, value.len,
                        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

#endif
