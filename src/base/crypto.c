/* libsodium behind the project's own names. */
#include <sodium.h>
#include <stdlib.h>

#include "base/crypto.h"

_Static_assert(sizeof(struct dm_digest_state) >= sizeof(crypto_generichash_blake2b_state), "state fits");
_Static_assert(DM_SIGN_PUBLIC_BYTES == crypto_sign_ed25519_PUBLICKEYBYTES, "");
_Static_assert(DM_SIGN_SECRET_BYTES == crypto_sign_ed25519_SECRETKEYBYTES, "");
_Static_assert(DM_SIGN_SEED_BYTES == crypto_sign_ed25519_SEEDBYTES, "");
_Static_assert(DM_SIGNATURE_BYTES == crypto_sign_ed25519_BYTES, "");
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
_Static_assert(DM_BOX_PUBLIC_BYTES == crypto_box_PUBLICKEYBYTES, "");
_Static_assert(DM_BOX_SECRET_BYTES == crypto_box_SECRETKEYBYTES, "");
_Static_assert(DM_BOX_OVERHEAD == crypto_box_SEALBYTES, "");
_Static_assert(DM_SEAL_OVERHEAD == NONCE_BYTES + TAG_BYTES, "a sealed secret is nonce, cipher text, tag");

static const unsigned char *bytes_of(struct dm_str s)
{
    return (const unsigned char *)s.ptr;
}

int dm_crypto_init(void)
{
    return sodium_init() < 0 ? DM_EIO : 0;
}

void dm_crypto_random(void *ret, size_t len)
{
    randombytes_buf(ret, len);
}

void *dm_secret_alloc(size_t size)
{
    void *ptr = sodium_malloc(size);

    if (!ptr)
        abort();
    return ptr;
}

void dm_secret_free(void *ptr)
{
    sodium_free(ptr);
}

uint64_t dm_siphash(const uint8_t key[16], struct dm_str data)
{
    uint8_t out[crypto_shorthash_siphash24_BYTES];
    uint64_t hash;

    crypto_shorthash_siphash24(out, bytes_of(data), data.len, key);
    memcpy(&hash, out, sizeof(hash));
    return hash;
}

void dm_siphash128(const uint8_t key[16], struct dm_str data, uint64_t ret[2])
{
    uint8_t out[crypto_shorthash_siphashx24_BYTES];

    crypto_shorthash_siphashx24(out, bytes_of(data), data.len, key);
    memcpy(ret, out, sizeof(out));
}

void dm_digest(const uint8_t key[32], struct dm_str data, uint8_t ret[DM_DIGEST_BYTES])
{
    crypto_generichash_blake2b(ret, DM_DIGEST_BYTES, bytes_of(data), data.len, key, key ? 32 : 0);
}

static crypto_generichash_blake2b_state *state_of(struct dm_digest_state *state)
{
    return (crypto_generichash_blake2b_state *)(void *)state->opaque;
}

void dm_digest_init(struct dm_digest_state *state, const uint8_t key[32])
{
    crypto_generichash_blake2b_init(state_of(state), key, key ? 32 : 0, DM_DIGEST_BYTES);
}

void dm_digest_update(struct dm_digest_state *state, const void *ptr, size_t len)
{
    crypto_generichash_blake2b_update(state_of(state), ptr, len);
}

void dm_digest_final(struct dm_digest_state *state, uint8_t ret[DM_DIGEST_BYTES])
{
    crypto_generichash_blake2b_final(state_of(state), ret, DM_DIGEST_BYTES);
    sodium_memzero(state, sizeof(*state));
}

/* Digests are compared on every request: 32 bytes in four steps, where sodium_memcmp takes 32. The empty asm keeps the
 * compiler from leaving early. */
bool dm_secret_eq(const void *a, const void *b, size_t len)
{
    uint64_t x[4], y[4], differ;

    if (len != sizeof(x))
        return sodium_memcmp(a, b, len) == 0;
    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    differ = (x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]);
    __asm__ volatile("" : "+r"(differ));
    return differ == 0;
}

void dm_sign_keypair(uint8_t ret_public[DM_SIGN_PUBLIC_BYTES], uint8_t ret_secret[DM_SIGN_SECRET_BYTES])
{
    crypto_sign_ed25519_keypair(ret_public, ret_secret);
}

void dm_sign(const uint8_t secret[DM_SIGN_SECRET_BYTES], struct dm_str data, uint8_t ret[DM_SIGNATURE_BYTES])
{
    crypto_sign_ed25519_detached(ret, NULL, bytes_of(data), data.len, secret);
}

bool dm_sign_verify(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str data,
                    const uint8_t signature[DM_SIGNATURE_BYTES])
{
    return crypto_sign_ed25519_verify_detached(signature, bytes_of(data), data.len, public_key) == 0;
}

/* A random nonce of 192 bits may be drawn for every message without keeping a counter. */
void dm_seal(const uint8_t key[32], struct dm_str plain, struct dm_str context, uint8_t *ret)
{
    randombytes_buf(ret, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(ret + NONCE_BYTES, NULL, bytes_of(plain), plain.len, bytes_of(context),
                                               context.len, NULL, ret, key);
}

int dm_seal_open(const uint8_t key[32], struct dm_str sealed, struct dm_str context, uint8_t *ret)
{
    const unsigned char *bytes = bytes_of(sealed);

    if (sealed.len < DM_SEAL_OVERHEAD)
        return DM_ECORRUPT;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(ret, NULL, NULL, bytes + NONCE_BYTES, sealed.len - NONCE_BYTES,
                                                   bytes_of(context), context.len, bytes, key) != 0)
        return DM_ECORRUPT;
    return 0;
}

void dm_box_keypair(uint8_t ret_public[DM_BOX_PUBLIC_BYTES], uint8_t ret_secret[DM_BOX_SECRET_BYTES])
{
    crypto_box_keypair(ret_public, ret_secret);
}

int dm_box_seal(const uint8_t public_key[DM_BOX_PUBLIC_BYTES], struct dm_str plain, uint8_t *ret)
{
    return crypto_box_seal(ret, bytes_of(plain), plain.len, public_key) == 0 ? 0 : DM_EINVAL;
}

int dm_box_open(const uint8_t public_key[DM_BOX_PUBLIC_BYTES], const uint8_t secret[DM_BOX_SECRET_BYTES],
                struct dm_str sealed, uint8_t *ret)
{
    if (sealed.len < DM_BOX_OVERHEAD)
        return DM_ECORRUPT;
    return crypto_box_seal_open(ret, bytes_of(sealed), sealed.len, public_key, secret) == 0 ? 0 : DM_ECORRUPT;
}
