/* What is said with a connection that goes to a cell (io/handover.h): by which listener it came, whose it is, and how its bytes are.
 *
 *   version, kind, flags, lengths of what follows: listener, peer, fingerprint (1 byte each), subject (2 bytes)
 *   client policy, with TLS; listener; peer; fingerprint; subject
 *
 * Written and read by the same version of the program: shared workers and cells that talk have the same keeper, which tells only such
 * workers of cells (process/worker_link.h, W3). Read strictly all the same: what is not exactly this is refused. */
#ifndef DM_GATEWAY_CELL_MESSAGE_H
#define DM_GATEWAY_CELL_MESSAGE_H

#include "base/buf.h"
#include "base/crypto.h"
#include "base/sys.h"

enum dm_cell_kind {
    DM_CELL_DIRECT = 1, /* a client's own connection, of which nothing was read but a PROXY header */
    DM_CELL_RELAYED,    /* one exchange of a client's connection that stays with a shared worker; in clear */
};

/* Borrows its strings. */
struct dm_cell_message {
    enum dm_cell_kind kind;
    struct dm_str listener; /* its address, as dm_addr_format() writes it */
    struct dm_addr peer;    /* of IPv4, IPv6 or a Unix socket, without its name */
    /* Of a relayed one whose client speaks TLS with the shared worker: what the handshake made sure of. */
    bool is_tls, is_tls_1_3, is_http2, has_certificate;
    uint8_t client_policy[DM_DIGEST_BYTES];
    struct dm_str fingerprint, subject; /* of the client's certificate */
};

#define DM_CELL_MESSAGE_VERSION 1

/* Into the buffer; its `failed` says that it does not fit. */
void dm_cell_message_write(const struct dm_cell_message *message, struct dm_buf *out);
/* 0 or DM_ECORRUPT; then *ret is untouched. */
DM_MUST_USE int dm_cell_message_read(struct dm_str bytes, struct dm_cell_message *ret);

#endif
