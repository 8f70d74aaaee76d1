#include "io/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "io/loop_int.h"

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_signals *signals = DM_CONTAINER_OF(watch, struct dm_signals, watch);
    struct signalfd_siginfo info;

    while (signals->watch.fd >= 0 && read(signals->watch.fd, &info, sizeof(info)) == sizeof(info))
        signals->on_signal(signals, (int)info.ssi_signo);
}

int dm_signals_open(struct dm_signals *signals, struct dm_loop *loop, const int *signos, size_t n,
                    void (*on_signal)(struct dm_signals *signals, int signo))
{
    sigset_t wanted, before;
    int fd, rc;

    *signals = (struct dm_signals){.loop = loop, .on_signal = on_signal, .watch.fd = -1};
    sigemptyset(&wanted);
    for (size_t i = 0; i < n; i++)
        sigaddset(&wanted, signos[i]);
    if ((fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return -errno;
    if ((rc = dm_watch_add(loop, &signals->watch, fd, on_ready)) < 0) {
        close(fd);
        return rc;
    }
    pthread_sigmask(SIG_BLOCK, &wanted, &before);
    sigemptyset(&signals->blocked);
    for (size_t i = 0; i < n; i++)
        if (!sigismember(&before, signos[i]))
            sigaddset(&signals->blocked, signos[i]);
    return 0;
}

void dm_signals_close(struct dm_signals *signals)
{
    if (signals->watch.fd < 0)
        return;
    dm_watch_close(signals->loop, &signals->watch);
    pthread_sigmask(SIG_UNBLOCK, &signals->blocked, NULL);
}
