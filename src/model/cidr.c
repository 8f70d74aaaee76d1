/* Blocks of addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "model/cidr.h"
#include "base/sys.h"

static unsigned max_bits(const struct dm_cidr *cidr)
{
    return cidr->family == 4 ? 32 : 128;
}

/* RFC 4291 section 2.5.5.2 */
static bool is_mapped(const uint8_t bytes[16])
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

    return memcmp(bytes, prefix, sizeof(prefix)) == 0;
}

static void unmap(struct dm_cidr *cidr)
{
    if (cidr->family != 6 || cidr->bits < 96 || !is_mapped(cidr->bytes))
        return;
    memmove(cidr->bytes, cidr->bytes + 12, 4);
    memset(cidr->bytes + 4, 0, 12);
    cidr->family = 4;
    cidr->bits = (uint8_t)(cidr->bits - 96);
}

/* Without the rule for mapped addresses. */
static int parse_bytes(struct dm_str text, struct dm_cidr *ret)
{
    char z[INET6_ADDRSTRLEN];
    struct dm_cidr cidr = {0};

    if (text.len == 0 || text.len >= sizeof(z) || memchr(text.ptr, '\0', text.len))
        return DM_EINVAL;
    memcpy(z, text.ptr, text.len);
    z[text.len] = '\0';
    if (inet_pton(AF_INET, z, cidr.bytes) == 1)
        cidr.family = 4;
    else if (inet_pton(AF_INET6, z, cidr.bytes) == 1)
        cidr.family = 6;
    else
        return DM_EINVAL;
    cidr.bits = (uint8_t)max_bits(&cidr);
    *ret = cidr;
    return 0;
}

int dm_cidr_parse_address(struct dm_str text, struct dm_cidr *ret, struct dm_err *err)
{
    if (parse_bytes(text, ret) < 0)
        return dm_fail(err, DM_EINVAL, "", "must be an IPv4 or IPv6 address");
    unmap(ret);
    return 0;
}

/* Clears the bits behind the prefix; true when there were any. */
static bool clear_host_bits(struct dm_cidr *cidr)
{
    bool had_any = false;

    for (unsigned bit = cidr->bits; bit < max_bits(cidr); bit++) {
        uint8_t mask = (uint8_t)(0x80u >> bit % 8);

        had_any = had_any || cidr->bytes[bit / 8] & mask;
        cidr->bytes[bit / 8] &= (uint8_t)~mask;
    }
    return had_any;
}

int dm_cidr_parse(struct dm_str text, struct dm_cidr *ret, struct dm_err *err)
{
    size_t slash = dm_str_find(text, '/');
    struct dm_cidr cidr;
    uint64_t bits;

    if (parse_bytes(dm_str_n(text.ptr, slash), &cidr) < 0)
        return dm_fail(err, DM_EINVAL, "", "must be an address or a block such as 10.0.0.0/8 or 2001:db8::/32");
    if (slash < text.len) {
        struct dm_str digits = dm_str_skip(text, slash + 1);

        if (digits.len > 3 || dm_str_to_u64(digits, &bits) < 0 || bits > max_bits(&cidr))
            return dm_fail(err, DM_EINVAL, "", "must have a prefix between 0 and %u behind '/'", max_bits(&cidr));
        cidr.bits = (uint8_t)bits;
        if (clear_host_bits(&cidr)) {
            char meant[DM_CIDR_TEXT_MAX];

            dm_cidr_format(&cidr, meant);
            return dm_fail(err, DM_EINVAL, "", "must have no bits set behind its prefix (did you mean %s?)", meant);
        }
    }
    unmap(&cidr);
    *ret = cidr;
    return 0;
}

int dm_cidr_parse_list(struct dm_str text, struct dm_cidr ret[DM_CIDR_LIST_MAX], size_t *n, struct dm_err *err)
{
    struct dm_err inner = {0};
    struct dm_str piece;

    while (dm_str_cut(&text, ',', &piece)) {
        piece = dm_str_trim(piece);
        if (piece.len == 0)
            continue;
        if (*n == DM_CIDR_LIST_MAX)
            return dm_fail(err, DM_EINVAL, "", "expected at most %d blocks", DM_CIDR_LIST_MAX);
        if (dm_cidr_parse(piece, &ret[*n], &inner) < 0)
            return dm_fail(err, DM_EINVAL, "", "'%.*s' %s", DM_STR_ARG(piece), inner.message);
        (*n)++;
    }
    return 0;
}

int dm_cidr_of_addr(const struct dm_addr *addr, struct dm_cidr *ret)
{
    struct dm_cidr cidr = {0};

    if (addr->ss.ss_family == AF_INET) {
        cidr.family = 4;
        memcpy(cidr.bytes, &((const struct sockaddr_in *)(const void *)&addr->ss)->sin_addr, 4);
    } else if (addr->ss.ss_family == AF_INET6) {
        cidr.family = 6;
        memcpy(cidr.bytes, &((const struct sockaddr_in6 *)(const void *)&addr->ss)->sin6_addr, 16);
    } else {
        return DM_EINVAL;
    }
    cidr.bits = (uint8_t)max_bits(&cidr);
    unmap(&cidr);
    *ret = cidr;
    return 0;
}

static bool has_prefix(const uint8_t *bytes, const uint8_t *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    uint8_t mask = (uint8_t)(0xFF00u >> rest);

    return memcmp(bytes, prefix, whole) == 0 && (rest == 0 || (bytes[whole] & mask) == (prefix[whole] & mask));
}

bool dm_cidr_holds(const struct dm_cidr *outer, const struct dm_cidr *inner)
{
    return outer->family == inner->family && outer->bits <= inner->bits &&
           has_prefix(inner->bytes, outer->bytes, outer->bits);
}

size_t dm_cidr_format(const struct dm_cidr *cidr, char ret[DM_CIDR_TEXT_MAX])
{
    size_t len;

    inet_ntop(cidr->family == 4 ? AF_INET : AF_INET6, cidr->bytes, ret, DM_CIDR_TEXT_MAX);
    len = strlen(ret);
    if (cidr->bits < max_bits(cidr))
        len += (size_t)snprintf(ret + len, DM_CIDR_TEXT_MAX - len, "/%u", cidr->bits);
    return len;
}

/* IANA special-purpose registries, as far as no backend lives there by accident: loopback, link-local with the metadata
 * services, "this host", multicast, reserved and broadcast; and the forms that embed an IPv4 address (NAT64, 6to4, Teredo,
 * IPv4-compatible), which would reach it by another name. */
static const struct dm_cidr specials[] = {
    {4, 8, {0}},
    {4, 8, {127}},
    {4, 16, {169, 254}},
    {4, 4, {224}},
    {4, 4, {240}},
    {4, 32, {100, 100, 100, 200}},
    {4, 32, {168, 63, 129, 16}},
    {6, 96, {0}},
    {6, 96, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}},
    {6, 32, {0x00, 0x64, 0xFF, 0x9B}},
    {6, 16, {0x20, 0x02}},
    {6, 32, {0x20, 0x01, 0x00, 0x00}},
    {6, 10, {0xFE, 0x80}},
    {6, 10, {0xFE, 0xC0}},
    {6, 8, {0xFF}},
    {6, 128, {0xFD, 0x00, 0x0E, 0xC2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}},
};

static const struct dm_cidr *special_of(const struct dm_cidr *address)
{
    for (size_t i = 0; i < DM_COUNT(specials); i++) {
        if (dm_cidr_holds(&specials[i], address))
            return &specials[i];
    }
    return NULL;
}

bool dm_cidr_is_special(const struct dm_cidr *cidr)
{
    return special_of(cidr) != NULL;
}

bool dm_cidr_grants(const struct dm_cidr *granted, const struct dm_cidr *address)
{
    const struct dm_cidr *special = special_of(address);

    return dm_cidr_holds(granted, address) && (!special || dm_cidr_holds(special, granted));
}
