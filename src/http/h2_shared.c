/* What the HTTP/2 connections of a server share: callbacks, options, memory, counters. */
#include <assert.h>

#include "base/mem.h"
#include "http/h2_server_int.h"

enum { STREAMS_KEPT = 4096, PIECES_KEPT = 256, PARKED_KEPT = 16, ACKS_MAX = 256, SETTINGS_MAX = 32 };

/* What must hold or is out of memory, which ends the process (h2_memory.h). */
static void must(int rc)
{
    assert(rc == 0);
    (void)rc;
}

/* Messages are checked by h2_fields.h, which is stricter; windows are opened when the owner has taken what came (Q4); frames of
 * unknown types are shown, to be counted. CONTINUATION is counted by h2_guard.h: nghttp2 1.52 counts one again whose head comes in
 * pieces. */
static nghttp2_option *new_option(void)
{
    nghttp2_option *option;

    must(nghttp2_option_new(&option));
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
    nghttp2_option_set_max_settings(option, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(option, SIZE_MAX);
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
    nghttp2_option_set_max_send_header_block_length(option, DM_H2_NAMES_BYTES);
    return option;
}

struct dm_h2_shared *dm_h2_shared_new(const struct dm_http_server_settings *settings)
{
    struct dm_h2_shared *shared = dm_calloc(1, sizeof(*shared));
    size_t text_bytes = dm_h2_block_text_bytes(&settings->limits);

    must(nghttp2_session_callbacks_new(&shared->callbacks));
    dm_h2_read_callbacks(shared->callbacks);
    dm_h2_write_callbacks(shared->callbacks);
    shared->option = new_option();
    nghttp2_option_set_max_deflate_dynamic_table_size(shared->option, settings->http2.header_table_bytes);
    dm_h2_memory_init(&shared->memory);
    dm_freelist_init(&shared->streams, sizeof(struct dm_h2_stream), STREAMS_KEPT);
    dm_freelist_init(&shared->pieces, sizeof(struct dm_h2_piece), PIECES_KEPT);
    dm_freelist_init(&shared->parked, sizeof(struct dm_h2_parked) + text_bytes, PARKED_KEPT);
    shared->text = dm_alloc(text_bytes);
    shared->type = (struct dm_stream_type){
        .on_read = dm_h2_conn_on_read,
        .on_eof = dm_h2_conn_on_eof,
        .on_writable = dm_h2_conn_on_writable,
        .on_error = dm_h2_conn_on_error,
        .on_closed = dm_http_conn_on_closed,
        .read_max_bytes = 256u << 10,
        .write_max_bytes = (uint32_t)DM_MIN(settings->write_cap_bytes, (size_t)1 << 30),
    };
    return shared;
}

void dm_h2_shared_free(struct dm_h2_shared *shared)
{
    if (!shared)
        return;
    nghttp2_session_callbacks_del(shared->callbacks);
    nghttp2_option_del(shared->option);
    dm_h2_memory_done(&shared->memory);
    dm_freelist_done(&shared->streams);
    dm_freelist_done(&shared->pieces);
    dm_freelist_done(&shared->parked);
    dm_free(shared->text);
    dm_free(shared);
}

const struct dm_stream_type *dm_h2_type(const struct dm_http_server *server)
{
    return &server->h2->type;
}
