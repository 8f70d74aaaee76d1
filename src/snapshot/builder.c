#include "snapshot/builder.h"

void dm_builder_init(struct dm_builder *b)
{
    static const struct dm_unit_header empty;

    dm_buf_init(&b->buf, DM_UNIT_BYTES_MAX);
    dm_buf_add_n(&b->buf, &empty, sizeof(empty));
}

void dm_builder_done(struct dm_builder *b)
{
    dm_buf_done(&b->buf);
}

dm_off dm_builder_add(struct dm_builder *b, const void *ptr, size_t size, size_t align)
{
    static const char zero[16];
    size_t pad = -b->buf.len & (align - 1);
    dm_off at;

    if (size == 0)
        return 0;
    dm_buf_add_n(&b->buf, zero, pad);
    at = (dm_off)b->buf.len;
    dm_buf_add_n(&b->buf, ptr, size);
    return at;
}

struct dm_ustr dm_builder_str(struct dm_builder *b, struct dm_str s)
{
    return (struct dm_ustr){dm_builder_add(b, s.ptr, s.len, 1), (uint32_t)s.len};
}

int dm_builder_finish(struct dm_builder *b, const struct dm_unit_header *identity, dm_off root, struct dm_err *err)
{
    struct dm_unit_header *header;

    if (b->buf.failed)
        return dm_fail(err, DM_EBUDGET, "", "the compiled unit is larger than %u MiB", DM_UNIT_BYTES_MAX >> 20);
    header = (struct dm_unit_header *)(void *)b->buf.ptr;
    *header = *identity;
    header->root = root;
    dm_unit_seal(b->buf.ptr, b->buf.len);
    return 0;
}
