#include "control/identity/authenticate.h"
#include "control/identity/keyring.h"
#include "control/store/tokens.h"
#include "base/encode.h"
#include "base/mem.h"
#include "model/token.h"

#define SECRET_BYTES 32
#define USE_RECORDED_EVERY_MS (5 * 60 * 1000)

static const struct dm_str prefix = {"dmt_", 4};

void dm_authenticate_make(const struct dm_keyring *keyring, char ret_text[DM_TOKEN_TEXT_BYTES],
                          uint8_t ret_digest[DM_DIGEST_BYTES])
{
    uint8_t secret[SECRET_BYTES];
    size_t len;

    dm_crypto_random(secret, sizeof(secret));
    memcpy(ret_text, prefix.ptr, prefix.len);
    len = prefix.len + dm_base64url(dm_str_n((const char *)secret, sizeof(secret)), ret_text + prefix.len);
    dm_digest(keyring->tokens, dm_str_n(ret_text, len), ret_digest);
    dm_mem_wipe(secret, sizeof(secret));
}

static int token_of(struct dm_str authorization, struct dm_str *ret, struct dm_err *err)
{
    struct dm_str scheme;
    struct dm_str rest = authorization;
    uint8_t secret[SECRET_BYTES];

    if (authorization.len == 0)
        return dm_fail(err, DM_EPERM, "", "a token is needed: send 'Authorization: Bearer dmt_…'");
    dm_str_cut(&rest, ' ', &scheme);
    rest = dm_str_trim(rest);
    if (!dm_str_ieq(scheme, DM_STR("Bearer")) || !dm_str_starts(rest, prefix) ||
        dm_unbase64url(dm_str_skip(rest, prefix.len), secret, sizeof(secret)) != SECRET_BYTES)
        return dm_fail(err, DM_EPERM, "", "expected 'Authorization: Bearer dmt_…' with a whole token");
    dm_mem_wipe(secret, sizeof(secret));
    *ret = rest;
    return 0;
}

static enum dm_standing standing_of(struct dm_str role)
{
    if (dm_str_eq(role, dm_str_of(dm_role_names[DM_ROLE_MASTER_ADMIN])))
        return DM_STANDING_MASTER_ADMIN;
    if (dm_str_eq(role, dm_str_of(dm_role_names[DM_ROLE_TENANT_ADMIN])))
        return DM_STANDING_TENANT_ADMIN;
    return DM_STANDING_NOBODY;
}

int dm_authenticate(struct dm_txn *txn, const struct dm_keyring *keyring, struct dm_str authorization,
                    struct dm_caller *ret, bool *ret_is_stale, struct dm_err *err)
{
    uint8_t digest[DM_DIGEST_BYTES];
    struct dm_token_row row;
    struct dm_str text;
    int rc = token_of(authorization, &text, err);

    if (rc < 0)
        return rc;
    dm_digest(keyring->tokens, text, digest);
    rc = dm_tokens_find(txn, digest, &row, err);
    if (rc == DM_ENOENT)
        return dm_fail(err, DM_EPERM, "", "the token is not known");
    if (rc < 0)
        return rc;
    if (row.expires_ms > 0 && row.expires_ms <= dm_txn_now_ms(txn))
        return dm_fail(err, DM_EPERM, "", "the token has expired");
    *ret = (struct dm_caller){
        .standing = standing_of(row.role),
        .tenant = row.tenant,
        .tenant_number = row.tenant_number,
        .name = row.name,
        .token_id = row.id,
    };
    *ret_is_stale = dm_txn_now_ms(txn) - row.used_ms > USE_RECORDED_EVERY_MS;
    return 0;
}
