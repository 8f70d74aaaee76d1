#include "gateway/observe/access_log.h"

#include "base/jsonw.h"
#include "base/mem.h"
#include "gateway/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX (256u << 10)
#define WRITE_BYTES (32u << 10)
#define LINE_MAX_BYTES (16u << 10)
#define FLUSH_MS 200

static void on_due(struct dm_timer *timer)
{
    dm_access_log_flush(DM_CONTAINER_OF(timer, struct dm_access_log, timer));
}

void dm_access_log_init(struct dm_access_log *log, struct dm_loop *loop)
{
    memset(log, 0, sizeof(*log));
    log->loop = loop;
    log->fd = -1;
    log->timer.on_due = on_due;
    dm_buf_init(&log->lines, LINES_MAX);
}

void dm_access_log_done(struct dm_access_log *log)
{
    dm_access_log_flush(log);
    dm_timer_cancel(log->loop, &log->timer);
    dm_access_log_set_fd(log, -1);
    dm_buf_done(&log->lines);
}

void dm_access_log_set_fd(struct dm_access_log *log, int fd)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void dm_access_log_flush(struct dm_access_log *log)
{
    ssize_t n;

    if (log->fd < 0 || log->lines.len == 0)
        return;
    n = write(log->fd, log->lines.ptr, log->lines.len);
    if (n > 0)
        dm_buf_consume(&log->lines, (size_t)n);
    else if (n < 0 && errno == EPIPE)
        dm_access_log_set_fd(log, -1); /* the keeper is gone; the next one brings another pipe */
    if (log->lines.len > 0)
        dm_timer_arm(log->loop, &log->timer, FLUSH_MS);
}

static void write_time(struct dm_jsonw *w, uint64_t wall_ns)
{
    time_t s = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    gmtime_r(&s, &tm);
    dm_jsonw_name(w, "time");
    dm_jsonw_printf(w, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                    tm.tm_min, tm.tm_sec, (int)(wall_ns / 1000000 % 1000));
}

static void write_names(struct dm_jsonw *w, const struct dm_exchange *ex)
{
    if (ex->tenant)
        dm_jsonw_member_str(w, "tenant", ex->tenant->name);
    if (ex->product)
        dm_jsonw_member_str(w, "product", dm_unit_str(ex->release->unit, ex->product->name));
    if (ex->version)
        dm_jsonw_member_str(w, "version", dm_unit_str(ex->release->unit, ex->version->name));
    if (ex->application)
        dm_jsonw_member_str(w, "application", dm_unit_str(ex->applications, ex->application->name));
    if (ex->backend)
        dm_jsonw_member_str(w, "backend", dm_unit_str(ex->release->unit, ex->backend->name));
}

static void write_line(struct dm_jsonw *w, const struct dm_exchange *ex, uint64_t wall_ns)
{
    char client[DM_ADDR_TEXT_MAX];
    uint64_t now_ns = dm_loop_now_ns(dm_http_conn_loop(ex->conn));

    dm_jsonw_begin_object(w);
    write_time(w, wall_ns);
    dm_jsonw_member_str(w, "request_id", dm_str_n(ex->request_id, DM_REQUEST_ID_LEN));
    write_names(w, ex);
    dm_jsonw_member_str(w, "client", dm_str_n(client, dm_addr_format(&ex->client, false, client)));
    dm_jsonw_member_str(w, "method", ex->method);
    dm_jsonw_member_str(w, "path", ex->path); /* never the query: it may hold a credential */
    dm_jsonw_member_u64(w, "status", ex->status);
    if (ex->reason != DM_REASON_NONE)
        dm_jsonw_member_cstr(w, "reason", dm_reason_info((enum dm_reason)ex->reason)->code);
    dm_jsonw_member_u64(w, "bytes_in", ex->bytes_in);
    dm_jsonw_member_u64(w, "bytes_out", ex->bytes_out);
    dm_jsonw_member_u64(w, "duration_us", (now_ns - ex->begun_ns) / 1000);
    if (ex->answered_ns)
        dm_jsonw_member_u64(w, "backend_us", (ex->answered_ns - ex->sent_ns) / 1000);
    if (ex->tries > 1)
        dm_jsonw_member_u64(w, "tries", ex->tries);
    dm_jsonw_end_object(w);
}

void dm_access_log_write(struct dm_access_log *log, const struct dm_exchange *ex, uint64_t wall_ns)
{
    struct dm_jsonw w;
    size_t before = log->lines.len;

    if (log->fd < 0)
        return;
    if (before + LINE_MAX_BYTES > LINES_MAX) {
        log->n_dropped++;
        return;
    }
    dm_jsonw_init(&w, &log->lines);
    write_line(&w, ex, wall_ns);
    dm_buf_add_char(&log->lines, '\n');
    if (log->lines.failed) { /* a path longer than all lines together */
        log->lines.failed = false;
        log->lines.len = before;
        log->n_dropped++;
        return;
    }
    log->n_lines++;
    if (log->lines.len >= WRITE_BYTES)
        dm_access_log_flush(log);
    else if (!dm_timer_is_armed(&log->timer))
        dm_timer_arm(log->loop, &log->timer, FLUSH_MS);
}
