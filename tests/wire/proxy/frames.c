#include "frames.h"

#include "base/mem.h"
#include "case_file.h"
#include "h2/frame.h"

enum { DATA, HEADERS, RST_STREAM = 3, SETTINGS, GOAWAY = 7, CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { HEAD_BYTES = 9, TEXT_MAX = 1 << 20 };

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void add_escaped(struct dm_buf *out, struct dm_str name, struct dm_str value)
{
    struct dm_buf names DM_CLEANUP(dm_buf_done), values DM_CLEANUP(dm_buf_done);

    dm_buf_init(&names, TEXT_MAX);
    dm_buf_init(&values, TEXT_MAX);
    case_unescape(name, &names);
    case_unescape(value, &values);
    add_field(out, dm_buf_str(&names), dm_buf_str(&values));
}

/* "GET /path": what a usual request has. */
static void add_request(struct dm_buf *out, struct dm_str method, struct dm_str path)
{
    add_field(out, DM_STR(":method"), method);
    add_field(out, DM_STR(":scheme"), DM_STR("http"));
    add_field(out, DM_STR(":authority"), DM_STR("api.test"));
    add_field(out, DM_STR(":path"), path);
    add_field(out, DM_STR("x-key"), DM_STR("good"));
}

static size_t find(struct dm_str s, const char *text)
{
    const char *at = s.len > 0 ? memmem(s.ptr, s.len, text, strlen(text)) : NULL;

    return at ? (size_t)(at - s.ptr) : s.len;
}

/* "NAME: VALUE", "NAME:", or "METHOD PATH". */
static void add_piece(struct dm_buf *out, struct dm_str piece)
{
    size_t colon = find(piece, ": "), space;
    struct dm_str rest = piece;

    if (colon < piece.len) {
        add_escaped(out, dm_str_n(piece.ptr, colon), dm_str_skip(piece, colon + 2));
    } else if (piece.len > 1 && piece.ptr[piece.len - 1] == ':') {
        add_escaped(out, dm_str_n(piece.ptr, piece.len - 1), DM_STR(""));
    } else if ((space = find(piece, " ")) < piece.len) {
        rest.len = space;
        add_request(out, rest, dm_str_skip(piece, space + 1));
    }
}

/* Pieces with " | " between them. */
static void add_block(struct dm_buf *out, struct dm_str pieces)
{
    while (pieces.len > 0) {
        size_t len = find(pieces, " | ");
        add_piece(out, dm_str_n(pieces.ptr, len));
        pieces = dm_str_skip(pieces, len + 3);
    }
}

static struct dm_str take_word(struct dm_str *rest)
{
    struct dm_str word = DM_STR_NULL;

    (void)dm_str_cut(rest, ' ', &word);
    return word;
}

static bool take_number(struct dm_str *rest, uint32_t stream, uint32_t *ret)
{
    struct dm_str word = take_word(rest);
    uint64_t value;

    *ret = stream;
    if (dm_str_eq(word, DM_STR("$")))
        return true;
    if (dm_str_to_u64(word, &value) < 0)
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool take_flag(struct dm_str *rest, const char *word)
{
    struct dm_str w = dm_str_of(word);

    if (!dm_str_starts(*rest, w) || (rest->len > w.len && rest->ptr[w.len] != ' '))
        return false;
    *rest = dm_str_skip(*rest, w.len + 1);
    return true;
}

static bool write_headers(uint8_t type, struct dm_str rest, uint32_t stream, struct dm_buf *out)
{
    struct dm_buf block DM_CLEANUP(dm_buf_done);
    uint8_t flags = 0;
    uint32_t id;

    dm_buf_init(&block, TEXT_MAX);
    if (!take_number(&rest, stream, &id))
        return false;
    flags |= take_flag(&rest, "end") ? END_STREAM : 0;
    flags |= take_flag(&rest, "open") ? 0 : END_HEADERS;
    add_block(&block, rest);
    add_frame(out, type, flags, id, block.ptr, block.len);
    return true;
}

static bool write_data(struct dm_str rest, uint32_t stream, struct dm_buf *out)
{
    struct dm_buf bytes DM_CLEANUP(dm_buf_done);
    uint8_t flags;
    uint32_t id;

    dm_buf_init(&bytes, TEXT_MAX);
    if (!take_number(&rest, stream, &id))
        return false;
    flags = take_flag(&rest, "end") ? END_STREAM : 0;
    case_unescape(rest, &bytes);
    add_frame(out, DATA, flags, id, bytes.ptr, bytes.len);
    return true;
}

/* TYPE FLAGS STREAM BYTES */
static bool write_other(struct dm_str rest, uint32_t stream, struct dm_buf *out)
{
    struct dm_buf bytes DM_CLEANUP(dm_buf_done);
    uint32_t type, flags, id;

    dm_buf_init(&bytes, TEXT_MAX);
    if (!take_number(&rest, 0, &type) || !take_number(&rest, 0, &flags) || !take_number(&rest, stream, &id))
        return false;
    case_unescape(rest, &bytes);
    add_frame(out, (uint8_t)type, (uint8_t)flags, id, bytes.ptr, bytes.len);
    return true;
}

bool frames_write(struct dm_str line, uint32_t stream, struct dm_buf *out)
{
    struct dm_str rest = line, word = take_word(&rest);
    bool is_read = false;

    if (dm_str_eq(word, DM_STR("headers")))
        is_read = write_headers(HEADERS, rest, stream, out);
    else if (dm_str_eq(word, DM_STR("continuation")))
        is_read = write_headers(CONTINUATION, rest, stream, out);
    else if (dm_str_eq(word, DM_STR("data")))
        is_read = write_data(rest, stream, out);
    else if (dm_str_eq(word, DM_STR("frame")))
        is_read = write_other(rest, stream, out);
    else if ((is_read = dm_str_eq(word, DM_STR("raw"))))
        case_unescape(rest, out);
    if (!is_read)
        fprintf(stderr, "no frame: %.*s\n", DM_STR_ARG(line));
    return is_read;
}

void frames_write_settings(bool is_ack, struct dm_buf *out)
{
    add_frame(out, SETTINGS, is_ack ? ACK : 0, 0, NULL, 0);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

void frames_reader_init(struct frames_reader *reader)
{
    nghttp2_hd_inflater *inflater;

    memset(reader, 0, sizeof(*reader));
    if (nghttp2_hd_inflate_new(&inflater) != 0)
        abort();
    reader->inflater = inflater;
    dm_buf_init(&reader->block, TEXT_MAX);
}

void frames_reader_done(struct frames_reader *reader)
{
    for (unsigned i = 0; i < reader->n_streams; i++) {
        dm_buf_done(&reader->streams[i]->statuses);
        dm_buf_done(&reader->streams[i]->fields);
        dm_buf_done(&reader->streams[i]->body);
        dm_free(reader->streams[i]);
    }
    dm_buf_done(&reader->block);
    if (reader->inflater)
        nghttp2_hd_inflate_del(reader->inflater);
}

static struct frames_stream *stream_of(struct frames_reader *reader, uint32_t id)
{
    struct frames_stream *stream;

    for (unsigned i = 0; i < reader->n_streams; i++)
        if (reader->streams[i]->id == id)
            return reader->streams[i];
    if (reader->n_streams == FRAMES_STREAMS_MAX)
        abort();
    stream = reader->streams[reader->n_streams++] = dm_calloc(1, sizeof(*stream));
    stream->id = id;
    dm_buf_init(&stream->statuses, TEXT_MAX);
    dm_buf_init(&stream->fields, TEXT_MAX);
    dm_buf_init(&stream->body, TEXT_MAX);
    return stream;
}

static void copy_text(char *ret, size_t max, struct dm_str text)
{
    size_t n = DM_MIN(text.len, max - 1);

    memcpy(ret, text.ptr, n);
    ret[n] = 0;
}

static void take_field(void *arg, struct dm_str name, struct dm_str value)
{
    struct frames_stream *stream = arg;

    if (dm_str_eq(name, DM_STR(":status"))) {
        if (stream->statuses.len > 0)
            dm_buf_add_char(&stream->statuses, '+');
        dm_buf_add(&stream->statuses, value);
    } else if (dm_str_eq(name, DM_STR(":method"))) {
        copy_text(stream->method, sizeof(stream->method), value);
    } else if (dm_str_eq(name, DM_STR(":path"))) {
        copy_text(stream->path, sizeof(stream->path), value);
    }
    dm_buf_printf(&stream->fields, "%.*s: %.*s\n", DM_STR_ARG(name), DM_STR_ARG(value));
}

static void take_block(struct frames_reader *reader, struct frames_stream *stream)
{
    if (!inflate_block(reader->inflater, reader->block.ptr, reader->block.len, take_field, stream))
        reader->is_bad = true;
    dm_buf_reset(&reader->block);
}

static void end_stream(struct frames_reader *reader, struct frames_stream *stream)
{
    stream->is_ended = true;
    if (reader->on_end)
        reader->on_end(reader->arg, stream);
}

static void take_headers(struct frames_reader *reader, uint32_t id, unsigned flags, struct dm_str payload)
{
    struct frames_stream *stream = stream_of(reader, id);

    if (flags & PRIORITY)
        payload = dm_str_skip(payload, 5);
    dm_buf_add(&reader->block, payload);
    if (flags & END_STREAM)
        stream->is_ended = true;
    if (!(flags & END_HEADERS))
        return;
    take_block(reader, stream);
    if (reader->on_head)
        reader->on_head(reader->arg, stream);
    if (stream->is_ended)
        end_stream(reader, stream);
}

static void take_frame(struct frames_reader *reader, unsigned type, unsigned flags, uint32_t id, struct dm_str payload)
{
    switch (type) {
    case DATA:
        dm_buf_add(&stream_of(reader, id)->body, payload);
        if (flags & END_STREAM)
            end_stream(reader, stream_of(reader, id));
        break;
    case HEADERS:
    case CONTINUATION: take_headers(reader, id, flags, payload); break;
    case RST_STREAM:
        stream_of(reader, id)->has_reset = true;
        stream_of(reader, id)->reset_code = u32_at(payload.ptr);
        break;
    case SETTINGS:
        if (!(flags & ACK) && reader->on_settings)
            reader->on_settings(reader->arg);
        break;
    case GOAWAY:
        reader->has_goaway = true;
        reader->goaway_code = u32_at(payload.ptr + 4);
        break;
    default: break;
    }
}

void frames_read(struct frames_reader *reader, struct dm_str bytes)
{
    while (bytes.len >= reader->parsed + HEAD_BYTES && !reader->is_bad) {
        const char *head = bytes.ptr + reader->parsed;
        size_t len = u32_at(head) >> 8;
        if (bytes.len - reader->parsed - HEAD_BYTES < len)
            return;
        reader->parsed += HEAD_BYTES + len;
        take_frame(reader, (uint8_t)head[3], (uint8_t)head[4], u32_at(head + 5) & 0x7fffffff,
                   dm_str_n(head + HEAD_BYTES, len));
    }
}

void frames_answers(const struct frames_reader *reader, struct dm_buf *out)
{
    for (unsigned i = 0; i < reader->n_streams; i++) {
        const struct frames_stream *stream = reader->streams[i];
        dm_buf_printf(out, "%s%u:%.*s", out->len > 0 ? " " : "", stream->id, DM_STR_ARG(dm_buf_str(&stream->statuses)));
        if (!stream->is_ended && stream->statuses.len > 0)
            dm_buf_add_char(out, '+');
        if (stream->has_reset)
            dm_buf_printf(out, "reset-%u", stream->reset_code);
    }
    if (reader->has_goaway)
        dm_buf_printf(out, "%sgoaway-%u", out->len > 0 ? " " : "", reader->goaway_code);
}
