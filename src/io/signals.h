/* Signals as events of the loop (signalfd). They are blocked for the process while open; open it before threads start, who
 * inherit the mask. On the real system only. */
#ifndef DM_IO_SIGNALS_H
#define DM_IO_SIGNALS_H

#include "io/loop.h"

#include <signal.h>

struct dm_signals {
    struct dm_loop *loop;
    void (*on_signal)(struct dm_signals *signals, int signo);
    struct dm_watch watch;
    sigset_t blocked; /* those that were not blocked before */
};

/* 0 or -errno. */
DM_MUST_USE int dm_signals_open(struct dm_signals *signals, struct dm_loop *loop, const int *signos, size_t n,
                                void (*on_signal)(struct dm_signals *signals, int signo));
/* Unblocks what open blocked. May be called from on_signal. */
void dm_signals_close(struct dm_signals *signals);

#endif
