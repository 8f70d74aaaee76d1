/* Digests that protocols ask for by name. Nothing here is for secrets: those go through base/crypto.h. */
#ifndef DM_IO_DIGEST_H
#define DM_IO_DIGEST_H

#include "base/str.h"

enum { DM_SHA1_BYTES = 20 };

/* For Sec-WebSocket-Accept (RFC 6455 section 4.2.2). */
void dm_digest_sha1(struct dm_str text, uint8_t ret[DM_SHA1_BYTES]);

#endif
