/* The controller's own keys. They lie beside the database, never in it: keys/signing.key (Ed25519, signs documents) and
 * keys/sealing.key (seals secrets at rest; token digests are keyed with what is derived from it), mode 0600. */
#ifndef DM_CONTROL_IDENTITY_KEYRING_H
#define DM_CONTROL_IDENTITY_KEYRING_H

#include "base/crypto.h"
#include "base/sys.h"

struct dm_keyring {
    uint8_t sealing[32];
    uint8_t tokens[32];
    uint8_t sign_public[DM_SIGN_PUBLIC_BYTES];
    uint8_t sign_secret[DM_SIGN_SECRET_BYTES];
};

/* Reads the keys in the directory; makes those that are missing when may_create. Otherwise a missing key is DM_ENOENT:
 * without it what the database holds can't be read. */
DM_MUST_USE int dm_keyring_open(struct dm_sys *sys, const char *dir, bool may_create, struct dm_keyring *ret,
                                struct dm_err *err);
void dm_keyring_wipe(struct dm_keyring *keyring);

#endif
