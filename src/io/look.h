/* What comes first on a stream, seen before it is taken: so a connection can go to another process as if nobody had read from it.
 *
 * A transport of its own, the lowest: what lies above (TLS) finds the bytes again. Below a PROXY header it comes last, put on in
 * on_header. Threads: the loop's. */
#ifndef DM_IO_LOOK_H
#define DM_IO_LOOK_H

#include "io/stream.h"

enum dm_look {
    DM_LOOK_MORE,  /* wait until there are more bytes; the same when is_last is SERVE */
    DM_LOOK_SERVE, /* it stays here: reading begins */
    DM_LOOK_GONE,  /* somebody else has it: the stream fails with -ECONNABORTED, and nothing is said to the peer */
};

/* is_last: no more bytes can be shown. May give the stream's descriptor away, may not end the stream. */
typedef enum dm_look (*dm_look_cb)(struct dm_stream *stream, const char *ptr, size_t len, bool is_last);

/* Right after dm_stream_open (or in on_header of dm_proxy_expect()), before a transport above is put on. */
void dm_look_expect(struct dm_stream *stream, dm_look_cb look);

#endif
