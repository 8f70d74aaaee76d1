/* The requests that a load generator sends, as a file of HTTP/1.1 heads one after the other. */
#ifndef DM_BENCH_REQUESTS_H
#define DM_BENCH_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

#define DM_REQUESTS_MAX 4096

/* One head with its empty line. */
struct dm_request {
    const char *ptr;
    size_t len;
};

struct dm_requests {
    uint32_t count;
    struct dm_request all[DM_REQUESTS_MAX];
};

/* Reads the file; the bytes live as long as the process. Returns 0, or -1 after printing why not. To be called once. */
int dm_requests_read(struct dm_requests *requests, const char *path);

#endif
