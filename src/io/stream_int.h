/* What the files of the stream share: the scratch buffers and pools of a loop's streams, and the writing side. */
#ifndef DM_IO_STREAM_INT_H
#define DM_IO_STREAM_INT_H

#include "base/freelist.h"
#include "io/loop_int.h"
#include "io/stream.h"
#include "io/transport.h"

enum {
    DM_STREAM_SCRATCH_BYTES = 64 << 10,
    DM_STREAM_CHUNK_BYTES = 16 << 10,
    DM_STREAM_DIRECT_BYTES = 16 << 10, /* larger slices are not copied before they are sent */
    DM_STREAM_TURN_BYTES = 64 << 10,
    DM_STREAM_OUTPUTS_MAX = 32, /* gather before they are sent; more gain little and hold the first ones back longer */
};

struct dm_stream_chunk {
    struct dm_stream_chunk *next;
    uint32_t start, end; /* of what is unsent in data */
    char data[DM_STREAM_CHUNK_BYTES - 16];
};

/* Kept input lives in buffers of these sizes, larger ones on the heap. */
enum { DM_STREAM_KEPT_CLASSES = 3 };

/* What one stream has in the scratch buffer. */
struct dm_stream_output {
    struct dm_stream *stream;
    struct dm_flow *flow; /* who wrote it, and pays for its sending */
    uint32_t start, len;
};

struct dm_stream_shared {
    struct dm_loop *loop;
    struct dm_hook hook;
    struct dm_stream_output outputs[DM_STREAM_OUTPUTS_MAX]; /* W1 */
    unsigned n_outputs;
    size_t out_len;
    struct dm_freelist chunks, kept[DM_STREAM_KEPT_CLASSES];
    char in[DM_STREAM_SCRATCH_BYTES];
    char out[DM_STREAM_SCRATCH_BYTES];
};

struct dm_stream_shared *dm_stream_shared(struct dm_loop *loop);

/* Sends what has gathered, of all streams. */
void dm_stream_flush_shared(struct dm_stream_shared *shared);
/* Sends what waits in chunks until the system takes no more. */
void dm_stream_drain(struct dm_stream *stream);
/* Ends our direction when that was asked for and everything is sent. */
void dm_stream_finish_output(struct dm_stream *stream);
void dm_stream_drop_output(struct dm_stream *stream);

/* A pooled buffer of at least so many bytes, for what has to outlast a call. */
char *dm_stream_take_buffer(struct dm_stream *stream, size_t bytes, uint32_t *ret_cap);
void dm_stream_give_buffer(struct dm_stream *stream, char *ptr, uint32_t cap);

/* May on_writable be told? */
static inline bool dm_stream_is_due_writable(const struct dm_stream *stream)
{
    return stream->wants_writable && dm_stream_unsent(stream) <= dm_stream_write_max(stream->type) / 2;
}

#endif
