/* The log of a process.
 *
 * L1. Everything in `self` is touched under its mutex only. An error is offered to the descriptor at once, what is less
 *     waits for dm_log_flush.
 * L2. The ring holds whole lines, but for the oldest, of which a part may have been written already.
 * L3. No call allocates, and none but dm_log_drain waits for the descriptor.
 * L4. A child after fork has the parent's ring; dm_log_init in the child drops it, the parent writes it. */
#include "base/log.h"

#include "base/jsonw.h"
#include "base/log_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 16384
#define MESSAGE_BYTES 2048
#define NAME_BYTES 64
/* A pipe that polls writable takes this many bytes without waiting (PIPE_BUF, POSIX write()). */
#define PIECE_BYTES 4096

static struct {
    pthread_mutex_t mutex;
    struct dm_log_ring ring;
    struct dm_log_clock clock;
    char line[LINE_BYTES];
    char program[NAME_BYTES], role[NAME_BYTES];
    pid_t pid;
    int fd;
    bool is_text;
    bool is_mid_line; /* the last byte written was not the end of a line */
    uint64_t dropped, dropped_unsaid;
} self = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .is_text = true};

static _Atomic int level_min = DM_LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* What one line is made of. */
struct entry {
    enum dm_log_level level;
    const char *event;
    struct dm_str message;
    const struct dm_log_member *members;
    size_t n_members;
};

static void set_nonblocking(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void dm_log_init(const char *program, const char *role, int fd, bool is_own_fd, enum dm_log_level min_level)
{
    pthread_mutex_lock(&self.mutex);
    if (self.pid != getpid()) {
        self.ring.head = self.ring.len = 0;
        self.dropped = self.dropped_unsaid = 0;
        self.is_mid_line = false;
    }
    self.pid = getpid();
    self.fd = fd;
    self.is_text = false;
    level_min = (int)min_level;
    snprintf(self.program, sizeof(self.program), "%s", program);
    snprintf(self.role, sizeof(self.role), "%s", role);
    if (is_own_fd)
        set_nonblocking(fd);
    pthread_mutex_unlock(&self.mutex);
}

void dm_log_set_text(bool is_text)
{
    pthread_mutex_lock(&self.mutex);
    self.is_text = is_text;
    pthread_mutex_unlock(&self.mutex);
}

void dm_log_set_level(enum dm_log_level min_level)
{
    level_min = (int)min_level;
}

static void format_json(struct dm_buf *buf, const char *time, const struct entry *entry)
{
    struct dm_jsonw w;
    size_t i;

    dm_jsonw_init(&w, buf);
    dm_jsonw_begin_object(&w);
    dm_jsonw_member_cstr(&w, "time", time);
    dm_jsonw_member_cstr(&w, "level", level_names[entry->level]);
    dm_jsonw_member_cstr(&w, "program", self.program);
    dm_jsonw_member_cstr(&w, "role", self.role);
    dm_jsonw_member_u64(&w, "pid", (uint64_t)self.pid);
    dm_jsonw_member_cstr(&w, "event", entry->event);
    dm_jsonw_member_str(&w, "message", entry->message);
    for (i = 0; i < entry->n_members; i++)
        dm_jsonw_member_str(&w, entry->members[i].name, entry->members[i].value);
    dm_jsonw_end_object(&w);
    dm_buf_add_char(buf, '\n');
}

static void format_text(struct dm_buf *buf, const char *time, const struct entry *entry)
{
    size_t i;

    dm_buf_printf(buf, "%s %-5s %s%s", time, level_names[entry->level], self.role, *self.role ? ": " : "");
    dm_log_add_visible(buf, entry->message);
    for (i = 0; i < entry->n_members; i++) {
        dm_buf_printf(buf, " %s=", entry->members[i].name);
        dm_log_add_visible(buf, entry->members[i].value);
    }
    dm_buf_printf(buf, " [%s]\n", entry->event);
}

/* The line lies in self.line; it did not fit when the buffer says failed. */
static struct dm_buf format(const struct entry *entry)
{
    char time[DM_LOG_TIME_MAX];
    struct timespec wall;
    struct dm_buf buf;

    clock_gettime(CLOCK_REALTIME, &wall);
    dm_log_clock_text(&self.clock, &wall, time);
    dm_buf_init_fixed(&buf, self.line, sizeof(self.line));
    if (self.is_text)
        format_text(&buf, time, entry);
    else
        format_json(&buf, time, entry);
    return buf;
}

static bool put(const struct entry *entry)
{
    struct entry bare = *entry;
    struct dm_buf buf = format(entry);

    if (buf.failed) { /* the message alone always fits: at most six bytes a byte */
        bare.n_members = 0;
        buf = format(&bare);
    }
    if (self.is_mid_line && self.ring.len == 0 && dm_log_ring_put(&self.ring, DM_STR("\n")))
        self.is_mid_line = false; /* the rest of that line was discarded */
    return dm_log_ring_put(&self.ring, dm_buf_str(&buf));
}

static bool say_dropped(void)
{
    char message[64];
    int len = snprintf(message, sizeof(message), "%llu lines were lost", (unsigned long long)self.dropped_unsaid);
    struct entry entry = {DM_LOG_WARN, "log_dropped", dm_str_n(message, (size_t)len), NULL, 0};

    return put(&entry);
}

static void put_or_drop(const struct entry *entry)
{
    if (self.dropped_unsaid > 0 && say_dropped())
        self.dropped_unsaid = 0;
    if (self.dropped_unsaid == 0 && put(entry))
        return;
    self.dropped++;
    self.dropped_unsaid++;
}

/* What the descriptor can't ever take is gone; its lines count as dropped. */
static void discard_all(void)
{
    while (self.ring.len > 0) {
        struct dm_str front = dm_log_ring_front(&self.ring);
        size_t line = dm_str_find(front, '\n');

        if (line < front.len) {
            self.dropped++;
            self.dropped_unsaid++;
            line++;
        }
        dm_log_ring_take(&self.ring, line);
    }
}

static bool is_writable(int fd, int wait_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

    return poll(&pollfd, 1, wait_ms) > 0;
}

/* true while there is more to write and the descriptor may take more. */
static bool write_piece(void)
{
    struct dm_str front = dm_log_ring_front(&self.ring);
    ssize_t n;

    if (front.len == 0 || !is_writable(self.fd, 0))
        return false;
    n = write(self.fd, front.ptr, DM_MIN(front.len, PIECE_BYTES));
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        discard_all();
    if (n <= 0)
        return n < 0 && errno == EINTR;
    self.is_mid_line = front.ptr[n - 1] != '\n';
    dm_log_ring_take(&self.ring, (size_t)n);
    return true;
}

static void flush_locked(void)
{
    while (write_piece())
        continue;
}

static void add(const struct entry *entry)
{
    pthread_mutex_lock(&self.mutex);
    if (self.pid == 0)
        self.pid = getpid();
    put_or_drop(entry);
    if (entry->level == DM_LOG_ERROR)
        flush_locked();
    pthread_mutex_unlock(&self.mutex);
}

static void format_and_add(enum dm_log_level level, const char *event, const struct dm_log_member *members,
                           size_t n_members, const char *fmt, va_list args)
{
    char message[MESSAGE_BYTES];
    struct entry entry = {level, event, DM_STR_NULL, members, n_members};

    if ((int)level < level_min)
        return;
    entry.message = dm_str_of(vsnprintf(message, sizeof(message), fmt, args) < 0 ? fmt : message);
    add(&entry);
}

void dm_log(enum dm_log_level level, const char *event, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    format_and_add(level, event, NULL, 0, fmt, args);
    va_end(args);
}

void dm_log_members(enum dm_log_level level, const char *event, const struct dm_log_member *members, size_t n_members,
                    const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    format_and_add(level, event, members, n_members, fmt, args);
    va_end(args);
}

bool dm_log_pending(void)
{
    bool is_pending;

    pthread_mutex_lock(&self.mutex);
    is_pending = self.ring.len > 0;
    pthread_mutex_unlock(&self.mutex);
    return is_pending;
}

void dm_log_flush(void)
{
    pthread_mutex_lock(&self.mutex);
    flush_locked();
    pthread_mutex_unlock(&self.mutex);
}

static int64_t mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void dm_log_drain(unsigned wait_ms)
{
    int64_t end_ms = mono_ms() + wait_ms, left_ms = wait_ms;

    pthread_mutex_lock(&self.mutex);
    for (flush_locked(); self.ring.len > 0 && left_ms > 0; left_ms = end_ms - mono_ms()) {
        (void)is_writable(self.fd, (int)DM_MIN(left_ms, INT32_MAX));
        flush_locked();
    }
    pthread_mutex_unlock(&self.mutex);
}

uint64_t dm_log_dropped(void)
{
    uint64_t dropped;

    pthread_mutex_lock(&self.mutex);
    dropped = self.dropped;
    pthread_mutex_unlock(&self.mutex);
    return dropped;
}
