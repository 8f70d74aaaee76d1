/* What a load generator has counted so far, in a file that the harness reads meanwhile. */
#ifndef DM_BENCH_COUNTS_H
#define DM_BENCH_COUNTS_H

#include <stdint.h>

/* The layout of the counters file; the harness reads it by offset. */
struct dm_counts {
    uint64_t answered;
    uint64_t non_2xx; /* of those answered */
    uint64_t failed;
    uint64_t reconnects;  /* connections that the peer ended between two requests */
    uint64_t unconnected; /* connections that were refused, or whose handshake failed */
    uint64_t open;        /* connections that are established now, with TLS after the handshake */
    uint64_t handshakes;  /* TLS handshakes completed */
    uint64_t resumed;     /* of those, the ones that took up an earlier session */
    uint64_t in_flight;   /* requests that are out now */
};

/* Maps the counters file, made anew; without a path the counts belong to the process alone. Lives as long as the
 * process. Returns NULL after printing why not. */
struct dm_counts *dm_counts_map(const char *path);

/* Prints the counts as members of a JSON object, without its braces. */
void dm_counts_print(const struct dm_counts *counts);

#endif
