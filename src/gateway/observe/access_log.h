/* Access log of a worker: one JSON object a line into a pipe that the keeper empties to disk. Lines gather in memory and are
 * written 32 KiB at a time, or after 200 ms, without waiting; when the pipe is full and the buffer too, lines are dropped and
 * counted. Without a pipe (no keeper yet, or log off) nothing is written. Threads: the worker's. */
#ifndef DM_GATEWAY_OBSERVE_ACCESS_LOG_H
#define DM_GATEWAY_OBSERVE_ACCESS_LOG_H

#include "base/buf.h"
#include "io/loop.h"
#include "model/reason.h"

struct dm_exchange;

struct dm_access_log {
    struct dm_loop *loop;
    struct dm_buf lines;
    struct dm_timer timer;
    uint64_t n_lines, n_dropped;
    uint64_t time_s; /* second that time_text is for */
    char time_text[sizeof("2026-01-01T00:00:00") - 1];
    int fd;      /* -1: none */
    bool is_cut; /* what stands first in lines is the rest of a line */
};

void dm_access_log_init(struct dm_access_log *log, struct dm_loop *loop);
void dm_access_log_done(struct dm_access_log *log);
/* Takes over the pipe's write end; the former one is closed. */
void dm_access_log_set_fd(struct dm_access_log *log, int fd);
void dm_access_log_flush(struct dm_access_log *log);
/* The line of an exchange that has ended. wall_ns: now. */
void dm_access_log_write(struct dm_access_log *log, const struct dm_exchange *ex, uint64_t wall_ns);
/* The line of a request that was none: no exchange began. fault: enum dm_http_fault, or 0. */
void dm_access_log_write_fault(struct dm_access_log *log, const struct dm_addr *client, struct dm_str request_id,
                               enum dm_reason reason, int fault, uint64_t wall_ns);

#endif
