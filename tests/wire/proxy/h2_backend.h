/* A backend of HTTP/2 that answers each request with frames as a case writes them, however wrong. */
#ifndef DM_TESTS_WIRE_H2_BACKEND_H
#define DM_TESTS_WIRE_H2_BACKEND_H

#include "frames.h"
#include "rig/rig.h"

#define H2_BACKEND_CONNS_MAX 16

struct h2_backend_conn {
    struct rig_link link;
    struct h2_backend *backend;
    struct frames_reader reader;
    struct dm_buf received;
    uint32_t last_stream;
};

struct h2_backend {
    struct rig *rig;
    struct dm_listener listener;
    struct h2_backend_conn *conns[H2_BACKEND_CONNS_MAX];
    unsigned n_conns;
    struct dm_buf answer;   /* lines of frames.h; a request for a path with /next gets "clean" instead */
    struct dm_buf requests; /* "METHOD PATH BYTES" of each, as lines */
    bool answers_early, closes;
};

void h2_backend_init(struct rig *rig, struct h2_backend *backend);
void h2_backend_done(struct h2_backend *backend);
uint16_t h2_backend_port(const struct h2_backend *backend);
/* On every connection that is open; "$" is the last stream. */
void h2_backend_send(struct h2_backend *backend, struct dm_str lines);

#endif
