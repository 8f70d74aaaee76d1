#include "gateway/link/spool.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"

#define NUMBER_FILE "next"
#define BLOCK 1048576

enum {
    PATH_BYTES = 640,
    FLUSH_MS = 1000,
    FLUSH_DOWN_MS = 30000,
    RETRY_MS = 5000,
    FILE_BYTES_MAX = 16 << 20,
    SPOOL_BYTES_MAX = 64 << 20,
    SPOOL_FILES_MAX = 10000,
    SUMS_MAX = 1 << 20,
};

/* One (tenant, application, product, metric). */
struct sum {
    uint64_t application, delta;
    struct dm_str tenant, product, metric; /* behind it, in key */
    struct dm_str key;
    char bytes[];
};

/* --- numbers (U1) ------------------------------------------------------------------------------------------------ */

static void file_path(const struct dm_spool *spool, const struct dm_spool_file *file, char ret[PATH_BYTES])
{
    snprintf(ret, PATH_BYTES, "%s/%016llx-%016llx", spool->dir, (unsigned long long)file->first,
             (unsigned long long)file->last);
}

static int load_number(struct dm_spool *spool, struct dm_err *err)
{
    char path[PATH_BYTES];
    struct dm_buf text;
    int rc;

    snprintf(path, sizeof(path), "%s/" NUMBER_FILE, spool->dir);
    rc = dm_sys_read_file(spool->sys, path, 32, &text, err);
    if (rc == DM_ENOENT) {
        /* In microseconds, the clock is beyond every number that a disk that is lost can have given. */
        spool->reserved = spool->sys->ops->wall_ns(spool->sys) / 1000;
        return 0;
    }
    if (rc < 0)
        return rc;
    rc = dm_str_to_u64(dm_buf_str(&text), &spool->reserved);
    dm_buf_done(&text);
    return rc < 0 ? dm_fail(err, DM_ECORRUPT, "", "%s does not hold a number", path) : 0;
}

/* Numbers that were reserved by an earlier life may be in use. */
static int reserve(struct dm_spool *spool, struct dm_err *err)
{
    char path[PATH_BYTES], text[32];
    uint64_t reserved = DM_MAX(spool->next_batch, spool->reserved) + BLOCK;
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)reserved), rc;

    snprintf(path, sizeof(path), "%s/" NUMBER_FILE, spool->dir);
    if ((rc = dm_sys_write_file(spool->sys, path, dm_str_n(text, (size_t)n), 0600, true, err)) < 0)
        return rc;
    spool->reserved = reserved;
    return 0;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static bool read_hex(struct dm_str text, uint64_t *ret)
{
    uint64_t value = 0;

    if (text.len != 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *digits = "0123456789abcdef", *at = memchr(digits, text.ptr[i], 16);
        if (!at)
            return false;
        value = value << 4 | (uint64_t)(at - digits);
    }
    *ret = value;
    return true;
}

static int on_name(void *arg, const char *name)
{
    struct dm_spool *spool = arg;
    struct dm_str rest = dm_str_of(name), first;
    struct dm_spool_file file = {0};

    if (!dm_str_cut(&rest, '-', &first) || !read_hex(first, &file.first) || !read_hex(rest, &file.last) ||
        file.last < file.first)
        return 0;
    *dm_vec_push(&spool->files) = file;
    spool->next_batch = DM_MAX(spool->next_batch, file.last + 1);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct dm_spool_file *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static void stop_sending(struct dm_spool *spool);

static void forget_first(struct dm_spool *spool)
{
    char path[PATH_BYTES];

    stop_sending(spool);
    file_path(spool, &spool->files.items[0], path);
    spool->sys->ops->unlink(spool->sys, path);
    spool->spooled_bytes -= spool->files.items[0].bytes;
    memmove(spool->files.items, spool->files.items + 1, --spool->files.count * sizeof(spool->files.items[0]));
}

static void keep_bounded(struct dm_spool *spool)
{
    while (spool->files.count > 1 &&
           (spool->files.count > spool->max_files || spool->spooled_bytes > spool->max_bytes)) {
        if (spool->n_dropped++ == 0)
            dm_log(DM_LOG_ERROR, "usage_dropped", "the usage spool is full; the oldest counts are dropped");
        forget_first(spool);
    }
}

/* --- sending (U2) ------------------------------------------------------------------------------------------------ */

static void stop_sending(struct dm_spool *spool)
{
    dm_timer_cancel(spool->loop, &spool->retry);
    dm_buf_done(&spool->frames);
    spool->sent_at = 0;
    spool->sent_batch = 0;
}

/* Sends the batch that stands at sent_at; false when there is none. */
static bool send_batch(struct dm_spool *spool)
{
    struct dm_str bytes = dm_str_skip(dm_buf_str(&spool->frames), spool->sent_at);
    struct dm_link_message message;
    struct dm_arena arena;
    bool is_sent = false;

    dm_arena_init(&arena, NULL, DM_LINK_ARENA_BYTES);
    if (dm_link_decode(bytes, &arena, &message, NULL) > 0 && message.type == DM_LINK_USAGE) {
        is_sent = true;
        spool->sent_batch = message.usage.batch;
        dm_timer_arm(spool->loop, &spool->retry, spool->retry_ms);
        spool->send(spool->arg, &message);
    }
    dm_arena_done(&arena);
    return is_sent;
}

static bool load_first(struct dm_spool *spool)
{
    char path[PATH_BYTES];
    struct dm_err err = {0};

    file_path(spool, &spool->files.items[0], path);
    spool->sent_at = 0;
    if (dm_sys_read_file(spool->sys, path, FILE_BYTES_MAX, &spool->frames, &err) < 0)
        spool->frames = (struct dm_buf){0};
    else if (send_batch(spool))
        return true;
    if (spool->is_up)
        dm_log(DM_LOG_ERROR, "usage_damaged", "the spooled counts in %s can't be read and are dropped", path);
    return false;
}

/* Begins with the oldest file, when nothing is in flight. */
static void send_first(struct dm_spool *spool)
{
    while (spool->is_up && spool->files.count > 0 && spool->sent_batch == 0)
        if (!load_first(spool) && spool->is_up) {
            spool->n_dropped++;
            forget_first(spool);
        }
}

void dm_spool_up(struct dm_spool *spool)
{
    spool->is_up = true;
    if (dm_timer_is_armed(&spool->timer))
        dm_timer_arm(spool->loop, &spool->timer, spool->flush_ms);
    send_first(spool);
}

void dm_spool_down(struct dm_spool *spool)
{
    spool->is_up = false;
    stop_sending(spool);
}

void dm_spool_used(struct dm_spool *spool, uint64_t batch)
{
    struct dm_str rest = dm_str_skip(dm_buf_str(&spool->frames), spool->sent_at);
    ssize_t n;

    if (spool->sent_batch == 0 || batch != spool->sent_batch)
        return;
    n = dm_link_frame_bytes(rest);
    spool->sent_at += n > 0 ? (size_t)n : rest.len;
    if (spool->sent_at < spool->frames.len && send_batch(spool))
        return;
    forget_first(spool);
    send_first(spool);
}

/* A controller that could not take a batch does not answer. */
static void on_retry(struct dm_timer *timer)
{
    struct dm_spool *spool = DM_CONTAINER_OF(timer, struct dm_spool, retry);

    if (spool->is_up && spool->sent_batch != 0)
        send_batch(spool);
}

/* --- summing ----------------------------------------------------------------------------------------------------- */

static struct sum *new_sum(const struct dm_spool_count *count, struct dm_str key)
{
    struct sum *sum = dm_alloc(sizeof(*sum) + key.len);
    const char *at = sum->bytes + sizeof(uint64_t);

    memcpy(sum->bytes, key.ptr, key.len);
    sum->key = dm_str_n(sum->bytes, key.len);
    sum->application = count->application;
    sum->delta = 0;
    sum->tenant = dm_str_n(at, count->tenant.len);
    sum->product = dm_str_n(at + count->tenant.len + 1, count->product.len);
    sum->metric = dm_str_n(at + count->tenant.len + count->product.len + 2, count->metric.len);
    return sum;
}

void dm_spool_add(struct dm_spool *spool, const struct dm_spool_count *count)
{
    char memory[512];
    struct dm_buf key;
    struct sum *sum;

    dm_buf_init_fixed(&key, memory, sizeof(memory));
    dm_buf_add_n(&key, &count->application, sizeof(count->application));
    dm_buf_add(&key, count->tenant);
    dm_buf_add_char(&key, '\0');
    dm_buf_add(&key, count->product);
    dm_buf_add_char(&key, '\0');
    dm_buf_add(&key, count->metric);
    if (key.failed || count->delta == 0)
        return;
    sum = dm_map_get(&spool->sums, dm_buf_str(&key));
    if (!sum) {
        sum = new_sum(count, dm_buf_str(&key));
        dm_map_put(&spool->sums, sum->key, sum);
    }
    sum->delta += count->delta;
    if (spool->began_s == 0)
        spool->began_s = spool->sys->ops->wall_ns(spool->sys) / 1000000000;
    if (!dm_timer_is_armed(&spool->timer))
        dm_timer_arm(spool->loop, &spool->timer, spool->is_up ? spool->flush_ms : spool->flush_down_ms);
    if (spool->sums.count >= SUMS_MAX)
        dm_spool_flush(spool);
}

/* --- flushing ---------------------------------------------------------------------------------------------------- */

static int by_tenant(const void *a, const void *b)
{
    return dm_str_cmp((*(struct sum *const *)a)->tenant, (*(struct sum *const *)b)->tenant);
}

/* All sums, sorted by tenant; the caller frees the array and each sum. */
static struct sum **take_sums(struct dm_spool *spool, size_t *ret_n)
{
    struct sum **sums = dm_calloc(spool->sums.count, sizeof(struct sum *));
    size_t at = 0, n = 0;

    for (struct dm_map_slot *slot; (slot = dm_map_next(&spool->sums, &at));)
        sums[n++] = slot->value;
    dm_map_done(&spool->sums);
    dm_map_init_random(&spool->sums);
    qsort(sums, n, sizeof(sums[0]), by_tenant);
    *ret_n = n;
    return sums;
}

/* Encodes one batch: sums of one tenant. Returns how many of the n it holds. */
static size_t encode_batch(struct dm_spool *spool, struct sum *const *sums, size_t n, uint64_t now_s,
                           struct dm_buf *ret)
{
    struct dm_link_usage_item *items = dm_calloc(DM_MIN(n, DM_LINK_USAGE_MAX), sizeof(*items));
    struct dm_link_message message = {.type = DM_LINK_USAGE};
    size_t i;

    for (i = 0; i < n && i < DM_LINK_USAGE_MAX && dm_str_eq(sums[i]->tenant, sums[0]->tenant); i++)
        items[i] = (struct dm_link_usage_item){sums[i]->application, sums[i]->product, sums[i]->metric, sums[i]->delta};
    message.usage = (struct dm_link_usage){.batch = spool->next_batch++,
                                           .from_s = spool->began_s,
                                           .to_s = now_s,
                                           .tenant = sums[0]->tenant,
                                           .items = items,
                                           .n_items = i};
    spool->n_batches++;
    dm_link_encode(&message, ret);
    dm_free(items);
    return i;
}

static int write_file(struct dm_spool *spool, struct dm_spool_file file, struct dm_str bytes, struct dm_err *err)
{
    char path[PATH_BYTES];
    int rc;

    file.bytes = bytes.len;
    file_path(spool, &file, path);
    if ((rc = dm_sys_write_file(spool->sys, path, bytes, 0600, false, err)) < 0)
        return rc;
    *dm_vec_push(&spool->files) = file;
    spool->spooled_bytes += file.bytes;
    return 0;
}

/* Sums from `at` on that fit one file, under numbers of one reserved block; returns where the next one begins. */
static size_t spool_some(struct dm_spool *spool, struct sum *const *sums, size_t at, size_t n, uint64_t now_s)
{
    struct dm_spool_file file = {0};
    struct dm_err err = {0};
    struct dm_buf bytes;
    int rc = 0;

    if (spool->next_batch >= spool->reserved)
        rc = reserve(spool, &err);
    file.first = spool->next_batch;
    dm_buf_init(&bytes, FILE_BYTES_MAX);
    while (at < n && (rc < 0 || spool->next_batch < spool->reserved) && bytes.len < FILE_BYTES_MAX / 2)
        at += encode_batch(spool, sums + at, n - at, now_s, &bytes);
    file.last = spool->next_batch - 1;
    if (rc == 0 && bytes.failed)
        rc = dm_fail(&err, DM_EBUDGET, "", "a batch of counts is too large");
    if (rc == 0)
        rc = write_file(spool, file, dm_buf_str(&bytes), &err);
    if (rc < 0)
        dm_log(DM_LOG_ERROR, "usage_lost", "counts can't be spooled and are lost: %s", err.message);
    spool->n_dropped += rc < 0;
    dm_buf_done(&bytes);
    return at;
}

void dm_spool_flush(struct dm_spool *spool)
{
    uint64_t now_s = spool->sys->ops->wall_ns(spool->sys) / 1000000000;
    struct sum **sums;
    size_t n, at = 0;

    dm_timer_cancel(spool->loop, &spool->timer);
    if (spool->sums.count == 0)
        return;
    sums = take_sums(spool, &n);
    while (at < n)
        at = spool_some(spool, sums, at, n, now_s);
    for (size_t i = 0; i < n; i++)
        dm_free(sums[i]);
    dm_free(sums);
    spool->began_s = 0;
    keep_bounded(spool);
    send_first(spool);
}

/* While a file is on its way, what comes is summed on: the slower the controller, the fewer the batches. */
static void on_due(struct dm_timer *timer)
{
    struct dm_spool *spool = DM_CONTAINER_OF(timer, struct dm_spool, timer);
    uint64_t age_s = spool->sys->ops->wall_ns(spool->sys) / 1000000000 - spool->began_s;

    if (spool->files.count > 0 && age_s * 1000 < spool->flush_down_ms)
        dm_timer_arm(spool->loop, &spool->timer, spool->flush_ms);
    else
        dm_spool_flush(spool);
}

/* What an earlier life left counts for the bound. */
static void weigh_files(struct dm_spool *spool)
{
    for (size_t i = 0; i < spool->files.count; i++) {
        DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
        char path[PATH_BYTES];

        file_path(spool, &spool->files.items[i], path);
        if (dm_sys_read_file(spool->sys, path, FILE_BYTES_MAX, &text, NULL) == 0)
            spool->files.items[i].bytes = text.len;
        spool->spooled_bytes += spool->files.items[i].bytes;
    }
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int dm_spool_open(struct dm_spool *spool, struct dm_loop *loop, const char *dir,
                  void (*send)(void *arg, const struct dm_link_message *message), void *arg, struct dm_err *err)
{
    int rc;

    *spool = (struct dm_spool){.sys = dm_loop_sys(loop),
                               .loop = loop,
                               .dir = dir,
                               .send = send,
                               .arg = arg,
                               .timer.on_due = on_due,
                               .retry.on_due = on_retry,
                               .retry_ms = RETRY_MS,
                               .next_batch = 1,
                               .flush_ms = FLUSH_MS,
                               .flush_down_ms = FLUSH_DOWN_MS,
                               .max_bytes = SPOOL_BYTES_MAX,
                               .max_files = SPOOL_FILES_MAX};
    dm_map_init_random(&spool->sums);
    if ((rc = dm_sys_make_dirs(spool->sys, dir, 0700, err)) < 0 || (rc = load_number(spool, err)) < 0 ||
        (rc = spool->sys->ops->list(spool->sys, dir, on_name, spool)) < 0) {
        dm_map_done(&spool->sums);
        dm_vec_done(&spool->files);
        spool->sys = NULL;
        return rc > -1000 ? dm_fail(err, DM_EIO, "", "can't read %s: %s", dir, strerror(-rc)) : rc;
    }
    spool->next_batch = DM_MAX(spool->next_batch, spool->reserved);
    spool->reserved = spool->next_batch;
    if (spool->files.count > 1)
        qsort(spool->files.items, spool->files.count, sizeof(spool->files.items[0]), by_number);
    weigh_files(spool);
    return 0;
}

void dm_spool_close(struct dm_spool *spool)
{
    dm_spool_down(spool);
    dm_spool_flush(spool);
    dm_timer_cancel(spool->loop, &spool->timer);
    dm_map_done(&spool->sums);
    dm_vec_done(&spool->files);
}
