/* The few cryptographic primitives the project uses, on libsodium. dm_crypto_init() once per process before use. */
#ifndef DM_BASE_CRYPTO_H
#define DM_BASE_CRYPTO_H

#include "base/err.h"

#define DM_DIGEST_BYTES 32
#define DM_SIGN_SEED_BYTES 32
#define DM_SIGN_PUBLIC_BYTES 32
#define DM_SIGN_SECRET_BYTES 64
#define DM_SIGNATURE_BYTES 64

DM_MUST_USE int dm_crypto_init(void);

/* Bytes from the system's generator. For anything a test must repeat use struct dm_sys. */
void dm_crypto_random(void *ret, size_t len);

/* SipHash-2-4 (Aumasson, Bernstein 2012). */
uint64_t dm_siphash(const uint8_t key[16], struct dm_str data);
/* The same with 128 bits, for use as a MAC; other values than dm_siphash(). */
void dm_siphash128(const uint8_t key[16], struct dm_str data, uint64_t ret[2]);

/* BLAKE2b-256 (RFC 7693), with or without (NULL) a 32-byte key. */
void dm_digest(const uint8_t key[32], struct dm_str data, uint8_t ret[DM_DIGEST_BYTES]);

/* Incremental BLAKE2b-256. */
struct dm_digest_state {
    _Alignas(64) uint8_t opaque[384];
};
void dm_digest_init(struct dm_digest_state *state, const uint8_t key[32]);
void dm_digest_update(struct dm_digest_state *state, const void *ptr, size_t len);
void dm_digest_final(struct dm_digest_state *state, uint8_t ret[DM_DIGEST_BYTES]);

/* Constant-time in the contents; lengths are not secret. */
bool dm_secret_eq(const void *a, const void *b, size_t len);

/* Memory for secrets: between guard pages, locked as far as the system lets us, in no core dump, wiped when it is freed. Whole
 * pages: for few and large ones. Being out of memory is fatal. */
void *dm_secret_alloc(size_t size);
/* NULL is fine. */
void dm_secret_free(void *ptr);

/* Ed25519 (RFC 8032). */
void dm_sign_keypair(uint8_t ret_public[DM_SIGN_PUBLIC_BYTES], uint8_t ret_secret[DM_SIGN_SECRET_BYTES]);
void dm_sign(const uint8_t secret[DM_SIGN_SECRET_BYTES], struct dm_str data, uint8_t ret[DM_SIGNATURE_BYTES]);
bool dm_sign_verify(const uint8_t public_key[DM_SIGN_PUBLIC_BYTES], struct dm_str data,
                    const uint8_t signature[DM_SIGNATURE_BYTES]);

/* Secret-key authenticated encryption (XChaCha20-Poly1305) of small secrets at rest. ret must hold
 * len + DM_SEAL_OVERHEAD bytes. */
#define DM_SEAL_OVERHEAD 40
void dm_seal(const uint8_t key[32], struct dm_str plain, struct dm_str context, uint8_t *ret);
/* ret must hold sealed.len - DM_SEAL_OVERHEAD bytes. DM_ECORRUPT when key, context or bytes are not right. */
DM_MUST_USE int dm_seal_open(const uint8_t key[32], struct dm_str sealed, struct dm_str context, uint8_t *ret);

/* Sealing to a public key (X25519, XSalsa20-Poly1305, libsodium's crypto_box_seal): whoever has the public half writes, only
 * the secret half reads; nothing says who wrote. */
#define DM_BOX_PUBLIC_BYTES 32
#define DM_BOX_SECRET_BYTES 32
#define DM_BOX_OVERHEAD 48
void dm_box_keypair(uint8_t ret_public[DM_BOX_PUBLIC_BYTES], uint8_t ret_secret[DM_BOX_SECRET_BYTES]);
/* ret must hold plain.len + DM_BOX_OVERHEAD bytes. DM_EINVAL for a public key that nobody can have made, such as zeros. */
DM_MUST_USE int dm_box_seal(const uint8_t public_key[DM_BOX_PUBLIC_BYTES], struct dm_str plain, uint8_t *ret);
/* ret must hold sealed.len - DM_BOX_OVERHEAD bytes. DM_ECORRUPT when it is not for this pair, or was changed. */
DM_MUST_USE int dm_box_open(const uint8_t public_key[DM_BOX_PUBLIC_BYTES], const uint8_t secret[DM_BOX_SECRET_BYTES],
                            struct dm_str sealed, uint8_t *ret);

#endif
