#include "gateway/observe/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"

enum { PIPE_BYTES = 1 << 20, READ_BYTES = 64 << 10, READS_PER_TURN = 8, LINE_MAX_BYTES = 64 << 10, KEEP = 3 };

#define ROTATE_BYTES (UINT64_C(100) << 20)

static size_t count_lines(struct dm_str text)
{
    size_t n = 0;

    for (const char *at = text.ptr; text.len > 0 && (at = memchr(at, '\n', (size_t)(text.ptr + text.len - at))); at++)
        n++;
    return n;
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

static void fail_write(struct dm_log_writer *w, struct dm_str lines, int error)
{
    w->n_dropped += count_lines(lines);
    if (!w->is_failing)
        dm_log(DM_LOG_ERROR, "access_log_failed", "can't write %s, lines are dropped: %s", w->path, strerror(error));
    w->is_failing = true;
}

static int open_file(struct dm_log_writer *w)
{
    off_t end;

    if (w->file >= 0)
        return 0;
    if ((w->file = open(w->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)) < 0)
        return -errno;
    end = lseek(w->file, 0, SEEK_END);
    w->file_bytes = end > 0 ? (uint64_t)end : 0;
    return 0;
}

static void close_file(struct dm_log_writer *w)
{
    if (w->file >= 0)
        close(w->file);
    w->file = -1;
}

static void numbered(const struct dm_log_writer *w, unsigned n, char ret[DM_LOG_WRITER_PATH_MAX + 16])
{
    snprintf(ret, DM_LOG_WRITER_PATH_MAX + 16, n == 0 ? "%s" : "%s.%u", w->path, n);
}

static void turn_over(struct dm_log_writer *w)
{
    char from[DM_LOG_WRITER_PATH_MAX + 16], to[DM_LOG_WRITER_PATH_MAX + 16];

    close_file(w);
    for (unsigned n = w->keep; n > 0; n--) {
        numbered(w, n - 1, from);
        numbered(w, n, to);
        if (rename(from, to) < 0 && errno != ENOENT)
            dm_log(DM_LOG_ERROR, "access_log_failed", "can't rename %s: %s", from, strerror(errno));
    }
    if (w->keep == 0)
        unlink(w->path);
}

/* A write that was cut short leaves a part of a line, which the next one ends: one line that does not parse. */
static void write_lines(struct dm_log_writer *w, struct dm_str lines)
{
    int rc = open_file(w);
    ssize_t n;

    if (lines.len == 0)
        return;
    if (rc < 0) {
        fail_write(w, lines, -rc);
        return;
    }
    n = write(w->file, lines.ptr, lines.len);
    w->file_bytes += n > 0 ? (size_t)n : 0;
    w->n_bytes += n > 0 ? (size_t)n : 0;
    if (n != (ssize_t)lines.len) {
        fail_write(w, dm_str_skip(lines, n > 0 ? (size_t)n : 0), n < 0 ? errno : ENOSPC);
        return;
    }
    w->is_failing = false;
    w->n_lines += count_lines(lines);
    if (w->file_bytes >= w->rotate_bytes)
        turn_over(w);
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

static size_t last_line_end(struct dm_str text)
{
    const char *at = text.len > 0 ? memrchr(text.ptr, '\n', text.len) : NULL;

    return at ? (size_t)(at - text.ptr) + 1 : 0;
}

static void keep_rest(struct dm_log_writer *w, struct dm_str rest)
{
    if (w->is_cutting)
        return;
    dm_buf_add(&w->rest, rest);
    if (!w->rest.failed)
        return;
    dm_buf_reset(&w->rest);
    w->is_cutting = true;
    w->n_dropped++;
}

/* The first line's end: it completes what is kept. Returns the bytes taken. */
static size_t complete_rest(struct dm_log_writer *w, struct dm_str text)
{
    size_t n = dm_str_find(text, '\n') + 1;

    if (!w->is_cutting && w->rest.len > 0)
        keep_rest(w, dm_str_n(text.ptr, n));
    else if (!w->is_cutting)
        return 0;
    if (!w->is_cutting)
        write_lines(w, dm_buf_str(&w->rest));
    dm_buf_reset(&w->rest);
    w->is_cutting = false;
    return n;
}

static void take(struct dm_log_writer *w, struct dm_str text)
{
    size_t n;

    if (last_line_end(text) > 0) {
        text = dm_str_skip(text, complete_rest(w, text));
        n = last_line_end(text);
        write_lines(w, dm_str_n(text.ptr, n));
        text = dm_str_skip(text, n);
    }
    keep_rest(w, text);
}

/* --- the pipe ---------------------------------------------------------------------------------------------------- */

static void close_pipe(struct dm_log_writer *w)
{
    if (w->pipe.fd >= 0)
        dm_watch_close(w->loop, &w->pipe);
    dm_task_cancel(w->loop, &w->task);
    w->n_dropped += w->rest.len > 0;
    dm_buf_reset(&w->rest);
    w->is_cutting = false;
}

/* False when the pipe is empty or ended. */
static bool read_once(struct dm_log_writer *w)
{
    char scratch[READ_BYTES];
    ssize_t n = read(w->pipe.fd, scratch, sizeof(scratch));

    if (n > 0) {
        take(w, dm_str_n(scratch, (size_t)n));
        return true;
    }
    if (n == 0)
        close_pipe(w);
    return n < 0 && errno == EINTR;
}

static void read_some(struct dm_log_writer *w)
{
    for (int i = 0; i < READS_PER_TURN; i++)
        if (!read_once(w))
            return;
    dm_task_post(w->loop, &w->task);
}

static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_log_writer *w = DM_CONTAINER_OF(watch, struct dm_log_writer, pipe);

    if (!dm_task_is_posted(&w->task))
        read_some(w);
}

static void run_task(struct dm_task *task)
{
    struct dm_log_writer *w = DM_CONTAINER_OF(task, struct dm_log_writer, task);

    if (w->pipe.fd >= 0)
        read_some(w);
}

static void drain(struct dm_log_writer *w)
{
    while (w->pipe.fd >= 0 && read_once(w))
        ;
    close_pipe(w);
}

int dm_log_writer_pipe(struct dm_log_writer *writer)
{
    int fds[2], rc;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    (void)!fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller is fine too */
    drain(writer);
    if ((rc = dm_watch_add(writer->loop, &writer->pipe, fds[0], on_ready)) < 0) {
        close(fds[0]);
        close(fds[1]);
        return rc;
    }
    return fds[1];
}

/* --- life -------------------------------------------------------------------------------------------------------- */

void dm_log_writer_init(struct dm_log_writer *writer, struct dm_loop *loop, const char *dir, unsigned slot,
                        const char *suffix)
{
    *writer = (struct dm_log_writer){
        .loop = loop, .file = -1, .pipe.fd = -1, .task.run = run_task, .rotate_bytes = ROTATE_BYTES, .keep = KEEP};
    snprintf(writer->path, sizeof(writer->path), "%s/access-%u%s.jsonl", dir, slot, suffix);
    dm_buf_init(&writer->rest, LINE_MAX_BYTES);
}

void dm_log_writer_reopen(struct dm_log_writer *writer)
{
    close_file(writer);
}

void dm_log_writer_done(struct dm_log_writer *writer)
{
    drain(writer);
    close_file(writer);
    dm_buf_done(&writer->rest);
}
