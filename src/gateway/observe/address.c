#include "gateway/observe/address.h"

#include <netinet/in.h>

static char *put_decimal(char *at, unsigned n)
{
    if (n >= 100)
        *at++ = (char)('0' + n / 100);
    if (n >= 10)
        *at++ = (char)('0' + n / 10 % 10);
    *at++ = (char)('0' + n % 10);
    return at;
}

static char *put_v4(char *at, const uint8_t bytes[4])
{
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            *at++ = '.';
        at = put_decimal(at, bytes[i]);
    }
    return at;
}

static char *put_hex(char *at, unsigned group)
{
    static const char digits[] = "0123456789abcdef";
    bool has_begun = false;

    for (int shift = 12; shift >= 0; shift -= 4) {
        unsigned digit = group >> shift & 15;
        has_begun = has_begun || digit != 0 || shift == 0;
        if (has_begun)
            *at++ = digits[digit];
    }
    return at;
}

/* The longest run of two or more zero groups, the first of equal ones. */
static unsigned longest_zeros(const unsigned groups[8], unsigned *ret_at)
{
    unsigned best = 0;

    for (unsigned i = 0, n; i < 8; i += n + 1) {
        for (n = 0; i + n < 8 && groups[i + n] == 0; n++)
            ;
        if (n > best && n > 1) {
            best = n;
            *ret_at = i;
        }
    }
    return best;
}

static char *put_v6(char *at, const uint8_t bytes[16])
{
    unsigned groups[8], zeros_at = 8, zeros;

    for (int i = 0; i < 8; i++)
        groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    zeros = longest_zeros(groups, &zeros_at);
    for (unsigned i = 0; i < 8; i++) {
        if (zeros > 0 && i == zeros_at) {
            *at++ = ':';
            *at++ = ':';
            i += zeros - 1;
            continue;
        }
        if (i > 0 && i != zeros_at + zeros)
            *at++ = ':';
        at = put_hex(at, groups[i]);
    }
    return at;
}

size_t dm_address_text(const struct dm_addr *addr, char ret[DM_ADDRESS_TEXT_MAX])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&addr->ss;
    const uint8_t *v6 = ((const struct sockaddr_in6 *)(const void *)&addr->ss)->sin6_addr.s6_addr;

    if (addr->ss.ss_family == AF_INET)
        return (size_t)(put_v4(ret, (const uint8_t *)&in->sin_addr) - ret);
    if (addr->ss.ss_family == AF_INET6)
        return (size_t)((memcmp(v6, mapped, sizeof(mapped)) == 0 ? put_v4(ret, v6 + 12) : put_v6(ret, v6)) - ret);
    memcpy(ret, "unknown", 7);
    return 7;
}
