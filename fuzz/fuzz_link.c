/* Link frames and the frames of documents: whatever decodes encodes to the same bytes; nothing else happens. */
#include <stdint.h>

#include "base/buf.h"
#include "model/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct dm_str in, struct dm_arena *arena)
{
    struct dm_link_message message;
    struct dm_buf again;
    ssize_t n;

    while ((n = dm_link_decode(in, arena, &message, NULL)) > 0) {
        dm_buf_init(&again, DM_LINK_PAYLOAD_MAX + DM_LINK_HEAD_BYTES);
        dm_link_encode(&message, &again);
        if (again.failed || !dm_str_eq(dm_buf_str(&again), dm_str_n(in.ptr, (size_t)n)))
            abort();
        dm_buf_done(&again);
        in = dm_str_skip(in, (size_t)n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public_key[DM_SIGN_PUBLIC_BYTES] = {0};
    struct dm_str in = dm_str_n((const char *)data, size);
    struct dm_document_head head;
    struct dm_arena arena;

    dm_arena_init(&arena, NULL, DM_LINK_ARENA_BYTES);
    check(in, &arena);
    if (dm_document_open(public_key, in, &head, NULL) == 0)
        abort(); /* nobody can sign for this key */
    dm_arena_done(&arena);
    return 0;
}
