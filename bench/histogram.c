#include "histogram.h"

#include <stddef.h>

#define FINE_BITS DM_HISTOGRAM_FINE_BITS
#define LINEAR_END (UINT64_C(2) << FINE_BITS) /* below it one bucket is one nanosecond */

static size_t bucket_of(uint64_t ns)
{
    unsigned shift = ns < LINEAR_END ? 0 : 63 - (unsigned)__builtin_clzll(ns) - FINE_BITS;

    return ((size_t)shift << FINE_BITS) + (size_t)(ns >> shift);
}

static uint64_t bucket_last(size_t bucket)
{
    size_t shift = bucket < LINEAR_END ? 0 : (bucket >> FINE_BITS) - 1;

    return ((uint64_t)(bucket - (shift << FINE_BITS)) << shift) + (UINT64_C(1) << shift) - 1;
}

void dm_histogram_add(struct dm_histogram *histogram, uint64_t ns)
{
    histogram->buckets[bucket_of(ns)]++;
    histogram->total++;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

uint64_t dm_histogram_at(const struct dm_histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)((double)histogram->total * share);
    uint64_t seen = 0;

    for (size_t i = 0; i < DM_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > rank && bucket_last(i) < histogram->max_ns)
            return bucket_last(i);
        if (seen > rank)
            break;
    }
    return histogram->max_ns;
}
