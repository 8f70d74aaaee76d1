/* The access log of one worker slot on disk: takes lines from a pipe, appends them to DIR/access-N.jsonl, turns the file over
 * when it is large (access-N.jsonl.1 is the youngest of those kept). In the keeper, so that no worker ever waits for a disk.
 *
 * A file holds whole lines only. What can't be written, and a line that its worker did not finish, is dropped and counted.
 * Threads: the loop's. */
#ifndef DM_GATEWAY_OBSERVE_LOG_WRITER_H
#define DM_GATEWAY_OBSERVE_LOG_WRITER_H

#include "base/buf.h"
#include "io/loop.h"

#define DM_LOG_WRITER_PATH_MAX 600

/* Embedded in its owner, who reads the counts. */
struct dm_log_writer {
    uint64_t n_lines, n_dropped, n_bytes; /* lines written and dropped; bytes written */
    struct dm_loop *loop;
    char path[DM_LOG_WRITER_PATH_MAX];
    uint64_t rotate_bytes; /* 100 MiB; may be changed */
    unsigned keep;         /* 3; may be changed */
    int file;              /* -1: opened with the next line */
    uint64_t file_bytes;
    bool is_failing; /* logged once */
    bool is_cutting; /* in a line that is too long to keep */
    struct dm_watch pipe;
    struct dm_task task;
    struct dm_buf rest; /* of a line */
};

/* The file is DIR/access-<slot><suffix>.jsonl. */
void dm_log_writer_init(struct dm_log_writer *writer, struct dm_loop *loop, const char *dir, unsigned slot,
                        const char *suffix);
/* Makes a new pipe and reads from it from now on; what is left in the former one is written first. Returns the end to write to
 * (non-blocking), the caller's, or -errno. */
DM_MUST_USE int dm_log_writer_pipe(struct dm_log_writer *writer);
/* Opens the file by its name again (somebody else moved it). */
void dm_log_writer_reopen(struct dm_log_writer *writer);
/* Writes what is in the pipe and closes everything. */
void dm_log_writer_done(struct dm_log_writer *writer);

#endif
