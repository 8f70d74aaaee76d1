/* Blocks of IP addresses. An IPv4-mapped IPv6 address (::ffff:a.b.c.d) is the IPv4 address everywhere. */
#ifndef DM_MODEL_CIDR_H
#define DM_MODEL_CIDR_H

#include "base/err.h"

struct dm_addr;

struct dm_cidr {
    uint8_t family;    /* 4 or 6 */
    uint8_t bits;      /* 0..32 or 0..128 */
    uint8_t bytes[16]; /* 4 or 16 used; bits behind the prefix are zero */
};

/* "10.0.0.0/8", "2001:db8::/32", or a single address. Bits set behind the prefix are refused (the message names the
 * block that was probably meant). */
DM_MUST_USE int dm_cidr_parse(struct dm_str text, struct dm_cidr *ret, struct dm_err *err);
/* "10.0.0.0/8, 192.0.2.1": appended to the *n in ret; what is empty between commas is left out. DM_EINVAL, also for more than
 * DM_CIDR_LIST_MAX; err names the block at fault. */
#define DM_CIDR_LIST_MAX 64
DM_MUST_USE int dm_cidr_parse_list(struct dm_str text, struct dm_cidr ret[DM_CIDR_LIST_MAX], size_t *n,
                                   struct dm_err *err);
/* An address without prefix. */
DM_MUST_USE int dm_cidr_parse_address(struct dm_str text, struct dm_cidr *ret, struct dm_err *err);
/* The single address of a socket address; DM_EINVAL for a Unix socket. */
DM_MUST_USE int dm_cidr_of_addr(const struct dm_addr *addr, struct dm_cidr *ret);
/* Does `outer` hold all of `inner`? */
bool dm_cidr_holds(const struct dm_cidr *outer, const struct dm_cidr *inner);
/* Text, NUL-terminated, without prefix for a single address; returns the length. */
#define DM_CIDR_TEXT_MAX 64
size_t dm_cidr_format(const struct dm_cidr *cidr, char ret[DM_CIDR_TEXT_MAX]);

/* Loopback, link-local (with the metadata services), unspecified, multicast, broadcast and the like: reached only through
 * a block that lies within the same special block, never through a wide one such as 0.0.0.0/0. */
bool dm_cidr_is_special(const struct dm_cidr *cidr);
/* May an endpoint at `address` be reached by a grant for `granted`? (dm_cidr_holds and the rule for special blocks.) */
bool dm_cidr_grants(const struct dm_cidr *granted, const struct dm_cidr *address);

#endif
