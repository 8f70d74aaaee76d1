/* The server name of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), read from raw bytes by whoever does not speak TLS
 * on the connection. No I/O. What is found here decides only who answers the handshake; the TLS of that one decides all else. */
#ifndef DM_IO_CLIENT_HELLO_H
#define DM_IO_CLIENT_HELLO_H

#include "base/err.h"

#define DM_CLIENT_HELLO_NAME_MAX 253

/* At ptr is the beginning of a connection. 1: all of the ClientHello is there, and its name in ret_name, NUL-terminated and in lower
 * case; "" when it has none, or one that can be no host's. 0: more bytes are needed. DM_EINVAL: it is none. A ClientHello in several
 * records is put together; one above 16 KiB is DM_EINVAL. */
DM_MUST_USE int dm_client_hello_name(const char *ptr, size_t len, char ret_name[DM_CLIENT_HELLO_NAME_MAX + 1]);

#endif
