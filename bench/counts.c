#include "counts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct dm_counts *dm_counts_map(const char *path)
{
    int flags = path == NULL ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    int fd = -1;
    struct dm_counts *counts;

    if (path != NULL) {
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, sizeof(*counts)) < 0) {
            fprintf(stderr, "%s: %s\n", path, strerror(errno));
            if (fd >= 0)
                close(fd);
            return NULL;
        }
    }
    counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, flags, fd, 0);
    if (fd >= 0)
        close(fd);
    if (counts != MAP_FAILED)
        return counts;
    fprintf(stderr, "cannot map the counters: %s\n", strerror(errno));
    return NULL;
}

void dm_counts_print(const struct dm_counts *counts)
{
    printf("\"answered\":%llu,\"non_2xx\":%llu,\"failed\":%llu,\"reconnects\":%llu,\"unconnected\":%llu,\"open\":%llu,"
           "\"handshakes\":%llu,\"resumed\":%llu,\"in_flight\":%llu",
           (unsigned long long)counts->answered, (unsigned long long)counts->non_2xx,
           (unsigned long long)counts->failed, (unsigned long long)counts->reconnects,
           (unsigned long long)counts->unconnected, (unsigned long long)counts->open,
           (unsigned long long)counts->handshakes, (unsigned long long)counts->resumed,
           (unsigned long long)counts->in_flight);
}
