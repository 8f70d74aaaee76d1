/* A byte stream on a connected socket, embedded in its owner (a connection). An idle stream owns no buffer.
 *
 * Reading. Bytes are received into one scratch buffer per loop and shown to on_read, which says how many it consumed. The
 * rest is kept by the stream and shown again, contiguous with the bytes that follow, until the type's read_max_bytes is
 * kept, which is DM_EBUDGET to on_error. A rest is shown again only when more bytes have come, or after dm_stream_resume.
 * At most 64 KiB are read at a time; the remainder waits for its turn.
 *
 * Writing. Bytes gather in one scratch buffer per loop and leave with one send for each stream, when 32 streams have some there
 * or the buffer is full, at the latest at the end of the turn, or at dm_stream_flush: sends that follow one another find the
 * system's code in the cache, and whoever reads at the other ends is woken once. A slice above 16 KiB goes at once, without a
 * copy, behind what has gathered of its stream. What the kernel does not take waits in pooled chunks up to the type's
 * write_max_bytes (TLS adds 22 bytes a record); then writes are refused with DM_EAGAIN, and on_writable says when half of it
 * has gone.
 *
 *   connecting --[connected, handshake through: on_connect]--> open --[dm_stream_close, any time]--> closing --[on_closed]--> gone
 *   connecting, open --[on_error]--> failed --[dm_stream_close]--> closing
 *   In open the two directions end on their own: on_eof (peer sends no more), dm_stream_shutdown (we send no more).
 *
 * S1. Callbacks come from the loop only, never from inside a dm_stream_ call.
 * S2. After dm_stream_close the one callback still to come is on_closed, in a later task; the memory belongs to the owner
 *     again from there on, and only from there on. dm_stream_close is fine in every callback and state. All of it holds for
 *     dm_stream_abort and dm_stream_reset too.
 * S3. After on_error nothing comes until the owner closes; what the peer sent before the failure was shown before, unless
 *     reading was paused. on_eof comes once, after all bytes; never while paused.
 * S4. ptr in on_read is valid during the call only.
 *
 * Threads: the loop's. TLS (io/tls.h) comes in behind struct dm_transport (io/transport.h). */
#ifndef DM_IO_STREAM_H
#define DM_IO_STREAM_H

#include "io/loop.h"

struct dm_stream;
struct dm_transport;
struct dm_stream_chunk;

/* What an owner's streams have in common; borrowed, must outlive them. Callbacks may be NULL except on_read, on_error and
 * on_closed. Codes are DM_ errors or the system's -errno (-ECONNREFUSED, -ECONNRESET, …). */
struct dm_stream_type {
    /* Returns how many of the len > 0 bytes were consumed. */
    size_t (*on_read)(struct dm_stream *stream, const char *ptr, size_t len);
    void (*on_eof)(struct dm_stream *stream);
    void (*on_writable)(struct dm_stream *stream);
    void (*on_connect)(struct dm_stream *stream);
    /* DM_ETIMEOUT: connect took too long. DM_EBUDGET: read_max_bytes kept and nothing consumed. DM_ETLS: see io/tls.h. */
    void (*on_error)(struct dm_stream *stream, int code);
    void (*on_closed)(struct dm_stream *stream);
    uint32_t read_max_bytes;  /* 4 KiB … 1 MiB; 0: 64 KiB */
    uint32_t write_max_bytes; /* 0: 256 KiB */
};

static inline size_t dm_stream_write_max(const struct dm_stream_type *type)
{
    return type->write_max_bytes ? type->write_max_bytes : 256u << 10;
}

/* Bytes that sockets gave and took, with all that TLS adds. */
struct dm_stream_traffic {
    uint64_t in, out;
};

/* Members are the stream's own; owners read bytes_in and bytes_out and leave the others alone. */
struct dm_stream {
    uint64_t bytes_in, bytes_out; /* received from and taken by the system; on TLS what they carry */
    struct dm_loop *loop;
    const struct dm_stream_type *type;
    const struct dm_transport *transport;
    void *transport_state;
    struct dm_watch watch;
    struct dm_task task;
    struct dm_timer timer; /* connecting, or closing gracefully */
    char *kept;            /* received, not consumed */
    uint32_t kept_len, kept_cap;
    struct dm_stream_chunk *head, *tail; /* written, not sent */
    uint32_t queued_bytes;               /* in chunks */
    uint32_t gathered_bytes;             /* in the scratch buffer */
    uint32_t held_bytes;                 /* accepted by the transport, not taken by the system */
    uint32_t buffered_bytes;             /* memory of chunks, kept input and what the owner counts here */
    uint64_t *account;                   /* where they are counted as well */
    struct dm_stream_traffic *traffic;   /* what its socket gives and takes; NULL: nobody counts it */
    int error;
    uint8_t ready; /* DM_READY_ bits that the task has not seen */
    bool is_connecting : 1, is_handshaking : 1, is_paused : 1, is_closing : 1, is_lingering : 1, is_failed : 1;
    bool is_readable : 1, has_hup : 1, has_eof : 1, is_resumed : 1;
    bool wants_writable : 1, wants_shutdown : 1, has_shutdown : 1;
};

/* Takes over a connected descriptor (also on failure, when it is closed). 0 or -errno; on failure no callback comes. */
DM_MUST_USE int dm_stream_open(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type,
                               int fd);
/* Starts to connect; writing is possible at once and waits for the connection. 0: on_connect or on_error will come.
 * -errno: could not start, no callback comes. timeout_ms 0: none but the system's. */
DM_MUST_USE int dm_stream_connect(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type,
                                  const struct dm_addr *addr, uint32_t timeout_ms);
/* The same on a descriptor that connects already, or is connected; it is taken over, also on failure. */
DM_MUST_USE int dm_stream_connect_fd(struct dm_stream *stream, struct dm_loop *loop, const struct dm_stream_type *type,
                                     int fd, uint32_t timeout_ms);

/* Takes as much as fits below write_max_bytes and returns how much; DM_EAGAIN when that is nothing (len > 0). A short return
 * and DM_EAGAIN promise one on_writable. DM_ECLOSED after a failure, a shutdown or a close. ptr is free again on return. */
DM_MUST_USE ssize_t dm_stream_write(struct dm_stream *stream, const void *ptr, size_t len);
/* All or nothing: refused with DM_EAGAIN only when write_max_bytes are waiting already, so a queue may exceed it by one
 * piece. For heads and frames. 0, DM_EAGAIN (promises one on_writable) or DM_ECLOSED. */
DM_MUST_USE int dm_stream_put(struct dm_stream *stream, const void *ptr, size_t len);
/* Sends what has gathered now instead of at the end of the turn. */
void dm_stream_flush(struct dm_stream *stream);
/* Forgets what was written and has not left, which is all behind the first `position` bytes, as if it never had been, and owes no
 * on_writable for it. False when another part of the output has left, when TLS holds some, or nothing can be written any more: nothing
 * is forgotten then. */
bool dm_stream_take_back(struct dm_stream *stream, uint64_t position);
/* Bytes that were accepted and not yet taken by the system. */
static inline size_t dm_stream_unsent(const struct dm_stream *stream)
{
    return stream->is_closing ? 0 : (size_t)stream->queued_bytes + stream->gathered_bytes + stream->held_bytes;
}

/* Is there no reason to refuse all bytes from now on? */
static inline bool dm_stream_can_write(const struct dm_stream *stream)
{
    return !stream->is_closing && !stream->is_failed && !stream->is_lingering && !stream->wants_shutdown &&
           stream->error == 0;
}

/* Bytes that dm_stream_write would take now. */
static inline size_t dm_stream_room(const struct dm_stream *stream)
{
    size_t unsent = dm_stream_unsent(stream), max = dm_stream_write_max(stream->type);

    return dm_stream_can_write(stream) && unsent < max ? max - unsent : 0;
}

/* No on_read and no on_eof until resumed; may be called inside on_read, whose unconsumed rest is kept. */
void dm_stream_pause(struct dm_stream *stream);
/* Shows what is kept again and goes on reading, from a task. Also on a stream that is not paused: shows the rest again. */
void dm_stream_resume(struct dm_stream *stream);
/* Bytes received and not consumed. */
size_t dm_stream_unread(const struct dm_stream *stream);

/* Ends our direction once everything written is sent; reading goes on. */
void dm_stream_shutdown(struct dm_stream *stream);
/* Ends both: what has gathered is sent if the system takes it at once, the rest is dropped, which the peer can tell on TLS. */
void dm_stream_close(struct dm_stream *stream);
/* The same, but nothing more is sent, also of what has gathered, nor that this was the end (TLS). For what is cut short. */
void dm_stream_abort(struct dm_stream *stream);
/* The same, and a peer that had no other sign of it gets a reset, which may cost it what it has not read: for what would look whole
 * when it ends here. On TLS it is dm_stream_abort, which is such a sign. */
void dm_stream_reset(struct dm_stream *stream);
/* Sends what is written, ends our direction, throws away what still comes and closes when the peer has closed too or after
 * linger_ms, so that the peer reads our last bytes instead of a reset (RFC 9112 section 9.6). The one callback still to come
 * is on_closed. */
void dm_stream_close_gracefully(struct dm_stream *stream, uint32_t linger_ms);

/* Whose work the stream is from here on (io/scheduler.h); NULL: of whoever runs. The flow outlives the stream, or is taken away
 * before. */
void dm_stream_set_flow(struct dm_stream *stream, struct dm_flow *flow);
/* From here to the end of the callback time is that flow's. */
static inline void dm_stream_enter(struct dm_stream *stream)
{
    dm_loop_enter(stream->loop, stream->task.flow);
}

/* Counts the memory that the stream holds in buffers in *account from here on, what it has now too; NULL: nowhere. The account is
 * borrowed: it outlives the stream, or is taken away before. */
void dm_stream_set_account(struct dm_stream *stream, uint64_t *account);
/* Counts what the socket gives and takes in *traffic from here on, and bytes_in and bytes_out so far: a stream in clear text should not
 * have been counted anywhere else before. NULL: nowhere. Borrowed as the account is. */
void dm_stream_set_traffic(struct dm_stream *stream, struct dm_stream_traffic *traffic);
/* The same of memory that the owner holds for what came by the stream or goes by it; negative: it was given back. */
static inline void dm_stream_count_buffer(struct dm_stream *stream, int32_t bytes)
{
    stream->buffered_bytes += (uint32_t)bytes;
    if (stream->account)
        *stream->account += (uint64_t)(int64_t)bytes;
}

/* Hands the stream to another state of its owner (a tunnel after an upgrade). Not inside on_closed. */
void dm_stream_set_type(struct dm_stream *stream, const struct dm_stream_type *type);

static inline bool dm_stream_is_open(const struct dm_stream *stream)
{
    return !stream->is_connecting && !stream->is_closing && !stream->is_lingering && !stream->is_failed;
}

static inline int dm_stream_fd(const struct dm_stream *stream)
{
    return stream->watch.fd;
}

#endif
