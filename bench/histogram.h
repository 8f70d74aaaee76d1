/* A histogram of times from 1 ns up, each kept to 1/64 of its value. Zero-initialised is empty. */
#ifndef DM_BENCH_HISTOGRAM_H
#define DM_BENCH_HISTOGRAM_H

#include <stdint.h>

#define DM_HISTOGRAM_FINE_BITS 6
#define DM_HISTOGRAM_BUCKETS ((64 - DM_HISTOGRAM_FINE_BITS + 1) << DM_HISTOGRAM_FINE_BITS)

struct dm_histogram {
    uint64_t total;
    uint64_t max_ns;
    uint64_t buckets[DM_HISTOGRAM_BUCKETS];
};

void dm_histogram_add(struct dm_histogram *histogram, uint64_t ns);

/* The time below which the given share (0 to 1) of all entries lies; 0 when empty. */
uint64_t dm_histogram_at(const struct dm_histogram *histogram, double share);

#endif
