#include "gateway/observe/access_log.h"

#include "base/jsonw.h"
#include "base/mem.h"
#include "gateway/observe/address.h"
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
    if (log->is_cut) { /* the other half went into the former pipe */
        dm_buf_consume(&log->lines, DM_MIN(dm_str_find(dm_buf_str(&log->lines), '\n') + 1, log->lines.len));
        log->is_cut = false;
    }
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void dm_access_log_flush(struct dm_access_log *log)
{
    ssize_t n;

    if (log->fd < 0 || log->lines.len == 0)
        return;
    n = write(log->fd, log->lines.ptr, log->lines.len);
    if (n > 0) {
        log->is_cut = log->lines.ptr[n - 1] != '\n';
        dm_buf_consume(&log->lines, (size_t)n);
    } else if (n < 0 && errno == EPIPE)
        dm_access_log_set_fd(log, -1); /* the keeper is gone; the next one brings another pipe */
    if (log->fd < 0)
        return;
    if (log->lines.len > 0)
        dm_timer_arm(log->loop, &log->timer, FLUSH_MS);
}

static void put_digits(char *ret, unsigned n, unsigned value)
{
    for (; n > 0; n--, value /= 10)
        ret[n - 1] = (char)('0' + value % 10);
}

static void renew_time(struct dm_access_log *log, uint64_t now_s)
{
    static const char pattern[] = "0000-00-00T00:00:00";
    time_t s = (time_t)now_s;
    struct tm tm;

    gmtime_r(&s, &tm);
    memcpy(log->time_text, pattern, sizeof(log->time_text));
    put_digits(log->time_text, 4, (unsigned)tm.tm_year + 1900);
    put_digits(log->time_text + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(log->time_text + 8, 2, (unsigned)tm.tm_mday);
    put_digits(log->time_text + 11, 2, (unsigned)tm.tm_hour);
    put_digits(log->time_text + 14, 2, (unsigned)tm.tm_min);
    put_digits(log->time_text + 17, 2, (unsigned)tm.tm_sec);
    log->time_s = now_s;
}

static void write_time(struct dm_access_log *log, struct dm_jsonw *w, uint64_t wall_ns)
{
    char text[sizeof(log->time_text) + 5];

    if (wall_ns / 1000000000 != log->time_s)
        renew_time(log, wall_ns / 1000000000);
    memcpy(text, log->time_text, sizeof(log->time_text));
    memcpy(text + sizeof(log->time_text), ".000Z", 5);
    put_digits(text + sizeof(log->time_text) + 1, 3, (unsigned)(wall_ns / 1000000 % 1000));
    dm_jsonw_member_str(w, "time", dm_str_n(text, sizeof(text)));
}

static void write_client(struct dm_jsonw *w, const struct dm_addr *client)
{
    char text[DM_ADDRESS_TEXT_MAX];

    if (DM_UNLIKELY(client->ss.ss_family == AF_UNIX))
        dm_jsonw_member_cstr(w, "client", "unix:");
    else
        dm_jsonw_member_str(w, "client", dm_str_n(text, dm_address_text(client, text)));
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

static void write_line(struct dm_access_log *log, struct dm_jsonw *w, const struct dm_exchange *ex, uint64_t wall_ns)
{
    uint64_t now_ns = dm_loop_now_ns(dm_http_request_loop(ex->caller));

    dm_jsonw_begin_object(w);
    write_time(log, w, wall_ns);
    dm_jsonw_member_str(w, "request_id", ex->request_id);
    write_names(w, ex);
    write_client(w, ex->client);
    dm_jsonw_member_str(w, "method", ex->method);
    dm_jsonw_member_str(w, "path", ex->path); /* never the query: it may hold a credential */
    if (DM_UNLIKELY(ex->tunnel != NULL))
        dm_jsonw_member_str(w, "protocol", ex->request.protocol);
    dm_jsonw_member_u64(w, "status", ex->status);
    if (ex->reason != DM_REASON_NONE)
        dm_jsonw_member_cstr(w, "reason", dm_reason_info((enum dm_reason)ex->reason)->code);
    if (ex->fault)
        dm_jsonw_member_cstr(w, "fault", dm_http_fault_name((enum dm_http_fault)ex->fault));
    if (DM_UNLIKELY(ex->tls_failure))
        dm_jsonw_member_cstr(w, "backend_tls_error", dm_tls_failure_name(ex->tls_failure));
    dm_jsonw_member_u64(w, "bytes_in", ex->bytes_in);
    dm_jsonw_member_u64(w, "bytes_out", ex->bytes_out);
    dm_jsonw_member_u64(w, "duration_us", (now_ns - ex->begun_ns) / 1000);
    if (ex->answered_ns)
        dm_jsonw_member_u64(w, "backend_us", (ex->answered_ns - ex->sent_ns) / 1000);
    if (ex->tries > 1)
        dm_jsonw_member_u64(w, "tries", ex->tries);
    dm_jsonw_end_object(w);
}

/* Is there room for a line, and a pipe for it? */
static bool begin_line(struct dm_access_log *log, struct dm_jsonw *w)
{
    if (log->fd < 0)
        return false;
    if (log->lines.len + LINE_MAX_BYTES > LINES_MAX) {
        log->n_dropped++;
        return false;
    }
    dm_jsonw_init(w, &log->lines);
    return true;
}

static void end_line(struct dm_access_log *log, size_t before)
{
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

void dm_access_log_write(struct dm_access_log *log, const struct dm_exchange *ex, uint64_t wall_ns)
{
    size_t before = log->lines.len;
    struct dm_jsonw w;

    if (!begin_line(log, &w))
        return;
    write_line(log, &w, ex, wall_ns);
    end_line(log, before);
}

void dm_access_log_write_fault(struct dm_access_log *log, const struct dm_addr *client, struct dm_str request_id,
                               enum dm_reason reason, int fault, uint64_t wall_ns)
{
    size_t before = log->lines.len;
    struct dm_jsonw w;

    if (!begin_line(log, &w))
        return;
    dm_jsonw_begin_object(&w);
    write_time(log, &w, wall_ns);
    dm_jsonw_member_str(&w, "request_id", request_id);
    write_client(&w, client);
    dm_jsonw_member_u64(&w, "status", (uint64_t)dm_reason_info(reason)->status);
    dm_jsonw_member_cstr(&w, "reason", dm_reason_info(reason)->code);
    if (fault)
        dm_jsonw_member_cstr(&w, "fault", dm_http_fault_name((enum dm_http_fault)fault));
    dm_jsonw_end_object(&w);
    end_line(log, before);
}
