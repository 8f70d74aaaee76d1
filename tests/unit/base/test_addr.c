#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"

static void reads_what_it_writes(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1", 80},
        {"0.0.0.0:0", "0.0.0.0", 0},
        {"255.255.255.255:65535", "255.255.255.255", 65535},
        {"[::1]:80", "::1", 80},
        {"[::]:8443", "::", 8443},
        {"[2001:db8::1]:443", "2001:db8::1", 443},
        {"[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1},
        {"unix:/run/daemun/link.sock", "unix:/run/daemun/link.sock", 0},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_addr addr;
        char text[DM_ADDR_TEXT_MAX];

        assert_int_equal(dm_addr_parse(dm_str_of(cases[i].text), &addr, NULL), 0);
        assert_int_equal(dm_addr_format(&addr, true, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
        assert_int_equal(dm_addr_format(&addr, false, text), strlen(cases[i].host));
        assert_string_equal(text, cases[i].host);
        assert_int_equal(dm_addr_port(&addr), cases[i].port);
        assert_true(dm_addr_eq(&addr, &addr));
    }
}

static void refuses_the_rest(void **state)
{
    static const char *const cases[] = {
        "",
        ":",
        ":80",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1:8o",
        "127.0.0.1: 80",
        "127.0.0.1:000080",
        "127.1:80",
        "256.0.0.1:80",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[127.0.0.1]:80",
        "[fe80::1%eth0]:80",
        "[::1]x:80",
        "1111111111111111111111111111111111111111111111111:80",
        "unix:",
        "unix:relative",
        " 127.0.0.1:80",
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++) {
        struct dm_addr addr = {.len = 7};
        struct dm_err err = {0};

        assert_int_equal(dm_addr_parse(dm_str_of(cases[i]), &addr, &err), DM_EINVAL);
        assert_int_equal(addr.len, 7);
        assert_int_equal(err.code, DM_EINVAL);
    }
}

static void refuses_hidden_nul(void **state)
{
    struct dm_addr addr;

    assert_int_equal(dm_addr_parse(DM_STR("127.0.0.1\0:80"), &addr, NULL), DM_EINVAL);
    assert_int_equal(dm_addr_parse(DM_STR("unix:/a\0b"), &addr, NULL), DM_EINVAL);
}

static void unix_path_has_a_limit(void **state)
{
    char text[5 + 108 + 1] = "unix:/";
    struct dm_addr addr;
    char out[DM_ADDR_TEXT_MAX];

    memset(text + 6, 'a', 107);
    assert_int_equal(dm_addr_parse(dm_str_n(text, 5 + 107), &addr, NULL), 0);
    assert_int_equal(dm_addr_format(&addr, true, out), 5 + 107);
    assert_memory_equal(out, text, 5 + 107);
    assert_int_equal(dm_addr_parse(dm_str_n(text, 5 + 108), &addr, NULL), DM_EINVAL);
}

static void equality(void **state)
{
    static const char *const texts[] = {"127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80", "[::1]:80",
                                        "[::2]:80",     "unix:/a",      "unix:/b"};

    for (size_t i = 0; i < DM_COUNT(texts); i++) {
        for (size_t k = 0; k < DM_COUNT(texts); k++) {
            struct dm_addr a, b;

            assert_int_equal(dm_addr_parse(dm_str_of(texts[i]), &a, NULL), 0);
            assert_int_equal(dm_addr_parse(dm_str_of(texts[k]), &b, NULL), 0);
            assert_int_equal(dm_addr_eq(&a, &b), i == k);
        }
    }
}

static void formats_what_has_no_name(void **state)
{
    struct dm_addr addr = {.ss.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    char text[DM_ADDR_TEXT_MAX];

    dm_addr_format(&addr, true, text);
    assert_string_equal(text, "unix:");
    addr = (struct dm_addr){0};
    dm_addr_format(&addr, true, text);
    assert_string_equal(text, "unknown");
    assert_int_equal(dm_addr_port(&addr), 0);
    assert_false(dm_addr_eq(&addr, &addr));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(refuses_hidden_nul),
        cmocka_unit_test(unix_path_has_a_limit),
        cmocka_unit_test(equality),
        cmocka_unit_test(formats_what_has_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
