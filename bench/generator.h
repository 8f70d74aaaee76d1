/* What the load generators have in common around their loops: the clock, what is sent and counted, and the signal to stop. */
#ifndef DM_BENCH_GENERATOR_H
#define DM_BENCH_GENERATOR_H

#include "counts.h"
#include "requests.h"

#include <signal.h>
#include <time.h>

#define NS UINT64_C(1000000000)

/* SIGTERM or SIGINT came. */
extern volatile sig_atomic_t dm_generator_is_stopped;

static inline uint64_t dm_generator_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

/* Reads the requests, maps the counts and takes the signals. Returns an epoll descriptor, or -1 after printing why not.
 * To be called once. */
int dm_generator_start(const char *requests_path, struct dm_requests *requests, const char *counters_path,
                       struct dm_counts **ret_counts);

/* Reads the file, if there is one, of the ports that connections come from, a decimal number a line, into ports[0..count).
 * Without a file they are 0: any. Returns 0, or -1 after printing why not. */
int dm_generator_read_ports(const char *path, uint16_t *ports, uint32_t count);

#endif
