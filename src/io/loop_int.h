/* What io's own files may know of the loop. */
#ifndef DM_IO_LOOP_INT_H
#define DM_IO_LOOP_INT_H

#include "io/loop.h"

enum { DM_LOOP_EVENTS_MAX = 256 };

struct dm_watch_slot {
    struct dm_watch *watch; /* NULL: nobody */
    uint32_t generation;
};

struct dm_stream_shared;
struct dm_reaper;
struct dm_tls_shared;

struct dm_loop {
    struct dm_sys *sys;
    int poll_fd;
    bool is_stopping, is_turning, is_fair;
    unsigned max_events, max_tasks;
    uint64_t now_ns, slept_from_ns; /* slept_from_ns: 0 unless the turn may sleep */
    uint64_t epoch_ns;              /* tick 0 */
    struct dm_watch_slot *slots;    /* by descriptor */
    size_t n_slots;
    struct dm_scheduler scheduler;
    struct dm_flow platform, *current;
    struct dm_flow *in_turn;            /* whose task runs; NULL: none does */
    struct dm_flow *charged;            /* those that have ticks */
    uint64_t mark;                      /* ticks up to which all is charged */
    uint64_t passed;                    /* ticks that were charged, to whomever */
    uint64_t longest_task;              /* ticks */
    uint64_t settled_ns;                /* when, by the clock */
    uint64_t settled_cpu_ns;            /* what the thread had run then */
    uint64_t learned_ns, learned_ticks; /* when the rate was looked at last */
    double ticks_per_ns;                /* as far as is known */
    uint64_t slice;                     /* ticks of tasks in a turn */
    uint64_t wait_target_ns;            /* dm_loop_set_wait_target() */
    struct dm_hook *hooks;
    struct dm_timer_wheel wheel;
    struct dm_loop_stats stats;
    /* Scratch buffers and pools of the streams, made with the first stream. */
    struct dm_stream_shared *streams;
    void (*streams_free)(struct dm_loop *loop);
    void (*streams_flush)(struct dm_loop *loop);                        /* when another flow's work begins */
    void (*streams_forget)(struct dm_loop *loop, struct dm_flow *flow); /* its output is the platform's */
    /* Scratch of the streams with TLS, made with the first such stream. */
    struct dm_tls_shared *tls;
    void (*tls_free)(struct dm_loop *loop);
    /* Who learns of ended children by SIGCHLD, made with the first such process. */
    struct dm_reaper *reaper;
    void (*reaper_free)(struct dm_loop *loop);
    struct dm_ready_event events[DM_LOOP_EVENTS_MAX];
};

#endif
