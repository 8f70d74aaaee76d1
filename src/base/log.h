/* Structured log: one JSON object a line on a descriptor (standard error by default), never blocking the caller.
 *
 * Lines go into a bounded ring in memory; dm_log_flush() writes what the descriptor takes without waiting (the event loop
 * calls it each turn when dm_log_pending()); when the ring is full, lines are dropped and counted, and the count is
 * logged when there is room again. The one process-wide mutable state beside main. Threads: thread-safe.
 *
 * Secrets never enter a log line: callers pass names and ids, never credentials. */
#ifndef DM_BASE_LOG_H
#define DM_BASE_LOG_H

#include "base/str.h"

enum dm_log_level { DM_LOG_DEBUG, DM_LOG_INFO, DM_LOG_WARN, DM_LOG_ERROR };

/* program: "daemun-gateway", role: "keeper", "worker-0", …; copied. fd is borrowed and made non-blocking only when it is
 * a pipe or socket of our own (is_own_fd). */
void dm_log_init(const char *program, const char *role, int fd, bool is_own_fd, enum dm_log_level min_level);
/* Human-readable lines instead of JSON (a terminal). */
void dm_log_set_text(bool is_text);
void dm_log_set_level(enum dm_log_level min_level);

/* event: stable snake_case name of what happened; fmt: the sentence. Structured members follow with dm_log_kv. */
void dm_log(enum dm_log_level level, const char *event, const char *fmt, ...) DM_PRINTF(3, 4);

/* With members: pairs of (const char *name, struct dm_str value). */
struct dm_log_member {
    const char *name;
    struct dm_str value;
};
void dm_log_members(enum dm_log_level level, const char *event, const struct dm_log_member *members, size_t n_members,
                    const char *fmt, ...) DM_PRINTF(5, 6);

bool dm_log_pending(void);
void dm_log_flush(void);
/* Writes everything, waiting at most wait_ms; for the end of a process. */
void dm_log_drain(unsigned wait_ms);
uint64_t dm_log_dropped(void);

#endif
