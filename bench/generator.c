#include "generator.h"

#include "wire.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

volatile sig_atomic_t dm_generator_is_stopped;

static void on_signal(int signal)
{
    (void)signal;
    dm_generator_is_stopped = 1;
}

int dm_generator_start(const char *requests_path, struct dm_requests *requests, const char *counters_path,
                       struct dm_counts **ret_counts)
{
    struct sigaction action = {.sa_handler = on_signal};
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (poll_fd < 0)
        perror("epoll_create1");
    if (poll_fd < 0 || dm_requests_read(requests, requests_path) < 0 ||
        (*ret_counts = dm_counts_map(counters_path)) == NULL)
        return -1;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return poll_fd;
}

int dm_generator_read_ports(const char *path, uint16_t *ports, uint32_t count)
{
    char line[16];
    uint32_t got = 0;
    FILE *file;

    memset(ports, 0, count * sizeof(*ports));
    if (path == NULL)
        return 0;
    file = fopen(path, "r");
    while (file != NULL && got < count && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        ports[got++] = (uint16_t)dm_wire_number("a port of the file", line, UINT16_MAX);
    }
    if (file != NULL)
        fclose(file);
    if (got == count)
        return 0;
    fprintf(stderr, "%s: expected a port for each of %u connections, got %u\n", path, (unsigned)count, (unsigned)got);
    return -1;
}
