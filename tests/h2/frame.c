#include "h2/frame.h"

uint32_t u32_at(const void *ptr)
{
    const uint8_t *p = ptr;

    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

void add_frame(struct dm_buf *out, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len)
{
    uint8_t head[9];

    put_u32(head, (uint32_t)len << 8);
    head[3] = type;
    head[4] = flags;
    put_u32(head + 5, id);
    dm_buf_add_n(out, head, sizeof(head));
    dm_buf_add_n(out, payload, len);
}

/* RFC 7541 section 5.1, with a prefix of 7 bits. */
static void add_length(struct dm_buf *out, size_t len)
{
    if (len < 127) {
        dm_buf_add_char(out, (char)len);
        return;
    }
    dm_buf_add_char(out, 127);
    for (len -= 127; len >= 128; len >>= 7)
        dm_buf_add_char(out, (char)((len & 127) | 128));
    dm_buf_add_char(out, (char)len);
}

void add_field(struct dm_buf *out, struct dm_str name, struct dm_str value)
{
    dm_buf_add_char(out, 0x10);
    add_length(out, name.len);
    dm_buf_add(out, name);
    add_length(out, value.len);
    dm_buf_add(out, value);
}

bool inflate_block(nghttp2_hd_inflater *inflater, const void *block, size_t len,
                   void (*on_field)(void *arg, struct dm_str name, struct dm_str value), void *arg)
{
    const uint8_t *ptr = block;
    nghttp2_nv nv;
    int flags = 0;

    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        ssize_t n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, ptr, len, 1);
        if (n < 0)
            break;
        ptr += n;
        len -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            on_field(arg, dm_str_n((const char *)nv.name, nv.namelen), dm_str_n((const char *)nv.value, nv.valuelen));
    }
    nghttp2_hd_inflate_end_headers(inflater);
    return flags & NGHTTP2_HD_INFLATE_FINAL;
}
