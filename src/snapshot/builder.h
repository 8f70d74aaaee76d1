/* Writes a unit file in memory: pieces are appended, each aligned for its type, and referred to by their offset. Children
 * first, the root last. Running over DM_UNIT_BYTES_MAX is remembered and told by dm_builder_finish(). */
#ifndef DM_SNAPSHOT_BUILDER_H
#define DM_SNAPSHOT_BUILDER_H

#include "base/buf.h"
#include "snapshot/unit.h"

struct dm_builder {
    struct dm_buf buf;
};

void dm_builder_init(struct dm_builder *b);
void dm_builder_done(struct dm_builder *b);
/* Copies `size` bytes; align is a power of two, at most 16. Returns their offset, 0 when size is 0. */
dm_off dm_builder_add(struct dm_builder *b, const void *ptr, size_t size, size_t align);
struct dm_ustr dm_builder_str(struct dm_builder *b, struct dm_str s);
/* Fills the header and the checksum. The bytes in b->buf are the file. DM_EBUDGET when it grew too large. */
DM_MUST_USE int dm_builder_finish(struct dm_builder *b, const struct dm_unit_header *identity, dm_off root,
                                  struct dm_err *err);

#define DM_BUILDER_ADD(b, ptr, count, type) dm_builder_add((b), (ptr), (count) * sizeof(type), _Alignof(type))

#endif
