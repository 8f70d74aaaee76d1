#include "gateway/credential_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../snapshot/compiled.h"
#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"

enum { MANY = 20000 }; /* more than the cache has entries */

static const uint8_t digest_key[32] = {0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                       0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                       0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11};
static struct dm_credential_cache *cache;

static int setup(void **state)
{
    static const uint8_t secret[16] = {1, 2, 3};

    cache = dm_credential_cache_new(secret);
    return 0;
}

static int teardown(void **state)
{
    dm_credential_cache_free(cache);
    return 0;
}

static struct dm_str key_text(char buf[32], unsigned n)
{
    return dm_str_n(buf, (size_t)snprintf(buf, 32, "key-%u", n));
}

static void add_application(struct dm_buf *body, unsigned id)
{
    uint8_t digest[DM_DIGEST_BYTES];
    char text[32], hex[2 * DM_DIGEST_BYTES + 1];

    dm_credential_digest(digest_key, DM_CREDENTIAL_API_KEY, key_text(text, id), digest);
    dm_hex(digest, sizeof(digest), hex);
    dm_buf_printf(
        body,
        "%s{\"id\":%u,\"name\":\"app-%u\",\"subscriptions\":[],\"credentials\":[{\"id\":%u,\"name\":\"first\","
        "\"type\":\"api_key\",\"digest\":\"%s\"}]}",
        id > 1 ? "," : "", id, id, id, hex);
}

/* A unit in which application n has the key "key-n", for n from 1. */
static void compile(struct compiled *compiled, unsigned n)
{
    struct dm_buf body;

    dm_buf_init(&body, 64 << 20);
    dm_buf_add_lit(&body, "{\"digest_key_id\":1,\"digest_key\":\"");
    for (int i = 0; i < 32; i++)
        dm_buf_add_lit(&body, "11");
    dm_buf_add_lit(&body, "\",\"applications\":[");
    for (unsigned id = 1; id <= n; id++)
        add_application(&body, id);
    dm_buf_add_lit(&body, "]}");
    dm_buf_add_char(&body, '\0');
    assert_false(body.failed);
    compiled_init(compiled, DM_UNIT_APPLICATIONS, body.ptr);
    dm_buf_done(&body);
}

static const struct dm_ucredential *find(const struct compiled *compiled, unsigned n)
{
    char text[32];

    return dm_credential_cache_find(cache, compiled->unit, DM_CREDENTIAL_API_KEY, key_text(text, n));
}

static uint64_t application_of(const struct compiled *compiled, const struct dm_ucredential *credential)
{
    return credential ? DM_UNIT_GET(compiled->unit, dm_uapplication, credential->application)->id : 0;
}

static void every_key_is_found_each_time(void **state)
{
    struct compiled compiled;

    compile(&compiled, MANY);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned n = 1; n <= MANY; n++) {
            assert_int_equal(application_of(&compiled, find(&compiled, n)), n);
            assert_int_equal(application_of(&compiled, find(&compiled, n)), n);
        }
    compiled_done(&compiled);
}

static void what_is_nobodys_is_never_found(void **state)
{
    struct compiled compiled;

    compile(&compiled, 10);
    for (unsigned n = 11; n < MANY; n++) {
        assert_null(find(&compiled, n));
        assert_int_equal(application_of(&compiled, find(&compiled, 1 + n % 10)), 1 + n % 10);
    }
    assert_null(dm_credential_cache_find(cache, compiled.unit, DM_CREDENTIAL_API_KEY, DM_STR("")));
    compiled_done(&compiled);
}

/* K2 */
static void a_key_counts_for_its_unit_only(void **state)
{
    struct compiled two, one;

    compile(&two, 2);
    compile(&one, 1);
    assert_int_equal(application_of(&two, find(&two, 2)), 2);
    assert_int_equal(application_of(&two, find(&two, 1)), 1);
    assert_null(find(&one, 2));
    assert_int_equal(application_of(&one, find(&one, 1)), 1);
    assert_int_equal(application_of(&two, find(&two, 2)), 2);
    compiled_done(&one);
    compiled_done(&two);
}

/* The checksum of an empty unit is a unit's like any other; nothing is found in it and nothing is kept. */
static void a_unit_without_applications(void **state)
{
    struct compiled compiled;

    compile(&compiled, 0);
    assert_null(find(&compiled, 1));
    assert_null(find(&compiled, 1));
    compiled_done(&compiled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(every_key_is_found_each_time),
        TEST(what_is_nobodys_is_never_found),
        TEST(a_key_counts_for_its_unit_only),
        TEST(a_unit_without_applications),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
