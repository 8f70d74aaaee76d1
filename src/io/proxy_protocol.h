/* The header of the PROXY protocol, versions 1 and 2 (haproxy, doc/proxy-protocol.txt, 2020/03/05), with which a balancer says whose
 * connection it passes on. The parser does no I/O; dm_proxy_expect() puts it below everything else that a stream carries.
 *
 * What is decided where the text leaves a choice:
 * - Version 1: one space between words, ports without leading zeros; what follows UNKNOWN is skipped, but must be printable.
 * - Version 2: at most 536 bytes in all, what a sender may rely on. LOCAL and AF_UNSPEC leave the connection its own addresses. A
 *   Unix socket's path is not kept. Datagrams are refused, and so are lists of TLVs that do not end with the header.
 * - A CRC32C that is there must be right; other TLVs are skipped. */
#ifndef DM_IO_PROXY_PROTOCOL_H
#define DM_IO_PROXY_PROTOCOL_H

#include "base/sys.h"

struct dm_stream;

#define DM_PROXY_V1_MAX 107
#define DM_PROXY_HEADER_MAX 536

struct dm_proxy_header {
    bool has_source;        /* false: the connection is the sender's own */
    struct dm_addr source;  /* an address of IPv4 or IPv6, or a Unix socket without a name */
    struct dm_addr towards; /* where the client connected to */
};

/* Returns the bytes of the header at ptr (> 0), 0 when more are needed, DM_EINVAL as soon as it can't be one. *ret is untouched but for
 * a whole header. */
DM_MUST_USE ssize_t dm_proxy_header_parse(const char *ptr, size_t len, struct dm_proxy_header *ret);

/* Right after dm_stream_open, before a transport above is put on: the stream begins with a header, which none of its owner's
 * bytes are of. on_header says what it was, from inside the loop, before the first byte behind it is shown; it may not end the
 * stream, but a negative answer is its failure. What is no header, or is cut off, is -EPROTO to on_error; an end before the first byte is an end. No time is bounded
 * here. */
void dm_proxy_expect(struct dm_stream *stream,
                     int (*on_header)(struct dm_stream *stream, const struct dm_proxy_header *header));

#endif
