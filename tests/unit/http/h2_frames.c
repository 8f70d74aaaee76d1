#include "h2_frames.h"

#include "words.h"

uint32_t u32_at(const uint8_t *p)
{
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

void add_field(struct dm_buf *out, struct dm_str name, struct dm_str value)
{
    assert_true(name.len < 127 && value.len < 127);
    dm_buf_add_char(out, 0x10);
    dm_buf_add_char(out, (char)name.len);
    dm_buf_add(out, name);
    dm_buf_add_char(out, (char)value.len);
    dm_buf_add(out, value);
}

void add_fields(struct dm_buf *out, const char *lines)
{
    while (*lines) {
        const char *colon = strstr(lines, ": "), *end = strchr(lines, '\n');
        add_field(out, dm_str_n(lines, (size_t)(colon - lines)), dm_str_n(colon + 2, (size_t)(end - colon - 2)));
        lines = end + 1;
    }
}
