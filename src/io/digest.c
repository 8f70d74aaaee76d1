#include "io/digest.h"

#include <openssl/sha.h>

void dm_digest_sha1(struct dm_str text, uint8_t ret[DM_SHA1_BYTES])
{
    SHA1((const unsigned char *)text.ptr, text.len, ret);
}
