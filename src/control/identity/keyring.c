#include "control/identity/keyring.h"
#include "base/key_file.h"
#include "base/mem.h"

static void make_sealing(uint8_t *ret, size_t len)
{
    dm_crypto_random(ret, len);
}

static void make_signing(uint8_t *ret, size_t len)
{
    dm_sign_keypair(ret, ret + DM_SIGN_PUBLIC_BYTES);
}

static int open_key(struct dm_sys *sys, const char *dir, const char *name, bool may_create,
                    void (*make)(uint8_t *, size_t), uint8_t *ret, size_t len, struct dm_err *err)
{
    char path[512];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    rc = dm_key_file_read(sys, path, ret, len, err);
    if (rc != DM_ENOENT)
        return rc;
    if (!may_create)
        return dm_fail(err, DM_ENOENT, "",
                       "the key file '%s' is missing but the database is there: restore it from a backup", path);
    make(ret, len);
    return dm_key_file_write(sys, path, ret, len, err);
}

int dm_keyring_open(struct dm_sys *sys, const char *dir, bool may_create, struct dm_keyring *ret, struct dm_err *err)
{
    uint8_t pair[DM_SIGN_PUBLIC_BYTES + DM_SIGN_SECRET_BYTES];
    struct dm_keyring keyring = {0};
    int rc = open_key(sys, dir, "sealing.key", may_create, make_sealing, keyring.sealing, sizeof(keyring.sealing), err);

    if (rc < 0 || (rc = open_key(sys, dir, "signing.key", may_create, make_signing, pair, sizeof(pair), err)) < 0)
        return rc;
    memcpy(keyring.sign_public, pair, DM_SIGN_PUBLIC_BYTES);
    memcpy(keyring.sign_secret, pair + DM_SIGN_PUBLIC_BYTES, DM_SIGN_SECRET_BYTES);
    dm_digest(keyring.sealing, DM_STR("daemun token digest"), keyring.tokens);
    dm_mem_wipe(pair, sizeof(pair));
    *ret = keyring;
    dm_mem_wipe(&keyring, sizeof(keyring));
    return 0;
}

void dm_keyring_wipe(struct dm_keyring *keyring)
{
    dm_mem_wipe(keyring, sizeof(*keyring));
}
