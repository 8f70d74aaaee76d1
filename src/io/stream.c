#include "io/stream.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "io/stream_int.h"

enum { KEPT_SMALLEST_BYTES = 4 << 10, KEPT_READ_MIN_BYTES = 2 << 10, POOL_KEEP = 256 };

/* What a loop's streams share */

static void flush_at_end_of_turn(struct dm_hook *hook)
{
    dm_stream_flush_shared(DM_CONTAINER_OF(hook, struct dm_stream_shared, hook));
}

static void flush(struct dm_loop *loop)
{
    dm_stream_flush_shared(loop->streams);
}

static void forget(struct dm_loop *loop, struct dm_flow *flow)
{
    struct dm_stream_shared *shared = loop->streams;

    for (unsigned i = 0; i < shared->n_outputs; i++)
        if (shared->outputs[i].flow == flow)
            shared->outputs[i].flow = dm_loop_platform(loop);
}

static void free_shared(struct dm_loop *loop)
{
    struct dm_stream_shared *shared = loop->streams;

    dm_hook_del(loop, &shared->hook);
    dm_freelist_done(&shared->chunks);
    for (size_t i = 0; i < DM_STREAM_KEPT_CLASSES; i++)
        dm_freelist_done(&shared->kept[i]);
    dm_free(shared);
    loop->streams = NULL;
    loop->streams_flush = NULL;
    loop->streams_forget = NULL;
}

static size_t class_bytes(size_t class)
{
    return (size_t)KEPT_SMALLEST_BYTES << (2 * class);
}

struct dm_stream_shared *dm_stream_shared(struct dm_loop *loop)
{
    struct dm_stream_shared *shared = loop->streams;

    if (shared)
        return shared;
    shared = loop->streams = dm_calloc(1, sizeof(*shared));
    shared->loop = loop;
    dm_freelist_init(&shared->chunks, sizeof(struct dm_stream_chunk), POOL_KEEP);
    for (size_t i = 0; i < DM_STREAM_KEPT_CLASSES; i++)
        dm_freelist_init(&shared->kept[i], class_bytes(i), POOL_KEEP >> i);
    shared->hook.run = flush_at_end_of_turn;
    dm_hook_add(loop, &shared->hook);
    loop->streams_free = free_shared;
    loop->streams_flush = flush;
    loop->streams_forget = forget;
    return shared;
}

/* Kept input */

static struct dm_freelist *kept_class(struct dm_stream *stream, size_t cap)
{
    for (size_t i = 0; i < DM_STREAM_KEPT_CLASSES; i++)
        if (cap == class_bytes(i))
            return &stream->loop->streams->kept[i];
    return NULL;
}

char *dm_stream_take_buffer(struct dm_stream *stream, size_t bytes, uint32_t *ret_cap)
{
    struct dm_freelist *list;
    size_t cap = KEPT_SMALLEST_BYTES;

    while (cap < bytes)
        cap *= 4;
    *ret_cap = (uint32_t)cap;
    dm_stream_count_buffer(stream, (int32_t)cap);
    list = kept_class(stream, cap);
    return list ? dm_freelist_take(list) : dm_alloc(cap);
}

void dm_stream_give_buffer(struct dm_stream *stream, char *ptr, uint32_t cap)
{
    struct dm_freelist *list = kept_class(stream, cap);

    dm_stream_count_buffer(stream, -(int32_t)cap);
    if (list)
        dm_freelist_give(list, ptr);
    else
        dm_free(ptr);
}

static void release_kept(struct dm_stream *stream)
{
    if (!stream->kept)
        return;
    dm_stream_give_buffer(stream, stream->kept, stream->kept_cap);
    stream->kept = NULL;
    stream->kept_len = stream->kept_cap = 0;
}

/* A buffer of at least cap bytes that holds these; they may lie in the present one. */
static void keep_in(struct dm_stream *stream, const char *ptr, size_t len, size_t cap)
{
    uint32_t kept_cap;
    char *kept = dm_stream_take_buffer(stream, cap, &kept_cap);

    memcpy(kept, ptr, len);
    release_kept(stream);
    stream->kept = kept;
    stream->kept_len = (uint32_t)len;
    stream->kept_cap = kept_cap;
}

static size_t read_max(const struct dm_stream *stream)
{
    return stream->type->read_max_bytes ? stream->type->read_max_bytes : 64u << 10;
}

/* Where the next bytes go; *ret_len 0 when as much is kept as may be. */
static char *receive_place(struct dm_stream *stream, size_t *ret_len)
{
    size_t max = read_max(stream);

    if (stream->kept_len == 0) {
        *ret_len = DM_MIN(max, (size_t)DM_STREAM_SCRATCH_BYTES);
        return stream->loop->streams->in;
    }
    if (stream->kept_cap - stream->kept_len < KEPT_READ_MIN_BYTES && stream->kept_cap < max)
        keep_in(stream, stream->kept, stream->kept_len, (size_t)stream->kept_cap + 1);
    max = DM_MIN(max, stream->kept_cap);
    *ret_len = max > stream->kept_len ? max - stream->kept_len : 0;
    return stream->kept + stream->kept_len;
}

/* Callbacks */

static void fail(struct dm_stream *stream, int code)
{
    dm_timer_cancel(stream->loop, &stream->timer);
    dm_stream_drop_output(stream);
    if (stream->is_lingering) {
        dm_stream_close(stream);
        return;
    }
    stream->is_failed = true;
    stream->is_connecting = false;
    stream->type->on_error(stream, code);
}

/* Shows bytes to the owner and keeps what it leaves. */
static void show(struct dm_stream *stream, const char *ptr, size_t len)
{
    size_t consumed = stream->is_lingering ? len : stream->type->on_read(stream, ptr, len);

    assert(consumed <= len);
    if (stream->is_closing)
        return;
    if (consumed == len) {
        release_kept(stream);
        return;
    }
    if (ptr != stream->kept) {
        keep_in(stream, ptr + consumed, len - consumed, len - consumed);
        return;
    }
    stream->kept_len = (uint32_t)(len - consumed);
    if (consumed > 0)
        memmove(stream->kept, stream->kept + consumed, stream->kept_len);
}

static void end_of_input(struct dm_stream *stream)
{
    stream->is_readable = false;
    stream->has_eof = true;
    if (stream->error)
        return;
    if (!stream->is_lingering) {
        if (stream->type->on_eof)
            stream->type->on_eof(stream);
        return;
    }
    if (stream->has_shutdown)
        dm_stream_close(stream);
}

/* One read; returns how many bytes came. */
static size_t receive(struct dm_stream *stream)
{
    size_t room;
    char *at = receive_place(stream, &room);
    ssize_t n;

    if (room == 0) {
        fail(stream, DM_EBUDGET);
        return 0;
    }
    n = stream->transport->recv(stream, at, room);
    if (DM_LIKELY(n > 0)) {
        stream->bytes_in += (uint64_t)n;
        /* Behind a short read there is nothing but, perhaps, the end. */
        if ((size_t)n < room && stream->transport->short_read_is_empty && !stream->has_hup && !stream->error)
            stream->is_readable = false;
        if (stream->kept_len > 0)
            show(stream, stream->kept, stream->kept_len += (uint32_t)n);
        else
            show(stream, at, (size_t)n);
        return (size_t)n;
    }
    if (n == DM_EAGAIN)
        return DM_STREAM_TURN_BYTES;
    stream->is_readable = false;
    if (n == 0)
        end_of_input(stream);
    else if (n != -EAGAIN)
        stream->error = stream->error ? stream->error : (int)n;
    return 0;
}

static bool may_show(const struct dm_stream *stream)
{
    return !stream->is_paused && !stream->is_closing && !stream->is_failed;
}

/* A rest that was asked for again comes before what follows it. */
static bool may_read(const struct dm_stream *stream)
{
    return stream->is_readable && !stream->has_eof && !stream->is_resumed && may_show(stream);
}

static void read_some(struct dm_stream *stream)
{
    size_t n_turn = 0;

    if (stream->is_resumed) {
        stream->is_resumed = false;
        if (stream->kept_len > 0)
            show(stream, stream->kept, stream->kept_len);
    }
    while (may_read(stream)) {
        if (n_turn >= DM_STREAM_TURN_BYTES) {
            dm_task_post(stream->loop, &stream->task);
            return;
        }
        n_turn += receive(stream);
    }
}

/* A failure is told when reading has come to what the peer sent before it, or can't. */
static void tell_failure(struct dm_stream *stream)
{
    if (stream->error && !stream->is_closing && !stream->is_failed && !may_read(stream) &&
        !(stream->is_resumed && may_show(stream)))
        fail(stream, stream->error);
}

static void tell_writable(struct dm_stream *stream)
{
    if (stream->is_closing || stream->is_failed || stream->error || !dm_stream_is_due_writable(stream))
        return;
    stream->wants_writable = false;
    if (stream->type->on_writable && !stream->is_lingering)
        stream->type->on_writable(stream);
}

/* Everything a stream may have to do, at the end of each of its events and tasks. */
static void serve(struct dm_stream *stream)
{
    if (stream->wants_writable)
        tell_writable(stream);
    if (may_show(stream) && !stream->is_connecting)
        read_some(stream);
    tell_failure(stream);
}

static void finish_connect(struct dm_stream *stream)
{
    stream->is_connecting = stream->is_handshaking = false;
    if (!stream->is_lingering)
        dm_timer_cancel(stream->loop, &stream->timer);
    if (stream->type->on_connect && !stream->is_lingering)
        stream->type->on_connect(stream);
    if (!stream->is_closing)
        dm_stream_drain(stream);
}

/* The connection first, then what the transport has to agree on with its peer. */
static int go_on_connecting(struct dm_stream *stream, unsigned ready)
{
    int rc;

    if (!stream->is_handshaking) {
        if (!(ready & (DM_READY_OUT | DM_READY_ERR | DM_READY_HUP)))
            return -EAGAIN;
        if ((rc = stream->loop->sys->ops->connect_error(stream->loop->sys, stream->watch.fd)) < 0)
            return rc;
    }
    stream->is_handshaking = true;
    stream->has_hup = stream->has_hup || ready & DM_READY_HUP;
    stream->is_readable = ready & DM_READY_IN || stream->is_readable;
    return stream->transport->handshake ? stream->transport->handshake(stream) : 0;
}

/* False while it is still connecting. */
static bool advance(struct dm_stream *stream, unsigned ready)
{
    int rc = go_on_connecting(stream, ready);

    if (rc == -EAGAIN)
        return false;
    if (rc < 0)
        fail(stream, rc);
    else
        finish_connect(stream);
    return true;
}

/* A socket that nobody reads tells its failure here only. */
static void check_error(struct dm_stream *stream)
{
    int rc;

    if (!stream->is_paused && !stream->has_eof)
        return;
    rc = stream->loop->sys->ops->connect_error(stream->loop->sys, stream->watch.fd);
    if (rc < 0 && !stream->error)
        stream->error = rc;
}

static void heed(struct dm_stream *stream, unsigned ready)
{
    if (stream->is_failed)
        return;
    if (DM_UNLIKELY(stream->is_connecting)) {
        if (!advance(stream, ready))
            return;
    } else if (ready & DM_READY_IN) {
        stream->is_readable = true;
    }
    if (DM_UNLIKELY(ready & (DM_READY_HUP | DM_READY_ERR)))
        stream->has_hup = true;
    if (DM_UNLIKELY(ready & DM_READY_ERR) && !stream->is_closing && !stream->is_failed)
        check_error(stream);
    if ((stream->head || stream->held_bytes > 0) && ready & DM_READY_OUT)
        dm_stream_drain(stream);
    serve(stream);
    /* It was resumed for what had come before, and nobody reads again: the failure is told by no other event. */
    if (DM_UNLIKELY(ready & DM_READY_ERR) && stream->is_paused && !stream->is_closing && !stream->is_failed) {
        check_error(stream);
        tell_failure(stream);
    }
}

static void run_task(struct dm_task *task)
{
    struct dm_stream *stream = DM_CONTAINER_OF(task, struct dm_stream, task);
    unsigned ready = stream->ready;

    stream->ready = 0;
    if (DM_UNLIKELY(stream->is_closing)) {
        release_kept(stream);
        stream->type->on_closed(stream);
    } else if (DM_LIKELY(ready != 0)) {
        heed(stream, ready);
    } else if (!stream->is_handshaking || advance(stream, 0)) {
        serve(stream);
    }
}

/* The work waits for its turn. */
static void on_ready(struct dm_watch *watch, unsigned ready)
{
    struct dm_stream *stream = DM_CONTAINER_OF(watch, struct dm_stream, watch);

    stream->ready |= (uint8_t)ready;
    dm_task_post(stream->loop, &stream->task);
}

static void on_timeout(struct dm_timer *timer)
{
    struct dm_stream *stream = DM_CONTAINER_OF(timer, struct dm_stream, timer);

    if (stream->is_lingering)
        dm_stream_close(stream);
    else
        fail(stream, DM_ETIMEOUT);
}

/* Life */

static int start(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type, int fd)
{
    int rc;

    *stream = (struct dm_stream){
        .loop = loop,
        .type = type,
        .transport = &dm_transport_plain,
        .task.run = run_task,
        .timer.on_due = on_timeout,
        .watch.fd = -1,
    };
    dm_stream_shared(loop);
    if ((rc = dm_watch_add(loop, &stream->watch, fd, on_ready)) < 0)
        loop->sys->ops->close(loop->sys, fd);
    return rc;
}

int dm_stream_open(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type, int fd)
{
    return start(stream, loop, type, fd);
}

int dm_stream_connect(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type,
                      const struct dm_addr *addr, uint32_t timeout_ms)
{
    int fd = loop->sys->ops->connect(loop->sys, addr);

    return fd < 0 ? fd : dm_stream_connect_fd(stream, loop, type, fd, timeout_ms);
}

int dm_stream_connect_fd(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type, int fd,
                         uint32_t timeout_ms)
{
    int rc;

    if ((rc = start(stream, loop, type, fd)) < 0)
        return rc;
    stream->is_connecting = true;
    if (timeout_ms > 0)
        dm_timer_arm(loop, &stream->timer, timeout_ms);
    return 0;
}

void dm_stream_pause(struct dm_stream *stream)
{
    stream->is_paused = true;
    stream->is_resumed = false;
}

void dm_stream_resume(struct dm_stream *stream)
{
    stream->is_paused = false;
    stream->is_resumed = true;
    dm_task_post(stream->loop, &stream->task);
}

size_t dm_stream_unread(const struct dm_stream *stream)
{
    return stream->kept_len;
}

void dm_stream_set_flow(struct dm_stream *stream, struct dm_flow *flow)
{
    dm_task_set_flow(stream->loop, &stream->task, flow);
    dm_timer_set_flow(stream->loop, &stream->timer, flow);
}

void dm_stream_set_account(struct dm_stream *stream, uint64_t *account)
{
    if (stream->account)
        *stream->account -= stream->buffered_bytes;
    stream->account = account;
    if (account)
        *account += stream->buffered_bytes;
}

void dm_stream_set_traffic(struct dm_stream *stream, struct dm_stream_traffic *traffic)
{
    stream->traffic = traffic;
    if (!traffic)
        return;
    traffic->in += stream->bytes_in;
    traffic->out += stream->bytes_out;
}

void dm_stream_set_type(struct dm_stream *stream, const struct dm_stream_type *type)
{
    stream->type = type;
}

static void end(struct dm_stream *stream, bool is_whole)
{
    if (stream->is_closing)
        return;
    dm_stream_drop_output(stream);
    dm_timer_cancel(stream->loop, &stream->timer);
    stream->is_closing = true;
    if (stream->transport->done)
        stream->transport->done(stream, is_whole);
    dm_watch_close(stream->loop, &stream->watch);
    dm_task_post(stream->loop, &stream->task);
}

void dm_stream_close(struct dm_stream *stream)
{
    if (!stream->is_closing && !stream->is_failed && !stream->error)
        dm_stream_flush(stream);
    /* Sending the last bytes may have ended a lingering stream, or found that it has failed. */
    end(stream, !stream->is_failed && !stream->error && dm_stream_unsent(stream) == 0);
}

void dm_stream_abort(struct dm_stream *stream)
{
    end(stream, false);
}

void dm_stream_reset(struct dm_stream *stream)
{
    struct dm_sys *sys = stream->loop->sys;

    if (!stream->is_closing && !stream->transport->done)
        (void)sys->ops->reset_on_close(sys, stream->watch.fd); /* else it is cut as well as it can be */
    dm_stream_abort(stream);
}

void dm_stream_close_gracefully(struct dm_stream *stream, uint32_t linger_ms)
{
    if (stream->is_closing || stream->is_lingering)
        return;
    if (stream->is_failed || stream->error) {
        dm_stream_close(stream);
        return;
    }
    stream->is_lingering = true;
    stream->wants_shutdown = true;
    dm_timer_arm(stream->loop, &stream->timer, linger_ms);
    dm_stream_finish_output(stream);
    if (!stream->is_closing)
        dm_stream_resume(stream);
}

/* The plain socket */

static ssize_t count_in(struct dm_stream *stream, ssize_t n)
{
    if (stream->traffic && n > 0)
        stream->traffic->in += (uint64_t)n;
    return n;
}

static ssize_t count_out(struct dm_stream *stream, ssize_t n)
{
    if (stream->traffic && n > 0)
        stream->traffic->out += (uint64_t)n;
    return n;
}

static ssize_t plain_recv(struct dm_stream *stream, void *ret, size_t len)
{
    struct dm_sys *sys = stream->loop->sys;

    return count_in(stream, sys->ops->recv(sys, stream->watch.fd, ret, len));
}

ssize_t dm_transport_plain_send(struct dm_stream *stream, const void *ptr, size_t len)
{
    struct dm_sys *sys = stream->loop->sys;

    return count_out(stream, sys->ops->send(sys, stream->watch.fd, ptr, len));
}

ssize_t dm_transport_plain_sendv(struct dm_stream *stream, const struct iovec *iov, int n)
{
    struct dm_sys *sys = stream->loop->sys;

    return count_out(stream, sys->ops->sendv(sys, stream->watch.fd, iov, n));
}

int dm_transport_plain_shutdown_write(struct dm_stream *stream)
{
    struct dm_sys *sys = stream->loop->sys;

    return sys->ops->shutdown_write(sys, stream->watch.fd);
}

const struct dm_transport dm_transport_plain = {
    .recv = plain_recv,
    .send = dm_transport_plain_send,
    .sendv = dm_transport_plain_sendv,
    .shutdown_write = dm_transport_plain_shutdown_write,
    .short_read_is_empty = true,
};
