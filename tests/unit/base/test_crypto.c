#include "testing.h"

#include "base/crypto.h"
#include "base/encode.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *expected)
{
    char text[200];

    dm_hex(bytes, len, text);
    assert_string_equal(text, expected);
}

static void unhex(const char *hex, uint8_t *ret, size_t len)
{
    assert_int_equal(dm_unhex(dm_str_of(hex), ret, len), 0);
}

/* The vectors in the appendix of the SipHash paper: key 00..0f, message 00..0e. */
static void knows_the_vector_of_siphash(void **state)
{
    uint8_t key[16], data[15];
    uint8_t i;

    for (i = 0; i < 16; i++)
        key[i] = i;
    for (i = 0; i < 15; i++)
        data[i] = i;
    assert_true(dm_siphash(key, dm_str_n((char *)data, 15)) == UINT64_C(0xa129ca6149be45e5));
    assert_true(dm_siphash(key, DM_STR_NULL) == UINT64_C(0x726fdb47dd0e0e31));
}

/* BLAKE2b-256 of "abc" and of nothing, computed with the reference program b2sum -l 256. */
static void knows_the_vectors_of_blake2(void **state)
{
    uint8_t out[DM_DIGEST_BYTES];

    dm_digest(NULL, DM_STR("abc"), out);
    assert_hex(out, 32, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    dm_digest(NULL, DM_STR_NULL, out);
    assert_hex(out, 32, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

static void digests_in_pieces_as_at_once(void **state)
{
    struct test_random random = test_random_new();
    uint8_t key[32], data[1000], whole[DM_DIGEST_BYTES], pieces[DM_DIGEST_BYTES];
    int round;

    dm_crypto_random(key, sizeof(key));
    dm_crypto_random(data, sizeof(data));
    for (round = 0; round < 200; round++) {
        const uint8_t *used_key = round % 2 ? key : NULL;
        size_t len = test_random_below(&random, sizeof(data) + 1), at, n;
        struct dm_digest_state digest;

        dm_digest_init(&digest, used_key);
        for (at = 0; at < len; at += n) {
            n = 1 + test_random_below(&random, len - at);
            dm_digest_update(&digest, data + at, n);
        }
        dm_digest_final(&digest, pieces);
        dm_digest(used_key, dm_str_n((char *)data, len), whole);
        assert_memory_equal(whole, pieces, sizeof(whole));
    }
}

static void digests_differ_by_key(void **state)
{
    uint8_t first_key[32] = {1}, second_key[32] = {2}, first[DM_DIGEST_BYTES], second[DM_DIGEST_BYTES];

    dm_digest(first_key, DM_STR("key"), first);
    dm_digest(second_key, DM_STR("key"), second);
    assert_memory_not_equal(first, second, sizeof(first));
    dm_digest(NULL, DM_STR("key"), second);
    assert_memory_not_equal(first, second, sizeof(first));
    assert_true(dm_secret_eq(first, first, sizeof(first)));
    assert_false(dm_secret_eq(first, second, sizeof(first)));
    assert_true(dm_secret_eq(first, second, 0));
}

/* RFC 8032 section 7.1, test 2. */
static void knows_the_vector_of_ed25519(void **state)
{
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES], secret[DM_SIGN_SECRET_BYTES], signature[DM_SIGNATURE_BYTES];

    unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", secret, 32);
    unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", public_key, 32);
    memcpy(secret + 32, public_key, 32);
    dm_sign(secret, dm_str_n("\x72", 1), signature);
    assert_hex(signature, 64,
               "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
               "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    assert_true(dm_sign_verify(public_key, dm_str_n("\x72", 1), signature));
    assert_false(dm_sign_verify(public_key, dm_str_n("\x73", 1), signature));
    assert_false(dm_sign_verify(public_key, dm_str_n("\x72\x72", 2), signature));
}

static void verifies_only_what_was_signed(void **state)
{
    uint8_t public_key[DM_SIGN_PUBLIC_BYTES], secret[DM_SIGN_SECRET_BYTES], signature[DM_SIGNATURE_BYTES];
    size_t bit;

    dm_sign_keypair(public_key, secret);
    dm_sign(secret, DM_STR("document"), signature);
    assert_true(dm_sign_verify(public_key, DM_STR("document"), signature));
    for (bit = 0; bit < 8 * DM_SIGNATURE_BYTES; bit++) {
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(dm_sign_verify(public_key, DM_STR("document"), signature));
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    public_key[0] ^= 1;
    assert_false(dm_sign_verify(public_key, DM_STR("document"), signature));
}

static void opens_only_what_was_sealed(void **state)
{
    uint8_t key[32], other_key[32], sealed[6 + DM_SEAL_OVERHEAD] = {0}, again[6 + DM_SEAL_OVERHEAD], plain[6];
    struct dm_str box = dm_str_n((char *)sealed, sizeof(sealed));
    size_t bit, len;

    dm_crypto_random(key, sizeof(key));
    dm_crypto_random(other_key, sizeof(other_key));
    dm_seal(key, DM_STR("secret"), DM_STR("tenant 7"), sealed);
    dm_seal(key, DM_STR("secret"), DM_STR("tenant 7"), again);
    assert_memory_not_equal(sealed, again, sizeof(sealed));
    assert_int_equal(dm_seal_open(key, box, DM_STR("tenant 7"), plain), 0);
    assert_memory_equal(plain, "secret", 6);
    assert_int_equal(dm_seal_open(key, box, DM_STR("tenant 8"), plain), DM_ECORRUPT);
    assert_int_equal(dm_seal_open(other_key, box, DM_STR("tenant 7"), plain), DM_ECORRUPT);
    for (len = 0; len < sizeof(sealed); len++)
        assert_int_equal(dm_seal_open(key, dm_str_n(box.ptr, len), DM_STR("tenant 7"), plain), DM_ECORRUPT);
    for (bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(dm_seal_open(key, box, DM_STR("tenant 7"), plain), DM_ECORRUPT);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void seals_nothing_too(void **state)
{
    uint8_t key[32] = {0}, sealed[DM_SEAL_OVERHEAD], plain[1] = {7};

    dm_seal(key, DM_STR_NULL, DM_STR_NULL, sealed);
    assert_int_equal(dm_seal_open(key, dm_str_n((char *)sealed, sizeof(sealed)), DM_STR_NULL, plain), 0);
    assert_int_equal(plain[0], 7);
}

static void boxes_open_with_their_own_pair_alone(void **state)
{
    uint8_t public_key[DM_BOX_PUBLIC_BYTES], secret[DM_BOX_SECRET_BYTES], other_public[DM_BOX_PUBLIC_BYTES],
        other_secret[DM_BOX_SECRET_BYTES], sealed[6 + DM_BOX_OVERHEAD], plain[6];
    const uint8_t zero[DM_BOX_PUBLIC_BYTES] = {0};
    struct dm_str box = dm_str_n((char *)sealed, sizeof(sealed));

    dm_box_keypair(public_key, secret);
    dm_box_keypair(other_public, other_secret);
    assert_int_equal(dm_box_seal(public_key, DM_STR("secret"), sealed), 0);
    assert_int_equal(dm_box_open(public_key, secret, box, plain), 0);
    assert_memory_equal(plain, "secret", 6);
    assert_int_equal(dm_box_open(other_public, other_secret, box, plain), DM_ECORRUPT);
    for (size_t len = 0; len < sizeof(sealed); len++)
        assert_int_equal(dm_box_open(public_key, secret, dm_str_n(box.ptr, len), plain), DM_ECORRUPT);
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(dm_box_open(public_key, secret, box, plain), DM_ECORRUPT);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(dm_box_seal(zero, DM_STR("secret"), sealed), DM_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_vector_of_siphash),          cmocka_unit_test(knows_the_vectors_of_blake2),
        cmocka_unit_test(digests_in_pieces_as_at_once),         cmocka_unit_test(digests_differ_by_key),
        cmocka_unit_test(knows_the_vector_of_ed25519),          cmocka_unit_test(verifies_only_what_was_signed),
        cmocka_unit_test(opens_only_what_was_sealed),           cmocka_unit_test(seals_nothing_too),
        cmocka_unit_test(boxes_open_with_their_own_pair_alone),
    };

    if (dm_crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
