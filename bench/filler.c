/* The filler: keeps a core awake without taking anything from whoever has work there.
 *
 *   dm_bench_filler        runs until it is killed, in the scheduler's idle class
 *
 * A contestant whose clients need more time than itself (TLS handshakes) leaves its core idle between them, and falling
 * asleep and waking up would be charged to it or not as chance has it. With the filler the core never sleeps; whoever
 * becomes ready takes it at once. */
#include "wire.h"

#include <sched.h>
#include <stdio.h>

int main(void)
{
    struct sched_param none = {0};

    dm_wire_start();
    if (sched_setscheduler(0, SCHED_IDLE, &none) < 0) {
        perror("idle scheduling class");
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;)
        __builtin_ia32_pause();
}
