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
    bool is_stopping, is_turning;
    unsigned max_events, max_tasks;
    uint64_t now_ns, slept_from_ns; /* slept_from_ns: 0 unless the turn may sleep */
    uint64_t epoch_ns;              /* tick 0 */
    struct dm_watch_slot *slots;    /* by descriptor */
    size_t n_slots;
    struct dm_task ready, running; /* heads of rings; running: posted before this turn's tasks */
    struct dm_hook *hooks;
    struct dm_timer_wheel wheel;
    struct dm_loop_stats stats;
    /* Scratch buffers and pools of the streams, made with the first stream. */
    struct dm_stream_shared *streams;
    void (*streams_free)(struct dm_loop *loop);
    /* Scratch of the streams with TLS, made with the first such stream. */
    struct dm_tls_shared *tls;
    void (*tls_free)(struct dm_loop *loop);
    /* Who learns of ended children by SIGCHLD, made with the first such process. */
    struct dm_reaper *reaper;
    void (*reaper_free)(struct dm_loop *loop);
    struct dm_ready_event events[DM_LOOP_EVENTS_MAX];
};

#endif
