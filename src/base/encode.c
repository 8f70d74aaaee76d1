/* Text forms of bytes, by libsodium, whose time does not depend on the bytes (they are often keys). */
#include <endian.h>
#include <sodium.h>

#include "base/encode.h"

void dm_hex(const void *ptr, size_t len, char *ret)
{
    sodium_bin2hex(ret, 2 * len + 1, ptr, len);
}

/* Eight digits at once: each of the 32 bits' nibbles into a byte of its own, '0' added, and 39 more from 10 on. */
static uint64_t hex_of_32_bits(uint64_t x)
{
    x = (x << 16 | x) & UINT64_C(0x0000ffff0000ffff);
    x = (x << 8 | x) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x << 4 | x) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return x + UINT64_C(0x3030303030303030) +
           ((x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101)) * 39;
}

void dm_hex_u64(uint64_t value, char ret[16])
{
    uint64_t digits[2] = {htobe64(hex_of_32_bits(value >> 32)), htobe64(hex_of_32_bits(value & UINT32_MAX))};

    memcpy(ret, digits, sizeof(digits));
}

int dm_unhex(struct dm_str hex, uint8_t *ret, size_t len)
{
    size_t n;

    if (hex.len != 2 * len)
        return DM_EINVAL;
    if (len > 0 && (sodium_hex2bin(ret, len, hex.ptr, hex.len, NULL, &n, NULL) != 0 || n != len))
        return DM_EINVAL;
    return 0;
}

static size_t to_text(struct dm_str bytes, int variant, char *ret)
{
    sodium_bin2base64(ret, sodium_base64_encoded_len(bytes.len, variant), (const unsigned char *)bytes.ptr, bytes.len,
                      variant);
    return strlen(ret);
}

size_t dm_base64(struct dm_str bytes, char *ret)
{
    return to_text(bytes, sodium_base64_VARIANT_ORIGINAL, ret);
}

size_t dm_base64url(struct dm_str bytes, char *ret)
{
    return to_text(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING, ret);
}

/* What text stands for when it is valid. */
static size_t bytes_in(struct dm_str text)
{
    size_t n_pad = 0;

    while (n_pad < text.len && text.ptr[text.len - 1 - n_pad] == '=')
        n_pad++;
    return (text.len - n_pad) / 4 * 3 + (text.len - n_pad) % 4 * 3 / 4;
}

static ssize_t to_bytes(struct dm_str text, int variant, uint8_t *ret, size_t cap)
{
    size_t n = 0;

    if (bytes_in(text) > cap)
        return DM_EBUDGET;
    if (text.len > 0 && sodium_base642bin(ret, cap, text.ptr, text.len, NULL, &n, NULL, variant) != 0)
        return DM_EINVAL;
    return (ssize_t)n;
}

ssize_t dm_unbase64(struct dm_str text, uint8_t *ret, size_t cap)
{
    return to_bytes(text, sodium_base64_VARIANT_ORIGINAL, ret, cap);
}

ssize_t dm_unbase64url(struct dm_str text, uint8_t *ret, size_t cap)
{
    return to_bytes(text, sodium_base64_VARIANT_URLSAFE_NO_PADDING, ret, cap);
}
