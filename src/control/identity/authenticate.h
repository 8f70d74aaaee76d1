/* API tokens: "dmt_" and 32 random bytes in base64url. Kept as a keyed digest; shown once. */
#ifndef DM_CONTROL_IDENTITY_AUTHENTICATE_H
#define DM_CONTROL_IDENTITY_AUTHENTICATE_H

#include "base/crypto.h"

#include "control/store/store.h"

struct dm_keyring;

#define DM_TOKEN_TEXT_BYTES 48 /* with NUL */

/* A new token and its digest. */
void dm_authenticate_make(const struct dm_keyring *keyring, char ret_text[DM_TOKEN_TEXT_BYTES],
                          uint8_t ret_digest[DM_DIGEST_BYTES]);
/* Who shows this token (the value of Authorization, "Bearer dmt_…")? DM_EPERM with a sentence when nobody: missing,
 * malformed, unknown or expired. Strings of the caller lie in the transaction's arena. *ret_is_stale: its last use was
 * recorded long ago. */
DM_MUST_USE int dm_authenticate(struct dm_txn *txn, const struct dm_keyring *keyring, struct dm_str authorization,
                                struct dm_caller *ret, bool *ret_is_stale, struct dm_err *err);

#endif
