#include "http/writer.h"

#include "base/mem.h"
#include "http/chunk.h"
#include "http/head.h"
#include "io/stream.h"

#define PIECE_BYTES (16u << 10) /* of a body that is put into chunks with its framing */
#define FRAMING_BYTES (DM_HTTP_CHUNK_HEAD_MAX + 2)

/* There is room for all three. */
static int put_parts(struct dm_stream *stream, const char *head, size_t head_len, const char *ptr, size_t len)
{
    int rc = dm_stream_put(stream, head, head_len);

    if (rc == 0)
        rc = dm_stream_put(stream, ptr, len);
    if (rc == 0)
        rc = dm_stream_put(stream, DM_HTTP_CHUNK_TAIL.ptr, DM_HTTP_CHUNK_TAIL.len);
    return rc;
}

/* In one piece, so that a full queue takes all of it or nothing. */
static int put_whole(struct dm_stream *stream, struct dm_buf *scratch, const char *head, size_t head_len,
                     const char *ptr, size_t len)
{
    dm_buf_reset(scratch);
    dm_buf_add_n(scratch, head, head_len);
    dm_buf_add_n(scratch, ptr, len);
    dm_buf_add(scratch, DM_HTTP_CHUNK_TAIL);
    return dm_stream_put(stream, scratch->ptr, scratch->len);
}

static size_t put_chunks(struct dm_stream *stream, struct dm_buf *scratch, const char *ptr, size_t len)
{
    char head[DM_HTTP_CHUNK_HEAD_MAX];
    size_t done = 0;
    int rc = 0;

    while (done < len && rc == 0) {
        bool has_room = dm_stream_room(stream) > len - done + FRAMING_BYTES;
        size_t n = has_room ? len - done : DM_MIN(len - done, (size_t)PIECE_BYTES);
        size_t head_len = dm_http_chunk_head(n, head);
        rc = has_room ? put_parts(stream, head, head_len, ptr + done, n)
                      : put_whole(stream, scratch, head, head_len, ptr + done, n);
        done += rc == 0 ? n : 0;
    }
    return rc == DM_ECLOSED ? len : done;
}

static size_t put_plain(struct dm_stream *stream, const char *ptr, size_t len)
{
    ssize_t n = dm_stream_write(stream, ptr, len);

    if (n < 0)
        return n == DM_EAGAIN ? 0 : len;
    return (size_t)n;
}

static size_t put_length(struct dm_http_writer *writer, struct dm_stream *stream, const char *ptr, size_t len)
{
    size_t wanted = (size_t)DM_MIN((uint64_t)len, writer->length_left), taken;

    taken = wanted > 0 ? put_plain(stream, ptr, wanted) : 0;
    writer->length_left -= taken;
    return taken == wanted ? len : taken;
}

size_t dm_http_writer_put(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch,
                          const char *ptr, size_t len)
{
    if (len == 0 || writer->is_ending)
        return len;
    switch (writer->framing) {
    case DM_HTTP_FRAMING_LENGTH: return put_length(writer, stream, ptr, len);
    case DM_HTTP_FRAMING_CHUNKED: return put_chunks(stream, scratch, ptr, len);
    case DM_HTTP_FRAMING_CLOSE: return put_plain(stream, ptr, len);
    default: return len;
    }
}

/* False: no room. */
static bool put_end(struct dm_stream *stream, struct dm_buf *scratch, struct dm_str trailers)
{
    dm_buf_reset(scratch);
    dm_buf_add(scratch, DM_HTTP_CHUNK_LAST);
    dm_buf_add(scratch, trailers);
    dm_buf_add_lit(scratch, "\r\n");
    if (scratch->failed)
        return put_end(stream, scratch, DM_STR_NULL);
    return dm_stream_put(stream, scratch->ptr, scratch->len) != DM_EAGAIN;
}

bool dm_http_writer_end(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch,
                        struct dm_str trailers)
{
    if (writer->framing != DM_HTTP_FRAMING_CHUNKED || put_end(stream, scratch, trailers))
        return true;
    writer->is_ending = true;
    writer->trailers = trailers.len > 0 ? dm_strdup(trailers) : NULL;
    return false;
}

bool dm_http_writer_retry(struct dm_http_writer *writer, struct dm_stream *stream, struct dm_buf *scratch)
{
    if (!put_end(stream, scratch, dm_str_of(writer->trailers)))
        return false;
    dm_http_writer_done(writer);
    return true;
}

bool dm_http_writer_is_short(const struct dm_http_writer *writer)
{
    return writer->framing == DM_HTTP_FRAMING_LENGTH && writer->length_left > 0;
}

void dm_http_writer_done(struct dm_http_writer *writer)
{
    dm_free(writer->trailers);
    writer->trailers = NULL;
    writer->is_ending = false;
}
