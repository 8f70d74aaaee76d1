/* Memory for nghttp2, out of free lists by size, so that a request in steady state calls the system's allocator never. One for
 * all sessions of a server or client; it outlives them. Never fails: out of memory ends the process (base/mem.h).
 *
 * Threads: one. */
#ifndef DM_HTTP_H2_MEMORY_H
#define DM_HTTP_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

#include "base/freelist.h"

enum { DM_H2_MEMORY_CLASSES = 11 };

struct dm_h2_memory {
    nghttp2_mem mem; /* what nghttp2 is given; points back here */
    struct dm_freelist classes[DM_H2_MEMORY_CLASSES];
    size_t used_bytes; /* handed out now, by the sizes of their classes */
};

/* The memory of `memory` is the caller's and stays where it is. */
void dm_h2_memory_init(struct dm_h2_memory *memory);
/* Everything must have been given back. */
void dm_h2_memory_done(struct dm_h2_memory *memory);

#endif
