/* The writing side of a stream: gather, send, queue.
 *
 * W1. A stream has at most one output in the shared scratch buffer, in one piece, and then it has no chunks: order is scratch or
 *     chunks, never both. Only the last output grows; a stream that returns behind others has all sent first.
 * W2. A failed write drops all output and is told by the stream's task, after what the peer sent before. */
#include <errno.h>

#include "io/stream_int.h"

enum { IOV_CHUNKS = 16 };

static void drop_chunk(struct dm_stream *stream)
{
    struct dm_stream_chunk *chunk = stream->head;

    if (!(stream->head = chunk->next))
        stream->tail = NULL;
    dm_stream_count_buffer(stream, -(int32_t)sizeof(*chunk));
    dm_freelist_give(&stream->loop->streams->chunks, chunk);
}

static void drop_gathered(struct dm_stream *stream)
{
    struct dm_stream_shared *shared = stream->loop->streams;
    struct dm_stream_output *at = shared->outputs, *end = at + shared->n_outputs;

    if (stream->gathered_bytes == 0)
        return;
    while (at->stream != stream)
        at++;
    memmove(at, at + 1, (size_t)(end - at - 1) * sizeof(*at));
    shared->n_outputs--;
    shared->out_len = shared->n_outputs > 0 ? end[-2].start + end[-2].len : 0;
    stream->gathered_bytes = 0;
}

void dm_stream_drop_output(struct dm_stream *stream)
{
    drop_gathered(stream);
    while (stream->head)
        drop_chunk(stream);
    stream->queued_bytes = 0;
}

/* Reading once more finds what the peer said before it failed. */
static void fail_write(struct dm_stream *stream, int code)
{
    dm_stream_drop_output(stream);
    stream->error = code;
    stream->is_readable = true;
    dm_task_post(stream->loop, &stream->task);
}

static struct dm_stream_chunk *add_chunk(struct dm_stream *stream)
{
    struct dm_stream_chunk *chunk = dm_freelist_take(&stream->loop->streams->chunks);

    dm_stream_count_buffer(stream, (int32_t)sizeof(*chunk));
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    if (stream->tail)
        stream->tail->next = chunk;
    else
        stream->head = chunk;
    return stream->tail = chunk;
}

static void enqueue(struct dm_stream *stream, const char *ptr, size_t len)
{
    stream->queued_bytes += (uint32_t)len;
    while (len > 0) {
        struct dm_stream_chunk *chunk = stream->tail;
        if (!chunk || chunk->end == sizeof(chunk->data))
            chunk = add_chunk(stream);
        size_t n = DM_MIN(len, sizeof(chunk->data) - chunk->end);
        memcpy(chunk->data + chunk->end, ptr, n);
        chunk->end += (uint32_t)n;
        ptr += n;
        len -= n;
    }
}

/* Forgets the first n queued bytes. */
static void dequeue(struct dm_stream *stream, size_t n)
{
    stream->queued_bytes -= (uint32_t)n;
    while (n > 0) {
        struct dm_stream_chunk *chunk = stream->head;
        size_t part = DM_MIN(n, chunk->end - chunk->start);
        chunk->start += (uint32_t)part;
        n -= part;
        if (chunk->start == chunk->end)
            drop_chunk(stream);
    }
}

void dm_stream_finish_output(struct dm_stream *stream)
{
    int rc;

    if (!stream->wants_shutdown || stream->has_shutdown || stream->is_connecting || stream->is_closing ||
        dm_stream_unsent(stream) > 0)
        return;
    if ((rc = stream->transport->shutdown_write(stream)) == -EAGAIN)
        return;
    stream->has_shutdown = true;
    if (rc < 0)
        fail_write(stream, rc);
    else if (stream->is_lingering && stream->has_eof)
        dm_stream_close(stream);
}

static void after_sent(struct dm_stream *stream)
{
    if (dm_stream_is_due_writable(stream))
        dm_task_post(stream->loop, &stream->task);
    dm_stream_finish_output(stream);
}

static int queue_iov(const struct dm_stream *stream, struct iovec *iov)
{
    int n = 0;

    for (struct dm_stream_chunk *chunk = stream->head; chunk && n < IOV_CHUNKS; chunk = chunk->next)
        iov[n++] = (struct iovec){chunk->data + chunk->start, chunk->end - chunk->start};
    return n;
}

void dm_stream_drain(struct dm_stream *stream)
{
    struct iovec iov[IOV_CHUNKS];
    int rc = stream->held_bytes > 0 ? stream->transport->flush(stream) : 0;

    if (rc < 0 && rc != -EAGAIN) {
        fail_write(stream, rc);
        return;
    }
    while (rc == 0 && stream->head) {
        ssize_t n = stream->transport->sendv(stream, iov, queue_iov(stream, iov));
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            fail_write(stream, (int)n);
            return;
        }
        stream->bytes_out += (uint64_t)n;
        dequeue(stream, (size_t)n);
    }
    after_sent(stream);
}

static void send_output(struct dm_stream *stream, const char *ptr, size_t len)
{
    ssize_t n = stream->transport->send(stream, ptr, len);

    stream->gathered_bytes = 0;
    if (n < 0 && n != -EAGAIN) {
        fail_write(stream, (int)n);
        return;
    }
    n = DM_MAX(n, 0);
    stream->bytes_out += (uint64_t)n;
    if (DM_LIKELY((size_t)n == len)) {
        after_sent(stream);
        return;
    }
    enqueue(stream, ptr + n, len - (size_t)n);
    dm_stream_drain(stream);
}

void dm_stream_flush_shared(struct dm_stream_shared *shared)
{
    struct dm_flow *before = dm_loop_current(shared->loop);

    for (unsigned i = 0; i < shared->n_outputs; i++) {
        const struct dm_stream_output *output = &shared->outputs[i];
        dm_loop_enter(shared->loop, output->flow);
        send_output(output->stream, shared->out + output->start, output->len);
    }
    dm_loop_enter(shared->loop, before);
    shared->n_outputs = 0;
    shared->out_len = 0;
}

void dm_stream_flush(struct dm_stream *stream)
{
    if (stream->gathered_bytes > 0)
        dm_stream_flush_shared(stream->loop->streams);
}

static bool is_last_output(const struct dm_stream *stream)
{
    const struct dm_stream_shared *shared = stream->loop->streams;

    return shared->n_outputs > 0 && shared->outputs[shared->n_outputs - 1].stream == stream;
}

/* The output that the stream's next len bytes go to; NULL when sending what there was found that nothing more can be sent. */
static struct dm_stream_output *output_for(struct dm_stream *stream, size_t len)
{
    struct dm_stream_shared *shared = stream->loop->streams;
    struct dm_stream_output *last;
    bool has_room = shared->out_len + len <= sizeof(shared->out);

    if (DM_LIKELY(has_room) && is_last_output(stream))
        return &shared->outputs[shared->n_outputs - 1];
    if (!has_room || stream->gathered_bytes > 0 || shared->n_outputs == DM_STREAM_OUTPUTS_MAX)
        dm_stream_flush_shared(shared);
    if (stream->head || stream->error)
        return NULL;
    last = &shared->outputs[shared->n_outputs++];
    *last = (struct dm_stream_output){stream, dm_loop_current(stream->loop), (uint32_t)shared->out_len, 0};
    return last;
}

/* Copies into the scratch buffer, or behind what waits. */
static void gather(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_stream_shared *shared = stream->loop->streams;
    struct dm_stream_output *output = output_for(stream, len);

    if (DM_UNLIKELY(!output)) {
        if (stream->head)
            enqueue(stream, ptr, len);
        return;
    }
    /* Between turns, where a test or a start-up writes, no end of a turn comes: the next poll must not wait. */
    if (DM_UNLIKELY(!stream->loop->is_turning))
        dm_task_post(stream->loop, &stream->task);
    memcpy(shared->out + shared->out_len, ptr, len);
    shared->out_len += len;
    output->len += (uint32_t)len;
    stream->gathered_bytes += (uint32_t)len;
}

/* Sends what has gathered of the stream, which is the last output, and the slice behind it; returns how much of the slice was
 * sent, 0 also after a failure. */
static size_t send_direct(struct dm_stream *stream, const char *ptr, size_t len)
{
    struct dm_stream_shared *shared = stream->loop->streams;
    size_t before = stream->gathered_bytes, sent;
    char *start = shared->out + shared->out_len - before;
    struct iovec iov[2] = {{start, before}, {(char *)ptr, len}};
    ssize_t n = before > 0 ? stream->transport->sendv(stream, iov, 2) : stream->transport->send(stream, ptr, len);

    if (n < 0 && n != -EAGAIN) {
        fail_write(stream, (int)n);
        return 0;
    }
    sent = (size_t)DM_MAX(n, 0);
    stream->bytes_out += sent;
    drop_gathered(stream);
    if (sent >= before)
        return sent - before;
    enqueue(stream, start + sent, before - sent);
    return 0;
}

/* Accepts everything up to may_queue bytes more than the system takes now, what the transport holds of it included; returns how
 * much. */
static size_t accept_bytes(struct dm_stream *stream, const char *ptr, size_t len, size_t may_queue)
{
    size_t sent = 0, n;

    if (len > DM_STREAM_DIRECT_BYTES && !is_last_output(stream))
        dm_stream_flush(stream);
    if (stream->error)
        return 0;
    if (stream->head || stream->is_connecting) {
        n = DM_MIN(len, may_queue);
        enqueue(stream, ptr, n);
        return n;
    }
    if (len <= DM_STREAM_DIRECT_BYTES) {
        if ((n = DM_MIN(len, may_queue)) > 0)
            gather(stream, ptr, n);
        return n;
    }
    sent = send_direct(stream, ptr, len);
    if (stream->error)
        return 0;
    n = DM_MIN(len - sent, may_queue - DM_MIN(may_queue, stream->held_bytes));
    enqueue(stream, ptr + sent, n);
    return sent + n;
}

ssize_t dm_stream_write(struct dm_stream *stream, const void *ptr, size_t len)
{
    size_t n;

    if (!dm_stream_can_write(stream))
        return DM_ECLOSED;
    n = len > 0 ? accept_bytes(stream, ptr, len, dm_stream_room(stream)) : 0;
    if (stream->error)
        return DM_ECLOSED;
    if (n < len)
        stream->wants_writable = true;
    return n > 0 || len == 0 ? (ssize_t)n : DM_EAGAIN;
}

int dm_stream_put(struct dm_stream *stream, const void *ptr, size_t len)
{
    if (!dm_stream_can_write(stream))
        return DM_ECLOSED;
    if (len == 0)
        return 0;
    if (dm_stream_room(stream) == 0) {
        stream->wants_writable = true;
        return DM_EAGAIN;
    }
    accept_bytes(stream, ptr, len, SIZE_MAX);
    return stream->error ? DM_ECLOSED : 0;
}

bool dm_stream_take_back(struct dm_stream *stream, uint64_t position)
{
    if (!dm_stream_can_write(stream) || stream->held_bytes > 0 || stream->bytes_out != position)
        return false;
    dm_stream_drop_output(stream);
    stream->wants_writable = false;
    return true;
}

void dm_stream_shutdown(struct dm_stream *stream)
{
    if (!dm_stream_can_write(stream))
        return;
    stream->wants_shutdown = true;
    stream->wants_writable = false;
    dm_stream_finish_output(stream);
}
