#include "generator.h"

#include <stddef.h>
#include <stdio.h>
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
