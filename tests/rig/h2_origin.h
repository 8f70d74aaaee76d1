/* A backend of HTTP/2 on the rig's loop, made of nghttp2's server: answers each whole request with 200, "hello" and, when the
 * request had a body, the trailer "x-sum: 1"; opens each tunnel that it is asked for and echoes what comes. */
#ifndef DM_TESTS_H2_ORIGIN_H
#define DM_TESTS_H2_ORIGIN_H

#include "rig/stage.h"

struct h2_conn;

struct h2_origin {
    struct rig *rig;
    struct dm_listener listener;
    struct dm_tls_acceptor *tls; /* NULL: clear text */
    struct h2_conn *conns;
    struct dm_buf received; /* fields as lines, and bodies, of all requests in order of arrival */
    size_t n_accepted, n_requests;
    unsigned n_refused;   /* so many more streams are refused */
    uint32_t calls_max;   /* on a connection, at a time; 0: as many as come */
    uint32_t resets_with; /* in place of an answer; 0: not */
    bool is_mute;         /* answers nothing */
    bool is_holding;      /* answers without an end, which h2_origin_finish() brings */
    bool goes_away;       /* says GOAWAY with each answer, for what follows */
    bool forgets;         /* says GOAWAY in place of an answer, and that it never began the request */
    bool cuts;            /* closes in place of an answer */
    bool knows_no_tunnels;
    struct dm_str body;           /* in place of "hello" */
    struct dm_str fields[2][2];   /* name and value: of every answer */
    bool has_no_body;             /* a head that ends the answer, with the fields */
    struct dm_str trailers[4][2]; /* name and value: of every answer, in place of x-sum */
    size_t n_reset;               /* by the other side */
    uint32_t reset_with;          /* the last of them */
};

void h2_origin_init(struct rig *rig, struct h2_origin *origin);
/* At an address, in place of a free port. */
void h2_origin_init_at(struct rig *rig, struct h2_origin *origin, struct dm_str addr);
void h2_origin_done(struct h2_origin *origin);
/* The stage's release, with this backend in the place of the usual. */
void h2_origin_apply(const struct h2_origin *origin, struct stage *s, struct stage_release release);
/* Ends the answers that were held. */
void h2_origin_finish(struct h2_origin *origin);
uint16_t h2_origin_port(const struct h2_origin *origin);
size_t h2_origin_connections(const struct h2_origin *origin);

#endif
