#include "testing.h"

#include "base/encode.h"

static void writes_numbers_in_hex(void **state)
{
    char text[16], expected[17];
    uint64_t value = 0;

    for (unsigned i = 0; i < 5000; i++, value = value * UINT64_C(6364136223846793005) + i) {
        dm_hex_u64(value, text);
        snprintf(expected, sizeof(expected), "%016llx", (unsigned long long)value);
        assert_memory_equal(text, expected, 16);
    }
}

static void writes_and_reads_hex(void **state)
{
    static const char *const bad[] = {"", "00", "000", "00000", "0g0f", "0 0f", "000/", "00:0"};
    uint8_t bytes[2] = {0x0f, 0xa9};
    char text[5];
    size_t i;

    dm_hex(bytes, 2, text);
    assert_string_equal(text, "0fa9");
    assert_int_equal(dm_unhex(DM_STR("0Fa9"), bytes, 2), 0);
    assert_true(bytes[0] == 0x0f && bytes[1] == 0xa9);
    for (i = 0; i < DM_COUNT(bad); i++)
        assert_int_equal(dm_unhex(dm_str_of(bad[i]), bytes, 2), DM_EINVAL);
    assert_int_equal(dm_unhex(DM_STR_NULL, bytes, 0), 0);
    dm_hex(NULL, 0, text);
    assert_string_equal(text, "");
}

/* RFC 4648 section 10. */
static void knows_the_vectors_of_the_rfc(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    char text[DM_BASE64_MAX(6)];
    uint8_t bytes[6];
    size_t i;

    for (i = 0; i < DM_COUNT(pairs); i++) {
        struct dm_str plain = dm_str_of(pairs[i][0]), coded = dm_str_of(pairs[i][1]);

        assert_int_equal(dm_base64(plain, text), coded.len);
        assert_string_equal(text, coded.ptr);
        assert_int_equal(dm_unbase64(coded, bytes, sizeof(bytes)), plain.len);
        assert_memory_equal(bytes, plain.ptr, plain.len);
    }
}

static void refuses_what_is_not_canonical(void **state)
{
    static const char *const bad[] = {"Zg",    "Zg=",   "Zg===",    "Z", "Zh==", "Zm9=", "Zm 9v",    "Zm9v\n",
                                      " Zm9v", "Zm9v=", "Zm9v====", "=", "====", "Zm-_", "Zg==Zg==", "Z=g="};
    static const char *const bad_url[] = {"Zg==", "Zh", "Z", "Zm+/", "Zm9v\n", "Zm9"};
    uint8_t bytes[32];
    size_t i;

    for (i = 0; i < DM_COUNT(bad); i++)
        if (dm_unbase64(dm_str_of(bad[i]), bytes, sizeof(bytes)) != DM_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
    for (i = 0; i < DM_COUNT(bad_url); i++)
        if (dm_unbase64url(dm_str_of(bad_url[i]), bytes, sizeof(bytes)) != DM_EINVAL)
            fail_msg("accepted \"%s\"", bad_url[i]);
    assert_int_equal(dm_unbase64(dm_str_n("Zm\0v", 4), bytes, sizeof(bytes)), DM_EINVAL);
}

static void keeps_inside_its_room(void **state)
{
    uint8_t bytes[4] = {1, 2, 3, 4};

    assert_int_equal(dm_unbase64(DM_STR("Zm9vYmFy"), bytes, 3), DM_EBUDGET);
    assert_int_equal(bytes[3], 4);
    assert_int_equal(dm_unbase64(DM_STR("Zm9v"), bytes, 3), 3);
    assert_int_equal(dm_unbase64url(DM_STR("Zm9vYg"), bytes, 3), DM_EBUDGET);
    assert_int_equal(dm_unbase64(DM_STR_NULL, bytes, 0), 0);
}

static void reads_back_what_it_wrote(void **state)
{
    struct test_random random = test_random_new();
    uint8_t bytes[100], back[100];
    char text[DM_BASE64_MAX(100)], hex[201];
    int round;
    size_t i;

    for (round = 0; round < 2000; round++) {
        size_t len = test_random_below(&random, sizeof(bytes) + 1), n;
        struct dm_str plain = dm_str_n((char *)bytes, len);

        for (i = 0; i < len; i++)
            bytes[i] = (uint8_t)test_random_u64(&random);
        n = dm_base64(plain, text);
        assert_true(n < DM_BASE64_MAX(len) && n % 4 == 0);
        assert_int_equal(dm_unbase64(dm_str_n(text, n), back, len), len);
        assert_memory_equal(bytes, back, len);
        n = dm_base64url(plain, text);
        assert_int_equal(dm_str_find(dm_str_n(text, n), '='), n);
        assert_int_equal(dm_unbase64url(dm_str_n(text, n), back, len), len);
        assert_memory_equal(bytes, back, len);
        dm_hex(bytes, len, hex);
        assert_int_equal(dm_unhex(dm_str_n(hex, 2 * len), back, len), 0);
        assert_memory_equal(bytes, back, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_numbers_in_hex),        cmocka_unit_test(writes_and_reads_hex),
        cmocka_unit_test(knows_the_vectors_of_the_rfc), cmocka_unit_test(refuses_what_is_not_canonical),
        cmocka_unit_test(keeps_inside_its_room),        cmocka_unit_test(reads_back_what_it_wrote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
