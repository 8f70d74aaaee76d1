/* Authorities: host and port (RFC 3986 section 3.2, RFC 9110 section 4.2), in one normal form.
 *
 * A name is lower case, without a trailing dot: labels of 1 to 63 letters, digits, '-' and '_', at most 253 bytes;
 * no escapes, no sub-delims. A name whose last label is a number must be an IPv4 address of four plain decimal
 * parts. An IPv6 address stands in brackets and is rewritten as RFC 5952 says; no zones, no future versions. A port
 * is 1 to 65535 in at most five digits; an empty one counts as none. Userinfo is refused. */
#ifndef DM_HTTP_HOST_H
#define DM_HTTP_HOST_H

#include "base/str.h"
#include "http/fault.h"

/* A buffer of this size takes every normal form. */
#define DM_HOST_MAX 256

enum dm_host_kind { DM_HOST_NAME, DM_HOST_IPV4, DM_HOST_IPV6 };

struct dm_host {
    struct dm_str name; /* IPv6 with its brackets */
    uint16_t port;      /* 0 = none given */
    uint8_t kind;       /* enum dm_host_kind */
};

/* Parses "host[:port]". The name borrows from `authority` when it is normal already, otherwise it stands in buf,
 * which holds DM_HOST_MAX bytes. 0, or the negative of DM_HTTP_BAD_HOST; then *ret is untouched. */
DM_MUST_USE int dm_host_parse(struct dm_str authority, char *buf, struct dm_host *ret);

/* The port to connect to or compare with: the given one, else 443 or 80. */
static inline uint16_t dm_host_port(const struct dm_host *host, bool is_tls)
{
    return host->port ? host->port : is_tls ? 443 : 80;
}

/* Writes name[:port] without a port that is the scheme's default; ret holds DM_HOST_MAX + 6 bytes. Returns the
 * length. */
size_t dm_host_write(const struct dm_host *host, bool is_tls, char *ret);

#endif
