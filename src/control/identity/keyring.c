#include <fcntl.h>

#include "control/identity/keyring.h"
#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"

#define KEY_FILE_MAX 512

static void make_sealing(uint8_t *ret, size_t len)
{
    dm_crypto_random(ret, len);
}

static void make_signing(uint8_t *ret, size_t len)
{
    dm_sign_keypair(ret, ret + DM_SIGN_PUBLIC_BYTES);
}

static int read_key(struct dm_sys *sys, const char *path, uint8_t *ret, size_t len, struct dm_err *err)
{
    DM_CLEANUP(dm_buf_done) struct dm_buf text = {0};
    int rc;

    dm_buf_init(&text, KEY_FILE_MAX);
    if ((rc = dm_sys_read_file(sys, path, KEY_FILE_MAX, &text, err)) < 0)
        return rc;
    rc = text.len == 2 * len + 1 ? dm_unhex(dm_str_n(text.ptr, 2 * len), ret, len) : DM_EINVAL;
    dm_mem_wipe(text.ptr, text.len);
    return rc < 0 ? dm_fail(err, DM_ECORRUPT, "", "the key file '%s' is damaged: expected %zu hexadecimal digits", path,
                            2 * len)
                  : 0;
}

static int write_key(struct dm_sys *sys, const char *path, const uint8_t *key, size_t len, struct dm_err *err)
{
    char text[KEY_FILE_MAX];
    int rc;

    dm_hex(key, len, text);
    text[2 * len] = '\n';
    rc = dm_sys_write_file(sys, path, dm_str_n(text, 2 * len + 1), 0600, true, err);
    dm_mem_wipe(text, sizeof(text));
    return rc;
}

static int open_key(struct dm_sys *sys, const char *dir, const char *name, bool may_create,
                    void (*make)(uint8_t *, size_t), uint8_t *ret, size_t len, struct dm_err *err)
{
    char path[512];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    rc = read_key(sys, path, ret, len, err);
    if (rc != DM_ENOENT)
        return rc;
    if (!may_create)
        return dm_fail(err, DM_ENOENT, "",
                       "the key file '%s' is missing but the database is there: restore it from a backup", path);
    make(ret, len);
    return write_key(sys, path, ret, len, err);
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
