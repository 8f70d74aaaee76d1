#include "io/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static const char signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
static const char prefix[6] = {'P', 'R', 'O', 'X', 'Y', ' '};

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static struct dm_addr inet4(const void *bytes, uint16_t net_port)
{
    struct dm_addr addr = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&addr.ss;

    in->sin_family = AF_INET;
    in->sin_port = net_port;
    memcpy(&in->sin_addr, bytes, sizeof(in->sin_addr));
    return addr;
}

static struct dm_addr inet6(const void *bytes, uint16_t net_port)
{
    struct dm_addr addr = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)&addr.ss;

    in->sin6_family = AF_INET6;
    in->sin6_port = net_port;
    memcpy(&in->sin6_addr, bytes, sizeof(in->sin6_addr));
    return addr;
}

static struct dm_addr unnamed(void)
{
    struct dm_addr addr = {.len = sizeof(sa_family_t)};

    addr.ss.ss_family = AF_UNIX;
    return addr;
}

/* --- version 1 ---------------------------------------------------------------------------------------------------- */

static bool read_host(struct dm_str text, bool is_v6, void *ret)
{
    char host[INET6_ADDRSTRLEN];

    if (text.len >= sizeof(host))
        return false;
    memcpy(host, text.ptr, text.len);
    host[text.len] = '\0';
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, host, ret) == 1;
}

static bool read_port(struct dm_str text, uint16_t *ret)
{
    uint64_t port;

    if (text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || dm_str_to_u64(text, &port) < 0 || port > UINT16_MAX)
        return false;
    *ret = htons((uint16_t)port);
    return true;
}

/* Behind "PROXY TCP4 " or "PROXY TCP6 ": exactly four words. */
static bool read_endpoints(struct dm_str line, bool is_v6, struct dm_proxy_header *ret)
{
    struct dm_str words[4];
    uint8_t hosts[2][16];
    uint16_t ports[2];

    for (size_t i = 0; i < 4; i++)
        if (!dm_str_cut(&line, ' ', &words[i]))
            return false;
    if (line.ptr || !read_host(words[0], is_v6, hosts[0]) || !read_host(words[1], is_v6, hosts[1]) ||
        !read_port(words[2], &ports[0]) || !read_port(words[3], &ports[1]))
        return false;
    ret->source = is_v6 ? inet6(hosts[0], ports[0]) : inet4(hosts[0], ports[0]);
    ret->towards = is_v6 ? inet6(hosts[1], ports[1]) : inet4(hosts[1], ports[1]);
    ret->has_source = true;
    return true;
}

static bool read_line(struct dm_str line, struct dm_proxy_header *ret)
{
    line = dm_str_skip(line, sizeof(prefix));
    if (dm_str_starts(line, DM_STR("TCP4 ")) || dm_str_starts(line, DM_STR("TCP6 ")))
        return read_endpoints(dm_str_skip(line, 5), line.ptr[3] == '6', ret);
    return dm_str_eq(line, DM_STR("UNKNOWN")) || dm_str_starts(line, DM_STR("UNKNOWN "));
}

static bool is_printable(char c)
{
    return c >= 0x20 && c <= 0x7e;
}

static ssize_t parse_v1(const char *ptr, size_t len, struct dm_proxy_header *ret)
{
    struct dm_proxy_header header = {.has_source = false};
    size_t end = 0;

    if (memcmp(ptr, prefix, DM_MIN(len, sizeof(prefix))) != 0)
        return DM_EINVAL;
    len = DM_MIN(len, DM_PROXY_V1_MAX);
    while (end < len && is_printable(ptr[end]))
        end++;
    if (end == len || (end + 1 == len && ptr[end] == '\r'))
        return len < DM_PROXY_V1_MAX ? 0 : DM_EINVAL;
    if (ptr[end] != '\r' || ptr[end + 1] != '\n' || !read_line(dm_str_n(ptr, end), &header))
        return DM_EINVAL;
    *ret = header;
    return (ssize_t)end + 2;
}

/* --- version 2 ---------------------------------------------------------------------------------------------------- */

enum { HEAD_BYTES = 16, LOCAL = 0x20, PROXY = 0x21, TLV_CRC32C = 0x03, CRC_BYTES = 4 };

static unsigned u16_at(const char *ptr)
{
    return (unsigned)(uint8_t)ptr[0] << 8 | (uint8_t)ptr[1];
}

/* RFC 3720, appendix B.4; zero_at: four bytes that count as zero. */
static uint32_t crc32c(const char *ptr, size_t len, size_t zero_at)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= zero_at && i < zero_at + CRC_BYTES ? 0 : (uint8_t)ptr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static bool is_crc_right(const char *ptr, size_t len, size_t value_at)
{
    uint32_t said = (uint32_t)u16_at(ptr + value_at) << 16 | u16_at(ptr + value_at + 2);

    return crc32c(ptr, len, value_at) == said;
}

/* The list from `at` to the end. */
static bool check_tlvs(const char *ptr, size_t len, size_t at)
{
    bool has_crc = false;

    while (at < len) {
        size_t value_len;
        if (len - at < 3)
            return false;
        value_len = u16_at(ptr + at + 1);
        if (value_len > len - at - 3)
            return false;
        if (ptr[at] == TLV_CRC32C) {
            if (has_crc || value_len != CRC_BYTES || !is_crc_right(ptr, len, at + 3))
                return false;
            has_crc = true;
        }
        at += 3 + value_len;
    }
    return true;
}

/* Bytes of both endpoints; SIZE_MAX: no such family, or no stream. */
static size_t endpoint_bytes(uint8_t family)
{
    switch (family) {
    case 0x00: return 0;
    case 0x11: return 12;
    case 0x21: return 36;
    case 0x31: return 216;
    default: return SIZE_MAX;
    }
}

static uint16_t port_at(const char *ptr)
{
    uint16_t port;

    memcpy(&port, ptr, sizeof(port));
    return port;
}

static void read_block(const char *ptr, uint8_t family, struct dm_proxy_header *ret)
{
    ret->has_source = family != 0x00;
    if (family == 0x11) {
        ret->source = inet4(ptr, port_at(ptr + 8));
        ret->towards = inet4(ptr + 4, port_at(ptr + 10));
    } else if (family == 0x21) {
        ret->source = inet6(ptr, port_at(ptr + 32));
        ret->towards = inet6(ptr + 16, port_at(ptr + 34));
    } else if (family == 0x31) {
        ret->source = ret->towards = unnamed();
    }
}

static ssize_t parse_v2(const char *ptr, size_t len, struct dm_proxy_header *ret)
{
    struct dm_proxy_header header = {.has_source = false};
    uint8_t command, family;
    size_t total, block;

    if (memcmp(ptr, signature, DM_MIN(len, sizeof(signature))) != 0)
        return DM_EINVAL;
    command = len > 12 ? (uint8_t)ptr[12] : PROXY;
    if (command != LOCAL && command != PROXY)
        return DM_EINVAL;
    if (len < HEAD_BYTES)
        return 0;
    family = (uint8_t)ptr[13];
    total = HEAD_BYTES + u16_at(ptr + 14);
    block = command == LOCAL ? 0 : endpoint_bytes(family);
    if (total > DM_PROXY_HEADER_MAX || block > total - HEAD_BYTES)
        return DM_EINVAL;
    if (len < total)
        return 0;
    if (command == PROXY) {
        if (!check_tlvs(ptr, total, HEAD_BYTES + block))
            return DM_EINVAL;
        read_block(ptr + HEAD_BYTES, family, &header);
    }
    *ret = header;
    return (ssize_t)total;
}

ssize_t dm_proxy_header_parse(const char *ptr, size_t len, struct dm_proxy_header *ret)
{
    if (len == 0)
        return 0;
    return ptr[0] == prefix[0] ? parse_v1(ptr, len, ret) : parse_v2(ptr, len, ret);
}
